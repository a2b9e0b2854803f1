"""Functions whose every call is governed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import remit
from fakes.loop import in_loop
from fakes.sidecar_fake import SidecarFake, sidecar, sidecar_in_thread
from remit.v1 import resources_pb2 as r


def connect(fake: SidecarFake) -> remit.Agent:
    return remit.Agent.connect(fake.address, "token-support")


@in_loop
async def test_each_call_is_an_act() -> None:
    """Arguments come from the call, usage from the result; the function keeps its name and result."""
    async with sidecar() as fake, connect(fake) as agent:

        @agent.governed(
            "tool.call",
            "tool:search",
            operation="web",
            arguments=lambda q, top=3: {"q": q, "top": top},
            used=lambda found: {"call": len(found)},
        )
        async def search(q: str, top: int = 3) -> list[str]:
            """Search."""
            await agent.authorize("api.call", "service:bing")
            return [q] * top

        assert await search("cats", top=2) == ["cats", "cats"]
        assert search.__name__ == "search"

    assert fake.asked(0).context.arguments == b'{"q":"cats","top":2}'
    assert fake.asked(0).resource.operation == "web"
    assert fake.asked(1).context.parent == "d1"
    assert fake.outcomes == ["succeeded"]
    assert list(fake.reports[0].usage) == [r.Usage(unit="call", quantity=2)]


@in_loop
async def test_a_refused_call_does_not_run() -> None:
    """Denied comes out of the call."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("tool:search")
        ran = []

        @agent.governed("tool.call", "tool:search")
        async def search() -> None:
            ran.append(1)

        with pytest.raises(remit.Denied):
            await search()

    assert ran == []


@in_loop
async def test_an_exception_is_reported_and_goes_on() -> None:
    """By its class name."""
    async with sidecar() as fake, connect(fake) as agent:

        @agent.governed("tool.call", "tool:search")
        async def search() -> None:
            raise LookupError("secret")

        with pytest.raises(LookupError, match="secret"):
            await search()

    assert (fake.outcomes, fake.reports[0].error) == (["failed"], "LookupError")


@remit.governed("tool.call", "tool:search", arguments=lambda q: {"q": q})
async def search_with_whom_there_is(q: str) -> str:
    return q.upper()


@remit.governed("tool.call", "tool:count")
def count(text: str) -> int:
    return len(text)


@in_loop
async def test_the_surrounding_agent_is_found() -> None:
    """`remit.governed` needs no agent when it is written, only when it is called."""
    async with sidecar() as fake:
        async with connect(fake):
            assert await search_with_whom_there_is("cats") == "CATS"
            assert await asyncio.create_task(search_with_whom_there_is("dogs")) == "DOGS"
        with pytest.raises(remit.IllegalState, match="no agent here"):
            await search_with_whom_there_is("cats")

    assert fake.outcomes == ["succeeded", "succeeded"]


@in_loop
async def test_a_plain_function_runs_in_a_thread_beside_the_loop() -> None:
    """In the loop's own thread it would wait for itself, so that is refused."""
    async with sidecar() as fake, connect(fake):
        assert await asyncio.to_thread(count, "cats") == 4
        with pytest.raises(remit.IllegalState, match="use `await`"):
            count("cats")

    assert fake.outcomes == ["succeeded"]


def test_a_plain_function_with_a_blocking_agent() -> None:
    """Scripts need no event loop; other threads need the context of the first."""
    with sidecar_in_thread() as fake, remit.blocking.Agent.connect(fake.address, "token-support") as agent:
        assert count("cats") == 4
        assert agent.governed("tool.call", "tool:count")(len)("dogs") == 4
        assert contextvars.copy_context().run(count, "x") == 1

    assert fake.outcomes == ["succeeded"] * 3


@in_loop
async def test_what_would_be_reported_before_it_ran_is_refused() -> None:
    """Generators at decoration; a plain function that returns an awaitable at its call."""
    async with sidecar() as fake, connect(fake) as agent:
        govern = agent.governed("tool.call", "tool:search")

        def plain() -> Iterator[int]:
            yield 1

        async def asynchronous() -> AsyncIterator[int]:
            yield 1

        for function in (plain, asynchronous):
            with pytest.raises(TypeError, match="is a generator"):
                govern(function)

        future: Any = asyncio.get_running_loop().create_future()
        with pytest.raises(TypeError, match="write it as `async def`"):
            await asyncio.to_thread(govern(lambda: future))

    assert fake.reports[0].error == "TypeError"


def test_a_misspelt_option_is_found_when_the_function_is_written() -> None:
    """Not at its first call."""
    with pytest.raises(TypeError, match="unknown keyword 'varient'"):
        remit.governed("api.call", "service:openai", varient="small")  # type: ignore[call-arg]
