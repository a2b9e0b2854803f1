"""Datasets of the catalogue: tables and columns, where they lie, what may be read of them at once, named writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Labels = tuple[str, ...]

# How a field appears in the document for policy: as money, or not at all (core/plain.py).
_HIDDEN = {"hidden": True}
_MONEY = {"money": True}
# Found in a comment or a string too: then what returns nothing has its labels all the same.
_RETURNING = re.compile(r"\bRETURNING\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset's table: each column's labels; `subject_key` is the column that says whose row it is.

    `source` is its name in the database, `table` or `schema.table` ("": as it is called here).
    """

    columns: Mapping[str, Labels]
    subject_key: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a dataset's data lie, and the password that goes with it ("" where neither is named)."""

    url: str = ""
    file: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """The most that one query may take: rows and bytes of its answer, seconds, and what the database plans for it
    (PostgreSQL's cost units, SQLite's steps in thousands; 0: any)."""

    rows: int = 10_000
    bytes: int = 16 << 20
    seconds: int = 10
    cost: int = 0


@dataclass(frozen=True, slots=True)
class NamedStatement:
    """A write that agents may ask for by name. `sql` has `:name` places for `parameters` (name -> type).

    `labels` lie on what it returns; `cost` (nanos) is spent each time.
    """

    sql: str
    owner: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = ()
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    cost: int = field(default=0, metadata=_MONEY)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data to read and write. `labels` lie on all of it; a column adds its own.

    `reader` is how it is read, `writer` how its `statements` write.
    """

    owner: str = ""
    reader: DataSource = field(default=DataSource(), metadata=_HIDDEN)
    writer: DataSource = field(default=DataSource(), metadata=_HIDDEN)
    labels: Labels = ()
    clearance: Labels = ()
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    limits: ReadLimits = ReadLimits()
    statements: Mapping[str, NamedStatement] = field(default_factory=dict)

    def returned(self, statement: NamedStatement) -> Labels:
        """The labels of what a statement of its own returns, sorted; none where it returns nothing."""
        return tuple(sorted({*self.labels, *statement.labels})) if _RETURNING.search(statement.sql) else ()
