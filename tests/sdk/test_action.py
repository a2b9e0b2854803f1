"""One governed act: asked for before, reported after, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.v1 import resources_pb2 as r


def connect(fake: SidecarFake, **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, "token-support", retry=remit.Retry(delay=lambda: 0), **options)


@in_loop
async def test_a_success_is_reported_with_its_real_usage() -> None:
    """What was used replaces what was estimated; later figures for a unit replace earlier ones."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        agent.action("api.call", "service:openai", usage={"input_token": 900}) as act,
    ):
        assert act.decision.permitted
        assert fake.held == [act.decision.id]
        act.used(input_token=1, output_token=95)
        act.used(input_token=812)

    assert fake.outcomes == ["succeeded"]
    assert list(fake.reports[0].usage) == [
        r.Usage(unit="input_token", quantity=812),
        r.Usage(unit="output_token", quantity=95),
    ]
    assert act.reported == remit.Reported("rep", "settled", cost=remit.Money("EUR", 907_000))
    assert fake.held == []


@in_loop
async def test_a_refused_act_never_begins() -> None:
    """Denied comes out of the `async with` line; there is nothing to report."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("service:openai")
        with pytest.raises(remit.Denied):
            async with agent.action("api.call", "service:openai"):
                pytest.fail("the body ran")

    assert fake.reports == []


@in_loop
async def test_an_exception_is_reported_by_its_name_alone() -> None:
    """The text of an exception may hold secrets, and stays here; the exception goes on."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(ValueError, match="sk-secret"):
            async with agent.action("api.call", "service:openai") as act:
                act.used(input_token=5)
                raise ValueError("key sk-secret is wrong")

    assert fake.outcomes == ["failed"]
    assert fake.reports[0].error == "ValueError"
    assert [each.quantity for each in fake.reports[0].usage] == [5]


@in_loop
async def test_what_was_not_sent_is_reported_so() -> None:
    """Also when an exception follows."""
    async with sidecar() as fake, connect(fake) as agent:
        async with agent.action("api.call", "service:openai") as act:
            act.used(input_token=5)
            act.not_sent()
        with pytest.raises(OSError, match="no route"):
            async with agent.action("api.call", "service:openai") as act:
                act.not_sent()
                raise OSError("no route")

    assert fake.outcomes == ["not_sent", "not_sent"]
    assert list(fake.reports[0].usage) == []


@in_loop
async def test_a_failure_without_an_exception_is_told() -> None:
    """`failed` is for answers that are errors."""
    async with sidecar() as fake, connect(fake) as agent, agent.action("api.call", "service:openai") as act:
        act.failed("HTTP 503")

    assert (fake.outcomes, fake.reports[0].error) == (["failed"], "HTTP 503")


@in_loop
async def test_decisions_inside_have_the_act_as_parent() -> None:
    """Also in tasks started inside; after the block the parent is what it was before."""
    async with sidecar() as fake, connect(fake) as agent:
        async with agent.action("tool.call", "tool:search") as outer:
            async with agent.action("api.call", "service:openai") as inner:
                await asyncio.create_task(agent.authorize("data.read", "dataset:crm"))
            await agent.authorize("data.read", "dataset:crm")
            await agent.authorize("data.read", "dataset:crm", parent="")
        await agent.authorize("data.read", "dataset:crm")

    assert [fake.asked(number).context.parent for number in range(6)] == [
        "",
        outer.decision.id,
        inner.decision.id,
        outer.decision.id,
        "",
        "",
    ]


@in_loop
async def test_siblings_do_not_become_parents_of_each_other() -> None:
    """Acts of concurrent tasks have separate surroundings."""
    async with sidecar() as fake, connect(fake) as agent:

        async def one() -> tuple[str, str]:
            async with agent.action("tool.call", "tool:search") as act:
                return act.decision.id, (await agent.authorize("data.read", "dataset:crm")).id

        pairs = await asyncio.gather(*(one() for _ in range(8)))

    assert [fake.made[inner].context.parent for _, inner in pairs] == [outer for outer, _ in pairs]


@pytest.mark.parametrize("usage", [{"input_token": -1}, {"input_token": 1.5}, {"input_token": True}])
@in_loop
async def test_a_wrong_usage_is_refused_where_it_is_said(usage: dict[str, Any]) -> None:
    """Whole and not negative, or InvalidRequest."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest, match=r"usage\.input_token: expected an int"):
            async with agent.action("api.call", "service:openai") as act:
                act.used(**usage)

    assert fake.reports[0].error == "InvalidRequest"


@in_loop
async def test_an_act_has_one_life() -> None:
    """Nothing can be told before it began or after it ended, and it cannot begin twice."""
    async with sidecar() as fake, connect(fake) as agent:
        act = agent.action("api.call", "service:openai")
        with pytest.raises(remit.IllegalState, match="not begun"):
            _ = act.decision
        with pytest.raises(remit.IllegalState, match="not under way"):
            act.used(call=1)
        async with act:
            pass
        with pytest.raises(remit.IllegalState, match="not under way"):
            act.not_sent()
        with pytest.raises(remit.IllegalState, match="done once"):
            async with act:
                pytest.fail("the body ran twice")

    assert fake.outcomes == ["succeeded"]


@in_loop
async def test_a_lost_report_does_not_undo_a_success(caplog: pytest.LogCaptureFixture) -> None:
    """The effect has happened: the loss is logged and kept, and the body's result stands."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        agent.action("api.call", "service:openai", usage={"call": 1}) as act,
    ):
        await fake.kill()

    assert isinstance(act.unreported, remit.Unavailable)
    assert act.reported is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"decision {act.decision.id} could not be reported; its reservation lapses" in caplog.text


