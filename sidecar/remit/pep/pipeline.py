"""The pipeline as the listeners see it: one method a call, each ending in a durable record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from remit.core.answer import (
    Accepted,
    Adjusted,
    Answer,
    ClosedWorkflow,
    Halted,
    HandedOff,
    OpenedWorkflow,
    Reported,
    Resolved,
    Shown,
    Taken,
)
from remit.core.approval import State
from remit.core.call import Call, ClaimCall, HandoffCall, ReleaseCall, Report, Resolution, WorkflowCall
from remit.core.claim import Claim
from remit.core.errors import BadRequest, Violation
from remit.core.journal import Verification
from remit.core.model import ActionName, BudgetRoom, BudgetRow, Halt, Subject
from remit.core.query import ExecuteCall, Executed, QueryCall, QueryPart
from remit.pep import audit, claims, failures, handoff, oversight, resolving, showing, workflow
from remit.pep import report as reports
from remit.pep.decide import decide
from remit.pep.execute import Executions
from remit.pep.refusals import Refusals
from remit.pep.waiting import decide_waiting
from remit.pep.world import World
from remit.ports import Burn, JournalRow, Reservation, Sighting, WorkflowState

if TYPE_CHECKING:
    from remit.pep.query import Queries


class Pipeline:
    """Everything that can be asked of Remit. All methods may raise StoreUnavailable."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._refusals = Refusals(world)
        self._executions = Executions(world)
        if world.catalogue.datasets:
            _ = self._queries  # before anybody waits

    @cached_property
    def _queries(self) -> Queries:
        """What answers queries. What reads SQL takes 10 MB and a quarter of a second to load: who has none goes
        without."""
        found: Queries = import_module("remit.pep.query").Queries(self._world)
        return found

    @property
    def currency(self) -> str:
        """The ledger's."""
        return self._world.catalogue.currency

    async def authorize(self, subject: Subject, call: Call, wait: int = 0) -> Answer:
        """Decide one question; a HOLD is waited out for `wait` ns.

        Raises BadRequest for a message to an agent (only Handoff makes its labels travel), and for taking a thing (only
        Claim does).
        """
        if call.action == ActionName.MESSAGE_SEND and call.resource.type == "agent":
            raise BadRequest(Violation("resource.type", "a service or tool; a message to an agent goes by Handoff"))
        if call.action == ActionName.CLAIM_TAKE:
            raise BadRequest(Violation("action", "another one; a thing is taken by Claim"))
        return await decide_waiting(lambda: self._authorized(subject, call), lambda answer: answer, self._world, wait)

    async def _authorized(self, subject: Subject, call: Call) -> Answer:
        return (await decide(self._world, subject, call)).answer

    async def claim(self, subject: Subject, call: ClaimCall) -> Taken:
        """Take a thing, or renew it."""
        return await claims.take(self._world, subject, call)

    async def release(self, subject: Subject, call: ReleaseCall) -> str:
        """Let go of a thing. Raises NotFound."""
        return await claims.release(self._world, subject, call)

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int
    ) -> Sequence[Shown]:
        """Approvals that the caller may see, the newest first."""
        return await showing.listed(self._world, subject, states, id, before=before, limit=limit)

    def watch_approvals(self, subject: Subject) -> AsyncGenerator[Shown | None, None]:
        """Pending ones that the caller may resolve, then None, then each that it may see as it changes."""
        return showing.watched(self._world, subject)

    async def resolve(self, subject: Subject, resolution: Resolution) -> Resolved:
        """Approve, deny, take back, or pass on. Raises NotFound, IllegalTransition, BadRequest."""
        return await resolving.resolve(self._world, subject, resolution)

    async def unresolved(self, subject: Subject, limit: int) -> Sequence[Reservation]:
        """What was allowed and never reported, the oldest first. Raises Forbidden."""
        return await oversight.unresolved(self._world, subject, limit)

    async def claims(self, subject: Subject, limit: int) -> Sequence[Claim]:
        """What is held now, the oldest first. Raises Forbidden."""
        return await oversight.claims(self._world, subject, limit)

    async def record(self, subject: Subject, summary: str, call: Call) -> Answer:
        """Record a decision that the agent made by itself; `summary` is for people."""
        arguments = {**call.claimed.arguments, "summary": summary}
        told = replace(call, claimed=replace(call.claimed, arguments=arguments))
        return (await decide(self._world, subject, told)).answer

    async def report(self, subject: Subject, report: Report) -> Reported:
        """End, or prolong, a decision's reservation. Raises NotFound, IllegalTransition."""
        return await reports.report(self._world, subject, report)

    def query(self, subject: Subject, call: QueryCall) -> AsyncGenerator[QueryPart, None]:
        """Answer one SELECT, part by part; closing it ends the reading."""
        return self._queries.query(subject, call)

    async def execute(self, subject: Subject, call: ExecuteCall) -> Executed:
        """Perform one named write."""
        return await self._executions.execute(subject, call)

    async def open_workflow(self, subject: Subject, call: WorkflowCall) -> OpenedWorkflow:
        """Ask for a workflow."""
        return await workflow.open_workflow(self._world, subject, call)

    async def close_workflow(self, subject: Subject, workflow_name: str, reason: str) -> ClosedWorkflow:
        """Close a workflow, named by its context or id. Raises NotFound, IllegalTransition."""
        return await workflow.close_workflow(self._world, subject, workflow_name, reason)

    async def handoff(self, subject: Subject, call: HandoffCall) -> HandedOff:
        """Ask for a passport."""
        return await handoff.hand_off(self._world, subject, call)

    async def accept(self, subject: Subject, passport: str, message_digest: str) -> Accepted:
        """Use a passport."""
        return await handoff.accept(self._world, subject, passport, message_digest)

    async def halt(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        """Stop a scope. Raises BadRequest."""
        return await oversight.halt(self._world, subject, scope, value, reason)

    async def resume(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        """Lift the halts of a scope. Raises BadRequest, NotFound."""
        return await oversight.resume(self._world, subject, scope, value, reason)

    async def budgets(self, subject: Subject, budget: str) -> Sequence[BudgetRoom]:
        """The budgets' rows now, for people. Raises NotFound, Forbidden."""
        return await oversight.budgets(self._world, subject, budget)

    async def adjust(self, subject: Subject, budget: str, scope: str, delta: int, reason: str) -> Adjusted:
        """Add nanos to a limit. Raises BadRequest, NotFound."""
        return await oversight.adjust(self._world, subject, budget, scope, delta=delta, reason=reason)

    async def decision(self, subject: Subject, id: str) -> tuple[JournalRow, Sequence[JournalRow]]:
        """A decision's record and what speaks of it. Raises NotFound."""
        return await audit.decision(self._world, subject, id)

    async def trace(self, subject: Subject, workflow_name: str, limit: int) -> Sequence[JournalRow]:
        """A workflow's records. Raises NotFound."""
        return await audit.trace(self._world, subject, workflow_name, limit)

    async def who(self, subject: Subject, dataset: str, table: str, key: str, limit: int) -> Sequence[Sighting]:
        """Who saw a subject, the newest first. Raises Forbidden, NotFound."""
        return await audit.who(self._world, subject, dataset, table, key, limit=limit)

    async def verify(self, subject: Subject) -> Verification:
        """Check the whole journal. Raises Forbidden."""
        return await audit.verify(self._world, subject)

    async def workflows(self, subject: Subject, before: str, limit: int) -> Sequence[WorkflowState]:
        """Workflows, the newest first. Raises Forbidden."""
        return await audit.workflows(self._world, subject, before, limit)

    async def latest(self, subject: Subject, before: int, limit: int) -> Sequence[JournalRow]:
        """Decisions, the newest first. Raises Forbidden."""
        return await audit.latest(self._world, subject, before, limit)

    async def burned(self, subject: Subject, row: BudgetRow) -> Sequence[Burn]:
        """What was spent in a budget's row, hour by hour. Raises Forbidden."""
        return await oversight.burned(self._world, subject, row)

    async def halts(self, subject: Subject) -> Sequence[Halt]:
        """What is stopped now. Raises Forbidden."""
        return await oversight.halts(self._world, subject)

    async def refused(self, peer: str, kind: str, detail: str) -> None:
        """Count a refused identity or a malformed request into the journal."""
        await self._refusals.refused(peer, kind, detail)

    async def sweep(self) -> None:
        """What must happen by itself, at least once a second: lapses, time-outs, and the refusals' minute counts."""
        await reports.lapse_due(self._world)
        await claims.free_halted(self._world)
        for lapsed in await claims.lapse_claims(self._world):
            await failures.vanished(self._world, lapsed.subject, lapsed.workflow, "")
        await resolving.time_out(self._world)
        await self._refusals.flush()

    async def drain(self) -> None:
        """The last counts, before the store closes."""
        await self._refusals.flush(everything=True)
