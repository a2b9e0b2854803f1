"""What the listeners stand on: the pipeline that decides, who proves identities, and who counts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

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
from remit.core.evidence import Evidence, Proof
from remit.core.model import BudgetRoom, BudgetRow, Halt, Subject
from remit.core.query import ExecuteCall, Executed, QueryCall, QueryPart
from remit.ports import Burn, JournalRow, Reservation, Sighting, WorkflowState


class Verification(Protocol):
    """What checking the whole journal found; `sequence` and `problem` name the first thing that does not hold."""

    @property
    def ok(self) -> bool: ...
    @property
    def authentic(self) -> bool: ...
    @property
    def records(self) -> int: ...
    @property
    def erased(self) -> int: ...
    @property
    def checkpoints(self) -> int: ...
    @property
    def problem(self) -> str: ...
    @property
    def sequence(self) -> int: ...


class Pipeline(Protocol):
    """Everything that can be asked, by a subject that was proved. Raises CallerError and ServiceError."""

    @property
    def currency(self) -> str:
        """The ledger's."""
        ...

    async def authorize(self, subject: Subject, call: Call, /, wait: int = 0) -> Answer:
        """Decide one question; while the answer is HOLD, wait for another for `wait` ns.

        Cancelled, it waits no longer; a decision that is under way is made first."""
        ...

    async def record(self, subject: Subject, summary: str, call: Call, /) -> Answer:
        """Record a decision that an agent made by itself."""
        ...

    async def report(self, subject: Subject, report: Report, /) -> Reported:
        """End, or prolong, a decision's reservation."""
        ...

    def query(self, subject: Subject, call: QueryCall, /) -> AsyncGenerator[QueryPart, None]:
        """Read a dataset: the decision, then rows as they are asked for, then the end. Closing it ends the reading."""
        ...

    async def execute(self, subject: Subject, call: ExecuteCall, /) -> Executed:
        """Perform a named write, once for each key."""
        ...

    async def open_workflow(self, subject: Subject, call: WorkflowCall, /) -> OpenedWorkflow:
        """Ask for a workflow."""
        ...

    async def close_workflow(self, subject: Subject, workflow: str, reason: str, /) -> ClosedWorkflow:
        """Close a workflow, named by its context or id."""
        ...

    async def handoff(self, subject: Subject, call: HandoffCall, /) -> HandedOff:
        """Ask for a passport."""
        ...

    async def accept(self, subject: Subject, passport: str, message_digest: str, /) -> Accepted:
        """Use a passport."""
        ...

    async def claim(self, subject: Subject, call: ClaimCall, /) -> Taken:
        """Take a thing, or renew it."""
        ...

    async def release(self, subject: Subject, call: ReleaseCall, /) -> str:
        """Let go of a thing; the record's id."""
        ...

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int, /
    ) -> Sequence[Shown]:
        """Approvals that the caller may see, the newest first; pending ones where no state is named."""
        ...

    def watch_approvals(self, subject: Subject, /) -> AsyncGenerator[Shown | None, None]:
        """Pending ones that the caller may resolve, then None, then each that the caller may see as it changes."""
        ...

    async def resolve(self, subject: Subject, resolution: Resolution, /) -> Resolved:
        """Approve, deny, take back, or pass on."""
        ...

    async def unresolved(self, subject: Subject, limit: int, /) -> Sequence[Reservation]:
        """What was allowed and never reported, the oldest first."""
        ...

    async def halt(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        """Stop a scope."""
        ...

    async def resume(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        """Lift a scope's halts."""
        ...

    async def budgets(self, subject: Subject, budget: str, /) -> Sequence[BudgetRoom]:
        """Budgets' rows; "" for all."""
        ...

    async def adjust(self, subject: Subject, budget: str, scope: str, delta: int, reason: str, /) -> Adjusted:
        """Add nanos to a limit."""
        ...

    async def decision(self, subject: Subject, id: str, /) -> tuple[JournalRow, Sequence[JournalRow]]:
        """A decision's record and what speaks of it."""
        ...

    async def trace(self, subject: Subject, workflow: str, limit: int, /) -> Sequence[JournalRow]:
        """A workflow's records."""
        ...

    async def who(self, subject: Subject, dataset: str, table: str, key: str, limit: int, /) -> Sequence[Sighting]:
        """Who saw a subject, the newest first."""
        ...

    async def verify(self, subject: Subject, /) -> Verification:
        """Check the whole journal."""
        ...

    async def refused(self, peer: str, kind: str, detail: str, /) -> None:
        """Count a refusal that is no decision into the journal: `kind` is identity or request."""
        ...


class Overview(Protocol):
    """What the console shows and does, for a person that was proved. Raises CallerError and ServiceError."""

    @property
    def currency(self) -> str:
        """The ledger's."""
        ...

    async def budgets(self, subject: Subject, budget: str, /) -> Sequence[BudgetRoom]:
        """Budgets' rows; "" for all."""
        ...

    async def decision(self, subject: Subject, id: str, /) -> tuple[JournalRow, Sequence[JournalRow]]:
        """A decision's record and what speaks of it."""
        ...

    async def trace(self, subject: Subject, workflow: str, limit: int, /) -> Sequence[JournalRow]:
        """A workflow's records."""
        ...

    async def workflows(self, subject: Subject, before: str, limit: int, /) -> Sequence[WorkflowState]:
        """Workflows with a lower id ("" for all), the newest first."""
        ...

    async def latest(self, subject: Subject, before: int, limit: int, /) -> Sequence[JournalRow]:
        """Decisions before a time in ns (0 for now), the newest first."""
        ...

    async def burned(self, subject: Subject, row: BudgetRow, /) -> Sequence[Burn]:
        """What was spent in a budget's row, hour by hour."""
        ...

    async def halts(self, subject: Subject, /) -> Sequence[Halt]:
        """What is stopped now."""
        ...

    async def halt(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        """Stop a scope."""
        ...

    async def resume(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        """Lift a scope's halts."""
        ...

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int, /
    ) -> Sequence[Shown]:
        """Approvals that the caller may see, the newest first; pending ones where no state is named."""
        ...

    async def resolve(self, subject: Subject, resolution: Resolution, /) -> Resolved:
        """Approve, deny, take back, or pass on."""
        ...

    async def unresolved(self, subject: Subject, limit: int, /) -> Sequence[Reservation]:
        """What was allowed and never reported, the oldest first."""
        ...

    async def claims(self, subject: Subject, limit: int, /) -> Sequence[Claim]:
        """What is held now, the oldest first."""
        ...

    async def refused(self, peer: str, kind: str, detail: str, /) -> None:
        """Count a refusal that is no decision into the journal: `kind` is identity or request."""
        ...


class Identities(Protocol):
    """Who is calling."""

    async def identify(self, evidence: Evidence) -> Subject:
        """The subject that the evidence proves; raises Unauthenticated. A cluster may have to be asked."""
        ...

    def person(self, proof: Proof) -> Subject:
        """The person whom a sign-in proved, as the catalogue knows them now; raises Unauthenticated."""
        ...

    async def pod(self) -> Subject | None:
        """The one agent that everything on this sidecar's loopback is, where catalogue or cluster say so.

        Raises Unauthenticated where the cluster should, and does not.
        """
        ...


class Observer(Protocol):
    """Who is told what, for metrics; telling must not fail."""

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a call took so long."""
        ...

    def identity_failed(self, cause: str) -> None:
        """No identity was proved."""
        ...
