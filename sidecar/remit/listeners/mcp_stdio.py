"""MCP over standard streams: the relay between an agent's client and a server, with a question before each call.

Two pumps, one each way, and neither waits for the other: a call that waits for its decision holds up nothing but
itself. What is not plumbing goes to the server only after an ALLOW. A call's life:

    asked ──ALLOW──▶ sent ──answer──▶ reported succeeded, or failed
      │                └──cancelled by the client, or an end──▶ reported failed
      └──anything else, cancelled included──▶ never sent, answered by an error, or what is held as `mcp_held` says
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from remit.core.canonical import MAX_INTEGER, encode_exact
from remit.core.egress.kinds.mcp import bounded, called_tool
from remit.core.egress.mcp_headers import VERSION_MEMBER, agreed_initialize
from remit.core.egress.mcp_listing import Allowed, Unreadable, hide_tools, read_listing
from remit.core.egress.mcp_message import (
    METHOD_NOT_FOUND,
    METHODS,
    PLUMBING,
    RESPONSE,
    SESSIONS_END,
    TOOL_CALL,
    McpRefused,
    Message,
    read_message,
)
from remit.core.egress.mcp_refusal import rpc_refused
from remit.core.egress.mcp_resume import RETRY_WAIT_SECONDS, resumed
from remit.core.egress.turning import NOTHING, Turned

MAX_LINE = 4 << 20
"""Bytes of one message, either way."""

MAX_ASKING = 64
"""Calls that may wait for their decision at once; then nothing more is read from the client."""

MAX_WAITING = 32
"""Of them, those that may wait for an approval: so that the client is always read on, and can cancel."""

_LOG = logging.getLogger("remit.mcp")
_SESSIONS = METHODS["2025-06-18"] | METHODS["2025-11-25"]

Id = str | int
Line = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before a message goes on; `wait` is how long (s) the answer may wait for an approval."""

    action: str
    operation: str
    arguments: Mapping[str, Any]
    variant: str = ""
    wait: int = 0


class Refused(Exception):
    """The answer is no, or there is none: what the client is told. `status` is as HTTP's: 403, 503; `turned` what
    approvals it turns on."""

    def __init__(self, message: str, *, status: int, code: str, decision: str = "", turned: Turned = NOTHING) -> None:
        super().__init__(message)
        self.turned = turned
        self.status = status
        self.code = code
        self.decision = decision


class Permit(Protocol):
    """A permission that is used once."""

    async def succeeded(self) -> None:
        """The server answered."""

    async def failed(self, why: str) -> None:
        """It was sent, and no good came of it."""


class Gate(Protocol):
    """Who is asked."""

    async def ask(self, question: Question) -> Permit:
        """The permission, recorded and durable. Raises Refused."""


class TooLong(Exception):
    """A line of more than 4 MiB; whose, for people."""


