"""Refusals as an MCP client understands them: a JSON-RPC error that answers its request.

In the versions before 2026-07-28 a request is answered with HTTP 200: the official Python client, up to 1.30, ends
its whole session on any HTTP error, and so one refused tool would take away the others. From 2026-07-28 on, and where
no answer is expected, HTTP's status says it too.
An error's code is HTTP's status, outside of what JSON-RPC reserves, except where the protocol has a code of its own.
What is held is answered by a result, where the protocol has one for it (`mcp_held`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.canonical import encode_exact
from remit.core.egress.exchange import Headers, HttpRequest
from remit.core.egress.mcp_headers import VERSION, VERSION_MEMBER
from remit.core.egress.mcp_held import held_result
from remit.core.egress.mcp_message import (
    INVALID_REQUEST,
    PARSE_ERROR,
    SESSIONS_END,
    VERSIONS,
    McpRefused,
    Message,
    read_message,
)
from remit.core.egress.refusal import APPROVAL
from remit.core.egress.turning import NOTHING, Turned

FORBIDDEN = 403
_ANSWERED = 200
_MAX_READ = 64 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """What goes back instead of the server's answer."""

    status: int
    headers: Headers
    body: bytes


def mcp_refused(
    request: HttpRequest,
    *,
    status: int,
    code: str,
    message: str,
    decision: str = "",
    retry: bool = False,
    fault: McpRefused | None = None,
    turned: Turned = NOTHING,
    resumes: bool = False,
) -> Refusal:
    """The answer to a request that does not go on: `code` is Remit's reason, `fault` what was wrong with its form, for
    which the protocol has a status of its own. `turned` are the approvals that it turns on; with `resumes` the client
    may try again at once."""
    headers = [("content-type", "application/json"), *(() if retry else [("x-should-retry", "false")])]
    headers += [("remit-decision", decision)] if decision else []
    headers += [(APPROVAL, ", ".join(turned.ids))] if turned.ids else []
    ours = _ours(code, decision, turned)
    known, asked = _asked(request)
    id = asked.id if asked else None
    if turned.pending and asked is not None and id is not None:
        result = held_result(asked, _version(request), message, turned=turned, told=ours, resumes=resumes)
        if result is not None:
            return Refusal(_ANSWERED, tuple(headers), _written({"jsonrpc": "2.0", "id": id, "result": result}))
    error = {
        "code": fault.rpc if fault else status,
        "message": message,
        "data": {**(fault.properties if fault else {}), "remit": ours},
    }
    if fault and status == FORBIDDEN:
        status = fault.status
    answer = {"jsonrpc": "2.0", **({"id": id} if known else {}), "error": error}
    return Refusal(_status(request, status, asked=known and id is not None), tuple(headers), _written(answer))


def rpc_refused(
    message: Message | None,
    id: str | int | None,
    *,
    status: int,
    code: str,
    text: str,
    decision: str = "",
    turned: Turned = NOTHING,
) -> Mapping[str, Any]:
    """The same for a server that speaks over its standard streams: one message."""
    ours = _ours(code, decision, turned)
    if message is not None and turned.pending:
        version = message.meta.get(VERSION_MEMBER, "")
        result = held_result(message, str(version), text, turned=turned, told=ours, resumes=True)
        if result is not None:
            return {"jsonrpc": "2.0", "id": id, "result": result}
    return {"jsonrpc": "2.0", "id": id, "error": {"code": status, "message": text, "data": {"remit": ours}}}


def _ours(code: str, decision: str, turned: Turned) -> dict[str, Any]:
    return {"code": code, "decision": decision, **turned.document()}


def _asked(request: HttpRequest) -> tuple[bool, Message | None]:
    """Whether an error is to name an id, and the request that asked: None where it cannot be read."""
    if request.method != "POST":
        return False, None
    try:
        message = read_message(request.body, _MAX_READ)
    except McpRefused as fault:
        return fault.rpc in {PARSE_ERROR, INVALID_REQUEST}, None
    return bool(message.method) and message.id is not None, message


def _status(request: HttpRequest, status: int, *, asked: bool) -> int:
    version = _version(request)
    sessions = version in VERSIONS and version != SESSIONS_END
    return _ANSWERED if asked and (sessions or not version) and status != 401 else status


def _version(request: HttpRequest) -> str:
    """What the header says first, "" for nothing."""
    return next((value for name, value in request.headers if name == VERSION), "")


def _written(answer: Mapping[str, Any]) -> bytes:
    return encode_exact(answer)
