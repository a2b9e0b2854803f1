"""Row filters as SQL: policy's values bound, and their kinds held against the columns' types.

Each comparison is one that cannot fail for any row, so that no hidden row can make an answer an error. PostgreSQL is
told the type of each place: left to itself it would infer one from the column, and `age > 2.5` would become an
error where the oracle, a person, sees a comparison of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

from remit.core.view.bindings import Bindings, quoted
from remit.core.view.model import (
    EVERY_ROW,
    NO_ROW,
    Column,
    ColumnType,
    Compare,
    Dialect,
    Every,
    FieldRef,
    Filter,
    Not,
    Scalar,
    Some,
    ViewInvalid,
)

_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TEXTS = frozenset({"startswith", "endswith", "contains"})
NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.REAL, ColumnType.DECIMAL})
TIMES = frozenset({ColumnType.DATE, ColumnType.TIME, ColumnType.TIMESTAMP, ColumnType.TIMESTAMPTZ})
INT8 = range(-(2**63), 2**63)
# What PostgreSQL takes a text of policy's for, by the column that it is compared with.
_POSTGRES_TIMES: Mapping[ColumnType, tuple[str, Callable[[str], object]]] = {
    ColumnType.DATE: ("date", date.fromisoformat),
    ColumnType.TIME: ("time", time.fromisoformat),
    ColumnType.TIMESTAMP: ("timestamp", datetime.fromisoformat),
    ColumnType.TIMESTAMPTZ: ("timestamptz", datetime.fromisoformat),
    ColumnType.UUID: ("uuid", UUID),
}


def simplified(rows: Filter) -> Filter:
    """The same filter without parts that are always TRUE or FALSE; itself EVERY_ROW or NO_ROW where it is one."""
    match rows:
        case Every(parts):
            kept = tuple(part for part in map(simplified, parts) if part != EVERY_ROW)
            if NO_ROW in kept:
                return NO_ROW
            return kept[0] if len(kept) == 1 else Every(kept)
        case Some(parts):
            kept = tuple(part for part in map(simplified, parts) if part != NO_ROW)
            if EVERY_ROW in kept:
                return EVERY_ROW
            return kept[0] if len(kept) == 1 else Some(kept)
        case Not(part):
            inner = simplified(part)
            if inner in (EVERY_ROW, NO_ROW):
                return NO_ROW if inner == EVERY_ROW else EVERY_ROW
            return Not(inner)
        case Compare(_, "in", ()):
            return NO_ROW
    return rows


def columns_of(rows: Filter) -> frozenset[str]:
    """The columns that a filter reads."""
    match rows:
        case Every(parts) | Some(parts):
            return frozenset().union(*map(columns_of, parts))
        case Not(part):
            return columns_of(part)
        case Compare(column, _, FieldRef(other)):
            return frozenset({column, other})
    return frozenset({rows.column})


def filter_sql(rows: Filter, table: str, columns: Mapping[str, Column], bindings: Bindings, alias: str) -> str:
    """A simplified filter as a condition on `alias`. Raises ViewInvalid."""
    return _Writer(table, columns, bindings, alias).condition(rows)


def typed_place(value: Scalar, column: Column, bindings: Bindings) -> str | None:
    """The place of a value that is to be compared with a column; None where its kind does not fit the type."""
    if bindings.dialect is Dialect.SQLITE:
        return bindings.constant(value) if _fits_sqlite(value, column.type) else None
    type = _postgres_type(value, column.type)
    return bindings.constant(value, type) if type else None


def _fits_sqlite(value: Scalar, type: ColumnType) -> bool:
    """SQLite compares anything with anything; what policy surely did not mean is refused all the same."""
    if type is ColumnType.ANY:
        return True
    if isinstance(value, bool):
        return type in {ColumnType.BOOLEAN, ColumnType.INTEGER}
    if isinstance(value, str):
        return type in {ColumnType.TEXT, ColumnType.UUID, *TIMES}
    return type in {*NUMBERS, *TIMES} and (not isinstance(value, int) or value in INT8)


def _postgres_type(value: Scalar, type: ColumnType) -> str:
    """What PostgreSQL is to take a value for; "" where it does not fit."""
    if isinstance(value, bool):
        return "boolean" if type is ColumnType.BOOLEAN else ""
    if isinstance(value, str):
        if type in {ColumnType.TEXT, ColumnType.ANY}:
            return "text"
        name, read = _POSTGRES_TIMES.get(type, ("", str))
        return name if _reads(read, value) else ""
    if type is ColumnType.INTEGER and isinstance(value, int) and value in INT8:
        return "bigint"
    if type in {ColumnType.INTEGER, ColumnType.DECIMAL}:
        return "numeric"
    return "double precision" if type is ColumnType.REAL and _is_double(value) else ""


def _reads(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def _is_double(value: Scalar) -> bool:
    """Whether a number has a double that is neither infinite nor 0 in its place: PostgreSQL refuses these."""
    assert isinstance(value, int | Decimal)
    number = float(Decimal(value))
    return abs(number) != float("inf") and (number != 0 or value == 0)


class _Writer:
    def __init__(self, table: str, columns: Mapping[str, Column], bindings: Bindings, alias: str) -> None:
        self._table, self._columns, self._bindings, self._alias = table, columns, bindings, alias

    def condition(self, rows: Filter) -> str:
        match rows:
            case Every(parts):
                return self._joined(parts, "AND")
            case Some(parts):
                return self._joined(parts, "OR")
            case Not(part):
                return f"NOT ({self.condition(part)})"
        return self._compare(rows)

    def _joined(self, parts: tuple[Filter, ...], word: str) -> str:
        if not parts:
            truth = ("TRUE", "FALSE") if self._bindings.dialect is Dialect.POSTGRES else ("1", "0")
            return truth[word == "OR"]
        return f" {word} ".join(f"({self.condition(part)})" for part in parts)

    def _compare(self, compare: Compare) -> str:
        column = self._column(compare.column)
        name = self._name(compare.column)
        operator, value = compare.operator, compare.value
        if value is None and operator in {"eq", "ne"}:
            return f"{name} IS {'NOT ' if operator == 'ne' else ''}NULL"
        if operator == "in":
            return self._among(compare, column, name)
        if operator in _TEXTS:
            return self._text(compare, column, name)
        if operator not in _SIGNS:
            raise self._wrong(compare, "an operator of filters")
        if isinstance(value, FieldRef):
            return self._pair(compare, column, name)
        if value is None or isinstance(value, tuple):
            raise self._wrong(compare, "a scalar")
        if column.type is ColumnType.ANY and self._bindings.dialect is Dialect.POSTGRES:
            self._only_equal(compare)
            name = f"CAST({name} AS text)"
        return f"{name} {_SIGNS[operator]} {self._place(value, column, compare)}"

    def _among(self, compare: Compare, column: Column, name: str) -> str:
        if not isinstance(compare.value, tuple):
            raise self._wrong(compare, "a list")
        values = [value for value in compare.value if value is not None]
        parts = [f"{name} IS NULL"] if None in compare.value else []
        if values:
            cast = column.type is ColumnType.ANY and self._bindings.dialect is Dialect.POSTGRES
            places = ", ".join(self._place(value, column, compare) for value in values)
            parts.append(f"{f'CAST({name} AS text)' if cast else name} IN ({places})")
        return " OR ".join(parts)

    def _text(self, compare: Compare, column: Column, name: str) -> str:
        """No pattern, so that %, _ and \\ are themselves; case matters."""
        if column.type not in {ColumnType.TEXT, ColumnType.ANY}:
            raise self._wrong(compare, "a column of text")
        if isinstance(compare.value, FieldRef):
            other = self._column(compare.value.column)
            if other.type not in {ColumnType.TEXT, ColumnType.ANY}:
                raise self._wrong(compare, "another column of text")
            part = self._as_text(self._name(compare.value.column), other)
        elif isinstance(compare.value, str):
            part = self._bindings.constant(compare.value, "text")
        else:
            raise self._wrong(compare, "a text")
        whole = self._as_text(name, column)
        return (
            self._postgres_text(compare.operator, whole, part)
            if self._postgres
            else self._sqlite_text(compare.operator, whole, part)
        )

    def _postgres_text(self, operator: str, whole: str, part: str) -> str:
        call = self._bindings.call
        if operator == "startswith":  # as it is: an index in the collation "C" serves it
            return call("starts_with", whole, part)
        whole = f'{whole} COLLATE "C"'  # other collations can equate what differs, and some cannot be searched in
        if operator == "endswith":
            return f"{call('right', whole, call('length', part))} = {part}"
        return f"{call('strpos', whole, part)} > 0"

    def _sqlite_text(self, operator: str, whole: str, part: str) -> str:
        call = self._bindings.call
        if operator == "startswith":
            return f"{call('substr', whole, '1', call('length', part))} = {part}"
        if operator == "endswith":  # a negative start of 0 would be the whole text
            start = f"{call('length', whole)} - {call('length', part)} + 1"
            return f"{call('substr', whole, start)} = {part}"
        return f"{call('instr', whole, part)} > 0"

    def _pair(self, compare: Compare, column: Column, name: str) -> str:
        assert isinstance(compare.value, FieldRef)
        other = self._column(compare.value.column)
        same = column.type is other.type or {column.type, other.type} <= NUMBERS
        if (not same and self._postgres) or column.type in {ColumnType.JSON}:
            raise self._wrong(compare, f"a column of {column.type}")
        names = [name, self._name(compare.value.column)]
        if column.type is ColumnType.ANY and self._postgres:
            self._only_equal(compare)
            names = [f"CAST({each} AS text)" for each in names]
        return f"{names[0]} {_SIGNS[compare.operator]} {names[1]}"

    def _only_equal(self, compare: Compare) -> None:
        """A type of the database's own is compared as text, whose order is not its own."""
        if compare.operator not in {"eq", "ne"}:
            raise self._wrong(compare, "eq, ne or in for a column of this type")

    def _as_text(self, name: str, column: Column) -> str:
        """Text of variable length: a `character(n)` is compared without its blanks."""
        plain = column.declared in {"", "text"} or not self._postgres
        return name if plain else f"CAST({name} AS text)"

    def _place(self, value: Scalar, column: Column, compare: Compare) -> str:
        place = typed_place(value, column, self._bindings)
        if place is None:
            raise self._wrong(compare, f"what fits a column of type {column.declared or column.type}")
        return place

    def _column(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise ViewInvalid(f"a filter on {name!r}", where=self._table, expected="a column of the table") from None

    def _name(self, column: str) -> str:
        return f"{self._alias}.{quoted(column)}"

    @property
    def _postgres(self) -> bool:
        return self._bindings.dialect is Dialect.POSTGRES

    def _wrong(self, compare: Compare, expected: str) -> ViewInvalid:
        kind = "a column" if isinstance(compare.value, FieldRef) else type(compare.value).__name__
        where = f"{self._table}.{compare.column}"
        return ViewInvalid(f"the filter {compare.operator} with {kind}", where=where, expected=expected)
