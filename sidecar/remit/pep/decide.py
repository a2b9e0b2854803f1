"""The one way to a decision: replay → believe → gather → ask → rule (→ grants, or asking somebody) → commit → answer.

Every step that fails, fails closed with a reason of its own; no answer leaves before its record is durable.
A commit names the versions of what Rego saw; where they are stale, policy is asked again with fresh facts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from remit.core.answer import Answer
from remit.core.call import Call, Objection
from remit.core.decision import Effect
from remit.core.document import input_document
from remit.core.effect import Committed, JoinLabels, KeepAnswer, Refused, Reserve, SeeSubjects
from remit.core.effect import Effect as StoreEffect
from remit.core.errors import PolicyFailure, StoreUnavailable
from remit.core.label import exceeding
from remit.core.metering import METERED, SERVICES, attributes
from remit.core.model import ActionName, Context, Facts, Mode, Request, Subject, Versions
from remit.core.reason import Reason
from remit.core.redact import Hmac, redact
from remit.core.ruling import Ruling, refuse, rule, turn
from remit.pep import failures
from remit.pep.answers import explain, pack, unpack
from remit.pep.approvals import Held, Question, consult, still_held
from remit.pep.body import decision_body
from remit.pep.context import ContextRefused, believe
from remit.pep.facts import gather, in_force
from remit.pep.touching import claim_effects, nameless
from remit.pep.world import DAY, SECOND, Installation, World
from remit.pep.write import Entry, write
from remit.ports import FactsQuery

HOLD_SECONDS = 300  # a reservation's life where the catalogue names none
LONGEST_HOLD = DAY  # however much progress is reported: nobody keeps a budget's room for ever
JOINING = METERED | {ActionName.DATA_READ}  # actions whose results enter the session


@dataclass(frozen=True, slots=True)
class Plan:
    """What a permitted decision does besides; `extra` is kept with its answer, `done` told in its record."""

    effects: tuple[StoreEffect, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    done: Mapping[str, Any] = field(default_factory=dict)


NOTHING = Plan()


@dataclass(frozen=True, slots=True)
class Decided:
    """An answer with what came with it."""

    answer: Answer
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision before its commit. `facts` is None where they were never gathered; `held` where nothing held it."""

    id: str
    time: int
    installation: Installation
    call: Call
    request: Request
    facts: Facts | None
    ruling: Ruling
    plan: Plan = NOTHING
    reserve: int = 0
    sent: Mapping[str, Any] = field(default_factory=dict)
    held: Held | None = None


Planner = Callable[[Draft, Facts], Plan]


@dataclass(frozen=True, slots=True)
class Permitted:
    """What policy permitted, before it is recorded: `id` is the decision's."""

    id: str
    installation: Installation
    request: Request
    facts: Facts
    ruling: Ruling


@dataclass(frozen=True, slots=True)
class Way:
    """How an enforcement point would perform what was permitted: what the record says of it and what is done with it,
    or why it cannot."""

    sent: Mapping[str, Any] = field(default_factory=dict)
    effects: tuple[StoreEffect, ...] = ()
    objection: Objection | None = None


def no_way(reason: Reason, detail: str) -> Way:
    """It cannot be performed, whatever policy said: that binds in every mode."""
    return Way(objection=Objection(reason, detail, binding=True))


Look = Callable[[Installation, Request, Facts], Awaitable[Facts]]
"""Looks closer at the facts before policy is asked. Raises Objected, PolicyFailure where it cannot."""

Gate = Callable[[Permitted], Awaitable[Way]]
"""Asked after policy permitted and before anything is recorded: so no ALLOW stands for what could not be sent."""


class Objected(Exception):
    """Looking closer ended in an objection."""

    def __init__(self, objection: Objection) -> None:
        super().__init__(objection.detail)
        self.objection = objection


@dataclass(frozen=True, slots=True)
class Point:
    """An enforcement point of Remit's own: its part in a decision that it will perform itself."""

    look: Look | None = None
    gate: Gate | None = None


