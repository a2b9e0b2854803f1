"""Workflows, purposes and actors: surroundings that follow `await`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from types import SimpleNamespace

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s


def connect(fake: SidecarFake, token: str = "token-support") -> remit.Agent:
    return remit.Agent.connect(fake.address, token, retry=remit.Retry(delay=lambda: 0))


@in_loop
async def test_a_workflow_is_open_for_its_block() -> None:
    """Questions inside are in it, also from tasks; after the block it is closed, and they are not."""
    async with sidecar() as fake, connect(fake) as agent:
        async with remit.workflow(agent, purposes=["support"], reason="ticket 7") as run:
            assert fake.runs[run.id].state == "open"
            await agent.authorize("data.read", "dataset:crm")
            await asyncio.gather(*(agent.authorize("data.read", "dataset:crm") for _ in range(3)))
        await agent.authorize("data.read", "dataset:crm")

    contexts = [fake.asked(number).context for number in range(5)]
    assert [each.workflow for each in contexts] == [run.context] * 4 + [""]
    assert [each.reason for each in contexts] == ["ticket 7"] * 4 + [""]
    assert (fake.runs[run.id].state, fake.runs[run.id].ended) == ("closed", "")
    assert run.decision.permitted


@in_loop
async def test_all_options_of_opening_arrive() -> None:
    """Agents, time to live, key and reason are the request's."""
    async with sidecar() as fake, connect(fake) as agent:
        workflow = await agent.open_workflow(
            ["support", "billing"], agents=["writer"], ttl=timedelta(minutes=90), reason="why", key="k"
        )
        await agent.close_workflow(workflow, reason="done")

    request = fake.made[workflow.decision.id].request
    assert isinstance(request, s.OpenWorkflowRequest)
    assert (list(request.purposes), list(request.agents)) == (["support", "billing"], ["writer"])
    assert (request.ttl.seconds, request.reason, request.key) == (5400, "why", "k")
    assert fake.runs[workflow.id].ended == "done"


@in_loop
async def test_an_exception_closes_the_workflow_too() -> None:
    """Its class is the reason; the exception goes on."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(ZeroDivisionError):
            async with remit.workflow(agent, purposes=["support"]) as run:
                _ = 1 / 0

    assert (fake.runs[run.id].state, fake.runs[run.id].ended) == ("closed", "ended by ZeroDivisionError")


@in_loop
async def test_cancellation_closes_the_workflow_too() -> None:
    """Whether it comes in the block or while the workflow is being opened."""
    async with sidecar() as fake, connect(fake) as agent:
        begun = asyncio.Event()

        async def work() -> None:
            async with remit.workflow(agent, purposes=["support"]):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fake.runs["w1"].state == "closed"

        gate = fake.hang("OpenWorkflow", after=True)
        task = asyncio.create_task(work())
        await gate.reached.wait()
        task.cancel()
        gate.release.set()
        await until(lambda: fake.runs["w2"].state == "closed")


@in_loop
async def test_a_refused_workflow_never_begins() -> None:
    """Denied comes out of the `async with` line."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("workflow:new", "purpose_not_granted")
        with pytest.raises(remit.Denied, match="purpose_not_granted"):
            async with remit.workflow(agent, purposes=["support"]):
                pytest.fail("the body ran")

    assert fake.calls == ["OpenWorkflow"]


@in_loop
async def test_a_close_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and noted on the block's exception; it replaces neither result nor exception."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("CloseWorkflow", grpc.StatusCode.FAILED_PRECONDITION, "closed by the owner", times=2)
        async with remit.workflow(agent, purposes=["support"]):
            pass
        with pytest.raises(ValueError, match="mine") as raised:
            async with remit.workflow(agent, purposes=["support"]):
                raise ValueError("mine")

    assert "workflow w1 could not be closed; it expires: CloseWorkflow: closed by the owner" in caplog.text
    assert raised.value.__notes__ == ["remit: workflow w2 could not be closed: CloseWorkflow: closed by the owner"]


