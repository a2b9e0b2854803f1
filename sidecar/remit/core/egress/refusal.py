"""A refusal in the words of the API that was called, so that its official client raises what its users catch.

`x-should-retry: false` keeps the OpenAI and Anthropic clients from asking again; a 503 says when to, instead.
"""

from __future__ import annotations

from binascii import crc32
from typing import Any

import orjson

from remit.core.canonical import encode_exact
from remit.core.egress.exchange import Headers
from remit.core.egress.turning import NOTHING, Turned

APPROVAL = "remit-approval"
"""The header that names the approvals."""

_RETRY_SECONDS = "1"
_UNAVAILABLE = 503

_OPENAI = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_BEDROCK = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_GRPC = {400: "3", 401: "16", 403: "7", 404: "5", 413: "8", 429: "8", 503: "14"}


def refused(
    kind: str, *, status: int, code: str, message: str, decision: str, turned: Turned = NOTHING
) -> tuple[Headers, bytes]:
    """Headers and body of a refusal with an HTTP status; `code` is the reason, `decision` its id ("" for none).

    `turned` are the approvals that it turns on, and what is allowed instead."""
    headers: list[tuple[str, str]] = [("content-type", "application/json")]
    headers.append(("retry-after", _RETRY_SECONDS) if status == _UNAVAILABLE else ("x-should-retry", "false"))
    if decision:
        headers.append(("remit-decision", decision))
    if turned.ids:
        headers.append((APPROVAL, ", ".join(turned.ids)))
    if kind == "bedrock":
        headers.append(("x-amzn-errortype", _BEDROCK.get(status, "ValidationException")))
    if kind == "grpc":
        # A response of headers alone, with the status 200 that gRPC answers with whatever happens.
        grpc = [
            ("content-type", "application/grpc"),
            ("grpc-status", _GRPC.get(status, "13")),
            ("grpc-message", _quoted(message)),
        ]
        return (*grpc, *headers[1:]), b""
    return tuple(headers), encode_exact(_body(kind, status, code, message, decision, turned))


def stream_error(kind: str, code: str, message: str) -> bytes:
    """The event that ends a stream which is stopped in the middle: SSE, or a frame of Bedrock's event stream."""
    if kind == "anthropic":
        return _event("error", _body(kind, 403, code, message, ""))
    if kind == "gemini":
        return _event("", _body(kind, 403, code, message, ""))
    if kind in ("openai", "azure"):
        # Chat's clients look at `error`, those of responses at `type` besides.
        return _event(
            "error", {"type": "error", **_body(kind, 403, code, message, ""), "code": code, "message": message}
        )
    if kind == "bedrock":
        return _frame("accessDeniedException", orjson.dumps({"message": _told(code, message)}))
    return b"" if kind == "grpc" else _event("error", _body(kind, 403, code, message, ""))


def _body(kind: str, status: int, code: str, message: str, decision: str, turned: Turned = NOTHING) -> dict[str, Any]:
    # A member of our own, where the API's errors leave room for one: their clients hand on the whole body.
    ours = {"remit": turned.document()} if turned else {}
    match kind:
        case "openai" | "azure":
            group = _OPENAI.get(status, "invalid_request_error")
            return {"error": {"message": message, "type": group, "param": None, "code": code, **ours}}
        case "anthropic":
            error = {"type": _ANTHROPIC.get(status, "api_error"), "message": _told(code, message), **ours}
            return {"type": "error", "error": error, **({"request_id": decision} if decision else {})}
        case "gemini":
            detail = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": code.upper(),
                "domain": "remit",
                "metadata": {"decision": decision, **_metadata(turned)},
            }
            status_name = _GOOGLE.get(status, "UNKNOWN")
            return {"error": {"code": status, "message": message, "status": status_name, "details": [detail]}}
        case "bedrock":
            return {"message": _told(code, message), **ours}
    return {"error": {"code": code, "message": message, "decision": decision, **turned.document()}}


def _metadata(turned: Turned) -> dict[str, str]:
    """For google.rpc.ErrorInfo, whose metadata are texts."""
    found = {"approvals": ", ".join(turned.ids)} if turned.ids else {}
    alternative = turned.document().get("alternative")
    return found if alternative is None else {**found, "alternative": encode_exact(alternative).decode()}


def _told(code: str, message: str) -> str:
    """The reason's code stands in the message where the API's own errors have no place for it."""
    return message if f"{code}: " in message else f"{code}: {message}"


def _event(name: str, body: dict[str, Any]) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    # A blank line first ends whatever event was cut.
    return b"\n\n" + head + b"data: " + orjson.dumps(body) + b"\n\n"


def _frame(exception: str, payload: bytes) -> bytes:
    """A message of AWS's event stream (application/vnd.amazon.eventstream) that says an exception."""
    headers = b"".join(
        bytes([len(name)]) + name + b"\x07" + len(value).to_bytes(2, "big") + value
        for name, value in (
            (b":exception-type", exception.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"exception"),
        )
    )
    prelude = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + crc32(message).to_bytes(4, "big")


def _quoted(message: str) -> str:
    """A gRPC status message: percent-encoded, as its protocol over HTTP/2 says."""
    return "".join(chr(each) if 0x20 <= each <= 0x7E and each != 0x25 else f"%{each:02X}" for each in message.encode())
