"""Interceptors for gRPC clients of governed services: each call is authorised before, and reported when it ends.

    channel = grpc.aio.insecure_channel(target, interceptors=grpc_adapter.aio_interceptors(agent, "ledger"))
    channel = grpc.intercept_channel(channel, grpc_adapter.interceptor(agent, "ledger"))

The operation is the method, "package.Service/Method". A denied call raises remit.Denied where it is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from grpc import aio

from remit.sdk import blocking
from remit.sdk.action import Action
from remit.sdk.agent import Agent
from remit.sdk.http import tell_used
from remit.sdk.question import Ask

Counted = Callable[[Any], Mapping[str, int]]
"""Usage per unit, from a request or a response message."""


def aio_interceptors(
    agent: Agent, service: str, *, estimate: Counted | None = None, used: Counted | None = None
) -> tuple[aio.ClientInterceptor, ...]:
    """For grpc.aio: one for each kind of call. `estimate` sees unary requests, `used` unary responses."""
    governed = _Governed(agent, service, estimate, used)
    return (_UnaryUnary(governed), _UnaryStream(governed), _StreamUnary(governed), _StreamStream(governed))


def interceptor(
    agent: blocking.Agent, service: str, *, estimate: Counted | None = None, used: Counted | None = None
) -> BlockingInterceptor:
    """For `grpc.intercept_channel`."""
    return BlockingInterceptor(agent, service, estimate, used)


def _ask(method: str | bytes, request: Any, estimate: Counted | None) -> Ask:
    name = method.decode() if isinstance(method, bytes) else method
    ask = Ask(operation=name.lstrip("/"))
    if estimate is not None and request is not None:
        ask["usage"] = estimate(request)
    return ask


class _Governed:
    """One call of grpc.aio, whatever its kind."""

    def __init__(self, agent: Agent, service: str, estimate: Counted | None, used: Counted | None) -> None:
        self._agent = agent
        self._service = service
        self._estimate = estimate
        self._used = used

    async def call(self, proceed: Any, details: Any, request: Any, *, unary: bool, response: bool) -> Any:
        ask = _ask(details.method, request if unary else None, self._estimate)
        act = self._agent.action("api.call", f"service:{self._service}", **ask)
        await act.begin()
        try:
            call = await proceed(details, request)
        except BaseException as error:
            await act.end(error)
            raise
        used = self._used if response else None
        call.add_done_callback(lambda _: self._agent.afterwards.start(_end(act, call, used)))
        return call


async def _end(act: Action, call: Any, used: Counted | None) -> None:
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        act.failed(code.name)
    elif used is not None:
        tell_used(act, used, await call)
    await act.end()


class _UnaryUnary(aio.UnaryUnaryClientInterceptor):
    def __init__(self, governed: _Governed) -> None:
        self._governed = governed

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._governed.call(continuation, client_call_details, request, unary=True, response=True)


class _UnaryStream(aio.UnaryStreamClientInterceptor):
    def __init__(self, governed: _Governed) -> None:
        self._governed = governed

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._governed.call(continuation, client_call_details, request, unary=True, response=False)


class _StreamUnary(aio.StreamUnaryClientInterceptor):
    def __init__(self, governed: _Governed) -> None:
        self._governed = governed

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._governed.call(
            continuation, client_call_details, request_iterator, unary=False, response=True
        )


class _StreamStream(aio.StreamStreamClientInterceptor):
    def __init__(self, governed: _Governed) -> None:
        self._governed = governed

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._governed.call(
            continuation, client_call_details, request_iterator, unary=False, response=False
        )


class BlockingInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """All four kinds of call of `grpc`."""

    def __init__(
        self, agent: blocking.Agent, service: str, estimate: Counted | None = None, used: Counted | None = None
    ) -> None:
        self._agent = agent
        self._service = service
        self._estimate = estimate
        self._used = used

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Govern it."""
        return self._call(continuation, client_call_details, request, unary=True, response=True)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Govern it."""
        return self._call(continuation, client_call_details, request, unary=True, response=False)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Govern it."""
        return self._call(continuation, client_call_details, request_iterator, unary=False, response=True)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Govern it."""
        return self._call(continuation, client_call_details, request_iterator, unary=False, response=False)

    def _call(self, proceed: Any, details: Any, request: Any, *, unary: bool, response: bool) -> Any:
        ask = _ask(details.method, request if unary else None, self._estimate)
        act = self._agent.action("api.call", f"service:{self._service}", **ask)
        begun = act.begin()
        try:
            call = proceed(details, request)
        except BaseException as error:
            act.end(error)
            raise

        def ended(_: Any) -> None:
            if call.code() is not grpc.StatusCode.OK:
                begun.failed(call.code().name)
            elif response and self._used is not None:
                tell_used(begun, self._used, call.result())
            act.end()

        call.add_done_callback(ended)
        return call
