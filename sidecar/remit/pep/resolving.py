"""Approvals as those resolve them who are asked: supervisors and people; and what happens when nobody does.

Whoever says something is judged by policy like anybody who acts (`approval.resolve`), and policy states what comes of
all that was said (the obligation `resolve_approval`). What was looked at is what is resolved: an approval that has
changed since is not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from remit.core.alternative import MEASURED, check_patch
from remit.core.answer import Answer, Resolved
from remit.core.approval import (
    SHOWN_BYTES,
    Approval,
    State,
    Verdict,
    Vote,
    revoked,
    timed_out,
    voted,
)
from remit.core.call import Call, Claimed, Objection, Resolution
from remit.core.canonical import parse
from remit.core.decision import Effect
from remit.core.document import input_document, money
from remit.core.effect import Effect as StoreEffect
from remit.core.effect import LiftHalt, MoveApproval, OpenApproval
from remit.core.errors import BadRequest, IllegalTransition, NotFound, StoreUnavailable, Violation
from remit.core.model import ActionName, Facts, Identity, Request, Resource, Subject
from remit.core.obligation import Obligation
from remit.core.reason import Reason, known
from remit.pep.approvals import TOO_LONG, offer
from remit.pep.decide import ELSEWHERE, Decided, Draft, Objected, Plan, Planner, Point, decide
from remit.pep.facts import in_force
from remit.pep.showing import is_visible, shown_to
from remit.pep.world import Installation, World
from remit.pep.write import Entry, must_write
from remit.ports import ApprovalsQuery

RESOLVE = "resolve_approval"
OUTCOMES = ("denied", "expired", "pending", "escalated", "approved")
"""What policy may state, the most restrictive first: of several, that one counts."""

REVOKE, TIMEOUT = "revoke", "timeout"
REMIT = Subject("system", "remit", "", (), Identity("local", "remit"))
"""Who asks policy what comes of an approval that nobody answered."""

_NOT_ENOUGH = "what is offered is granted with it, which is not for this caller alone to do"

MOST_TURNS = 16
"""How often a word is decided on again because something else has changed."""

AT_ONCE = 64
_log = logging.getLogger("remit")


async def resolve(world: World, subject: Subject, resolution: Resolution) -> Resolved:
    """Hear somebody. Raises NotFound for what the caller may not see, IllegalTransition where nothing is to resolve,
    BadRequest."""
    caller = in_force(world.catalogue, subject)
    found = await _find(world, caller, resolution.approval)
    operation = _operation(found, resolution)
    if operation == Verdict.APPROVE and len(found.items) > 1 and not resolution.version:
        raise BadRequest(Violation("version", "the one that was looked at, since there are several items"))
    if resolution.alternative:
        check_patch(resolution.alternative)
        if operation != Verdict.DENY or found.lifts:
            raise BadRequest(Violation("alternative", "nothing, but where an action is denied"))
        _check_offer(shown_to(world, caller, found).approval)
    said = _Said(world, caller, found, resolution, operation)
    decided = await _decided(
        world,
        subject,
        found,
        _call(found, operation, said.verdicts(), resolution, said.objection()),
        said.plan,
        Point(look=said.may_approve if resolution.alternative else None),
    )
    if decided.extra:
        after = await _find(world, caller, found.id)
        return Resolved(decided.answer, shown_to(world, caller, after))
    if _may_not_decide(found, caller, operation, said.objection() is not None, decided.answer.retryable):
        await _pass_on(world, caller, found, decided.answer)
        found = (await world.store.approvals(ApprovalsQuery(ids=(found.id,), limit=1)) or (found,))[0]
    return Resolved(decided.answer, shown_to(world, caller, found))


async def _decided(
    world: World, subject: Subject, found: Approval, call: Call, plan: Planner, point: Point = ELSEWHERE
) -> Decided:
    """Decide, and again where all that changed meanwhile is something else, such as a halt that is lifted beside this
    one: whoever watches is told of changes of the approval alone, and would never be asked again."""
    decided = await decide(world, subject, call, plan, point)
    for _ in range(MOST_TURNS):
        overtaken = any(each.code == Reason.FACTS_CHANGED for each in decided.answer.reasons)
        if decided.extra or call.objection is not None or not overtaken or await _moved(world, found):
            break
        decided = await decide(world, subject, call, plan, point)
    return decided


@dataclass(slots=True)
class _Said:
    """What somebody says of an approval, and what comes of it once policy has permitted and stated that."""

    world: World
    caller: Subject
    found: Approval
    resolution: Resolution
    operation: str

    def verdicts(self) -> list[Mapping[str, Any]]:
        """The latest of each who was heard, this one included."""
        return _verdicts((*self.found.votes, self._vote("", 0)))

    async def may_approve(self, installation: Installation, request: Request, facts: Facts) -> Facts:
        """Whoever offers something else grants it, and so must be somebody whose approval is enough by policy. Raises
        Objected, PolicyFailure."""
        approves = replace(self._vote("", 0), verdict=Verdict.APPROVE)
        verdicts = _verdicts((*self.found.votes, approves))
        properties = {**request.resource.properties, "verdicts": verdicts}
        asked = replace(request.resource, operation=Verdict.APPROVE.value, properties=properties)
        verdict = await installation.pdp.ask(input_document(replace(request, resource=asked), facts))
        if verdict.effect is not Effect.ALLOW:
            reason = next((each for code in verdict.reasons if (each := known(code.code))), Reason.DEFAULT_DENY)
            raise Objected(Objection(reason, _NOT_ENOUGH, binding=True))
        if stated(verdict.obligations) != State.APPROVED:
            raise Objected(Objection(Reason.ROLE_NOT_GRANTED, _NOT_ENOUGH, binding=True))
        return facts

    def objection(self) -> Objection | None:
        """Why it is not even asked of policy."""
        if self.caller.id == self.found.subject:
            return Objection(Reason.APPROVAL_OWN, "", binding=True)
        if self.resolution.version not in (0, self.found.version):
            return Objection(Reason.FACTS_CHANGED, f"it is at version {self.found.version}", binding=True)
        return None

    def plan(self, draft: Draft, facts: Facts) -> Plan:
        """The move, and what follows from it."""
        vote = self._vote(draft.id, facts.time)
        effects: list[StoreEffect] = []
        if self.operation == REVOKE:
            outcome, after = State.REVOKED.value, revoked(self.found, vote, facts.time)
        else:
            outcome = stated(draft.ruling.obligations)
            after = voted(self.found, vote, outcome, facts.time)
        if after.state is State.APPROVED and after.lifts:
            effects.append(LiftHalt(after.lifts, self.caller.id))
        if after.state is State.DENIED and self.resolution.alternative:
            shown = parse(self.found.items[0].shown.encode(), SHOWN_BYTES)
            made = offer(
                self.found,
                _described(self.found, shown),
                self.resolution.alternative,
                actor=shown["actor"],
                id=f"{self.found.id}.o",
                votes=(replace(vote, verdict=Verdict.APPROVE),),
                now=facts.time,
            )
            after = replace(after, alternative=made.described)
            effects.append(OpenApproval(made.grant))
        told = {
            "approval": self.found.id,
            "verdict": self.operation,
            "outcome": outcome,
            "reason": self.resolution.reason,
            "version": self.found.version,
        }
        return Plan((MoveApproval(after), *effects), {"state": after.state.value}, told)

    def _vote(self, decision: str, now: int) -> Vote:
        resolution = self.resolution
        return Vote(
            self.caller.type, self.caller.id, resolution.verdict, resolution.reason, now, decision, self.found.level
        )


def _check_offer(found: Approval) -> None:
    """Raise BadRequest where whoever sees an approval like this can offer nothing in its place."""
    if len(found.items) != 1:
        raise BadRequest(Violation("alternative", "none, since it would be of several requests at once"))
    shown = found.items[0].shown
    if not shown or TOO_LONG in parse(shown.encode(), SHOWN_BYTES):
        raise BadRequest(Violation("alternative", "none, since what was asked for is not shown to you"))
    if found.terms.quorum > 1:
        raise BadRequest(Violation("alternative", "none, since more than one must approve"))


def _described(found: Approval, shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one request that was held, as it can be changed."""
    arguments = {key: each for key, each in shown["arguments"].items() if key not in shown.get(MEASURED, ())}
    return {"resource": {**found.resource, "fields": shown["fields"]}, "arguments": arguments}


