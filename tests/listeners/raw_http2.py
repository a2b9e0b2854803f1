"""HTTP/2 as nobody should speak it: frames written by hand to a socket, so that any bytes can be tried.

Only what these tests need of RFC 9113 and RFC 7541: header fields are sent literally and never indexed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
AUTHORIZE = b"/remit.v1.Sidecar/Authorize"

_STATUS = re.compile(rb"grpc-status[\x01\x02]([0-9]{1,2})")  # a literal field: name, length, value

Fields = Sequence[tuple[bytes, bytes]]


def integer(value: int, prefix: int) -> bytes:
    """An integer with an N-bit prefix (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([value])
    out, value = bytearray([most]), value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def block(fields: Fields) -> bytes:
    """A header block of literal fields."""
    return b"".join(b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value for name, value in fields)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request(token: str = "", **changed: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a gRPC request; `path`, `method`, `te`… replace the usual values."""
    usual = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": AUTHORIZE,
        b":authority": b"remit",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    for name, value in changed.items():
        plain = name.replace("_", "-").encode()
        usual[b":" + plain if b":" + plain in usual else plain] = value
    fields = list(usual.items())
    return [*fields, (b"authorization", f"Bearer {token}".encode())] if token else fields


def message(body: bytes, *, compressed: bool = False) -> bytes:
    """A length-prefixed message."""
    return bytes([compressed]) + len(body).to_bytes(4, "big") + body


@dataclass(slots=True)
class Ended:
    """How a stream ended: by trailers, by a reset, with the connection, or not at all."""

    how: str
    seen: bytes = b""

    @property
    def status(self) -> int | None:
        """gRPC's status, as far as it was sent literally."""
        found = _STATUS.findall(self.seen)
        return int(found[-1]) if found else None


@dataclass(slots=True)
class Connection:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stream: int = 1
    seen: bytes = field(default=b"")

    async def send(self, *frames: bytes) -> None:
        """Write frames; a peer that has hung up is no error here."""
        try:
            self.writer.writelines(frames)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def ask(self, fields: Fields, body: Iterable[bytes], *, half_close: bool = True) -> int:
        """Open a stream with a body, and say whether it is all."""
        stream, self.stream = self.stream, self.stream + 2
        parts = list(body)
        await self.send(
            frame(HEADERS, END_HEADERS | (0 if parts or not half_close else END_STREAM), stream, block(fields)),
            *(
                frame(DATA, END_STREAM if half_close and place == len(parts) else 0, stream, each)
                for place, each in enumerate(parts, 1)
            ),
        )
        return stream

    async def end(self, stream: int, seconds: float = 5) -> Ended:
        """Read until the stream has ended, in one way or another."""
        try:
            async with asyncio.timeout(seconds):
                return await self._end(stream)
        except TimeoutError:
            return Ended("open", self.seen)
        except (asyncio.IncompleteReadError, ConnectionError):
            return Ended("closed", self.seen)

    async def _end(self, stream: int) -> Ended:
        while True:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, of = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in (SETTINGS, PING) and not flags & ACK:
                await self.send(frame(kind, ACK, 0, payload if kind == PING else b""))
            if of == stream and kind in (HEADERS, DATA):
                self.seen += payload
                if flags & END_STREAM:
                    return Ended("trailers", self.seen)
            if kind == RST_STREAM and of == stream:
                return Ended("reset", self.seen)
            if kind == GOAWAY:
                return Ended("goaway", self.seen + payload)


@asynccontextmanager
async def connect(target: str, *, preface: bytes = PREFACE + frame(SETTINGS, 0, 0, b"")) -> AsyncIterator[Connection]:
    """A connection to a target as gRPC names it."""
    if target.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"))
    else:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    try:
        await connection.send(preface)
        yield connection
    finally:
        writer.transport.abort()
