r"""The view of one use of a table, as SQL, and the fence around it.

Where a row filter hides rows, the view is `WITH … AS MATERIALIZED (…)`: no expression of the agent's is computed for a
row that the filter has not let through, so that neither an error nor a slow or early end tells of it. A plain sub-query
is none: both databases merge it into the statement, and compute what is cheap or indexed first, whoever wrote it.

PostgreSQL: MATERIALIZED is documented to be an optimisation fence (§7.8.3, "Common Table Expression Materialization").
A sub-query with OFFSET 0 is none, though it is not merged: the planner looks through it to the statistics of the table,
and there tries the agent's `name LIKE '_mith\'` on the most common names, hidden ones too, which fails for some. From
version 17 on it looks through MATERIALIZED as well, but only where an output is a plain column: so none of them is.
SQLite: it is documented as a hint, and implemented as a fence: a common table expression marked so is neither flattened
into the statement, nor run as a co-routine, nor are conditions pushed down into it (`M10d_Yes` in select.c).
tests/core/view/test_rewrite_fence.py holds both to it.

The fence costs the index that the agent's own conditions would have used: core/view/moved.py gets it back.

Masks need no fence: the agent's expressions see what the mask gives, and no mask fails for any value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from remit.core.dataset import Table
from remit.core.view.bindings import Bindings, quoted
from remit.core.view.filter_sql import columns_of, filter_sql, simplified
from remit.core.view.mask_sql import Masked, mask_sql, null_of
from remit.core.view.model import (
    EVERY_ROW,
    NO_ROW,
    Column,
    Columns,
    Dialect,
    Filter,
    Mask,
    Statement,
    TableView,
    TokenArray,
    Use,
    ViewInvalid,
)
from remit.core.view.moved import conditions_sql

RAW = '"r"'
"""What the table itself is called within its view, where nothing of the agent's is."""

_SCHEMAS = {Dialect.POSTGRES: "public", Dialect.SQLITE: "main"}


@dataclass(frozen=True, slots=True)
class Source:
    """A table of the dataset as one agent sees it. `rows` is simplified."""

    dataset: str
    name: str
    physical: str
    table: Table
    columns: Mapping[str, Column]
    rows: Filter
    masks: Mapping[str, Mask]
    dialect: Dialect

    @property
    def is_fenced(self) -> bool:
        """Whether there are rows to hide, and rows to show."""
        return self.rows not in (EVERY_ROW, NO_ROW)

    def raw(self, column: str) -> str:
        """A column of the table itself; of no row, a NULL of its type: nothing of the table is planned with."""
        if self.rows != NO_ROW:
            return f"{RAW}.{quoted(column)}"
        return null_of(self.columns[column], self.dialect)

    @property
    def sql(self) -> str:
        """FROM what."""
        return ".".join(map(quoted, self.physical.split(".", 1))) + f" AS {RAW}"

    @property
    def identity(self) -> str:
        """What tells its rows apart, as text: its subject key, or where in the table a row lies."""
        if self.table.subject_key:
            return f"CAST({RAW}.{quoted(self.table.subject_key)} AS text)"
        if self.dialect is Dialect.POSTGRES:  # the second half is unique within one partition only
            return f"CAST({RAW}.tableoid AS text) || CAST({RAW}.ctid AS text)"
        free = next(name for name in ("rowid", "_rowid_", "oid") if name not in map(str.lower, self.columns))
        return f"CAST({RAW}.{free} AS text)"

    @property
    def identities(self) -> frozenset[str]:
        """The columns that `identity` reads. An INTEGER PRIMARY KEY is SQLite's rowid, and called by its name there."""
        if self.table.subject_key:
            return frozenset({self.table.subject_key})
        if self.dialect is Dialect.POSTGRES:
            return frozenset({"tableoid", "ctid"})
        keys = {name for name, column in self.columns.items() if column.declared.upper() == "INTEGER"}
        return frozenset({"ROWID", *keys})


def sources_of(
    statement: Statement, views: Mapping[str, TableView], tables: Mapping[str, Table], columns: Columns
) -> dict[str, Source]:
    """Of each table that a statement uses. Raises ViewInvalid for a column that the database has not."""
    found: dict[str, Source] = {}
    for name in sorted({use.table for use in statement.uses}):
        view, table = views.get(name), tables[name]
        if view is None or view.table != name or name not in columns:
            raise ViewInvalid("a table without a view", where=name)
        _known(name, view.masks, table, "a mask")
        _known(name, columns_of(view.filter), table, "a filter")
        _known(name, table.columns, columns[name], "a column")
        found[name] = Source(
            dataset=statement.dataset,
            name=name,
            physical=_physical(table.source or name, statement.dialect),
            table=table,
            columns=columns[name],
            rows=simplified(view.filter),
            masks=view.masks,
            dialect=statement.dialect,
        )
    return found


