"""Whether a value that an agent sends is of the type that the catalogue declares for its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from remit.core.view.model import Cell, ColumnType

TOKENISED = "token"
"""A type of a named write's parameters: a text of Remit's own that is turned back into what it stands for."""

PARAMETER_TYPES = (*(each.value for each in ColumnType if each is not ColumnType.ANY), TOKENISED)
"""What a parameter of a named write may be."""


def fits(value: Cell, type: str) -> bool:
    """Whether a value may be bound where `type`, one of PARAMETER_TYPES, is declared; NULL always may."""
    return value is None or _FITS[type](value)


def _number(value: Cell) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _moment(value: Cell, *, zoned: bool) -> bool:
    return isinstance(value, datetime) and (value.tzinfo is not None) is zoned


def _uuid(value: Cell) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _json(value: Cell) -> bool:
    if not isinstance(value, str):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


_FITS: Mapping[str, Callable[[Cell], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "real": _number,
    "decimal": _number,
    "text": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, bytes),
    "date": lambda value: isinstance(value, date) and not isinstance(value, datetime),
    "time": lambda value: isinstance(value, time),
    "timestamp": lambda value: _moment(value, zoned=False),
    "timestamptz": lambda value: _moment(value, zoned=True),
    "interval": lambda value: isinstance(value, timedelta),
    "uuid": _uuid,
    "json": _json,
    TOKENISED: lambda value: isinstance(value, str),
}
