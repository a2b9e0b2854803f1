"""MCP over streamable HTTP: which operation a request is, and what of it policy sees.

A `tools/call` is the action `tool.call` on the operation that is named like the tool. Every other method is an
`api.call` on the operation that is named like the method; an HTTP GET is `session/listen`, a DELETE `session/end`, and
a client's answer to a request of the server's `client.response`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from remit.core.canonical import canonical, encode_exact
from remit.core.catalogue import Service
from remit.core.egress.baggage import without_ours
from remit.core.egress.exchange import Duplicate, Headers, HttpRequest, Mapped
from remit.core.egress.mcp_headers import agreed_version, check_session, version_of
from remit.core.egress.mcp_message import (
    END,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LISTEN,
    METHOD_NOT_FOUND,
    METHODS,
    OPERATIONS,
    PLUMBING,
    RESPONSE,
    SESSIONS_END,
    TOOL_CALL,
    McpRefused,
    Message,
    read_message,
)
from remit.core.egress.mcp_resume import resumed

MAX_ARGUMENTS = 256 << 10
"""Bytes of a call's arguments as JSON."""

_TOOL = re.compile(r"[A-Za-z0-9_./:@-]{1,128}", re.ASCII)
_CALL_MEMBERS = frozenset({"name", "arguments", "_meta", "task", "inputResponses", "requestState"})
_TRACE = {"traceparent": 128, "baggage": 1024}
_EACH_TRY = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})
"""Members of `_meta` that differ from try to try; the protocol's own ones say who asks, and not what for."""
_PROTOCOL = "io.modelcontextprotocol/"


def map_mcp(service: Service, request: HttpRequest, *, attributes: Mapping[str, str]) -> Mapped:
    """What a request to an MCP server asks for. Raises McpRefused, an Unmapped.

    `properties` says `method`, `protocol` (the version), and where they are there `traceparent`, `baggage`, `task` and
    `inputResponses`. A tool that is one of the service's variants is that variant.
    """
    del attributes  # nothing here depends on who asks
    if request.path != "/":
        raise McpRefused(f"path: found {request.path[:64]!r}, expected the server's own address", status=404)
    check_session(request)
    match request.method:
        case "POST":
            return _posted(service, request)
        case "GET":
            return _on_session(request, LISTEN, stream=True)
        case "DELETE":
            return _on_session(request, END, stream=False)
    raise McpRefused(f"method: found {request.method[:16]!r}, expected POST, GET or DELETE", status=405)


def action_of(mapped: Mapped) -> str:
    """The action that a mapped MCP request is."""
    return "tool.call" if mapped.properties.get("method") == TOOL_CALL else "api.call"


def is_plumbing(mapped: Mapped) -> bool:
    """Whether it belongs to every MCP server, whichever operations are listed."""
    return action_of(mapped) == "api.call" and mapped.operation in PLUMBING


def _on_session(request: HttpRequest, operation: str, *, stream: bool) -> Mapped:
    version = version_of(request)
    if not version or version == SESSIONS_END:
        raise McpRefused(f"{request.method}: {version or 'a request without a version'} has no sessions", status=405)
    if request.body:
        raise McpRefused(f"{request.method}: found a body, expected none")
    return Mapped(operation, properties={"method": operation, "protocol": version}, stream=stream)


def _posted(service: Service, request: HttpRequest) -> Mapped:
    _check_content(request)
    message = read_message(request.body, service.body_bytes)
    version = agreed_version(request, message)
    if not message.method:
        return _response(message, version)
    if message.method not in METHODS[version]:
        raise McpRefused(f"{version} has no method {message.method[:64]!r}", METHOD_NOT_FOUND, status=404)
    if message.method.startswith("notifications/") != (message.id is None):
        raise McpRefused(f"id: {message.method!r} has one if and only if it is a request", INVALID_REQUEST)
    message = resumed(message).message
    mapped = _called(service, message) if message.method == TOOL_CALL else _said(message)
    return Mapped(
        operation=mapped.operation,
        variant=mapped.variant,
        arguments=bounded(mapped.arguments),
        usage=mapped.usage,
        body=encode_exact(_sent(message)),
        properties={**mapped.properties, **_noted(message, version)},
        stream=True,
        essence=_essence(message),
    )


