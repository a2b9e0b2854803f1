"""From a store's rows to ours, where every store has the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.ports import Reservation


def budget_room(row: Sequence[Any]) -> BudgetRoom:
    """(budget, scope, start, end, limit, adjusted, spent, held)."""
    budget, scope, start, end, limit, adjusted, spent, held = row
    return BudgetRoom(BudgetRow(budget, scope, start, end, limit), limit + adjusted, spent, held)


def reservation(row: Sequence[Any]) -> Reservation:
    """Its fields in their order."""
    return Reservation(*row)


def halt(row: Sequence[Any]) -> Halt:
    """Its fields in their order."""
    return Halt(*row)
