"""Amazon Bedrock's runtime: converse, and invoke of what has a shape that is known (Anthropic's)."""

from __future__ import annotations

import re
from typing import Any

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds import anthropic
from remit.core.egress.kinds.call import HIDDEN_TOKENS, Call, Draft, names
from remit.core.egress.kinds.chat import changed, tool_name
from remit.core.egress.kinds.fields import Fields, checked_model
from remit.core.egress.kinds.gemini import IMAGE_TOKENS

# The official clients escape the colon of a model's name, and nothing else occurs in one.
_MODEL = re.compile(r"([A-Za-z0-9._:-]|%3A){1,128}", re.ASCII)
_CONVERSE = frozenset(
    [
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
    ]
)
_INFERENCE = frozenset({"maxTokens", "temperature", "topP", "stopSequences"})
# Whatever else a model takes might be a tool of its own, or another cap.
_ADDITIONAL = frozenset({"top_k", "thinking", "reasoning_config", "reasoningConfig", "reasoning_effort"})
_BLOCKS = frozenset(
    [
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "guardContent",
        "cachePoint",
        "reasoningContent",
        "citationsContent",
        "searchResult",
        "json",
    ]
)
_INVOKE = (anthropic.FIELDS - {"model", "stream", "mcp_servers", "service_tier", "inference_geo", "container"}) | {
    "anthropic_version",
    "anthropic_beta",
}
_HEADERS = {
    "x-amzn-bedrock-guardrailidentifier": "guardrail",
    "x-amzn-bedrock-guardrailversion": "guardrail_version",
    "x-amzn-bedrock-trace": "trace",
}
_LATENCY = "x-amzn-bedrock-performanceconfig-latency"
_TIER = "x-amzn-bedrock-service-tier"
_STANDARD_TIERS = frozenset({"default", "standard"})


def map_bedrock(call: Call) -> Mapped | None:
    """The request as one of Bedrock's; None for a path that is none of those known here."""
    if not call.is_at("POST", "model", "*", "*"):
        return None
    mappers = {
        "converse": lambda model: _converse(call, model, stream=False),
        "converse-stream": lambda model: _converse(call, model, stream=True),
        "invoke": lambda model: _invoke(call, model, stream=False),
        "invoke-with-response-stream": lambda model: _invoke(call, model, stream=True),
    }
    found = mappers.get(call.segments[2])
    if found is None:
        return None
    call.query()
    if not _MODEL.fullmatch(call.segments[1]):
        raise Unmapped("the path's model is no name that the catalogue can list")
    return found(checked_model(call.segments[1].replace("%3A", ":"), "the path's model"))


def _converse(call: Call, model: str, *, stream: bool) -> Mapped:
    body = call.body()
    body.only(_CONVERSE)
    draft = Draft(call, body, model)
    _headers(draft)
    _priced(draft)
    writes = _content(draft)
    writes |= _tools(draft)
    inference = body.fields("inferenceConfig") or Fields({}, "/inferenceConfig")
    inference.only(_INFERENCE)
    for name in ("temperature", "topP"):
        value = inference.number(name)
        if value is not None:
            draft.arguments[name] = value
    name, listed = draft.variant()
    given = inference.whole("maxTokens", least=1)
    cap = draft.cap(listed, name) if given is None else given
    changes: dict[str, object] = {}
    draft.bound_output(cap)
    if cap is not None and given is None:
        changes["inferenceConfig"] = {**{each: inference.raw(each) for each in inference}, "maxTokens": cap}
    draft.bound_input(IMAGE_TOKENS, writes=writes)
    return draft.mapped("converse", name, reader="bedrock.converse", stream=stream, body=changed(body, changes))


