"""Approvals as they are shown: to whoever asked, to those who are asked, and to people who see everything.

What was asked for is for those who are cleared for what its session held. Whether somebody may resolve an approval is
told as far as it is known here; policy has the last word when they do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from remit.core.answer import Shown
from remit.core.approval import Approval, State
from remit.core.model import Subject
from remit.pep.facts import in_force
from remit.pep.world import World
from remit.ports import ApprovalsQuery

SEES_ALL = frozenset({"operator", "auditor"})
APPROVER = "approver"
"""Who may resolve what names no role."""

WATCH_SECONDS = 60.0
AT_ONCE, PAGES = 64, 32


async def listed(
    world: World, subject: Subject, states: Sequence[State], id: str, *, before: str, limit: int
) -> Sequence[Shown]:
    """Those that the caller may see, the newest first; pending ones where neither a state nor an id is named.

    Whoever does not see all is shown those among the newest PAGES * AT_ONCE: nobody has the store read for it without
    end.
    """
    subject = in_force(world.catalogue, subject)
    wanted = tuple(states) or (() if id else (State.PENDING,))
    ids = (id,) if id else ()
    found: list[Shown] = []
    for _ in range(PAGES):
        if len(found) >= limit:
            break
        page = await world.store.approvals(ApprovalsQuery(ids=ids, states=wanted, before=before, limit=AT_ONCE))
        found += [shown_to(world, subject, each, whole=bool(id)) for each in page if is_visible(subject, each)]
        if len(page) < AT_ONCE:
            break
        before = page[-1].id
    return found[:limit]


async def watched(world: World, subject: Subject) -> AsyncGenerator[Shown | None, None]:
    """Pending ones that the caller may resolve, then None, then each that the caller may see as it changes.

    However many wait, what is read at a change is what has changed."""
    told: dict[str, int] = {}
    unseen: dict[str, Approval] = {}  # without their items
    caught_up = False
    while True:
        caller = in_force(world.catalogue, subject)
        pending = await world.store.pending_approvals()
        gone = [id for id in told if id not in pending]
        unseen = {id: each for id, each in unseen.items() if pending.get(id) == each.version}
        changed = [id for id in pending if _is_news(id, pending[id], caller, told, unseen)]
        for each in await _read(world, (*changed, *gone)):
            if not is_visible(caller, each):
                unseen[each.id] = replace(each, items=())
                continue
            unseen.pop(each.id, None)
            if told.get(each.id) == each.version:
                continue
            told[each.id] = each.version
            shown = shown_to(world, caller, each)
            if caught_up or shown.resolvable:
                yield shown
        for id in gone:
            told.pop(id, None)
        if not caught_up:
            caught_up = True
            yield None
        await world.changes.next(WATCH_SECONDS)


def _is_news(id: str, version: int, caller: Subject, told: Mapping[str, int], unseen: Mapping[str, Approval]) -> bool:
    """Whether a watcher was not told of a version yet, and may be as far as is known."""
    return is_visible(caller, unseen[id]) if id in unseen else told.get(id) != version


async def _read(world: World, ids: Sequence[str]) -> Sequence[Approval]:
    """These, the oldest first."""
    found: list[Approval] = []
    for at in range(0, len(ids), AT_ONCE):
        some = tuple(ids[at : at + AT_ONCE])
        found += reversed(await world.store.approvals(ApprovalsQuery(ids=some, limit=len(some))))
    return found


def is_visible(caller: Subject, approval: Approval) -> bool:
    """Whoever asked, was asked, or may be; and people who see everything."""
    if caller.type == "person" and SEES_ALL & set(caller.roles):
        return True
    if caller.id == approval.subject or caller.id in approval.chain[: approval.level + 1]:
        return True
    return caller.type == "person" and _has_role(caller, approval)


def _has_role(caller: Subject, approval: Approval) -> bool:
    """Whether a person's roles let them resolve it; whoever holds the sidecar's own token may resolve any."""
    if caller.identity.method == "local" and "operator" in caller.roles:
        return True
    return bool(set(caller.roles) & set(approval.terms.roles or (APPROVER,)))


def shown_to(world: World, caller: Subject, approval: Approval, *, whole: bool = True) -> Shown:
    """As the caller may see it. What was asked for is shown to whoever asked, and to those who are cleared for what
    its session held, and so are its own word for it and what was offered instead; in a list (not `whole`) it is left
    out."""
    clearance = _clearance(world, caller)
    items = tuple(
        each if whole and (caller.id == approval.subject or set(each.labels) <= clearance) else replace(each, shown="")
        for each in approval.items
    )
    if caller.id != approval.subject and not set(approval.labels) <= clearance:
        approval = replace(approval, reason="", alternative={})
    return Shown(replace(approval, items=items), _resolvable(world, caller, approval))


def _clearance(world: World, caller: Subject) -> frozenset[str]:
    if caller.type == "person":
        person = world.catalogue.people.get(caller.id)
        return frozenset(person.clearance if person else ())
    agent = world.catalogue.agents.get(caller.id)
    return frozenset(agent.clearance if agent else ())


def _resolvable(world: World, caller: Subject, approval: Approval) -> bool:
    """Whether the caller is among those who are asked now; policy has the last word when they answer."""
    if caller.id == approval.subject:
        return False
    if approval.state is State.APPROVED:
        live = approval.expires > world.clock.now()
        return live and caller.type == "person" and _has_role(caller, approval)
    if approval.state is not State.PENDING or approval.deadline <= world.clock.now():
        return False
    return caller.id == approval.addressee or (caller.type == "person" and _has_role(caller, approval))
