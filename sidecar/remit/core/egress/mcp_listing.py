"""What an MCP server lists, less the tools that the agent may not call.

The listing is a courtesy to the agent's model (it does not try what it would be refused), not the enforcement: each
`tools/call` is decided by itself. It still fails closed: a list that cannot be read is answered by an error. A JSON
response is held whole; of an event stream, each event is held until it is complete, and what is no list passes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from remit.core.catalogue import Service
from remit.core.egress.exchange import Mapped
from remit.core.egress.kinds.mcp import action_of
from remit.core.egress.mcp_message import INTERNAL_ERROR, LISTEN

MAX_LISTING = 4 << 20
"""Bytes of one JSON response, or of one event."""

Allowed = Callable[[str], bool]

_LINE = re.compile(rb"\r\n|\n|\r")
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_MARK = b"\xef\xbb\xbf"  # a byte order mark at a stream's beginning, which its reader takes off


class Unreadable(Exception):
    """A list that cannot be read, and so cannot be filtered."""


def lists_tools(mapped: Mapped) -> bool:
    """Whether the response may list tools: to `tools/list`, and on a stream where a lost one is told again."""
    return action_of(mapped) == "api.call" and mapped.operation in {"tools/list", LISTEN}


def listed_for(service: Service, *, roles: Collection[str], purposes: Collection[str]) -> Allowed:
    """Which tools the catalogue lets whoever has these roles and purposes see.

    What policy says beyond the catalogue shows when the tool is called.
    """
    admitted = _shares(service.roles, roles) and _shares(service.purposes, purposes)

    def allowed(tool: str) -> bool:
        listed = not service.operations or tool in service.operations
        return admitted and listed and (not service.variants or tool in service.variants)

    return allowed


def _shares(named: Collection[str], held: Collection[str]) -> bool:
    return not named or bool(set(named) & set(held))


class McpResponse:
    """The body of one response, `feed` after `feed`, then `end`; each gives the bytes that may go on.

    `content_type` and `content_encoding` are the response's; `request` is the body that was sent, which names the
    message that is answered. A length that the response stated does not hold any more.
    """

    def __init__(
        self,
        allowed: Allowed,
        *,
        content_type: str,
        content_encoding: str = "",
        request: bytes = b"",
        limit: int = MAX_LISTING,
    ) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self._allowed = allowed
        self._id = _id_of(request)
        self._held = bytearray()
        self._searched = 0
        self._begun = False
        self._limit = limit
        self._streamed = kind == "text/event-stream"
        self._passes = kind not in {"text/event-stream", "application/json"}
        self._failed = False
        self._why = ""
        self.hidden = 0
        """How many tools were left out."""
        if content_encoding.lower() not in {"", "identity"}:
            self._fail(f"it is encoded ({content_encoding[:32]})")

    def feed(self, chunk: bytes) -> bytes:
        """What may go on after this chunk."""
        if self._passes:
            return chunk
        if self._failed:
            return b""
        self._held += chunk
        out = self._complete() if self._streamed else b""
        if len(self._held) > self._limit:
            self._fail(f"it has more than {self._limit} bytes")
        return out

    def end(self) -> bytes:
        """What goes on at the end of the response. An event that was not complete does not."""
        if self._passes:
            return b""
        out = b"".join(self._events(last=True)) if self._streamed and not self._failed else b""
        if self._failed:
            return out + self._last_words()
        if self._streamed or not self._held.strip():
            return out
        try:
            return self._filtered(bytes(self._held))
        except Unreadable as error:
            self._fail(str(error))
            return self._last_words()

    def _complete(self) -> bytes:
        if not self._begun:
            if _MARK.startswith(bytes(self._held)):
                return b""
            self._begun = True
            if self._held.startswith(_MARK):
                del self._held[: len(_MARK)]
        return b"".join(self._events())

    def _events(self, *, last: bool = False) -> Iterator[bytes]:
        start = 0
        while found := _EVENT_END.search(self._held, max(start, self._searched)):
            if found.end() == len(self._held) and found.group().endswith(b"\r") and not last:
                break  # the other half of a line's end may follow
            event = bytes(self._held[start : found.end()])
            start = found.end()
            try:
                yield self._event(event)
            except Unreadable as error:
                self._fail(str(error))
                return
        del self._held[:start]
        self._searched = max(0, len(self._held) - 3)  # the end of an event may have come in part

    def _event(self, event: bytes) -> bytes:
        lines = _LINE.split(event)
        told = b"\n".join(each[5:].removeprefix(b" ") for each in lines if each[:5] == b"data:")
        if not told.strip():
            return event
        filtered = self._filtered(told)
        if filtered == told:
            return event
        others = [each for each in lines if each and each[:5] != b"data:"]
        return b"\n".join([*others, b"data: " + filtered, b"", b""])

    def _filtered(self, text: bytes) -> bytes:
        content = read_listing(text)
        hidden = hide_tools(content, self._allowed)
        self.hidden += hidden
        return _written(content) if hidden else text

    def _fail(self, why: str) -> None:
        """From here on nothing of the response goes on, and its end says why."""
        self._failed, self._why = True, why
        self._held.clear()

    def _last_words(self) -> bytes:
        error = {"code": INTERNAL_ERROR, "message": f"remit: the server's list of tools cannot be read: {self._why}"}
        told = _written({"jsonrpc": "2.0", "id": self._id, "error": error})
        return b"event: message\ndata: " + told + b"\n\n" if self._streamed else told


def hide_tools(content: Any, allowed: Allowed) -> int:
    """Take what is not allowed out of every list of tools in a server's message; how many it were. Raises Unreadable.

    Keys are matched without case, as some clients do.
    """
    if isinstance(content, list):
        return sum(hide_tools(each, allowed) for each in content)
    result = content.get("result") if isinstance(content, dict) else None
    if not isinstance(result, dict):
        return 0
    hidden = 0
    for key in [each for each in result if each.casefold() == "tools"]:
        listed = result[key]
        if not isinstance(listed, list):
            raise Unreadable("its tools are no list")
        result[key] = [each for each in listed if _shows(each, allowed)]
        hidden += len(listed) - len(result[key])
    if hidden and "cacheScope" in result:
        result["cacheScope"] = "private"  # what one agent may see is not for a shared cache
    return hidden


def _shows(tool: Any, allowed: Allowed) -> bool:
    names = [each for key, each in tool.items() if key.casefold() == "name"] if isinstance(tool, dict) else []
    return bool(names) and all(isinstance(each, str) and allowed(each) for each in names)


def read_listing(text: bytes) -> Any:
    """A server's JSON. Numbers need not be exact here (schemas have bounds beyond int64). Raises Unreadable."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable("it is no JSON") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("a key is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise Unreadable(f"{text} is no number")


def _written(content: Any) -> bytes:
    try:
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise Unreadable("a number is beyond a double's range") from error


def _id_of(request: bytes) -> Any:
    """The id in a body that was sent, so one that was read before; None where it has none."""
    content = json.loads(request) if request else {}
    return content.get("id") if isinstance(content, Mapping) else None
