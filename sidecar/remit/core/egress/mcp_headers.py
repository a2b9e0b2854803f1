"""The headers of MCP's streamable HTTP, held against the body: whoever routes by the one and acts by the other is
not to be told two things (specification 2026-07-28, Streamable HTTP, Server Validation)."""

from __future__ import annotations

import base64
import binascii
import re

from remit.core.egress.exchange import Duplicate, HttpRequest
from remit.core.egress.mcp_message import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    SESSIONS_END,
    UNSUPPORTED_VERSION,
    VERSIONS,
    McpRefused,
    Message,
)

VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
SESSION, LAST_EVENT = "mcp-session-id", "last-event-id"
VERSION_MEMBER = "io.modelcontextprotocol/protocolVersion"

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_SESSION_ID = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


def version_of(request: HttpRequest) -> str:
    """The protocol version that the request's header names, "" where it has none. Raises McpRefused."""
    found = _header(request, VERSION) or ""
    if found and found not in VERSIONS:
        raise unsupported(found)
    return found


def unsupported(requested: str) -> McpRefused:
    """The protocol's own answer to a version that is not spoken."""
    return McpRefused(
        f"MCP-Protocol-Version: found {requested[:32]!r}, expected one of {', '.join(VERSIONS)}",
        UNSUPPORTED_VERSION,
        properties={"supported": list(VERSIONS), "requested": requested[:32]},
    )


def check_session(request: HttpRequest) -> None:
    """Bounds what names a session and a place in its stream. Raises McpRefused."""
    for name in (SESSION, LAST_EVENT):
        found = _header(request, name)
        if found is not None and not _SESSION_ID.fullmatch(found):
            raise McpRefused(f"{name}: expected 1 to 1024 visible ASCII characters")


def agreed_version(request: HttpRequest, message: Message) -> str:
    """The version that a message is sent in, after its headers were held against it. Raises McpRefused."""
    version = version_of(request)
    claimed = message.meta.get(VERSION_MEMBER)
    if message.method == "initialize":
        if version == SESSIONS_END:
            raise McpRefused(f"{SESSIONS_END} has no initialize")
        agreed_initialize(message)
    elif not version:
        raise _mismatch("MCP-Protocol-Version is missing")
    if claimed is not None and claimed != version:
        raise _mismatch(f"MCP-Protocol-Version is {version!r}, the message says {str(claimed)[:32]!r}")
    mirrored = version == SESSIONS_END and bool(message.method) and message.id is not None
    if mirrored and claimed is None:
        raise _mismatch(f"the message's _meta has no {VERSION_MEMBER}")
    _agree(request, message, required=mirrored)
    return version or str(message.params["protocolVersion"])


def agreed_initialize(message: Message) -> str:
    """The version that an `initialize` proposes. Raises McpRefused."""
    asked = message.params.get("protocolVersion")
    if not isinstance(asked, str):
        raise McpRefused("params.protocolVersion: expected a version", INVALID_PARAMS)
    if asked not in VERSIONS or asked == SESSIONS_END:
        raise McpRefused(
            "Unsupported protocol version",
            INVALID_PARAMS,
            properties={"supported": [each for each in VERSIONS if each != SESSIONS_END], "requested": asked[:32]},
        )
    return asked


def _agree(request: HttpRequest, message: Message, *, required: bool) -> None:
    method, name = _header(request, METHOD), _header(request, NAME)
    member = _NAMED_BY.get(message.method, "")
    if required and method is None:
        raise _mismatch("Mcp-Method is missing")
    if required and member and name is None:
        raise _mismatch("Mcp-Name is missing")
    if method is not None and method != message.method:
        raise _mismatch(f"Mcp-Method is {method[:64]!r}, the message's method is {message.method[:64]!r}")
    if name is not None and (not member or decoded(name) != message.params.get(member)):
        raise _mismatch(f"Mcp-Name is {name[:64]!r}, which is not the message's")


def decoded(value: str) -> str | None:
    """A header's value, out of its Base64 wrapping where it has one; None where that is no canonical Base64."""
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped is None:
        return value if value.isascii() and value.isprintable() else None
    try:
        raw = base64.b64decode(wrapped[1], validate=True)
        return raw.decode("utf-8") if base64.b64encode(raw).decode("ascii") == wrapped[1] else None
    except (binascii.Error, ValueError):
        return None


def _header(request: HttpRequest, name: str) -> str | None:
    try:
        return request.header(name)
    except Duplicate as error:
        raise _mismatch(str(error)) from error


def _mismatch(detail: str) -> McpRefused:
    return McpRefused(f"Header mismatch: {detail}", HEADER_MISMATCH)
