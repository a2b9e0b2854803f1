"""Supervisors: what they are shown, each version once, and what comes of their word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.sdk.review import Reviews
from remit.v1 import oversight_pb2 as o
from remit.v1 import resources_pb2 as r

HELD = "a-support-service:openai"
LEAD = "token-writer"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are over at once."""
    monkeypatch.setattr("remit.sdk.review.FIRST_PAUSE", 0.01)


def connect(fake: SidecarFake, token: str = LEAD, **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, token, **{"retry": remit.Retry(delay=lambda: 0), **options})


async def hold(agent: remit.Agent, *resources: str, **ask: Any) -> None:
    """Ask for what is held."""
    for resource in resources:
        await agent.authorize("api.call", resource, check=False, **ask)


@asynccontextmanager
async def stage(*held: str) -> AsyncIterator[tuple[SidecarFake, remit.Agent, remit.Agent]]:
    """A fake, a worker that is held for these, and its lead."""
    async with sidecar() as fake, connect(fake, "token-support") as worker, connect(fake) as lead:
        for each in held:
            fake.hold(each)
        yield fake, worker, lead


async def next_of(reviews: Any, seconds: float = 5) -> remit.Review:
    found: remit.Review = await asyncio.wait_for(anext(reviews), seconds)
    return found


async def nothing_more(reviews: Any) -> None:
    """Nothing comes, though the watch has seen all there is."""
    with pytest.raises(TimeoutError):
        await next_of(reviews, 0.1)


@in_loop
async def test_a_supervisor_sees_what_is_asked() -> None:
    """Action, resource, reason, labels, arguments, cost and until when."""
    async with stage("service:openai") as (_, worker, lead):
        asked = {"operation": "chat", "variant": "large", "reason": "because ✓", "arguments": {"n": 2**53 + 1}}
        await hold(worker, "service:openai", **asked)
        async with aclosing(lead.reviews()) as reviews:
            request = await next_of(reviews)

    assert (request.approval, request.version, request.state) == (HELD, 1, "pending")
    assert (request.subject, request.team, request.action) == ("support", "cx", "api.call")
    assert (request.resource, request.operation, request.variant) == ("service:openai", "chat", "large")
    assert request.why == remit.PolicyReason("fake", "approval_required", "held")
    assert (request.reason, request.labels, request.supervisor) == ("because ✓", ("pii",), "lead")
    assert (request.bind, request.uses, request.ttl, request.quorum) == ("exact", 1, 3600, 1)
    assert (request.roles, request.votes, request.cost) == (("approver",), (), None)
    assert request.deadline == 1_800_000_000 * 10**9
    (item,) = request.items
    assert item.arguments == {"n": 9007199254740993}
    assert (item.amount, item.labels, item.asked) == (remit.Money("EUR", 7000), ("pii",), 1)


@in_loop
async def test_what_is_not_shown_has_no_arguments() -> None:
    """Nothing is not the same as no arguments at all."""
    async with stage("service:openai") as (fake, worker, lead):
        await hold(worker, "service:openai")
        del fake.approvals[HELD].items[:]
        fake.approvals[HELD].items.add(decision="d1")
        fake.approvals[HELD].items.add(decision="d2", shown=b"{}")
        async with aclosing(lead.reviews()) as reviews:
            hidden, empty = (await next_of(reviews)).items

    assert (hidden.shown, hidden.arguments) == (None, None)
    assert empty.arguments == {}


