"""Claims: held for a block, renewed in it, let go of after it, and never thought held when they are not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s

SHORT = timedelta(seconds=0.15)
THING = ("object", "ticket", "7")


def connect(fake: SidecarFake, token: str = "token-support", **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, token, **{"retry": remit.Retry(delay=lambda: 0), **options})


def claim(agent: remit.Agent, ttl: timedelta = SHORT, **why: Any) -> remit.Claim:
    return agent.claim("object:ticket", object="7", ttl=ttl, **why)


@in_loop
async def test_a_thing_is_held_for_the_block() -> None:
    """Taken before it, let go of after it, with the token that it was held by."""
    async with sidecar() as fake, connect(fake) as agent:
        async with claim(agent, timedelta(seconds=90), reason="mine", key="k") as held:
            assert fake.claims[THING] == ("support", 1)
            assert (held.token, held.expires) == (1, 1_800_000_000 * 10**9)
            assert held.decision.permitted
        assert fake.claims[THING] == ("", 1)

    (taken,) = fake.claimed
    assert (taken.resource, taken.object) == (r.Resource(type="object", id="ticket"), "7")
    assert (taken.ttl.seconds, taken.context.reason, taken.key) == (90, "mine", "k")
    assert fake.released == [s.ReleaseRequest(resource=taken.resource, object="7", token=1, context=r.Context())]


@in_loop
async def test_it_lasts_a_minute_where_nothing_is_said() -> None:
    """So long does it outlive an agent that is gone."""
    async with sidecar() as fake, connect(fake) as agent, agent.claim("service:mail"):
        pass

    assert fake.claimed[0].ttl.seconds == 60


@in_loop
async def test_it_is_renewed_for_as_long_as_the_block_runs() -> None:
    """Each time by a question of its own, with the same words, in the workflow that it was taken in; then no more."""
    async with sidecar() as fake, connect(fake) as agent:
        async with remit.workflow(agent, purposes=["support"]) as run, claim(agent, reason="mine"):
            await until(lambda: len(fake.claimed) > 3)
        renewals = len(fake.claimed)
        await asyncio.sleep(0.1)

    assert len(fake.claimed) == renewals
    assert len({each.key for each in fake.claimed}) == renewals
    assert {each.context.workflow for each in (*fake.claimed, *fake.released)} == {run.context}
    assert {each.context.reason for each in fake.claimed} == {"mine"}


@in_loop
async def test_a_thing_that_is_held_is_denied() -> None:
    """The block does not run, and nothing is released."""
    async with sidecar() as fake, connect(fake) as agent, connect(fake, "token-writer") as other:
        async with claim(other):
            with pytest.raises(remit.Denied) as denied:
                async with claim(agent):
                    pytest.fail("the block ran")
            assert denied.value.codes == ("claim_held",)
        assert len(fake.released) == 1


@in_loop
async def test_a_renewal_that_is_refused_ends_the_block() -> None:
    """At its next await, with an error that says so; what is lost is not released."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.ClaimLost, match=r"claim on object:ticket 7 .*claim_held") as lost:
            async with claim(agent) as held:
                fake.claims[THING] = ("writer", 2)
                await asyncio.sleep(30)
                pytest.fail("it went on")
        assert isinstance(lost.value.__cause__, remit.Denied)
        assert held.lost is lost.value
        assert fake.released == []
        await asyncio.sleep(0)  # the task is not cancelled any more


@in_loop
async def test_a_renewal_with_another_token_is_a_loss() -> None:
    """Somebody may have held it in between; the new one is let go of."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.ClaimLost, match="renewed too late"):
            async with claim(agent):
                fake.claims[THING] = ("", 1)
                await asyncio.sleep(30)
        await until(lambda: fake.claims[THING] == ("", 2))


@in_loop
async def test_a_sidecar_that_is_gone_for_longer_than_the_lease_is_a_loss() -> None:
    """Nobody can know any more who holds it."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.ClaimLost):
            async with claim(agent):
                await fake.kill()
                await asyncio.sleep(30)


@in_loop
async def test_a_renewal_may_fail_while_the_lease_lasts() -> None:
    """A lost connection, or a refusal that passes, is tried again."""
    async with sidecar() as fake, connect(fake) as agent, claim(agent, timedelta(seconds=0.6)) as held:
        fake.fail("Claim", grpc.StatusCode.INTERNAL)
        await until(lambda: len(fake.claimed) > 1)
        fake.rule("object:ticket", effect=r.EFFECT_DENY, code="pdp_unavailable", retryable=True)
        count = len(fake.claimed)
        await until(lambda: len(fake.claimed) > count)
        fake.rulings.clear()
        count = len(fake.claimed)
        await until(lambda: len(fake.claimed) > count)
        held.check()


