"""Workflows: opened by whoever may, named by a signed context, closed by their opener or an operator."""

from __future__ import annotations

from remit.core.answer import ClosedWorkflow, OpenedWorkflow
from remit.core.call import Call, Claimed, WorkflowCall
from remit.core.decision import Effect
from remit.core.effect import BindTrace, CloseWorkflow, OpenWorkflow
from remit.core.effect import Effect as StoreEffect
from remit.core.errors import BadRequest, BadToken, Forbidden, IllegalTransition, NotFound, Violation
from remit.core.model import ActionName, Facts, Resource, Subject
from remit.pep.context import WorkflowContext, read_workflow, workflow_token
from remit.pep.decide import Draft, Plan, decide
from remit.pep.world import SECOND, World
from remit.pep.write import Entry, must_write
from remit.ports import FactsQuery, WorkflowState

MAX_NAMES = 400
"""Characters of purposes and agents, with three more for each: what a context of at most 1 KiB has room for."""


async def open_workflow(world: World, subject: Subject, call: WorkflowCall) -> OpenedWorkflow:
    """Ask for a workflow; it starts with the labels that the opener holds. Raises BadRequest."""
    if sum(len(name) + 3 for name in (*call.purposes, *call.agents)) > MAX_NAMES:
        raise BadRequest(Violation("agents", f"with the purposes, at most {MAX_NAMES} characters, three a name added"))
    id = world.ids.new("w")
    question = Call(
        rpc="OpenWorkflow",
        action=ActionName.WORKFLOW_OPEN,
        resource=Resource("workflow", id, properties={"purposes": call.purposes, "agents": call.agents}),
        claimed=Claimed(
            # Policy judges all purposes that are asked for; one of them stands for the call itself.
            purpose=call.purposes[0],
            reason=call.reason,
            arguments={
                "purposes": list(call.purposes),
                "agents": list(call.agents),
                "ttl": call.ttl // SECOND,
            },
        ),
        key=call.key,
        digest=call.digest,
    )

    def plan(draft: Draft, facts: Facts) -> Plan:
        # Purposes that an observed agent was refused are its own to go on with: no other may rely on them.
        agents = call.agents if draft.ruling.effect is Effect.ALLOW else (subject.id,)
        workflow = WorkflowContext(id, subject.id, call.purposes, agents, facts.time + call.ttl)
        return _opening(world, facts, workflow, call.trace)

    decided = await decide(world, subject, question, plan)
    extra = decided.extra
    if not extra:
        return OpenedWorkflow(decided.answer)
    return OpenedWorkflow(decided.answer, extra["workflow"], extra["context"], int(extra["expires"]))


def _opening(world: World, facts: Facts, workflow: WorkflowContext, trace: str) -> Plan:
    effects: list[StoreEffect] = [
        OpenWorkflow(
            id=workflow.id,
            opener=workflow.opener,
            purposes=workflow.purposes,
            agents=workflow.agents,
            expires=workflow.expires,
            trace=trace,
            labels=facts.labels,
        )
    ]
    if trace:
        effects.append(BindTrace(workflow.opener, trace, workflow.id))
    token = workflow_token(world, workflow)
    return Plan(tuple(effects), {"workflow": workflow.id, "context": token, "expires": str(workflow.expires)})


async def close_workflow(world: World, subject: Subject, named: str, reason: str) -> ClosedWorkflow:
    """Close a workflow, named by its signed context or its id. Raises NotFound, Forbidden, IllegalTransition."""
    state = await _find(world, named)
    if state is None or not may_close(subject, state):
        raise NotFound(f"no workflow {named[:64]!r} that {subject.id} may close")
    stored = await world.store.facts(FactsQuery(subject.id, subject.isolation, state.id, "", ()))
    if stored.halts and subject.type == "agent":
        raise Forbidden(f"a halt covers {subject.id} or workflow {state.id}")
    if state.state != "open":
        raise IllegalTransition(f"workflow {state.id} is {state.state}")
    body = {"by": {"type": subject.type, "id": subject.id}, "reason": reason}
    entry = Entry("workflow.close", subject.id, body, workflow=state.id)
    id, outcome = await must_write(world, entry, (CloseWorkflow(state.id, subject.id),))
    return ClosedWorkflow(id, outcome)


def may_close(subject: Subject, state: WorkflowState) -> bool:
    """Its opener may, and people with the role operator."""
    return state.opener == subject.id if subject.type == "agent" else "operator" in subject.roles


async def _find(world: World, named: str) -> WorkflowState | None:
    return await world.store.workflow(workflow_id(world, named))


def workflow_id(world: World, named: str) -> str:
    """The id that a signed context or an id names; NotFound where a context is not ours."""
    if "." not in named:
        return named
    try:
        return read_workflow(world, named).id
    except BadToken as error:
        raise NotFound(f"the workflow's context: {error}") from error


def as_context(state: WorkflowState) -> WorkflowContext:
    """A stored workflow as its signed context says it."""
    return WorkflowContext(state.id, state.opener, state.purposes, state.agents, state.expires)
