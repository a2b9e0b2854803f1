"""The one place that reaches below grpc.aio's public face, for what it cannot do above it.

grpc.aio's accept loop decodes the path of a call to a method that is not registered, as UTF-8 and outside of any
handler. A stream whose path holds another byte, which needs no identity, raises there, and the server shuts down
for everybody (seen on grpcio 1.85.1). For registered methods the same loop waits on a set of futures as large as
their number, anew for each call, which is a tenth of an empty call's time.

So the accept loop is given futures that are never done, and each method gets a loop of its own. One more answers
the calls of no method UNIMPLEMENTED, and never looks at their path.
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
    """gRPC's server with accept loops of our own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Any, methods: Mapping[str, Any], most: int) -> None:
        super().__init__(loop, None, (), (), options, None)
        self.add_registered_method_handlers(dict(methods))
        self._methods = cygrpc._MethodResolver([], dict(methods))
        self._most = most
        self._loops: set[asyncio.Task[None]] = set()
        self.calls: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[None]:
        """gRPC's accept loop asks for each method's next call, and (None) for that of no registered one."""
        loop = asyncio.get_running_loop()
        stopped: asyncio.Future[None] = loop.create_future()
        _keep(self._loops, loop.create_task(self._accept(loop, method, stopped)))
        return stopped

    async def _accept(
        self, loop: asyncio.AbstractEventLoop, method: bytes | None, stopped: asyncio.Future[None]
    ) -> None:
        name = method.decode() if method else ""
        while True:
            try:
                call = await (self._request_registered_call(method) if method else self._request_call())
            except Exception as error:
                if isinstance(error, cygrpc._RequestCallError) and self.is_running():
                    continue  # this one call was lost
                self._tell(stopped, error)
                return
            full = len(self.calls) >= self._most
            served = cygrpc._handle_rpc(name, self._methods, (), call, loop, full)
            _keep(self.calls, loop.create_task(cygrpc._schedule_rpc_coro(served, call, loop, name)))

    def _tell(self, stopped: asyncio.Future[None], error: Exception) -> None:
        """Let gRPC's accept loop see that the server is shutting down, or an error that it must end with."""
        if not stopped.done():
            stopped.set_exception(error)
            stopped.exception()  # looked at here, in case that gRPC looks at another one's


def _keep(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    # An event loop itself holds tasks weakly.
    tasks.add(task)
    task.add_done_callback(tasks.discard)


class Server(aio_server.Server):
    """A grpc.aio server that serves exactly the methods it is made with, at most `most` calls at once in all."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]], options: Options, most: int) -> None:
        # As the base class does, except for the core.
        self._loop = cygrpc.get_working_loop()
        arguments = aio_server._augment_channel_arguments(options, None)
        self._server = _Core(self._loop, arguments, methods, most)

    @property
    def calls(self) -> int:
        """How many calls are open, of any kind and in any state."""
        return len(self._server.calls)