def _known(table: str, names: Iterable[str], known: Table | Mapping[str, Column], what: str) -> None:
    present = known.columns if isinstance(known, Table) else known
    for name in sorted(names):
        if name not in present:
            raise ViewInvalid(f"{what} {name!r}", where=table, expected="a column of the table")


def _physical(source: str, dialect: Dialect) -> str:
    return source if "." in source else f"{_SCHEMAS[dialect]}.{source}"


@dataclass(frozen=True, slots=True)
class Hidden:
    """A column of a view that the agent cannot name: `sql` of the table itself."""

    name: str
    sql: str


TokenIndex = Callable[[Source, str, str], int]
"""(source, column, domain) -> which token query reads its values."""


def view_sql(use: Use, source: Source, bindings: Bindings, tokens: TokenIndex, hidden: tuple[Hidden, ...] = ()) -> str:
    """The SELECT that stands in a use's place: exactly its columns, masked, then the hidden ones."""
    body = _Body(source, bindings, tokens)
    outputs = [f"{body.column(column)} AS {quoted(column)}" for column in use.columns]
    if source.rows == NO_ROW:
        outputs += [f"NULL AS {quoted(each.name)}" for each in hidden]
        return f"SELECT {_listed(outputs)} WHERE {'FALSE' if source.dialect is Dialect.POSTGRES else '0'}"
    outputs += [f"{each.sql} AS {quoted(each.name)}" for each in hidden]
    moved = moved_sql(use, source, bindings) if source.is_fenced else ""  # else the database moves them by itself
    conditions = restriction(source, moved, bindings)
    where = f" WHERE {conditions}" if conditions else ""
    return f"SELECT {_listed(outputs)} FROM {source.sql}{''.join(body.joins)}{where}"  # noqa: S608


def _listed(outputs: list[str]) -> str:
    """A use that names no column counts rows."""
    return ", ".join(outputs) or '1 AS "remit_row"'


def distinct_sql(value: str, source: Source, moved: str, bindings: Bindings, most: int) -> str:
    """The distinct texts of a value in the rows that a source shows, at most so many."""
    rows = restriction(source, moved, bindings)
    where = f"({rows}) AND {value} IS NOT NULL" if rows else f"{value} IS NOT NULL"
    return f"SELECT DISTINCT {value} FROM {source.sql} WHERE {where} LIMIT {most}"  # noqa: S608


def restriction(source: Source, moved: str, bindings: Bindings) -> str:
    """The row filter, and what is moved to it: "" where every row is shown."""
    if source.rows == EVERY_ROW:
        return moved
    shown = filter_sql(source.rows, source.name, source.columns, bindings, RAW)
    return f"({shown}) AND {moved}" if moved else shown


class _Body:
    """The outputs of one view, and the joins with the tokens that they need."""

    def __init__(self, source: Source, bindings: Bindings, tokens: TokenIndex) -> None:
        self._source, self._bindings, self._tokens = source, bindings, tokens
        self.joins: list[str] = []

    def column(self, column: str) -> str:
        source, raw = self._source, self._source.raw(column)
        if column in source.masks:
            return mask_sql(source.masks[column], self._masked(column), self._bindings, self._token(column))
        if not source.is_fenced or source.dialect is not Dialect.POSTGRES:
            return raw
        # Always so, and not known when planning: what is no plain column has no statistics to look at.
        return f"CASE WHEN {self._bindings.call('now')} > '-infinity' THEN {raw} END"

    def _masked(self, column: str) -> Masked:
        source = self._source
        return Masked(
            name=source.raw(column),
            where=f"{source.name}.{column}",
            column=source.columns[column],
            domain=f"{source.dataset}.{source.name}.{column}",
            labels=source.table.columns[column],
        )

    def _token(self, column: str) -> Callable[[Masked, str], str]:
        def join(masked: Masked, domain: str) -> str:
            if self._source.rows == NO_ROW:
                return "CAST(NULL AS text)"
            index = self._tokens(self._source, column, domain)
            alias = quoted(f"t{len(self.joins)}")
            arrays = ", ".join(self._bindings.new(TokenArray(index, which), "text[]") for which in ("raw", "token"))
            pairs = f"{self._bindings.call('unnest', arrays)} AS {alias} (raw, token)"
            self.joins.append(f' LEFT JOIN {pairs} ON {alias}.raw = CAST({masked.name} AS text) COLLATE "C"')
            return f"{alias}.token"

        return join


def moved_sql(use: Use, source: Source, bindings: Bindings) -> str:
    """A use's own conditions that may be asked of every row; "" where there are none."""
    plain = {name: column for name, column in source.columns.items() if name not in source.masks}
    return conditions_sql(use.conditions, plain, bindings, RAW)
