"""The first page: what needs eyes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.responses import Response

from remit.core.decision import Effect
from remit.core.errors import Forbidden
from remit.core.model import BudgetRoom
from remit.listeners.console.pages.budgets import percent_used, rows_of
from remit.listeners.console.pages.decisions import Line, lines_of
from remit.listeners.console.pages.site import Visit

LATEST = 200
"""How many decisions are looked at for those that were refused."""

REFUSED, LISTED, WORKFLOWS, NEAR = 8, 12, 6, 12
NEAR_PERCENT = 80

_Shown = TypeVar("_Shown")


@dataclass(frozen=True, slots=True)
class Part(Generic[_Shown]):
    """A part of the page; `told` says why it is not shown to this person, or is ""."""

    rows: Sequence[_Shown]
    told: str = ""


async def show(visit: Visit) -> Response:
    """Halts in force, budgets near their limit, decisions (those that were refused first), workflows."""
    overview, person = visit.overview, visit.person
    halts = await _part(overview.halts(person))
    rooms = await _part(overview.budgets(person, ""))
    latest = await _part(overview.latest(person, 0, LATEST))
    workflows = await _part(overview.workflows(person, "", WORKFLOWS))
    near = _near(rooms.rows)
    lines = lines_of(latest.rows)
    return visit.page(
        "home.html",
        title="Overview",
        halts=halts,
        budgets=rooms,
        near=rows_of(near[:NEAR], visit.console.now()),
        nearer=len(near),
        near_percent=NEAR_PERCENT,
        refused=_refused(lines)[:REFUSED],
        looked_at=len(lines),
        latest=Part(lines[:LISTED], latest.told),
        workflows=workflows,
    )


def _near(rooms: Sequence[BudgetRoom]) -> list[BudgetRoom]:
    """The nearest first. Only what is shown is made ready for it: there may be thousands of rows."""
    near = [each for each in rooms if percent_used(each) >= NEAR_PERCENT]
    return sorted(near, key=lambda each: -percent_used(each))


def _refused(lines: Sequence[Line]) -> list[Line]:
    return [each for each in lines if each.effect in (Effect.DENY, Effect.HOLD)]


async def _part(asked: Awaitable[Sequence[_Shown]]) -> Part[_Shown]:
    """What is not for this person to see leaves the rest of the page as it is."""
    try:
        return Part(await asked)
    except Forbidden as error:
        return Part((), str(error))
