"""An installation as the console sees it, in memory: budgets, a journal of two logs, workflows, halts, and a policy.

`harness` serves the pages with a person and a token for forms, as the real app's middleware does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from remit.core.answer import Answer, GivenReason, Halted, Resolved, Shown
from remit.core.approval import Approval, State, Verdict, Vote, approving, revoked, voted
from remit.core.call import Resolution
from remit.core.claim import Claim
from remit.core.decision import Effect
from remit.core.effect import Committed, Record
from remit.core.errors import BadRequest, Forbidden, NotFound, RemitError, Violation
from remit.core.journal import JournalRow, link
from remit.core.model import BudgetRoom, BudgetRow, Halt, Identity, Subject
from remit.listeners.console.pages import routes
from remit.listeners.pipeline import Overview
from remit.ports import Burn, Reservation, WorkflowState
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

EUR = 10**9
HOUR = 3600 * 10**9
NOW = 1_795_711_500_000_000_000  # 2026-11-26 16:45:00Z
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
CSRF = "token-of-the-form"


def person(id: str = "ana", *roles: str) -> Subject:
    """Somebody who looks; an operator unless told otherwise."""
    return Subject("person", id, "", roles or ("operator",), Identity("token", id))


def body(effect: str = "ALLOW", **more: Any) -> dict[str, Any]:
    """A decision's body (pep/body.py)."""
    return {
        "subject": {
            "type": "agent",
            "id": "support",
            "team": "cx",
            "roles": ["support"],
            "actor": "",
            "mode": "enforce",
            "isolation": "process",
            "identity": {"method": "mtls", "subject": "spiffe://example/support"},
        },
        "action": "api.call",
        "resource": {"type": "service", "id": "openai", "operation": "chat", "variant": "small", "fields": []},
        "context": {"purpose": "support", "attempt": 1, "inputs": [], "reason": "", "arguments": {}},
        "facts": {
            "owner": "ml-platform",
            "external": True,
            "region": "eu",
            "clearance": ["pii"],
            "resource_labels": ["untrusted"],
            "chain": [],
            "labels": {},
            "estimate": {"amount": "20000000", "units": {"input_token": 1200, "output_token": 400}},
            "budgets": [],
            "halts": [],
        },
        "effect": effect,
        "enforced": True,
        "reasons": [{"policy": "access.service", "code": "allowed"}],
        "detail": "",
        "obligations": [],
        "retryable": False,
        "revision": "r7-4f2c91",
        "currency": "EUR",
        "reserved": "0",
        "deadline": "0",
        **more,
    }


