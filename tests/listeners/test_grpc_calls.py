"""Calls over the wire: what is asked reaches the pipeline, what it says comes back, and no call is lost halfway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from fakes.loop import in_loop, until
from fakes.pep_fake import SECOND, START
from google.rpc import error_details_pb2
from grpc import StatusCode
from listeners.serving import ANA, OPERATOR, SUPPORT, Caller, details, fields, question, reason, serving
from remit.core.errors import IllegalTransition, PolicyFailure, StoreUnavailable
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.listeners.grpc_limits import Limits
from remit.v1 import audit_pb2, oversight_pb2, reason_pb2, resources_pb2, sidecar_pb2


@in_loop
async def test_a_question_reaches_the_pipeline_as_it_was_asked_and_its_answer_comes_back_whole() -> None:
    """Every field of the question is read, every field of the answer is written."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.reserves = 2 * SECOND + SECOND // 2
        served.pipeline.obligations = (Obligation("mask", {"columns": ["email"]}),)
        served.pipeline.cheaper = "tiny"

        decision = await caller.authorize(
            question(
                context=resources_pb2.Context(
                    workflow="a.b-c.d_e",
                    purpose="support",
                    reason="why\nnot",
                    parent="d_0",
                    actor="node-1",
                    arguments=b'{"n": 9007199254740993}',
                    inputs=["d_1"],
                    trace="0af7651916cd43dd8448eb211c80319c",
                    attempt=2,
                ),
                usage=[resources_pb2.Usage(unit="input_token", quantity=7)],
                fulfils=["mask"],
                key="k 1",
                agent="support",
            )
        )

        subject, call = served.pipeline.asked[0]
        assert (subject.type, subject.id, subject.identity.method) == ("agent", "support", "token")
        assert (call.action, call.resource.type, call.resource.id) == ("api.call", "service", "openai")
        assert call.claimed.workflow == "a.b-c.d_e"
        assert call.claimed.reason == "why\nnot"
        assert call.claimed.arguments == {"n": 9007199254740993}
        assert (call.claimed.parent, call.claimed.inputs, call.claimed.attempt) == ("d_0", ("d_1",), 2)
        assert (call.usage, call.fulfils, call.key) == ({"input_token": 7}, {"mask"}, "k 1")
        assert decision.effect == resources_pb2.EFFECT_ALLOW
        assert decision.enforced
        assert decision.reasons[0].reason == reason_pb2.REASON_ALLOWED
        assert decision.obligations[0].properties == b'{"columns":["email"]}'
        assert (decision.reservation.amount.units, decision.reservation.amount.nanos) == (2, 500_000_000)
        assert decision.reservation.expire_time.ToNanoseconds() == START + 60 * SECOND
        assert (decision.log, decision.sequence, decision.cheaper) == ("local", 1, "tiny")
        assert served.seen.stages == ["identify"]


@in_loop
async def test_a_refusal_is_a_normal_answer() -> None:
    """DENY comes with its reasons, and not as an error."""
    async with serving() as served, served.caller() as caller:
        decision = await caller.authorize(question(resource=resources_pb2.Resource(type="service", id="nope")))

        assert decision.effect == resources_pb2.EFFECT_DENY
        assert decision.reasons[0].reason == reason_pb2.REASON_DEFAULT_DENY
        assert decision.message == "no rule allows it"


