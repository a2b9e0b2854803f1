"""A network that can be cut: a TCP proxy on loopback between a member and its PostgreSQL, which does as it is told.

    async with cut_proxy(server.host, server.port) as network:
        network.drop()                          # every connection breaks, new ones are made
        network.refuse()                        # nobody listens; `heal` ends all of this
        network.swallow()                       # what is sent in either direction vanishes, and nobody is told
        network.delay = 0.05                    # seconds that each piece is late
        cut = network.arm(Cut("ship", "answer", after=3, how="drop"))
        await cut.struck.wait()

An armed cut strikes once, at the next message in which a member calls that function of the store's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 1 << 16
HOWS = ("drop", "half", "swallow", "hold")


@dataclass(eq=False)
class Cut:
    """What becomes of one call of `function`.

    `part`: "request" or "answer", of which `after` bytes arrive; then the connection is dropped (`how`: "drop"), closed
    in that direction alone ("half"), goes on without anything arriving ("swallow"), or waits until `go_on` ("hold").
    """

    function: str
    part: str
    after: int = 0
    how: str = "drop"
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


class CutProxy:
    """The proxy; made by `cut_proxy`. `port` is where members find it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._target = host, port
        self._listener: asyncio.Server | None = None
        self._wires: set[_Wire] = set()
        self._armed: list[Cut] = []
        self._swallows = False
        self.delay = 0.0
        self.port = 0

    async def listen(self) -> None:
        """Take connections."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._taken, "127.0.0.1", self.port)
            self.port = int(self._listener.sockets[0].getsockname()[1])

    def arm(self, cut: Cut) -> Cut:
        """Strike at the next such call."""
        self._armed.append(cut)
        return cut

    def drop(self) -> int:
        """Break every connection; how many."""
        broken = tuple(self._wires)
        for each in broken:
            each.drop()
        return len(broken)

    def refuse(self) -> None:
        """Break every connection, and let nobody connect."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.drop()

    def swallow(self) -> None:
        """Whatever is sent from now on vanishes; connections are taken, and nothing is ever said on them."""
        self._swallows = True
        for each in self._wires:
            each.swallows = {"request", "answer"}

    async def heal(self) -> None:
        """All is well for new connections; what was lost on old ones stays lost, and they are broken by and by."""
        self._swallows, self.delay = False, 0.0
        self._armed.clear()
        for each in tuple(self._wires):
            if each.swallows:
                each.drop()
        await self.listen()

    async def close(self) -> None:
        """The end of it."""
        self.refuse()
        await asyncio.gather(*(each.over.wait() for each in tuple(self._wires)))

    def struck_by(self, sent: bytes) -> Cut | None:
        """The armed cut that a message sets off."""
        for each in self._armed:
            if b"remit.%s(" % each.function.encode() in sent:
                self._armed.remove(each)
                return each
        return None

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = _Wire(self, reader, writer)
        if self._swallows:
            wire.swallows = {"request", "answer"}
        self._wires.add(wire)
        try:
            await wire.carry(self._host, self._target)
        finally:
            self._wires.discard(wire)
            wire.over.set()


class _Wire:
    """One connection through the proxy."""

    def __init__(self, proxy: CutProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = (reader, writer)
        self._writers = [writer]
        self._cut: Cut | None = None
        self._left = 0
        self.swallows: set[str] = set()
        self.over = asyncio.Event()

    def drop(self) -> None:
        """Break it, in both directions and at once."""
        for each in self._writers:
            sock = each.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.transport.abort()

    async def carry(self, host: str, port: int) -> None:
        """Carry what is said until one end is gone."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            self.drop()
            return
        self._writers.append(writer)
        pumps = [
            asyncio.ensure_future(self._pump("request", self._near[0], writer)),
            asyncio.ensure_future(self._pump("answer", reader, self._near[1])),
        ]
        try:
            await asyncio.gather(*pumps)
        except OSError:
            pass
        finally:
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.drop()

    async def _pump(self, part: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(CHUNK):
            if self._proxy.delay:
                await asyncio.sleep(self._proxy.delay)
            if part == "request" and self._cut is None and (cut := self._proxy.struck_by(said)) is not None:
                self._cut, self._left = cut, cut.after
            if self._cut is not None and self._cut.part == part:
                said = await self._strike(self._cut, said, writer)
            if said and part not in self.swallows:
                writer.write(said)
                await writer.drain()
        if part not in self.swallows:
            with suppress(OSError, RuntimeError):
                writer.write_eof()

    async def _strike(self, cut: Cut, said: bytes, writer: asyncio.StreamWriter) -> bytes:
        """What still arrives of a message, once its time has come."""
        if len(said) < self._left:
            self._left -= len(said)
            return said
        first, rest = said[: self._left], said[self._left :]
        if first and cut.part not in self.swallows:
            writer.write(first)
            await writer.drain()
        self._cut = None
        cut.struck.set()
        if cut.how == "hold":
            await cut.go_on.wait()
            return rest
        if cut.how == "drop":
            await asyncio.sleep(0)  # so that what was written is sent
            self.drop()
        elif cut.how == "half":
            writer.write_eof()
        if cut.how in ("half", "swallow"):
            self.swallows.add(cut.part)
        return b""


@asynccontextmanager
async def cut_proxy(host: str, port: int) -> AsyncIterator[CutProxy]:
    """A proxy to that place, for as long as the block lasts."""
    proxy = CutProxy(host, port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
