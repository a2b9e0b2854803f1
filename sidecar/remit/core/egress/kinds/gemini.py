"""Google's Gemini API: models/NAME:METHOD below v1 and v1beta.

Its JSON takes each field under two names (`max_output_tokens` and `maxOutputTokens`); one that is there under both is
refused, for nobody says which of them holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import HIDDEN_TOKENS, Call, Draft, free, names
from remit.core.egress.kinds.chat import changed, tool_name
from remit.core.egress.kinds.fields import Fields, checked_model
from remit.core.egress.kinds.responses import mcp_name

IMAGE_TOKENS = 8192
"""Of one image: 3,072 pixels a side at most, in tiles of 768, of 258 tokens each; 2,240 in the newer models."""

_FIELDS = frozenset(
    [
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "safetySettings",
        "generationConfig",
        "serviceTier",
        "store",
        "labels",
        "model",
    ]
)
_CONFIG = frozenset(
    [
        "candidateCount",
        "frequencyPenalty",
        "logprobs",
        "maxOutputTokens",
        "mediaResolution",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "speechConfig",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
        "imageConfig",
        "enableEnhancedCivicAnswers",
    ]
)
_EMBED = frozenset({"content", "taskType", "title", "outputDimensionality", "model"})
_TIERS = frozenset({"standard", "unspecified", "SERVICE_TIER_STANDARD", "SERVICE_TIER_UNSPECIFIED"})
_PARTS = frozenset(
    [
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "thought",
        "thoughtSignature",
        "videoMetadata",
        "mediaResolution",
    ]
)
_HOSTED = {
    "googleSearch": "google_search",
    "googleSearchRetrieval": "google_search",
    "codeExecution": "code_execution",
    "urlContext": "url_context",
    "googleMaps": "google_maps",
    "fileSearch": "file_search",
    "computerUse": "computer_use",
    "enterpriseWebSearch": "enterprise_web_search",
}
_MEDIA = {"AUDIO": "output_audio_token", "IMAGE": "output_image_token"}
_UNDERSCORE = re.compile(r"_([a-z0-9])", re.ASCII)
# Of what Google's front ends take in headers, whatever API it is; another one makes them leave out a part of the
# answer (X-Goog-FieldMask), which is then not billed by.
_GOOGLE = "x-goog-"
_GOOGLE_HEADERS = frozenset({"x-goog-api-client", "x-goog-api-key", "x-goog-request-params", "x-goog-user-project"})
_OWN_FILES = re.compile(r"https://generativelanguage\.googleapis\.com/v1(beta)?/files/[a-z0-9-]{1,64}", re.ASCII)


def map_gemini(call: Call) -> Mapped | None:
    """The request as one of Gemini's; None for a path that is none of those known here."""
    version = call.segments[:1]
    if version not in (("v1",), ("v1beta",)):
        return None
    _headers(call)
    if call.is_at("GET", version[0], "models"):
        call.query("pageSize", "pageToken")
        call.no_body()
        return free(call, "models")
    if call.is_at("GET", version[0], "models", "*"):
        call.query()
        call.no_body()
        return free(call, "models", arguments={"model": checked_model(call.segments[-1], "the path's model")})
    if not call.is_at("POST", version[0], "models", "*"):
        return None
    name, colon, method = call.segments[-1].partition(":")
    mappers = {
        "generateContent": lambda model: _generate(call, model, stream=False),
        "streamGenerateContent": lambda model: _generate(call, model, stream=True),
        "countTokens": lambda model: _count(call, model),
        "embedContent": lambda model: _embed(call, model),
        "batchEmbedContents": lambda model: _embed_many(call, model),
    }
    found = mappers.get(method) if colon else None
    return found(checked_model(name, "the path's model")) if found else None


def _headers(call: Call) -> None:
    for name, _ in call.request.headers:
        if name.startswith(_GOOGLE) and name not in _GOOGLE_HEADERS:
            raise Unmapped(f"the header {name[:64]} is not known here, so it is not let through")


