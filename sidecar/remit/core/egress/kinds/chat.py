"""OpenAI's chat completions, as Azure and OpenAI take them."""

from __future__ import annotations

from remit.core.canonical import encode_exact
from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import HIDDEN_TOKENS, MAX_OUTPUT, Call, Draft, names, remote
from remit.core.egress.kinds.fields import Fields

IMAGE_TOKENS = 25_000
"""Of one image: 10,000 patches with the factor 2.46 (the largest of the documented models but one)."""

MINI_IMAGE_TOKENS = 50_000
"""gpt-4o-mini counts 2,833 and 5,667 for each of up to eight tiles. A deployment may be one under any name."""

TIERS = frozenset({"auto", "default", "standard"})
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
CACHE_WRITES = ("cache_write_token",)

_FIELDS = frozenset(
    [
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
_PARTS = frozenset({"text", "refusal", "image_url", "input_audio", "file"})
_TOOLS = frozenset({"function", "custom"})
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


def map_chat(call: Call, *, model: str = "", image_tokens: int = 0) -> Mapped:
    """A chat completion; `model` is given where the path names it."""
    body = call.body()
    body.only(_FIELDS)
    draft = Draft(call, body, model or body.model())
    _arguments(draft)
    _messages(draft)
    _tools(draft)
    stream = body.flag("stream") or False
    variant, listed = draft.variant()
    changes = _cap(draft, draft.cap(listed, variant))
    if stream:
        changes |= _stream_options(body)
    elif "stream_options" in body:
        raise Unmapped("/stream_options without /stream")
    draft.bound_input(image_tokens or image_bound(draft.model), writes=CACHE_WRITES)
    return draft.mapped("chat", variant, reader="openai.chat", stream=stream, body=changed(body, changes))


def image_bound(model: str) -> int:
    """The most input tokens that one image can be."""
    return MINI_IMAGE_TOKENS if model.startswith("gpt-4o-mini") else IMAGE_TOKENS


def changed(body: Fields, changes: dict[str, object]) -> bytes | None:
    """The body with some fields set; None where there is nothing to set, and the bytes as they came hold."""
    return encode_exact({name: body.raw(name) for name in body} | changes) if changes else None


def headers(draft: Draft) -> None:
    """Who is charged, where the caller names it besides."""
    for name in ("openai-organization", "openai-project"):
        value = draft.call.header(name)
        if value is not None:
            draft.arguments[name.replace("-", "_")] = value[:256]


def _arguments(draft: Draft) -> None:
    body = draft.body
    headers(draft)
    draft.numbers("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
    draft.flags("store", "logprobs", "parallel_tool_calls")
    draft.text("service_tier", standard=TIERS)
    for name in ("reasoning_effort", "verbosity", "user", "safety_identifier", "prompt_cache_retention"):
        draft.text(name)
    shape = body.fields("response_format")
    if shape is not None:
        draft.arguments["response_format"] = shape.kind(_FORMATS)
        draft.hidden += HIDDEN_TOKENS
    if "moderation" in body:
        draft.arguments["moderation"] = True
    if body.fields("web_search_options") is not None:
        draft.host("web_search")


def _messages(draft: Draft) -> None:
    draft.body.require("messages")
    messages = draft.body.objects("messages")
    roles = set()
    for message in messages:
        message.require("role")
        role = message.text("role") or ""
        if role not in ROLES:
            raise Unmapped(f"{message.at('role')} is not one that is known here")
        roles.add(role)
        if isinstance(message.raw("content"), list):
            for part in message.objects("content"):
                _part(draft, part)
        elif message.raw("content") is not None and not isinstance(message.raw("content"), str):
            raise Unmapped(f"{message.at('content')} is neither text nor a list of parts")
        if message.raw("audio") is not None:
            draft.unseen("audio")
    draft.arguments |= {"messages": len(messages), "roles": sorted(roles)}


def _part(draft: Draft, part: Fields) -> None:
    match part.kind(_PARTS):
        case "image_url":
            image = part.fields("image_url")
            url = image.raw("url") if image else None
            if not isinstance(url, str):
                raise Unmapped(f"{part.at('image_url')} has no url")
            draft.images += 1
            if remote(url):
                draft.host("remote_content")
        case "file":
            draft.unseen("file")
        case "input_audio":
            sound = part.fields("input_audio")
            # Both formats that are taken have more bytes than tokens: at least 1,000 a second.
            if sound is None or sound.text("format") not in ("mp3", "wav"):
                raise Unmapped(f"{part.at('input_audio')} is neither mp3 nor wav")
            draft.usage["input_audio_token"] = len(draft.call.request.body)


def _tools(draft: Draft) -> None:
    found = []
    for tool in draft.body.objects("tools"):
        inner = tool.fields(tool.kind(_TOOLS))
        found.append(tool_name(inner, tool))
    for function in draft.body.objects("functions"):
        found.append(tool_name(function, function))
    if found:
        draft.arguments["tools"] = names(found, "/tools")
        draft.hidden += HIDDEN_TOKENS


def tool_name(tool: Fields | None, at: Fields) -> str:
    """What a client's own tool is called."""
    name = tool.text("name") if tool is not None else None
    if not name:
        raise Unmapped(f"{at.where} has no name")
    return name


def _cap(draft: Draft, put_in: int | None) -> dict[str, object]:
    """State the output's bound; returns the cap that has to be put in, if any."""
    body = draft.body
    given = [each for each in ("max_completion_tokens", "max_tokens") if each in body]
    if len(given) == 2:
        raise Unmapped("/max_completion_tokens and /max_tokens, of which one holds")
    cap = body.whole(given[0], least=1) if given else put_in
    times = body.whole("n", least=1, most=128) or 1
    draft.arguments["n"] = times
    if cap is not None:
        # What was predicted and not used is charged as output.
        predicted = len(draft.call.request.body) if "prediction" in body else 0
        _output(draft, min(MAX_OUTPUT, (cap + predicted) * times))
        draft.arguments["max_tokens"] = cap
    else:
        _output(draft, None)
    return {} if given or cap is None else {"max_completion_tokens": cap}


def _output(draft: Draft, bound: int | None) -> None:
    modalities = draft.body.texts("modalities")
    audio = "audio" in modalities or "audio" in draft.body
    if modalities:
        draft.arguments["modalities"] = names(modalities, "/modalities")
    draft.bound_output(bound, *(["output_audio_token"] if audio else []))


def _stream_options(body: Fields) -> dict[str, object]:
    """A stream tells its usage at its end only where it is asked to."""
    options = body.fields("stream_options")
    if options is None:
        return {"stream_options": {"include_usage": True}}
    options.only(_STREAM_OPTIONS)
    options.flag("include_obfuscation")
    if options.flag("include_usage"):
        return {}
    return {"stream_options": {**{name: options.raw(name) for name in options}, "include_usage": True}}
