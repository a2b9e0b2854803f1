"""A pipeline in memory: it allows what it is told to allow, keeps answers by key, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from remit.core.answer import (
    Accepted,
    Adjusted,
    Answer,
    ClosedWorkflow,
    GivenReason,
    Halted,
    HandedOff,
    OpenedWorkflow,
    Reported,
    Resolved,
    Shown,
    Taken,
    Turning,
)
from remit.core.approval import Approval, Item, State, Terms, Verdict, Vote, voted
from remit.core.call import Call, ClaimCall, HandoffCall, ReleaseCall, Report, Resolution, WorkflowCall
from remit.core.claim import thing
from remit.core.decision import Effect
from remit.core.effect import Committed, Record
from remit.core.errors import Forbidden, IllegalTransition, NotFound, StoreUnavailable
from remit.core.model import BudgetRoom, BudgetRow, Subject
from remit.core.obligation import Obligation
from remit.core.query import Ended, ExecuteCall, Executed, MaskedColumn, QueryCall, QueryPart, Row, Rows, Started
from remit.ports import JournalRow, Reservation, Sight, Sighting

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
ALLOWED = GivenReason("access.resource", "allowed", "allowed")
DENIED = GivenReason("remit", "default_deny", "no rule allows it")
HELD = GivenReason("access.approval", "approval_required", "somebody must approve it")
REFUSED = GivenReason("remit", "approval_denied", "somebody said no")


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking the journal found."""

    ok: bool = True
    authentic: bool = True
    records: int = 3
    erased: int = 1
    checkpoints: int = 2
    problem: str = ""
    sequence: int = 0


@dataclass(slots=True)
class FakeTable:
    """What every query is answered with: `batches` of rows, each made when it is asked for.

    After `fails_after` batches it ends with `failure`. `made` counts batches, `open` and `closed` readings. While
    `flow` is cleared, a reading waits before its next batch.
    """

    columns: tuple[tuple[str, str], ...] = (("id", "integer"), ("name", "text"))
    rows: Sequence[Row] = ((1, "ana"), (2, None))
    batches: int = 1
    truncated: bool = False
    whole: bool = False
    failure: str = ""
    fails_after: int = 0
    breaks: Exception | None = None
    made: int = 0
    open: int = 0
    closed: int = 0
    flow: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flow.set()

    async def read(self) -> AsyncGenerator[QueryPart, None]:
        """The batches, then the end."""
        self.open += 1
        sent = 0
        try:
            for number in range(self.batches):
                await self.flow.wait()
                if self.failure and number == self.fails_after:
                    break
                if self.breaks is not None and number == self.fails_after:
                    raise self.breaks
                self.made += 1
                sent += len(self.rows)
                yield Rows(self.rows)
        finally:
            await asyncio.sleep(0)  # ending a reading takes the database a moment
            self.open -= 1
            self.closed += 1
        yield Ended(sent, 8 * sent, self.truncated, self.failure)


