"""Labels between agents: only by a passport that the sender is given and the receiver accepts, once.

A passport carries every label of the sender's session; nobody can pass on less than was read. One that names its
message by digest carries what was held when it was issued: the message was there by then. One that names none may
accompany a message that was written later, and so carries what the sender holds when it is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from remit.core.answer import Accepted, Answer, HandedOff
from remit.core.call import Call, HandoffCall
from remit.core.effect import BindTrace, Effect, JoinLabels, Refused, UsePassport
from remit.core.errors import BadToken, StoreUnavailable
from remit.core.label import exceeding
from remit.core.model import ActionName, Context, Facts, Request, Resource, Subject
from remit.core.reason import Reason
from remit.core.ruling import Ruling, allow, refuse
from remit.pep.answers import explain
from remit.pep.body import decision_body
from remit.pep.context import workflow_token
from remit.pep.decide import Draft, Plan, decide
from remit.pep.facts import gather, in_force
from remit.pep.workflow import as_context
from remit.pep.world import SECOND, World
from remit.pep.write import Entry, write
from remit.ports import FactsQuery

PASSPORT_LIFE = 600 * SECOND


@dataclass(frozen=True, slots=True)
class Passport:
    """What a passport says. `expires` in ns."""

    id: str
    sender: str
    receiver: str
    workflow: str
    labels: tuple[str, ...]
    decision: str
    digest: str
    trace: str
    expires: int


async def hand_off(world: World, subject: Subject, call: HandoffCall) -> HandedOff:
    """Ask to pass a message on; the passport comes with an ALLOW."""
    question = Call(
        rpc="Handoff",
        action=ActionName.MESSAGE_SEND,
        resource=Resource("agent", call.agent),
        claimed=call.claimed,
        key=call.key,
        digest=call.digest,
        content=call.message_digest,
        shown={"message": call.message_digest},
    )

    def plan(draft: Draft, facts: Facts) -> Plan:
        passport = Passport(
            id=world.ids.new("p"),
            sender=subject.id,
            receiver=call.agent,
            workflow=draft.request.context.workflow,
            labels=tuple(sorted(facts.labels)),
            decision=draft.id,
            digest=call.message_digest,
            trace=call.claimed.trace,
            expires=facts.time + PASSPORT_LIFE,
        )
        return Plan(extra={"passport": _sign(world, passport)})

    decided = await decide(world, subject, question, plan)
    return HandedOff(decided.answer, str(decided.extra.get("passport", "")))


def _sign(world: World, passport: Passport) -> str:
    return world.signer.sign(
        {
            "kind": "passport",
            "jti": passport.id,
            "sub": passport.sender,
            "aud": passport.receiver,
            "workflow": passport.workflow,
            "labels": list(passport.labels),
            "decision": passport.decision,
            "digest": passport.digest,
            "trace": passport.trace,
            "exp": -(-passport.expires // SECOND),
        }
    )


def read_passport(claims: Mapping[str, object]) -> Passport:
    """The passport that verified claims are."""
    match claims:
        case {
            "jti": str(id),
            "sub": str(sender),
            "aud": str(receiver),
            "workflow": str(workflow),
            "labels": list(labels),
            "decision": str(decision),
            "digest": str(digest),
            "trace": str(trace),
            "exp": int(expires),
        }:
            return Passport(id, sender, receiver, workflow, tuple(labels), decision, digest, trace, expires * SECOND)
        case _:
            raise BadToken("its claims are not a passport's")


async def accept(world: World, subject: Subject, token: str, message_digest: str) -> Accepted:
    """Join a passport's labels to the receiver's session. A refusal is recorded like any decision."""
    now = world.clock.now()
    try:
        passport = read_passport(world.signer.verify(token, "passport"))
    except BadToken as error:
        nobody = Passport("", "", subject.id, "", (), "", "", "", now)
        return await _refuse(world, subject, nobody, Reason.PASSPORT_INVALID, str(error))
    problem = _unfit(passport, subject, message_digest, now)
    if problem:
        return await _refuse(world, subject, passport, Reason.PASSPORT_INVALID, problem)
    if not passport.digest:
        passport = replace(passport, labels=await _labels_by_now(world, passport))
    request = _request(in_force(world.catalogue, subject), passport)
    # Twice, as every decision: a concurrent read of the receiver's may change its labels in between.
    accepted = await _join(world, request, passport) or await _join(world, request, passport)
    return accepted or await _refuse(world, subject, passport, Reason.FACTS_CHANGED, "")


async def _labels_by_now(world: World, passport: Passport) -> tuple[str, ...]:
    sender = world.catalogue.agents.get(passport.sender)
    isolation = sender.isolation if sender else "process"
    stored = await world.store.facts(FactsQuery(passport.sender, isolation, passport.workflow, "", ()))
    return tuple(sorted({*passport.labels, *stored.labels}))


def _unfit(passport: Passport, subject: Subject, message_digest: str, now: int) -> str:
    if passport.receiver != subject.id:
        return f"it is made out to {passport.receiver}"
    if passport.expires <= now:
        return "it has expired"
    if passport.digest and passport.digest != message_digest:
        return "the message is not the one that it was issued for"
    return ""


def _request(subject: Subject, passport: Passport) -> Request:
    context = Context(workflow=passport.workflow, parent=passport.decision, inputs=(passport.decision,))
    # The receiver itself is the sink whose clearance counts.
    return Request(subject, "message.accept", Resource("agent", subject.id), context)


async def _join(world: World, request: Request, passport: Passport) -> Accepted | None:
    """What comes of a passport that fits its bearer; None where the facts were stale."""
    facts = await gather(world, world.installation, request, world.clock.now())
    if facts.halts:
        return await _refuse(world, request.subject, passport, Reason.HALTED, "")
    withheld = exceeding(passport.labels, facts.resource.clearance)
    if withheld:
        detail = f"{request.subject.id} is not cleared for {', '.join(withheld)}"
        return await _refuse(world, request.subject, passport, Reason.FLOW_LABEL_EXCEEDS_CLEARANCE, detail)
    outcome = await _record(world, request, facts, allow(request), _effects(request, passport))
    if isinstance(outcome, Answer):
        state = await world.store.workflow(passport.workflow) if passport.workflow else None
        context = workflow_token(world, as_context(state)) if state else ""
        return Accepted(outcome, context, passport.labels, passport.sender)
    if outcome.reason is Reason.FACTS_CHANGED:
        return None
    return await _refuse(world, request.subject, passport, outcome.reason, outcome.name)


def _effects(request: Request, passport: Passport) -> tuple[Effect, ...]:
    subject = request.subject.id
    effects: list[Effect] = [UsePassport(passport.id, subject, passport.expires)]
    if passport.labels:
        brought = dict.fromkeys(passport.labels, passport.decision)
        effects.append(JoinLabels(subject, passport.workflow, brought))
    if passport.trace and passport.workflow:
        effects.append(BindTrace(subject, passport.trace, passport.workflow))
    return tuple(effects)


async def _refuse(world: World, subject: Subject, passport: Passport, reason: Reason, detail: str) -> Accepted:
    request = _request(subject, passport)
    ruling = refuse(reason, detail, request, halted=True)  # labels that were not joined bind in every mode
    outcome = await _record(world, request, None, ruling, ())
    if isinstance(outcome, Refused):
        raise StoreUnavailable(f"a refusal was refused: {outcome.reason} {outcome.name}")
    return Accepted(outcome)


async def _record(
    world: World, request: Request, facts: Facts | None, ruling: Ruling, effects: tuple[Effect, ...]
) -> Answer | Refused:
    body = decision_body(
        request,
        facts,
        ruling,
        currency=world.catalogue.currency,
        revision="",
        reserved=0,
        deadline=0,
        hmac=world.hmac,
    )
    context = request.context
    entry = Entry("decision", request.subject.id, body, context.workflow, context.parent, id=world.ids.new("d"))
    id, outcome = await write(world, entry, effects, facts.versions if facts else None)
    if isinstance(outcome, Refused):
        return outcome
    reasons = explain(world.installation, request, facts, ruling)
    answer = Answer(id, ruling.effect, reasons, ruling.enforced, ruling.retryable, outcome)
    world.observer.decided(request.subject, request.action, request.resource.id, answer)
    return answer