@in_loop
async def test_an_allow_without_a_workflow_opens_nothing() -> None:
    """An answer that names no workflow is no answer."""
    async with sidecar() as fake, connect(fake) as agent:
        reason = r.PolicyReason(policy="p", code="allowed")
        allowed = r.Decision(id="d1", effect=r.EFFECT_ALLOW, reasons=[reason], enforced=True)
        fake.say("OpenWorkflow", s.OpenWorkflowResponse(decision=allowed))
        with pytest.raises(remit.Unavailable, match="names no workflow"):
            await agent.open_workflow(["support"])


@in_loop
async def test_surroundings_nest() -> None:
    """Inner blocks replace what they name and leave the rest; a new workflow forgets purpose and parent."""
    async with sidecar() as fake, connect(fake) as agent:
        with remit.workflow(purpose="support", reason="outer"), remit.actor("summarise"):
            async with agent.action("tool.call", "tool:search") as act:
                with remit.workflow(reason="inner"):
                    await agent.authorize("data.read", "dataset:crm")
                async with remit.workflow(agent, purposes=["billing", "support"], purpose="billing"):
                    await agent.authorize("data.read", "dataset:crm")
                with remit.workflow(context=""):
                    await agent.authorize("data.read", "dataset:crm")
        await agent.authorize("data.read", "dataset:crm")

    seen = [fake.asked(number).context for number in range(1, 5)]
    assert [(each.workflow, each.purpose, each.reason, each.actor, each.parent) for each in seen] == [
        ("", "support", "inner", "summarise", act.decision.id),
        ("ctx.w1.signed", "billing", "", "summarise", ""),
        ("", "", "outer", "summarise", ""),
        ("", "", "", "", ""),
    ]


@in_loop
async def test_a_context_from_elsewhere_is_entered() -> None:
    """Another agent's workflow, named by its signed context; keywords of a call still win."""
    async with sidecar() as fake, connect(fake) as agent, connect(fake, "token-writer") as writer:
        opened = await agent.open_workflow(["support", "billing"])
        with remit.workflow(context=opened.context, purpose="support"):
            await writer.authorize("data.read", "dataset:crm")
            await writer.authorize("data.read", "dataset:crm", purpose="billing", reason="now")
            await writer.authorize("data.read", "dataset:crm", workflow="")

    seen = [fake.asked(number).context for number in range(3)]
    assert [(each.workflow, each.purpose, each.reason) for each in seen] == [
        (opened.context, "support", ""),
        (opened.context, "billing", "now"),
        ("", "", ""),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": "Support"},
        {"purpose": "a\r\nRemit-Actor: x"},
        {"reason": "x" * 513},
        {"reason": "\ud800"},
        {"context": "ctx\r\n"},
        {"context": "x" * 1025},
    ],
)
def test_what_no_header_carries_is_refused(wrong: dict[str, str]) -> None:
    """Surroundings may become HTTP headers, so their grammar is checked where they are said."""
    with pytest.raises(remit.InvalidRequest):
        remit.workflow(**wrong)


def test_an_actor_is_a_name() -> None:
    """A wrong one is refused."""
    with pytest.raises(remit.InvalidRequest, match="actor: expected 1 to 64 of a-z, 0-9 and -"):
        remit.actor("Summarise!")


@in_loop
async def test_opening_and_entering_do_not_mix() -> None:
    """An existing context cannot be opened again."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(TypeError, match="unknown keyword 'context'"):
            remit.workflow(agent, purposes=["support"], context="x")  # type: ignore[call-overload]

    assert fake.calls == []


@in_loop
async def test_the_trace_of_a_loaded_opentelemetry_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody else has loaded it, its trace id goes along; an invalid span has none."""
    span = SimpleNamespace(trace_id=0xABC, is_valid=True)
    library = SimpleNamespace(get_current_span=lambda: SimpleNamespace(get_span_context=lambda: span))
    async with sidecar() as fake, connect(fake) as agent:
        await agent.authorize("data.read", "dataset:crm")
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", library)
        await agent.authorize("data.read", "dataset:crm")
        opened = await agent.open_workflow(["support"])
        span.is_valid = False
        await agent.authorize("data.read", "dataset:crm")

    assert [fake.asked(number).context.trace for number in range(3)] == ["", f"{0xABC:032x}", ""]
    assert fake.made[opened.decision.id].context.trace == f"{0xABC:032x}"
