"""From what a caller claims to what is believed: the workflow, its purposes, the trace, the parent."""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.call import Claimed
from remit.core.effect import Record
from remit.core.errors import BadToken
from remit.core.model import Context, Subject
from remit.core.reason import Reason
from remit.pep.world import SECOND, World
from remit.ports import WorkflowState


class ContextRefused(Exception):
    """The claimed context does not hold; carries the reason, and what to tell. `context` is what did hold."""

    def __init__(self, reason: Reason, detail: str, context: Context) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.context = context


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """What a workflow's signed context says; `agents` empty means all, `expires` in ns."""

    id: str
    opener: str
    purposes: tuple[str, ...]
    agents: tuple[str, ...]
    expires: int


def workflow_token(world: World, workflow: WorkflowContext) -> str:
    """The signed context that travels with requests. Seconds, as JWS claims are (RFC 7519)."""
    return world.signer.sign(
        {
            "kind": "workflow",
            "sub": workflow.id,
            "opener": workflow.opener,
            "purposes": list(workflow.purposes),
            "agents": list(workflow.agents),
            "exp": -(-workflow.expires // SECOND),
        }
    )


def read_workflow(world: World, token: str) -> WorkflowContext:
    """The workflow that a signed context names; BadToken where it is not one of ours."""
    claims = world.signer.verify(token, "workflow")
    match claims:
        case {
            "sub": str(id),
            "opener": str(opener),
            "purposes": list(purposes),
            "agents": list(agents),
            "exp": int(exp),
        }:
            return WorkflowContext(id, opener, tuple(purposes), tuple(agents), exp * SECOND)
        case _:
            raise BadToken("its claims are not a workflow's")


async def believe(world: World, subject: Subject, claimed: Claimed, now: int) -> Context:
    """The verified context. Raises ContextRefused; forged or expired is refused, never taken for "none"."""
    bare = _context(claimed, workflow="", purpose=claimed.purpose)
    workflow = await _workflow(world, subject, claimed, bare, now)
    if workflow is None:
        own = world.catalogue.agents[subject.id].purposes if subject.id in world.catalogue.agents else ()
        context = _context(claimed, workflow="", purpose=claimed.purpose or _only(own))
    else:
        purpose = claimed.purpose or _only(workflow.purposes)
        context = _context(claimed, workflow=workflow.id, purpose=purpose)
        if purpose not in workflow.purposes:
            granted = ", ".join(workflow.purposes)
            raise ContextRefused(
                Reason.PURPOSE_NOT_GRANTED,
                f"the workflow was opened for {granted}, not for {purpose!r}",
                context,
            )
    await _check_parent(world, subject, context)
    return context


async def _workflow(
    world: World, subject: Subject, claimed: Claimed, bare: Context, now: int
) -> WorkflowContext | None:
    if claimed.workflow:
        try:
            workflow = read_workflow(world, claimed.workflow)
        except BadToken as error:
            raise ContextRefused(Reason.WORKFLOW_INVALID, f"the workflow's context: {error}", bare) from error
    elif claimed.trace and (bound := await world.store.traced(subject.id, claimed.trace)):
        stored = await world.store.workflow(bound)
        if stored is None:
            return None
        workflow = _of(stored)
    else:
        return None
    problem = _unfit(workflow, subject, now)
    if problem:
        raise ContextRefused(Reason.WORKFLOW_INVALID, problem, bare)
    return workflow


def _of(stored: WorkflowState) -> WorkflowContext:
    return WorkflowContext(stored.id, stored.opener, stored.purposes, stored.agents, stored.expires)


def _unfit(workflow: WorkflowContext, subject: Subject, now: int) -> str:
    if workflow.expires <= now:
        return f"workflow {workflow.id} has expired"
    if subject.type == "agent" and workflow.agents and subject.id not in (workflow.opener, *workflow.agents):
        return f"workflow {workflow.id} was not opened for agent {subject.id}"
    return ""


async def _check_parent(world: World, subject: Subject, context: Context) -> None:
    if not context.parent:
        return
    row = await world.store.record(context.parent)
    found = row.record if row else None
    if found is None or found.kind != "decision" or not _same_session(found, subject, context):
        where = f"workflow {context.workflow}" if context.workflow else f"the standing session of {subject.id}"
        raise ContextRefused(Reason.CONTEXT_INVALID, f"parent {context.parent!r} is not a decision of {where}", context)


def _same_session(record: Record, subject: Subject, context: Context) -> bool:
    return record.workflow == context.workflow and (context.workflow != "" or record.subject == subject.id)


def _only(purposes: tuple[str, ...]) -> str:
    return purposes[0] if len(purposes) == 1 else ""


def _context(claimed: Claimed, *, workflow: str, purpose: str) -> Context:
    return Context(
        workflow=workflow,
        purpose=purpose,
        reason=claimed.reason,
        parent=claimed.parent,
        attempt=claimed.attempt,
        arguments=claimed.arguments,
        inputs=claimed.inputs,
        claim=claimed.claim,
    )