class Relay:
    """One client and one server. `variants` are the service's; `allowed` says which tools are shown; `wait` is how long
    (s) a held call is kept open."""

    def __init__(
        self,
        gate: Gate,
        allowed: Allowed,
        *,
        to_server: Line,
        to_client: Line,
        variants: frozenset[str] = frozenset(),
        wait: int = 0,
    ) -> None:
        self._gate = gate
        self._allowed = allowed
        self._variants = variants
        self._to_server = to_server
        self._to_client = to_client
        self._asking: dict[Id, asyncio.Task[None]] = {}
        self._nameless: set[asyncio.Task[None]] = set()
        self._sent: dict[Id, Permit] = {}
        self._room = asyncio.Semaphore(MAX_ASKING)
        self._wait = wait
        self._waiting = 0

    async def from_client(self, reader: asyncio.StreamReader) -> None:
        """Until the client ends its side. Raises TooLong."""
        while line := await _line(reader, "the client"):
            if line.strip():
                await self._said(line)

    async def from_server(self, reader: asyncio.StreamReader) -> None:
        """Until the server ends its side; what it says that is no JSON is left out. Raises TooLong."""
        while line := await _line(reader, "the server"):
            if line.strip():
                await self._answered(line)

    async def finish(self, why: str) -> None:
        """Nothing more comes: what waits for a decision is not sent, what was sent has failed."""
        waiting = [*self._asking.values(), *self._nameless]
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for permit in list(self._sent.values()):
            await permit.failed(why)
        self._sent.clear()

    async def _said(self, line: bytes) -> None:
        try:
            message = read_message(line, MAX_LINE)
            tried = resumed(message)
            question = self._question(tried.message)
        except McpRefused as fault:
            refused = Refused(fault.detail, status=fault.rpc, code="request_unmapped")
            await self._deny(None, _id_in(line), refused)
            return
        if question is None:
            await self._pass(message)
            return
        await self._room.acquire()
        wait = max(self._wait, RETRY_WAIT_SECONDS) if tried.round and not tried.declined else self._wait
        task = asyncio.create_task(self._decide(message, replace(question, wait=wait)))
        if message.method and message.id is not None:
            self._asking[message.id] = task
        else:
            self._nameless.add(task)
        task.add_done_callback(lambda done: self._decided(message, done))

    def _question(self, message: Message) -> Question | None:
        """What to ask, None for plumbing. Raises McpRefused."""
        if not message.method:
            said = {key: message.content[key] for key in ("result", "error") if key in message.content}
            return Question("api.call", RESPONSE, bounded(said))
        known = METHODS[SESSIONS_END] if VERSION_MEMBER in message.meta else _SESSIONS
        if message.method not in known:
            raise McpRefused(f"there is no method {message.method[:64]!r}", METHOD_NOT_FOUND)
        if message.method.startswith("notifications/") != (message.id is None):
            raise McpRefused(f"id: {message.method!r} has one if and only if it is a request")
        if message.id is not None and (message.id in self._asking or message.id in self._sent):
            raise McpRefused("id: another request with it is under way")
        if message.method == "initialize":
            agreed_initialize(message)
        if message.method in PLUMBING:
            return None
        if message.method == TOOL_CALL:
            tool, arguments = called_tool(message)
            return Question("tool.call", tool, arguments, tool if tool in self._variants else "")
        shown = {key: each for key, each in message.params.items() if key != "_meta"}
        return Question("api.call", message.method, bounded(shown))

    async def _pass(self, message: Message) -> None:
        if message.method == "notifications/cancelled":
            named = message.params.get("requestId")
            if isinstance(named, str | int) and await self._cancelled(named):
                return
        await self._to_server(encode_exact(message.content))

    async def _cancelled(self, id: Id) -> bool:
        """Whether the request was still waiting for its decision, so that the server need not hear of it."""
        permit = self._sent.pop(id, None)
        if permit is not None:
            await permit.failed("cancelled")
            return False
        waiting = self._asking.get(id)
        return waiting is not None and waiting.cancel()

    async def _decide(self, message: Message, question: Question) -> None:
        try:
            permit = await self._ask(question)
        except Refused as no:
            if message.method:
                await self._deny(message, message.id, no)
            return
        if message.method and message.id is not None:
            self._sent[message.id] = permit
        try:
            await self._to_server(encode_exact(resumed(message).message.content))
        except OSError:
            self._sent.pop(message.id or "", None)
            await permit.failed("the server is gone")
            return
        if not message.method:
            await permit.succeeded()

    async def _ask(self, question: Question) -> Permit:
        """Raises Refused."""
        if self._waiting >= MAX_WAITING:
            question = replace(question, wait=0)
        waits = bool(question.wait)
        self._waiting += waits
        try:
            return await self._gate.ask(question)
        finally:
            self._waiting -= waits

    def _decided(self, message: Message, task: asyncio.Task[None]) -> None:
        self._room.release()
        self._nameless.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a message could not be passed on", exc_info=error)
        if message.id is not None and self._asking.get(message.id) is task:
            del self._asking[message.id]

    async def _answered(self, line: bytes) -> None:
        try:
            content = read_listing(line)
            hidden = hide_tools(content, self._allowed)
        except Unreadable as error:
            _LOG.warning("the server said what is no message, which is left out: %s", error)
            return
        id = content.get("id") if isinstance(content, dict) and "method" not in content else None
        permit = self._sent.pop(id, None) if isinstance(id, str | int) and not isinstance(id, bool) else None
        await self._to_client(_text(content) if hidden else line.rstrip(b"\r\n"))
        if permit is not None:
            await _report(permit, content)

    async def _deny(self, message: Message | None, id: Id | None, no: Refused) -> None:
        told = rpc_refused(
            message, id, status=no.status, code=no.code, text=str(no), decision=no.decision, turned=no.turned
        )
        await self._to_client(encode_exact(told))


async def _report(permit: Permit, content: Mapping[str, Any]) -> None:
    result = content.get("result")
    if "error" in content:
        await permit.failed("an error of the server's")
    elif isinstance(result, dict) and result.get("isError") is True:
        await permit.failed("the tool failed")
    else:
        await permit.succeeded()


async def _line(reader: asyncio.StreamReader, whose: str) -> bytes:
    try:
        return await reader.readline()
    except ValueError as error:
        raise TooLong(f"{whose} sent a message of more than {MAX_LINE} bytes") from error


def _id_in(line: bytes) -> Id | None:
    """The id of a request that is refused, where it can be read at all."""
    with contextlib.suppress(Unreadable, ValueError):
        content = read_listing(line)
        found = content.get("id") if isinstance(content, dict) and "method" in content else None
        if isinstance(found, str | int) and not isinstance(found, bool):
            return found if isinstance(found, str) or abs(found) <= MAX_INTEGER else None
    return None


def _text(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode("ascii")