def _generate(call: Call, model: str, *, stream: bool) -> Mapped:
    # Otherwise the stream is one JSON list, which is not metered as it passes.
    if call.query("alt").get("alt", "json") != ("sse" if stream else "json"):
        raise Unmapped("the query's alt is not that of the method (sse for a stream, else none)")
    body = call.body()
    fields = one_name(body)
    fields.only(_FIELDS)
    draft = Draft(call, fields, model)
    _read(draft)
    config = one_name(fields.fields("generationConfig") or Fields({}, "/generationConfig"))
    config.only(_CONFIG)
    _config(draft, config)
    name, listed = draft.variant()
    given = config.whole("maxOutputTokens", least=1)
    cap = draft.cap(listed, name) if given is None else given
    times = config.whole("candidateCount", least=1, most=128) or 1
    draft.arguments["n"] = times
    # Without a word on it, the model says itself what it answers with.
    media = draft.arguments.get("modalities", ("AUDIO", "IMAGE"))
    draft.bound_output(
        None if cap is None else cap * times,
        *(unit for name, unit in _MEDIA.items() if name in media),
    )
    if cap is not None:
        draft.arguments["max_tokens"] = cap
    draft.bound_input(IMAGE_TOKENS)
    changes = {} if given is not None or cap is None else _with_cap(body, cap)
    return draft.mapped("generate", name, reader="gemini.generate", stream=stream, body=changed(body, changes))


def _with_cap(body: Fields, cap: int) -> dict[str, object]:
    """The configuration under the name that the caller gave it, with a cap in it."""
    name = "generation_config" if "generation_config" in body else "generationConfig"
    return {name: {**(body.raw(name) or {}), "maxOutputTokens": cap}}


def _count(call: Call, model: str) -> Mapped:
    call.query()
    fields = one_name(call.body())
    fields.only(frozenset({"contents", "model"}))
    draft = Draft(call, fields, model)
    _contents(draft)
    return draft.mapped("count_tokens", "count_tokens", reader="")


def _embed(call: Call, model: str) -> Mapped:
    call.query()
    fields = one_name(call.body())
    draft = Draft(call, fields, model)
    _embedded(draft, fields)
    return _embedding(draft, 1)


def _embed_many(call: Call, model: str) -> Mapped:
    call.query()
    fields = one_name(call.body())
    fields.only(frozenset({"requests"}))
    draft = Draft(call, fields, model)
    requests = fields.objects("requests")
    for each in requests:
        _embedded(draft, one_name(each))
    return _embedding(draft, len(requests))


def _embedded(draft: Draft, fields: Fields) -> None:
    fields.only(_EMBED)
    if fields.text("model") not in (None, draft.model, f"models/{draft.model}"):
        raise Unmapped(f"{fields.at('model')} is not the path's")
    content = fields.fields("content")
    if content is None:
        raise Unmapped(f"{fields.at('content')} is missing")
    _parts(draft, one_name(content))


def _embedding(draft: Draft, inputs: int) -> Mapped:
    draft.arguments["inputs"] = inputs
    draft.usage["output_token"] = 0
    draft.bound_input(IMAGE_TOKENS)
    name, _ = draft.variant()
    return draft.mapped("embeddings", name, reader="gemini.generate")


def one_name(fields: Fields) -> Fields:
    """The object with each field under its name in camel case. Raises Unmapped for one that is there twice."""
    values: dict[str, Any] = {}
    for name in fields:
        camel = _UNDERSCORE.sub(lambda found: found[1].upper(), name)
        if camel in values:
            raise Unmapped(f"{fields.at(camel)} is there under two names")
        values[camel] = fields.raw(name)
    return Fields(values, fields.where)


