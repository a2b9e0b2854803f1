"""A sidecar that keeps everything in memory, and misbehaves as a test says. A real gRPC server over a Unix socket."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from remit.v1 import oversight_pb2 as o
from remit.v1 import oversight_pb2_grpc, sidecar_pb2_grpc
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s

TOKENS = {"token-support": "support", "token-writer": "writer"}
TYPES = ("service", "dataset", "agent", "tool", "workflow", "budget", "scope", "decision", "object")
NANOS_PER_UNIT = 1000


@dataclass(slots=True)
class Ruling:
    """What is decided about a resource."""

    effect: r.Effect = r.EFFECT_ALLOW
    code: str = "allowed"
    message: str = "allowed by the fake"
    cheaper: str = ""
    retryable: bool = False
    obligations: tuple[str, ...] = ()


@dataclass(slots=True)
class Gate:
    """A call that hangs: `reached` is set when it does, and it goes on when `release` is."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Fault:
    """What happens to one call: before it has any effect, or after, when only the answer is still to be sent."""

    act: Callable[[aio.ServicerContext[Any, Any]], Any]
    after: bool


@dataclass(slots=True)
class Made:
    """A decision with the question that it answers."""

    agent: str
    context: r.Context
    decision: r.Decision
    request: Message


@dataclass(slots=True)
class Run:
    """A workflow; `state` is open or closed."""

    opener: str
    purposes: tuple[str, ...]
    state: str = "open"
    ended: str = ""


@dataclass(slots=True)
class Passport:
    """A passport and whether it was used."""

    sender: str
    receiver: str
    context: r.Context
    labels: tuple[str, ...]
    digest: str
    used: bool = False


@dataclass(slots=True)
class Table:
    """What every query and write is answered with; `failure` ends it after the rows. `whole` is false for an answer
    that breaks off. While `flow` is cleared, nothing follows the first batch; `left` counts readings that were left."""

    columns: tuple[tuple[str, str], ...] = (("id", "int8"), ("name", "text"))
    rows: tuple[tuple[s.Value, ...], ...] = (
        (s.Value(integer=1), s.Value(text="ana")),
        (s.Value(integer=2), s.Value()),
    )
    batches: int = 1
    failure: s.DataFailure = s.DATA_FAILURE_UNSPECIFIED
    truncated: bool = False
    whole: bool = True
    left: int = 0
    flow: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.flow.set()

    async def parts(self) -> AsyncIterator[s.QueryResponse]:
        """What follows the decision."""
        ended = False
        try:
            for number in range(self.batches):
                if number:
                    await self.flow.wait()
                yield s.QueryResponse(rows=s.QueryRows(rows=self.written))
            ended = True
        finally:
            self.left += not ended
        if self.whole:
            sent = self.batches * len(self.rows)
            message = "the database said no" if self.failure else ""
            end = s.QueryEnd(rows=sent, truncated=self.truncated, failure=self.failure, message=message)
            yield s.QueryResponse(end=end)

    @property
    def named(self) -> list[s.ResultColumn]:
        """The columns as sent."""
        return [s.ResultColumn(name=name, type=type) for name, type in self.columns]

    @property
    def written(self) -> list[s.Row]:
        """The rows as sent."""
        return [s.Row(values=row) for row in self.rows]


