"""Refusals as an MCP client understands them: a JSON-RPC error that answers its request.

In the versions before 2026-07-28 a request is answered with HTTP 200: the official Python client, up to 1.30, ends
its whole session on any HTTP error, and so one refused tool would take away the others. From 2026-07-28 on, and where
no answer is expected, HTTP's status says it too.
An error's code is HTTP's status, outside of what JSON-RPC reserves, except where the protocol has a code of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.egress.exchange import Headers, HttpRequest
from remit.core.egress.mcp_headers import VERSION
from remit.core.egress.mcp_message import INVALID_REQUEST, PARSE_ERROR, SESSIONS_END, VERSIONS, McpRefused, read_message

FORBIDDEN = 403
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
) -> Refusal:
    """The answer to a request that does not go on: `code` is Remit's reason, `fault` what was wrong with its form, for
    which the protocol has a status of its own."""
    error = {
        "code": fault.rpc if fault else status,
        "message": message,
        "data": {**(fault.properties if fault else {}), "remit": {"code": code, "decision": decision}},
    }
    if fault and status == FORBIDDEN:
        status = fault.status
    known, id = _asked(request)
    answer = {"jsonrpc": "2.0", **({"id": id} if known else {}), "error": error}
    headers = [("content-type", "application/json"), *(() if retry else [("x-should-retry", "false")])]
    headers += [("remit-decision", decision)] if decision else []
    return Refusal(_status(request, status, asked=known and id is not None), tuple(headers), _written(answer))


def rpc_error(id: str | int | None, *, status: int, code: str, message: str, decision: str = "") -> Mapping[str, Any]:
    """The same for a server that speaks over its standard streams: one message."""
    data = {"remit": {"code": code, "decision": decision}}
    return {"jsonrpc": "2.0", "id": id, "error": {"code": status, "message": message, "data": data}}


def _asked(request: HttpRequest) -> tuple[bool, str | int | None]:
    """Whether an error is to name an id, and which: None where the request's cannot be read."""
    if request.method != "POST":
        return False, None
    try:
        message = read_message(request.body, _MAX_READ)
    except McpRefused as fault:
        return fault.rpc in {PARSE_ERROR, INVALID_REQUEST}, None
    return bool(message.method) and message.id is not None, message.id


def _status(request: HttpRequest, status: int, *, asked: bool) -> int:
    versions = [value for name, value in request.headers if name == VERSION]
    sessions = not versions or (versions[0] in VERSIONS and versions[0] != SESSIONS_END)
    return 200 if asked and sessions and status != 401 else status


def _written(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode("ascii")
