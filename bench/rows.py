"""What was measured: rows of bench/latest.json, and the table of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of bench/latest.json; `ratio` is value ÷ what it is measured against."""

    name: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    note: str = ""


def read(file: Path) -> list[Row]:
    """The rows of a file, none where there is no file."""
    return [Row(**each) for each in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def write(file: Path, rows: list[Row]) -> None:
    """Replace a file's rows."""
    file.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """The old rows whose names are not measured anew, then the new ones."""
    names = {row.name for row in new}
    return [row for row in old if row.name not in names] + new


def show(rows: list[Row]) -> None:
    table = Table("figure", "value", "against", "ratio", "note")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} ×"
        table.add_row(row.name, f"{row.value:.3g} {row.unit}", row.against, ratio, row.note)
    Console(width=shutil.get_terminal_size((110, 20)).columns).print(table)
