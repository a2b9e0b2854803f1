"""An upstream that keeps its own bill: it plays what a test has written for each call, up to where it breaks off.

A call names its play in its text (`play:NAME`). Whatever arrives is kept with the digest that the journal should have
of it, and is billed whole, however little of the answer went out: providers do not stop counting when a caller leaves.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Any

from fakes.provider import CACHED, INPUT, WORDS, Chat, Message, Response
from remit.core.canonical import digest

NAME = re.compile(rb"play:([a-z0-9.-]+)")
CAP = 100
OUTPUT = CAP - 50  # the provider's rule
COST = ((INPUT - CACHED) * 2 + CACHED * 1 + OUTPUT * 8) * 1_000
"""Nanos of every whole answer below, by the stage's prices."""

Json = dict[str, Any]


class Then(Enum):
    """What the upstream does where it stops."""

    HOLD = "hold"  # until the caller has gone, or the test lets it go on
    RESET = "reset"
    CLOSE = "close"


@dataclass
class Play:
    """One answer. `writes` are its pieces as bytes on the wire; it stops after `stop` of them (None: never).

    `bill` is what the upstream charges for it (nanos); `exact` says that the answer tells so.
    """

    writes: Sequence[bytes]
    bill: int = COST
    exact: bool = True
    stop: int | None = None
    then: Then = Then.HOLD
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Arrival:
    """One request that came, with the digest that its decision must have. `over`: the whole answer was written."""

    name: str
    play: Play
    digest: str
    headers: Mapping[str, str]
    over: bool = False


class Upstream:
    """Listens from the start on; answers while somebody is `serving`."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.plays: dict[str, list[Play]] = {}
        self.arrivals: list[Arrival] = []
        self._count = 0

    def add(self, *plays: Play) -> str:
        """The name of a call that is answered by these, one after the other, the last one for ever."""
        self._count += 1
        name = f"p{self._count:05}"
        self.plays[name] = list(plays)
        return name

    def of(self, name: str) -> list[Arrival]:
        """What came under a name."""
        return [each for each in self.arrivals if each.name == name]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Upstream]:
        """Answer until the end of the block."""
        server = await asyncio.start_server(self._serve, sock=self._socket.dup())
        try:
            yield self
        finally:
            server.close()
            for plays in self.plays.values():
                for each in plays:
                    each.go_on.set()

    def pause(self) -> None:
        """Be where nobody listens."""
        self._socket.close()

    def resume(self) -> None:
        """Listen again, at the same place."""
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=512)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            arrival = await self._read(reader)
            await self._perform(arrival, reader, writer)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Arrival:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        found = NAME.search(body) or NAME.search(path.encode())
        name = found[1].decode() if found else ""
        plays = self.plays[name]
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        arrival = Arrival(name, play, digest([method, path, sha256(body).hexdigest()]), headers)
        self.arrivals.append(arrival)
        return arrival

    async def _perform(self, arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        play = arrival.play
        stop = len(play.writes) if play.stop is None else play.stop
        for number, piece in enumerate(play.writes):
            if number == stop:
                play.reached.set()
                if not await _stays(play, reader, writer):
                    return
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # others get their turn, and each piece may come alone
        arrival.over = True
        play.reached.set()


async def _stays(play: Play, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the rest is to be written."""
    if play.then is Then.RESET:
        reset(writer)
    if play.then is not Then.HOLD:
        return False
    waits = {asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(play.go_on.wait())}
    _, waiting = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    return play.go_on.is_set()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Kind:
    """One API: where it is asked, with which body, and what it says, whole and in events."""

    path: Callable[[bool], str]
    body: Callable[[str, bool], Json]
    whole: Callable[[Json], Json]
    events: Callable[[Json], Iterator[str]]


def _chat_body(text: str, stream: bool) -> Json:
    body: Json = {"model": "small", "max_tokens": CAP, "messages": [{"role": "user", "content": text}]}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


def _responses_body(text: str, stream: bool) -> Json:
    return {"model": "small", "max_output_tokens": CAP, "input": text} | ({"stream": True} if stream else {})


def _messages_body(text: str, stream: bool) -> Json:
    body: Json = {"model": "small", "max_tokens": CAP, "messages": [{"role": "user", "content": text}]}
    return body | ({"stream": True} if stream else {})


def _gemini_body(text: str, stream: bool) -> Json:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": CAP}}


def _gemini(output: int, words: Sequence[str], *, last: bool = True) -> Json:
    usage = {
        "promptTokenCount": INPUT,
        "cachedContentTokenCount": CACHED,
        "candidatesTokenCount": output,
        "totalTokenCount": INPUT + output,
    }
    candidate: Json = {"content": {"role": "model", "parts": [{"text": "".join(words)}]}, "index": 0}
    candidate |= {"finishReason": "STOP"} if last else {}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "small"}


def _gemini_events(body: Json) -> Iterator[str]:
    for number, word in enumerate(WORDS, 1):
        part = _gemini(OUTPUT * number // len(WORDS), [word], last=number == len(WORDS))
        yield f"data: {json.dumps(part)}\r\n\r\n"


KINDS: Mapping[str, Kind] = {
    "openai": Kind(
        lambda stream: "/v1/chat/completions",
        _chat_body,
        lambda body: Chat("chatcmpl-1", body, False).whole(),
        lambda body: Chat("chatcmpl-1", body, False).events(),
    ),
    "responses": Kind(
        lambda stream: "/v1/responses",
        _responses_body,
        lambda body: Response("resp_1", body, False).whole(),
        lambda body: Response("resp_1", body, False).events(),
    ),
    "anthropic": Kind(
        lambda stream: "/v1/messages",
        _messages_body,
        lambda body: Message("msg_1", body).whole(),
        lambda body: Message("msg_1", body).events(),
    ),
    "gemini": Kind(
        lambda stream: f"/v1beta/models/small:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}",
        _gemini_body,
        lambda body: _gemini(OUTPUT, WORDS),
        _gemini_events,
    ),
}
MODELS = tuple(KINDS)
PLAIN = Kind(
    lambda stream: "/v1/do",
    lambda text, stream: {"model": "small", "text": text},
    lambda body: {"done": True},
    lambda body: iter(["data: done\n\n"]),
)
"""Any API, without tokens."""

EVENTS = "text/event-stream; charset=utf-8"


def whole_answer(kind: str, stream: bool, *, chunked: bool = True) -> Play:
    """What the API answers to a call that goes well."""
    api = KINDS.get(kind, PLAIN)
    body = api.body("", stream)
    if stream:
        events = [each.encode() for each in api.events(body)]
        return Play(framed(events) if chunked else [head(200, EVENTS), *events])
    text = json.dumps(api.whole(body)).encode()
    third = len(text) // 3
    return Play(sized(text, text[:third], text[third : 2 * third], text[2 * third :]))


def sized(
    body: bytes, *pieces: bytes, status: int = 200, kind: str = "application/json", more: str = ""
) -> list[bytes]:
    """A response with its length; in these pieces, or whole."""
    return [head(status, kind, f"content-length: {len(body)}\r\n{more}"), *(pieces or [body] * bool(body))]


def framed(pieces: Sequence[bytes], kind: str = EVENTS) -> list[bytes]:
    """A chunked response."""
    chunks = [b"%x\r\n%s\r\n" % (len(each), each) for each in pieces]
    return [head(200, kind, "transfer-encoding: chunked\r\n"), *chunks[:-1], chunks[-1] + b"0\r\n\r\n"]


def head(status: int, kind: str, more: str = "") -> bytes:
    """A response's head; its connection is not used again."""
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n{more}\r\n".encode()