@in_loop
async def test_each_verdict_reaches_the_sidecar_with_the_version_that_was_seen() -> None:
    """Approve, deny, pass on and offer; each gives the request as it is afterwards."""
    resources = [f"service:s{number}" for number in range(4)]
    async with stage(*resources) as (fake, worker, lead):
        await hold(worker, *resources, arguments={"limit": 100, "all": True})
        async with aclosing(lead.reviews()) as reviews:
            requests = [await next_of(reviews) for _ in resources]
            after = [
                await requests[0].approve("fine"),
                await requests[1].deny("no"),
                await requests[2].pass_on("not mine"),
                await requests[3].offer({"arguments": {"limit": 10, "all": None}}, "fewer"),
            ]

    assert [each.state for each in after] == ["approved", "denied", "pending", "denied"]
    assert [each.version for each in after] == [2] * 4
    assert [each.votes[0].verdict for each in after] == ["approve", "deny", "hold", "deny"]
    assert {each.votes[0].by for each in after} == {"writer"}
    assert after[2].votes[0].reason == "not mine"
    sent = [each.request for each in fake.made.values() if isinstance(each.request, o.ResolveApprovalRequest)]
    assert [each.version for each in sent] == [1] * 4
    assert json.loads(sent[3].alternative) == {"arguments": {"limit": 10, "all": None}}
    assert fake.calls.count("WatchApprovals") == 1


@in_loop
async def test_who_waits_gets_what_the_supervisor_says() -> None:
    """From the question to the verdict and back."""
    async with stage("service:openai") as (_, worker, lead):

        async def supervise() -> None:
            async for request in lead.reviews():
                await request.approve("fine")

        supervising = asyncio.ensure_future(supervise())
        assert (await worker.authorize("api.call", "service:openai", wait=60)).permitted
        supervising.cancel()


@in_loop
async def test_a_new_one_comes_as_it_is_opened() -> None:
    """Whoever has seen all that there is waits for the next."""
    async with stage("service:openai") as (fake, worker, lead):
        async with aclosing(lead.reviews()) as reviews:
            coming = asyncio.ensure_future(next_of(reviews))
            await until(lambda: fake.watching == 1)
            await hold(worker, "service:openai")
            assert (await coming).approval == HELD
        await until(lambda: fake.watching == 0)


@in_loop
async def test_ones_own_and_those_that_have_ended_are_not_handed_out() -> None:
    """Only what may be resolved is."""
    async with stage("service:openai", "service:mail", "service:files") as (fake, worker, lead):
        await hold(worker, "service:openai", "service:mail")
        await hold(lead, "service:files")
        await fake.move(HELD, "denied")
        async with aclosing(lead.reviews()) as reviews:
            assert (await next_of(reviews)).resource == "service:mail"
            await nothing_more(reviews)


@in_loop
async def test_a_version_is_handed_out_once_and_a_change_again() -> None:
    """Also across watches that end, and a sidecar that restarts."""
    async with stage("service:openai", "service:mail") as (fake, worker, lead):
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            assert (await next_of(reviews)).version == 1
            coming = asyncio.ensure_future(next_of(reviews, 20))
            await until(lambda: fake.watching == 1)
            await fake.kill()
            await fake.start(fake.address)
            await until(lambda: fake.watching == 1)
            await asyncio.sleep(0.05)
            assert not coming.done()
            await fake.move(HELD, "pending")
            assert ((await coming).approval, coming.result().version) == (HELD, 2)


@in_loop
async def test_ones_own_word_is_no_news() -> None:
    """Where more must approve, whoever did is not asked again for that; for what others change, they are."""
    async with stage("service:openai") as (fake, worker, lead):
        fake.quorum = 2
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            assert (await (await next_of(reviews)).approve("fine")).state == "pending"
            coming = asyncio.ensure_future(next_of(reviews))
            await asyncio.sleep(0.1)
            assert not coming.done()
            await fake.move(HELD, "pending")
            assert (await coming).version == 3


@in_loop
async def test_an_answer_to_another_version_is_refused() -> None:
    """And the newer one is handed out."""
    async with stage("service:openai") as (fake, worker, lead):
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            request = await next_of(reviews)
            await fake.move(HELD, "pending")
            with pytest.raises(remit.Denied) as denied:
                await request.approve("fine")
            assert denied.value.codes == ("facts_changed",)
            assert (await (await next_of(reviews)).approve("fine")).state == "approved"


@in_loop
async def test_what_has_ended_cannot_be_answered() -> None:
    """It says so."""
    async with stage("service:openai") as (fake, worker, lead):
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            request = await next_of(reviews)
            await fake.move(HELD, "denied")
            with pytest.raises(remit.IllegalState, match="not pending"):
                await request.approve("fine")