@in_loop
async def test_the_blocks_own_exception_goes_on() -> None:
    """Released all the same; where the claim was lost as well, it is noted."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(ZeroDivisionError):
            async with claim(agent):
                _ = 1 / 0
        assert len(fake.released) == 1
        with pytest.raises(ZeroDivisionError) as caught:
            async with claim(agent) as held:
                fake.claims[THING] = ("writer", 9)
                try:
                    await asyncio.sleep(30)
                finally:
                    assert held.lost is not None
                    _ = 1 / 0
    assert "not held any more" in "".join(caught.value.__notes__)


@in_loop
async def test_cancellation_lets_go_of_it() -> None:
    """Whether it comes in the block or while the claim is being taken; and it stays a cancellation."""
    async with sidecar() as fake, connect(fake) as agent:

        async def work() -> None:
            async with claim(agent, timedelta(seconds=60)):
                begun.set()
                await asyncio.Event().wait()

        begun = asyncio.Event()
        task = asyncio.ensure_future(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fake.claims[THING] == ("", 1)

        gate = fake.hang("Claim", after=True)
        task = asyncio.ensure_future(work())
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.release.set()
        await until(lambda: fake.claims[THING] == ("", 2))


@in_loop
async def test_a_cancellation_of_somebody_elses_is_not_taken_for_a_loss() -> None:
    """Both at once: the task is cancelled."""
    async with sidecar() as fake, connect(fake) as agent:

        async def work() -> None:
            async with claim(agent) as held:
                fake.claims[THING] = ("writer", 9)
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    assert held.lost is not None
                    task.cancel()
                    await asyncio.sleep(30)

        task = asyncio.ensure_future(work())
        with pytest.raises(asyncio.CancelledError):
            await task


@in_loop
async def test_a_claim_that_ended_before_it_was_let_go_of_is_a_loss() -> None:
    """The block thought that it held it."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.ClaimLost, match="ended before"):
            async with claim(agent, timedelta(seconds=60)):
                fake.claims[THING] = ("writer", 2)


@in_loop
async def test_what_cannot_be_released_is_logged_and_expires(caplog: pytest.LogCaptureFixture) -> None:
    """The block has done its work."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Release", grpc.StatusCode.UNAVAILABLE, times=5)
        async with claim(agent):
            pass

    assert "the claim on object:ticket 7 could not be released; it expires" in caplog.text


@in_loop
async def test_calls_on_what_is_claimed_as_a_whole_name_the_token() -> None:
    """Those alone, in its workflow alone, also from tasks; a tool is a service; a keyword wins."""
    async with sidecar() as fake, connect(fake) as agent:
        async with agent.claim("service:mail") as held, agent.claim("dataset:crm"):
            await agent.authorize("tool.call", "tool:mail")
            await agent.authorize("api.call", "service:openai")
            await asyncio.gather(agent.authorize("tool.call", "service:mail"))
            await agent.authorize("tool.call", "tool:mail", claim=0)
            await agent.authorize("api.call", "service:openai", claim=held)
            with remit.workflow(context="ctx.other.signed"):
                await agent.authorize("tool.call", "tool:mail", check=False)
            await agent.execute("set_region", dataset="crm")
        await agent.authorize("tool.call", "tool:mail")

    assert [fake.asked(number).context.claim for number in range(7)] == [1, 0, 1, 0, 1, 0, 0]
    assert fake.writes[0].context.claim == 2


@in_loop
async def test_the_claim_of_one_object_is_named_where_it_is_given() -> None:
    """Which object a call is about, the agent says."""
    async with sidecar() as fake, connect(fake) as agent, agent.claim("service:mail", object="7") as held:
        await agent.authorize("tool.call", "tool:mail")
        await agent.authorize("tool.call", "tool:mail", claim=held)
        await agent.authorize("tool.call", "tool:mail", claim=held.token)

    assert [fake.asked(number).context.claim for number in range(3)] == [0, 1, 1]


@pytest.mark.parametrize("given", ["7", 1.5, None, 2**63])
@in_loop
async def test_what_is_no_claim_is_not_sent(given: Any) -> None:
    """A claim, or its token."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest):
            await agent.authorize("tool.call", "tool:mail", claim=given)

    assert fake.calls == []


@in_loop
async def test_an_observed_agent_is_let_through_and_holds_nothing() -> None:
    """It names no token, lets go of nothing, and has not lost what it never held; once it may, it holds it."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.observed.add("support")
        fake.deny("service:mail", "claim_held")
        async with agent.claim("service:mail", ttl=SHORT) as held:
            assert (held.token, held.decision.effect) == (0, remit.Effect.DENY)
            await agent.authorize("tool.call", "tool:other")
            await until(lambda: len(fake.claimed) > 2)
        assert fake.released == []
        async with agent.claim("service:mail", ttl=SHORT) as held:
            fake.rulings.clear()
            await until(lambda: held.token == 1)
        assert len(fake.released) == 1


@in_loop
async def test_a_claim_is_taken_once() -> None:
    """And has no token before."""
    async with sidecar() as fake, connect(fake) as agent:
        held = claim(agent)
        with pytest.raises(remit.IllegalState):
            _ = held.token
        async with held:
            with pytest.raises(remit.IllegalState, match="taken once"):
                await held.begin()
        with pytest.raises(remit.InvalidRequest, match="type:id"):
            agent.claim("ticket")
        with pytest.raises(remit.InvalidRequest, match="ttl"):
            claim(agent, timedelta())
        with pytest.raises(TypeError, match="unknown keyword 'objekt'"):
            agent.claim("object:ticket", objekt="7")  # type: ignore[call-arg]
