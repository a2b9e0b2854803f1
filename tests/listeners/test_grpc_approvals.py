"""Approvals and claims over the wire: calls that wait, watches that last, and neither in the way of others."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import grpc
import pytest
from fakes.loop import in_loop, until
from fakes.pep_fake import SECOND, START
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc import StatusCode
from listeners.serving import ANA, Caller, Served, details, fields, question, reason, serving
from remit.core.approval import State, Verdict
from remit.core.errors import StoreUnavailable
from remit.listeners.grpc_limits import Limits
from remit.v1 import oversight_pb2, resources_pb2, sidecar_pb2

WRITER = "token-of-writer"
HOLD, ALLOW, DENY = resources_pb2.EFFECT_HOLD, resources_pb2.EFFECT_ALLOW, resources_pb2.EFFECT_DENY
APPROVE = resources_pb2.APPROVAL_VERDICT_APPROVE


def waiting(seconds: float = 600, **changed: Any) -> sidecar_pb2.AuthorizeRequest:
    """The usual question, by somebody who waits."""
    wait = Duration()
    wait.FromNanoseconds(int(seconds * SECOND))
    return question(wait=wait, **changed)


async def resolve(caller: Caller, **changed: Any) -> oversight_pb2.ResolveApprovalResponse:
    asked = {"approval": "a_support_openai", "verdict": APPROVE, "reason": "fine", **changed}
    response: oversight_pb2.ResolveApprovalResponse = await caller.oversight.ResolveApproval(
        oversight_pb2.ResolveApprovalRequest(**asked), metadata=caller.metadata
    )
    return response


def asking(caller: Caller, seconds: float = 600, **changed: Any) -> asyncio.Task[resources_pb2.Decision]:
    return asyncio.ensure_future(caller.authorize(waiting(seconds, **changed), seconds=30))


async def settled(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


@in_loop
async def test_a_held_question_is_answered_when_it_is_approved() -> None:
    """Who waits gets the answer that the approval makes, far beyond the time of other calls."""
    limits = Limits(call_seconds=0.1)
    async with serving(limits=limits) as served, served.caller() as caller, served.caller(ANA) as ana:
        served.pipeline.holds = {"openai"}
        call = asking(caller)
        await until(lambda: served.pipeline.lasting == 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(call), 0.3)
        answer = await resolve(ana, version=1)

        assert (await call).effect == ALLOW
        assert (answer.approval.state, answer.approval.version) == (resources_pb2.APPROVAL_STATE_APPROVED, 2)
        assert answer.decision.effect == ALLOW
        subject, resolution = served.pipeline.resolutions[0]
        assert (subject.type, subject.id, resolution.verdict) == ("person", "ana", Verdict.APPROVE)
        assert (resolution.reason, resolution.version) == ("fine", 1)


@in_loop
async def test_without_a_wait_or_after_it_the_answer_is_that_it_is_held() -> None:
    """And names the approval that it waits for."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.holds = {"openai"}
        for request in (question(), waiting(0.05)):
            decision = await caller.authorize(request)
            (turning,) = decision.approvals
            assert decision.effect == HOLD
            assert (turning.id, turning.state) == ("a_support_openai", resources_pb2.APPROVAL_STATE_PENDING)
            assert list(turning.roles) == ["approver"]


@in_loop
async def test_a_caller_that_leaves_is_waited_for_no_longer() -> None:
    """Its place is free at once; that it asked, and the approval, are there."""
    limits = Limits(call_seconds=0.2, per_caller=2)
    async with serving(limits=limits) as served, served.caller() as caller:
        served.pipeline.holds = {"openai"}
        call = caller.sidecar.Authorize(waiting(), metadata=caller.metadata)
        await until(lambda: served.pipeline.lasting == 1)
        call.cancel()
        await settled(call)
        await until(lambda: served.pipeline.lasting == 0)
        again = asking(caller)
        await until(lambda: served.pipeline.lasting == 1)

        assert len(served.pipeline.journal) == 2
        assert served.pipeline.requests["a_support_openai"].state is State.PENDING
        again.cancel()


