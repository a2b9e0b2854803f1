"""How fast a row is reserved of, and how much at once: what the size of its slices rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from remit.core.allotment import PACE_SECONDS
from remit.core.model import BudgetRow, RowKey

MOST = 20_000


@dataclass(slots=True)
class _Pace:
    began: float
    now: int = 0  # reserved since it began
    before: int = 0  # in the stretch before
    last: float = 0.0  # when something was reserved last
    largest: int = 0  # of the last calls


class Paces:
    """`monotonic` tells seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._paces: dict[RowKey, _Pace] = {}

    def note(self, row: BudgetRow, amount: int) -> None:
        """So much was reserved."""
        if len(self._paces) >= MOST:
            self._paces.clear()
        pace = self._current(row)
        pace.now += amount
        pace.last = self._monotonic()
        pace.largest = max(amount, pace.largest * 7 // 8)

    def of(self, row: BudgetRow) -> tuple[int, int]:
        """(what a call reserves, what all of them reserve in PACE_SECONDS)."""
        pace = self._current(row)
        return pace.largest, max(pace.now, pace.before)

    def idle_seconds(self, row: BudgetRow) -> float:
        """For how long nothing was reserved."""
        return self._monotonic() - self._current(row).last

    def _current(self, row: BudgetRow) -> _Pace:
        key, now = row.key, self._monotonic()
        pace = self._paces.setdefault(key, _Pace(now))
        stretches = int((now - pace.began) / PACE_SECONDS)
        if stretches:
            pace.before = pace.now if stretches == 1 else 0
            pace.began, pace.now = now, 0
        return pace