@dataclass(slots=True)
class FakePipeline:
    """Allows the resources in `allows`; `reserves` is set aside for each that is allowed.

    Those in `holds` wait for an approval first: one in `requests` for each agent and resource, which `resolve` ends and
    whose changes are watched. `lasting` counts calls that wait for one, and `watching` those that watch.

    `failure` is raised by the next calls instead of an answer. While `gate` is cleared, calls wait in front of it.
    With `store_down` refusals cannot be recorded.
    """

    allows: set[str] = field(default_factory=lambda: {"openai", "crm"})
    reserves: int = 0
    failure: Exception | None = None
    store_down: bool = False
    currency: str = "EUR"
    asked: list[tuple[Subject, Call]] = field(default_factory=list)
    told: list[tuple[Subject, Report]] = field(default_factory=list)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    journal: list[JournalRow] = field(default_factory=list)
    workflows: dict[str, str] = field(default_factory=dict)
    passports: dict[str, str] = field(default_factory=dict)
    halts: dict[tuple[str, str], str] = field(default_factory=dict)
    limit: int = 100 * SECOND
    scopes: tuple[str, ...] = ("",)  # in which the one budget is counted
    cheaper: str = ""
    looked_up: list[tuple[str, str, str]] = field(default_factory=list)
    obligations: tuple[Obligation, ...] = ()
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    table: FakeTable = field(default_factory=FakeTable)
    queries: list[tuple[Subject, QueryCall]] = field(default_factory=list)
    writes: list[tuple[Subject, ExecuteCall]] = field(default_factory=list)
    holds: set[str] = field(default_factory=set)
    requests: dict[str, Approval] = field(default_factory=dict)
    lasting: int = 0
    watching: int = 0
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)
    taken: list[tuple[Subject, ClaimCall]] = field(default_factory=list)
    resolutions: list[tuple[Subject, Resolution]] = field(default_factory=list)
    listed: list[tuple[Sequence[State], str, str, int]] = field(default_factory=list)
    effects: list[Reservation] = field(default_factory=list)
    tokens: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _kept: dict[tuple[str, str, str], tuple[str, Answer]] = field(default_factory=dict)
    _done: dict[tuple[str, str], Executed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gate.set()

    async def authorize(self, subject: Subject, call: Call, wait: int = 0) -> Answer:
        deciding = asyncio.ensure_future(self._authorized(subject, call))
        try:
            answer = await asyncio.shield(deciding)
        except asyncio.CancelledError:
            await asyncio.wait({deciding})
            raise
        return await self._outwaited(subject, call, answer, wait) if answer.effect is Effect.HOLD else answer

    async def _authorized(self, subject: Subject, call: Call) -> Answer:
        await self._pass()
        self.asked.append((subject, call))
        if call.resource.id in self.holds:
            return await self._held(subject, call)
        kept = self._kept.get((subject.id, call.rpc, call.key)) if call.key else None
        if kept is not None:
            return self._replayed(kept, call)
        answer = self._decide(subject, call.action, allowed=call.resource.id in self.allows)
        if call.key:
            self._kept[subject.id, call.rpc, call.key] = (call.digest, answer)
        return answer

    async def record(self, subject: Subject, summary: str, call: Call) -> Answer:
        await self._pass()
        self.asked.append((subject, call))
        return self._decide(subject, summary, allowed=True)

    async def report(self, subject: Subject, report: Report) -> Reported:
        await self._pass()
        self.told.append((subject, report))
        if all(row.record.id != report.decision for row in self.journal):
            raise NotFound(f"no decision {report.decision}")
        self._write("report", subject, ref=report.decision)
        return Reported(self.journal[-1].record.id, "settled", cost=3 * SECOND // 2, overrun=1, claimed=True)

    async def query(self, subject: Subject, call: QueryCall) -> AsyncGenerator[QueryPart, None]:
        await self._pass()
        self.queries.append((subject, call))
        answer = self._decide(subject, "data.read", allowed=call.dataset in self.allows)
        if answer.effect is not Effect.ALLOW:
            yield Started(answer)
            return
        masked = (MaskedColumn("customers", "email", "partial"),)
        yield Started(answer, self.table.columns, ("pii",), masked, whole=self.table.whole)
        async with aclosing(self.table.read()) as parts:
            async for part in parts:
                yield part

    async def execute(self, subject: Subject, call: ExecuteCall) -> Executed:
        await self._pass()
        self.writes.append((subject, call))
        done = self._done.get((subject.id, call.key)) if call.key else None
        if done is not None:
            return replace(done, replayed=True)
        answer = self._decide(subject, "data.write", allowed=call.dataset in self.allows)
        if answer.effect is not Effect.ALLOW:
            return Executed(answer)
        if self.table.failure:
            return Executed(answer, failure=self.table.failure)
        found = Executed(answer, 3, self.table.columns, self.table.rows, ("pii",))
        self._done[subject.id, call.key] = found
        return found

    async def open_workflow(self, subject: Subject, call: WorkflowCall) -> OpenedWorkflow:
        await self._pass()
        answer = self._decide(subject, "workflow.open", allowed="support" in call.purposes)
        if answer.effect is not Effect.ALLOW:
            return OpenedWorkflow(answer)
        id = f"w_{len(self.workflows) + 1}"
        self.workflows[id] = "open"
        return OpenedWorkflow(answer, id, f"{id}.signed", START + call.ttl)

    async def close_workflow(self, subject: Subject, workflow: str, reason: str) -> ClosedWorkflow:
        await self._pass()
        id = workflow.removesuffix(".signed")
        if id not in self.workflows:
            raise NotFound(f"no workflow {id}")
        if self.workflows[id] == "closed":
            raise IllegalTransition(f"workflow {id} is closed")
        self.workflows[id] = "closed"
        return ClosedWorkflow(*self._write("workflow.close", subject, workflow=id))

    async def handoff(self, subject: Subject, call: HandoffCall) -> HandedOff:
        await self._pass()
        answer = self._decide(subject, "message.send", allowed=True)
        passport = f"p_{len(self.passports) + 1}"
        self.passports[passport] = call.agent
        return HandedOff(answer, passport)

    async def accept(self, subject: Subject, passport: str, message_digest: str) -> Accepted:
        await self._pass()
        mine = self.passports.pop(passport, "") == subject.id
        answer = self._decide(subject, "message.accept", allowed=mine)
        return Accepted(answer, "w_1.signed", ("pii",), "analysis") if mine else Accepted(answer)

    async def claim(self, subject: Subject, call: ClaimCall) -> Taken:
        await self._pass()
        self.taken.append((subject, call))
        key = thing(call.resource.type, call.resource.id, call.object)
        holder, token = self.claims.get(key, ("", 0))
        answer = self._decide(subject, "claim.take", allowed=holder in ("", subject.id))
        if answer.effect is not Effect.ALLOW:
            return Taken(answer)
        if not holder:
            self.tokens = token = self.tokens + 1
        self.claims[key] = (subject.id, token)
        return Taken(answer, token, START + call.ttl)

    async def release(self, subject: Subject, call: ReleaseCall) -> str:
        await self._pass()
        key = thing(call.resource.type, call.resource.id, call.object)
        if self.claims.get(key) != (subject.id, call.token):
            raise IllegalTransition("it is not held by this token")
        self.claims[key] = ("", call.token)
        return self._write("release", subject)[0]

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int
    ) -> Sequence[Shown]:
        await self._pass()
        self.listed.append((states, id, before, limit))
        wanted = states or (State.PENDING,)
        found = [each for each in reversed(self.requests.values()) if each.state in wanted and id in ("", each.id)]
        return [self._shown(subject, each) for each in found][:limit]

    async def watch_approvals(self, subject: Subject) -> AsyncGenerator[Shown | None, None]:
        await self._pass()
        seen: dict[str, int] = {}
        self.watching += 1
        try:
            for approval in [each for each in self.requests.values() if each.state is State.PENDING]:
                seen[approval.id] = approval.version
                yield self._shown(subject, approval)
            yield None
            while True:
                async with self.changed:
                    await self.changed.wait_for(lambda: any(self._newer(seen)))
                for approval in list(self._newer(seen)):
                    seen[approval.id] = approval.version
                    yield self._shown(subject, approval)
        finally:
            self.watching -= 1

    async def resolve(self, subject: Subject, resolution: Resolution) -> Resolved:
        await self._pass()
        self.resolutions.append((subject, resolution))
        approval = self.requests.get(resolution.approval)
        if approval is None:
            raise NotFound(f"no approval {resolution.approval}")
        stale = resolution.version not in (0, approval.version)
        answer = self._decide(subject, "approval.resolve", allowed=subject.id != approval.subject and not stale)
        if answer.effect is Effect.ALLOW:
            vote = Vote(subject.type, subject.id, resolution.verdict, resolution.reason, START, answer.id)
            outcome = {Verdict.APPROVE: "approved", Verdict.DENY: "denied", Verdict.HOLD: "escalated"}
            approval = voted(approval, vote, outcome[resolution.verdict], START)
            await self.move(replace(approval, alternative=resolution.alternative))
        return Resolved(answer, self._shown(subject, self.requests[approval.id]))

    async def unresolved(self, subject: Subject, limit: int) -> Sequence[Reservation]:
        await self._pass()
        return self.effects[:limit]

    async def move(self, approval: Approval) -> None:
        """Keep an approval as it is now, and tell all who wait or watch."""
        self.requests[approval.id] = approval
        async with self.changed:
            self.changed.notify_all()

    async def halt(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        await self._pass()
        answer = self._decide(subject, "control.halt", allowed="operator" in subject.roles)
        if answer.effect is not Effect.ALLOW:
            return Halted(answer)
        self.halts[scope, value] = f"h_{len(self.halts) + 1}"
        return Halted(answer, (self.halts[scope, value],))

    async def resume(self, subject: Subject, scope: str, value: str, reason: str) -> Halted:
        await self._pass()
        if (scope, value) not in self.halts:
            raise NotFound(f"nothing is halted for {scope} {value}")
        return Halted(self._decide(subject, "control.halt", allowed=True), (self.halts.pop((scope, value)),))

    async def budgets(self, subject: Subject, budget: str) -> Sequence[BudgetRoom]:
        await self._pass()
        return [self._room(scope) for scope in self.scopes]

    async def adjust(self, subject: Subject, budget: str, scope: str, delta: int, reason: str) -> Adjusted:
        await self._pass()
        self.limit += delta
        return Adjusted(self._decide(subject, "budget.adjust", allowed=True), self._room(scope))

    async def decision(self, subject: Subject, id: str) -> tuple[JournalRow, Sequence[JournalRow]]:
        await self._pass()
        found = [row for row in self.journal if row.record.id == id]
        if not found:
            raise NotFound(f"no decision {id}")
        return found[0], [row for row in self.journal if row.record.ref == id]

    async def trace(self, subject: Subject, workflow: str, limit: int) -> Sequence[JournalRow]:
        await self._pass()
        return self.journal[:limit]

    async def who(self, subject: Subject, dataset: str, table: str, key: str, limit: int) -> Sequence[Sighting]:
        await self._pass()
        if subject.type != "person":
            raise Forbidden("only people see who saw whom")
        self.looked_up.append((dataset, table, key))
        sights = itertools.cycle(Sight)
        return [Sighting(row, next(sights)) for row in reversed(self.journal)][:limit]

    async def verify(self, subject: Subject) -> Checked:
        await self._pass()
        if subject.type != "person":
            raise Forbidden("only people verify the journal")
        return Checked()

    async def refused(self, peer: str, kind: str, detail: str) -> None:
        if self.store_down:
            raise StoreUnavailable("disk full")
        self.refusals.append((peer, kind, detail))

    async def _pass(self) -> None:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        if self.failure is not None:
            raise self.failure

    async def _outwaited(self, subject: Subject, call: Call, answer: Answer, wait: int) -> Answer:
        id = answer.approvals[0].id
        self.lasting += 1
        try:
            async with self.changed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait / SECOND):
                        await self.changed.wait_for(lambda: self.requests[id].state is not State.PENDING)
        finally:
            self.lasting -= 1
        return answer if self.requests[id].state is State.PENDING else await self._held(subject, call)

    async def _held(self, subject: Subject, call: Call) -> Answer:
        id = f"a_{subject.id}_{call.resource.id}"
        if id not in self.requests:
            await self.move(request_for(id, subject, call))
        answer = self._decide(subject, call.action, allowed=False)
        state = self.requests[id].state
        if state is State.APPROVED:
            return self._decide(subject, call.action, allowed=True)
        waits = state is State.PENDING
        turning = Turning(id, HELD.policy, HELD.code, state, "", ("approver",), self.requests[id].deadline)
        effect, why = (Effect.HOLD, HELD) if waits else (Effect.DENY, REFUSED)
        return replace(answer, effect=effect, reasons=(why,), approvals=(turning,))

    def _shown(self, subject: Subject, approval: Approval) -> Shown:
        return Shown(approval, approval.state is State.PENDING and subject.id != approval.subject)

    def _newer(self, seen: dict[str, int]) -> list[Approval]:
        return [each for each in self.requests.values() if seen.get(each.id) != each.version]

    def _decide(self, subject: Subject, action: str, *, allowed: bool) -> Answer:
        id, committed = self._write("decision", subject)
        return Answer(
            id=id,
            effect=Effect.ALLOW if allowed else Effect.DENY,
            reasons=(ALLOWED if allowed else DENIED,),
            enforced=True,
            retryable=False,
            committed=committed,
            revision="r1",
            obligations=self.obligations,
            reserved=self.reserves if allowed else 0,
            deadline=START + 60 * SECOND if allowed and self.reserves else 0,
            cheaper=self.cheaper,
        )

    def _replayed(self, kept: tuple[str, Answer], call: Call) -> Answer:
        digest, first = kept
        mismatch = (GivenReason("remit", "idempotency_mismatch", "the key was used with another request"),)
        same = digest == call.digest
        return Answer(
            id=first.id,
            effect=first.effect if same else Effect.DENY,
            reasons=first.reasons if same else mismatch,
            enforced=True,
            retryable=False,
            committed=first.committed,
            replayed=same,
        )

    def _write(self, kind: str, subject: Subject, *, workflow: str = "", ref: str = "") -> tuple[str, Committed]:
        sequence = len(self.journal) + 1
        id = f"{kind[0]}_{sequence}"
        record = Record(kind, id, START + sequence, subject.id, workflow, "", ref, b'{"a":1}', b"salt")
        self.journal.append(JournalRow("local", sequence, record, b"", bytes(32), bytes(32), False))
        return id, Committed("local", sequence)

    def _room(self, scope: str) -> BudgetRoom:
        row = BudgetRow("cx-month", scope, START, START + 3600 * SECOND, 100 * SECOND)
        return BudgetRoom(row, self.limit, spent=SECOND, held=SECOND // 4)


def request_for(id: str, subject: Subject, call: Call, **changed: Any) -> Approval:
    """What is asked of those who may approve a call."""
    resource = call.resource
    item = Item("ab" * 32, "d_1", SECOND // 2, ("pii",), '{"arguments":{"to":"ana"}}')
    usual: dict[str, Any] = {
        "id": id,
        "like": "cd" * 32,
        "subject": subject.id,
        "team": subject.team,
        "workflow": "w_1",
        "purpose": "support",
        "policy": HELD.policy,
        "code": HELD.code,
        "action": call.action,
        "resource": {
            "type": resource.type,
            "id": resource.id,
            "operation": resource.operation,
            "variant": resource.variant,
        },
        "reason": call.claimed.reason,
        "terms": Terms(roles=("approver",), cost=20 * SECOND, uses=3),
        "time": START,
        "deadline": START + 3600 * SECOND,
        "chain": ("lead",),
        "items": (item,),
    }
    return Approval(**{**usual, **changed})