@in_loop
async def test_a_lost_report_does_not_hide_the_bodys_exception() -> None:
    """The exception goes on, with a note about the report."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Report", grpc.StatusCode.FAILED_PRECONDITION, "ended")
        with pytest.raises(ValueError, match="mine") as raised:
            async with agent.action("api.call", "service:openai") as act:
                raise ValueError("mine")

    assert raised.value.__notes__ == [f"remit: decision {act.decision.id} could not be reported: Report: ended"]
    assert isinstance(act.unreported, remit.IllegalState)


@in_loop
async def test_a_report_whose_answer_is_lost_is_sent_again() -> None:
    """The sidecar knows the same report again."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.drop("Report")
        async with agent.action("api.call", "service:openai") as act:
            pass

    assert fake.calls == ["Authorize", "Report", "Report"]
    assert len(fake.reports) == 1
    assert act.reported is not None
    assert act.reported.replayed


@in_loop
async def test_cancellation_in_the_body_is_reported() -> None:
    """The report is made although the task is cancelled, and the cancellation goes on."""
    async with sidecar() as fake, connect(fake) as agent:
        begun = asyncio.Event()

        async def work() -> None:
            async with agent.action("api.call", "service:openai", usage={"call": 1}):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert fake.outcomes == ["failed"]
        assert fake.reports[0].error == "CancelledError"
        assert fake.held == []
        assert 0 < fake.seconds[-1] < 2.1, "the last words are bounded by two seconds"


@in_loop
async def test_cancellation_during_the_report_does_not_lose_it() -> None:
    """A report under way arrives, whatever happens to the task."""
    async with sidecar() as fake, connect(fake) as agent:
        gate = fake.hang("Report")

        async def work() -> None:
            async with agent.action("api.call", "service:openai", usage={"call": 1}):
                pass

        task = asyncio.create_task(work())
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await agent.authorize("data.read", "dataset:crm")  # by now the sidecar would know of a cancelled call
        gate.release.set()
        await until(lambda: fake.outcomes == ["succeeded"])


@pytest.mark.parametrize("after", [False, True])
@in_loop
async def test_cancellation_while_asking_gives_the_permission_back(after: bool) -> None:
    """An ALLOW that arrives when nobody waits any more is reported as not sent."""
    async with sidecar() as fake, connect(fake) as agent:
        gate = fake.hang("Authorize", after=after)
        task = asyncio.create_task(agent.authorize("api.call", "service:openai", usage={"call": 1}))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.release.set()
        await until(lambda: fake.outcomes == ["not_sent"])

    assert fake.held == []
    assert len(fake.reservations) == 1


@in_loop
async def test_closing_waits_for_what_is_given_back() -> None:
    """Leaving the agent's block lets the report of a cancelled question arrive first."""
    async with sidecar() as fake:
        async with connect(fake) as agent:
            gate = fake.hang("Authorize", after=True)
            task = asyncio.create_task(agent.authorize("api.call", "service:openai", usage={"call": 1}))
            await gate.reached.wait()
            task.cancel()
            gate.release.set()

        assert fake.outcomes == ["not_sent"]


@in_loop
async def test_a_refusal_that_nobody_waits_for_is_not_reported() -> None:
    """There is nothing to give back."""
    async with sidecar() as fake:
        async with connect(fake) as agent:
            fake.deny("service:openai")
            gate = fake.hang("Authorize", after=True)
            task = asyncio.create_task(agent.authorize("api.call", "service:openai"))
            await gate.reached.wait()
            task.cancel()
            gate.release.set()

        assert fake.calls == ["Authorize"]


@in_loop
async def test_a_timeout_around_an_act_is_a_cancellation() -> None:
    """`asyncio.timeout` is no special case."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, agent.action("api.call", "service:openai"):
                limit.reschedule(0)
                await asyncio.Event().wait()

    assert fake.reports[0].error == "CancelledError"


@in_loop
async def test_progress_prolongs() -> None:
    """`progress` ends nothing."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        agent.action("api.call", "service:openai", usage={"call": 1}) as act,
    ):
        prolonged = await agent.report(act.decision, "progress")
        assert fake.held == [act.decision.id]

    assert prolonged.state == "held"
    assert fake.outcomes == ["succeeded"]


@in_loop
async def test_reporting_what_is_unknown_or_told_otherwise_is_an_illegal_state() -> None:
    """A report by hand raises."""
    async with sidecar() as fake, connect(fake) as agent:
        decision = await agent.authorize("api.call", "service:openai")
        await agent.report(decision, "succeeded", usage={"call": 1})
        again = await agent.report(decision.id, "succeeded", usage={"call": 1})
        assert again.replayed
        for wrong, outcome in ((decision, "failed"), ("d99", "succeeded")):
            with pytest.raises(remit.IllegalState):
                await agent.report(wrong, outcome)  # type: ignore[arg-type]
