"""Writes rego/remit/dispatch/library.rego from the rules' folders: `python rego/generate.py [--check]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from remit.core.dispatch import SETS, library_dispatch

HERE = Path(__file__).parent / "remit"
TARGET = HERE / "dispatch" / "library.rego"
_HEAD = re.compile(rf"^({'|'.join(SETS)}) contains ", re.MULTILINE)


def generated() -> str:
    """The dispatch of the rules as they stand in the folders."""
    rules = {}
    for path in sorted((HERE / "rules").glob("*/*/*.rego")):
        if not path.name.endswith("_test.rego"):
            rules[f"{path.parts[-3]}.{path.parts[-2]}"] = _HEAD.findall(path.read_text(encoding="utf-8"))
    return library_dispatch(rules)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text(encoding="utf-8") != generated() and "stale: make generate")
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(generated(), encoding="utf-8")