class SidecarFake(sidecar_pb2_grpc.SidecarServicer, oversight_pb2_grpc.OversightServicer):
    """Keeps decisions, reservations, reports, labels, workflows and passports; allows all but what `rule` says.

    What is held opens an approval for each agent and resource, which any other agent may resolve, with as many who
    approve as `quorum`. `waiting` counts calls that wait, `watching` those that watch.
    """

    def __init__(self) -> None:
        self.rulings: dict[str, Ruling] = {}
        self.observed: set[str] = set()
        self.labels: dict[str, set[str]] = {}
        self.reads: dict[str, set[str]] = {}
        self.clearance: dict[str, set[str]] = {}
        self.made: dict[str, Made] = {}
        self.reservations: dict[str, str] = {}
        self.reports: list[s.ReportRequest] = []
        self.records: list[s.RecordRequest] = []
        self.runs: dict[str, Run] = {}
        self.passports: dict[str, Passport] = {}
        self.calls: list[str] = []
        self.seconds: list[float] = []
        self.table = Table()
        self.queries: list[s.QueryRequest] = []
        self.writes: list[s.ExecuteRequest] = []
        self.approvals: dict[str, o.Approval] = {}
        self.quorum = 1
        self.waiting = 0
        self.watching = 0
        self.waits: list[float] = []
        self.claims: dict[tuple[str, str, str], tuple[str, int]] = {}
        self.claimed: list[s.ClaimRequest] = []
        self.released: list[s.ReleaseRequest] = []
        self.tokens = 0
        self.changed = asyncio.Condition()
        self.address = ""
        self._kept: dict[tuple[str, str, str], tuple[bytes, Message]] = {}
        self._faults: dict[str, list[Fault]] = {}
        self._raw: dict[str, Message] = {}
        self._server: aio.Server | None = None

    # What a test says.

    def rule(self, resource: str, **ruling: Any) -> None:
        """Decide so about "type:id" from now on."""
        self.rulings[resource] = Ruling(**ruling)

    def deny(self, resource: str, code: str = "default_deny", **more: Any) -> None:
        """Deny a resource."""
        self.rule(resource, effect=r.EFFECT_DENY, code=code, message=f"denied: {code}", **more)

    def hold(self, resource: str, **more: Any) -> None:
        """Hold a resource."""
        self.rule(resource, effect=r.EFFECT_HOLD, code="approval_required", message="held", **more)

    async def move(self, id: str, state: str, **changed: Any) -> None:
        """Change an approval, as somebody elsewhere would."""
        approval = self.approvals[id]
        approval.MergeFrom(o.Approval(**changed))
        approval.state = r.ApprovalState.Value(f"APPROVAL_STATE_{state.upper()}")
        approval.version += 1
        async with self.changed:
            self.changed.notify_all()

    def hang(self, rpc: str, *, after: bool = False) -> Gate:
        """The next call hangs until the gate is released."""
        gate = Gate()

        async def wait(_: object) -> None:
            gate.reached.set()
            await gate.release.wait()

        self._faults.setdefault(rpc, []).append(Fault(wait, after))
        return gate

    def drop(self, rpc: str, *, times: int = 1, after: bool = True) -> None:
        """The next calls are carried out, and their answers lost."""
        self.fail(rpc, grpc.StatusCode.UNAVAILABLE, "connection lost", times=times, after=after)

    def fail(self, rpc: str, code: grpc.StatusCode, text: str = "", *, times: int = 1, after: bool = False) -> None:
        """The next calls end with a gRPC status."""

        async def abort(context: aio.ServicerContext[Any, Any]) -> None:
            await context.abort(code, text)

        self._faults.setdefault(rpc, []).extend([Fault(abort, after)] * times)

    def say(self, rpc: str, response: Message) -> None:
        """Every call is answered so from now on."""
        self._raw[rpc] = response

    # What a test asks.

    @property
    def decisions(self) -> list[r.Decision]:
        """All decisions, in order."""
        return [each.decision for each in self.made.values()]

    def asked(self, number: int = -1) -> s.AuthorizeRequest:
        """A question that was asked with Authorize, by order."""
        return [each.request for each in self.made.values() if isinstance(each.request, s.AuthorizeRequest)][number]

    @property
    def outcomes(self) -> list[str]:
        """How the reported actions ended, in order."""
        return [r.Outcome.Name(each.outcome).removeprefix("OUTCOME_").lower() for each in self.reports]

    @property
    def held(self) -> list[str]:
        """Decisions whose reservation nobody has ended."""
        return [id for id, state in self.reservations.items() if state == "held"]

    # The server.

    async def start(self, address: str, credentials: grpc.ServerCredentials | None = None) -> None:
        """Serve on an address; a port 0 becomes a free one."""
        self._server = aio.server()
        sidecar_pb2_grpc.add_SidecarServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        oversight_pb2_grpc.add_OversightServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        await self._server.start()
        self.address = f"{address.removesuffix(':0')}:{port}" if address.endswith(":0") else address

    async def kill(self) -> None:
        """Stop at once; calls under way are lost."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    # The RPCs.

    async def Authorize(self, request: s.AuthorizeRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            if request.resource.type not in TYPES:
                await _invalid(context, "resource.type", f"one of {', '.join(TYPES)}")
            await _check_arguments(request.context.arguments, context)
            named = f"{request.resource.type}:{request.resource.id}"
            decision = await self._waited(agent, named, request)
            if decision.effect == r.EFFECT_ALLOW:
                self.labels.setdefault(agent, set()).update(self.reads.get(named, ()))
            return s.AuthorizeResponse(decision=decision)

        return await self._call("Authorize", request, context, request.key, answer)

    async def Report(self, request: s.ReportRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            made = self.made.get(request.decision)
            if made is None or made.agent != agent:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.decision!r} is not a decision of {agent}")
            earlier = [each for each in self.reports if each.decision == request.decision]
            if earlier and earlier[-1] != request:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "already reported otherwise")
            if request.outcome == r.OUTCOME_PROGRESS:
                return s.ReportResponse(record="rep", state=r.RESERVATION_STATE_HELD)
            if not earlier:
                self.reports.append(request)
            void = request.outcome == r.OUTCOME_NOT_SENT
            if request.decision in self.reservations:
                self.reservations[request.decision] = "voided" if void else "settled"
            state = r.RESERVATION_STATE_VOIDED if void else r.RESERVATION_STATE_SETTLED
            spent = 0 if void else sum(each.quantity for each in request.usage)
            return s.ReportResponse(record="rep", state=state, cost=_money(spent), replayed=bool(earlier))

        return await self._call("Report", request, context, "", answer)

    async def OpenWorkflow(self, request: s.OpenWorkflowRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            about = r.Context(reason=request.reason, trace=request.trace)
            decision = self._decide(agent, "workflow:new", about, request)
            if not _permits(decision):
                return s.OpenWorkflowResponse(decision=decision)
            id = f"w{len(self.runs) + 1}"
            self.runs[id] = Run(agent, tuple(request.purposes))
            return s.OpenWorkflowResponse(decision=decision, workflow=id, context=f"ctx.{id}.signed")

        return await self._call("OpenWorkflow", request, context, request.key, answer)

    async def CloseWorkflow(self, request: s.CloseWorkflowRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            run = self._run(request.workflow)
            if run is None or run.state != "open":
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the workflow is not open")
            else:
                run.state, run.ended = "closed", request.reason
            return s.CloseWorkflowResponse(record="closed", log="fake", sequence=1)

        return await self._call("CloseWorkflow", request, context, "", answer)

    async def Handoff(self, request: s.HandoffRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            decision = self._decide(agent, f"agent:{request.agent}", request.context, request)
            if not _permits(decision):
                return s.HandoffResponse(decision=decision)
            id = f"passport.{len(self.passports)}.signed"
            labels = tuple(sorted(self.labels.get(agent, ())))
            self.passports[id] = Passport(agent, request.agent, request.context, labels, request.digest)
            return s.HandoffResponse(decision=decision, passport=id)

        return await self._call("Handoff", request, context, request.key, answer)

    async def Accept(self, request: s.AcceptRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            passport = self.passports.get(request.passport)
            if passport is None or passport.receiver != agent or passport.digest not in ("", request.digest):
                return s.AcceptResponse(decision=self._refuse(agent, request, "passport_invalid"))
            if passport.used:
                return s.AcceptResponse(decision=self._refuse(agent, request, "passport_used"))
            if not set(passport.labels) <= self.clearance.get(agent, set(passport.labels)):
                return s.AcceptResponse(decision=self._refuse(agent, request, "flow_label_exceeds_clearance"))
            passport.used = True
            self.labels.setdefault(agent, set()).update(passport.labels)
            decision = self._decide(agent, "agent:self", r.Context(workflow=passport.context.workflow), request)
            return s.AcceptResponse(
                decision=decision,
                workflow=passport.context.workflow,
                labels=passport.labels,
                agent=passport.sender,
            )

        return await self._call("Accept", request, context, "", answer)

    async def Record(self, request: s.RecordRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            await _check_arguments(request.context.arguments, context)
            self.records.append(request)
            return s.RecordResponse(decision=self._decide(agent, "decision:own", request.context, request))

        return await self._call("Record", request, context, request.key, answer)

    async def Query(self, request: s.QueryRequest, context: Any) -> AsyncIterator[s.QueryResponse]:
        async def answer(agent: str) -> Message:
            self.queries.append(request)
            decision = self._decide(agent, f"dataset:{request.dataset}", request.context, request)
            if not _permits(decision):
                return s.QueryStart(decision=decision)
            masked = [s.MaskedColumn(table="customers", column="email", mask="partial")]
            return s.QueryStart(decision=decision, columns=self.table.named, labels=["pii"], masked=masked)

        start = await self._call("Query", request, context, "", answer)
        if not isinstance(start, s.QueryStart):
            yield start  # type: ignore[misc]
            return
        yield s.QueryResponse(start=start)
        if _permits(start.decision):
            async with aclosing(self.table.parts()) as parts:
                async for part in parts:
                    yield part

    async def Execute(self, request: s.ExecuteRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            self.writes.append(request)
            decision = self._decide(agent, f"dataset:{request.dataset}", request.context, request)
            if not _permits(decision):
                return s.ExecuteResponse(decision=decision)
            if self.table.failure:
                return s.ExecuteResponse(decision=decision, failure=self.table.failure, message="the database said no")
            rows, columns = self.table.written, self.table.named
            return s.ExecuteResponse(decision=decision, affected=2, columns=columns, rows=rows, labels=["pii"])

        response = await self._call("Execute", request, context, request.key, answer)
        if isinstance(response, s.ExecuteResponse):
            response.replayed = response.decision.replayed
        return response

    async def Claim(self, request: s.ClaimRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            self.claimed.append(request)
            thing = (request.resource.type, request.resource.id, request.object)
            holder, token = self.claims.get(thing, ("", 0))
            if holder not in ("", agent):
                return s.ClaimResponse(decision=self._refuse(agent, request, "claim_held"))
            decision = self._decide(agent, ":".join(thing[:2]), request.context, request)
            if decision.effect != r.EFFECT_ALLOW:
                return s.ClaimResponse(decision=decision)
            if not holder:
                self.tokens = token = self.tokens + 1
            self.claims[thing] = (agent, token)
            response = s.ClaimResponse(decision=decision, token=token)
            response.expire_time.FromSeconds(1_800_000_000)
            return response

        return await self._call("Claim", request, context, request.key, answer)

    async def Release(self, request: s.ReleaseRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            thing = (request.resource.type, request.resource.id, request.object)
            if self.claims.get(thing) != (agent, request.token):
                await context.abort(grpc.StatusCode.NOT_FOUND, "it is not held by this token")
            self.released.append(request)
            self.claims[thing] = ("", request.token)
            return s.ReleaseResponse(record="rel")

        return await self._call("Release", request, context, "", answer)

    async def ResolveApproval(self, request: o.ResolveApprovalRequest, context: Any) -> Message:
        async def answer(agent: str) -> Message:
            approval = self.approvals.get(request.approval)
            if approval is None or approval.state != r.APPROVAL_STATE_PENDING:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is not pending")
                raise AssertionError
            if not request.reason.strip():
                await _invalid(context, "reason", "a reason")
            if request.version not in (0, approval.version):
                refused = self._refuse(agent, request, "facts_changed")
                return o.ResolveApprovalResponse(decision=refused, approval=approval)
            vote = o.ApprovalVote(kind="agent", by=agent, verdict=request.verdict, reason=request.reason)
            yes = {vote.by for vote in (*approval.votes, vote) if vote.verdict == r.APPROVAL_VERDICT_APPROVE}
            state = "approved" if len(yes) >= self.quorum else "pending"
            if request.verdict == r.APPROVAL_VERDICT_DENY:
                state = "denied"
            await self.move(approval.id, state, votes=[vote], alternative=request.alternative)
            decision = self._decide(agent, "approval:any", r.Context(), request)
            return o.ResolveApprovalResponse(decision=decision, approval=approval)

        return await self._call("ResolveApproval", request, context, "", answer)

    async def WatchApprovals(
        self, request: o.WatchApprovalsRequest, context: Any
    ) -> AsyncIterator[o.WatchApprovalsResponse]:
        async def answer(agent: str) -> Message:
            return s.AuthorizeResponse(decision=r.Decision(id=agent))

        found = await self._call("WatchApprovals", request, context, "", answer)
        if isinstance(found, o.WatchApprovalsResponse):
            yield found
            return
        agent, told, caught_up = found.decision.id, dict[str, int](), False  # type: ignore[attr-defined]
        self.watching += 1
        try:
            while True:
                for approval in [each for each in self.approvals.values() if told.get(each.id) != each.version]:
                    told[approval.id] = approval.version
                    shown = o.Approval()
                    shown.CopyFrom(approval)
                    shown.resolvable = agent != approval.subject and approval.state == r.APPROVAL_STATE_PENDING
                    yield o.WatchApprovalsResponse(approval=shown)
                if not caught_up:
                    caught_up = True
                    yield o.WatchApprovalsResponse()
                async with self.changed:
                    await self.changed.wait_for(
                        lambda: any(told.get(each.id) != each.version for each in self.approvals.values())
                    )
        finally:
            self.watching -= 1

    # Inside.

    async def _waited(self, agent: str, named: str, request: s.AuthorizeRequest) -> r.Decision:
        cost = sum(each.quantity for each in request.usage)
        decision = self._decide(agent, named, request.context, request, cost=cost)
        if decision.effect != r.EFFECT_HOLD:
            return decision
        id = f"a-{agent}-{named}"
        if id not in self.approvals:
            self.approvals[id] = _approval(id, agent, request, decision)
            async with self.changed:
                self.changed.notify_all()
        approval = self.approvals[id]
        if wait := request.wait.ToNanoseconds() / 10**9:
            self.waits.append(wait)
            self.waiting += 1
            try:
                async with self.changed:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self.changed.wait_for(lambda: approval.state != r.APPROVAL_STATE_PENDING)
            finally:
                self.waiting -= 1
        offered = bool(approval.alternative)
        if approval.state == r.APPROVAL_STATE_APPROVED or (offered and _accepts(request, approval.alternative)):
            ruling, self.rulings[named] = self.rulings[named], Ruling(obligations=self.rulings[named].obligations)
            decision = self._decide(agent, named, request.context, request, cost=cost)
            self.rulings[named] = ruling
            return decision
        if approval.state != r.APPROVAL_STATE_PENDING:
            decision = self._refuse(agent, request, "alternative_offered" if offered else "approval_denied")
            decision.alternative = _changed(request, approval.alternative) if offered else b""
        decision.approvals.add(
            id=id, policy="fake", code="approval_required", state=approval.state, roles=["approver"], supervisor="lead"
        )
        return decision

    async def _call(self, rpc: str, request: Message, context: Any, key: str, answer: Callable[[str], Any]) -> Message:
        self.calls.append(rpc)
        self.seconds.append(context.time_remaining() or 0)
        agent = TOKENS.get(dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer "))
        if agent is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no agent has this credential")
            raise AssertionError
        faults = self._faults.get(rpc, [])
        fault = faults.pop(0) if faults else None
        if fault is not None and not fault.after:
            await fault.act(context)
        response = self._raw.get(rpc) or await self._once(agent, rpc, key, request, answer)
        if fault is not None and fault.after:
            await fault.act(context)
        return response

    async def _once(self, agent: str, rpc: str, key: str, request: Message, answer: Callable[[str], Any]) -> Message:
        kept = self._kept.get((agent, rpc, key)) if key else None
        digest = _digest(request)
        if kept is None:
            response: Message = await answer(agent)
            held = isinstance(response, s.AuthorizeResponse) and response.decision.effect == r.EFFECT_HOLD
            if key and not held:
                self._kept[agent, rpc, key] = digest, response
            return response
        if kept[0] != digest:
            return type(kept[1])(decision=self._refuse(agent, request, "idempotency_mismatch"))
        again = type(kept[1])()
        again.CopyFrom(kept[1])
        again.decision.replayed = True  # type: ignore[attr-defined]
        return again

    def _decide(self, agent: str, named: str, context: r.Context, request: Message, cost: int = 0) -> r.Decision:
        problem = self._problem(context)
        if problem:
            return self._refuse(agent, request, problem, context)
        ruling = self.rulings.get(named, Ruling())
        decision = r.Decision(
            id=f"d{len(self.made) + 1}",
            effect=ruling.effect,
            reasons=[r.PolicyReason(policy="fake", code=ruling.code, message=ruling.message)],
            obligations=[r.Obligation(id=each, properties=b'{"of": "fake"}') for each in ruling.obligations],
            enforced=agent not in self.observed,
            retryable=ruling.retryable,
            message=ruling.message,
            cheaper=ruling.cheaper,
            policy_revision="fake-1",
            log="fake",
            sequence=len(self.made) + 1,
        )
        if cost and _permits(decision):
            decision.reservation.amount.CopyFrom(_money(cost))
            decision.reservation.expire_time.FromSeconds(1_800_000_000)
            self.reservations[decision.id] = "held"
        self.made[decision.id] = Made(agent, context, decision, request)
        return decision

    def _problem(self, context: r.Context) -> str:
        """The reason why a context does not hold, "" where it does."""
        run = self._run(context.workflow)
        if context.workflow and (run is None or run.state != "open"):
            return "workflow_invalid"
        if run and context.purpose and context.purpose not in run.purposes:
            return "purpose_not_granted"
        parent = self.made.get(context.parent)
        if context.parent and (parent is None or parent.context.workflow != context.workflow):
            return "context_invalid"
        return ""

    def _refuse(self, agent: str, request: Message, code: str, context: r.Context | None = None) -> r.Decision:
        reason = r.PolicyReason(policy="remit", code=code, message=code)
        decision = r.Decision(
            id=f"d{len(self.made) + 1}", effect=r.EFFECT_DENY, reasons=[reason], enforced=True, message=code
        )
        self.made[decision.id] = Made(agent, context or r.Context(), decision, request)
        return decision

    def _run(self, named: str) -> Run | None:
        parts = named.split(".")
        return self.runs.get(parts[1]) if len(parts) == 3 else self.runs.get(named)


def _digest(request: Message) -> bytes:
    bare = type(request)()
    bare.CopyFrom(request)
    if isinstance(bare, s.AuthorizeRequest):
        bare.ClearField("wait")
    return bare.SerializeToString(deterministic=True)


def _approval(id: str, agent: str, request: s.AuthorizeRequest, decision: r.Decision) -> o.Approval:
    shown = {"arguments": json.loads(request.context.arguments or b"{}")}
    item = o.ApprovalItem(decision=decision.id, amount=_money(7), shown=json.dumps(shown).encode(), asked=1)
    item.labels.append("pii")
    approval = o.Approval(
        id=id,
        state=r.APPROVAL_STATE_PENDING,
        version=1,
        subject=agent,
        team="cx",
        workflow=request.context.workflow,
        purpose=request.context.purpose,
        why=r.PolicyReason(policy="fake", code="approval_required", message="held"),
        action=request.action,
        resource=request.resource,
        reason=request.context.reason,
        items=[item],
        bind="exact",
        uses=1,
        ttl=3600,
        quorum=1,
        roles=["approver"],
        labels=["pii"],
        supervisor="lead",
    )
    approval.expire_time.FromSeconds(1_800_000_000)
    return approval


def _changed(request: s.AuthorizeRequest, patch: bytes) -> bytes:
    """The request with the patch laid over it, as far as tests need."""
    changes = json.loads(patch)
    resource = {name: getattr(request.resource, name) for name in ("type", "id", "operation", "variant")}
    arguments = {**json.loads(request.context.arguments or b"{}"), **changes.get("arguments", {})}
    return json.dumps(
        {
            "resource": {**resource, "fields": [], **changes.get("resource", {})},
            "arguments": {name: value for name, value in arguments.items() if value is not None},
        }
    ).encode()


def _accepts(request: s.AuthorizeRequest, patch: bytes) -> bool:
    as_is = _changed(request, b"{}")
    return json.loads(as_is) == json.loads(_changed(request, patch))


def _permits(decision: r.Decision) -> bool:
    return decision.effect == r.EFFECT_ALLOW or not decision.enforced


def _money(units: int) -> r.Money:
    return r.Money(currency="EUR", units=0, nanos=units * NANOS_PER_UNIT)


async def _check_arguments(text: bytes, context: Any) -> None:
    try:
        json.loads(text or b"{}", parse_constant=_no_constant)
    except ValueError as error:
        await _invalid(context, "context.arguments", f"strict JSON ({error})")


async def _invalid(context: Any, field: str, expected: str) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=expected)
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=f"{field}: {expected}")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    await context.abort(
        grpc.StatusCode.INVALID_ARGUMENT,
        status.message,
        trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),),
    )


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


@contextmanager
def socket_address() -> Iterator[str]:
    """An address for a Unix socket; short, because the system allows 108 bytes."""
    folder = tempfile.mkdtemp(prefix="remit-")
    try:
        yield f"unix:{Path(folder) / 's'}"
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def sidecar() -> AsyncIterator[SidecarFake]:
    """A running fake, in this event loop."""
    with socket_address() as address:
        fake = SidecarFake()
        await fake.start(address)
        try:
            yield fake
        finally:
            await fake.kill()


@contextmanager
def sidecar_in_thread() -> Iterator[SidecarFake]:
    """A running fake, in an event loop and a thread of its own."""
    fake, ready, loops = SidecarFake(), Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve(address: str) -> None:
        end = asyncio.Event()
        await fake.start(address)
        loops.append((asyncio.get_running_loop(), end))
        ready.set()
        await end.wait()
        await fake.kill()

    with socket_address() as address:
        thread = Thread(target=lambda: asyncio.run(serve(address)), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield fake
        finally:
            loop, end = loops[0]
            loop.call_soon_threadsafe(end.set)
            thread.join(10)
