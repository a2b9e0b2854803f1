"""Column masks as SQL. Each gives a value, or NULL, for every value that a column can hold: none ever fails.

That is what lets a mask stand without a fence. An agent's expressions see only what the mask gives, in whatever order
the database computes them, and a mask that failed for some value would tell of it.

NULL stays NULL under all masks but null and constant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from remit.core.view.bindings import Bindings
from remit.core.view.filter_sql import INT8, NUMBERS, typed_place
from remit.core.view.model import Column, ColumnType, Dialect, HashPad, Mask, Scalar, ViewInvalid

_DATES = frozenset({ColumnType.DATE, ColumnType.TIMESTAMP, ColumnType.TIMESTAMPTZ})
_READABLE = frozenset({ColumnType.TEXT, ColumnType.INTEGER, ColumnType.UUID, ColumnType.ANY})
# A width or a number of characters that arithmetic cannot overflow with.
_MOST = 2**53
_DECLARED = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*(\([0-9 ,+-]*\))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Masked:
    """A column to be masked: `name` is its SQL, `where` what an error calls it, `domain` that of its keys."""

    name: str
    where: str
    column: Column
    domain: str
    labels: tuple[str, ...]


Token = Callable[[Masked, str], str]
"""Given the column and the domain of its tokens, the SQL of its token where the database has no function for it."""


def mask_sql(mask: Mask, masked: Masked, bindings: Bindings, token: Token) -> str:
    """What stands in a column's place. Raises ViewInvalid for a mask that does not fit the column's type."""
    writer = (
        _Postgres(mask, masked, bindings, token)
        if bindings.dialect is Dialect.POSTGRES
        else _Sqlite(mask, masked, bindings, token)
    )
    return writer.write()


def null_of(column: Column, dialect: Dialect) -> str:
    """A NULL of a column's type. What SQLite's tables declare may be anything, and is no type then."""
    fit = bool(column.declared) and (dialect is Dialect.POSTGRES or _DECLARED.fullmatch(column.declared) is not None)
    return f"CAST(NULL AS {column.declared})" if fit else "NULL"


class _Writer:
    """One mask of one column; what both databases write alike."""

    def __init__(self, mask: Mask, masked: Masked, bindings: Bindings, token: Token) -> None:
        self.mask, self.masked, self.bindings, self.token = mask, masked, bindings, token
        self.name, self.type = masked.name, masked.column.type
        self.call = bindings.call

    def write(self) -> str:
        forms: dict[str, Callable[[], str]] = {
            "null": self.null,
            "constant": self.constant,
            "hash": self.hash,
            "partial": self.partial,
            "bucket": self.bucket,
            "round": self.round,
            "tokenize": self.tokenize,
        }
        if self.mask.kind not in forms:
            raise self.unfit("a mask that is known")
        return forms[self.mask.kind]()

    def null(self) -> str:
        return null_of(self.masked.column, self.bindings.dialect)

    def constant(self) -> str:
        value = self.mask.settings.get("value")
        if value is None:
            return self.null()
        if self.type is ColumnType.JSON:
            return self.bindings.constant(_json(value), self.masked.column.declared or "json")
        whole = self.type is not ColumnType.INTEGER or isinstance(value, int)
        place = typed_place(value, self.masked.column, self.bindings) if whole else None
        if place is None or (self.type is ColumnType.INTEGER and value not in INT8):
            raise self.unfit("a value of the column's own type")
        return place

    def partial(self) -> str:
        first, last = self.mask.settings.get("first"), self.mask.settings.get("last")
        count = first if last is None else last
        if self.type not in _READABLE or not _whole(count) or (first is None) == (last is None):
            raise self.unfit("a number of characters, of a column of text")
        text = f"CAST({self.name} AS text)"
        place = self.bindings.constant(count, "integer")
        length = self.call("length", text)
        shown = self.first(text, place) if last is None else self.last(text, place)
        return f"CASE WHEN {self.name} IS NULL THEN NULL WHEN {self.hidden(length, place)} THEN '***' ELSE {shown} END"

    def hidden(self, length: str, place: str) -> str:
        """When nothing of a text is shown: too little would be left out."""
        return f"{length} <= {place}"

    def bucket(self) -> str:
        width, unit = self.mask.settings.get("width"), self.mask.settings.get("unit")
        if unit is None and self.type in NUMBERS and _width(width, self.type):
            return self.wide(width)
        units = ("year", "month", "week", "day") + (("hour",) if self.type is not ColumnType.DATE else ())
        if width is None and self.type in _DATES and unit in units:
            return self.long(str(unit))
        raise self.unfit("a width for a column of numbers (whole for whole ones), or a unit for one of dates or times")

    def round(self) -> str:
        places = self.mask.settings.get("places")
        if self.type not in NUMBERS or not _whole(places):
            raise self.unfit("a number of places, of a column of numbers")
        return self.rounded(places)

    def domain(self) -> str:
        """What keys are made for: values of one domain can be compared."""
        return str(self.mask.settings.get("domain") or self.masked.domain)

    def unfit(self, expected: str) -> ViewInvalid:
        what = f"the mask {self.mask.kind} on a column of type {self.masked.column.declared or self.type}"
        return ViewInvalid(what, where=self.masked.where, expected=expected)

    def first(self, text: str, count: str) -> str:
        return f"{self.call('substr', text, '1', count)} || '***'"

    def last(self, text: str, count: str) -> str:
        raise NotImplementedError

    def hash(self) -> str:
        raise NotImplementedError

    def wide(self, width: Scalar) -> str:
        raise NotImplementedError

    def long(self, unit: str) -> str:
        raise NotImplementedError

    def rounded(self, places: Scalar) -> str:
        raise NotImplementedError

    def tokenize(self) -> str:
        raise NotImplementedError


# Beyond these a number is shown as the limit: adding a width to it could leave the range of its type.
_LEAST, _GREATEST = "-1e300", "1e300"
_POSTGRES_WHOLE = (str(-(2**63)), str(2**63 - 1))


class _Postgres(_Writer):
    def last(self, text: str, count: str) -> str:
        return f"'***' || {self.call('right', text, count)}"

    def hash(self) -> str:
        """HMAC-SHA-256 (RFC 2104) of the value as text, in hex, from the two padded key blocks."""
        inner, outer = (self.bindings.new(HashPad(self.domain(), which), "bytea") for which in ("inner", "outer"))
        text = self.call("convert_to", f"CAST({self.name} AS text)", "'UTF8'")
        digest = self.call("sha256", f"{outer} || {self.call('sha256', f'{inner} || {text}')}")
        return self.call("encode", digest, "'hex'")

    def wide(self, width: Scalar) -> str:
        """Down to a multiple, in exact arithmetic: a quotient would be rounded, and could be rounded up."""
        place = self.bindings.constant(width, "numeric")

        def down(number: str) -> str:
            rest = self.call("mod", f"{self.call('mod', number, place)} + {place}", place)
            return f"{number} - {rest}"

        return self._exact(down)

    def rounded(self, places: Scalar) -> str:
        place = self.bindings.constant(places, "integer")
        return self._exact(lambda number: self.call("round", number, place))

    def _exact(self, change: Callable[[str], str]) -> str:
        """Changed as a numeric within its range; NaN, infinity and NULL stay (LEAST would pass NULL over)."""
        number = f"CAST({self.name} AS numeric)"
        if self.type is ColumnType.INTEGER:
            least, most = _POSTGRES_WHOLE
            changed = f"CAST(LEAST(GREATEST({change(number)}, {least}), {most}) AS bigint)"
            return f"CASE WHEN {self.name} IS NOT NULL THEN {changed} END"
        changed = change(f"LEAST(GREATEST({number}, {_LEAST}), {_GREATEST})")
        if self.type is ColumnType.REAL:
            changed = f"CAST({changed} AS double precision)"
        special = f"{self.name} IS NULL OR CAST({self.name} AS text) IN ('NaN', 'Infinity', '-Infinity')"
        return f"CASE WHEN {special} THEN {self.name} ELSE {changed} END"

    def long(self, unit: str) -> str:
        """Years that every time's type has; what lies outside is before or after everything."""
        name = {ColumnType.DATE: "date", ColumnType.TIMESTAMP: "timestamp"}.get(self.type, "timestamptz")
        if self.type is ColumnType.DATE:
            time = self.call("date_trunc", f"'{unit}'", f"CAST({self.name} AS timestamp)")
            start = f"CAST({time} AS date)"
        elif self.type is ColumnType.TIMESTAMP:
            start = self.call("date_trunc", f"'{unit}'", self.name)
        else:
            start = self.call("date_trunc", f"'{unit}'", self.name, "'UTC'")
        return (
            f"CASE WHEN {self.name} < CAST('0002-01-01' AS {name}) THEN CAST('-infinity' AS {name})"
            f" WHEN {self.name} >= CAST('9999-12-01' AS {name}) THEN CAST('infinity' AS {name}) ELSE {start} END"
        )

    def tokenize(self) -> str:
        if self.type in {ColumnType.BYTES, ColumnType.JSON}:
            raise self.unfit("a column of text, numbers or dates")
        return self.token(self.masked, self.domain())


