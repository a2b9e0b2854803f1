"""The recorded answers of `cases/usage`, as a provider sends them: services, requests and plays for each."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from fakes.budget_stage import TOKENS, post
from fakes.budget_upstream import EVENTS, Json, Play, framed, sized
from ruamel.yaml import YAML

AWS = "application/vnd.amazon.eventstream"
FILE = Path(__file__).parents[1] / "cases" / "usage" / "responses.yaml"
ALL: list[Mapping[str, Any]] = YAML(typ="safe").load(FILE.read_text())
MODEL = {"openai.chat": ("openai", "gpt-4o"), "anthropic.messages": ("anthropic", "claude-sonnet-4-5")}
CASES = [each for each in ALL if "cost" in each or (each["format"] in MODEL and not each.get("complete", True))]
"""Those with a price, and those of priced models that do not tell their usage."""

CAP = 1000
PIECES = 6


def model_of(case: Mapping[str, Any]) -> tuple[str, str]:
    """Whose model answered, and which."""
    kind, model = case.get("model") or MODEL[case["format"]]
    return str(kind), str(model)


def recorded_services() -> Mapping[str, Json]:
    """A service for each provider, with the models of the recorded answers at their public prices."""
    services: dict[str, Json] = {}
    for case in CASES:
        kind, model = model_of(case)
        listed = services.setdefault(f"recorded-{kind}", {"kind": kind, "variants": {}})
        listed["variants"][model] = {}
    # One that is processed in a way with a price of its own is a variant of its own.
    flex = {"model": "gpt-5", "select": {"/service_tier": ["flex"]}}
    services["recorded-openai"]["variants"]["gpt-5-flex"] = flex
    # What a picture may cost cannot be seen from its request.
    services["recorded-openai"]["variants"]["gpt-image-1"] = {"max": {"output_token": 5000}}
    return services


def recorded_request(case: Mapping[str, Any], name: str) -> bytes:
    """What asks for such an answer."""
    kind, model = model_of(case)
    path, body = _asked(case["format"], model, f"play:{name}", is_stream(case))
    if "flex" in case["name"]:
        body["service_tier"] = "flex"
    token = {"remit-token": TOKENS["support"]}
    return post(f"/recorded-{kind}{path}", json.dumps(body).encode(), **token)


def recorded_answer(case: Mapping[str, Any], dice: random.Random) -> Play:
    """The answer, in pieces that are cut anywhere."""
    body, kind = body_of(case)
    edges = sorted({0, len(body), *(dice.randrange(len(body)) for _ in range(PIECES))})
    pieces = [body[start:end] for start, end in pairwise(edges)]
    more = "".join(f"{key}: {value}\r\n" for key, value in case.get("headers", {}).items())
    writes = framed(pieces, kind) if is_stream(case) else sized(body, *pieces, more=more)
    return Play(writes, bill=case.get("cost", 0), exact="cost" in case)


def is_stream(case: Mapping[str, Any]) -> bool:
    """Whether it comes in events."""
    return "body" not in case


def body_of(case: Mapping[str, Any]) -> tuple[bytes, str]:
    """Its bytes and their type."""
    if "sse" in case:
        return case["sse"].encode(), EVENTS
    if "messages" in case:
        return b"".join(framed_for_aws(*each) for each in case["messages"]), AWS
    if "chunks" in case:
        packed = (json.dumps({"bytes": base64.b64encode(each.encode()).decode()}) for each in case["chunks"])
        return b"".join(framed_for_aws("chunk", each) for each in packed), AWS
    return case["body"].encode(), "application/json"


def framed_for_aws(event: str, payload: str) -> bytes:
    """One message of an AWS event stream."""
    names = {":event-type": event, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for name, value in names.items()
    )
    prelude = (16 + len(headers) + len(payload.encode())).to_bytes(4) + len(headers).to_bytes(4)
    head = prelude + zlib.crc32(prelude).to_bytes(4) + headers + payload.encode()
    return head + zlib.crc32(head).to_bytes(4)


def _asked(api: str, model: str, text: str, stream: bool) -> tuple[str, Json]:
    said = [{"role": "user", "content": text}]
    streamed: Json = {"stream": True} if stream else {}
    parts = [{"role": "user", "content": [{"text": text}]}]
    capped: Json = {"inferenceConfig": {"maxTokens": CAP}}
    anthropic: Json = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": CAP, "messages": said}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    asked: Iterator[tuple[str, str, Json]] = iter(
        [
            ("openai.chat", "/v1/chat/completions", {"model": model, "max_tokens": CAP, "messages": said, **streamed}),
            (
                "openai.responses",
                "/v1/responses",
                {"model": model, "max_output_tokens": CAP, "input": text, **streamed},
            ),
            ("openai.embeddings", "/v1/embeddings", {"model": model, "input": text}),
            ("openai.images", "/v1/images/generations", {"model": model, "prompt": text}),
            (
                "azure.chat",
                f"/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
                {"max_tokens": CAP, "messages": said, **streamed},
            ),
            ("anthropic.messages", "/v1/messages", {"model": model, "max_tokens": CAP, "messages": said, **streamed}),
            (
                "gemini.generate",
                f"/v1beta/models/{model}:{method}",
                {
                    "contents": [{"role": "user", "parts": [{"text": text}]}],
                    "generationConfig": {"maxOutputTokens": CAP, "responseModalities": ["TEXT"]},
                },
            ),
            ("bedrock.converse", f"/model/{model}/converse{'-stream' * stream}", {"messages": parts, **capped}),
            ("bedrock.invoke", f"/model/{model}/invoke{'-with-response-stream' * stream}", anthropic),
        ]
    )
    return next((path, body) for each, path, body in asked if each == api)
