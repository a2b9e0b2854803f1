"""Health and reflection: open to whoever connects, and bounded."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from fakes.loop import in_loop
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from listeners.serving import reason, serving
from remit.listeners.grpc_limits import Limits

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def state(channel: grpc.aio.Channel, service: str = "") -> int:
    """What health says of a service."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    found: int = answer.status
    return found


@in_loop
async def test_health_says_what_it_was_told_of_the_server_and_of_each_service() -> None:
    """Serving and not, without a credential."""
    async with serving() as served, served.caller("") as caller:
        for service in ("", "remit.v1.Sidecar", "remit.v1.Oversight", "remit.v1.Audit"):
            assert await state(caller.channel, service) == SERVING
        await served.listener.serving(False)
        assert await state(caller.channel) == NOT_SERVING


@in_loop
async def test_health_of_a_service_that_is_not_there_is_not_found() -> None:
    """As the protocol says; a name without end is malformed."""
    async with serving() as served, served.caller("") as caller:
        for name, code in (("x.Y", StatusCode.NOT_FOUND), ("x" * 129, StatusCode.INVALID_ARGUMENT)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await state(caller.channel, name)
            assert caught.value.code() is code


@in_loop
async def test_who_watches_is_told_of_a_drain_before_the_server_goes() -> None:
    """NOT_SERVING comes first, and then the stream ends."""
    async with serving() as served, served.caller("") as caller:
        watch = health_pb2_grpc.HealthStub(caller.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.ensure_future(served.listener.stop(grace=0.2))
        assert (await watch.read()).status == NOT_SERVING
        await stopping


@in_loop
async def test_only_so_many_watch() -> None:
    """One more is told to come later, and a place that is freed is given again."""
    async with serving(limits=Limits(watchers=3)) as served, AsyncExitStack() as open_channels:
        caller = await open_channels.enter_async_context(served.caller(""))
        stub = health_pb2_grpc.HealthStub(caller.channel)
        watching = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        for each in watching:
            await each.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
        assert reason(caught.value) == "OVERLOADED"
        assert await state(caller.channel) == SERVING
        for each in watching:
            each.cancel()


@in_loop
async def test_reflection_lists_what_there_is_to_call() -> None:
    """Our services and the standard ones."""
    async with serving() as served, served.caller("") as caller:
        stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
        stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        (answer,) = [each async for each in stream]

        names = {each.name for each in answer.list_services_response.service}
        assert {"remit.v1.Sidecar", "remit.v1.Oversight", "remit.v1.Audit", "grpc.health.v1.Health"} < names


@in_loop
async def test_a_reflection_stream_does_not_stay_open() -> None:
    """Its time is bounded."""
    async with serving(limits=Limits(call_seconds=0.2)) as served, served.caller("") as caller:
        stream = reflection_pb2_grpc.ServerReflectionStub(caller.channel).ServerReflectionInfo()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


@in_loop
async def test_a_reflection_request_that_cannot_be_read_is_malformed() -> None:
    """INVALID_ARGUMENT, and nothing of the sidecar's inside is told."""
    async with serving() as served, served.caller("") as caller:
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        stream = caller.channel.stream_stream(path)(iter([b"\xff\xff\xff"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is StatusCode.INVALID_ARGUMENT