# What SQLite's strftime() gives for the start of a unit; text in, text out, NULL for what is no time.
_SQLITE_UNITS = {
    "year": ("%Y-01-01",),
    "month": ("%Y-%m-01",),
    "week": ("%Y-%m-%d", "weekday 0", "-6 days"),
    "day": ("%Y-%m-%d",),
    "hour": ("%Y-%m-%d %H:00:00",),
}


class _Sqlite(_Writer):
    """A column of SQLite may hold values of any type; a mask of numbers gives NULL for what is none.

    Remit's own functions get the value as it is: a cast of bytes to text could make a text that is none.
    """

    def hidden(self, length: str, place: str) -> str:
        return f"{self.call('typeof', self.name)} = 'blob' OR {length} <= {place}"

    def last(self, text: str, count: str) -> str:
        """Not by a negative start: that of -0 is the whole text."""
        start = f"{self.call('length', text)} - {count} + 1"
        return f"'***' || {self.call('substr', text, start)}"

    def hash(self) -> str:
        return self.call("remit_hash", self.name, self.bindings.constant(self.domain()))

    def tokenize(self) -> str:
        if self.type in {ColumnType.BYTES, ColumnType.JSON}:
            raise self.unfit("a column of text, numbers or dates")
        labels = json.dumps(self.masked.labels)
        place = self.bindings.constant
        return self.call("remit_token", self.name, place(self.domain()), place(labels))

    def wide(self, width: Scalar) -> str:
        real = f"CAST({self.bindings.constant(width)} AS real)"
        down = f"{self.call('floor', f'{self.name} / {real}')} * {real}"
        if self.type is ColumnType.REAL:
            return self._numbers(down, down, "real")
        if self.type is ColumnType.DECIMAL:
            return self._numbers(down, down, "numeric")
        place = self.bindings.constant(width)
        whole = f"CAST({self.name} - (({self.name} % {place}) + {place}) % {place} AS integer)"
        return self._numbers(whole, down, "integer")

    def rounded(self, places: Scalar) -> str:
        rounded = self.call("round", self.name, self.bindings.constant(places))
        type = {ColumnType.INTEGER: "integer", ColumnType.REAL: "real"}.get(self.type, "numeric")
        return self._numbers(self.name, rounded, type)

    def _numbers(self, whole: str, real: str, type: str) -> str:
        """The cast gives the column the affinity that it has without a mask."""
        kind = self.call("typeof", self.name)
        return f"CAST(CASE {kind} WHEN 'integer' THEN {whole} WHEN 'real' THEN {real} END AS {type})"

    def long(self, unit: str) -> str:
        form, *changes = _SQLITE_UNITS[unit]
        if self.type is not ColumnType.DATE and unit != "hour":
            form += " 00:00:00"
        return self.call("strftime", f"'{form}'", self.name, *(f"'{change}'" for change in changes))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000


def _width(value: Any, type: ColumnType) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    least = 1 if type is ColumnType.INTEGER else Decimal("1e-15")
    return least <= value <= _MOST and (type is not ColumnType.INTEGER or value == int(value))


def _json(value: Scalar) -> str:
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
