"""Budgets: how much room there is, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from remit.core.errors import BadRequest, NotFound, Violation
from remit.core.model import BudgetRoom
from remit.listeners.console.burndown import burn_down
from remit.listeners.console.pages.site import Visit

LISTED = 100

_BAR = 200
"""Units of a bar's width."""


@dataclass(frozen=True, slots=True)
class Row:
    """A budget's row as it is shown: nanos, ns, and its bar in units of `_BAR`. `end` 0 where it never ends."""

    budget: str
    scope: str
    start: int
    end: int
    limit: int
    spent: int
    held: int
    left: int
    percent: int  # of the limit that is spent or held, rounded down; 100 for what is used up
    bar: int
    spent_width: int
    held_width: int
    passed_percent: int  # of the window, rounded down

    @property
    def state(self) -> str:
        """How near its end it is, for the style: "", near or full."""
        return "full" if self.left <= 0 else "near" if self.percent >= 80 else ""


async def show_all(visit: Visit) -> Response:
    """The rows of current windows, page by page (`page`): a budget may have one for each of thousands of agents."""
    said = visit.request.query_params.get("page", "1")
    if not (said.isascii() and said.isdigit() and len(said) < 7 and int(said) > 0):
        raise BadRequest(Violation("page", "a number from 1"))
    number, now = int(said), visit.console.now()
    rooms = await visit.overview.budgets(visit.person, "")
    found = rows_of(rooms[(number - 1) * LISTED : number * LISTED], now)
    pages = max(1, -(-len(rooms) // LISTED))
    earlier = str(min(number - 1, pages)) if number > 1 else ""
    return visit.page(
        "budgets.html", title="Budgets", budgets=found, page=number, pages=pages, earlier=earlier, rows=len(rooms)
    )


async def show(visit: Visit) -> Response:
    """A row's burn-down. Named by `id` and `scope`; what has not been used by that scope has no row."""
    asked = visit.request.query_params
    budget, scope = asked.get("id", ""), asked.get("scope", "")
    rooms = await visit.overview.budgets(visit.person, "")
    room = next((each for each in rooms if (each.row.budget, each.row.scope) == (budget, scope)), None)
    if room is None:
        raise NotFound(f"no budget {budget[:64]!r} of scope {scope[:64]!r} in its current window")
    now = visit.console.now()
    burns = await visit.overview.burned(visit.person, room.row)
    (row,) = rows_of([room], now)
    return visit.page("budget.html", title=f"Budget {budget}", row=row, burn=burn_down(room, burns, now))


def rows_of(rooms: Sequence[BudgetRoom], now: int) -> list[Row]:
    """The rows as they are shown, in the same order."""
    return [_row(each, now) for each in rooms]


def percent_used(room: BudgetRoom) -> int:
    """Of the limit, what is spent or held, rounded down; 100 for what is used up, at most 999."""
    return min((room.spent + room.held) * 100 // room.limit, 999) if room.limit > 0 else 100


def _row(room: BudgetRoom, now: int) -> Row:
    row, used = room.row, room.spent + room.held
    whole = max(room.limit, used, 1)
    filled = _units(used, whole)
    spent = min(_units(room.spent, whole), filled - bool(room.held > 0))
    length = row.end - row.start
    return Row(
        budget=row.budget,
        scope=row.scope,
        start=row.start,
        end=row.end,
        limit=room.limit,
        spent=room.spent,
        held=room.held,
        left=room.limit - used,
        percent=percent_used(room),
        bar=_BAR,
        spent_width=max(spent, 0),
        held_width=max(filled - max(spent, 0), 0),
        passed_percent=min(max((now - row.start) * 100 // length, 0), 100) if row.end and length > 0 else 0,
    )


def _units(part: int, whole: int) -> int:
    """Rounded down, but a little is 2: only what is full looks full, only what is empty looks empty."""
    return max(part * _BAR // whole, 2) if part > 0 else 0
