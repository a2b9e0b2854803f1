"""Writes what is generated here: `python rego/generate.py [--check]`, with the OPA that Remit would run.

remit/dispatch/library.rego   asks each rule by name; from the rules' folders
capabilities.json             what policy may call: all that OPA has, apart from what reaches out of the decision
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from remit.backends.opa_binary import find
from remit.core.dispatch import actions_of, library_dispatch

HERE = Path(__file__).parent
DISPATCH = HERE / "remit" / "dispatch" / "library.rego"
CAPABILITIES = HERE / "capabilities.json"
# The network, the environment, chance and the clock: a decision follows from its input alone.
FORBIDDEN = re.compile(r"http\.send|net\..*|opa\.runtime|rand\..*|uuid\..*|time\.now_ns")


def dispatch() -> str:
    """The dispatch of the rules as they stand in the folders."""
    rules = {}
    for path in sorted((HERE / "remit" / "rules").glob("*/*/*.rego")):
        if not path.name.endswith("_test.rego"):
            rules[f"{path.parts[-3]}.{path.parts[-2]}"] = actions_of(path.read_text(encoding="utf-8"))
    return library_dispatch(rules)


def capabilities(opa: Path) -> str:
    """OPA's own capabilities without the forbidden functions, and without hosts for schemas to be fetched from."""
    listed = subprocess.run([str(opa), "capabilities", "--current"], capture_output=True, check=True)  # noqa: S603
    everything = json.loads(listed.stdout)
    allowed = [each for each in everything["builtins"] if not FORBIDDEN.fullmatch(each["name"])]
    rest = json.dumps({key: everything[key] for key in ("future_keywords", "features")} | {"allow_net": []})
    return '{"builtins": [\n' + ",\n".join(map(json.dumps, allowed)) + f"\n],\n{rest[1:]}\n"


def main(arguments: list[str]) -> str:
    """Write both files, or with --check name the first that is not what would be written."""
    for path, text in ((DISPATCH, dispatch()), (CAPABILITIES, capabilities(find(os.environ).path))):
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            return f"{path.name} is stale: run rego/generate.py"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
