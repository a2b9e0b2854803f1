"""What people do: stop, resume, look at budgets and adjust them. Each act is a decision of its own."""

from __future__ import annotations

from collections.abc import Sequence

from remit.core.answer import Adjusted, Halted
from remit.core.call import Call, Claimed
from remit.core.claim import Claim
from remit.core.decision import Effect
from remit.core.effect import AdjustBudget, LiftHalt, PlaceHalt
from remit.core.errors import BadRequest, Forbidden, NotFound, Violation
from remit.core.model import HALT_SCOPES, ActionName, BudgetRoom, BudgetRow, Facts, Halt, Resource, Subject
from remit.core.money import MAX_NANOS, decimal_text
from remit.core.window import CAP, window_at
from remit.pep.decide import Draft, Plan, Planner, decide
from remit.pep.world import DAY, World
from remit.ports import Burn, Reservation

UNRESOLVED_DAYS = 7
"""How long a lapse that nobody reported is among what is open."""


async def halt(world: World, subject: Subject, scope: str, value: str, reason: str) -> Halted:
    """Stop a scope, from the next commit of any decision on."""
    id = world.ids.new("h")

    def plan(draft: Draft, facts: Facts) -> Plan:
        placed = Halt(id, scope, value, subject.id, reason, facts.time)
        return Plan((PlaceHalt(placed),), {"halts": [id]}, {"halts": [id], "reason": reason})

    return await _control(world, subject, _control_call(world, scope, value, reason, resume=False), plan)


async def resume(world: World, subject: Subject, scope: str, value: str, reason: str) -> Halted:
    """Lift every halt of exactly that scope and value. Raises NotFound where there is none."""
    call = _control_call(world, scope, value, reason, resume=True)
    lifted = [each.id for each in await world.store.halts() if (each.scope, each.value) == (scope, value)]
    if not lifted:
        raise NotFound(f"nothing is halted for {scope} {value}".rstrip())

    def plan(draft: Draft, facts: Facts) -> Plan:
        lifting = tuple(LiftHalt(id, subject.id) for id in lifted)
        return Plan(lifting, {"halts": lifted}, {"halts": lifted, "reason": reason})

    return await _control(world, subject, call, plan)


def _control_call(world: World, scope: str, value: str, reason: str, *, resume: bool) -> Call:
    known = {"agent": world.catalogue.agents, "service": world.catalogue.services}.get(scope)
    if scope not in HALT_SCOPES:
        raise BadRequest(Violation("scope", f"one of {', '.join(HALT_SCOPES)}"))
    if (scope == "all") is bool(value):
        raise BadRequest(Violation("value", "nothing for scope all, else the id of what is meant"))
    if known is not None and value not in known and not resume:
        raise BadRequest(Violation("value", f"{scope} {value!r} to be in the catalogue"))
    return Call(
        rpc="Resume" if resume else "Halt",
        action=ActionName.CONTROL_HALT,
        resource=Resource("scope", value or scope, operation="resume" if resume else "halt", variant=scope),
        claimed=Claimed(reason=reason),
    )


async def _control(world: World, subject: Subject, call: Call, plan: Planner) -> Halted:
    decided = await decide(world, subject, call, plan)
    return Halted(decided.answer, tuple(decided.extra.get("halts", ())))


async def budgets(world: World, subject: Subject, budget: str) -> Sequence[BudgetRoom]:
    """Budgets' rows in their current windows, by id, then scope; for people. Raises NotFound, Forbidden.

    A budget that is counted per agent or workflow shows those that have used it.
    """
    if subject.type != "person":
        raise Forbidden("what others spend is for people to see")
    catalogue, now = world.catalogue, world.clock.now()
    if budget and budget not in catalogue.budgets:
        raise NotFound(f"no budget {budget!r} in the catalogue")
    used = {(room.row.budget, room.row.scope): room for room in await world.store.used_rows(now)}
    plain = [
        _row(world, name, "", now)
        for name, each in catalogue.budgets.items()
        if each.per == "none" and (name, "") not in used
    ]
    rooms = [*used.values(), *(await world.store.rooms(plain))]
    chosen = [room for room in rooms if not budget or room.row.budget in (budget, budget + CAP)]
    return sorted(chosen, key=lambda room: (room.row.budget, room.row.scope))


async def burned(world: World, subject: Subject, row: BudgetRow) -> Sequence[Burn]:
    """What was spent in a budget's row, hour by hour; for people. Raises Forbidden."""
    if subject.type != "person":
        raise Forbidden("what others spend is for people to see")
    return await world.store.burned(row)


async def unresolved(world: World, subject: Subject, limit: int) -> Sequence[Reservation]:
    """What was allowed and never reported, of the last days, the oldest first; for people. Raises Forbidden."""
    if subject.type != "person":
        raise Forbidden("what others left open is for people to see")
    return await world.store.unresolved(world.clock.now() - UNRESOLVED_DAYS * DAY, limit)


async def claims(world: World, subject: Subject, limit: int) -> Sequence[Claim]:
    """What is held now, the oldest first; for people. Raises Forbidden."""
    if subject.type != "person":
        raise Forbidden("who holds what is for people to see")
    return await world.store.claims(world.clock.now(), limit)


async def halts(world: World, subject: Subject) -> Sequence[Halt]:
    """What is stopped now; for people. Raises Forbidden."""
    if subject.type != "person":
        raise Forbidden("what is halted is for people to see")
    return await world.store.halts()


async def adjust(world: World, subject: Subject, budget: str, scope: str, *, delta: int, reason: str) -> Adjusted:
    """Add `delta` nanos to a budget's limit in its current window."""
    now = world.clock.now()
    listed = world.catalogue.budgets.get(budget)
    if listed is None:
        raise NotFound(f"no budget {budget!r} in the catalogue")
    if (listed.per == "none") is bool(scope):
        expected = "nothing" if listed.per == "none" else f"the {listed.per} that the budget is counted for"
        raise BadRequest(Violation("scope", expected))
    row = _row(world, budget, scope, now)
    (room,) = await world.store.rooms([row])
    if abs(room.limit + delta) > MAX_NANOS:
        raise BadRequest(Violation("delta", f"a limit of at most {decimal_text(MAX_NANOS)} after it"))
    call = Call(
        rpc="AdjustBudget",
        action=ActionName.BUDGET_ADJUST,
        resource=Resource("budget", budget),
        claimed=Claimed(reason=reason, arguments={"delta": decimal_text(delta), "scope": scope}),
    )

    def plan(draft: Draft, facts: Facts) -> Plan:
        return Plan((AdjustBudget(row, delta),))

    decided = await decide(world, subject, call, plan)
    if decided.answer.effect is not Effect.ALLOW:
        return Adjusted(decided.answer)
    return Adjusted(decided.answer, (await world.store.rooms([row]))[0])


def _row(world: World, name: str, scope: str, now: int) -> BudgetRow:
    budget = world.catalogue.budgets[name]
    window = window_at(budget.window, budget.zone, now)
    return BudgetRow(name, scope, window.start, window.end, budget.limit)