def _read(draft: Draft) -> None:
    fields = draft.body
    draft.text("serviceTier", standard=_TIERS)
    draft.flags("store")
    if fields.text("model") not in (None, draft.model, f"models/{draft.model}"):
        raise Unmapped("/model is not the path's")
    _contents(draft)
    system = fields.raw("systemInstruction")
    if isinstance(system, dict):
        _parts(draft, one_name(Fields(system, "/systemInstruction")))
    elif "systemInstruction" in fields:
        raise Unmapped("/systemInstruction is not an object")
    _tools(draft)


def _config(draft: Draft, config: Fields) -> None:
    for name in ("temperature", "topP", "topK", "seed"):
        value = config.number(name)
        if value is not None:
            draft.arguments[name] = value
    mime = config.text("responseMimeType")
    if mime is not None:
        draft.arguments["response_format"] = mime
    modalities = config.texts("responseModalities")
    if modalities:
        draft.arguments["modalities"] = names([each.upper() for each in modalities], "/responseModalities")
    if {"responseSchema", "responseJsonSchema"} & set(config):
        draft.hidden += HIDDEN_TOKENS
    thinking = config.fields("thinkingConfig")
    if thinking is not None:
        shown = one_name(thinking)
        budget, level = shown.whole("thinkingBudget", least=-1), shown.text("thinkingLevel")
        draft.arguments |= {"thinking_budget": budget} if budget is not None else {}
        draft.arguments |= {"reasoning_effort": level} if level is not None else {}


def _contents(draft: Draft) -> None:
    draft.body.require("contents")
    contents = draft.body.objects("contents")
    roles = set()
    for content in contents:
        role = content.text("role")
        if role not in (None, "user", "model", "function", "system"):
            raise Unmapped(f"{content.at('role')} is not one that is known here")
        roles.add(role or "user")
        _parts(draft, one_name(content))
    draft.arguments |= {"messages": len(contents), "roles": sorted(roles)}


def _parts(draft: Draft, content: Fields) -> None:
    for each in content.objects("parts"):
        part = one_name(each)
        part.only(_PARTS)
        inline, file, answer = part.fields("inlineData"), part.fields("fileData"), part.fields("functionResponse")
        if inline is not None:
            _inline(draft, one_name(inline))
        if file is not None:
            _file(draft, one_name(file))
        if answer is not None and "parts" in answer:
            _parts(draft, answer)


def _inline(draft: Draft, inline: Fields) -> None:
    kind = (inline.text("mimeType") or "").lower()
    if kind.startswith("image/") and kind != "image/gif":
        draft.images += 1
    elif not kind.startswith("text/"):
        draft.unseen("file")


def _file(draft: Draft, file: Fields) -> None:
    draft.unseen("file")
    uri = file.text("fileUri", most=2048) or ""
    if not _OWN_FILES.fullmatch(uri):
        draft.host("remote_content")


def _tools(draft: Draft) -> None:
    found: list[str] = []
    for each in draft.body.objects("tools"):
        tool = one_name(each)
        for name in tool:
            if name == "functionDeclarations":
                found += [tool_name(one, one) for one in tool.objects(name)]
            elif name == "mcpServers":
                _servers(draft, tool.objects(name))
            elif name in _HOSTED:
                draft.host(_HOSTED[name])
            else:
                raise Unmapped(f"{tool.at(name)} is not a tool that is known here")
    if found:
        draft.arguments["tools"] = names(found, "/tools")
        draft.hidden += HIDDEN_TOKENS


def _servers(draft: Draft, servers: Iterable[Fields]) -> None:
    listed = draft.arguments.setdefault("mcp_servers", [])
    for each in servers:
        server = one_name(each)
        transport = server.fields("streamableHttpTransport")
        url = transport.text("url", most=1024) if transport is not None else None
        name = mcp_name(url or "", server.at("streamableHttpTransport"))
        draft.host(name)
        listed.append({"label": server.text("name") or "", "server": name.removeprefix("mcp:")})
