"""What a HOLD comes to: a grant that is there is used, a refusal that stands is told, and else somebody is asked.

Using a grant is deciding anew: policy is asked again with the grant among the facts, and takes away exactly the holds
that it covers. Whether it is still one is the store's to say, in the same transaction as the decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from remit.core import approval as approvals
from remit.core.alternative import MEASURED, changed, described
from remit.core.answer import Turning
from remit.core.approval import MOST_ITEMS, SECOND, SHOWN_BYTES, Approval, Bind, Hold, Item, State, Vote
from remit.core.canonical import encode
from remit.core.decision import Effect
from remit.core.effect import Effect as StoreEffect
from remit.core.effect import JoinApproval, OpenApproval, UseGrant
from remit.core.errors import BadRequest
from remit.core.model import Facts, Request
from remit.core.reason import Reason
from remit.core.ruling import Ruling, turn
from remit.pep.world import Installation, World
from remit.ports import ApprovalsQuery

TOO_LONG = "too_long_to_be_shown"
"""What an item shows in the place of a request that is longer than SHOWN_BYTES."""

KNOWN = 64
"""Approvals that are looked at for one request, the newest first."""


@dataclass(frozen=True, slots=True)
class Held:
    """What became of a HOLD: the facts and the ruling it ended with, what is to be done with the decision, and the
    approvals that it turns on. `used` are grants by their ids; `joined` says of each approval how it was asked for."""

    facts: Facts
    ruling: Ruling
    effects: tuple[StoreEffect, ...] = ()
    turning: tuple[Turning, ...] = ()
    used: tuple[str, ...] = ()
    asked: Mapping[str, str] = field(default_factory=dict)
    alternative: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was held; `shown` as its call has it."""

    decision: str
    request: Request
    shown: Mapping[str, Any]

    @property
    def described(self) -> Mapping[str, Any]:
        """The request as it can be changed."""
        return described(self.request, self.shown.get(MEASURED, ()))


Ask = Callable[[Facts], Awaitable[Ruling]]


async def consult(
    world: World, installation: Installation, question: Question, facts: Facts, ruling: Ruling, ask: Ask
) -> Held:
    """Follow a HOLD that binds. Raises StoreUnavailable; what policy fails at is a refusal like any other."""
    known = await _known(world, question, ruling.holds)
    grants = [_grant(known, hold, question, facts) for hold in ruling.holds]
    used = [each for each in grants if each is not None]
    if used:
        facts = replace(facts, grants=tuple(_fact(each.approval) for each in used))
        again = await ask(facts)
        uncovered = tuple(hold for hold, grant in zip(ruling.holds, grants, strict=True) if grant is None)
        if again.effect is Effect.ALLOW and uncovered:
            again = replace(ruling, holds=uncovered)  # a grant takes away the holds that it covers, and no other
        if again.effect is Effect.ALLOW:
            amount = facts.estimate.amount or 0
            effects = tuple(UseGrant(each.approval.id, each.binding, amount) for each in used)
            return Held(facts, again, effects, used=tuple(each.approval.id for each in used))
        if again.effect is Effect.DENY:
            return Held(facts, again)
        ruling = again
        known = await _known(world, question, ruling.holds)
    for hold in ruling.holds:
        if hold.terms.alternative:
            return await _offered(world, installation, question, facts, ruling, hold)
    refused = _refused(question, facts, ruling, known)
    return refused or _asked(world, installation, question, facts, ruling, known)


async def _known(world: World, question: Question, holds: Iterable[Hold]) -> Sequence[Approval]:
    """What has been said of this very request, and what waits that it may join."""
    bindings = {binding for hold in holds for binding in _bindings(question, hold.terms.bind)}
    likes = {approvals.like(hold, question.request) for hold in holds}
    said = ApprovalsQuery(bindings=tuple(bindings), limit=KNOWN)
    waiting = ApprovalsQuery(likes=tuple(likes), states=(State.PENDING,), limit=KNOWN)
    found = await asyncio.gather(world.store.approvals(said), world.store.approvals(waiting))
    return tuple({each.id: each for part in found for each in part}.values())


def _bindings(question: Question, bind: Bind) -> tuple[str, str]:
    """What the request is bound by as it is, and as an alternative that was offered."""
    request = question.request
    subject, context = request.subject, request.context
    whom = (subject.id, subject.actor, context.workflow, context.purpose, request.action)
    return (
        approvals.binding(bind, request),
        approvals.offered(whom, question.described),
    )


