"""gRPC clients, governed: every kind of call is asked for before and reported at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar, sidecar_in_thread
from grpc import aio
from remit.sdk import grpc_adapter

UNARY, SERVER, CLIENT, BOTH = "/acme.Ledger/Add", "/acme.Ledger/Watch", "/acme.Ledger/Fill", "/acme.Ledger/Chat"
ALL = [UNARY, SERVER, CLIENT, BOTH]


class Ledger(grpc.GenericRpcHandler):
    """Answers every kind of call with what it got; "fail" fails."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.seen.append(details.method)
        return {
            UNARY: grpc.unary_unary_rpc_method_handler(self.one),
            SERVER: grpc.unary_stream_rpc_method_handler(self.many),
            CLIENT: grpc.stream_unary_rpc_method_handler(lambda requests, context: b"".join(requests)),
            BOTH: grpc.stream_stream_rpc_method_handler(lambda requests, context: iter(list(requests))),
        }.get(details.method)

    def one(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if request == b"fail":
            context.abort(grpc.StatusCode.DATA_LOSS, "secret")
        return request

    def many(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield request
        yield self.one(request, context)


@contextmanager
def ledger() -> Iterator[tuple[Ledger, str]]:
    """A running service and its address."""
    server, served = grpc.server(ThreadPoolExecutor(4)), Ledger()
    server.add_generic_rpc_handlers((served,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield served, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@asynccontextmanager
async def governed(**counted: Any) -> AsyncIterator[tuple[SidecarFake, Ledger, Any]]:
    """A fake sidecar, a ledger and a governed channel to it."""
    with ledger() as (served, address):
        async with sidecar() as fake, remit.Agent.connect(fake.address, "token-support") as agent:
            interceptors = grpc_adapter.aio_interceptors(agent, "ledger", **counted)
            async with aio.insecure_channel(address, interceptors=interceptors) as channel:
                yield fake, served, channel


async def sent() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


@in_loop
async def test_every_kind_of_call_is_asked_for_and_reported() -> None:
    """The operation is the method."""
    async with governed() as (fake, _, channel):
        assert await channel.unary_unary(UNARY)(b"x") == b"x"
        assert [each async for each in channel.unary_stream(SERVER)(b"x")] == [b"x", b"x"]
        assert await channel.stream_unary(CLIENT)(sent()) == b"ab"
        assert [each async for each in channel.stream_stream(BOTH)(sent())] == [b"a", b"b"]
        await until(lambda: len(fake.reports) == 4)

    assert [fake.asked(number).resource.operation for number in range(4)] == [each[1:] for each in ALL]
    assert {fake.asked(number).resource.id for number in range(4)} == {"ledger"}
    assert fake.outcomes == ["succeeded"] * 4


@in_loop
async def test_nothing_is_sent_that_was_denied() -> None:
    """Denied is raised where the call is awaited; the service sees none of it."""
    async with governed() as (fake, served, channel):
        fake.deny("service:ledger")
        with pytest.raises(remit.Denied):
            await channel.unary_unary(UNARY)(b"x")
        with pytest.raises(remit.Denied):
            [each async for each in channel.unary_stream(SERVER)(b"x")]
        with pytest.raises(remit.Denied):
            await channel.stream_unary(CLIENT)(sent())
        with pytest.raises(remit.Denied):
            [each async for each in channel.stream_stream(BOTH)(sent())]

    assert served.seen == []
    assert fake.reports == []


@in_loop
async def test_usage_is_counted_from_the_messages() -> None:
    """The estimate from the request, the real usage from the response."""
    async with governed(estimate=lambda m: {"byte": 10 * len(m)}, used=lambda m: {"byte": len(m)}) as (
        fake,
        _,
        channel,
    ):
        await channel.unary_unary(UNARY)(b"abc")
        await channel.stream_unary(CLIENT)(sent())
        await until(lambda: len(fake.reports) == 2)

    assert [[each.quantity for each in fake.asked(number).usage] for number in range(2)] == [[30], []]
    assert [report.usage[0].quantity for report in fake.reports] == [3, 2]


@in_loop
async def test_a_failed_call_is_reported_by_its_status_alone() -> None:
    """Not by its text."""
    async with governed(used=len) as (fake, _, channel):
        with pytest.raises(grpc.RpcError):
            await channel.unary_unary(UNARY)(b"fail")
        with pytest.raises(grpc.RpcError):
            [each async for each in channel.unary_stream(SERVER)(b"fail")]
        await until(lambda: len(fake.reports) == 2)

    assert fake.outcomes == ["failed", "failed"]
    assert [each.error for each in fake.reports] == ["DATA_LOSS", "DATA_LOSS"]


@in_loop
async def test_a_cancelled_call_is_reported() -> None:
    """Cancelled while the stream is open."""
    async with governed() as (fake, _, channel):

        async def endless() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        call = channel.stream_unary(CLIENT)(endless())
        await until(lambda: len(fake.made) == 1)
        await asyncio.wait_for(call.wait_for_connection(), 5)
        call.cancel()
        await until(lambda: len(fake.reports) == 1)

    assert [each.error for each in fake.reports] == ["CANCELLED"]


def test_blocking_calls_of_every_kind() -> None:
    """`grpc.intercept_channel` with one interceptor for all."""
    with (
        ledger() as (served, address),
        sidecar_in_thread() as fake,
        remit.blocking.Agent.connect(fake.address, "token-support") as agent,
        grpc.insecure_channel(address) as plain,
    ):
        interceptor = grpc_adapter.interceptor(agent, "ledger", used=lambda message: {"byte": len(message)})
        channel: Any = grpc.intercept_channel(plain, interceptor)
        assert channel.unary_unary(UNARY)(b"x") == b"x"
        assert channel.unary_unary(UNARY).future(b"yy").result() == b"yy"
        assert list(channel.unary_stream(SERVER)(b"x")) == [b"x", b"x"]
        assert channel.stream_unary(CLIENT)(iter([b"a", b"b"])) == b"ab"
        assert list(channel.stream_stream(BOTH)(iter([b"a", b"b"]))) == [b"a", b"b"]
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(UNARY)(b"fail")
        asyncio.run(until(lambda: len(fake.reports) == 6))
        fake.deny("service:ledger")
        before = list(served.seen)
        for call in (
            lambda: channel.unary_unary(UNARY)(b"x"),
            lambda: channel.unary_unary(UNARY).future(b"x").result(),
            lambda: list(channel.unary_stream(SERVER)(b"x")),
            lambda: channel.stream_unary(CLIENT)(iter([b"a"])),
            lambda: list(channel.stream_stream(BOTH)(iter([b"a"]))),
        ):
            with pytest.raises(remit.Denied):
                call()
        assert served.seen == before

    assert sorted(fake.outcomes) == ["failed"] + ["succeeded"] * 5
    assert sorted(each.usage[0].quantity for each in fake.reports if each.usage) == [1, 2, 2]