@dataclass
class OverviewFake:
    """Answers as the pipeline does: people with a role see, an operator halts, whatever else is refused."""

    currency: str = "EUR"
    rooms: list[BudgetRoom] = field(default_factory=list)
    burns: dict[tuple[str, str], list[Burn]] = field(default_factory=dict)
    rows: list[JournalRow] = field(default_factory=list)
    flows: list[WorkflowState] = field(default_factory=list)
    stopped: list[Halt] = field(default_factory=list)
    waiting: list[Approval] = field(default_factory=list)
    unreported: list[Reservation] = field(default_factory=list)
    claimed: list[Claim] = field(default_factory=list)
    cleared: frozenset[str] = frozenset()
    """The labels that people see arguments under."""
    failing: RemitError | None = None
    time: int = NOW

    def add(
        self,
        id: str,
        said: Mapping[str, Any] | bytes,
        *,
        kind: str = "decision",
        log: str = "sidecar-a",
        subject: str = "support",
        workflow: str = "",
        parent: str = "",
        ref: str = "",
        time: int = 0,
    ) -> JournalRow:
        """Append a record to a log."""
        before = [each for each in self.rows if each.log == log]
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.time += 1 if time == 0 else 0
        record = Record(kind, id, time or self.time, subject, workflow, parent, ref, raw, bytes(16))
        row = link(log=log, sequence=len(before) + 1, record=record, previous=before[-1].hash if before else bytes(32))
        self.rows.append(row)
        return row

    def erase(self, id: str) -> None:
        """Blank a body."""
        at = next(at for at, each in enumerate(self.rows) if each.record.id == id)
        blank = replace(self.rows[at].record, body=b"", salt=b"")
        self.rows[at] = replace(self.rows[at], record=blank, erased=True)

    async def budgets(self, subject: Subject, budget: str, /) -> Sequence[BudgetRoom]:
        self._answer()
        return [each for each in self.rooms if budget in ("", each.row.budget)]

    async def burned(self, subject: Subject, row: BudgetRow, /) -> Sequence[Burn]:
        self._answer()
        return self.burns.get((row.budget, row.scope), [])

    async def decision(self, subject: Subject, id: str, /) -> tuple[JournalRow, Sequence[JournalRow]]:
        self._answer()
        for row in self.rows:
            if row.record.id == id and (_reads(subject) or row.record.subject == subject.id):
                return row, [each for each in self.rows if each.record.ref == id]
        raise NotFound(f"no decision {id[:64]!r} that {subject.id} may see")

    async def trace(self, subject: Subject, workflow: str, limit: int, /) -> Sequence[JournalRow]:
        self._answer()
        if not _reads(subject) or all(each.id != workflow for each in self.flows):
            raise NotFound(f"no workflow {workflow[:64]!r} that {subject.id} may see")
        found = [each for each in self.rows if each.record.workflow == workflow]
        return sorted(found, key=lambda each: each.record.time)[:limit]

    async def workflows(self, subject: Subject, before: str, limit: int, /) -> Sequence[WorkflowState]:
        self._answer()
        self._must_read(subject, "see every workflow")
        newest = sorted(self.flows, key=lambda each: each.id, reverse=True)
        return [each for each in newest if not before or each.id < before][:limit]

    async def latest(self, subject: Subject, before: int, limit: int, /) -> Sequence[JournalRow]:
        self._answer()
        self._must_read(subject, "see every decision")
        newest = sorted(self.rows, key=lambda each: -each.record.time)
        return [
            each for each in newest if each.record.kind == "decision" and (not before or each.record.time < before)
        ][:limit]

    async def halts(self, subject: Subject, /) -> Sequence[Halt]:
        self._answer()
        return list(self.stopped)

    async def halt(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        self._answer()
        if scope == "agent" and value == "nobody":
            raise BadRequest(Violation("value", "agent 'nobody' to be in the catalogue"))
        answer = self._decide(subject, f"halt {scope} {value}")
        if not answer.permits:
            return Halted(answer)
        self.stopped.append(Halt(f"h_{len(self.stopped) + 1}", scope, value, subject.id, reason, self.time))
        return Halted(answer, (self.stopped[-1].id,))

    async def resume(self, subject: Subject, scope: str, value: str, reason: str, /) -> Halted:
        self._answer()
        lifted = [each for each in self.stopped if (each.scope, each.value) == (scope, value)]
        if not lifted:
            raise NotFound(f"nothing is halted for {scope} {value}".rstrip())
        answer = self._decide(subject, f"resume {scope} {value}")
        if not answer.permits:
            return Halted(answer)
        self.stopped = [each for each in self.stopped if each not in lifted]
        return Halted(answer, tuple(each.id for each in lifted))

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int, /
    ) -> Sequence[Shown]:
        self._answer()
        found = [
            self._shown(subject, each)
            for each in sorted(self.waiting, key=lambda each: each.id, reverse=True)
            if each.state in (states or (State.PENDING,)) and id in ("", each.id) and (not before or each.id < before)
        ]
        return [each for each in found if _reads(subject) or each.resolvable][:limit]

    async def resolve(self, subject: Subject, resolution: Resolution, /) -> Resolved:
        self._answer()
        at = next((at for at, each in enumerate(self.waiting) if each.id == resolution.approval), None)
        if at is None:
            raise NotFound(f"no approval {resolution.approval[:64]!r} that {subject.id} may see")
        approval, verdict = self.waiting[at], resolution.verdict
        may = not _asked(subject, approval).isdisjoint(subject.roles)
        code = "allowed" if may else "role_not_granted"
        if may and resolution.version not in (0, approval.version):
            may, code = False, "facts_changed"
        answer = self._decided(subject, may, code, f"{subject.id} says {verdict} to {approval.subject}")
        if may:
            vote = Vote("person", subject.id, verdict, resolution.reason, self.time, answer.id, approval.level)
            self.waiting[at] = approval = _moved(approval, vote, self.time)
        return Resolved(answer, self._shown(subject, approval))

    async def unresolved(self, subject: Subject, limit: int, /) -> Sequence[Reservation]:
        self._answer()
        return sorted(self.unreported, key=lambda each: each.deadline)[:limit]

    async def claims(self, subject: Subject, limit: int, /) -> Sequence[Claim]:
        self._answer()
        return sorted(self.claimed, key=lambda each: each.time)[:limit]

    def _shown(self, subject: Subject, approval: Approval) -> Shown:
        items = tuple(each if {*each.labels} <= self.cleared else replace(each, shown="") for each in approval.items)
        lives = approval.state in (State.PENDING, State.APPROVED)
        resolvable = lives and not _asked(subject, approval).isdisjoint(subject.roles)
        return Shown(replace(approval, items=items), resolvable)

    def _answer(self) -> None:
        if self.failing is not None:
            raise self.failing

    def _must_read(self, subject: Subject, what: str) -> None:
        if not _reads(subject):
            raise Forbidden(f"only people with the role auditor or operator {what}")

    def _decide(self, subject: Subject, what: str) -> Answer:
        allowed = "operator" in subject.roles
        message = f"{subject.id} may {what}" if allowed else f"{subject.id} may not {what}: it takes the role operator"
        return self._decided(subject, allowed, "allowed" if allowed else "role_not_granted", message)

    def _decided(self, subject: Subject, allowed: bool, code: str, message: str) -> Answer:
        effect = Effect.ALLOW if allowed else Effect.DENY
        said = body(effect.value, action="control.halt", reasons=[{"policy": "access.control", "code": code}])
        row = self.add(f"d_{len(self.rows):08x}", said, log="desk", subject=subject.id)
        reasons = (GivenReason("access.control", code, message),)
        return Answer(row.record.id, effect, reasons, True, False, Committed(row.log, row.sequence))


