"""Serves the console by uvicorn, in the event loop that is running.

Uvicorn bounds neither how long a request may take to come, nor how many connections wait for one, nor how long TLS may
take to begin; all of that is bounded here. A connection too many takes the place of the oldest that has asked nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from remit.listeners.console.security import BODY_SECONDS, MAX_HEAD_BYTES, REQUEST_SECONDS

MAX_CONNECTIONS = 128

Load = Callable[[ssl.SSLContext], None]
"""Has a context show a certificate. Raises OSError (an ssl.SSLError is one), ValueError."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: for TLS to begin, for a request to be there, between two of them, for an answer to be taken; and after
    which a connection ends in any case, with the request that it is at."""

    handshake: float = 5.0
    request: float = BODY_SECONDS
    idle: int = 15
    write: float = REQUEST_SECONDS
    age: float = 300.0


class ConsoleListener:
    """Serves an application at one address."""

    def __init__(self, app: ASGIApp, *, connections: int = MAX_CONNECTIONS, times: Times | None = None) -> None:
        self._app = app
        self._connections = connections
        self._times = times or Times()
        self._server: _Server | None = None
        self._shown: ssl.SSLContext | None = None

    async def start(self, host: str, port: int, tls: Load | None = None) -> str:
        """Listen, and return the address with its port filled in.

        Raises OSError where it cannot listen, and what `tls` raises.
        """
        context = None
        if tls is not None:
            context, self._shown = _context(tls), _context(tls)
            context.sni_callback = self._show
        self._server = _Server(self._app, self._connections, self._times)
        return await self._server.begin(host, port, context)

    def show(self, tls: Load) -> None:
        """From now on new connections are shown this certificate, and those there are go on. Raises what it raises."""
        self._shown = _context(tls)

    def _show(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # Another certificate put into the context that listens would stand beside one with another kind of key.
        if self._shown is not None:
            connection.context = self._shown

    async def stop(self, seconds: float) -> None:
        """Let go of the port, give what is being served so many seconds, and cut what is left."""
        if self._server is not None:
            await self._server.end(seconds)


class _Server(uvicorn.Server):
    """Uvicorn's server, with a listening socket of our own and without its hold on signals."""

    servers: list[asyncio.Server]

    def __init__(self, app: ASGIApp, most: int, times: Times) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",  # what strangers send is no news
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=times.idle,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )
        self._most = most
        self._times = times
        self._ticking: asyncio.Task[None] | None = None
        self.servers = []

    async def begin(self, host: str, port: int, context: ssl.SSLContext | None) -> str:
        """Listen; the address."""
        self.config.load()
        handshake = None if context is None else self._times.handshake
        listening = await asyncio.get_running_loop().create_server(
            self._connection, host, port, ssl=context, ssl_handshake_timeout=handshake
        )
        self.servers = [listening]
        self.lifespan = self.config.lifespan_class(self.config)
        self.started = True
        self._ticking = asyncio.create_task(self._tick())
        bound = listening.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def end(self, seconds: float) -> None:
        """Stop listening, and end every connection."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        for server in self.servers:
            server.close()
        connections = [each for each in self.server_state.connections if isinstance(each, _Protocol)]
        for each in connections:
            each.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(self.server_state.tasks, timeout=seconds)
            for task in late:
                task.cancel()
        for each in connections:
            each.cut()

    def _connection(self) -> _Protocol:
        waiting = [each for each in self._open() if each.waits]
        if len(self._open()) >= self._most and waiting:
            min(waiting, key=lambda each: each.since).cut()
        return _Protocol(self.config, self.server_state, {}, most=self._most, times=self._times)

    def _open(self) -> list[_Protocol]:
        return [each for each in self.server_state.connections if isinstance(each, _Protocol)]

    async def _tick(self) -> None:
        """Keeps the date in answers right."""
        while True:
            await self.on_tick(0)
            await asyncio.sleep(1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process's own business."""
        yield


class _Protocol(H11Protocol):
    """One connection, whose client must keep going. `since` is when it last began to wait, by the loop's time."""

    def __init__(self, *args: Any, most: int = MAX_CONNECTIONS, times: Times | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._most = most
        self._times = times or Times()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.since = self.loop.time()

    @property
    def waits(self) -> bool:
        """Whether it has asked nothing that is not answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection, unless there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self._most:
            self.cut()
            return
        self._cut_after("age", self._times.age + self._times.write)
        self._timers["last"] = self.loop.call_later(self._times.age, self._last)
        self._cut_after("request", self._times.request)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request. The clock runs from its first piece until it is there whole."""
        if "request" not in self._timers and self.waits:
            self._cut_after("request", self._times.request)
            self._stop("write")
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop("request")

    def on_response_complete(self) -> None:
        """An answer was handed over: its client must take it, and may then ask again for a while."""
        self.since = self.loop.time()
        super().on_response_complete()
        self._cut_after("write", self._times.write + self._times.idle)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for a while: close, whether or not what was sent has been taken."""
        super().timeout_keep_alive_handler()
        self._cut_after("write", self._times.write)

    def cut(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def _last(self) -> None:
        """Answer what is being answered, and no more."""
        if self.waits:
            self.shutdown()
        else:
            self.cycle.keep_alive = False

    def _cut_after(self, name: str, seconds: float) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, self.cut)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _context(load: Load) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context)
    return context
