"""Anthropic's API: messages, counting their tokens, and the list of models."""

from __future__ import annotations

import re

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import HIDDEN_TOKENS, Call, Draft, free, names
from remit.core.egress.kinds.chat import changed, tool_name
from remit.core.egress.kinds.fields import Fields, checked_model
from remit.core.egress.kinds.responses import mcp_name

IMAGE_TOKENS = 8192
"""Of one image: 4,784 are the most that is documented (pictures are scaled down before)."""

# Not here: fallbacks (another model than the one judged), threads and containers that carry skills, who else is billed.
FIELDS = frozenset(
    [
        "model",
        "max_tokens",
        "messages",
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "mcp_servers",
        "metadata",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ]
)
_COUNTED = FIELDS - {"max_tokens", "stream", "container", "service_tier", "inference_geo"}
_TIERS = frozenset({"auto", "standard_only"})
_SPEEDS = frozenset({"standard"})
_GEOS = frozenset({"global"})
_BLOCKS = frozenset(
    [
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "tool_reference",
        "mcp_tool_use",
        "mcp_tool_result",
        "container_upload",
    ]
)
_SOURCES = frozenset({"base64", "url", "file", "text", "content"})
_CONTEXT_EDITS = re.compile(r"clear_(tool_uses|thinking)_[0-9]{8}", re.ASCII)
_CLIENT_TOOL = re.compile(r"(bash|text_editor|memory|computer)_[0-9]{8}", re.ASCII)
_HOSTED_TOOL = re.compile(r"(web_search|web_fetch|code_execution)_[0-9]{8}", re.ASCII)
_SEARCH_TOOL = re.compile(r"tool_search_tool_(bm25|regex)(_[0-9]{8})?", re.ASCII)
_BETA = re.compile(r"[a-z0-9.-]{1,64}", re.ASCII)


def map_anthropic(call: Call) -> Mapped | None:
    """The request as one of Anthropic's; None for a path that is none of those known here."""
    if call.is_at("POST", "v1", "messages"):
        return _messages(call)
    if call.is_at("POST", "v1", "messages", "count_tokens"):
        return _count(call)
    if call.is_at("GET", "v1", "models"):
        call.query("limit", "after_id", "before_id", "beta")
        call.no_body()
        return free(call, "models")
    if call.is_at("GET", "v1", "models", "*"):
        call.query("beta")
        call.no_body()
        return free(call, "models", arguments={"model": checked_model(call.segments[-1], "the path's model")})
    return None


def read_message(draft: Draft) -> bool:
    """Read a message's body into the draft; returns whether it is streamed."""
    body = draft.body
    draft.numbers("temperature", "top_p", "top_k")
    draft.text("service_tier", standard=_TIERS)
    draft.text("speed", standard=_SPEEDS)
    draft.text("inference_geo", standard=_GEOS)
    _settings(draft)
    _content(draft)
    _tools(draft)
    return body.flag("stream") or False


def cap(draft: Draft, put_in: int | None) -> dict[str, object]:
    """State the output's bound; returns the cap that has to be put in, if any. Without any, it is no message."""
    given = draft.body.whole("max_tokens", least=1)
    bound = put_in if given is None else given
    if bound is None:
        draft.body.require("max_tokens")
        return {}
    draft.bound_output(bound)
    return {} if given is not None else {"max_tokens": bound}


def cache_writes(body: Fields) -> set[str]:
    """The units of the caches that the body may write: those that its marks name."""
    found: set[str] = set()
    waiting: list[object] = [body.raw(name) for name in body if name not in ("metadata", "model")]
    top = body.raw("cache_control")
    marks = [] if top is None else [top]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("cache_control") is not None:
                marks.append(item["cache_control"])
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    for mark in marks:
        hour = isinstance(mark, dict) and mark.get("ttl") == "1h"
        found.add("cache_write_1h_token" if hour else "cache_write_token")
    return found


def _messages(call: Call) -> Mapped:
    if call.query("beta").get("beta", "true") != "true":
        raise Unmapped("the query's beta is not true")
    body = call.body()
    body.only(FIELDS)
    draft = Draft(call, body, body.model())
    betas(draft)
    stream = read_message(draft)
    name, listed = draft.variant()
    changes = cap(draft, draft.cap(listed, name))
    draft.bound_input(IMAGE_TOKENS, writes=cache_writes(body))
    return draft.mapped("messages", name, reader="anthropic.messages", stream=stream, body=changed(body, changes))


