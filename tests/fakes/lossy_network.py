"""A network between a client and a server that does what networks do: it goes away at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_KEY_DATA = b"K\x00\x00\x00\x0c"  # PostgreSQL's BackendKeyData: the backend's process id and a secret


class LossyNetwork:
    """Passes bytes on to a server on loopback, until it is told otherwise.

    `lose_answer`: the next answer of the server is not passed on; its connection is cut instead. `lose_request`: what
    the client sends next never arrives. `silent`: nothing is passed on, and nobody is told. `pooled`: connections look
    as if a pooler made them. `refused`: no new connection is taken.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.lose_answer = False
        self.lose_request = False
        self.silent = False
        self.pooled = False
        self.refused = False
        self.lost = 0

    @property
    def port(self) -> int:
        """Where to connect."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    def cut(self) -> None:
        """End every connection."""
        for link in self._links:
            link.cancel()

    async def stop(self) -> None:
        """End everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refused:
            writer.close()
            return
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        there = asyncio.create_task(self._pass(reader, far_writer, is_request=True))
        back = asyncio.create_task(self._pass(far_reader, writer, is_request=False))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            for each in (writer, far_writer):
                with contextlib.suppress(Exception):
                    each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        while data := await reader.read(65536):
            if self.silent:
                await asyncio.Event().wait()
            if self.lose_request if is_request else self.lose_answer:
                self.lose_request = self.lose_answer = False
                self.lost += 1
                return
            if self.pooled and not is_request and _KEY_DATA in data:
                at = data.index(_KEY_DATA) + len(_KEY_DATA)
                data = data[:at] + struct.pack(">i", 4711) + data[at + 4 :]
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def lossy_network(port: int) -> AsyncIterator[LossyNetwork]:
    """A network to a port of this machine."""
    proxy = LossyNetwork(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
