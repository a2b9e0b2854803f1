"""Counts rows and their bytes up to what one reading may take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from remit.core.view.model import Cell
from remit.ports import Limits

_FIXED: dict[type, int] = {
    type(None): 1,
    bool: 1,
    int: 8,
    float: 8,
    date: 8,
    time: 8,
    datetime: 8,
    timedelta: 8,
}

Row = tuple[Cell, ...]


def row_size(row: Sequence[Any]) -> int:
    """The bytes of a row's cells: text in UTF-8, exact numbers by their digits, 8 for a number, a date or a time."""
    total = 0
    for cell in row:
        size = _FIXED.get(type(cell))
        total += _measured(cell) if size is None else size
    return total


def _measured(cell: Any) -> int:
    if isinstance(cell, str):
        return len(cell) if cell.isascii() else len(cell.encode("utf-8", "surrogatepass"))
    if isinstance(cell, bytes):
        return len(cell)
    if isinstance(cell, Decimal):
        return len(str(cell))
    return 8


class RowMeter:
    """Lets rows through while they fit. Of each row the first `visible` cells count: the others are not shown.

    `counted` are the bytes of those that were let through.
    """

    def __init__(self, limits: Limits, visible: int) -> None:
        self._rows = limits.rows
        self._bytes = limits.bytes
        self._visible = visible
        self.counted = 0
        self.truncated = False

    def fitting(self, rows: list[Row]) -> list[Row]:
        """The rows that still fit; `truncated` once one did not, and then none does any more."""
        if self.truncated:
            return []
        visible = self._visible
        for index, row in enumerate(rows):
            size = row_size(row if len(row) == visible else row[:visible])
            if self._rows < 1 or size > self._bytes:
                self.truncated = True
                return rows[:index]
            self._rows -= 1
            self._bytes -= size
            self.counted += size
        return rows
