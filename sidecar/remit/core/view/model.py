"""The words of data views: what an agent may see of a table, what a statement uses, and what is run in its place.

A *view* of a table is a row filter and column masks, as policy gave them for one agent, purpose and workflow. A
*statement* is what the agent sent, parsed and resolved against the catalogue; nothing of its text goes on. A
*plan* is the text that the database gets, made from the statement's tree and the views, with every value of policy
and of the agent bound and none spliced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

Scalar = None | bool | int | Decimal | str
"""A value that policy states: JSON's, numbers exact."""

Cell = None | bool | int | float | Decimal | str | bytes | date | time | datetime | timedelta
"""A value in a row, or one that an agent binds; UUIDs, JSON and types of a database's own are text."""


class Dialect(StrEnum):
    """Which database's SQL; sqlglot's names."""

    POSTGRES = "postgres"
    SQLITE = "sqlite"


class ColumnType(StrEnum):
    """What a column holds, as far as views tell types apart."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    REAL = "real"
    DECIMAL = "decimal"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"  # without a zone
    TIMESTAMPTZ = "timestamptz"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ANY = "any"  # a type of its own, or none at all (SQLite)


class ViewRefused(Exception):
    """A statement, or the view that it needs, is not one that Remit can vouch for.

    `what` says what was found, `where` the place ("line 1, column 8", "customers.email"), `expected` what would do.
    Never any data: only what the agent itself sent, the catalogue's names and policy's own words.
    """

    def __init__(self, what: str, *, where: str = "", expected: str = "") -> None:
        parts = [f"{where}: " if where else "", what, f", expected {expected}" if expected else ""]
        super().__init__("".join(parts))
        self.what = what
        self.where = where
        self.expected = expected


class ViewInvalid(ViewRefused):
    """Not the agent's fault: policy or catalogue says of a view what cannot be done (it is recorded as such)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its database has it: `declared` is the database's own name of the type, fit to be cast to."""

    type: ColumnType
    declared: str = ""


Columns = Mapping[str, Mapping[str, Column]]
"""Catalogue table -> column -> what it holds."""


# What policy says of a table.


@dataclass(frozen=True, slots=True)
class Compare:
    """`column` `operator` `value`; operators are eq ne lt le gt ge in startswith endswith contains.

    `value` is a scalar, a tuple of scalars for `in`, or another column of the same table (`FieldRef`). SQL's logic
    with three values holds, and only what is TRUE is shown; `eq` and `ne` with None are IS NULL and IS NOT NULL.
    """

    column: str
    operator: str
    value: Scalar | tuple[Scalar, ...] | FieldRef


@dataclass(frozen=True, slots=True)
class FieldRef:
    """Another column of the same table."""

    column: str


@dataclass(frozen=True, slots=True)
class Every:
    """All of these hold; of none, TRUE: every row."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of these holds; of none, FALSE: no row."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The part is FALSE (and not NULL)."""

    part: Filter


Filter = Compare | Every | Some | Not
EVERY_ROW = Every()
NO_ROW = Some()


@dataclass(frozen=True, slots=True)
class Mask:
    """What stands in a column's place. `kind` and its settings:

    null · constant {value} · hash {} · partial {first | last: n} · bucket {width: number | unit: year month week day
    hour} · round {places: n} · tokenize {domain: text}

    null, constant, hash and tokenize take the column's labels away; the others tell of the value, and keep them.
    """

    kind: str
    settings: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def keeps_labels(self) -> bool:
        """Whether what is shown still tells of the value itself."""
        return self.kind in {"partial", "bucket", "round"}


@dataclass(frozen=True, slots=True)
class TableView:
    """What one agent sees of one table, for one purpose in one workflow."""

    table: str
    filter: Filter = NO_ROW
    masks: Mapping[str, Mask] = field(default_factory=dict)


# What a statement uses.


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of the statement's own WHERE that compares one column of one use with a literal or a parameter.

    `operator` is eq lt le gt ge in between; `operands` are sqlglot nodes (Literal, Placeholder, Boolean, Neg of a
    Literal, or a Cast of one of these to a type that is allowed). It holds of every row that the statement can show of
    this use, so that it may be moved into the view, after the row filter, and the index be used.
    """

    column: str
    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a statement reads a table. `columns` are all that it can name, in the catalogue's order."""

    table: str
    alias: str
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """An agent's SELECT, resolved. `tree` is sqlglot's, never changed: copy it first.

    Each table of the dataset in it is an `exp.Table` whose `meta["use"]` is its index in `uses`. `plain_uses` are the
    indices of those that the outermost SELECT reads row by row, without grouping, DISTINCT or set operation, so that
    each row of the answer is of one row of that use (or of none, in an outer join). `normal` is the text with each
    literal as `?`: what may be recorded; `text` is what the tree's places are of, "" where they are of none.
    """

    dataset: str
    dialect: Dialect
    tree: Any
    uses: tuple[Use, ...]
    plain_uses: tuple[int, ...]
    parameters: tuple[str, ...]
    normal: str
    text: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that it can see, `table.column`, each once and sorted; `table` where it names none of it."""
        return tuple(sorted({name for use in self.uses for name in _fields(use)}))


def _fields(use: Use) -> tuple[str, ...]:
    return tuple(f"{use.table}.{column}" for column in use.columns) or (use.table,)


# What is run.


@dataclass(frozen=True, slots=True)
class Parameter:
    """Bound to the value that the agent sent under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """Bound to a value of policy's."""

    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class HashPad:
    """Bound to a key block of HMAC-SHA-256 (RFC 2104) for a column: 64 bytes, `inner` or `outer`."""

    domain: str
    which: str


