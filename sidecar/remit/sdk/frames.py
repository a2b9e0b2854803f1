"""From rows to Arrow and pandas, each value kept as it is. Neither is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from types import ModuleType
from typing import Any

from remit.sdk.values import Value

# Databases' own words for the types of columns that hold no value to tell them by.
_NAMED: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("bool", "boolean"), lambda pa: pa.bool_()),
    **dict.fromkeys(("int2", "int4", "int8", "smallint", "int", "integer", "bigint"), lambda pa: pa.int64()),
    **dict.fromkeys(("float4", "float8", "real", "double", "double precision"), lambda pa: pa.float64()),
    **dict.fromkeys(
        ("text", "varchar", "bpchar", "char", "character varying", "uuid", "json", "jsonb"), lambda pa: pa.string()
    ),
    **dict.fromkeys(("bytea", "blob", "bytes"), lambda pa: pa.binary()),
    "date": lambda pa: pa.date32(),
    **dict.fromkeys(("time", "time without time zone"), lambda pa: pa.time64("us")),
    **dict.fromkeys(("timestamp", "timestamp without time zone"), lambda pa: pa.timestamp("us")),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), lambda pa: pa.timestamp("us", "UTC")),
    "interval": lambda pa: pa.duration("us"),
}
_OF_KIND: Mapping[type, Callable[[Any], Any]] = {
    bool: lambda pa: pa.bool_(),
    int: lambda pa: pa.int64(),
    float: lambda pa: pa.float64(),
    str: lambda pa: pa.string(),
    bytes: lambda pa: pa.binary(),
    date: lambda pa: pa.date32(),
    time: lambda pa: pa.time64("us"),
    timedelta: lambda pa: pa.duration("us"),
}


def arrow_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Value]]) -> Any:
    """A pyarrow.Table of (name, the database's type) columns; TypeError names a column that Arrow cannot hold."""
    pa = _library("pyarrow")
    held = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [_array(pa, name, type, values) for (name, type), values in zip(columns, held, strict=True)]
    return pa.Table.from_arrays(arrays, names=[name for name, _ in columns])


def data_frame(table: Any) -> Any:
    """A pandas.DataFrame whose columns are the table's, in Arrow's own types."""
    return table.to_pandas(types_mapper=_library("pandas").ArrowDtype)


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        needed = "pyarrow" if name == "pyarrow" else "pandas pyarrow"
        raise ImportError(f"{name} is not installed, and remit does not bring it: pip install {needed}") from error


def _array(pa: Any, name: str, type: str, values: Sequence[Value]) -> Any:
    kinds = {each.__class__ for each in values if each is not None}
    if kinds == {int, Decimal}:  # integers beyond 64 bits among smaller ones
        values, kinds = [None if each is None else Decimal(each) for each in values], {Decimal}  # type: ignore[arg-type]
    if len(kinds) > 1:
        raise TypeError(
            f"column {name!r} holds {_listed(kinds)}, and Arrow one type a column; CAST it in the statement"
        )
    try:
        if kinds == {datetime}:
            return _moments(pa, name, values)
        return pa.array(values, _arrow_type(pa, kinds, type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise TypeError(f"column {name!r} holds a value that has no Arrow type; CAST it in the statement") from error


def _arrow_type(pa: Any, kinds: set[type], named: str) -> Any:
    """The type; None, so that precision and scale are found, for decimals."""
    if not kinds:
        return _NAMED.get(named.lower(), lambda pa: pa.null())(pa)
    (kind,) = kinds
    return _OF_KIND[kind](pa) if kind in _OF_KIND else None


def _moments(pa: Any, name: str, values: Sequence[Any]) -> Any:
    zoned = {each.tzinfo is not None for each in values if each is not None}
    if zoned == {False}:
        return pa.array(values, pa.timestamp("us"))
    if len(zoned) > 1:
        raise TypeError(f"column {name!r} holds moments with and without a zone; CAST it in the statement")
    # Arrow has one zone a column: the moments stay the same.
    return pa.array([each and each.astimezone(UTC) for each in values], pa.timestamp("us", "UTC"))


def _listed(kinds: set[type]) -> str:
    return " and ".join(sorted(kind.__name__ for kind in kinds))
