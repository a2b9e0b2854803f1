"""Where a running sidecar listens, as it wrote it down in its state directory: ports may be the system's choice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

FILE = "addresses.json"
EGRESS, PROXY = "egress ", "proxy "
"""Begin what the egress calls its two addresses."""


def write_addresses(state: Path, addresses: Sequence[str]) -> None:
    """Name every address as a client dials it; whole or not at all."""
    draft = state / f"{FILE}.new"
    draft.write_text(json.dumps({"addresses": list(addresses), "pid": os.getpid()}) + "\n", encoding="utf-8")
    draft.replace(state / FILE)


def forget_addresses(state: Path) -> None:
    """The sidecar has ended."""
    (state / FILE).unlink(missing_ok=True)


def read_addresses(state: Path) -> str:
    """What to dial: "unix:PATH" before "HOST:PORT"; "" where nothing is written down that can be read."""
    dialled = [each for each in _written(state) if "://" not in each]
    return min(dialled, key=lambda each: not each.startswith("unix:"), default="")


def read_egress(state: Path) -> tuple[str, str, bool] | None:
    """HOST:PORT of a running sidecar's egress, that of its forward proxy ("" where off), and whether both speak TLS.

    None without an egress.
    """
    listed = _written(state)
    http, proxy = (_named(listed, prefix) for prefix in (EGRESS, PROXY))
    tls = http.startswith("https://")
    return (http.partition("://")[2], proxy.partition("://")[2], tls) if http else None


def _named(listed: Sequence[str], prefix: str) -> str:
    return next((each.removeprefix(prefix) for each in listed if each.startswith(prefix)), "")


def _written(state: Path) -> Sequence[str]:
    try:
        written = json.loads((state / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    listed = written.get("addresses") if isinstance(written, dict) else None
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
