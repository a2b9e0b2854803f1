"""One call to the sidecar: credential, deadline, at most a few repetitions, errors of our own."""

# ruff: noqa: ASYNC109 (a timeout here is the deadline of an RPC, which the sidecar learns too)

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode, aio

from remit.sdk.address import Target
from remit.sdk.afterwards import is_cancelled
from remit.sdk.errors import IllegalState, Unavailable
from remit.sdk.failures import failure
from remit.v1 import oversight_pb2_grpc, sidecar_pb2_grpc


def _jitter() -> float:
    return 0.05 + 0.1 * random.random()  # noqa: S311 (spreads callers in time, hides nothing)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call whose connection was lost is repeated, and after how many seconds.

    Only calls that the sidecar recognises are repeated: those with an idempotency key, and reports. A query has no key
    and no effect: it is repeated where nothing of its answer has arrived.
    """

    times: int = 1
    delay: Callable[[], float] = _jitter


class Transport:
    """The channel to the sidecar, of one event loop, from `open` to `close`."""

    def __init__(self, target: Target, *, retry: Retry, timeout: float) -> None:
        self._target = target
        self._retry = retry
        self._timeout = timeout
        self._channel: aio.Channel | None = None
        self._rpcs: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the channel belongs to; IllegalState before `open` and after `close`."""
        if self._loop is None or self._channel is None:
            raise IllegalState("the agent is not connected: use `async with remit.Agent.connect() as agent`")
        return self._loop

    def open(self) -> None:
        """Make the channel. It connects with the first call."""
        if self._loop is not None:
            raise IllegalState("this agent was connected before: call remit.Agent.connect() again")
        self._loop = asyncio.get_running_loop()
        self._channel = self._target.channel()
        for stub in (sidecar_pb2_grpc.SidecarStub, oversight_pb2_grpc.OversightStub):
            self._rpcs |= vars(stub(self._channel))

    async def close(self) -> None:
        """Close the channel; calls under way end as Unavailable."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def call(self, rpc: str, request: Message, *, repeatable: bool = False, timeout: float | None = None) -> Any:
        """The response. `timeout` is in seconds, for all attempts together. Raises RemitError."""
        deadline = self._deadline(self._timeout if timeout is None else timeout)
        repetitions = self._retry.times if repeatable else 0
        while True:
            try:
                return await self._attempt(rpc, request, deadline - self.loop.time())
            except aio.AioRpcError as error:
                await self._lost(rpc, error, repetitions, deadline)
                repetitions -= 1

    async def parts(self, rpc: str, request: Message, *, timeout: float) -> AsyncGenerator[Any, None]:
        """The parts of an answer, each when it is asked for; closing it ends the call. Raises RemitError."""
        deadline = self._deadline(timeout)
        repetitions = self._retry.times
        while True:
            call = self._begin(rpc, request, deadline - self.loop.time())
            try:
                while (part := await self._within(rpc, call.read())) is not aio.EOF:
                    repetitions = 0
                    yield part
                return
            except aio.AioRpcError as error:
                await self._lost(rpc, error, repetitions, deadline)
                repetitions -= 1
            finally:
                call.cancel()

    def _deadline(self, seconds: float) -> float:
        if self.loop is not asyncio.get_running_loop():
            raise IllegalState("the agent belongs to another event loop; from threads use remit.blocking.Agent")
        return self.loop.time() + seconds

    async def _lost(self, rpc: str, error: aio.AioRpcError, repetitions: int, deadline: float) -> None:
        """Wait before the next attempt where there is to be one, else raise."""
        delay = self._retry.delay()
        lost = error.code() is StatusCode.UNAVAILABLE
        if not (lost and repetitions > 0 and self.loop.time() + delay < deadline):
            raise failure(error, rpc) from error
        await asyncio.sleep(delay)

    async def _attempt(self, rpc: str, request: Message, timeout: float) -> Any:
        return await self._within(rpc, self._begin(rpc, request, timeout))

    def _begin(self, rpc: str, request: Message, timeout: float) -> Any:
        return self._rpcs[rpc](request, timeout=timeout, metadata=self._target.metadata)

    async def _within(self, rpc: str, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # gRPC reports a call that its own channel ended as a cancellation of whoever awaits it.
            raise Unavailable(f"{rpc}: the connection was closed during the call") from None
