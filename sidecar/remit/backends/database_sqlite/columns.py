"""What the catalogue's columns hold, by the types that the tables declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import apsw

from remit.backends.database_columns import refuse_any
from remit.core.dataset import Table
from remit.core.view.model import Column, Columns, ColumnType

_DECLARED = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,62}(?:\(\d{1,4}(?:, ?\d{1,4})?\))?", re.ASCII)
# The first that is found in the declaration; in SQLite's own order where it has one (datatype3.html, 3.1).
_KINDS = (
    ("BOOL", ColumnType.BOOLEAN),
    ("INTERVAL", ColumnType.INTERVAL),
    ("INT", ColumnType.INTEGER),
    ("CHAR", ColumnType.TEXT),
    ("CLOB", ColumnType.TEXT),
    ("TEXT", ColumnType.TEXT),
    ("BLOB", ColumnType.BYTES),
    ("REAL", ColumnType.REAL),
    ("FLOA", ColumnType.REAL),
    ("DOUB", ColumnType.REAL),
    ("TIMESTAMP", ColumnType.TIMESTAMP),
    ("DATETIME", ColumnType.TIMESTAMP),
    ("DATE", ColumnType.DATE),
    ("TIME", ColumnType.TIME),
    ("DEC", ColumnType.DECIMAL),
    ("NUM", ColumnType.DECIMAL),
    ("JSON", ColumnType.JSON),
    ("UUID", ColumnType.UUID),
)


def declared_type(declared: str) -> ColumnType:
    """What a declared type says that a column holds."""
    upper = declared.upper()
    return next((kind for part, kind in _KINDS if part in upper), ColumnType.ANY)


def fitting_columns(connection: apsw.Connection, tables: Mapping[str, Table]) -> Columns:
    """The types of the catalogue's columns. Raises DatabaseFailed (NOT_FIT), and apsw's errors."""
    found: dict[str, dict[str, Column]] = {}
    problems: list[str] = []
    for name, table in tables.items():
        place = (table.source or name).removeprefix("main.")
        columns = _columns(connection, place)
        if not columns:
            problems.append(f"there is no table {place}")
        problems += [f"there is no column {place}.{each}" for each in table.columns if columns and each not in columns]
        found[name] = {each: columns[each] for each in table.columns if each in columns}
    refuse_any(problems)
    return found


def _columns(connection: apsw.Connection, table: str) -> dict[str, Column]:
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT name, type FROM pragma_table_xinfo(?, 'main')", (table,)
    ).fetchall()
    return {name: Column(declared_type(type), type if _DECLARED.fullmatch(type) else "") for name, type in rows}