@in_loop
async def test_a_caller_that_leaves_at_once_has_asked_all_the_same() -> None:
    """What is being decided is decided and recorded before its wait is ended, as without a wait."""
    async with serving(limits=Limits(call_seconds=0.5)) as served, served.caller() as caller:
        served.pipeline.holds = {"openai"}
        served.pipeline.gate.clear()
        call = caller.sidecar.Authorize(waiting(), metadata=caller.metadata)
        await until(lambda: served.pipeline.waiting == 1)
        call.cancel()
        await settled(call)
        await asyncio.sleep(0.05)
        served.pipeline.gate.set()
        await until(lambda: len(served.pipeline.journal) == 1)
        await until(lambda: served.pipeline.lasting == 0)


@in_loop
async def test_a_flood_of_waiting_calls_leaves_room_for_others_and_for_other_calls() -> None:
    """Beyond half of its places a caller's calls do not wait: they are told that it is held, and so are their like."""
    async with serving(limits=Limits(per_caller=4)) as served, served.caller() as greedy, served.caller() as same:
        served.pipeline.holds = {"openai"}
        held = [asking(greedy) for _ in range(2)]
        await until(lambda: served.pipeline.lasting == 2)

        assert {(await asking(same)).effect for _ in range(3)} == {HOLD}
        assert (
            await same.authorize(question(resource=resources_pb2.Resource(type="dataset", id="crm")))
        ).effect == ALLOW
        async with served.caller(WRITER) as other:
            late = asking(other)
            await until(lambda: served.pipeline.lasting == 3)
            held[0].cancel()
            late.cancel()


@in_loop
async def test_all_who_wait_leave_half_of_all_places_to_others() -> None:
    """Many callers who wait do not add up to a sidecar that answers nobody."""
    async with serving(limits=Limits(concurrency=4)) as served, served.caller() as one, served.caller(WRITER) as two:
        served.pipeline.holds = {"openai"}
        calls = [asking(one), asking(two)]
        await until(lambda: served.pipeline.lasting == 2)
        async with served.caller(ANA) as ana:
            assert (await asking(ana)).effect == HOLD
            assert (await resolve(ana)).decision.effect == ALLOW
            assert (await calls[0]).effect == ALLOW
        calls[1].cancel()


@in_loop
async def test_waiting_calls_that_are_opened_and_reset_stay_within_the_limits() -> None:
    """However often: each keeps its place until it is done, and all places come back."""
    limits = Limits(per_caller=4, call_seconds=0.2)
    async with serving(limits=limits) as served, served.caller() as caller:
        served.pipeline.gate.clear()
        for _ in range(40):
            call = caller.sidecar.Authorize(waiting(), metadata=caller.metadata)
            await asyncio.wait([asyncio.ensure_future(settled(call))], timeout=0.01)
            call.cancel()
            assert served.pipeline.waiting <= 4
        served.pipeline.gate.set()
        await until(lambda: served.pipeline.waiting == 0)
        assert (await caller.authorize()).effect == ALLOW


@in_loop
async def test_a_server_that_stops_tells_who_waits_to_ask_again() -> None:
    """It does not spend its grace on them, and they learn that asking again goes on."""
    async with serving(limits=Limits(call_seconds=0.2)) as served, served.caller() as caller:
        served.pipeline.holds = {"openai"}
        call = asking(caller)
        await until(lambda: served.pipeline.lasting == 1)
        began = asyncio.get_running_loop().time()
        await served.listener.stop(grace=20)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), reason(caught.value)) == (StatusCode.UNAVAILABLE, "STOPPING")
        assert isinstance(details(caught.value, error_details_pb2.RetryInfo), error_details_pb2.RetryInfo)
        assert served.pipeline.lasting == 0
        assert asyncio.get_running_loop().time() - began < 10


