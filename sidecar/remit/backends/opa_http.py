"""One HTTP/1.1 exchange at a time with OPA over a kept connection, read strictly.

Leaner than a general client because this is the path of every decision, and stricter: no redirect, no
encoding, no trailing bytes, no body without a stated end. A request to OPA has no effect in OPA, so one that
may have been lost can be asked again.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 1 << 20

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [ -~]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class ExchangeFailed(Exception):
    """No answer that can be read: the connection failed, or what came is not HTTP as OPA speaks it."""


class _Stale(ExchangeFailed):
    """A kept connection was closed by OPA before the first byte of an answer."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; `keep` says whether its connection may be used again."""

    code: int
    body: bytes
    keep: bool


class AnswerReader:
    """Reads one answer from pieces; any doubt raises ExchangeFailed."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._body = bytearray()
        self._code = 0
        self._length: int | None = None  # None: chunked
        self._keep = True
        self.started = False

    def feed(self, piece: bytes) -> HttpAnswer | None:
        """The answer once it is whole, and nothing after it."""
        self.started = True
        self._waiting += piece
        if not self._code and not self._read_head():
            return None
        if not (self._read_chunks() if self._length is None else self._read_length(self._length)):
            return None
        if self._waiting:
            raise ExchangeFailed("bytes after the answer")
        return HttpAnswer(self._code, bytes(self._body), self._keep)

    def _read_head(self) -> bool:
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0 and len(self._waiting) <= MAX_HEAD_BYTES:
            return False
        if not 0 <= end <= MAX_HEAD_BYTES:
            raise ExchangeFailed(f"more than {MAX_HEAD_BYTES} bytes of headers")
        first, *rest = bytes(self._waiting[:end]).split(b"\r\n")
        del self._waiting[: end + 4]
        headers = _headers(rest)
        code = _code(first)
        self._length = _length(headers)
        self._keep = headers.get(b"connection", b"keep-alive").lower() != b"close"
        self._code = code
        return True

    def _read_length(self, length: int) -> bool:
        if len(self._waiting) < length:
            return False
        self._body += self._waiting[:length]
        del self._waiting[:length]
        return True

    def _read_chunks(self) -> bool:
        while (end := self._waiting.find(b"\r\n")) >= 0:
            size = _chunk_size(self._waiting[:end])
            if len(self._body) + size > MAX_BODY_BYTES:
                raise ExchangeFailed(f"more than {MAX_BODY_BYTES} bytes of answer")
            start, stop = end + 2, end + 2 + size
            if len(self._waiting) < stop + 2:
                return False
            if self._waiting[stop : stop + 2] != b"\r\n":
                raise ExchangeFailed("a chunk that does not end where it said" if size else "trailers")
            self._body += self._waiting[start:stop]
            del self._waiting[: stop + 2]
            if not size:
                return True
        if len(self._waiting) > 16:
            raise ExchangeFailed("a chunk without a size")
        return False


def _code(line: bytes) -> int:
    matched = _STATUS_LINE.fullmatch(line)
    if not matched:
        raise ExchangeFailed(f"not HTTP/1.1: {line[:40]!r}")
    code = int(matched[1])
    if code in (204, 304):
        raise ExchangeFailed(f"HTTP {code}, which has no answer")
    return code


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        matched = _HEADER.fullmatch(line)
        if not matched:
            raise ExchangeFailed(f"a malformed header: {line[:40]!r}")
        name = matched[1].lower()
        if name in headers:
            raise ExchangeFailed(f"the header {name.decode()} twice")
        headers[name] = matched[2]
    return headers


def _length(headers: dict[bytes, bytes]) -> int | None:
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise ExchangeFailed("an encoding that was not asked for")
    length, transfer = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if (length is None) == (transfer is None):
        raise ExchangeFailed("an answer with no single stated end")
    if length is None:
        if transfer != b"chunked":
            raise ExchangeFailed("a transfer encoding other than chunked")
        return None
    if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY_BYTES:
        raise ExchangeFailed(f"a content length of {length[:20]!r}, expected at most {MAX_BODY_BYTES}")
    return int(length)


def _chunk_size(line: bytes | bytearray) -> int:
    if not _CHUNK_SIZE.fullmatch(line):
        raise ExchangeFailed("a malformed chunk size")
    return int(line, 16)


class _Connection(asyncio.Protocol):
    """A transport with at most one request outstanding."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = AnswerReader()
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._fresh = True

    @property
    def alive(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> HttpAnswer:
        """The answer to one request. Whatever else happens, cancellation too, ends the connection."""
        if self._transport is None or self._transport.is_closing():
            raise _Stale("the connection was closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._reader = AnswerReader()
        self._transport.write(request)
        try:
            answer = await self._answer
        except BaseException:
            self.abort()
            raise
        finally:
            self._answer = None
            self._fresh = False
        if not answer.keep:
            self.abort()
        return answer

    def abort(self) -> None:
        """Drop the connection: what is still to come on it belongs to nobody."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's: the connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Asyncio's: a piece of the answer, or something that nobody asked for."""
        if self._answer is None or self._answer.done():
            self.abort()
            return
        try:
            answer = self._reader.feed(data)
        except ExchangeFailed as failure:
            self._answer.set_exception(failure)
            return
        if answer is not None:
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's: the connection is gone."""
        self._transport = None
        if self._answer is None or self._answer.done():
            return
        early = not self._reader.started and not self._fresh
        kind = _Stale if early else ExchangeFailed
        self._answer.set_exception(kind("the connection was closed before the whole answer came"))


Dial = Callable[[], Awaitable[_Connection]]
"""Opens a connection to one OPA; OSError where it cannot."""


def dial_socket(path: Path) -> Dial:
    """Connects to a Unix socket."""

    async def dial() -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(_Connection, str(path))
        return connection

    return dial


def dial_url(url: str) -> Dial:
    """Connects to an OPA that another runs, at http:// or https://; ValueError for other addresses."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query:
        raise ValueError(f"OPA's address: found {url!r}, expected unix:///path, http://host:port or https://…")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = ssl.create_default_context() if parts.scheme == "https" else None

    async def dial() -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, host, port, ssl=context)
        return connection

    return dial


class Channel:
    """A kept connection, opened when needed, and again when OPA has closed it. One exchange at a time."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._connection: _Connection | None = None
        self._closed = False

    async def exchange(self, request: bytes) -> HttpAnswer:
        """The answer, or ExchangeFailed. Asked twice only where a kept connection turned out to be closed."""
        try:
            return await (await self._connected()).exchange(request)
        except _Stale:
            return await (await self._connected()).exchange(request)

    async def _connected(self) -> _Connection:
        if self._connection is None or not self._connection.alive:
            if self._closed:
                raise ExchangeFailed("the connection was closed by this side")
            try:
                self._connection = await self._dial()
            except OSError as e:
                raise ExchangeFailed(f"could not connect ({e.strerror or e})") from e
        return self._connection

    def close(self) -> None:
        """Drop the connection, for good."""
        self._closed = True
        if self._connection is not None:
            self._connection.abort()