def _asked(subject: Subject, approval: Approval) -> frozenset[str]:
    """The roles that may resolve it; nobody may what they have asked for."""
    return frozenset() if approval.subject == subject.id else frozenset(approval.terms.roles)


def _moved(approval: Approval, vote: Vote, now: int) -> Approval:
    """As policy's table has it."""
    if approval.state is State.APPROVED:
        return revoked(approval, vote, now)
    outcome = {Verdict.DENY: "denied", Verdict.HOLD: "escalated"}.get(vote.verdict, "approved")
    after = replace(approval, votes=(*approval.votes, vote))
    if outcome == "approved" and len(approving(after)) < approval.terms.quorum:
        outcome = "pending"
    return voted(approval, vote, outcome, now)


def _reads(subject: Subject) -> bool:
    return not {"auditor", "operator"}.isdisjoint(subject.roles)


@dataclass(frozen=True)
class ConsoleFake:
    """What the pages stand on."""

    overview: Overview
    now: Callable[[], int]
    htmx: bytes | None = None


class _Gate:
    """Who looks, the token for forms, and the headers: what the app's own middleware gives."""

    def __init__(self, app: ASGIApp, subject: Callable[[], Subject | None]) -> None:
        self._app, self._subject = app, subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update(person=self._subject(), csrf=CSRF, session=None)

        async def headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", CSP.encode())]
            await send(message)

        await self._app(scope, receive, headed)


def harness(
    overview: OverviewFake,
    *,
    subject: Callable[[], Subject | None] = person,
    htmx: bytes | None = None,
    now: Callable[[], int] | None = None,
) -> ASGIApp:
    """The pages as an app."""
    return served_by(ConsoleFake(overview, now or (lambda: overview.time), htmx), subject)


def served_by(console: ConsoleFake, subject: Callable[[], Subject | None]) -> ASGIApp:
    """The pages of a console, as an app."""
    return _Gate(Starlette(routes=routes(console)), subject)