@in_loop
async def test_a_workflow_is_opened_and_closed_once() -> None:
    """Open, close, and close again, which is refused as an illegal transition."""
    async with serving() as served, served.caller() as caller:
        opened = await caller.sidecar.OpenWorkflow(
            sidecar_pb2.OpenWorkflowRequest(purposes=["support"]), metadata=caller.metadata
        )
        close = sidecar_pb2.CloseWorkflowRequest(workflow=opened.context)
        closed = await caller.sidecar.CloseWorkflow(close, metadata=caller.metadata)

        assert (opened.workflow, opened.context) == ("w_1", "w_1.signed")
        assert opened.expire_time.ToNanoseconds() == START + 3600 * SECOND, "one hour where no ttl is said"
        assert (closed.log, closed.sequence) == ("local", 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.sidecar.CloseWorkflow(close, metadata=caller.metadata)
        assert caught.value.code() is StatusCode.FAILED_PRECONDITION
        assert reason(caught.value) == "ILLEGAL_TRANSITION"


@in_loop
async def test_a_report_tells_where_the_reservation_stands() -> None:
    """Money, state and the claimed mark come back; an unknown decision is not found."""
    async with serving() as served, served.caller() as caller:
        decision = await caller.authorize()
        report = sidecar_pb2.ReportRequest(decision=decision.id, outcome=resources_pb2.OUTCOME_SUCCEEDED)
        response = await caller.sidecar.Report(report, metadata=caller.metadata)

        assert response.state == resources_pb2.RESERVATION_STATE_SETTLED
        assert (response.cost.units, response.cost.nanos, response.overrun.nanos) == (1, 500_000_000, 1)
        assert response.claimed
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            report.decision = "d_99"
            await caller.sidecar.Report(report, metadata=caller.metadata)
        assert caught.value.code() is StatusCode.NOT_FOUND


@in_loop
async def test_a_message_passes_with_its_passport() -> None:
    """Handoff gives a passport, and the receiver accepts it once."""
    async with serving() as served, served.caller() as sender, served.caller("token-of-writer") as receiver:
        handed = await sender.sidecar.Handoff(
            sidecar_pb2.HandoffRequest(agent="writer", digest="ab" * 32), metadata=sender.metadata
        )
        accept = sidecar_pb2.AcceptRequest(passport=handed.passport, digest="ab" * 32)
        first = await receiver.sidecar.Accept(accept, metadata=receiver.metadata)
        second = await receiver.sidecar.Accept(accept, metadata=receiver.metadata)

        assert (first.workflow, list(first.labels), first.agent) == ("w_1.signed", ["pii"], "analysis")
        assert second.decision.effect == resources_pb2.EFFECT_DENY


@in_loop
async def test_what_an_agent_decided_is_recorded() -> None:
    """Record asks for decision.make, with the context that was given."""
    async with serving() as served, served.caller() as caller:
        request = sidecar_pb2.RecordRequest(summary="chose B", context=resources_pb2.Context(reason="cheaper"))
        response = await caller.sidecar.Record(request, metadata=caller.metadata)

        _, call = served.pipeline.asked[0]
        assert (call.rpc, call.action, call.resource.type) == ("Record", "decision.make", "decision")
        assert call.claimed.reason == "cheaper"
        assert response.decision.effect == resources_pb2.EFFECT_ALLOW


@in_loop
async def test_people_stop_resume_and_adjust() -> None:
    """Oversight reaches the pipeline as the person that was proved."""
    async with serving() as served, served.caller(OPERATOR) as caller:
        scope = {"scope": resources_pb2.SCOPE_AGENT, "value": "support", "reason": "odd"}
        halted = await caller.oversight.Halt(oversight_pb2.HaltRequest(**scope), metadata=caller.metadata)
        resumed = await caller.oversight.Resume(oversight_pb2.ResumeRequest(**scope), metadata=caller.metadata)
        delta = resources_pb2.Money(currency="EUR", units=-5, nanos=-500_000_000)
        adjusted = await caller.oversight.AdjustBudget(
            oversight_pb2.AdjustBudgetRequest(budget="cx-month", delta=delta, reason="less"), metadata=caller.metadata
        )
        listed = await caller.oversight.ListBudgets(oversight_pb2.ListBudgetsRequest(), metadata=caller.metadata)

        assert halted.halt == "h_1"
        assert list(resumed.halts) == ["h_1"]
        assert (adjusted.budget.limit.units, adjusted.budget.limit.nanos) == (94, 500_000_000)
        assert listed.budgets[0].window_end.seconds == START // SECOND + 3600


@in_loop
async def test_budgets_come_page_by_page() -> None:
    """Each page begins after the last of the one before; all of them once, in order."""
    async with serving() as served:
        served.pipeline.scopes = tuple(f"run{n:03d}" for n in range(7))
        async with served.caller(ANA) as caller:
            request, pages = oversight_pb2.ListBudgetsRequest(limit=3), []
            while True:
                page = await caller.oversight.ListBudgets(request, metadata=caller.metadata)
                pages.append([each.scope for each in page.budgets])
                if not page.truncated:
                    break
                request.after.id, request.after.scope = page.budgets[-1].id, page.budgets[-1].scope

        assert [len(each) for each in pages] == [3, 3, 1]
        assert [each for page in pages for each in page] == list(served.pipeline.scopes)


@in_loop
async def test_auditors_ask_who_saw_a_subject() -> None:
    """Each sighting with its decision and how certain it is; agents are refused."""
    async with serving() as served:
        async with served.caller(ANA) as caller:
            for _ in range(3):
                await caller.authorize()
            about = {"dataset": "crm", "table": "customers", "key": "4711"}
            part = await caller.audit.Who(audit_pb2.WhoRequest(**about, limit=2), metadata=caller.metadata)
            whole = await caller.audit.Who(audit_pb2.WhoRequest(**about), metadata=caller.metadata)
        async with served.caller(SUPPORT) as caller:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.audit.Who(audit_pb2.WhoRequest(**about), metadata=caller.metadata)

        assert served.pipeline.looked_up == [("crm", "customers", "4711")] * 2
        assert ([each.decision.id for each in part.sightings], part.truncated) == (["d_3", "d_2"], True)
        assert [audit_pb2.Sight.Name(each.sight) for each in whole.sightings] == [
            "SIGHT_RETURNED",
            "SIGHT_REACHED",
            "SIGHT_MANY",
        ]
        assert not whole.truncated
        assert caught.value.code() is StatusCode.PERMISSION_DENIED


@in_loop
async def test_auditors_read_and_verify() -> None:
    """Audit shows a decision, a trace that tells whether it is whole, and the journal's check."""
    async with serving() as served, served.caller(ANA) as caller:
        for _ in range(3):
            await caller.authorize()
        found = await caller.audit.GetDecision(audit_pb2.GetDecisionRequest(decision="d_1"), metadata=caller.metadata)
        part = await caller.audit.Trace(audit_pb2.TraceRequest(workflow="w_1", limit=2), metadata=caller.metadata)
        whole = await caller.audit.Trace(audit_pb2.TraceRequest(workflow="w_1", limit=3), metadata=caller.metadata)
        verified = await caller.audit.Verify(audit_pb2.VerifyRequest(), metadata=caller.metadata)

        assert (found.record.id, found.record.body, found.record.hash) == ("d_1", b'{"a":1}', "00" * 32)
        assert (len(part.records), part.truncated) == (2, True)
        assert (len(whole.records), whole.truncated) == (3, False)
        assert (verified.ok, verified.records, verified.erased) == (True, 3, 1)


@in_loop
async def test_an_agent_may_not_verify() -> None:
    """Forbidden is PERMISSION_DENIED: known, and not for it."""
    async with serving() as served, served.caller() as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.audit.Verify(audit_pb2.VerifyRequest(), metadata=caller.metadata)
        assert caught.value.code() is StatusCode.PERMISSION_DENIED


@in_loop
async def test_the_same_key_gives_the_same_answer_and_another_request_under_it_is_told_apart() -> None:
    """The digest ignores the key and the attempt, and nothing else."""
    async with serving() as served, served.caller() as caller:
        first = await caller.authorize(question(key="k"))
        again = await caller.authorize(question(key="k", context=resources_pb2.Context(attempt=2)))
        other = await caller.authorize(question(key="k", context=resources_pb2.Context(reason="another")))

        # An empty context and none are written differently, so the first attempt must have had one.
        assert first.id
        assert again.reasons[0].code == "idempotency_mismatch"
        assert other.reasons[0].code == "idempotency_mismatch"
        second = await caller.authorize(question(key="j", context=resources_pb2.Context(attempt=1)))
        repeated = await caller.authorize(question(key="j", context=resources_pb2.Context(attempt=2)))
        assert repeated.replayed
        assert repeated.id == second.id


OURS: list[tuple[Exception, StatusCode, str]] = [
    (StoreUnavailable("/secret/path: disk full"), StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (PolicyFailure(Reason.PDP_UNAVAILABLE, "opa.sock"), StatusCode.UNAVAILABLE, "PDP_UNAVAILABLE"),
    (IllegalTransition("closed"), StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
    (ValueError("secret-canary"), StatusCode.INTERNAL, "INTERNAL"),
]


@pytest.mark.parametrize(("failure", "code", "why"), OURS, ids=[each[2] for each in OURS])
def test_a_failure_is_told_by_its_kind_and_never_by_what_is_inside(
    failure: Exception, code: StatusCode, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind has its status; what retrying can cure says when; no detail leaks; the next call works."""

    @in_loop
    async def run() -> None:
        async with serving() as served, served.caller() as caller:
            served.pipeline.failure = failure
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.authorize()
            assert caught.value.code() is code
            assert reason(caught.value) == why
            retry = details(caught.value, error_details_pb2.RetryInfo)
            assert (retry is not None) is (code is StatusCode.UNAVAILABLE)
            assert "secret" not in f"{caught.value.details()} {caught.value.trailing_metadata()}"
            served.pipeline.failure = None
            assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW

    with caplog.at_level(logging.ERROR):
        run()
    assert bool(caplog.records) is (code is not StatusCode.FAILED_PRECONDITION), "our own failures are logged"


@in_loop
async def test_a_call_that_is_cancelled_still_ends_in_a_recorded_decision() -> None:
    """The caller leaves while the pipeline works; the decision is made all the same."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.gate.clear()
        call = caller.sidecar.Authorize(question(), metadata=caller.metadata)
        await until(lambda: served.pipeline.waiting == 1)
        call.cancel()
        await until(call.done)
        served.pipeline.gate.set()
        await until(lambda: len(served.pipeline.journal) == 1)


@in_loop
async def test_a_callers_own_deadline_is_kept_and_its_decision_recorded() -> None:
    """DEADLINE_EXCEEDED after the client's time; the record follows."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.gate.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.authorize(seconds=0.2)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        served.pipeline.gate.set()
        await until(lambda: len(served.pipeline.journal) == 1)


@in_loop
async def test_a_call_without_a_deadline_ends_by_ours() -> None:
    """A pipeline that hangs makes DEADLINE_EXCEEDED, not a caller that waits for ever."""
    async with serving(limits=Limits(call_seconds=0.2)) as served, served.caller() as caller:
        served.pipeline.gate.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.sidecar.Authorize(question(), metadata=caller.metadata)
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
        assert reason(caught.value) == "TOO_SLOW"


@in_loop
async def test_verifying_may_take_longer_than_a_decision() -> None:
    """The journal's check has a deadline of its own."""
    limits = Limits(call_seconds=0.05, verify_seconds=5)
    async with serving(limits=limits) as served, served.caller(ANA) as caller:
        served.pipeline.gate.clear()
        call = asyncio.ensure_future(caller.audit.Verify(audit_pb2.VerifyRequest(), metadata=caller.metadata))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(call), 0.2)
        served.pipeline.gate.set()
        assert (await call).ok


async def _refused(caller: Caller) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.authorize()
    return caught.value


@in_loop
async def test_one_caller_cannot_take_every_place() -> None:
    """Beyond its places a caller is told to come later, others are served, and freed places are given again."""
    async with (
        serving(limits=Limits(per_caller=3)) as served,
        served.caller() as greedy,
        served.caller() as same,
        served.caller("token-of-writer") as other,
    ):
        served.pipeline.gate.clear()
        held = [asyncio.ensure_future(greedy.authorize()) for _ in range(3)]
        await until(lambda: served.pipeline.waiting == 3)

        error = await _refused(same)

        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "OVERLOADED"
        assert isinstance(details(error, error_details_pb2.RetryInfo), error_details_pb2.RetryInfo)
        late = asyncio.ensure_future(other.authorize())
        await until(lambda: served.pipeline.waiting == 4)
        served.pipeline.gate.set()
        await asyncio.gather(*held, late)
        assert (await same.authorize()).effect == resources_pb2.EFFECT_ALLOW


@in_loop
async def test_cancelled_calls_keep_their_places_until_their_work_is_done() -> None:
    """A flood of calls that are opened and reset at once cannot start more work than its places."""
    async with serving(limits=Limits(per_caller=4)) as served, served.caller() as caller:
        served.pipeline.gate.clear()
        for _ in range(40):
            call = caller.sidecar.Authorize(question(), metadata=caller.metadata)
            await asyncio.wait([asyncio.ensure_future(_settled(call))], timeout=0.02)
            call.cancel()
            assert served.pipeline.waiting <= 4
        await until(lambda: served.pipeline.waiting == 4)
        served.pipeline.gate.set()
        await until(lambda: served.pipeline.waiting == 0)
        assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW


async def _settled(call: Awaitable[Any]) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


@in_loop
async def test_all_callers_together_have_a_limit_too() -> None:
    """The places in all are counted across callers."""
    async with (
        serving(limits=Limits(concurrency=2)) as served,
        served.caller() as one,
        served.caller("token-of-writer") as two,
        served.caller(ANA) as three,
    ):
        served.pipeline.gate.clear()
        held = [asyncio.ensure_future(each.authorize()) for each in (one, two)]
        await until(lambda: served.pipeline.waiting == 2)
        assert (await _refused(three)).code() is StatusCode.RESOURCE_EXHAUSTED
        served.pipeline.gate.set()
        await asyncio.gather(*held)


@in_loop
async def test_a_burst_on_one_connection_is_answered_whole() -> None:
    """Calls beyond the caller's places wait at the client: one connection never meets the caller's limit."""
    async with serving() as served, served.caller() as caller:
        decisions = await asyncio.gather(*(caller.authorize() for _ in range(200)))

        assert {each.effect for each in decisions} == {resources_pb2.EFFECT_ALLOW}
        assert len({each.id for each in decisions}) == 200


@in_loop
async def test_stopping_lets_calls_under_way_end() -> None:
    """A call that is being decided when the server stops gets its answer; none is taken afterwards."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.gate.clear()
        under_way = asyncio.ensure_future(caller.authorize())
        await until(lambda: served.pipeline.waiting == 1)
        stopping = asyncio.ensure_future(served.listener.stop(grace=5))
        async with served.caller() as late:
            error = await _refused(late)
        served.pipeline.gate.set()

        assert (await under_way).effect == resources_pb2.EFFECT_ALLOW
        await stopping
        assert error.code() is StatusCode.UNAVAILABLE


@in_loop
async def test_stopping_waits_for_decisions_whose_callers_have_left() -> None:
    """Work goes on after its caller left, and stop returns only when it is recorded."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.gate.clear()
        call = caller.sidecar.Authorize(question(), metadata=caller.metadata)
        await until(lambda: served.pipeline.waiting == 1)
        call.cancel()
        await until(call.done)
        stopping = asyncio.ensure_future(served.listener.stop(grace=5))
        _, waiting = await asyncio.wait([stopping], timeout=0.3)
        assert waiting, "gRPC has no calls left by now"
        served.pipeline.gate.set()
        await stopping
        assert len(served.pipeline.journal) == 1


@in_loop
async def test_an_answer_that_no_message_can_hold_is_an_error_and_not_a_hang() -> None:
    """RESOURCE_EXHAUSTED says to ask for less."""
    async with serving(limits=Limits(answer_bytes=200)) as served, served.caller(ANA) as caller:
        for _ in range(3):
            await _settled(caller.sidecar.Authorize(question(), metadata=caller.metadata))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.audit.Trace(audit_pb2.TraceRequest(workflow="w"), metadata=caller.metadata)
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "ANSWER_TOO_LARGE"


Send = Callable[[Caller], Awaitable[Any]]
BAD: dict[str, tuple[Send, list[str]]] = {
    "Authorize": (
        lambda c: c.sidecar.Authorize(sidecar_pb2.AuthorizeRequest(), metadata=c.metadata),
        ["action", "resource.type", "resource.id"],
    ),
    "OpenWorkflow": (
        lambda c: c.sidecar.OpenWorkflow(sidecar_pb2.OpenWorkflowRequest(), metadata=c.metadata),
        ["purposes"],
    ),
    "CloseWorkflow": (
        lambda c: c.sidecar.CloseWorkflow(sidecar_pb2.CloseWorkflowRequest(), metadata=c.metadata),
        ["workflow"],
    ),
    "Report": (
        lambda c: c.sidecar.Report(sidecar_pb2.ReportRequest(), metadata=c.metadata),
        ["decision", "outcome"],
    ),
    "Handoff": (lambda c: c.sidecar.Handoff(sidecar_pb2.HandoffRequest(), metadata=c.metadata), ["agent"]),
    "Accept": (lambda c: c.sidecar.Accept(sidecar_pb2.AcceptRequest(), metadata=c.metadata), ["passport"]),
    "Record": (lambda c: c.sidecar.Record(sidecar_pb2.RecordRequest(), metadata=c.metadata), ["summary"]),
    "Halt": (
        lambda c: c.oversight.Halt(oversight_pb2.HaltRequest(), metadata=c.metadata),
        ["scope", "value", "reason"],
    ),
    "Resume": (
        lambda c: c.oversight.Resume(oversight_pb2.ResumeRequest(), metadata=c.metadata),
        ["scope", "value", "reason"],
    ),
    "AdjustBudget": (
        lambda c: c.oversight.AdjustBudget(oversight_pb2.AdjustBudgetRequest(), metadata=c.metadata),
        ["budget", "delta.currency", "reason"],
    ),
    "GetDecision": (
        lambda c: c.audit.GetDecision(audit_pb2.GetDecisionRequest(), metadata=c.metadata),
        ["decision"],
    ),
    "Trace": (lambda c: c.audit.Trace(audit_pb2.TraceRequest(), metadata=c.metadata), ["workflow"]),
    "Who": (lambda c: c.audit.Who(audit_pb2.WhoRequest(), metadata=c.metadata), ["table", "key"]),
}


@pytest.mark.parametrize("rpc", BAD)
def test_an_empty_message_names_every_field_that_is_needed(rpc: str) -> None:
    """INVALID_ARGUMENT with the violations, recorded under who sent it; the next good call works."""

    @in_loop
    async def run() -> None:
        send, wrong = BAD[rpc]
        async with serving() as served, served.caller(SUPPORT) as caller:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(caller)
            assert caught.value.code() is StatusCode.INVALID_ARGUMENT
            assert reason(caught.value) == "BAD_REQUEST"
            assert fields(caught.value) == wrong
            assert served.pipeline.refusals == [("agent:support", "request", ", ".join(wrong))]
            assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW

    run()