def _essence(message: Message) -> bytes:
    """The message in its canonical form without its id, and without what of `_meta` is only this try's."""
    meta = {key: each for key, each in message.meta.items() if key not in _EACH_TRY and not key.startswith(_PROTOCOL)}
    return canonical([message.method, {key: each for key, each in message.params.items() if key != "_meta"}, meta])


def _sent(message: Message) -> Mapping[str, Any]:
    """The message without what is Remit's in its baggage: clients may carry that in the body instead of a header."""
    baggage = message.meta.get("baggage")
    if not isinstance(baggage, str) or (kept := without_ours(baggage)) == baggage:
        return message.content
    meta = {**message.meta, "baggage": kept} if kept else {k: v for k, v in message.meta.items() if k != "baggage"}
    return {**message.content, "params": {**message.params, "_meta": meta}}


def surroundings(request: HttpRequest) -> Headers:
    """What the message's `_meta` says in the place of headers: its trace and its baggage (SEP-414)."""
    try:
        message = read_message(request.body, len(request.body))
    except McpRefused:
        return ()
    names = {name for name, _ in request.headers}
    found = ((name, message.meta.get(name)) for name in ("traceparent", "baggage") if name not in names)
    return tuple((name, value) for name, value in found if isinstance(value, str))


def _check_content(request: HttpRequest) -> None:
    try:
        kind, encoding = request.header("content-type") or "", request.header("content-encoding") or "identity"
    except Duplicate as error:
        raise McpRefused(str(error)) from error
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise McpRefused(f"content-type: found {kind[:64]!r}, expected application/json", status=415)
    if encoding.lower() != "identity":
        raise McpRefused(f"content-encoding: found {encoding[:32]!r}, expected none", status=415)


def _called(service: Service, message: Message) -> Mapped:
    unknown = sorted(message.params.keys() - _CALL_MEMBERS)
    if unknown:
        raise McpRefused(f"params: {unknown[0][:64]!r} is no member of a tool's call", INVALID_PARAMS)
    tool, arguments = called_tool(message)
    said = {key: message.params[key] for key in ("task", "inputResponses") if key in message.params}
    variant = tool if tool in service.variants else ""
    return Mapped(tool, variant, arguments, {"call": 1}, properties=bounded(said))


def called_tool(message: Message) -> tuple[str, Mapping[str, Any]]:
    """The tool that a `tools/call` names, and its arguments. Raises McpRefused."""
    tool, arguments = message.params.get("name"), message.params.get("arguments", {})
    if not isinstance(tool, str) or not _TOOL.fullmatch(tool) or tool in OPERATIONS:
        raise McpRefused("params.name: expected a tool's name: 1 to 128 of A-Z a-z 0-9 _ . / : @ -", INVALID_PARAMS)
    if not isinstance(arguments, dict):
        raise McpRefused("params.arguments: expected an object", INVALID_PARAMS)
    return tool, bounded(arguments)


def _said(message: Message) -> Mapped:
    return Mapped(message.method, arguments={key: each for key, each in message.params.items() if key != "_meta"})


def _response(message: Message, version: str) -> Mapped:
    if version == SESSIONS_END:
        raise McpRefused(f"a response; {version} has none from clients")
    said = {key: message.content[key] for key in ("result", "error") if key in message.content}
    noted = {"method": RESPONSE, "protocol": version}
    return Mapped(RESPONSE, arguments=bounded(said), body=encode_exact(message.content), properties=noted)


def _noted(message: Message, version: str) -> dict[str, Any]:
    trace = {
        key: each
        for key, most in _TRACE.items()
        if isinstance(each := message.meta.get(key), str)
        and each.isascii()
        and each.isprintable()
        and len(each) <= most
    }
    return {"method": message.method, "protocol": version, **trace}


def bounded(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments, where they are at most 256 KiB as JSON. Raises McpRefused."""
    size = len(encode_exact(arguments))
    if size > MAX_ARGUMENTS:
        raise McpRefused(f"arguments: found {size} bytes, expected at most {MAX_ARGUMENTS}", INVALID_PARAMS, status=413)
    return arguments
