"""What queries and named writes share: how policy and the journal see their parameters, and what they may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.core.dataset import Dataset
from remit.core.view.model import Cell
from remit.ports import Limits


def arguments_of(parameters: Mapping[str, Cell]) -> dict[str, Any]:
    """What policy may judge of a query or write besides what it is of: its parameters, as JSON."""
    return {"parameters": {name: _json(value) for name, value in sorted(parameters.items())}}


def most_rows(dataset: Dataset, wanted: int) -> int:
    """How many rows an answer has at the most; `wanted` 0 is what the dataset allows, which is never exceeded."""
    return min(wanted or dataset.limits.rows, dataset.limits.rows)


def limits_of(dataset: Dataset, wanted: int = 0) -> Limits:
    """What one query or write may take."""
    limits = dataset.limits
    return Limits(most_rows(dataset, wanted), limits.bytes, float(limits.seconds), limits.cost)


def _json(value: Cell) -> Any:
    """What JSON has no form for is text."""
    match value:
        case None | bool() | int() | str():
            return value
        case bytes():
            return value.hex()
    return str(value)
