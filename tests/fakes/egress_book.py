"""An upstream that believes nothing: it keeps every byte that reaches it, and answers with whatever bytes a test says.

It reads HTTP/1.1 by itself, by the letter, so that what a library would repair or hide is seen: a second request in
what was to be one, two lengths, a header twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread

WAIT = 30.0


class Line:
    """The other side of one connection, for an answer to write to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, *parts: bytes) -> None:
        """Write, at the speed at which it is read. Raises ConnectionError."""
        for each in parts:
            self._writer.write(each)
            await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has hung up."""
        while await self._reader.read(1 << 16):
            pass


Answer = Callable[["Got", Line], Awaitable[None]]


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
    """What came. `connections` counts those that were accepted, `answering` the requests under way; `wild` is what
    could not be read as a request."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    wild: list[bytes] = field(default_factory=list)
    connections: int = 0
    answering: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)

    def clear(self) -> None:
        """Begin a new page."""
        self.got.clear()
        self.wild.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        line = Line(reader, writer)
        try:
            while got := await self._read(reader):
                self.got.append(got)
                await self._answer(got, line)
        except (ConnectionError, asyncio.IncompleteReadError) as ended:
            if isinstance(ended, asyncio.IncompleteReadError) and ended.partial:
                self.wild.append(ended.partial)
        except asyncio.CancelledError:
            return  # the end of the block
        finally:
            writer.close()

    async def _answer(self, got: Got, line: Line) -> None:
        self.answering += 1
        try:
            await self.answers.get(got.target.partition("?")[0].rpartition("/")[2], plainly)(got, line)
        finally:
            self.answering -= 1

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


async def plainly(got: Got, line: Line) -> None:
    """The answer to what has none of its own."""
    await line.say(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}')


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(text: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%s\r\n" % (len(text), text)


async def idle(got: Got, line: Line) -> None:
    """One event, and then nothing until the other side hangs up."""
    await line.say(EVENTS, chunk(b"data: first\n\n"))
    await line.gone()


async def busy(got: Got, line: Line) -> None:
    """Small events without an end."""
    await line.say(EVENTS)
    while True:
        await line.say(chunk(b"data: more\n\n"))
        await asyncio.sleep(0.02)


async def flood(got: Got, line: Line) -> None:
    """Events as many as anybody takes."""
    await line.say(EVENTS)
    while True:
        await line.say(chunk(b"data: " + b"x" * 8000 + b"\n\n"))


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
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self.open -= 1
            writer.close()


@contextmanager
def serving(*served: Book | Wire) -> Iterator[None]:
    """Run them in a thread of their own, each on a free port, until the end of the block."""
    ready = Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        servers = []
        for each in served:
            server = await asyncio.start_server(each.serve, "127.0.0.1", 0, limit=1 << 20)
            each.port = server.sockets[0].getsockname()[1]
            servers.append(server)
        ends.append(partial(loop.call_soon_threadsafe, done.set))
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