def _alike(known: Iterable[Approval], hold: Hold, request: Request) -> Sequence[Approval]:
    like = approvals.like(hold, request)
    return [each for each in known if each.like == like]


@dataclass(frozen=True, slots=True)
class _Grant:
    """A grant that covers a hold, and the binding that it does so by."""

    approval: Approval
    binding: str


def _grant(known: Sequence[Approval], hold: Hold, question: Question, facts: Facts) -> _Grant | None:
    amount = facts.estimate.amount or 0
    for each in _alike(known, hold, question.request):
        for binding in _bindings(question, hold.terms.bind):
            if approvals.covers(each, binding, labels=facts.labels, amount=amount, now=facts.time):
                return _Grant(each, binding)
    return None


def _fact(grant: Approval) -> Mapping[str, Any]:
    return {
        "id": grant.id,
        "policy": grant.policy,
        "code": grant.code,
        "bind": grant.terms.bind.value,
        "uses_left": grant.terms.uses - max((item.used for item in grant.items), default=0),
        "expires": grant.expires // SECOND,
    }


def _refused(question: Question, facts: Facts, ruling: Ruling, known: Sequence[Approval]) -> Held | None:
    """The refusal where one stands."""
    for hold in ruling.holds:
        for each in _alike(known, hold, question.request):
            binding = approvals.binding(hold.terms.bind, question.request)
            over = each.state is State.PENDING and each.deadline <= facts.time
            if not (over and each.item(binding)) and not approvals.stands(each, binding, now=facts.time):
                continue
            if each.alternative:
                told = turn(ruling, Reason.ALTERNATIVE_OFFERED, "")
                return Held(facts, told, turning=(_turning(each),), alternative=each.alternative)
            reason = Reason.APPROVAL_EXPIRED if over or each.state is State.EXPIRED else Reason.APPROVAL_DENIED
            return Held(facts, turn(ruling, reason, each.id), turning=(_turning(each),))
    return None


async def _offered(
    world: World, installation: Installation, question: Question, facts: Facts, ruling: Ruling, hold: Hold
) -> Held:
    """A rule offers a changed request: there is a grant for exactly that, the one that was offered before if it is not
    used yet."""
    asked = opened(installation, question, facts, hold, world.ids.new("a"))
    try:
        made = offer(
            asked,
            question.described,
            hold.terms.alternative,
            actor=question.request.subject.actor,
            id=asked.id,
            votes=(),
            now=facts.time,
        )
    except BadRequest as error:
        return Held(facts, turn(ruling, Reason.POLICY_INVALID, f"the alternative of {hold.policy}: {error}"))
    told = turn(ruling, Reason.ALTERNATIVE_OFFERED, "")
    (item,) = made.grant.items
    before = await world.store.approvals(ApprovalsQuery(bindings=(item.binding,), limit=KNOWN))
    amount = facts.estimate.amount or 0
    for each in before:
        if each.like == made.grant.like and approvals.covers(
            each, item.binding, labels=facts.labels, amount=amount, now=facts.time
        ):
            return Held(facts, told, turning=(_turning(each),), alternative=made.described)
    effects, asking = (OpenApproval(made.grant),), {made.grant.id: "offered"}
    return Held(facts, told, effects, (_turning(made.grant),), asked=asking, alternative=made.described)


@dataclass(frozen=True, slots=True)
class Offer:
    """A changed request, described, and the grant for exactly it: whoever sends it accepts it."""

    described: Mapping[str, Any]
    grant: Approval


def offer(
    asked: Approval,
    description: Mapping[str, Any],
    patch: Mapping[str, Any],
    *,
    actor: str,
    id: str,
    votes: tuple[Vote, ...],
    now: int,
) -> Offer:
    """What a patch makes of a described request that `asked` is about, by its `actor`. Raises BadRequest."""
    other = changed(description, patch)
    whom = (asked.subject, actor, asked.workflow, asked.purpose, asked.action)
    item = replace(asked.items[0], binding=approvals.offered(whom, other), shown="", asked=1, used=0, spent=0)
    grant = replace(
        asked,
        id=id,
        like=approvals.alike(
            Hold(asked.policy, asked.code, asked.terms),
            subject=asked.subject,
            action=asked.action,
            resource=other["resource"],
        ),
        resource={name: other["resource"][name] for name in ("type", "id", "operation", "variant")},
        terms=replace(asked.terms, bind=Bind.EXACT, uses=1, cost=None),
        time=now,
        state=State.APPROVED,
        version=1,
        votes=votes,
        expires=now + asked.terms.ttl * SECOND,
        items=(item,),
    )
    return Offer(other, grant)


