"""What is done when agents fail: each kind of failure has an answer in policy's data (`core.failing`).

Denying is policy's own part: it sees the history among the facts. The others are here. A halt stops the workflow that
it happened in, where the agent has opened that, else the agent. To escalate is the same, and somebody is asked to lift
it: the agent's supervisors, then people. Either is durable, holds everywhere, and is recorded with its reason.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from remit.core.answer import Answer
from remit.core.approval import SECOND, Approval, Bind, Item, Terms, supervisors
from remit.core.canonical import digest
from remit.core.decision import Effect
from remit.core.effect import Effect as StoreEffect
from remit.core.effect import OpenApproval, PlaceHalt, Refused
from remit.core.failing import Reply
from remit.core.model import ActionName, Halt, Mode, Request
from remit.pep.history import DENIALS
from remit.pep.world import World
from remit.pep.write import Entry, must_write, write

REMIT = "remit"
"""Who halts what fails."""

ROLES = ("approver", "operator")
"""People who may lift such a halt."""

WAIT_SECONDS = 86_400
"""How long each who is asked has to answer; the halt stays for those who may resume it."""

_STOPS = frozenset({Reply.ESCALATE, Reply.HALT})


async def decided(world: World, request: Request, answer: Answer) -> None:
    """Follow a decision on what an agent asked for."""
    if request.subject.type != "agent":
        return
    subject, now, policy = request.subject.id, world.clock.now(), world.installation.failure
    repeats = world.history.asked(request, answer.id, now)
    if policy.loop.on and repeats >= policy.loop.limit:
        await _stop(world, "loop", policy.loop.answer, subject, request.context.workflow, answer.id)
    if answer.effect is Effect.DENY:
        denials = world.history.total(subject, DENIALS, now)
        if policy.denials.on and denials >= policy.denials.limit:
            await _stop(world, "denials", policy.denials.answer, subject, request.context.workflow, answer.id)
    if answer.reserved and policy.spending.on:
        spent = world.history.total(subject, "spent", now, answer.reserved)
        if spent >= policy.spending.amount:
            await _stop(world, "spending", policy.spending.answer, subject, request.context.workflow, answer.id)


async def ended(
    world: World, *, subject: str, service: str, operation: str, workflow: str, decision: str, failed: bool
) -> tuple[str, str]:
    """Follow the end of an allowed action: what is advised on it, and the operation that undoes it ("" for none)."""
    now, policy = world.clock.now(), world.installation.failure
    if not world.history.ended(subject, decision):
        return "", ""
    listed = world.catalogue.services.get(service)
    if listed is not None:
        await _errors(world, subject, service, workflow, decision, failed=failed)
    if not failed:
        return "", ""
    times, answer = world.history.failed(subject, decision, now), policy.failed.answer
    if answer is Reply.COMPENSATE:
        undo = listed.compensations.get(operation, "") if listed else ""
        return (_counted(world, answer), f"{service}/{undo}") if undo else ("", "")
    over = policy.failed.on and times >= policy.failed.limit
    if answer in _STOPS:
        return (
            (answer.value, "")
            if over and await _stop(world, "failed", answer, subject, workflow, decision)
            else ("", "")
        )
    return (_counted(world, Reply.RETRY), "") if policy.failed.on and 0 < times < policy.failed.limit else ("", "")


async def _errors(world: World, subject: str, service: str, workflow: str, decision: str, *, failed: bool) -> None:
    """Follow how well a service of the catalogue does for an agent."""
    now, rate = world.clock.now(), world.installation.failure.errors
    calls = world.history.total(subject, ("calls", service), now)
    errors = world.history.total(subject, ("errors", service), now, int(failed))
    if rate.on and failed and calls >= rate.least and Fraction(errors, calls) >= rate.share:
        await _stop(world, "errors", rate.answer, subject, workflow, decision)


def _counted(world: World, advice: Reply) -> str:
    """The advice, told to whoever counts."""
    world.observer.failed("failed", advice.value)
    return advice.value


async def vanished(world: World, subject: str, workflow: str, decision: str) -> None:
    """Follow an agent that let lapse what it held: a reservation, or a claim."""
    policy = world.installation.failure.vanished
    if policy.on:
        await _stop(world, "vanished", policy.answer, subject, workflow, decision)


async def _stop(world: World, kind: str, answer: Reply, subject: str, workflow: str, decision: str) -> bool:
    """Halt, and ask somebody where the answer is to escalate; whether it was done. An observed agent is let go on."""
    if answer not in _STOPS:
        return False
    agent = world.catalogue.agents.get(subject)
    world.history.forgive(subject)
    scope, value = await _scope(world, subject, workflow)
    if any((each.scope, each.value, each.by) == (scope, value, REMIT) for each in await world.store.halts()):
        return False
    observed = agent is not None and agent.mode == Mode.OBSERVE
    halt = Halt(world.ids.new("h"), scope, value, REMIT, f"failure: {kind} of {subject}", world.clock.now())
    body = {"failure": kind, "answer": answer.value, "scope": scope, "value": value, "enforced": not observed}
    effects: list[StoreEffect] = []
    if not observed:
        effects.append(PlaceHalt(halt))
        body["halt"] = halt.id
    entry = Entry("failure", subject, body, filed_in=workflow, ref=decision)
    asking = answer is Reply.ESCALATE and not observed
    if not asking or not await _asked(world, entry, effects, _lifting(world, kind, halt, subject, workflow, decision)):
        await must_write(world, entry, tuple(effects))
    world.observer.failed(kind, answer.value)
    return not observed


async def _scope(world: World, subject: str, workflow: str) -> tuple[str, str]:
    """What is halted: a workflow where its opener fails in it, else the agent. Whoever was only let into a workflow
    must not have it halted for all."""
    state = await world.store.workflow(workflow) if workflow else None
    return ("workflow", workflow) if state is not None and state.opener == subject else ("agent", subject)


async def _asked(world: World, entry: Entry, effects: list[StoreEffect], approval: Approval) -> bool:
    """Halt with a request to lift it. Not where as many requests of the agent wait as may: that keeps no halt away,
    and operators resume it."""
    told = replace(entry, body={**entry.body, "approval": approval.id})
    _, outcome = await write(world, told, (*effects, OpenApproval(approval)))
    return not isinstance(outcome, Refused)


def _lifting(world: World, kind: str, halt: Halt, subject: str, workflow: str, decision: str) -> Approval:
    """The request to lift a halt: asked of the agent's supervisors, then of people; never of the agent itself."""
    catalogue, agent = world.catalogue, world.catalogue.agents.get(subject)
    like = digest(["lift", halt.id])
    return Approval(
        id=world.ids.new("a"),
        like=like,
        subject=subject,
        team=agent.team if agent else "",
        workflow=workflow,
        purpose="",
        policy=f"failures.{kind}",
        code="failure_escalated",
        action=ActionName.CONTROL_HALT,
        resource={"type": "scope", "id": halt.value, "operation": "resume", "variant": halt.scope},
        reason="",
        terms=Terms(roles=ROLES, supervisor=True, bind=Bind.EXACT, wait=WAIT_SECONDS),
        time=halt.time,
        deadline=halt.time + WAIT_SECONDS * SECOND,
        chain=supervisors(catalogue.agents, catalogue.people, subject, ()),
        lifts=halt.id,
        items=(Item(binding=like, decision=decision, amount=0, labels=(), shown=""),),
    )
