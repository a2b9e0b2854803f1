"""Short ways to say approvals, for tests of stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes.commits import SECOND, START, Desk
from remit.core.approval import Approval, Bind, Item, Terms, Verdict, Vote, revoked, timed_out, voted
from remit.core.effect import Committed, MoveApproval, OpenApproval, Refused
from remit.ports import ApprovalsQuery

HOUR = 3600 * SECOND
TERMS = Terms(roles=("approver",), bind=Bind.VARIANT, uses=2, cost=100, ttl=3600, wait=600)


def item(binding: str = "b1", **parts: Any) -> Item:
    """What would be done."""
    given: dict[str, Any] = {
        "decision": f"d_of_{binding}",
        "amount": 40,
        "labels": ("pii",),
        "shown": f'{{"to":"{binding}"}}',
    }
    return Item(binding, **{**given, **parts})


def asked(id: str = "a1", *, time: int = START, **parts: Any) -> Approval:
    """A request that waits, of one item; its hold is like no other's."""
    given: dict[str, Any] = {
        "like": f"like {id}",
        "subject": "ann",
        "team": "cx",
        "workflow": "w1",
        "purpose": "support",
        "policy": "approval.large",
        "code": "approval_required",
        "action": "api.call",
        "resource": {"type": "service", "id": "mail", "operation": "send", "variant": "large"},
        "reason": "it is late",
        "terms": TERMS,
        "deadline": time + TERMS.wait * SECOND,
        "items": (item(),),
    }
    return Approval(id=id, time=time, **{**given, **parts})


def vote(by: str = "ben", verdict: Verdict = Verdict.APPROVE, *, time: int = START, **parts: Any) -> Vote:
    """What somebody said."""
    given: dict[str, Any] = {"kind": "person", "reason": f"so says {by}", "decision": f"d_by_{by}"}
    return Vote(by=by, verdict=verdict, time=time, **{**given, **parts})


async def stored(desk: Desk, id: str = "a1") -> Approval:
    """An approval as it is now."""
    (found,) = await desk.store.approvals(ApprovalsQuery(ids=(id,)))
    return found


async def is_open(desk: Desk, approval: Approval | None = None) -> Approval:
    """A request, as it is stored once it is opened."""
    opened = approval or asked(time=desk.time)
    await desk.must(OpenApproval(opened))
    return await stored(desk, opened.id)


async def answer(
    desk: Desk, outcome: str, by: str = "ben", verdict: Verdict = Verdict.APPROVE, id: str = "a1"
) -> Committed | Refused:
    """Somebody says something, and policy that outcome."""
    after = voted(await stored(desk, id), vote(by, verdict, time=desk.time), outcome, desk.time)
    return await desk.commit(MoveApproval(after))


async def is_granted(desk: Desk, approval: Approval | None = None) -> Approval:
    """A grant: opened, and approved by one."""
    opened = await is_open(desk, approval)
    assert isinstance(await answer(desk, "approved", id=opened.id), Committed)
    return await stored(desk, opened.id)


def taken_back(approval: Approval, by: str = "ben", *, now: int = START) -> MoveApproval:
    """Its grant is revoked."""
    return MoveApproval(revoked(approval, vote(by, Verdict.DENY, time=now), now))


def run_out(approval: Approval, outcome: str = "expired", *, now: int) -> MoveApproval:
    """Its time is over."""
    return MoveApproval(timed_out(approval, outcome, now))


def at(approval: Approval, **parts: Any) -> MoveApproval:
    """A change to whatever is said, of its version."""
    return MoveApproval(replace(approval, **{"version": approval.version + 1, **parts}))
