"""The store of a sidecar among others: PostgreSQL has everything, and some decisions are made here ahead of it.

A decision is made here when its action may be (`local`), the sidecar's lease is live, the subject's session is at home
here, and every budget row that it reserves in has a slice with room. It is durable on this sidecar's own disk before
the answer, and shipped within milliseconds. Everything else is one commit in PostgreSQL, as if this were not here. An
answer that was decided here is given only while the lease is still live: so no halt is older than the lease.

Nothing of approvals, grants, claims and acts is known here: a decision that rests on one of them, asks for one or uses
one up is PostgreSQL's, as is a HOLD, whose answer is provisional, and whatever takes the place of that answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic as system_monotonic
from typing import TypeGuard

from remit.backends.store_postgres.store import PostgresStore
from remit.backends.store_shared.keeper import Keeper
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_shared.mirror import Mirror, NotHere
from remit.backends.store_shared.shipping import Calls
from remit.backends.store_shared.term import Pulses
from remit.core.approval import Approval
from remit.core.checkpoint import VerifierKey
from remit.core.claim import Claim
from remit.core.effect import (
    CloseWorkflow,
    Commit,
    Committed,
    Effect,
    EndReservation,
    JoinLabels,
    KeepAnswer,
    Kept,
    OpenWorkflow,
    ProlongReservation,
    Refused,
    Reserve,
)
from remit.core.errors import NotFound, StoreUnavailable
from remit.core.journal import Verification
from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.core.reason import Reason
from remit.ports import (
    ApprovalsQuery,
    Burn,
    CheckpointRow,
    Clock,
    FactsQuery,
    Ids,
    JournalRow,
    Reservation,
    Sighting,
    SpendRow,
    StoredFacts,
    WorkflowState,
)

LOCAL_EFFECTS = (Reserve, KeepAnswer)
"""What may be done here: of answers, the final ones alone."""


class SharedStore:
    """The `Store` port. To be used from one event loop; it owns both stores until `close`."""

    def __init__(
        self,
        remote: PostgresStore,
        local: LocalStore,
        calls: Calls,
        pulses: Pulses,
        *,
        actions: frozenset[str],
        clock: Clock,
        ids: Ids,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        self._remote, self._local, self._actions = remote, local, actions
        self._calls, self._pulses = calls, pulses
        self._monotonic = monotonic
        self._mirror = Mirror(monotonic)
        self._keeper = Keeper(local, self._mirror, calls, pulses, clock=clock, ids=ids, monotonic=monotonic)
        local.guard = self._guard

    async def start(self) -> None:
        """Ship what an earlier run left here, and begin a term. Raises StoreUnavailable."""
        await self._keeper.start()

    @property
    def log(self) -> str:
        """The log of what PostgreSQL decides for this sidecar; what is decided here has another."""
        return self._remote.log

    @property
    def verifier(self) -> VerifierKey:
        """Of `log`."""
        return self._remote.verifier

    @property
    def checkpoint(self) -> CheckpointRow | None:
        """The last signed head of `log`."""
        return self._remote.checkpoint

    def unshipped(self) -> int | None:
        """When the oldest record was made that is on this disk alone, in ns; None where none is."""
        return self._keeper.unshipped()

    @property
    def failed(self) -> bool:
        """Whether one of the two has given up for good."""
        return self._local.failed or self._remote.failed

    def activate(self, revision: str) -> None:
        """Refuse what was judged by another policy revision."""
        self._mirror.revision = revision
        self._remote.activate(revision)
        self._local.activate(revision)

    async def commit(self, commit: Commit) -> Committed | Refused:
        """Here where it may be, else in PostgreSQL."""
        decided = await self._commit_here(commit)
        if decided is not None:
            return decided
        if commit.subject and commit.action in self._actions:
            self._keeper.decided(commit.subject)
        return await self._commit_there(commit)

    # Here

    async def _commit_here(self, commit: Commit) -> Committed | Refused | None:
        """None where it is PostgreSQL's to do."""
        if commit.versions is None:
            return await self._end_here(commit)
        lean = self._lean(commit)
        if lean is None or not self._keeper.decides or not self._mirror.at_home(commit.subject):
            return None
        rows, amount = _reserved(commit)
        if amount and not self._keeper.slices.cover(rows):
            return None
        try:
            outcome = await self._local.commit(lean)
        except NotHere:
            return None
        if isinstance(outcome, Refused):
            # That a slice has no room says nothing of the budget.
            return None if outcome.reason is Reason.BUDGET_EXHAUSTED else outcome
        if not self._keeper.term.live:
            raise StoreUnavailable("the decision is recorded, but came after this sidecar's lease had ended")
        if amount:
            self._keeper.slices.spent(rows, amount)
        self._keeper.wake()
        return outcome

    def _lean(self, commit: Commit) -> Commit | None:
        """The commit without what changes nothing, if the rest of it may be done here."""
        if commit.action not in self._actions:
            return None
        effects = []
        for each in commit.effects:
            if isinstance(each, JoinLabels):
                if not self._mirror.has_joined(each.subject, each.workflow, each.labels):
                    return None
            elif isinstance(each, LOCAL_EFFECTS) and not _is_provisional(each):
                effects.append(each)
            else:
                return None
        return replace(commit, effects=tuple(effects))

    async def _end_here(self, commit: Commit) -> Committed | Refused | None:
        """End, or prolong, what was reserved here: nobody else may, and no report is lost while PostgreSQL is away."""
        ends = [each.decision for each in commit.effects if isinstance(each, EndReservation | ProlongReservation)]
        if not ends or len(ends) != len(commit.effects):
            return None
        await self._keeper.opened()
        if await self._local.reservation(ends[0]) is None:
            return None
        try:
            outcome = await self._local.commit(commit)
        except NotFound:
            return None  # its term has ended meanwhile
        self._keeper.wake()
        return outcome

    def _guard(self, commit: Commit) -> None:
        """As a commit is performed here."""
        if commit.versions is not None:
            if not self._keeper.decides:
                raise NotHere
            self._mirror.check(commit)

    # There

    async def _commit_there(self, commit: Commit) -> Committed | Refused:
        outcome: Committed | Refused | None = None
        try:
            outcome = await self._remote.commit(commit)
            if _has_no_room(outcome) and await self._keeper.give_up(outcome.name):
                outcome = await self._remote.commit(commit)
            return outcome
        finally:
            self._note(commit, done=isinstance(outcome, Committed), certain=outcome is not None)

    def _note(self, commit: Commit, *, done: bool, certain: bool) -> None:
        """What the commit may have changed is not what is mirrored here."""
        if certain and not done:
            return
        for each in commit.effects:
            if isinstance(each, JoinLabels):
                self._mirror.changed(each.subject)
                if done:
                    self._mirror.note_joined(each.subject, each.workflow, each.labels)
            elif isinstance(each, OpenWorkflow):
                self._mirror.changed(each.opener)
            elif isinstance(each, CloseWorkflow):
                self._mirror.ended(each.id)
                self._mirror.changed(commit.subject)
            elif isinstance(each, KeepAnswer):
                self._mirror.note_kept(each.subject, each.rpc, each.key)
        if done and commit.action in self._actions and self._mirror.at_home(commit.subject):
            rows, amount = _reserved(commit)
            if amount and self._keeper.slices.missed(rows, amount):
                self._keeper.wake()

    # What decisions ask

    async def facts(self, query: FactsQuery) -> StoredFacts:
        """From what is mirrored here, where it can be relied on."""
        if self._keeper.decides:
            found = self._mirror.facts(query)
            if found is not None:
                return found
        since, asked = self._mirror.changes(query.subject), self._monotonic()
        facts = await self._remote.facts(query)
        if self._keeper.decides:
            self._mirror.learn(query, facts, since=since, asked=asked)
        return facts

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        """The answer kept for a key, here or there."""
        here = await self._local.kept(subject, rpc, key)
        if here is not None or (self._keeper.decides and self._mirror.surely_new(subject, rpc, key)):
            return here
        stay = self._mirror.stay(subject)
        there = await self._remote.kept(subject, rpc, key)
        if there is None:
            self._mirror.note_absent(subject, rpc, key, stay)
        return there

    async def workflow(self, id: str) -> WorkflowState | None:
        """A workflow by id."""
        return await self._remote.workflow(id)

    async def traced(self, subject: str, trace: str) -> str:
        """The workflow that a trace id is bound to."""
        return await self._remote.traced(subject, trace)

    async def reservation(self, decision: str) -> Reservation | None:
        """The reservation that a decision made, here or there."""
        return await self._local.reservation(decision) or await self._remote.reservation(decision)

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Held reservations that are over: those of this sidecar's term first."""
        here = tuple(await self._local.due(now, limit))
        return here or await self._remote.due(now, limit)

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        """Approvals, the newest first."""
        return await self._remote.approvals(query)

    async def pending_approvals(self) -> Mapping[str, int]:
        """The versions of all that are pending."""
        return await self._remote.pending_approvals()

    async def approvals_version(self) -> int:
        """Moves whenever an approval does."""
        return await self._remote.approvals_version()

    async def due_approvals(self, now: int, limit: int) -> Sequence[Approval]:
        """Pending ones whose deadline has passed."""
        return await self._remote.due_approvals(now, limit)

    async def claim(self, key: str) -> Claim:
        """The claim on a thing."""
        return await self._remote.claim(key)

    async def claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What is held now."""
        return await self._remote.claims(now, limit)

    async def due_claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What was held and has expired."""
        return await self._remote.due_claims(now, limit)

    async def record(self, id: str) -> JournalRow | None:
        """A record by its id, here or there."""
        return await self._local.record(id) or await self._remote.record(id)

    # What people ask: of everything that was decided by now

    async def unresolved(self, since: int, limit: int) -> Sequence[Reservation]:
        """What was allowed and never reported."""
        await self._keeper.flush()
        return await self._remote.unresolved(since, limit)

    async def rooms(self, rows: Sequence[BudgetRow]) -> Sequence[BudgetRoom]:
        """What is spent and held in each row."""
        await self._keeper.flush()
        return await self._remote.rooms(rows)

    async def used_rows(self, now: int) -> Sequence[BudgetRoom]:
        """Every row of a current window that was used."""
        await self._keeper.flush()
        return await self._remote.used_rows(now)

    async def halts(self) -> Sequence[Halt]:
        """The halts in force."""
        return await self._remote.halts()

    async def spending(self) -> Sequence[SpendRow]:
        """Totals since the installation began."""
        await self._keeper.flush()
        return await self._remote.spending()

    async def about(self, ref: str) -> Sequence[JournalRow]:
        """Records that speak of another one."""
        await self._keeper.flush()
        return await self._remote.about(ref)

    async def trace(self, workflow: str, limit: int) -> Sequence[JournalRow]:
        """A workflow's records."""
        await self._keeper.flush()
        return await self._remote.trace(workflow, limit)

    async def workflows(self, before: str, limit: int) -> Sequence[WorkflowState]:
        """Workflows, the newest first."""
        return await self._remote.workflows(before, limit)

    async def latest(self, before: int, limit: int) -> Sequence[JournalRow]:
        """Decisions, the newest first."""
        await self._keeper.flush()
        return await self._remote.latest(before, limit)

    async def burned(self, row: BudgetRow) -> Sequence[Burn]:
        """What was spent in a row, hour by hour."""
        await self._keeper.flush()
        return await self._remote.burned(row)

    async def sightings(self, table: str, subject: str, limit: int) -> Sequence[Sighting]:
        """Who saw a subject."""
        return await self._remote.sightings(table, subject, limit)

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        """Records of `log`."""
        return await self._remote.journal(after, limit)

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        """Signed heads of `log`."""
        return await self._remote.checkpoints()

    async def verify(self) -> Sequence[Verification]:
        """Read every log of the installation."""
        await self._keeper.flush(heads=True)
        return await self._remote.verify(self._local.verifier)

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        """Blank a record's body, wherever it is."""
        await self._keeper.flush()
        committed = await self._remote.erase(id, by=by, reason=reason)
        await self._local.blank(id)
        return committed

    async def sign(self) -> None:
        """Sign what is recorded by now."""
        await self._local.sign()
        await self._remote.sign()

    async def prune(self, now: int) -> int:
        """Forget what has expired."""
        return await self._local.prune(now) + await self._remote.prune(now)

    async def close(self) -> None:
        """Ship the rest, give back everything, and let go of both stores; what cannot be shipped now stays here."""
        try:
            await self._keeper.stop()
        finally:
            async with AsyncExitStack() as closing:
                for each in (self._remote, self._calls, self._pulses, self._local):
                    closing.push_async_callback(each.close)


def _is_provisional(effect: Effect) -> bool:
    return isinstance(effect, KeepAnswer) and effect.provisional


def _has_no_room(outcome: Committed | Refused) -> TypeGuard[Refused]:
    """Whether it was refused for want of room, which slices of our own may be the reason of."""
    return isinstance(outcome, Refused) and outcome.reason is Reason.BUDGET_EXHAUSTED


def _reserved(commit: Commit) -> tuple[tuple[BudgetRow, ...], int]:
    """The rows in which a commit reserves, and how much."""
    for each in commit.effects:
        if isinstance(each, Reserve):
            return each.rows, each.amount
    return (), 0
