"""How cells and values cross: exact, and only as what a Cell may be.

Numbers, texts, bytes, dates, times and intervals are Python's; whatever Python cannot hold exactly (an infinite date,
an interval of months) is its text, as is every other type: UUIDs, JSON, arrays, ranges, enumerations.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.abc import Transformer
from psycopg.adapt import AdaptersMap, Buffer, Loader, PyFormat
from psycopg.types.datetime import IntervalLoader
from psycopg.types.numeric import Int4, Int8
from psycopg.types.string import TextLoader

from remit.core.view.model import Cell, ColumnType

_TYPES = {
    "bool": ColumnType.BOOLEAN,
    "int2": ColumnType.INTEGER,
    "int4": ColumnType.INTEGER,
    "int8": ColumnType.INTEGER,
    "float4": ColumnType.REAL,
    "float8": ColumnType.REAL,
    "numeric": ColumnType.DECIMAL,
    "text": ColumnType.TEXT,
    "varchar": ColumnType.TEXT,
    "bpchar": ColumnType.TEXT,
    "name": ColumnType.TEXT,
    "char": ColumnType.TEXT,
    "bytea": ColumnType.BYTES,
    "date": ColumnType.DATE,
    "time": ColumnType.TIME,
    "timestamp": ColumnType.TIMESTAMP,
    "timestamptz": ColumnType.TIMESTAMPTZ,
    "interval": ColumnType.INTERVAL,
    "uuid": ColumnType.UUID,
    "json": ColumnType.JSON,
    "jsonb": ColumnType.JSON,
}
_AS_TEXT = frozenset({"uuid", "json", "jsonb"})
_INT4 = 1 << 31
_INT8 = 1 << 63


class _ExactIntervalLoader(Loader):
    """An interval with months or years is no fixed time: it stays text."""

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._fixed = IntervalLoader(oid, context)

    def load(self, data: Buffer) -> Any:
        text = bytes(data)
        return text.decode() if b"mon" in text or b"year" in text else self._fixed.load(text)


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    for known in adapters.types:
        if known.name not in _TYPES or known.name in _AS_TEXT:
            adapters.register_loader(known.oid, TextLoader)
        if known.array_oid:
            adapters.register_loader(known.array_oid, TextLoader)
    adapters.register_loader("interval", _ExactIntervalLoader)
    return adapters


ADAPTERS = _adapters()


def column_type(name: str) -> ColumnType:
    """What a type of pg_type holds."""
    return _TYPES.get(name, ColumnType.ANY)


def type_name(oid: int) -> str:
    """The type of a result's column, as PostgreSQL calls it; of a type that is not its own, `text`."""
    known = ADAPTERS.types.get(oid)
    if known is None:
        return "text"
    return known.regtype if known.oid == oid else f"{known.regtype}[]"


def sendable(value: Any) -> Any:
    """A value as PostgreSQL would type the literal: integer, bigint, else numeric."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value, value)
    if isinstance(value, tuple | list):
        return _array(value)
    return value


def _array(values: Sequence[Any]) -> list[Any]:
    """All whole numbers of an array as the widest of them."""
    whole = [each for each in values if type(each) is int]
    if any(isinstance(each, Decimal) for each in values):
        return [Decimal(each) if type(each) is int else each for each in values]
    widest = max(whole, key=abs, default=0)
    return [_number(each, widest) if type(each) is int else each for each in values]


def _number(value: int, widest: int) -> Any:
    if -_INT4 <= widest < _INT4:
        return Int4(value)
    return Int8(value) if -_INT8 <= widest < _INT8 else Decimal(value)


def dumped(transformer: Transformer, values: Sequence[Any]) -> Sequence[Buffer | None]:
    """The values as they are sent; their types and formats are the transformer's then. Raises psycopg.DataError."""
    try:
        return transformer.dump_sequence([sendable(each) for each in values], [PyFormat.AUTO] * len(values))
    except (ValueError, TypeError, OverflowError) as error:  # half a surrogate pair has no UTF-8
        raise psycopg.DataError(f"a value cannot be sent: {type(error).__name__}") from None


def loaded(transformer: Transformer, result: Any) -> list[tuple[Cell, ...]]:
    """The rows of a result that was set in the transformer."""
    try:
        rows: list[tuple[Cell, ...]] = transformer.load_rows(0, result.ntuples, tuple)
    except (psycopg.DataError, ValueError, OverflowError):
        return _loaded_slowly(transformer, result)
    return rows


def _loaded_slowly(transformer: Transformer, result: Any) -> list[tuple[Cell, ...]]:
    """Cell by cell: one that Python cannot hold is its text."""
    loaders = [transformer.get_loader(result.ftype(index), result.fformat(index)) for index in range(result.nfields)]
    return [
        tuple(_cell(loaders[index], result.get_value(row, index)) for index in range(result.nfields))
        for row in range(result.ntuples)
    ]


def _cell(loader: Any, raw: bytes | None) -> Cell:
    if raw is None:
        return None
    with suppress(psycopg.DataError, ValueError, OverflowError):
        cell: Cell = loader.load(raw)
        return cell
    try:
        return raw.decode()
    except UnicodeDecodeError:  # a database without an encoding
        return raw
