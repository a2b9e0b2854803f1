"""Views as JSON for the journal: what was in force, in policy's own words; never a cell of the data."""

from __future__ import annotations

from typing import Any

from remit.core.view.model import Compare, Every, FieldRef, Filter, Mask, Not, Some, TableView


def written(view: TableView) -> dict[str, Any]:
    """A table's filter and masks."""
    return {
        "filter": filter_json(view.filter),
        "masks": {column: mask_json(mask) for column, mask in sorted(view.masks.items())},
    }


def filter_json(shown: Filter) -> Any:
    """A filter: {"all": […]}, {"any": […]}, {"not": …} or {"column", "operator", "value"}; exact numbers as text."""
    match shown:
        case Every(parts):
            return {"all": [filter_json(part) for part in parts]}
        case Some(parts):
            return {"any": [filter_json(part) for part in parts]}
        case Not(part):
            return {"not": filter_json(part)}
        case Compare(column, operator, value):
            return {"column": column, "operator": operator, "value": _value(value)}


def mask_json(mask: Mask) -> dict[str, Any]:
    """A mask: {kind: settings}."""
    return {mask.kind: {name: _value(value) for name, value in sorted(mask.settings.items())}}


def _value(value: Any) -> Any:
    match value:
        case FieldRef(column):
            return {"column": column}
        case tuple():
            return [_value(each) for each in value]
        case bool() | None | str():
            return value
    return str(value)