@dataclass(frozen=True, slots=True)
class TokenArray:
    """Bound to a list of texts: the `raw` values of a token query (by index), or the `token` of each."""

    query: int
    which: str


Binding = Parameter | Constant | HashPad | TokenArray


@dataclass(frozen=True, slots=True)
class Text:
    """SQL with numbered places (`$1` for PostgreSQL, `?1` for SQLite) and what each is bound to."""

    sql: str
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """Reads the distinct raw values (as text) of a column that will be tokenised, in the same snapshot.

    A database that can call Remit's own functions (SQLite) needs none.
    """

    text: Text
    domain: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubjectQuery:
    """Reads the distinct subject keys (as text) of a table that a statement reached, at most `MAX_SUBJECTS` + 1."""

    table: str
    text: Text


MAX_STATEMENT_BYTES = 64 * 1024
"""Of a statement's text, in UTF-8."""


MAX_SUBJECTS = 10_000
"""How many subjects of one answer are recorded by name; beyond, that they were many."""


ROW_BYTES = 4 << 20
"""The largest row, as PostgreSQL would send it, of a statement that may make much of little (`Plan.grows`)."""

ROW_TOO_LARGE = "remit: a row that is too large"
"""In the error of a row beyond it."""


MAX_TOKENS = 100_000
"""How many distinct values of a column a token query may give; it gives one more where there are more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the database gets for a statement.

    `hidden` names, for each trailing column of the result that is not the agent's, the table whose subject key
    (as text) it is. `subjects` are read first, in the same snapshot, of tables whose keys the result itself cannot
    tell. `reads` is all that it touches, physical table -> columns (a second wall: SQLite's authorizer); `functions`
    all that it calls, lower case; `names` those of its common table expressions, lower case, which may be called like
    tables that it does not read. `rows` is the most that it returns, one beyond what may be shown. `grows` where a row
    may be much larger than what is stored: such rows are measured by the database, and few are held at once.
    """

    dialect: Dialect
    text: Text
    hidden: tuple[str, ...] = ()
    subjects: tuple[SubjectQuery, ...] = ()
    tokens: tuple[TokenQuery, ...] = ()
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    rows: int = 0
    grows: bool = False
