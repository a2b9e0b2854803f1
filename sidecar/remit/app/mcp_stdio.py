"""One MCP server on standard streams and the client that started us, joined by the relay until either has ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from remit.backends.mcp_server import GRACE, NotFound, start, stop
from remit.core.catalogue import Service
from remit.core.egress.mcp_listing import Allowed
from remit.core.egress.turning import Turned
from remit.listeners.mcp_stdio import MAX_LINE, Gate, Line, Permit, Question, Refused, Relay, TooLong

__all__ = [
    "Gate",
    "NoStreams",
    "NotStarted",
    "Permit",
    "Question",
    "Refused",
    "ServerEnded",
    "StdioServer",
    "TooLong",
    "Turned",
]


class NotStarted(Exception):
    """The server's program cannot be started."""


class NoStreams(Exception):
    """Standard input and output are none that can be waited on."""


class ServerEnded(Exception):
    """The server has ended, with this exit code, while its client was there."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server has ended (exit code {code}) while its client was there")


@dataclass(frozen=True, slots=True)
class StdioServer:
    """One server and its client, until either has ended; `wait` is how long (s) a held call is kept open."""

    service: Service
    gate: Gate
    allowed: Allowed
    wait: int = 0

    async def serve(self, environment: Mapping[str, str]) -> int:
        """Relay until the client, the server or a signal ends it; our exit code. Raises NotStarted,
        NoStreams, TooLong, ServerEnded."""
        stopped = _signals()
        async with _standard_streams() as (reader, to_client):
            process = await self._start(environment)
            assert process.stdin is not None and process.stdout is not None
            relay = Relay(
                self.gate,
                self.allowed,
                to_server=_writing(process.stdin),
                to_client=to_client,
                variants=frozenset(self.service.variants),
                wait=self.wait,
            )
            client = asyncio.create_task(relay.from_client(reader))
            server = asyncio.create_task(relay.from_server(process.stdout))
            try:
                ends: set[asyncio.Future[Any]] = {client, server, stopped}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if client.done() and client.exception() is None:
                    await self._last_answers(process, server)
            finally:
                code = await stop(process)
                await relay.finish("the server has ended")
                for each in (client, server):
                    each.cancel()
                await asyncio.gather(client, server, return_exceptions=True)
        return self._ended(code, client, server, stopped)

    async def _start(self, environment: Mapping[str, str]) -> Process:
        try:
            return await start(self.service.command, environment, line_bytes=MAX_LINE)
        except (NotFound, OSError) as error:
            raise NotStarted(f"{self.service.command[0]} cannot be started; expected a program") from error

    async def _last_answers(self, process: Process, server: asyncio.Task[None]) -> None:
        """The client has said all that it had to say; what it asked for is still to be answered."""
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await asyncio.shield(asyncio.wait({server}))

    def _ended(
        self, code: int, client: asyncio.Task[None], server: asyncio.Task[None], stopped: asyncio.Future[int]
    ) -> int:
        if stopped.done():
            return 128 + stopped.result()
        for each in (client, server):
            error = None if each.cancelled() else each.exception()
            if error is not None and not isinstance(error, OSError):
                raise error
        if not client.done() or client.cancelled():
            raise ServerEnded(code)
        return 0


def _signals() -> asyncio.Future[int]:
    """Done with the number of the first signal that asks us to end."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[int] = loop.create_future()

    def ask(number: int) -> None:
        if not asked.done():
            asked.set_result(number)

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(each, ask, int(each))
    return asked


@contextlib.asynccontextmanager
async def _standard_streams() -> AsyncIterator[tuple[asyncio.StreamReader, Line]]:
    """What the client says, and how to answer it. Raises NoStreams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE)
    try:
        coming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        going, flow = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    except ValueError as error:
        raise NoStreams("standard input and output: expected an MCP client's pipes") from error
    writer = asyncio.StreamWriter(going, flow, None, loop)
    try:
        yield reader, _writing(writer)
    finally:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(GRACE):
                await writer.drain()
        coming.close()
        going.close()


def _writing(writer: asyncio.StreamWriter) -> Line:
    async def write(line: bytes) -> None:
        writer.write(line + b"\n")
        await writer.drain()

    return write
