"""Where a running sidecar listens, as it wrote it down in its state directory: ports may be the system's choice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = "addresses.json"


def write_addresses(state: Path, addresses: Sequence[str], egress: tuple[str, str] | None = None) -> None:
    """Name every address as a client dials it, whole or not at all.

    `egress` is HOST:PORT of the egress and of its forward proxy ("" where that is off).
    """
    draft = state / f"{FILE}.new"
    told = {"addresses": list(addresses), "pid": os.getpid(), **({"egress": list(egress)} if egress else {})}
    draft.write_text(json.dumps(told) + "\n", encoding="utf-8")
    draft.replace(state / FILE)


def forget_addresses(state: Path) -> None:
    """The sidecar has ended."""
    (state / FILE).unlink(missing_ok=True)


def read_addresses(state: Path) -> str:
    """What to dial: "unix:PATH" before "HOST:PORT"; "" where nothing is written down that can be read."""
    listed = _written(state).get("addresses")
    named = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    dialled = [each for each in named if not each.startswith(("http://", "https://"))]
    return min(dialled, key=lambda each: not each.startswith("unix:"), default="")


def read_egress(state: Path) -> tuple[str, str] | None:
    """Where the egress of a running sidecar listens, and its forward proxy; None where none is written down."""
    match _written(state).get("egress"):
        case [str(http), str(proxy)]:
            return http, proxy
    return None


def _written(state: Path) -> Mapping[str, object]:
    try:
        written = json.loads((state / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return written if isinstance(written, dict) else {}
