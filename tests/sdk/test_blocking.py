"""The same agent for scripts and threads."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import remit
from fakes.sidecar_fake import SidecarFake, sidecar_in_thread


@pytest.fixture(scope="module")
def server() -> Iterator[SidecarFake]:
    with sidecar_in_thread() as fake:
        yield fake


@pytest.fixture
def fake(server: SidecarFake) -> SidecarFake:
    """A fake without memory."""
    address = server.address
    loop_bound = server._server
    server.__init__()  # type: ignore[misc]
    server.address, server._server = address, loop_bound
    return server


def connect(fake: SidecarFake, token: str = "token-support") -> remit.blocking.Agent:
    return remit.blocking.Agent.connect(fake.address, token, retry=remit.Retry(delay=lambda: 0))


def test_every_method_is_mirrored_with_its_signature() -> None:
    """What the async agent can do, the blocking one can, with the same parameters."""
    for name, method in inspect.getmembers(remit.Agent, inspect.isfunction):
        if not name.startswith("_"):
            ours = inspect.signature(getattr(remit.blocking.Agent, name)).parameters
            assert list(ours.values()) == list(inspect.signature(method).parameters.values()), name


def test_an_act_reports_success_and_failure(fake: SidecarFake) -> None:
    """As with `async with`; what is inside has it as parent."""
    with connect(fake) as agent:
        with agent.action("api.call", "service:openai", usage={"input_token": 9}) as act:
            agent.authorize("data.read", "dataset:crm")
            act.used(input_token=7)
        with pytest.raises(ValueError, match="mine"), agent.action("api.call", "service:openai"):
            raise ValueError("mine")

    assert fake.outcomes == ["succeeded", "failed"]
    assert fake.asked(1).context.parent == act.decision.id
    assert fake.asked(2).context.parent == ""
    assert fake.reports[0].usage[0].quantity == 7


def test_a_refusal_raises(fake: SidecarFake) -> None:
    """Denied, from the question and from the act."""
    fake.deny("service:openai")
    with connect(fake) as agent:
        with pytest.raises(remit.Denied):
            agent.authorize("api.call", "service:openai")
        with pytest.raises(remit.Denied), agent.action("api.call", "service:openai"):
            pytest.fail("the body ran")
        assert not agent.authorize("api.call", "service:openai", check=False).permitted


def test_a_workflow_is_open_for_its_block(fake: SidecarFake) -> None:
    """Surroundings are the calling thread's; they reach the questions."""
    with connect(fake) as agent:
        with remit.workflow(agent, purposes=["support"], reason="ticket 7") as run, remit.actor("summarise"):
            agent.authorize("data.read", "dataset:crm")
        agent.authorize("data.read", "dataset:crm")

    inside, outside = fake.asked(0).context, fake.asked(1).context
    assert (inside.workflow, inside.reason, inside.actor) == (run.context, "ticket 7", "summarise")
    assert (outside.workflow, outside.reason, outside.actor) == ("", "", "")
    assert fake.runs[run.id].state == "closed"


def test_messages_and_records(fake: SidecarFake) -> None:
    """Handoff, accept, record, and workflows by hand."""
    with connect(fake) as support, connect(fake, "token-writer") as writer:
        workflow = support.open_workflow(["support"])
        with remit.workflow(context=workflow.context):
            passport = support.handoff("writer", message="hello")
        accepted = writer.accept(passport, message="hello")
        with remit.workflow(context=accepted):
            writer.record("send it", inputs=[accepted.decision])
        support.close_workflow(workflow)

    assert accepted.sender == "support"
    assert fake.records[0].context.workflow == workflow.context
    assert fake.runs[workflow.id].state == "closed"


def test_many_threads_share_one_agent(fake: SidecarFake) -> None:
    """Each with its own surroundings."""
    with connect(fake) as agent, ThreadPoolExecutor(4) as pool:

        def work(number: int) -> tuple[str, str]:
            with remit.workflow(purpose=f"p-{number}"), agent.action("tool.call", "tool:search") as act:
                return act.decision.id, agent.authorize("data.read", "dataset:crm").id

        pairs = list(pool.map(work, range(12)))

    for number, (outer, inner) in enumerate(pairs):
        context = fake.made[inner].context
        assert (context.parent, context.purpose) == (outer, f"p-{number}")
    assert len(fake.reports) == 12


