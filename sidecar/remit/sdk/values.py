"""Values that go into a statement and come back in rows, exactly; NULL is None.

An integer beyond 64 bits travels as a decimal, and comes back as one. UUIDs, JSON and a database's own types are text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from remit.sdk.errors import InvalidRequest, Unavailable, Violation
from remit.v1 import sidecar_pb2 as pb

Value = None | bool | int | float | Decimal | str | bytes | date | time | datetime | timedelta
"""What a row holds, and what a parameter may be (a UUID as well)."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000


def parameter_messages(parameters: Mapping[str, Value | UUID]) -> dict[str, pb.Value]:
    """The values of a statement's `:name` places; InvalidRequest names what cannot be one."""
    if not isinstance(parameters, Mapping):
        raise InvalidRequest(Violation("parameters", f"a mapping of names to values, not {type(parameters).__name__}"))
    return {name: _message(value, f'parameters["{name}"]') for name, value in parameters.items()}


def _message(value: object, path: str) -> pb.Value:
    try:
        return pb.Value(**_field(value, path))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(Violation(path, f"a value that can be sent ({error})")) from error


def _field(value: object, path: str) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolean": value}
        case int():
            return {"integer": value} if _LEAST <= value <= _MOST else {"decimal": str(value)}
        case float():
            return {"real": value}
        case Decimal():
            return {"decimal": str(value)}
        case str():
            return {"text": value}
        case UUID():
            return {"text": str(value)}
        case bytes() | bytearray() | memoryview():
            return {"binary": bytes(value)}
        case datetime():
            return {"timestamp": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"interval": _seconds(value)}
    known = "None, bool, int, float, Decimal, str, bytes, date, time, datetime, timedelta or UUID"
    raise InvalidRequest(Violation(path, f"{known}, not {type(value).__name__}"))


def _seconds(span: timedelta) -> str:
    micros = span // _MICROSECOND
    whole, rest = divmod(abs(micros), _SECOND)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}"


def _span(seconds: str) -> timedelta:
    return timedelta(microseconds=int(Decimal(seconds) * _SECOND))


_READ: Mapping[str, Callable[[str], Value]] = {
    "decimal": Decimal,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "interval": _span,
}


def read_rows(rows: Sequence[pb.Row], width: int) -> list[tuple[Value, ...]]:
    """The rows; Unavailable where they are none of `width` values each."""
    try:
        read = [tuple([_read(value) for value in row.values]) for row in rows]
    except (ValueError, ArithmeticError) as error:
        raise Unavailable("the sidecar's answer holds a value that cannot be read") from error
    if any(len(row) != width for row in read):
        raise Unavailable(f"the sidecar's answer holds a row that is not {width} values long")
    return read


def _read(value: pb.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind is None:
        if value.ByteSize():
            raise ValueError("a kind of value that this version does not know")
        return None
    found: Value = getattr(value, kind)
    return _READ[kind](found) if kind in _READ else found  # type: ignore[arg-type]
