"""The standard services, open to whoever can connect and so bounded by themselves: health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import EOF
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from remit.core.errors import BadRequest, Violation
from remit.listeners.grpc_limits import Limits, Places
from remit.listeners.grpc_status import Overloaded, TooSlow, status_of

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
MAX_SERVICE = 128

# Generic in the type stubs alone.
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Health:
    """grpc.health.v1: NOT_SERVING until told otherwise; the server as a whole ("") and each service alike.

    A check must arrive at once: requests that are never sent must not take the places of those that are.
    """

    def __init__(self, services: Sequence[str], limits: Limits) -> None:
        self._services = ("", *services)
        self._servicer = HealthServicer()
        self._limits = limits
        self._checking = Places(limits.watchers, limits.watchers)
        self._watching = Places(limits.watchers, limits.watchers)

    async def serving(self, well: bool) -> None:
        """Tell everybody who asks or watches."""
        state = health_pb2.HealthCheckResponse.SERVING if well else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._servicer.set(service, state)

    async def drain(self) -> None:
        """NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()

    def handlers(self) -> Handlers:
        """What gRPC calls."""
        answer = health_pb2.HealthCheckResponse.SerializeToString
        return {
            f"/{HEALTH}/Check": grpc.stream_unary_rpc_method_handler(self._check, response_serializer=answer),
            f"/{HEALTH}/Watch": grpc.stream_stream_rpc_method_handler(self._watch, response_serializer=answer),
        }

    async def _check(self, requests: object, context: Context) -> Any:
        async with _place(self._checking, context):
            return await self._servicer.Check(await self._received(context), context)

    async def _watch(self, requests: object, context: Context) -> None:
        async with _place(self._watching, context):
            await self._servicer.Watch(await self._received(context), context)

    async def _received(self, context: Context) -> health_pb2.HealthCheckRequest:
        try:
            async with asyncio.timeout(self._limits.check_seconds):
                raw = await context.read()
            request = health_pb2.HealthCheckRequest.FromString(b"" if raw is EOF else raw)
        except TimeoutError:
            return await context.abort_with_status(status_of(TooSlow("the request did not arrive in time")))
        except DecodeError:
            return await context.abort_with_status(status_of(_unreadable(HEALTH)))
        if len(request.service) > MAX_SERVICE:
            return await context.abort_with_status(status_of(_unreadable(HEALTH)))
        return request


class Reflection:
    """grpc.reflection.v1alpha, for tools that ask what there is to call."""

    def __init__(self, services: Sequence[str], limits: Limits) -> None:
        self._servicer = ReflectionServicer((*services, HEALTH, REFLECTION))
        self._limits = limits
        self._asking = Places(limits.watchers, limits.watchers)

    def handlers(self) -> Handlers:
        """What gRPC calls."""
        return {
            f"/{REFLECTION}/ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                self._serve,
                request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
                response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        }

    async def _serve(self, requests: AsyncIterable[Any], context: Context) -> None:
        async with _place(self._asking, context):
            try:
                async with asyncio.timeout(self._limits.call_seconds):
                    async for answer in self._servicer.ServerReflectionInfo(requests, context):
                        await context.write(answer)
            except TimeoutError:
                await context.abort_with_status(status_of(TooSlow("the stream was open for too long")))
            except DecodeError:
                await context.abort_with_status(status_of(_unreadable(REFLECTION)))


@asynccontextmanager
async def _place(places: Places, context: Context) -> AsyncIterator[None]:
    try:
        places.take("")
    except Overloaded as error:
        await context.abort_with_status(status_of(error))
    try:
        yield
    finally:
        places.give_back("")


def _unreadable(service: str) -> BadRequest:
    return BadRequest(Violation("message", f"a request of {service}, its names at most {MAX_SERVICE} bytes"))
