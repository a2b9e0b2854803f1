"""Filters and masks as text for people, much as SQL says it. Never run."""

from __future__ import annotations

from remit.core.view.model import EVERY_ROW, NO_ROW, Compare, Every, FieldRef, Filter, Mask, Scalar, Some

_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_NULL_SIGNS = {"eq": "IS NULL", "ne": "IS NOT NULL"}


def filter_text(filter_: Filter) -> str:
    """Such as "region = 'eu' AND (tier IN (1, 2) OR owner = team)"; "every row", "no row"."""
    if filter_ == EVERY_ROW:
        return "every row"
    return "no row" if filter_ == NO_ROW else _text(filter_, inner=False)


def mask_text(mask: Mask) -> str:
    """Such as "partial (last 4)"."""
    settings = ", ".join(f"{name} {_scalar(value)}" for name, value in mask.settings.items())
    return f"{mask.kind} ({settings})" if settings else mask.kind


def _text(filter_: Filter, *, inner: bool = True) -> str:
    match filter_:
        case Compare():
            return _compare(filter_)
        case Every(parts):
            return _joined(" AND ", parts, "TRUE", inner=inner)
        case Some(parts):
            return _joined(" OR ", parts, "FALSE", inner=inner)
    return f"NOT ({_text(filter_.part, inner=False)})"


def _joined(word: str, parts: tuple[Filter, ...], none: str, *, inner: bool) -> str:
    text = word.join(_text(part) for part in parts) or none
    return f"({text})" if inner and len(parts) > 1 else text


def _compare(compare: Compare) -> str:
    column, operator, value = compare.column, compare.operator, compare.value
    if isinstance(value, tuple):
        return f"{column} IN ({', '.join(map(_scalar, value))})"
    if isinstance(value, FieldRef):
        return f"{column} {_SIGNS[operator]} {value.column}"
    if value is None:
        return f"{column} {_NULL_SIGNS[operator]}"
    sign = _SIGNS.get(operator)
    return f"{column} {sign} {_scalar(value)}" if sign else f"{operator}({column}, {_scalar(value)})"


def _scalar(value: Scalar) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value).upper() if isinstance(value, bool) else str(value)
