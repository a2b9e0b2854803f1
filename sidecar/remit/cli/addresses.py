"""Where a running sidecar listens, as it wrote it down in its state directory: ports may be the system's choice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

FILE = "addresses.json"


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
    try:
        written = json.loads((state / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    listed = written.get("addresses") if isinstance(written, dict) else None
    named = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    dialled = [each for each in named if not each.startswith(("http://", "https://"))]
    return min(dialled, key=lambda each: not each.startswith("unix:"), default="")