def _asked(
    world: World,
    installation: Installation,
    question: Question,
    facts: Facts,
    ruling: Ruling,
    known: Sequence[Approval],
) -> Held:
    """Everybody is asked who must be, once for what is alike."""
    effects: list[StoreEffect] = []
    turning: list[Turning] = []
    asked: dict[str, str] = {}
    for hold in {approvals.like(each, question.request): each for each in ruling.holds}.values():
        pending = next((each for each in _alike(known, hold, question.request) if each.state is State.PENDING), None)
        if pending is None:
            found = opened(installation, question, facts, hold, world.ids.new("a"))
            effects.append(OpenApproval(found))
            asked[found.id] = "opened"
        else:
            found, item = pending, _item(question, facts, hold)
            there = approvals.waits(found, item.binding, labels=item.labels, amount=item.amount, now=facts.time)
            if not there and approvals.approving(found):
                # Whoever has approved it has not seen this: it is asked for once that has ended.
                asked[found.id] = "waits"
                turning.append(_turning(found))
                continue
            if len(found.items) >= MOST_ITEMS and found.item(item.binding) is None:
                return Held(facts, turn(ruling, Reason.APPROVALS_EXHAUSTED, found.id), turning=(_turning(found),))
            effects.append(JoinApproval(found.id, found.version, approvals.joined(found, item), same=there))
            asked[found.id] = "waits" if there else "joined"
        turning.append(_turning(found))
    return Held(facts, ruling, tuple(effects), tuple(turning), asked=asked)


def opened(installation: Installation, question: Question, facts: Facts, hold: Hold, id: str) -> Approval:
    """A new request for a hold."""
    request, catalogue = question.request, installation.catalogue
    chain: tuple[str, ...] = ()
    if hold.terms.supervisor:
        chain = approvals.supervisors(catalogue.agents, catalogue.people, request.subject.id, facts.labels)
    return Approval(
        id=id,
        like=approvals.like(hold, request),
        subject=request.subject.id,
        team=request.subject.team,
        workflow=request.context.workflow,
        purpose=request.context.purpose,
        policy=hold.policy,
        code=hold.code,
        action=request.action,
        resource={
            "type": request.resource.type,
            "id": request.resource.id,
            "operation": request.resource.operation,
            "variant": request.resource.variant,
        },
        reason=request.context.reason,
        terms=replace(hold.terms, alternative={}),
        time=facts.time,
        deadline=facts.time + hold.terms.wait * SECOND,
        chain=chain,
        items=(_item(question, facts, hold),),
    )


def _item(question: Question, facts: Facts, hold: Hold) -> Item:
    request = question.request
    told = {
        "arguments": dict(request.context.arguments),
        "usage": dict(request.usage),
        "inputs": list(request.context.inputs),
        "fields": list(request.resource.fields),
        "workflow": request.context.workflow,
        "purpose": request.context.purpose,
        "actor": request.subject.actor,
        "properties": approvals.named_properties(request),
        **question.shown,
    }
    shown = encode(told)
    if len(shown) > SHOWN_BYTES:
        # Whoever is asked is told that they do not see it, and by what it can be told from another.
        shown = encode({TOO_LONG: {"bytes": len(shown), "sha256": sha256(shown).hexdigest()}})
    return Item(
        binding=approvals.binding(hold.terms.bind, request),
        decision=question.decision,
        amount=facts.estimate.amount or 0,
        labels=tuple(sorted(facts.labels)),
        shown=shown.decode(),
    )


def _turning(found: Approval) -> Turning:
    return Turning(
        id=found.id,
        policy=found.policy,
        code=found.code,
        state=found.state,
        supervisor=found.addressee,
        roles=found.terms.roles,
        deadline=found.deadline,
    )


async def still_held(world: World, turning: Sequence[Turning]) -> tuple[Turning, ...] | None:
    """Where the approvals of a HOLD stand; None where one of them is not waiting any more."""
    ids = tuple(each.id for each in turning)
    found = {each.id: each for each in await world.store.approvals(ApprovalsQuery(ids=ids, limit=len(ids) or 1))}
    now = world.clock.now()
    if not ids or any(
        (each := found.get(id)) is None or each.state is not State.PENDING or each.deadline <= now for id in ids
    ):
        return None
    return tuple(_turning(found[id]) for id in ids)
