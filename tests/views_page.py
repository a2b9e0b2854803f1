"""docs/views.md, cut into what tests hold it to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "views.md").read_text(encoding="utf-8")


def part(title: str) -> str:
    """What stands below a heading, up to the next one."""
    _, _, after = PAGE.partition(f"\n## {title}\n")
    assert after, title
    return after.partition("\n## ")[0]


def blocks(kind: str, text: str = PAGE) -> list[str]:
    """The code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table(head: str) -> list[list[str]]:
    """The rows of the table with this first line, without it and its ruler."""
    _, _, after = PAGE.partition(f"\n{head}\n")
    assert after, head
    lines = after.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split(" | ")] for line in lines]


def quoted(cell: str) -> str:
    """What a cell has in backquotes."""
    return cell.strip("`")


def names(cell: str) -> set[str]:
    """All that a cell names in backquotes."""
    return set(re.findall(r"`([a-z_]+)`", cell))


def catalogue(place: Path, support: str, ana: str) -> str:
    """The page's catalogue, with its database in a directory, and the hashes of two tokens."""
    text = blocks("yaml")[0]
    for given, is_now in (("/DIRECTORY", str(place)), ("SUPPORT_HASH", support), ("ANA_HASH", ana)):
        assert given in text
        text = text.replace(given, is_now)
    return text


def policies() -> dict[str, str]:
    """The page's policies, by the file that each is."""
    view, statistics = blocks("rego")
    return {"crm.rego": view, "statistics.rego": statistics}


def statements(text: str) -> Sequence[str]:
    """SQL, cut at each semicolon that ends a line."""
    return [each.strip() for each in re.split(r";\n", text) if each.strip()]


DATABASE = blocks("sql")[0]
"""The tables of the examples."""
