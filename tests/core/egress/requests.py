"""Requests and services for tests of the mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from remit.core.catalogue import Service, Variant
from remit.core.egress.exchange import HttpRequest, Mapped
from remit.core.egress.mapping import map_request

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "generate": "/v1beta/models/m:generateContent",
    "converse": "/model/m/converse",
}
KINDS = {"chat": "openai", "responses": "openai", "messages": "anthropic", "generate": "gemini", "converse": "bedrock"}
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5},
    "responses": {"model": "m", "input": "hi", "max_output_tokens": 5},
    "messages": {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
    "generate": {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 5}},
    "converse": {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 5},
    },
}
ONE = {"m": Variant()}


def service(kind: str, variants: Mapping[str, Variant] = ONE, **changes: Any) -> Service:
    """A service of a kind that lists the variant `m`."""
    return Service(owner="t", kind=kind, variants=variants, **changes)


def post(path: str, body: Any, **headers: str) -> HttpRequest:
    """A POST of JSON; bytes are sent as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest("POST", "http", "127.0.0.1", path, tuple(named.items()), raw)


def get(path: str) -> HttpRequest:
    """A GET."""
    return HttpRequest("GET", "http", "127.0.0.1", path)


def mapped(operation: str, body: Any = None, *, variants: Mapping[str, Variant] = ONE, path: str = "") -> Mapped:
    """What a request for a provider's main operation is mapped to; `body` replaces the plain one."""
    request = post(path or PATHS[operation], BODIES[operation] if body is None else body)
    return map_request(service(KINDS[operation], variants), request, attributes={})


def changed(operation: str, pointer: str, value: Any) -> dict[str, Any]:
    """The plain body with one value set, at a pointer through objects."""
    body: dict[str, Any] = json.loads(json.dumps(BODIES[operation]))
    *way, last = pointer.split("/")[1:]
    inner = body
    for part in way:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return body
