"""The values of the chart, each with its default and the comment above it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "remit"


@dataclass(frozen=True)
class Value:
    """One value: its dotted key, what it is unless said, and what it means."""

    key: str
    default: Any
    text: str

    @property
    def row(self) -> str:
        """Its row in docs/chart.md."""
        shown = json.dumps(self.default, ensure_ascii=False)
        return f"| `{self.key}` | `{shown}` | {self.text} |"


def described() -> list[Value]:
    """All of values.yaml, in order. A key without a comment `# --` is a section, or a mistake. Raises ValueError."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    found = list(_values(yaml.compose(text), text.splitlines(), ""))
    bare = [value.key for value in found if not value.text]
    if bare:
        raise ValueError(f"values.yaml: no comment that begins with `# --` above {', '.join(bare)}")
    return found


def _values(node: Any, lines: list[str], prefix: str) -> Any:
    for key, value in node.value:
        comment = _comment(lines, key.start_mark.line)
        name = f"{prefix}{key.value}"
        if comment or not isinstance(value, yaml.MappingNode) or value.flow_style:
            yield Value(name, yaml.load(yaml.serialize(value), yaml.SafeLoader), comment)
        else:
            yield from _values(value, lines, f"{name}.")


def _comment(lines: list[str], at: int) -> str:
    above: list[str] = []
    while at > 0 and lines[at - 1].lstrip().startswith("#"):
        at -= 1
        above.insert(0, lines[at].lstrip().removeprefix("#").strip())
    return " ".join(above).removeprefix("--").strip() if above and above[0].startswith("--") else ""


if __name__ == "__main__":
    # What the table of docs/chart.md is to be.
    sys.stdout.writelines(f"{value.row}\n" for value in described())
