"""An upstream that believes nothing: it keeps every byte that reaches it, and answers with whatever bytes a test says.

It reads HTTP/1.1 by itself, by the letter, so that what a library would repair or hide is seen: a second request in
what was to be one, two lengths, a header twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

WAIT = 30.0

Answer = Callable[["Got", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it came: `head` are its bytes up to the empty line."""

    method: str
    target: str
    head: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]


@dataclass
class Book:
    """What came. `connections` counts those that were accepted, `wild` is what could not be read as a request."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    wild: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """What an answer may wait for; set by `end`."""
    loop: asyncio.AbstractEventLoop | None = None

    def clear(self) -> None:
        """Begin a new page."""
        self.got.clear()
        self.wild.clear()

    def end(self) -> None:
        """Let answers that wait for it end."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.release.set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        try:
            while got := await self._read(reader):
                self.got.append(got)
                name = got.target.partition("?")[0].rpartition("/")[2]
                await self.answers.get(name, plainly)(got, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError) as ended:
            if isinstance(ended, asyncio.IncompleteReadError) and ended.partial:
                self.wild.append(ended.partial)
        finally:
            self.open -= 1
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Got | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as ended:
            if ended.partial:
                self.wild.append(ended.partial)
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = tuple((name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in lines))
        words = first.split(" ")
        if len(words) != 3:
            self.wild.append(head)
            return None
        named = dict(headers)
        body = b""
        if "chunked" in named.get("transfer-encoding", ""):
            body = await _chunks(reader)
        elif "content-length" in named:
            body = await reader.readexactly(int(named["content-length"]))
        return Got(words[0], words[1], head, headers, body)


async def plainly(got: Got, writer: asyncio.StreamWriter) -> None:
    """The answer to what has none of its own."""
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}')


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return body


@dataclass
class Wire:
    """Takes connections and sends back what it is sent: the far end of a tunnel."""

    port: int = 0
    connections: int = 0
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        try:
            while read := await reader.read(4096):
                writer.write(read)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            self.open -= 1
            writer.close()


@contextmanager
def serving(*served: Book | Wire) -> Iterator[None]:
    """Run them in a thread of their own, each on a free port, until the end of the block."""
    ready = Event()
    ends: list[Callable[[], None]] = []

    async def serve() -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        servers = []
        for each in served:
            server = await asyncio.start_server(each.serve, "127.0.0.1", 0, limit=1 << 20)
            each.port = server.sockets[0].getsockname()[1]
            servers.append(server)
            if isinstance(each, Book):
                each.loop = loop
        ends.append(lambda: loop.call_soon_threadsafe(done.set))
        ready.set()
        await done.wait()
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(WAIT)
    try:
        yield
    finally:
        ends[0]()
        thread.join(WAIT)