def test_a_new_thread_starts_without_surroundings(fake: SidecarFake) -> None:
    """Unless it runs in a copy of the starter's context."""
    with connect(fake) as agent, remit.workflow(purpose="support"):

        def ask() -> None:
            agent.authorize("data.read", "dataset:crm")

        copied = contextvars.copy_context()
        for target in (ask, lambda: copied.run(ask)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join(10)

    assert [fake.asked(number).context.purpose for number in range(2)] == ["", "support"]


def test_an_agent_asks_only_while_connected(fake: SidecarFake) -> None:
    """Before and after its block there is nothing to ask; it is connected once."""
    agent = connect(fake)
    with pytest.raises(remit.IllegalState, match="not connected"):
        agent.authorize("api.call", "service:openai")
    with agent:
        agent.authorize("api.call", "service:openai")
    with pytest.raises(remit.IllegalState, match="closed"):
        agent.authorize("api.call", "service:openai")
    with pytest.raises(remit.IllegalState, match="connected before"):
        agent.open()
    agent.close()


def test_closing_frees_threads_that_wait(fake: SidecarFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for an answer when the agent is closed gets an error, not silence."""
    monkeypatch.setattr("remit.sdk.agent.LAST_WORDS", 0.05)
    agent = connect(fake).open()
    fake.hang("Authorize")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.authorize, "api.call", "service:openai", timeout=30)
        while "Authorize" not in fake.calls:
            threading.Event().wait(0.005)
        agent.close()
        with pytest.raises(remit.Unavailable):
            waiting.result(10)


def test_no_thread_is_left(fake: SidecarFake) -> None:
    """The event loop's thread ends with the block."""
    with connect(fake):
        assert any(thread.name == "remit" for thread in threading.enumerate())
    assert not any(thread.name == "remit" for thread in threading.enumerate())


def test_a_channel_that_cannot_be_made_raises_at_the_start(fake: SidecarFake) -> None:
    """An error of the thread's start is the caller's to see."""
    agent = remit.blocking.Agent.connect("127.0.0.1:1", "t", tls=remit.Tls(ca=Path("/none")))
    with pytest.raises(remit.InvalidRequest, match=r"tls\.ca"):
        agent.open()


def test_the_async_agent_is_reachable_from_threads_only(fake: SidecarFake) -> None:
    """A blocking call in the agent's own event loop is refused, not a deadlock."""
    with connect(fake) as agent:

        async def inside() -> None:
            agent.authorize("api.call", "service:openai")

        with pytest.raises(remit.IllegalState, match="use `await`"):
            agent.portal.run(inside())


def test_a_running_loop_elsewhere_may_block(fake: SidecarFake) -> None:
    """It is its own decision to wait."""

    async def main() -> None:
        with connect(fake) as agent:
            assert agent.authorize("api.call", "service:openai").permitted

    asyncio.run(main())


def test_what_is_held_is_waited_for_and_reviewed(fake: SidecarFake) -> None:
    """By two threads: one asks, the other approves."""
    fake.hold("service:openai")
    with connect(fake) as worker, connect(fake, "token-writer") as lead, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.authorize, "api.call", "service:openai", wait=30, arguments={"n": 1})
        for request in lead.reviews():
            assert request.items[0].arguments == {"n": 1}
            assert request.approve("fine").state == "approved"
            break
        assert waiting.result(10).permitted
        for other in ("deny", "pass_on"):
            with pytest.raises(remit.IllegalState):
                getattr(request, other)("too late")
        with pytest.raises(remit.IllegalState):
            request.offer({"arguments": {}}, "too late")


def test_a_claim_is_held_for_its_block(fake: SidecarFake) -> None:
    """And renewed by the agent's own thread."""
    with connect(fake) as agent, agent.claim("service:mail", ttl=timedelta(seconds=0.15)) as claim:
        agent.authorize("tool.call", "tool:mail")
        while len(fake.claimed) < 3:
            threading.Event().wait(0.005)
        claim.check()
    assert fake.asked(0).context.claim == claim.token == 1
    assert len(fake.released) == 1


def test_a_lost_claim_is_told_at_the_end_and_by_asking(fake: SidecarFake) -> None:
    """A thread is not interrupted."""
    lease = timedelta(seconds=0.15)
    with (
        connect(fake) as agent,
        pytest.raises(remit.ClaimLost),
        agent.claim("service:mail", ttl=lease) as claim,
    ):
        fake.claims[("service", "mail", "")] = ("writer", 2)
        while claim.lost is None:
            threading.Event().wait(0.005)
        with pytest.raises(remit.ClaimLost):
            claim.check()
    assert fake.released == []
