"""An OPA that answers, or misbehaves, as a test says: one behaviour per request, over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REVISION = "r1"
ALLOW: dict[str, Any] = {
    "effect": "ALLOW",
    "reasons": [{"policy": "fake", "code": "allowed"}],
    "obligations": [],
    "approval": {},
    "record": [],
}
DENY: dict[str, Any] = ALLOW | {"effect": "DENY", "reasons": [{"policy": "fake", "code": "no"}]}


@dataclass(slots=True)
class Exchange:
    """One request that the fake received, and the connection to answer on."""

    target: str
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def batch(self) -> dict[str, dict[str, Any]] | None:
        """The questions by key where this is a batch."""
        return self.body["input"].get("batch") if "/batch" in self.target else None

    async def send(self, *pieces: bytes) -> None:
        """Write bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has dropped the connection."""
        await self.reader.read()


Behaviour = Callable[[Exchange], Awaitable[None]]
Judge = Callable[[dict[str, Any]], Any]


def http(body: bytes, *, line: str = "HTTP/1.1 200 OK", headers: tuple[str, ...] = ()) -> bytes:
    """An HTTP answer with a content length."""
    head = "\r\n".join((line, "Content-Type: application/json", *headers, f"Content-Length: {len(body)}"))
    return f"{head}\r\n\r\n".encode() + body


def answer(result: Any, *, revision: str = REVISION) -> bytes:
    """OPA's JSON text for a result."""
    return json.dumps({"provenance": {"bundles": {"b": {"revision": revision}}}, "result": result}).encode()


def says(raw: bytes) -> Behaviour:
    """Answer every request with these bytes."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(raw)

    return behave


def judges(judge: Judge) -> Behaviour:
    """Behave as an OPA whose rule is `judge` (None is undefined); an exception of it is a failed evaluation."""

    async def behave(exchange: Exchange) -> None:
        try:
            await exchange.send(http(_judged(exchange, judge)))
        except ZeroDivisionError as e:
            error = {"code": "eval_builtin_error", "message": str(e), "location": {"file": "x.rego", "row": 3}}
            body = json.dumps({"code": "internal_error", "message": "failed", "errors": [error]}).encode()
            await exchange.send(http(body, line="HTTP/1.1 500 Internal Server Error"))

    return behave


def _judged(exchange: Exchange, judge: Judge) -> bytes:
    if exchange.batch is None:
        verdict = judge(exchange.body["input"])
        if verdict is None:
            return json.dumps({"provenance": {"bundles": {"b": {"revision": REVISION}}}}).encode()
        return answer(verdict)
    verdicts = {key: (entry["digest"], judge(entry["input"])) for key, entry in exchange.batch.items()}
    return answer(
        {
            key: {"digest": digest, "decision": verdict}
            for key, (digest, verdict) in verdicts.items()
            if verdict is not None
        }
    )


class FakeOpa:
    """Serves a Unix socket; `behave` may be exchanged between requests. Remembers every exchange."""

    def __init__(self, path: Path, behave: Behaviour) -> None:
        self.path = path
        self.behave = behave
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FakeOpa:
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self.open):
            writer.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def hang_up(self) -> None:
        """Close every connection, as an OPA does with those that were idle for long."""
        for writer in list(self.open):
            writer.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *headers = head.decode().split("\r\n")
                length = next(int(each.split(":")[1]) for each in headers if each.startswith("Content-Length"))
                exchange = Exchange(line.split(" ")[1], json.loads(await reader.readexactly(length)), reader, writer)
                self.exchanges.append(exchange)
                await self.behave(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()