ELSEWHERE = Point()
"""The enforcement point is the caller: nothing but policy and the store is asked."""


def nothing_besides(draft: Draft, facts: Facts) -> Plan:
    """The planner of most decisions."""
    return NOTHING


async def decide(
    world: World, subject: Subject, call: Call, planner: Planner = nothing_besides, point: Point = ELSEWHERE
) -> Decided:
    """Decide one question. Raises StoreUnavailable where nothing could be recorded."""
    started = perf_counter()
    if call.claimed.actor:
        subject = replace(subject, actor=call.claimed.actor)
    subject = in_force(world.catalogue, subject)
    decided = await replay(world, subject, call) or await _decide_afresh(world, subject, call, planner, point)
    world.observer.stage("total", perf_counter() - started)
    return decided


async def _decide_afresh(world: World, subject: Subject, call: Call, planner: Planner, point: Point) -> Decided:
    draft = await _draft(world, subject, call, planner, point)
    outcome = await _commit(world, draft)
    if isinstance(outcome, Refused):
        draft = await _draft(world, subject, call, planner, point)
        outcome = await _commit(world, draft)
    if isinstance(outcome, Refused):
        changed = turn(draft.ruling, Reason.FACTS_CHANGED, "")
        # What else changed may be a halt, or the agent's mode: then nothing says that the call may go through.
        binding = replace(changed, enforced=changed.enforced or outcome.name != "labels")
        outcome = await _record_refusal(world, replace(draft, ruling=binding))
    if not outcome.answer.replayed:
        await failures.decided(world, draft.request, outcome.answer)
    return outcome


async def _draft(world: World, subject: Subject, call: Call, planner: Planner, point: Point) -> Draft:
    """Everything up to the commit, with one installation from start to end."""
    installation, now, id = world.installation, world.clock.now(), world.ids.new("d")
    subject = in_force(installation.catalogue, subject)
    try:
        request = _request(subject, call, await believe(world, subject, call.claimed, now))
    except ContextRefused as refused:
        request = _request(subject, call, replace(refused.context, parent=""))
        draft = Draft(id, now, installation, call, request, None, refuse(refused.reason, refused.detail, request))
        return await _through_gate(await _let_through(world, draft), point.gate) if draft.ruling.permits else draft
    if call.objection is not None:
        ruling = _objected(call.objection, request)
        draft = Draft(id, now, installation, call, request, None, ruling)
        return await _through_gate(await _let_through(world, draft), point.gate) if ruling.permits else draft
    started = perf_counter()
    facts = await gather(world, installation, request, now)
    world.observer.stage("facts", perf_counter() - started)
    facts, ruling = await _judge(world, installation, request, facts, point.look)
    held = None
    if ruling.effect is Effect.HOLD and ruling.enforced:
        held = await consult(
            world,
            installation,
            Question(id, request, call.shown),
            facts,
            ruling,
            lambda with_grants: _ask(world, installation, request, with_grants),
        )
        facts, ruling = held.facts, held.ruling
    draft = Draft(id, now, installation, call, request, facts, ruling, NOTHING, facts.estimate.amount or 0, held=held)
    if ruling.permits:
        draft = replace(draft, plan=planner(draft, facts))
    return await _through_gate(draft, point.gate)


async def _through_gate(draft: Draft, gate: Gate | None) -> Draft:
    """The draft with the way that it would take; a denial where there is none, in every mode. That uses no grant."""
    if gate is None or draft.facts is None or not draft.ruling.permits:
        return draft
    way = await gate(Permitted(draft.id, draft.installation, draft.request, draft.facts, draft.ruling))
    if way.objection is None:
        plan = replace(draft.plan, effects=(*draft.plan.effects, *way.effects)) if way.effects else draft.plan
        return replace(draft, sent=way.sent, plan=plan)
    ruling = replace(_objected(way.objection, draft.request), enforced=True, record=draft.ruling.record)
    return replace(draft, ruling=ruling, plan=NOTHING, held=None)


