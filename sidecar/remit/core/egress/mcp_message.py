"""One JSON-RPC message that an MCP client sends, read strictly, and the methods that each protocol version has.

Sources: the Model Context Protocol's specification, revisions 2025-06-18, 2025-11-25 and 2026-07-28. What two readers
could understand differently is refused: batches, keys that are there twice or that differ from a known one only in
case (some servers match keys without case), and members that a message does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.core.canonical import MalformedJson, parse
from remit.core.egress.exchange import Unmapped

SESSIONS_END = "2026-07-28"
"""From this version on there are no sessions: each request says its version itself, and headers mirror the body."""

VERSIONS = ("2025-06-18", "2025-11-25", SESSIONS_END)

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

TOOL_CALL = "tools/call"
LISTEN, END, RESPONSE = "session/listen", "session/end", "client.response"
"""What an HTTP GET, a DELETE, and an answer to a request of the server's are called among the operations."""

PLUMBING = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "subscriptions/listen",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
        LISTEN,
        END,
    }
)
"""What belongs to every MCP server, whichever operations its catalogue entry lists."""

_EVERY = {
    "completion/complete",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "tools/call",
    "tools/list",
    "notifications/cancelled",
}
_SESSIONS = _EVERY | {
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
}
METHODS: Mapping[str, frozenset[str]] = {
    "2025-06-18": frozenset(_SESSIONS),
    "2025-11-25": frozenset(_SESSIONS | {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel"}),
    SESSIONS_END: frozenset(
        _EVERY | {"server/discover", "subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel"}
    ),
}
"""What a client may send in each version. Tasks are an extension of the last one."""

OPERATIONS = frozenset[str]().union(*METHODS.values()) - {TOOL_CALL} | PLUMBING | {RESPONSE}
"""Every operation that is no tool."""

MAX_DEPTH = 34
"""Levels of a message: an argument may have 32, below the message's own."""

_REQUEST = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSE = frozenset({"jsonrpc", "id", "result", "error"})
_NAMED = frozenset({"name", "arguments", "uri", "ref", "_meta", "task", "inputResponses", "requestState"})
_FOLDED = {each.casefold(): each for each in _NAMED}
_SHOWN = 60


class McpRefused(Unmapped):
    """The message is not one that may pass: `rpc` is the JSON-RPC error's code, `status` HTTP's.

    `properties` are the error's `data`, where the protocol wants some.
    """

    def __init__(
        self,
        detail: str,
        rpc: int = INVALID_REQUEST,
        *,
        status: int = 400,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.rpc = rpc
        self.status = status
        self.properties = dict(properties or {})


@dataclass(frozen=True, slots=True)
class Message:
    """What a client says. A request has `method` and `id`, a notification no id, a response no method.

    `content` is the whole message; `id` is None where it has none.
    """

    method: str
    id: str | int | None
    params: Mapping[str, Any]
    content: Mapping[str, Any] = field(repr=False)

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta`; {} where there is none."""
        found = self.params.get("_meta", {})
        return found if isinstance(found, Mapping) else {}

    @property
    def tool(self) -> str:
        """The tool that is called, "" for any other message."""
        named = self.params.get("name", "") if self.method == TOOL_CALL else ""
        return named if isinstance(named, str) else ""


def read_message(body: bytes, max_bytes: int) -> Message:
    """The one message of a body. Raises McpRefused."""
    try:
        content = parse(body, max_bytes, MAX_DEPTH)
    except MalformedJson as error:
        raise McpRefused(f"the body is not JSON as Remit reads it: {error}", PARSE_ERROR) from error
    if isinstance(content, list):
        raise McpRefused("a batch of messages; expected one message")
    if not isinstance(content, dict) or content.get("jsonrpc") != "2.0":
        raise McpRefused('no JSON-RPC message; expected an object with "jsonrpc": "2.0"')
    return _request(content) if "method" in content else _response(content)


def _request(content: Mapping[str, Any]) -> Message:
    _closed(content, _REQUEST)
    method, params = content["method"], content.get("params", {})
    if not isinstance(method, str):
        raise McpRefused("method: expected text")
    if not isinstance(params, dict):
        raise McpRefused("params: expected an object")
    for key in params:
        known = _FOLDED.get(key.casefold(), key)
        if key != known:
            raise McpRefused(f"params: found {_shown(key)}, expected {known!r} in this writing", INVALID_PARAMS)
    if not isinstance(params.get("_meta", {}), dict):
        raise McpRefused("params._meta: expected an object", INVALID_PARAMS)
    return Message(method, _id(content) if "id" in content else None, params, content)


def _response(content: Mapping[str, Any]) -> Message:
    _closed(content, _RESPONSE)
    if ("result" in content) == ("error" in content):
        raise McpRefused("no JSON-RPC message; expected a method, a result or an error")
    return Message("", _id(content), {}, content)


def _closed(content: Mapping[str, Any], members: frozenset[str]) -> None:
    unknown = sorted(content.keys() - members)
    if unknown:
        raise McpRefused(f"message: found {_shown(unknown[0])}, expected only {', '.join(sorted(members))}")


def _id(content: Mapping[str, Any]) -> str | int:
    found = content.get("id")
    if isinstance(found, bool) or not isinstance(found, str | int) or (isinstance(found, str) and len(found) > 256):
        raise McpRefused("id: expected an integer, or text of at most 256 characters")
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
