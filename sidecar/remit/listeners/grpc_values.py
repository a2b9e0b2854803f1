"""Values of rows and parameters, exactly: from the database's to the wire's and back.

An integer beyond 64 bits goes as a decimal. What has no number for it (NaN, infinities) is text in a decimal. Times are
ISO 8601 with their zone; a span is decimal seconds. What comes in is strict: one form each, bounded, and never NULL by
mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from remit.core.query import MAX_PARAMETERS, Row
from remit.core.view.model import Cell
from remit.listeners.grpc_fields import Fields, Form
from remit.v1 import sidecar_pb2 as pb

ROWS_BYTES = 256 * 1024
"""Rows of one message, together; one that is larger alone goes alone."""

_ROW_OVERHEAD = 6  # a row's tag and length within QueryRows
_LEAST, _MOST = -(2**63), 2**63 - 1
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_MAX_SPAN = timedelta.max // _MICROSECOND

PARAMETER = Form(r"[a-z_][a-z0-9_]{0,62}", "names of a-z, 0-9 and _, up to 63 characters, not beginning with a digit")
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?"
_DECIMAL = Form(
    r"-?(\d{1,500}(\.\d{1,500})?|\.\d{1,500})([eE][+-]?\d{1,3})?|NaN|-?Infinity",
    "a decimal number of at most 500 digits on each side and an exponent of three, NaN, Infinity or -Infinity",
)
_DATE = Form(r"\d{4}-\d\d-\d\d", "a day as YYYY-MM-DD")
_TIME = Form(_CLOCK, "a time of day as HH:MM:SS.ffffff, with +HH:MM where it has a zone")
_TIMESTAMP = Form(
    rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}", "a moment as YYYY-MM-DDTHH:MM:SS.ffffff, with +HH:MM where it has a zone"
)
_INTERVAL = Form(r"-?\d{1,14}(\.\d{1,6})?", "seconds as a decimal of at most 6 places, within 999999999 days")


def query_rows(batch: Iterable[Row], most: int = ROWS_BYTES) -> Iterator[pb.QueryRows]:
    """The rows, in order, in messages of at most `most` bytes, but at least one row in each."""
    message, size = pb.QueryRows(), 0
    for cells in batch:
        row = message.rows.add()
        fill(row, cells)
        size += (length := row.ByteSize() + _ROW_OVERHEAD)
        if size > most and size > length:
            row = message.rows.pop()
            yield message
            message, size = pb.QueryRows(rows=[row]), length
    if size:
        yield message


def fill(row: pb.Row, cells: Sequence[Cell]) -> None:
    """Write the cells of a row. The usual kinds are told apart here: this runs for every cell of every answer."""
    add = row.values.add
    for cell in cells:
        kind = type(cell)
        if kind is str:
            add(text=cell)
        elif kind is int and _LEAST <= cell <= _MOST:  # type: ignore[operator]
            add(integer=cell)
        elif cell is None:
            add()
        elif kind is float:
            add(real=cell)
        else:
            add(**_other(cell))


def _other(cell: Cell) -> dict[str, Any]:
    """The field of a value and what it holds. A subclass is written as what it is one of; bool is no int."""
    match cell:
        case bool():
            return {"boolean": cell}
        case int():
            return {"integer": int(cell)} if _LEAST <= cell <= _MOST else {"decimal": str(int(cell))}
        case Decimal():
            return {"decimal": str(cell)}
        case datetime():
            return {"timestamp": cell.isoformat()}
        case date():
            return {"date": cell.isoformat()}
        case time():
            return {"time": cell.isoformat()}
        case timedelta():
            return {"interval": seconds_text(cell)}
        case bytes():
            return {"binary": cell}
        case str():
            return {"text": str(cell)}
        case float():
            return {"real": float(cell)}
    raise TypeError(f"a {type(cell).__name__} is no value of a row")


def seconds_text(span: timedelta) -> str:
    """A span in decimal seconds, exactly: -1.5, 86400."""
    micros = span // _MICROSECOND
    whole, rest = divmod(abs(micros), _SECOND)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}{whole}{fraction}"


def parameters(fields: Fields, name: str, given: Mapping[str, pb.Value]) -> dict[str, Cell]:
    """The values that an agent binds, by name; what is wrong is noted as `name["x"].kind`."""
    if len(given) > MAX_PARAMETERS:
        fields.refuse(name, f"at most {MAX_PARAMETERS} of them")
        return {}
    found: dict[str, Cell] = {}
    for key in sorted(given):
        if PARAMETER.matches(key):
            found[key] = _cell(fields, f'{name}["{key}"]', given[key])
        else:
            fields.refuse(name, PARAMETER.expected)
    return found


def _cell(fields: Fields, name: str, value: pb.Value) -> Cell:
    kind = value.WhichOneof("kind")
    if kind is None:
        if value.ByteSize():
            # A kind that a later version added must not be taken for NULL.
            fields.refuse(name, "a kind of value that this version knows")
        return None
    found = getattr(value, kind)
    if kind not in _READ:
        return found  # type: ignore[no-any-return]
    form, read = _READ[kind]
    try:
        if form.matches(found):
            return read(found)
    except ValueError:
        pass  # the form fits, and there is no such day, hour or span
    fields.refuse(f"{name}.{kind}", form.expected)
    return None


def _span(text: str) -> timedelta:
    micros = int(Decimal(text) * _SECOND)
    if abs(micros) > _MAX_SPAN:
        raise ValueError("beyond what a span can be")
    return timedelta(microseconds=micros)


_READ: Mapping[str, tuple[Form, Callable[[str], Cell]]] = {
    "decimal": (_DECIMAL, Decimal),
    "date": (_DATE, date.fromisoformat),
    "time": (_TIME, time.fromisoformat),
    "timestamp": (_TIMESTAMP, datetime.fromisoformat),
    "interval": (_INTERVAL, _span),
}