def _objected(objection: Objection, request: Request) -> Ruling:
    return refuse(objection.reason, objection.detail, request, halted=objection.binding)


async def _let_through(world: World, draft: Draft) -> Draft:
    """An observed agent's call that policy was not asked about: halts bind, and what it reads and costs counts."""
    facts = await gather(world, draft.installation, draft.request, draft.time)
    ruling = replace(draft.ruling, enforced=bool(facts.halts))
    return replace(draft, facts=facts, ruling=ruling, reserve=facts.estimate.amount or 0)


def _request(subject: Subject, call: Call, context: Context) -> Request:
    return Request(subject, call.action, call.resource, context, call.usage, call.fulfils, call.key, call.content)


async def _judge(
    world: World, installation: Installation, request: Request, facts: Facts, look: Look | None
) -> tuple[Facts, Ruling]:
    """The ruling, and the facts as they were looked at for it."""
    missing = nameless(installation.catalogue, request)
    if missing:
        return facts, refuse(Reason.ARGUMENT_MISSING, missing, request, halted=bool(facts.halts))
    try:
        if look is not None:
            started = perf_counter()
            facts = await look(installation, request, facts)
            world.observer.stage("view", perf_counter() - started)
    except Objected as objected:
        return facts, _objected(objected.objection, request)
    except PolicyFailure as failure:
        return facts, refuse(failure.reason, failure.detail, request, halted=bool(facts.halts))
    return facts, await _ask(world, installation, request, facts)


async def _ask(world: World, installation: Installation, request: Request, facts: Facts) -> Ruling:
    started = perf_counter()
    halted = bool(facts.halts)
    try:
        verdict = await installation.pdp.ask(input_document(request, facts))
    except PolicyFailure as failure:
        return refuse(failure.reason, failure.detail, request, halted=halted)
    finally:
        world.observer.stage("pdp", perf_counter() - started)
    return rule(verdict, request, facts.estimate, halted=halted, metered=facts.metered)


async def _commit(world: World, draft: Draft) -> Decided | Refused:
    """The answer once its record is durable; Refused where the facts were stale, and which of them."""
    versions = draft.facts.versions if draft.facts else None
    outcome = await _store(world, draft, _effects(draft), versions)
    if isinstance(outcome, Committed):
        return _decided(world, draft, outcome)
    if outcome.reason is Reason.FACTS_CHANGED:
        return outcome
    if outcome.reason is Reason.IDEMPOTENCY_MISMATCH:
        return await _twin(world, draft)
    return await _record_refusal(world, replace(draft, ruling=turn(draft.ruling, outcome.reason, outcome.name)))


async def _record_refusal(world: World, draft: Draft) -> Decided:
    """Record a refusal that the store's guards or stale facts brought about; it rests on no versions."""
    # An observed agent's call goes through all the same: nothing is set aside, its real cost is metered; and whom it
    # will be told of is recorded, as ever.
    sent = draft.sent if draft.ruling.permits else {}
    told = tuple(each for each in draft.plan.effects if isinstance(each, SeeSubjects))
    draft = replace(draft, plan=Plan(told), reserve=0, sent=sent, held=None)
    outcome = await _store(world, draft, _effects(draft), None)
    return _decided(world, draft, outcome) if isinstance(outcome, Committed) else await _twin(world, draft)


async def _twin(world: World, draft: Draft) -> Decided:
    """A twin with the same idempotency key was faster: its answer is ours."""
    decided = await replay(world, draft.request.subject, draft.call)
    if decided is None:
        raise StoreUnavailable(f"the answer kept for key {draft.call.key!r} is gone")
    return decided


