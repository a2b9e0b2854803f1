"""The one place that reaches below grpc.aio's public face, to keep one stream from ending the server for everybody.

grpc.aio's accept loop decodes the path of every call to a method that is not registered, as UTF-8 and outside of
any handler. A stream whose path holds another byte, which needs no identity, raises there, and the server shuts
down (seen on grpcio 1.85.1). So all methods are registered, the accept loop is never given such a call, and a loop
beside it answers them UNIMPLEMENTED without looking at their path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server as aio_server

Options = tuple[tuple[str, Any], ...]


class _Core(cygrpc.AioServer):  # type: ignore[misc]
    """The accept loop asks this method for the next call of a method, or (None) of no registered one."""

    _strays: asyncio.Task[None] | None = None

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        if method is not None:
            found: asyncio.Future[Any] = super()._make_request_call_future(method)
            return found
        loop = asyncio.get_running_loop()
        self._strays = loop.create_task(self._refuse_strays(loop))
        return loop.create_future()

    async def _refuse_strays(self, loop: asyncio.AbstractEventLoop) -> None:
        nowhere = cygrpc._MethodResolver([], {})
        refusing: set[asyncio.Task[None]] = set()
        while self.is_running():
            try:
                call = await self._request_call()
            except cygrpc._RequestCallError:
                continue  # this one call was lost, or the server is shutting down: its state tells which
            refusal = cygrpc._handle_rpc("", nowhere, (), call, loop, False)
            task = loop.create_task(cygrpc._schedule_rpc_coro(refusal, call, loop, ""))
            refusing.add(task)
            task.add_done_callback(refusing.discard)


class Server(aio_server.Server):
    """A grpc.aio server that serves exactly the methods it is made with; any other path is UNIMPLEMENTED."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]], options: Options, most: int) -> None:
        # As the base class does, except for the core. `most` bounds the calls at once, whatever their method.
        self._loop = cygrpc.get_working_loop()
        arguments = aio_server._augment_channel_arguments(options, None)
        self._server = _Core(self._loop, None, (), (), arguments, most)
        self._server.add_registered_method_handlers(dict(methods))