def _count(call: Call) -> Mapped:
    if call.query("beta").get("beta", "true") != "true":
        raise Unmapped("the query's beta is not true")
    body = call.body()
    body.only(_COUNTED)
    draft = Draft(call, body, body.model())
    betas(draft)
    _settings(draft)
    _content(draft)
    _tools(draft)
    return draft.mapped("count_tokens", "count_tokens", reader="")


def betas(draft: Draft) -> None:
    """What the header turns on, for policy."""
    value = draft.call.header("anthropic-beta")
    if value is None:
        return
    found = [each.strip() for each in value.split(",") if each.strip()]
    if not all(_BETA.fullmatch(each) for each in found):
        raise Unmapped("the header anthropic-beta is no list of names")
    draft.arguments["betas"] = names(found, "anthropic-beta")


def _settings(draft: Draft) -> None:
    body = draft.body
    thinking = body.fields("thinking")
    if thinking is not None:
        draft.arguments["thinking"] = thinking.kind(frozenset({"enabled", "disabled", "adaptive"}))
    output = body.fields("output_config")
    if output is not None and (effort := output.text("effort")):
        draft.arguments["reasoning_effort"] = effort
    if "output_format" in body or (output is not None and "format" in output):
        draft.arguments["response_format"] = "json_schema"
        draft.hidden += HIDDEN_TOKENS
    if "container" in body:
        if not isinstance(body.raw("container"), str):
            raise Unmapped("/container is not a container's id: its skills cannot be seen")
        draft.unseen("container")
    context = body.fields("context_management")
    for edit in context.objects("edits") if context is not None else ():
        if not _CONTEXT_EDITS.fullmatch(edit.kind()):
            raise Unmapped(f"{edit.at('type')} is not one that is known here")


def _content(draft: Draft) -> None:
    body = draft.body
    body.require("messages")
    messages = body.objects("messages")
    roles = set()
    for message in messages:
        role = message.text("role") or ""
        if role not in ("user", "assistant", "system"):
            raise Unmapped(f"{message.at('role')} is not one that is known here")
        roles.add(role)
        message.require("content")
        _blocks(draft, message, "content")
    if "system" in body:
        _blocks(draft, body, "system")
    draft.arguments |= {"messages": len(messages), "roles": sorted(roles)}


def _blocks(draft: Draft, at: Fields, name: str) -> None:
    value = at.raw(name)
    if isinstance(value, str):
        return
    for block in at.objects(name):
        kind = block.kind(_BLOCKS)
        if kind == "image":
            draft.images += 1
            _source(draft, block, document=False)
        elif kind == "document":
            _source(draft, block, document=True)
        elif kind == "container_upload":
            draft.unseen("file")
        elif kind == "tool_result" and "content" in block:
            _blocks(draft, block, "content")


def _source(draft: Draft, block: Fields, *, document: bool) -> None:
    source = block.fields("source")
    if source is None:
        raise Unmapped(f"{block.at('source')} is missing")
    kind = source.kind(_SOURCES)
    if kind == "url":
        draft.host("remote_content")
    elif kind == "content" and "content" in source:
        _blocks(draft, source, "content")
    elif kind == "file" or (document and kind == "base64"):
        draft.unseen("file")


def _tools(draft: Draft) -> None:
    found = []
    for tool in draft.body.objects("tools"):
        kind = tool.kind(default="custom")
        draft.hidden += HIDDEN_TOKENS if kind != "custom" else 0
        hosted = _HOSTED_TOOL.fullmatch(kind)
        if kind == "custom" or _CLIENT_TOOL.fullmatch(kind):
            found.append(tool_name(tool, tool))
        elif hosted:
            draft.host(hosted[1])
        elif _SEARCH_TOOL.fullmatch(kind):
            draft.host("tool_search")
        elif kind != "mcp_toolset":
            raise Unmapped(f"{tool.at('type')} is not one that is known here: {kind[:64]!r}")
    if draft.body.values("tools"):
        draft.arguments["tools"] = names(found, "/tools")
        draft.hidden += HIDDEN_TOKENS
    servers = []
    for server in draft.body.objects("mcp_servers"):
        server.require("url")
        name = mcp_name(server.text("url", most=1024) or "", server.at("url"))
        draft.host(name)
        servers.append({"label": server.text("name") or "", "server": name.removeprefix("mcp:")})
    if servers:
        draft.arguments["mcp_servers"] = servers