@in_loop
async def test_an_error_while_waiting_is_told_as_any_other() -> None:
    """By its kind."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.failure = StoreUnavailable("disk full")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.authorize(waiting())
        assert reason(caught.value) == "STORE_UNAVAILABLE"


class Watching:
    """A watch under way."""

    def __init__(self, caller: Caller) -> None:
        self.call = caller.oversight.WatchApprovals(oversight_pb2.WatchApprovalsRequest(), metadata=caller.metadata)

    async def next(self) -> oversight_pb2.WatchApprovalsResponse:
        part = await asyncio.wait_for(self.call.read(), 5)
        assert isinstance(part, oversight_pb2.WatchApprovalsResponse)
        return part

    async def caught_up(self) -> list[oversight_pb2.Approval]:
        """What there was."""
        found = []
        while (part := await self.next()).HasField("approval"):
            found.append(part.approval)
        return found

    async def ended(self) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await asyncio.wait_for(self.call.read(), 5) is not grpc.aio.EOF:
                pass
        return caught.value


async def held(served: Served, *resources: str) -> None:
    """Open an approval for each."""
    served.pipeline.holds = set(resources)
    async with served.caller() as caller:
        for id in resources:
            await caller.authorize(question(resource=resources_pb2.Resource(type="service", id=id)))


@in_loop
async def test_a_watch_tells_what_there_is_then_each_change_once() -> None:
    """A message without an approval stands between both."""
    async with serving() as served, served.caller(ANA) as ana:
        await held(served, "openai", "mail")
        watch = Watching(ana)
        assert [each.id for each in await watch.caught_up()] == ["a_support_openai", "a_support_mail"]
        await resolve(ana, approval="a_support_mail")
        changed = (await watch.next()).approval
        await held(served, "files")
        opened = (await watch.next()).approval

        assert (changed.id, changed.state) == ("a_support_mail", resources_pb2.APPROVAL_STATE_APPROVED)
        assert not changed.resolvable
        assert (opened.id, opened.resolvable) == ("a_support_files", True)
        assert json.loads(opened.items[0].shown) == {"arguments": {"to": "ana"}}
        watch.call.cancel()
        await until(lambda: served.pipeline.watching == 0)


@in_loop
async def test_a_watch_is_ended_after_a_while_with_word_to_watch_again() -> None:
    """At once, and it holds nothing any more."""
    async with serving(limits=Limits(stream_seconds=0.2)) as served, served.caller(ANA) as ana:
        watch = Watching(ana)
        await watch.caught_up()
        error = await watch.ended()

        assert (error.code(), reason(error)) == (StatusCode.UNAVAILABLE, "WATCH_AGAIN")
        retry = details(error, error_details_pb2.RetryInfo)
        assert isinstance(retry, error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToNanoseconds() == 0
        await until(lambda: served.pipeline.watching == 0)


@in_loop
async def test_a_server_that_stops_ends_watches_first() -> None:
    """They would outlast its grace."""
    async with serving() as served, served.caller(ANA) as ana:
        watch = Watching(ana)
        await watch.caught_up()
        began = asyncio.get_running_loop().time()
        await served.listener.stop(grace=20)

        assert reason(await watch.ended()) == "WATCH_AGAIN"
        assert served.pipeline.watching == 0
        assert asyncio.get_running_loop().time() - began < 10


@in_loop
async def test_watches_are_few_of_a_callers_calls() -> None:
    """More are refused, and its other calls go on; whoever leaves makes room."""
    async with serving(limits=Limits(per_caller=32)) as served, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(served.caller(ANA)) for _ in range(3)]
        watches = [Watching(each) for each in callers[:2]]
        for each in watches:
            await each.caught_up()

        error = await Watching(callers[2]).ended()

        assert (error.code(), reason(error)) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert (await callers[2].authorize()).effect == ALLOW
        watches[0].call.cancel()
        await until(lambda: served.pipeline.watching == 1)
        await Watching(callers[2]).caught_up()


@in_loop
async def test_calls_that_wait_keep_nobody_from_watching() -> None:
    """Whoever is to resolve them must hear of them; and some places are left for what neither waits nor watches."""
    async with serving(limits=Limits(concurrency=4)) as served, served.caller() as one, served.caller(WRITER) as two:
        served.pipeline.holds = {"openai"}
        calls = [asking(one), asking(two)]
        await until(lambda: served.pipeline.lasting == 2)
        async with served.caller(ANA) as ana:
            watch = Watching(ana)
            assert len(await watch.caught_up()) == 2
            assert reason(await Watching(two).ended()) == "OVERLOADED", "a quarter of four"
            assert (await two.authorize(question(resource=resources_pb2.Resource(type="dataset", id="crm")))).id
        for each in calls:
            each.cancel()


@in_loop
async def test_a_watch_that_nobody_reads_ends() -> None:
    """What is not taken is not kept ready either."""
    limits = Limits(write_seconds=0.2)
    async with serving(limits=limits) as served, served.caller(ANA, [("grpc.http2.lookahead_bytes", 1024)]) as ana:
        await held(served, "openai")
        approval = served.pipeline.requests["a_support_openai"]
        large = replace(approval.items[0], shown="x" * 16_000)
        for number in range(64):
            served.pipeline.requests[f"a_{number}"] = replace(approval, id=f"a_{number}", items=(large,) * 20)
        Watching(ana)
        await until(lambda: served.pipeline.watching == 1)
        await until(lambda: served.pipeline.watching == 0)


@in_loop
async def test_approvals_are_listed_page_by_page() -> None:
    """By state, id and place; whether there are more is told."""
    async with serving() as served, served.caller(ANA) as ana:
        await held(served, "openai", "mail", "files")
        await resolve(ana, approval="a_support_mail", verdict=resources_pb2.APPROVAL_VERDICT_DENY)

        async def listed(**asked: Any) -> tuple[list[str], bool]:
            found = await ana.oversight.ListApprovals(
                oversight_pb2.ListApprovalsRequest(**asked), metadata=ana.metadata
            )
            return [each.id for each in found.approvals], found.truncated

        assert await listed() == (["a_support_files", "a_support_openai"], False)
        assert await listed(limit=1, before="x") == (["a_support_files"], True)
        assert await listed(states=[resources_pb2.APPROVAL_STATE_DENIED]) == (["a_support_mail"], False)
        assert await listed(id="a_support_openai") == (["a_support_openai"], False)
        assert served.pipeline.listed[1] == ((), "", "x", 2)


@in_loop
async def test_what_is_offered_instead_reaches_the_pipeline_exactly() -> None:
    """With the denial; a stale version is a refusal, and shows what it is now; what is no resolution is not asked."""
    async with serving() as served, served.caller(ANA) as ana:
        await held(served, "openai")
        stale = await resolve(ana, version=7)
        changes = b'{"resource":{"variant":"small"},"arguments":{"n":9007199254740993}}'
        deny = resources_pb2.APPROVAL_VERDICT_DENY
        offered = await resolve(ana, verdict=deny, reason="smaller", version=1, alternative=changes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await resolve(ana, verdict=deny, alternative=b'{"owner":"me"}')

        assert (stale.decision.effect, stale.approval.version) == (DENY, 1)
        assert offered.approval.state == resources_pb2.APPROVAL_STATE_DENIED
        assert offered.approval.alternative == changes
        alternative = {"resource": {"variant": "small"}, "arguments": {"n": 9007199254740993}}
        assert served.pipeline.resolutions[1][1].alternative == alternative
        assert (caught.value.code(), fields(caught.value)) == (StatusCode.INVALID_ARGUMENT, ["alternative"])
        assert len(served.pipeline.resolutions) == 2


@in_loop
async def test_an_unknown_approval_is_not_found() -> None:
    """As anything unknown."""
    async with serving() as served, served.caller(ANA) as ana:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await resolve(ana)
        assert caught.value.code() is StatusCode.NOT_FOUND


@in_loop
async def test_a_thing_is_taken_renewed_and_let_go_of() -> None:
    """By its holder; another one is refused, and gets a higher token afterwards."""
    async with serving() as served, served.caller() as caller, served.caller(WRITER) as other:
        thing = {"resource": resources_pb2.Resource(type="object", id="ticket"), "object": "7"}

        async def take(by: Caller) -> sidecar_pb2.ClaimResponse:
            request = sidecar_pb2.ClaimRequest(**thing, ttl=Duration(seconds=90))
            response: sidecar_pb2.ClaimResponse = await by.sidecar.Claim(request, metadata=by.metadata)
            return response

        first, renewed, refused = await take(caller), await take(caller), await take(other)
        release = sidecar_pb2.ReleaseRequest(**thing, token=first.token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other.sidecar.Release(release, metadata=other.metadata)
        released = await caller.sidecar.Release(release, metadata=caller.metadata)
        second = await take(other)

        assert (first.decision.effect, first.token, renewed.token) == (ALLOW, 1, 1)
        assert first.expire_time.ToNanoseconds() == START + 90 * SECOND
        assert (refused.decision.effect, refused.token) == (DENY, 0)
        assert caught.value.code() is StatusCode.FAILED_PRECONDITION
        assert released.record.startswith("r_")
        assert second.token == 2
        _, call = served.pipeline.taken[0]
        assert (call.resource.type, call.resource.id, call.object, call.ttl) == ("object", "ticket", "7", 90 * SECOND)


@in_loop
async def test_a_question_names_the_claim_that_it_is_asked_under() -> None:
    """The token reaches the pipeline."""
    async with serving() as served, served.caller() as caller:
        await caller.authorize(question(context=resources_pb2.Context(claim=7)))

        assert served.pipeline.asked[0][1].claimed.claim == 7
