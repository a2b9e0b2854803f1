"""Catalogue values as JSON: what policy sees of them, and all of them for a digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

from remit.core.money import NANOS, decimal_text
from remit.core.selector import Selector


def plain(value: Any) -> Any:
    """A value as JSON for policy: fields by their names there; hidden and absent ones left out."""
    match value:
        case Selector():
            return value.document()
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case tuple():
            return [plain(each) for each in value]
        case Fraction():
            return _number(int(value * NANOS))
        case tzinfo():
            return str(value)
    return _plain_fields(value) if is_dataclass(value) else value


def _plain_fields(value: Any) -> dict[str, Any]:
    shown = (each for each in fields(value) if not each.metadata.get("hidden"))
    pairs = ((each, getattr(value, each.name)) for each in shown)
    return {
        each.metadata.get("name", each.name): _converted(each.metadata, found)
        for each, found in pairs
        if found is not None
    }


def _converted(form: Mapping[str, Any], value: Any) -> Any:
    if form.get("money"):
        return _number(value)
    return value // NANOS if form.get("seconds") else plain(value)


def _number(nanos: int) -> int | Decimal:
    """Nanos as an exact JSON number of whole units."""
    return nanos // NANOS if nanos % NANOS == 0 else Decimal(decimal_text(nanos))


def everything(value: Any) -> Any:
    """A value as canonical JSON, nothing left out and nothing rounded."""
    match value:
        case Mapping():
            return {key: everything(each) for key, each in value.items()}
        case tuple():
            return [everything(each) for each in value]
        case Fraction() | tzinfo():
            return str(value)
    if is_dataclass(value):
        return {each.name: everything(getattr(value, each.name)) for each in fields(value)}
    return value