@in_loop
async def test_an_answer_needs_a_reason_and_an_offer_is_json() -> None:
    """What cannot be sent is not; what the sidecar refuses is named."""
    async with stage("service:openai") as (fake, worker, lead):
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            request = await next_of(reviews)
            with pytest.raises(remit.InvalidRequest, match="reason"):
                await request.approve("  ")
            for changes in ({"arguments": {"a": float("nan")}}, [], {"arguments": {1: 2}}):
                with pytest.raises(remit.InvalidRequest, match="arguments"):
                    await request.offer(changes, "so")  # type: ignore[arg-type]
            with pytest.raises(remit.InvalidRequest):
                await request.deny(5)  # type: ignore[arg-type]

    assert fake.calls.count("ResolveApproval") == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [("UNAUTHENTICATED", remit.Unauthenticated), ("PERMISSION_DENIED", remit.Unauthenticated)],
)
@in_loop
async def test_what_is_no_lost_connection_ends_the_loop(code: str, error: type[remit.RemitError]) -> None:
    """It would only be refused again."""
    async with stage() as (fake, _, lead):
        fake.fail("WatchApprovals", grpc.StatusCode[code])
        with pytest.raises(error):
            async for _ in lead.reviews():
                pytest.fail("nothing was there")


@in_loop
async def test_a_watch_that_is_refused_for_load_is_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    """With growing pauses, and word in the log."""
    async with stage("service:openai") as (fake, worker, lead):
        fake.fail("WatchApprovals", grpc.StatusCode.RESOURCE_EXHAUSTED, "too many", times=3)
        await hold(worker, "service:openai")
        async with aclosing(lead.reviews()) as reviews:
            assert (await next_of(reviews)).approval == HELD

    assert fake.calls.count("WatchApprovals") == 4
    assert "approvals cannot be watched; trying again" in caplog.text


@in_loop
async def test_closing_the_agent_ends_the_loop() -> None:
    """With an error, not in silence."""
    async with sidecar() as fake:
        lead = await connect(fake).open()

        async def supervise() -> None:
            async for _ in lead.reviews():
                pytest.fail("nothing was there")

        supervising = asyncio.ensure_future(supervise())
        await until(lambda: fake.watching == 1)
        await lead.close()
        with pytest.raises(remit.IllegalState, match="not connected"):
            await supervising


@in_loop
async def test_what_is_told_of_approvals_is_forgotten_with_them() -> None:
    """A supervisor that runs for years does not remember all that it ever saw."""
    waves = [[_wire(f"a{number}") for number in range(100)], [_wire("b")], []]

    async def watch() -> Any:
        for each in waves.pop(0) if waves else ():
            yield o.WatchApprovalsResponse(approval=each)
        yield o.WatchApprovalsResponse()
        if not waves:
            await asyncio.Event().wait()

    async def answer(request: o.ResolveApprovalRequest) -> o.ResolveApprovalResponse:
        raise AssertionError

    watching = Reviews(watch, answer)
    async with aclosing(watching.each()) as reviews:
        for _ in range(101):
            await next_of(reviews)
        with pytest.raises(TimeoutError):
            await next_of(reviews, 0.2)

    assert watching._told == {}


@in_loop
async def test_one_that_becomes_this_agents_to_resolve_is_handed_out() -> None:
    """Though nothing else of it has changed."""
    wires = [[_wire("a", resolvable=False)], [_wire("a")]]

    async def watch() -> Any:
        for each in wires.pop(0) if wires else ():
            yield o.WatchApprovalsResponse(approval=each)
        yield o.WatchApprovalsResponse()

    async def answer(request: o.ResolveApprovalRequest) -> o.ResolveApprovalResponse:
        raise AssertionError

    async with aclosing(Reviews(watch, answer).each()) as reviews:
        assert (await next_of(reviews)).approval == "a"


def _wire(id: str, *, resolvable: bool = True) -> o.Approval:
    return o.Approval(id=id, version=1, state=r.APPROVAL_STATE_PENDING, resolvable=resolvable)