def _invoke(call: Call, model: str, *, stream: bool) -> Mapped:
    body = call.body()
    if "anthropic_version" not in body:
        raise Unmapped("the body is of no model family that is known here: use converse, or map it with a route")
    body.only(_INVOKE)
    body.text("anthropic_version")
    draft = Draft(call, body, model)
    _headers(draft)
    beta = body.texts("anthropic_beta")
    if beta:
        draft.arguments["betas"] = names(beta, "/anthropic_beta")
    anthropic.read_message(draft)
    name, listed = draft.variant()
    changes = anthropic.cap(draft, draft.cap(listed, name))
    draft.bound_input(IMAGE_TOKENS, writes=anthropic.cache_writes(body))
    return draft.mapped("invoke", name, reader="bedrock.invoke", stream=stream, body=changed(body, changes))


def _headers(draft: Draft) -> None:
    for header, argument in _HEADERS.items():
        value = draft.call.header(header)
        if value is not None:
            draft.arguments[argument] = value[:256]
    latency, tier = draft.call.header(_LATENCY), draft.call.header(_TIER)
    if latency not in (None, "standard") or tier not in (None, *_STANDARD_TIERS):
        raise Unmapped(
            "a header chooses a latency or a tier, which are priced apart: choose it in the body of converse"
        )


def _priced(draft: Draft) -> None:
    body = draft.body
    for field, name, standard in (
        ("performanceConfig", "latency", frozenset({"standard"})),
        ("serviceTier", "type", _STANDARD_TIERS),
    ):
        chosen = body.fields(field)
        value = chosen.text(name) if chosen is not None else None
        if value is not None:
            draft.arguments[field] = value
            if value not in standard:
                draft.priced[f"/{field}/{name}"] = value
    guardrail = body.fields("guardrailConfig")
    if guardrail is not None:
        draft.arguments["guardrail"] = guardrail.text("guardrailIdentifier") or ""
    more = body.fields("additionalModelRequestFields")
    if more is not None:
        more.only(_ADDITIONAL)
    if "outputConfig" in body:
        draft.hidden += HIDDEN_TOKENS


def _content(draft: Draft) -> set[str]:
    body = draft.body
    body.require("messages")
    messages = body.objects("messages")
    roles = set()
    writes: set[str] = set()
    for message in messages:
        role = message.text("role") or ""
        if role not in ("user", "assistant"):
            raise Unmapped(f"{message.at('role')} is not one that is known here")
        roles.add(role)
        writes |= _blocks(draft, message.objects("content"))
    writes |= _blocks(draft, body.objects("system"))
    draft.arguments |= {"messages": len(messages), "roles": sorted(roles)}
    return writes


def _blocks(draft: Draft, blocks: list[Fields]) -> set[str]:
    writes: set[str] = set()
    for block in blocks:
        block.only(_BLOCKS)
        if "cachePoint" in block:
            writes.add(_cache_point(block))
        for media in ("image", "document", "video", "audio"):
            held = block.fields(media)
            if held is not None:
                _media(draft, media, held.fields("source"))
        result = block.fields("toolResult")
        if result is not None:
            writes |= _blocks(draft, result.objects("content"))
    return writes


def _media(draft: Draft, media: str, source: Fields | None) -> None:
    if media == "image" and source is not None and "bytes" in source:
        draft.images += 1
    elif media == "document" and source is not None and set(source) == {"text"}:
        return
    else:
        draft.unseen("file")
    if source is not None and "s3Location" in source:
        draft.host("remote_content")


def _cache_point(block: Fields) -> str:
    point: Any = block.raw("cachePoint")
    hour = isinstance(point, dict) and point.get("ttl") == "1h"
    return "cache_write_1h_token" if hour else "cache_write_token"


def _tools(draft: Draft) -> set[str]:
    config = draft.body.fields("toolConfig")
    if config is None:
        return set()
    found, writes = [], set()
    for tool in config.objects("tools"):
        tool.only(frozenset({"toolSpec", "systemTool", "cachePoint"}))
        own, system = tool.fields("toolSpec"), tool.fields("systemTool")
        if own is not None:
            found.append(tool_name(own, tool))
        if system is not None:
            draft.host(tool_name(system, tool))
        if "cachePoint" in tool:
            writes.add(_cache_point(tool))
    draft.arguments["tools"] = names(found, "/toolConfig/tools")
    draft.hidden += HIDDEN_TOKENS
    return writes
