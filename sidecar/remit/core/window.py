"""Budget windows, and the rows of the ledger that one request needs room in.

A window is what a wall clock in the budget's zone shows: an hour, a day, a week from Monday, a month, or
`none` (one window for ever). Windows of a zone follow each other without gap or overlap. Where clocks
change, a window is as long as the wall clock makes it: a day has 23 or 25 hours, the hour that passes twice
is one window of two hours, and an hour that is skipped is no window at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from functools import lru_cache

from remit.core.catalogue import Budget
from remit.core.model import BudgetRow

KINDS = ("hour", "day", "week", "month", "none")
CAP = "#cap"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """`start` included, `end` excluded, ns since the epoch; both 0 for the window that never ends."""

    start: int
    end: int

    def elapsed(self, time_ns: int) -> Fraction:
        """How much of the window has passed, 0 to 1, exactly; 0 in the window that never ends."""
        if not self.end:
            return Fraction(0)
        passed = min(max(time_ns - self.start, 0), self.end - self.start)
        return Fraction(passed, self.end - self.start)

    def elapsed_milli(self, time_ns: int) -> int:
        """Whole thousandths of the window that have passed, 0 to 1000."""
        return int(self.elapsed(time_ns) * 1000)


ENDLESS = Window(0, 0)


def window_at(kind: str, zone: tzinfo, time_ns: int) -> Window:
    """The window of `kind` (one of KINDS) in a zone that holds a time, given in ns since the epoch."""
    return ENDLESS if kind == "none" else _window(kind, zone, time_ns // _SECOND)


# Boundaries are whole seconds, so all the decisions of a second share one calculation.
@lru_cache(maxsize=256)
def _window(kind: str, zone: tzinfo, second: int) -> Window:
    local = (_EPOCH + timedelta(seconds=second)).astimezone(zone).replace(tzinfo=None, fold=0)
    start = _floor(kind, local)
    # A clock change off the hour can put the naive start after the time, or the end before it: walk to the
    # neighbour, so that windows stay contiguous whatever a zone does.
    while _instant(start, zone) > second:
        start = _floor(kind, start - timedelta(microseconds=1))
    while _instant(end := _next(kind, start), zone) <= second:
        start = end
    return Window(_instant(start, zone) * _SECOND, _instant(end, zone) * _SECOND)


def standing_scope(agent: str) -> str:
    """The scope of an agent's calls without a workflow, in budgets that are counted per workflow."""
    return f"standing/{agent}"


def budget_rows(
    budgets: Mapping[str, Budget], attributes: Mapping[str, str], *, workflow: str, time_ns: int
) -> tuple[BudgetRow, ...]:
    """The rows that must all have room for a request, in the catalogue's order.

    A budget gives one row; where it caps the agent's share, another, `BUDGET#cap`, in the agent's scope.
    `per: workflow` counts calls without a workflow in the agent's standing session.
    """
    return tuple(
        row
        for name, budget in budgets.items()
        if budget.when.matches(attributes)
        for row in _rows(name, budget, attributes.get("agent", ""), workflow=workflow, time_ns=time_ns)
    )


def _rows(name: str, budget: Budget, agent: str, *, workflow: str, time_ns: int) -> Iterator[BudgetRow]:
    window = window_at(budget.window, budget.zone, time_ns)
    scope = _scope(budget.per, agent, workflow)
    yield BudgetRow(budget=name, scope=scope, start=window.start, end=window.end, limit=budget.limit)
    # The agent's own cap replaces the one for everybody.
    share = budget.caps.get(agent, budget.caps.get("*"))
    if share is not None:
        limit = int(budget.limit * share)
        yield BudgetRow(budget=name + CAP, scope=agent, start=window.start, end=window.end, limit=limit)


def _scope(per: str, agent: str, workflow: str) -> str:
    if per == "agent":
        return agent
    if per == "workflow":
        return workflow or standing_scope(agent)
    return ""


def _instant(naive: datetime, zone: tzinfo) -> int:
    """Seconds since the epoch at which the zone's clocks first show (or skip) a time."""
    return (naive.replace(tzinfo=zone) - _EPOCH) // timedelta(seconds=1)


def _floor(kind: str, naive: datetime) -> datetime:
    hour = naive.replace(minute=0, second=0, microsecond=0)
    if kind == "hour":
        return hour
    day = hour.replace(hour=0)
    if kind == "day":
        return day
    if kind == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1)


def _next(kind: str, start: datetime) -> datetime:
    if kind == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[kind]
