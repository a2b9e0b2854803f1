"""The store in memory: the semantics of the port said again, as plainly as possible.

A commit works on a copy of everything, which takes the place of the original when all of it went well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import singledispatchmethod
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.store_memory_approvals import ApprovalEffect, Approvals, Refusal
from remit.core.approval import Approval
from remit.core.canonical import canonical
from remit.core.checkpoint import VerifierKey, checkpoint
from remit.core.claim import Claim
from remit.core.effect import (
    AdjustBudget,
    BindTrace,
    CloseWorkflow,
    Commit,
    Committed,
    EndReservation,
    JoinLabels,
    KeepAnswer,
    Kept,
    LapseSlice,
    LiftHalt,
    OpenWorkflow,
    PlaceHalt,
    ProlongReservation,
    Record,
    Refused,
    Reserve,
    SeeSubjects,
    UsePassport,
)
from remit.core.errors import BadRequest, IllegalTransition, NotFound, StoreUnavailable, Violation
from remit.core.journal import ERASED, GENESIS, Verification, link, verify
from remit.core.label import Session, counts, isolated_version, join
from remit.core.model import BudgetRoom, BudgetRow, Halt, Versions
from remit.core.reason import Reason
from remit.core.reservation import MAX_NANOS, MAX_TOTAL, State, check_amount, end, hour, prolonged
from remit.core.view.subjects import hash_bytes
from remit.ports import (
    ApprovalsQuery,
    Burn,
    CheckpointRow,
    FactsQuery,
    JournalRow,
    Reservation,
    Sight,
    Sighting,
    SpendRow,
    StoredFacts,
    WorkflowState,
)

Whose = tuple[str, str, str, str]


@dataclass(frozen=True)
class Room:
    """What happened in one row of a budget."""

    row: BudgetRow
    adjusted: int = 0
    spent: int = 0
    held: int = 0

    @property
    def limit(self) -> int:
        return self.row.limit + self.adjusted


@dataclass
class Shelves:
    """Everything that is stored; the values are never changed in place."""

    rooms: dict[tuple[str, str, int, int], Room] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    reserved_in: dict[str, tuple[BudgetRow, ...]] = field(default_factory=dict)
    spending: dict[Whose, SpendRow] = field(default_factory=dict)
    workflows: dict[str, WorkflowState] = field(default_factory=dict)
    closed_by: dict[str, str] = field(default_factory=dict)
    started_with: dict[str, Session] = field(default_factory=dict)
    shares: dict[tuple[str, str], Session] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    traces: dict[tuple[str, str], str] = field(default_factory=dict)
    passports: dict[str, int] = field(default_factory=dict)
    kept: dict[tuple[str, str, str], KeepAnswer] = field(default_factory=dict)
    halts: dict[str, Halt] = field(default_factory=dict)
    halts_version: int = 0
    burned: dict[tuple[str, str, int, int], dict[int, int]] = field(default_factory=dict)
    seen: dict[tuple[str, bytes, str], Sight] = field(default_factory=dict)
    journal: dict[str, JournalRow] = field(default_factory=dict)
    approvals: Approvals = field(default_factory=Approvals)

    def copy(self) -> Shelves:
        """Another one with the same values."""
        other = replace(self, approvals=self.approvals.copy())
        for each in fields(self):
            if isinstance(value := getattr(self, each.name), dict):
                setattr(other, each.name, dict(value))
        return other


class MemoryStore:
    """The `Store` port without a disk. `now` tells the time of erasures and checkpoints."""

    def __init__(
        self,
        now: Callable[[], int] = lambda: 0,
        key: Ed25519PrivateKey | None = None,
        checkpoint_records: int = 1024,
    ) -> None:
        self._now = now
        self._key = key or Ed25519PrivateKey.generate()
        self._every = checkpoint_records
        self._shelves = Shelves()
        self._heads: list[CheckpointRow] = []
        self._revision = ""
        self._closed = False
        self.log = "memory"

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.log, self._key.public_key().public_bytes_raw())

    @property
    def failed(self) -> bool:
        return self._closed

    @property
    def checkpoint(self) -> CheckpointRow | None:
        return self._heads[-1] if self._heads else None

    def activate(self, revision: str) -> None:
        self._revision = revision

    async def commit(self, commit: Commit) -> Committed | Refused:
        await asyncio.sleep(0)  # others get their turn, as they would with a disk
        try:
            return self._transact(lambda work: work.commit(commit, self._revision))
        except Refusal as refusal:
            return Refused(*refusal.args)

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        await asyncio.sleep(0)
        act = Record(
            kind=ERASED,
            id=f"e_{len(self._shelves.journal)}",
            time=self._now(),
            subject=by,
            workflow="",
            parent="",
            ref=id,
            body=canonical({"reason": reason}),
            salt=bytes(16),
        )
        committed = self._transact(lambda work: work.erase(act))
        self._sign()
        return committed

    async def prune(self, now: int) -> int:
        shelves = self._shelves
        expired = {trace for trace, flow in shelves.traces.items() if shelves.workflows[flow].expires <= now}
        kept = {key for key, answer in shelves.kept.items() if answer.expires <= now}
        used = {id for id, expires in shelves.passports.items() if expires <= now}
        shelves.traces = {trace: flow for trace, flow in shelves.traces.items() if trace not in expired}
        shelves.kept = {key: answer for key, answer in shelves.kept.items() if key not in kept}
        shelves.passports = {id: expires for id, expires in shelves.passports.items() if id not in used}
        return len(expired) + len(kept) + len(used) + shelves.approvals.prune(now)

    async def close(self) -> None:
        self._sign()
        self._closed = True

    async def facts(self, query: FactsQuery) -> StoredFacts:
        work = Work(self._shelves, self.log)
        covering = {("agent", query.subject), ("workflow", query.workflow), ("service", query.service), ("all", "")}
        labels = work.labels(query.subject, query.workflow, query.isolation)
        isolated = query.isolation == "workflow"
        approvals = self._shelves.approvals
        claims = approvals.claims
        return StoredFacts(
            labels=labels,
            labels_version=isolated_version(len(labels)) if isolated else self._shelves.versions.get(query.subject, 0),
            workflow=self._shelves.workflows.get(query.workflow),
            halts=tuple(
                each for each in await self.halts() if each.scope == "policy" or (each.scope, each.value) in covering
            ),
            halts_version=self._shelves.halts_version,
            budgets=tuple(await self.rooms(query.rows)),
            claims=tuple(claims[thing] for thing in sorted(query.things) if thing in claims),
            acts=approvals.acts_of_others(query.workflow, query.object, query.subject) if query.object else (),
        )

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        found = self._shelves.kept.get((subject, rpc, key))
        return Kept(found.digest, found.answer, found.provisional) if found else None

    async def workflow(self, id: str) -> WorkflowState | None:
        return self._shelves.workflows.get(id)

    async def traced(self, subject: str, trace: str) -> str:
        return self._shelves.traces.get((subject, trace), "")

    async def reservation(self, decision: str) -> Reservation | None:
        return self._shelves.reservations.get(decision)

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        held = (each for each in self._shelves.reservations.values() if each.state == State.HELD)
        due = [each for each in held if each.deadline <= now]
        return tuple(sorted(due, key=lambda each: (each.deadline, each.decision))[:limit])

    async def unresolved(self, since: int, limit: int) -> Sequence[Reservation]:
        found = [
            each
            for each in self._shelves.reservations.values()
            if each.state == State.HELD or (each.state == State.LAPSED and each.deadline >= since)
        ]
        return tuple(sorted(found, key=lambda each: (each.deadline, each.decision))[:limit])

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        return self._shelves.approvals.find(query)

    async def pending_approvals(self) -> Mapping[str, int]:
        return self._shelves.approvals.pending()

    async def approvals_version(self) -> int:
        return self._shelves.approvals.version

    async def due_approvals(self, now: int, limit: int) -> Sequence[Approval]:
        return self._shelves.approvals.due(now, limit)

    async def claim(self, key: str) -> Claim:
        return self._shelves.approvals.claim(key)

    async def claims(self, now: int, limit: int) -> Sequence[Claim]:
        return self._shelves.approvals.held(now, limit)

    async def due_claims(self, now: int, limit: int) -> Sequence[Claim]:
        return self._shelves.approvals.due_claims(now, limit)

    async def rooms(self, rows: Sequence[BudgetRow]) -> Sequence[BudgetRoom]:
        found = [replace(self._shelves.rooms.get(row.key, Room(row)), row=row) for row in rows]
        return tuple(BudgetRoom(each.row, each.limit, each.spent, each.held) for each in found)

    async def used_rows(self, now: int) -> Sequence[BudgetRoom]:
        used = (each for each in self._shelves.rooms.values() if each.spent or each.held or each.adjusted)
        current = [each for each in used if each.row.start <= now and (now < each.row.end or not each.row.end)]
        current.sort(key=lambda each: (each.row.budget, each.row.scope, each.row.start))
        return tuple(BudgetRoom(each.row, each.limit, each.spent, each.held) for each in current)

    async def halts(self) -> Sequence[Halt]:
        return tuple(sorted(self._shelves.halts.values(), key=lambda each: (each.time, each.id)))

    async def spending(self) -> Sequence[SpendRow]:
        return tuple(self._shelves.spending[whose] for whose in sorted(self._shelves.spending))

    async def record(self, id: str) -> JournalRow | None:
        return self._shelves.journal.get(id)

    async def about(self, ref: str) -> Sequence[JournalRow]:
        return tuple(row for row in self._shelves.journal.values() if ref and row.record.ref == ref)

    async def trace(self, workflow: str, limit: int) -> Sequence[JournalRow]:
        rows = self._shelves.journal.values()
        return tuple(row for row in rows if workflow and row.record.workflow == workflow)[:limit]

    async def workflows(self, before: str, limit: int) -> Sequence[WorkflowState]:
        flows = sorted(self._shelves.workflows.values(), key=lambda each: each.id, reverse=True)
        return tuple(each for each in flows if not before or each.id < before)[:limit]

    async def latest(self, before: int, limit: int) -> Sequence[JournalRow]:
        rows = [row for row in reversed(self._shelves.journal.values()) if row.record.kind == "decision"]
        return tuple(row for row in rows if not before or row.record.time < before)[:limit]

    async def burned(self, row: BudgetRow) -> Sequence[Burn]:
        spent = self._shelves.burned.get(row.key, {})
        return tuple(Burn(hour, spent[hour]) for hour in sorted(spent))

    async def verify(self) -> Sequence[Verification]:
        self._sign()
        return (verify(self._shelves.journal.values(), self._heads, self.verifier),)

    async def sightings(self, table: str, subject: str, limit: int) -> Sequence[Sighting]:
        raw, seen = hash_bytes(subject), self._shelves.seen
        found = [
            Sighting(row, min(sights, key=list(Sight).index))
            for row in reversed(self._shelves.journal.values())
            if (sights := [seen[each] for who in (raw, b"") if (each := (table, who, row.record.id)) in seen])
        ]
        return tuple(found[:limit])

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        return tuple(self._shelves.journal.values())[after : after + limit]

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        return tuple(self._heads)

    def _transact(self, act: Callable[[Work], Committed]) -> Committed:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        work = Work(self._shelves.copy(), self.log)
        committed = act(work)
        self._shelves = work.shelves
        signed = self._heads[-1].size if self._heads else 0
        if committed.sequence - signed >= self._every:
            self._sign()
        return committed

    def _sign(self) -> None:
        rows = tuple(self._shelves.journal.values())
        if rows and (not self._heads or self._heads[-1].size < len(rows)):
            head = rows[-1]
            self._heads.append(
                checkpoint(log=self.log, size=head.sequence, head=head.hash, time=self._now(), key=self._key)
            )


class Work:
    """What one commit does to its copy of the shelves."""

    def __init__(self, shelves: Shelves, log: str) -> None:
        self.shelves = shelves
        self._log = log
        self._time, self._upcoming = 0, ""

    def commit(self, commit: Commit, revision: str) -> Committed:
        self._time, self._upcoming = commit.record.time, commit.record.id
        if commit.versions is not None:
            self._check(commit, commit.versions, revision)
        for effect in commit.effects:
            self.perform(effect)
        return self._append(commit.record)

    def erase(self, act: Record) -> Committed:
        row = self.shelves.journal.get(act.ref)
        if row is None:
            raise NotFound(f"no record {act.ref}")
        if row.erased:
            raise IllegalTransition("erased before")
        self.shelves.approvals.erase(act.ref)
        self.shelves.journal[act.ref] = replace(row, record=replace(row.record, body=b"", salt=b""), erased=True)
        return self._append(act)

    def labels(self, subject: str, workflow: str, isolation: str) -> dict[str, tuple[str, ...]]:
        """What the subject holds, asked in a workflow."""
        queried = [self._share(subject, workflow), self.shelves.started_with.get(workflow, {})]
        return join(queried if isolation == "workflow" else [*queried, *self._session(subject)])

    def _session(self, subject: str) -> Iterable[Session]:
        for who, workflow in self.shelves.shares:
            if who == subject and self._counts(subject, workflow):
                yield self._share(subject, workflow)
                yield self.shelves.started_with.get(workflow, {})

    def _share(self, subject: str, workflow: str) -> Session:
        return self.shelves.shares.get((subject, workflow), {})

    def _counts(self, subject: str, workflow: str) -> bool:
        if not workflow:
            return True
        opener = self.shelves.workflows[workflow].opener
        return counts(subject=subject, opener=opener, closed_by=self.shelves.closed_by.get(workflow, ""))

    def _check(self, commit: Commit, seen: Versions, revision: str) -> None:
        flow = self.shelves.workflows.get(commit.workflow)
        if commit.workflow and (flow is None or flow.state != "open" or flow.expires <= self._time):
            raise Refusal(Reason.WORKFLOW_INVALID, commit.workflow)
        isolated = isolated_version(len(self.labels(commit.subject, commit.workflow, "workflow")))
        now = {
            "workflow": (flow.version if flow else seen.workflow, seen.workflow),
            "policy": (revision, seen.revision),
            "halts": (self.shelves.halts_version, seen.halts),
            "labels": (isolated if seen.labels < 0 else self.shelves.versions.get(commit.subject, 0), seen.labels),
        }
        for name, (is_now, was) in now.items():
            if is_now != was:
                raise Refusal(Reason.FACTS_CHANGED, name)

    def _append(self, record: Record) -> Committed:
        rows = self.shelves.journal
        if record.id in rows:
            raise StoreUnavailable(f"record {record.id} exists")
        previous = next(reversed(rows.values())).hash if rows else GENESIS
        rows[record.id] = link(log=self._log, sequence=len(rows) + 1, record=record, previous=previous)
        return Committed(self._log, len(rows))

    @singledispatchmethod
    def perform(self, effect: Any) -> None:
        raise TypeError(effect)

    @perform.register
    def _(self, effect: Reserve) -> None:
        amount = check_amount("amount", effect.amount)
        for row in effect.rows:
            room = replace(self.shelves.rooms.get(row.key, Room(row)), row=row)
            if amount and room.spent + room.held + amount > room.limit:
                raise Refusal(Reason.BUDGET_EXHAUSTED, row.budget)
            self.shelves.rooms[row.key] = replace(room, held=room.held + amount)
        if effect.decision in self.shelves.reservations:
            raise IllegalTransition("reserved before")
        self.shelves.reserved_in[effect.decision] = effect.rows
        self.shelves.reservations[effect.decision] = Reservation(
            decision=effect.decision,
            subject=effect.subject,
            workflow=effect.workflow,
            service=effect.service,
            variant=effect.variant,
            owner=effect.owner,
            amount=amount,
            spent=0,
            deadline=effect.deadline,
            state=State.HELD,
            report_digest="",
        )

    @perform.register
    def _(self, effect: EndReservation) -> None:
        held = self._reserved(effect.decision)
        ending = end(
            held.state, effect.how, amount=held.amount, cost=effect.cost, deadline=held.deadline, now=self._time
        )
        for row in self.shelves.reserved_in[effect.decision]:
            room = self.shelves.rooms[row.key]
            spent = max(0, min(room.spent + ending.spent, MAX_TOTAL))
            self.shelves.rooms[row.key] = replace(room, held=room.held + ending.held, spent=spent)
            if ending.spent:
                hours = self.shelves.burned.get(row.key, {})
                burned = hours.get(hour(self._time), 0) + ending.spent
                self.shelves.burned[row.key] = {**hours, hour(self._time): max(-MAX_TOTAL, min(burned, MAX_TOTAL))}
        self.shelves.reservations[effect.decision] = replace(
            held, state=State(effect.how), spent=ending.total, report_digest=effect.digest
        )
        if effect.how != State.VOIDED:
            self._spend(held, ending.spent, ending.overrun, effect.usage)

    def _spend(self, held: Reservation, cost: int, overrun: int, usage: Mapping[str, int]) -> None:
        whose = (held.subject, held.service, held.variant, held.owner)
        before = self.shelves.spending.get(whose, SpendRow(*whose, 0, 0))
        units = {*before.usage, *usage}
        used = {unit: min(before.usage.get(unit, 0) + usage.get(unit, 0), MAX_TOTAL) for unit in units}
        self.shelves.spending[whose] = replace(
            before,
            cost=max(0, min(before.cost + cost, MAX_TOTAL)),
            overrun=min(before.overrun + overrun, MAX_TOTAL),
            usage=used,
        )

    @perform.register
    def _(self, effect: ProlongReservation) -> None:
        held = self._reserved(effect.decision)
        later = prolonged(held.state, held.deadline, effect.deadline)
        self.shelves.reservations[effect.decision] = replace(held, deadline=later)

    @perform.register
    def _(self, effect: AdjustBudget) -> None:
        if abs(effect.delta) > MAX_NANOS:
            raise BadRequest(Violation("delta", "less"))
        room = replace(self.shelves.rooms.get(effect.row.key, Room(effect.row)), row=effect.row)
        self.shelves.rooms[effect.row.key] = replace(room, adjusted=room.adjusted + effect.delta)

    @perform.register
    def _(self, effect: LapseSlice) -> None:
        raise IllegalTransition("nobody else writes here")

    @perform.register
    def _(self, effect: JoinLabels) -> None:
        if effect.workflow and effect.workflow not in self.shelves.workflows:
            raise NotFound(f"no workflow {effect.workflow}")
        before = set(join(self._session(effect.subject)))
        share = effect.workflow if self._counts(effect.subject, effect.workflow) else ""
        held = self._share(effect.subject, share)
        brought = {label: (source,) for label, source in effect.labels.items()}
        if brought:
            self.shelves.shares[effect.subject, share] = {**brought, **held}
        self._note_change(effect.subject, before)

    @perform.register
    def _(self, effect: OpenWorkflow) -> None:
        if effect.id in self.shelves.workflows:
            raise IllegalTransition("opened before")
        self.shelves.workflows[effect.id] = WorkflowState(
            effect.id, effect.opener, effect.purposes, effect.agents, effect.expires, "open", 1
        )
        started = {label: min(sources, default="") for label, sources in effect.labels.items()}
        self.shelves.started_with[effect.id] = {label: (source,) for label, source in started.items()}
        self.perform(JoinLabels(effect.opener, effect.id, started))
        if effect.trace:
            self.perform(BindTrace(effect.opener, effect.trace, effect.id))

    @perform.register
    def _(self, effect: CloseWorkflow) -> None:
        flow = self.shelves.workflows.get(effect.id)
        if flow is None:
            raise NotFound(f"no workflow {effect.id}")
        if flow.state != "open":
            raise IllegalTransition("closed before")
        subjects = [who for who, workflow in self.shelves.shares if workflow == effect.id]
        before = {who: set(join(self._session(who))) for who in subjects}
        self.shelves.workflows[effect.id] = replace(flow, state="closed", version=flow.version + 1)
        self.shelves.closed_by[effect.id] = effect.by
        for who in subjects:
            self._note_change(who, before[who])

    @perform.register
    def _(self, effect: BindTrace) -> None:
        if effect.workflow not in self.shelves.workflows:
            raise NotFound(f"no workflow {effect.workflow}")
        self.shelves.traces[effect.subject, effect.trace] = effect.workflow

    @perform.register
    def _(self, effect: UsePassport) -> None:
        if effect.id in self.shelves.passports:
            raise Refusal(Reason.PASSPORT_USED, effect.id)
        self.shelves.passports[effect.id] = effect.expires

    @perform.register
    def _(self, effect: PlaceHalt) -> None:
        if effect.halt.id in self.shelves.halts:
            raise IllegalTransition("placed before")
        self.shelves.halts[effect.halt.id] = effect.halt
        self.shelves.halts_version += 1

    @perform.register
    def _(self, effect: LiftHalt) -> None:
        if self.shelves.halts.pop(effect.id, None) is None:
            raise NotFound(f"no halt {effect.id}")
        self.shelves.halts_version += 1

    @perform.register
    def _(self, effect: KeepAnswer) -> None:
        there = self.shelves.kept.get((effect.subject, effect.rpc, effect.key))
        if there is not None and not (there.provisional and there.digest == effect.digest):
            raise Refusal(Reason.IDEMPOTENCY_MISMATCH, "kept")
        self.shelves.kept[effect.subject, effect.rpc, effect.key] = effect

    @perform.register
    def _(self, effect: SeeSubjects) -> None:
        sight = Sight(effect.sight)
        if effect.decision not in self.shelves.journal and effect.decision != self._upcoming:
            raise NotFound(f"no decision {effect.decision}")
        for subject in [b""] if sight is Sight.MANY else map(hash_bytes, effect.subjects):
            known = self.shelves.seen.get((effect.table, subject, effect.decision), sight)
            sure = Sight.RETURNED if Sight.RETURNED in (sight, known) else sight
            self.shelves.seen[effect.table, subject, effect.decision] = sure

    @perform.register
    def _(self, effect: ApprovalEffect) -> None:
        self.shelves.approvals.perform(effect, self._time)

    def _reserved(self, decision: str) -> Reservation:
        held = self.shelves.reservations.get(decision)
        if held is None:
            raise NotFound(f"{decision} has reserved nothing")
        return held

    def _note_change(self, subject: str, before: set[str]) -> None:
        if set(join(self._session(subject))) != before:
            self.shelves.versions[subject] = self.shelves.versions.get(subject, 0) + 1
