"""A wire between Remit and a PostgreSQL server: counts who speaks after whom, and breaks when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Breaks = Callable[[str, bytes], str]
"""Asked of each chunk, with who sent it ("client" or "server"): "" lets it through, "before" breaks the connection
without it, "after" with it."""


class Wire:
    """`turns` counts how often the client spoke after the server had; `port` is where it is dialled."""

    def __init__(self, breaks: Breaks | None = None) -> None:
        self.turns = 0
        self.broken = 0
        self.port = 0
        self._breaks = breaks or (lambda _who, _chunk: "")
        self._last = ""

    async def copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str, end: Callable[[], None]
    ) -> None:
        """One direction of a connection, until either side or the wire ends it."""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                self.turns += who == "client" and self._last != "client"
                self._last = who
                broken = self._breaks(who, chunk)
                if broken != "before":
                    writer.write(chunk)
                    await writer.drain()
                if broken:
                    self.broken += 1
                    break
        end()


@asynccontextmanager
async def wire(port: int, breaks: Breaks | None = None) -> AsyncIterator[Wire]:
    """A wire to a port of loopback."""
    between = Wire(breaks)
    copies: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            up, down = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        writers.append(down)

        def end() -> None:
            writer.close()
            down.close()

        for task in (
            asyncio.create_task(between.copy(reader, down, "client", end)),
            asyncio.create_task(between.copy(up, writer, "server", end)),
        ):
            copies.add(task)
            task.add_done_callback(copies.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        for task in list(copies):
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        for each in writers:
            each.close()
        await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)