def stated(obligations: Iterable[Obligation]) -> str:
    """The outcome that policy states; "pending" where it states none, or none that there is."""
    said = [each.properties.get("outcome") for each in obligations if each.id == RESOLVE]
    known = [OUTCOMES.index(each) if each in OUTCOMES else OUTCOMES.index("pending") for each in said]
    return OUTCOMES[min(known)] if known else "pending"


def _operation(found: Approval, resolution: Resolution) -> str:
    """What is done by it: a denial of what was approved takes the grant back. Raises IllegalTransition."""
    if found.state is State.APPROVED and resolution.verdict is Verdict.DENY:
        return REVOKE
    if found.state is not State.PENDING:
        raise IllegalTransition(f"approval {found.id} is {found.state}")
    return resolution.verdict.value


def _call(
    found: Approval,
    operation: str,
    verdicts: Sequence[Mapping[str, Any]],
    resolution: Resolution | None,
    objection: Objection | None = None,
) -> Call:
    properties = {
        "subject": found.subject,
        "team": found.team,
        "action": found.action,
        "target": dict(found.resource),
        "policy": found.policy,
        "code": found.code,
        "bind": found.terms.bind.value,
        "uses": found.terms.uses,
        "cost": money(sum(item.amount for item in found.items)),
        "roles": list(found.terms.roles),
        "quorum": found.terms.quorum,
        "chain": list(found.chain),
        "level": found.level,
        "addressee": found.addressee,
        "state": found.state.value,
        "labels": list(found.labels),
        "verdicts": list(verdicts),
    }
    return Call(
        rpc="ResolveApproval",
        action=ActionName.APPROVAL_RESOLVE,
        resource=Resource("approval", found.id, operation, properties=properties),
        claimed=Claimed(reason=resolution.reason if resolution else ""),
        fulfils=frozenset({RESOLVE}),
        objection=objection,
        about=(found.items[0].decision, found.workflow),
    )


