"""OpenAI's API: what lies below /v1."""

from __future__ import annotations

from remit.core.egress.exchange import Mapped, Unmapped
from remit.core.egress.kinds.call import Call, Draft, free, remote
from remit.core.egress.kinds.chat import headers, map_chat
from remit.core.egress.kinds.fields import Fields, checked_model
from remit.core.egress.kinds.responses import map_responses

_EMBEDDING = frozenset({"input", "model", "dimensions", "encoding_format", "user"})
_IMAGE = frozenset(
    [
        "prompt",
        "background",
        "model",
        "moderation",
        "n",
        "output_compression",
        "output_format",
        "partial_images",
        "quality",
        "response_format",
        "safety_identifier",
        "size",
        "style",
        "user",
        "stream",
    ]
)
_MODERATION = frozenset({"input", "model"})
_MODERATED = frozenset({"text", "image_url"})


def map_openai(call: Call) -> Mapped | None:
    """The request as one of OpenAI's; None for a path that is none of those known here."""
    if call.segments[:1] != ("v1",):
        return None
    call.query()
    return map_below(call, "v1")


def map_below(call: Call, *base: str, image_tokens: int = 0) -> Mapped | None:
    """The request as one of OpenAI's below a path."""
    mappers = {
        ("chat", "completions"): lambda: map_chat(call, image_tokens=image_tokens),
        ("responses",): lambda: map_responses(call, image_tokens=image_tokens),
        ("embeddings",): lambda: map_embeddings(call),
        ("images", "generations"): lambda: map_images(call),
        ("moderations",): lambda: _moderation(call),
    }
    found = mappers.get(call.segments[len(base) :])
    if call.request.method == "POST" and call.segments[: len(base)] == base and found is not None:
        return found()
    if call.is_at("GET", *base, "models"):
        call.no_body()
        return free(call, "models")
    if call.is_at("GET", *base, "models", "*"):
        call.no_body()
        return free(call, "models", arguments={"model": checked_model(call.segments[-1], "the path's model")})
    return None


def map_embeddings(call: Call, *, model: str = "") -> Mapped:
    """Embeddings of texts, or of lists of token numbers: each has more bytes than tokens."""
    body = call.body()
    body.only(_EMBEDDING)
    draft = Draft(call, body, model or body.model())
    headers(draft)
    body.require("input")
    given = body.raw("input")
    if not isinstance(given, str | list):
        raise Unmapped("/input is neither text nor a list")
    draft.arguments["inputs"] = (
        len(given) if isinstance(given, list) and not all(isinstance(each, int) for each in given) else 1
    )
    dimensions = body.whole("dimensions", least=1, most=1 << 20)
    if dimensions is not None:
        draft.arguments["dimensions"] = dimensions
    draft.text("encoding_format")
    draft.text("user")
    draft.bound_input(0)
    draft.usage["output_token"] = 0
    variant, _ = draft.variant()
    return draft.mapped("embeddings", variant, reader="openai.embeddings")


def map_images(call: Call, *, model: str = "") -> Mapped:
    """Pictures from a text: `image` of them, of a quality and size that variants may select."""
    body = call.body()
    body.only(_IMAGE)
    draft = Draft(call, body, model or body.model())
    headers(draft)
    body.require("prompt")
    if not isinstance(body.raw("prompt"), str):
        raise Unmapped("/prompt is not text")
    if body.flag("stream"):
        raise Unmapped("/stream: partial images are not metered")
    for name in ("quality", "size", "style", "background", "output_format", "response_format", "user"):
        draft.text(name)
    count = body.whole("n", least=1, most=128) or 1
    draft.arguments["n"] = count
    draft.usage["image"] = count
    draft.bound_input(0)
    variant, _ = draft.variant()
    return draft.mapped("images", variant, reader="openai.images")


def _moderation(call: Call) -> Mapped:
    body = call.body()
    body.only(_MODERATION)
    body.require("input")
    given = body.raw("input")
    if isinstance(given, list) and not all(isinstance(each, str) for each in given):
        for part in body.objects("input"):
            _moderated(part)
    elif not isinstance(given, str | list):
        raise Unmapped("/input is neither text nor a list")
    return free(call, "moderations", arguments={"model": body.model()} if "model" in body else {})


def _moderated(part: Fields) -> None:
    if part.kind(_MODERATED) == "image_url":
        image = part.fields("image_url")
        url = image.raw("url") if image is not None else None
        if not isinstance(url, str):
            raise Unmapped(f"{part.at('image_url')} has no url")
        if remote(url):
            raise Unmapped(f"{part.at('image_url')} is one that the provider would fetch: send the image itself")
