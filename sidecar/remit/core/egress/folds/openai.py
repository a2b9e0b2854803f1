"""OpenAI's chat completions, responses, embeddings and images; Azure's are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.core.egress.folds.counts import Counts, Paths, Usage, at, beyond, items, rest, tier, used

_CHAT: Paths = {
    "input": ("prompt_tokens",),
    "cached": ("prompt_tokens_details", "cached_tokens"),
    "written": ("prompt_tokens_details", "cache_write_tokens"),
    "audio": ("prompt_tokens_details", "audio_tokens"),
    "output": ("completion_tokens",),
    "output_audio": ("completion_tokens_details", "audio_tokens"),
    "total": ("total_tokens",),
}
_RESPONSES: Paths = {
    "input": ("input_tokens",),
    "cached": ("input_tokens_details", "cached_tokens"),
    "written": ("input_tokens_details", "cache_write_tokens"),
    "audio": ("input_tokens_details", "audio_tokens"),
    "output": ("output_tokens",),
    "output_audio": ("output_tokens_details", "audio_tokens"),
    "total": ("total_tokens",),
}
_IMAGES: Paths = {
    "input": ("input_tokens",),
    "image": ("input_tokens_details", "image_tokens"),
    "output": ("output_tokens",),
    "text": ("output_tokens_details", "text_tokens"),
}
_ALWAYS = ("input_token", "output_token", "web_search", "file_search", *tier("default"))
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_CALLS = {"web_search_call": "web_search", "file_search_call": "file_search"}


def _units(counts: Counts) -> dict[str, int]:
    # Of an audio prompt nobody says how much of the cached part is audio: as much as possible is taken for text
    # that is not cached, which costs more.
    audio = counts["audio"]
    cached = min(counts["cached"], rest(counts["input"], audio, counts["written"])) if audio else counts["cached"]
    return {
        "input_token": rest(counts["input"], cached, counts["written"], audio),
        "cache_read_token": cached,
        "cache_write_token": counts["written"],
        "input_audio_token": audio,
        "output_token": rest(counts["output"], counts["output_audio"]) + beyond(counts, "input", "output"),
        "output_audio_token": counts["output_audio"],
    }


class ChatFold:
    """A chat completion, whose stream states its usage in one last chunk without choices (`include_usage`)."""

    marks = (b"usage", b"[DONE]")

    def __init__(self) -> None:
        self._counts, self._tier, self._ended = Counts(), dict[str, int](), False

    def read(self, document: Any) -> bool:
        """See Fold."""
        if not self._counts.take(at(document, "usage"), _CHAT):
            return False
        self._tier = {**tier(at(document, "service_tier"))}
        self._ended |= at(document, "object") != "chat.completion.chunk" or at(document, "choices") == []
        return True

    def done(self) -> None:
        """The stream's own end has come: what was stated last is all."""
        self._ended = True

    def usage(self) -> Usage:
        """See Fold."""
        stated = "input" in self._counts and "output" in self._counts
        units = used(_units(self._counts) | self._tier, always=_ALWAYS) if stated else {}
        return Usage(units, complete=stated and self._ended)


class ResponsesFold:
    """A response, whose stream ends with the whole of it. Searches count by the calls in its output."""

    marks = (b"usage", *(name.encode() for name in _CALLS))

    def __init__(self) -> None:
        self._counts, self._tier, self._ended = Counts(), dict[str, int](), False
        self._calls = dict.fromkeys(_CALLS.values(), 0)

    def read(self, document: Any) -> bool:
        """See Fold."""
        event = at(document, "type")
        if event == "response.output_item.done":
            self._count_call(at(document, "item"))
            return False
        response = at(document, "response") if isinstance(event, str) else document
        ends = event in _TERMINAL or not isinstance(event, str)
        if not self._counts.take(at(response, "usage"), _RESPONSES):
            return False
        self._tier = {**tier(at(response, "service_tier"))}
        self._ended |= ends and at(response, "status") not in ("queued", "in_progress")
        if ends:
            self._calls = dict.fromkeys(_CALLS.values(), 0)
            for item in items(response, "output"):
                self._count_call(item)
        return True

    def _count_call(self, item: Any) -> None:
        kind = at(item, "type")
        unit = _CALLS.get(kind) if isinstance(kind, str) else None
        # Opening a page that was found, and looking for words in it, is part of the search.
        if unit and at(item, "action", "type") in (None, "search"):
            self._calls[unit] += 1

    def usage(self) -> Usage:
        """See Fold."""
        stated = "input" in self._counts and "output" in self._counts
        tokens: Mapping[str, int] = _units(self._counts) | self._tier if stated else {}
        return Usage(used({**tokens, **self._calls}, always=_ALWAYS), complete=stated and self._ended)


class EmbeddingsFold:
    """Embeddings, which have input alone."""

    marks = (b"usage",)

    def __init__(self) -> None:
        self._counts = Counts()

    def read(self, document: Any) -> bool:
        """See Fold."""
        return self._counts.take(at(document, "usage"), {"input": ("prompt_tokens",)})

    def usage(self) -> Usage:
        """See Fold."""
        stated = "input" in self._counts
        return Usage({"input_token": self._counts["input"], "output_token": 0} if stated else {}, complete=stated)


class ImagesFold:
    """Images: how many, and where the model counts tokens, those; what comes out are image tokens."""

    marks = (b"usage", b".completed")

    def __init__(self) -> None:
        self._counts, self._images = Counts(), 0

    def read(self, document: Any) -> bool:
        """See Fold."""
        event = at(document, "type")
        completed = isinstance(event, str) and event.endswith(".completed")
        self._images += 1 if completed else sum(1 for _ in items(document, "data"))
        return self._counts.take(at(document, "usage"), _IMAGES) or self._images > 0

    def usage(self) -> Usage:
        """See Fold."""
        counts, images = self._counts, {"image": self._images}
        if "input" not in counts or "output" not in counts:
            return Usage(images if self._images else {}, complete=self._images > 0)
        tokens = {
            "input_token": rest(counts["input"], counts["image"]),
            "input_image_token": counts["image"],
            "output_token": counts["text"],
            "output_image_token": rest(counts["output"], counts["text"]),
        }
        return Usage(used(images | tokens, always=_ALWAYS), complete=True)