def _verdicts(votes: Iterable[Vote]) -> list[Mapping[str, Any]]:
    last = {(each.kind, each.by): each for each in votes}
    return [
        {"kind": each.kind, "by": each.by, "verdict": each.verdict.value, "level": each.level} for each in last.values()
    ]


def _may_not_decide(found: Approval, caller: Subject, operation: str, objected: bool, retryable: bool) -> bool:
    """Whether it was for the caller to say, and policy says that it may not: then somebody above is asked."""
    return caller.id == found.addressee and operation == Verdict.APPROVE and not objected and not retryable


async def _pass_on(world: World, caller: Subject, found: Approval, denial: Answer) -> None:
    """Whoever is asked may not decide, which is heard as its word that somebody above must."""
    now = world.clock.now()
    codes = ", ".join(each.code for each in denial.reasons)
    vote = Vote(caller.type, caller.id, Verdict.HOLD, f"not its to approve: {codes}", now, denial.id, found.level)
    body = {"approval": found.id, "move": "escalated", "because": denial.id}
    entry = Entry("approval", found.subject, body, filed_in=found.workflow, ref=found.items[0].decision)
    try:
        await must_write(world, entry, (MoveApproval(voted(found, vote, "escalated", now)),))
    except (IllegalTransition, StoreUnavailable) as error:
        # It has moved meanwhile, or will be passed on when its time is up: the denial stands either way.
        _log.warning("approval %s was not passed on: %s", found.id, error)


async def time_out(world: World) -> int:
    """End, or pass on, what nobody answered in time, as policy states; how many. Where policy cannot say, it ends."""
    due = await world.store.due_approvals(world.clock.now(), AT_ONCE)
    for each in due:
        call = _call(each, TIMEOUT, _verdicts(each.votes), None)

        def plan(draft: Draft, facts: Facts, found: Approval = each) -> Plan:
            outcome = stated(draft.ruling.obligations)
            after = timed_out(found, outcome, facts.time)
            told = {"approval": found.id, "verdict": TIMEOUT, "outcome": _move(after), "version": found.version}
            return Plan((MoveApproval(after),), {"state": after.state.value}, told)

        try:
            decided = await _decided(world, REMIT, each, call, plan)
            if not decided.extra and not await _moved(world, each):
                await _expire(world, each, decided.answer.id)
        except IllegalTransition as error:
            _log.warning("approval %s was not ended: %s", each.id, error)  # the others are
    return len(due)


def _move(after: Approval) -> str:
    return "escalated" if after.state is State.PENDING else after.state.value


async def _moved(world: World, found: Approval) -> bool:
    """Whether somebody else moved it meanwhile."""
    now = await world.store.approvals(ApprovalsQuery(ids=(found.id,), limit=1))
    return not now or now[0].version != found.version


async def _expire(world: World, found: Approval, decision: str) -> None:
    body = {"approval": found.id, "move": "expired", "because": decision}
    entry = Entry("approval", found.subject, body, filed_in=found.workflow, ref=found.items[0].decision)
    await must_write(world, entry, (MoveApproval(timed_out(found, "expired", world.clock.now())),))


async def _find(world: World, caller: Subject, id: str) -> Approval:
    found = await world.store.approvals(ApprovalsQuery(ids=(id,), limit=1))
    if not found or not is_visible(caller, found[0]):
        raise NotFound(f"no approval {id[:64]!r} that {caller.id} may see")
    return found[0]
