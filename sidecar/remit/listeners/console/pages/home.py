"""The first page: what needs eyes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from remit.core.approval import State
from remit.core.decision import Effect
from remit.core.model import BudgetRoom
from remit.listeners.console.pages.budgets import percent_used, rows_of
from remit.listeners.console.pages.decisions import Line, lines_of
from remit.listeners.console.pages.site import Part, Visit, part

LATEST = 200
"""How many decisions are looked at for those that were refused."""

REFUSED, LISTED, WORKFLOWS, NEAR = 8, 12, 6, 12
NEAR_PERCENT = 80

OPEN = 100
"""How many approvals, effects and claims are looked at."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Approvals that wait: how many of them for this person, and since when the oldest that was looked at does."""

    number: int
    mine: int
    since: int
    told: str = ""


async def show(visit: Visit) -> Response:
    """What waits for people, halts, budgets near their limit, decisions (those that were refused first), workflows."""
    overview, person = visit.overview, visit.person
    waiting = await _waiting(visit)
    unresolved = await part(overview.unresolved(person, OPEN))
    claims = await part(overview.claims(person, OPEN))
    halts = await part(overview.halts(person))
    rooms = await part(overview.budgets(person, ""))
    latest = await part(overview.latest(person, 0, LATEST))
    workflows = await part(overview.workflows(person, "", WORKFLOWS))
    near = _near(rooms.rows)
    lines = lines_of(latest.rows)
    return visit.page(
        "home.html",
        title="Overview",
        waiting=waiting,
        unresolved=unresolved,
        overdue=sum(each.deadline <= visit.console.now() for each in unresolved.rows),
        claims=claims,
        most=OPEN,
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


async def _waiting(visit: Visit) -> Waiting:
    found = await part(visit.overview.approvals(visit.person, (State.PENDING,), "", "", OPEN))
    mine = sum(each.resolvable for each in found.rows)
    return Waiting(len(found.rows), mine, min((each.approval.time for each in found.rows), default=0), found.told)