async def _store(
    world: World, draft: Draft, effects: tuple[StoreEffect, ...], versions: Versions | None
) -> Committed | Refused:
    started = perf_counter()
    body = decision_body(
        draft.request,
        draft.facts,
        draft.ruling,
        currency=draft.installation.catalogue.currency,
        revision=draft.installation.pdp.revision if draft.facts else "",
        reserved=_reserved(draft),
        deadline=_deadline(draft),
        sent=draft.sent,
        hmac=world.hmac,
        approvals=_approvals_body(draft, world.hmac),
        done=draft.plan.done,
    )
    request = draft.request
    ref, filed_in = draft.call.about
    entry = Entry(
        kind="decision",
        subject=request.subject.id,
        body=body,
        workflow=request.context.workflow,
        filed_in=filed_in,
        ref=ref,
        parent=request.context.parent if draft.facts else "",
        id=draft.id,
        time=draft.time,
        action=request.action,
    )
    _, outcome = await write(world, entry, effects, versions)
    world.observer.stage("store", perf_counter() - started)
    return outcome


def _effects(draft: Draft) -> tuple[StoreEffect, ...]:
    effects: list[StoreEffect] = []
    if draft.ruling.permits and draft.facts:
        if draft.facts.metered:
            effects.append(_reservation(draft, draft.facts))
        if draft.facts.resource.labels and _joins(draft.request, draft.facts):
            brought = dict.fromkeys(draft.facts.resource.labels, draft.id)
            effects.append(JoinLabels(draft.request.subject.id, draft.request.context.workflow, brought))
        effects.extend(claim_effects(draft.id, draft.request, draft.facts, draft.installation.catalogue))
        effects.extend(draft.plan.effects)
    if draft.held is not None:
        effects.extend(draft.held.effects)
    # What retrying can cure is not kept: the same key may ask again.
    if draft.call.key and not draft.ruling.retryable:
        effects.append(_kept(draft))
    return tuple(effects)


def _joins(request: Request, facts: Facts) -> bool:
    """Whether what comes back enters the session: a write by a named statement returns what the catalogue says."""
    return request.action in JOINING or (request.action == ActionName.DATA_WRITE and facts.metered)


def _reservation(draft: Draft, facts: Facts) -> Reserve:
    request = draft.request
    return Reserve(
        decision=draft.id,
        subject=request.subject.id,
        workflow=request.context.workflow,
        service=request.resource.id,
        variant=request.resource.variant,
        owner=facts.resource.owner,
        rows=tuple(room.row for room in facts.budgets),
        amount=draft.reserve,
        deadline=_deadline(draft),
    )


def _approvals_body(draft: Draft, hmac: Hmac) -> Mapping[str, Any]:
    """What the record says of approvals: those that it turns on, grants that it uses, what is offered instead. The
    arguments of an offer are mostly those that were asked with: they stand in clear where those may."""
    held = draft.held
    if held is None:
        return {}
    turning = [
        {"id": each.id, "policy": each.policy, "code": each.code, "state": held.asked.get(each.id, each.state.value)}
        for each in held.turning
    ]
    instead = dict(held.alternative or {})
    if instead.get("arguments"):
        instead["arguments"] = redact(instead["arguments"], "/arguments", draft.ruling.record, hmac)
    found = {"approvals": turning, "grants": list(held.used), "alternative": instead}
    return {name: value for name, value in found.items() if value}


def _kept(draft: Draft) -> KeepAnswer:
    return KeepAnswer(
        subject=draft.request.subject.id,
        rpc=draft.call.rpc,
        key=draft.call.key,
        digest=draft.call.digest,
        answer=pack(_answer(draft, None), draft.plan.extra),
        # A day after the decision has ended, at the latest that it can.
        expires=draft.time + (LONGEST_HOLD if _deadline(draft) else 0) + DAY,
        provisional=draft.held is not None and draft.ruling.effect is Effect.HOLD,
    )


def _reserved(draft: Draft) -> int:
    return draft.reserve if draft.ruling.permits and draft.facts and draft.facts.metered else 0


def _deadline(draft: Draft) -> int:
    if not (draft.ruling.permits and draft.facts and draft.facts.metered):
        return 0
    service = draft.installation.catalogue.services.get(draft.request.resource.id)
    return draft.time + (service.hold_seconds if service else HOLD_SECONDS) * SECOND


