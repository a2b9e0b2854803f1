"""Named writes: their places, the table that remembers which were done, and how a result lies in it.

A write and the row of its execution are one transaction, so that the database itself knows what was done: whoever
asks again finds the row, and with it what the write had returned.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from remit.backends.row_meter import RowMeter
from remit.core.named_sql import NotOneWrite, Place, pieces
from remit.core.view.bindings import Bindings
from remit.core.view.model import Cell, Dialect
from remit.ports import DatabaseFailed, Failure, Limits, ResultColumn, Written

EXECUTIONS_SQL: Mapping[Dialect, str] = {
    Dialect.POSTGRES: (
        "CREATE TABLE public.remit_executions (id text PRIMARY KEY, result text NOT NULL,"
        " at timestamptz NOT NULL DEFAULT now())"
    ),
    Dialect.SQLITE: (
        "CREATE TABLE remit_executions (id text PRIMARY KEY, result text NOT NULL,"
        " at text NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    ),
}
"""What a dataset's owner creates where it has `statements`; the writer needs SELECT, INSERT and UPDATE on it."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A statement with numbered places, and the parameter of each."""

    sql: str
    names: tuple[str, ...]


def numbered(sql: str, dialect: Dialect) -> Numbered:
    """A write's `:name` places as the database numbers them.

    Raises DatabaseFailed (NOT_FIT) for what is not one write: another statement could end the transaction that makes
    it happen once, or change what the connection is.
    """
    try:
        cut = pieces(sql, dialect)
    except NotOneWrite as error:
        raise DatabaseFailed(Failure.NOT_FIT, f"a write that is none: {error}") from None
    places = Bindings(dialect)
    text = "".join(places.parameter(piece.name) if isinstance(piece, Place) else piece for piece in cut)
    return Numbered(text, tuple(dict.fromkeys(piece.name for piece in cut if isinstance(piece, Place))))


def values_of(statement: Numbered, parameters: Mapping[str, Cell]) -> list[Cell]:
    """The values in the order of their places."""
    missing = [name for name in statement.names if name not in parameters]
    if missing:
        raise DatabaseFailed(Failure.NOT_FIT, f"a write has :{missing[0]}, which is none of its parameters")
    return [parameters[name] for name in statement.names]


# How a result is kept: JSON, what JSON has no type for as {type: text}.

_TEXTS: Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Cell]]] = {
    "int": (int, str, int),
    "float": (float, float.hex, float.fromhex),
    "decimal": (Decimal, str, Decimal),
    "bytes": (bytes, lambda each: base64.b64encode(each).decode("ascii"), base64.b64decode),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "timedelta": (timedelta, lambda each: str(each // timedelta(microseconds=1)), lambda text: _microseconds(text)),
}


def kept_text(written: Written) -> str:
    """A result as it lies in the table of executions."""
    return json.dumps(
        {
            "affected": written.affected,
            "columns": [[column.name, column.type] for column in written.columns],
            "rows": [[_kept(cell) for cell in row] for row in written.rows],
        },
        ensure_ascii=True,
        separators=(",", ":"),
    )


def replayed(text: str) -> Written:
    """The result that was kept."""
    raw = json.loads(text)
    columns = tuple(ResultColumn(name, type) for name, type in raw["columns"])
    return Written(raw["affected"], columns, [tuple(map(_cell, row)) for row in raw["rows"]], replayed=True)


def _kept(cell: Cell) -> Any:
    if cell is None or isinstance(cell, bool | str):
        return cell
    for name, (kind, write, _) in _TEXTS.items():
        if isinstance(cell, kind):
            return {name: write(cell)}
    raise TypeError(type(cell).__name__)


def _cell(kept: Any) -> Cell:
    if not isinstance(kept, dict):
        cell: Cell = kept
        return cell
    ((name, text),) = kept.items()
    return _TEXTS[name][2](text)


def _microseconds(text: str) -> timedelta:
    return timedelta(microseconds=int(text))


def within(written: Written, limits: Limits) -> Written:
    """The result, where it is no more than a write may return. Raises DatabaseFailed."""
    meter = RowMeter(limits, len(written.columns))
    meter.fitting([tuple(row) for row in written.rows])
    if meter.truncated:
        raise DatabaseFailed(Failure.TOO_COSTLY, "the write returned more than it may")
    return written
