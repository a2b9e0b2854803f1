"""What of a request that leaves an exact approval is bound to, beside the arguments that policy sees.

All that reaches the upstream and may change what it does: method, target, body, and every header that the agent chose.
Left out is what Remit sets or removes itself, and what differs from one try to the next although nothing else does:
traces, times, ids of requests, counters of retries, signatures that are dropped, sessions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from remit.core.alternative import MEASURED
from remit.core.canonical import digest
from remit.core.egress.exchange import Headers, HttpRequest, Mapped

# Remit's own Envoy takes all of `x-forwarded-*` from agents; of another one that is not known.
_OURS = re.compile(r"remit-.*|x-remit-.*|x-forwarded-(?:for|proto|port)|x-envoy-.*|x-real-ip", re.ASCII)
_DROPPED = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "proxy-connection",
    }
)
_CARRYING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "grpc-accept-encoding",
        "grpc-timeout",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    }
)
_EACH_TRY = re.compile(
    r"(?:.*-)?trace(?:parent|state|id)?(?:-.*)?|.*traceid|baggage|b3|x-b3-.*|sentry-.*|(?:.*-)?(?:request|correlation)-?id"
    r"|date|idempotency-key|x-idempotency-key|x-stainless-.*|amz-sdk-.*|x-amz-date|x-amz-content-sha256"
    r"|x-amz-security-token|mcp-session-id|last-event-id",
    re.ASCII,
)


_MEASURED = frozenset({"bytes", "messages", "model", "roles"})
"""Arguments that the ready-made kinds of services for models count, or take from the variant."""


def content_of(request: HttpRequest, mapped: Mapped, endpoints: Iterable[str] = ()) -> str:
    """SHA-256 (hex) of what is performed beside the arguments; `endpoints` are those that the caller may mean."""
    body = sha256(essence(mapped)).hexdigest()
    return digest([request.method, request.path, sorted(endpoints), _bound(request.headers), body])


def essence(mapped: Mapped) -> bytes:
    """What the body says: two tries of the same have the same."""
    return mapped.essence or mapped.body


def shown(request: HttpRequest, mapped: Mapped) -> Mapping[str, Any]:
    """What an approver sees beside the arguments. Not the body's text, which may say anything, and no query."""
    told: dict[str, Any] = {"usage": {unit: most for unit, most in mapped.usage.items() if most}}
    if mapped.properties.get("hosted"):
        told["hosted"] = mapped.properties["hosted"]
    if mapped.properties.get("inputResponses"):
        told["inputResponses"] = mapped.properties["inputResponses"]
    measured = sorted(_MEASURED & mapped.arguments.keys()) if "." in mapped.format else []
    told |= {MEASURED: measured} if measured else {}
    if "protocol" not in mapped.properties:
        told |= {"method": request.method, "path": request.path.partition("?")[0], "bytes": len(mapped.body)}
    return told


def _bound(headers: Headers) -> list[list[str]]:
    """By name; several of one name in their order."""
    return [[name, value] for name, value in sorted(headers, key=lambda each: each[0]) if _binds(name)]


def _binds(name: str) -> bool:
    return not (name in _DROPPED or name in _CARRYING or _OURS.fullmatch(name) or _EACH_TRY.fullmatch(name))