def _answer(draft: Draft, committed: Committed | None) -> Answer:
    return Answer(
        id=draft.id,
        effect=draft.ruling.effect,
        reasons=explain(
            draft.installation,
            draft.request,
            draft.facts,
            draft.ruling,
            turning=draft.held.turning if draft.held else (),
            cheaper=_cheaper(draft),
        ),
        enforced=draft.ruling.enforced,
        retryable=draft.ruling.retryable,
        committed=committed or Committed("", 0),
        revision=draft.installation.pdp.revision if draft.facts else "",
        obligations=draft.ruling.obligations,
        reserved=_reserved(draft),
        deadline=_deadline(draft),
        cheaper=_cheaper(draft),
        approvals=draft.held.turning if draft.held else (),
        alternative=draft.held.alternative if draft.held else None,
    )


def _cheaper(draft: Draft) -> str:
    if draft.ruling.effect is Effect.ALLOW or draft.request.resource.type not in SERVICES:
        return ""
    service = draft.installation.catalogue.services.get(draft.request.resource.id)
    terms = service.variant(draft.request.resource.variant, attributes(draft.request)) if service else None
    return terms.cheaper if terms else ""


def _decided(world: World, draft: Draft, committed: Committed) -> Decided:
    answer, request = _answer(draft, committed), draft.request
    world.observer.decided(request.subject, request.action, request.resource.id, answer)
    if draft.facts and any(each.code == Reason.FLOW_LABEL_EXCEEDS_CLEARANCE for each in answer.reasons):
        withheld = exceeding(draft.facts.labels, draft.facts.resource.clearance)
        world.observer.flow_denied(request.subject.id, request.resource.id, tuple(withheld))
    return Decided(answer, draft.plan.extra)


async def replay(world: World, subject: Subject, call: Call) -> Decided | None:
    """The answer that the idempotency key already has; a recorded refusal where it is another request's."""
    kept = await world.store.kept(subject.id, call.rpc, call.key) if call.key else None
    if kept is None:
        return None
    if kept.digest != call.digest:
        detail = f"key {call.key!r} belongs to another request"
        return await _not_replayed(world, subject, call, Reason.IDEMPOTENCY_MISMATCH, detail)
    answer, extra = unpack(kept.answer)
    if kept.provisional:
        # Where it still waits, that is the answer; else it is decided anew, and that answer takes its place.
        turning = await still_held(world, answer.approvals)
        if turning is None or subject.mode is Mode.OBSERVE:
            return None
        answer = replace(answer, approvals=turning)
    row = await world.store.record(answer.id)
    if row is None:
        raise StoreUnavailable(f"the record of decision {answer.id} is gone")
    # A refusal that was let through binds once its agent is no longer observed.
    enforced = answer.enforced or subject.mode is not Mode.OBSERVE
    if (answer.effect is Effect.ALLOW or not enforced) and await _is_halted(world, subject, call, row.record.workflow):
        return await _not_replayed(world, subject, call, Reason.HALTED, "")
    committed = Committed(row.log, row.sequence)
    return Decided(replace(answer, enforced=enforced, committed=committed, replayed=True), extra)


async def _is_halted(world: World, subject: Subject, call: Call, workflow: str) -> bool:
    service = call.resource.id if call.resource.type in SERVICES else ""
    stored = await world.store.facts(FactsQuery(subject.id, subject.isolation, workflow, service, ()))
    return subject.type == "agent" and bool(stored.halts)


async def _not_replayed(world: World, subject: Subject, call: Call, reason: Reason, detail: str) -> Decided:
    """A refusal beside the answer that is kept. It binds in every mode: that answer is not the caller's to act on."""
    keyless = replace(call, key="")
    request = _request(subject, keyless, Context(purpose=call.claimed.purpose))
    ruling = refuse(reason, detail, request, halted=True)
    draft = Draft(world.ids.new("d"), world.clock.now(), world.installation, keyless, request, None, ruling)
    return await _record_refusal(world, draft)
