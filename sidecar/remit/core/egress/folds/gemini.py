"""Gemini's generateContent and streamGenerateContent."""

from __future__ import annotations

from typing import Any

from remit.core.egress.folds.counts import Counts, Paths, Usage, at, beyond, items, rest, used, whole

_PATHS: Paths = {
    "input": ("promptTokenCount",),
    "tool": ("toolUsePromptTokenCount",),
    "cached": ("cachedContentTokenCount",),
    "output": ("candidatesTokenCount",),
    "thoughts": ("thoughtsTokenCount",),
    "total": ("totalTokenCount",),
}
_DETAILS = {"in": "promptTokensDetails", "cache": "cacheTokensDetails", "out": "candidatesTokensDetails"}
# A document is billed as its pages' images.
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
_ALWAYS = ("input_token", "output_token", "web_search", "flex", "priority")
# These charge for a request that searches, the later ones for each search.
_BY_REQUEST = ("gemini-1", "gemini-2")


class GenerateFold:
    """Candidates. Each chunk of a stream states all of the usage so far; the last says why it is the last."""

    marks = (b"usageMetadata", b"finishReason", b"promptFeedback", b"webSearchQueries")

    def __init__(self) -> None:
        self._counts, self._marks, self._ended = Counts(), dict[str, int](), False
        self._queries: set[str] = set()
        self._model = ""

    def read(self, document: Any) -> bool:
        """See Fold."""
        if isinstance(document, list):
            # A stream that is not asked for as events is one list.
            return any([self.read(each) for each in document if isinstance(each, dict)])  # noqa: C419  # all of them
        candidates = list(items(document, "candidates"))
        self._ended |= any(at(each, "finishReason") for each in candidates) or bool(at(document, "promptFeedback"))
        for each in candidates:
            self._queries.update(str(query) for query in items(each, "groundingMetadata", "webSearchQueries") if query)
        self._ended |= at(document, "embedding") is not None or at(document, "embeddings") is not None
        model = at(document, "modelVersion")
        self._model = model if isinstance(model, str) else self._model
        usage = at(document, "usageMetadata")
        traffic = at(usage, "trafficType")
        if isinstance(traffic, str):
            self._marks = {"flex": int("FLEX" in traffic), "priority": int("PRIORITY" in traffic)}
        stated = self._counts.take(usage, _PATHS)
        self._counts.put(_details(usage))
        return stated

    def usage(self) -> Usage:
        """See Fold."""
        counts, searches = self._counts, self._searches()
        if "input" not in counts:
            return Usage(searches)
        audio, image, video = (
            rest(counts[f"in.{kind}"], counts[f"cache.{kind}"]) for kind in ("audio", "image", "video")
        )
        cached_audio, cached_image = counts["cache.audio"], counts["cache.image"]
        out = {f"output_{kind}_token": counts[f"out.{kind}"] for kind in ("audio", "image", "video")}
        units = {
            "input_token": rest(counts["input"] + counts["tool"], counts["cached"], audio, image, video),
            "cache_read_token": rest(counts["cached"], cached_audio, cached_image),
            "cache_audio_read_token": cached_audio,
            "cache_image_read_token": cached_image,
            "input_audio_token": audio,
            "input_image_token": image,
            "input_video_token": video,
            "output_token": rest(counts["output"], *out.values())
            + counts["thoughts"]
            + beyond(counts, "input", "tool", "output", "thoughts"),
        }
        return Usage(used({**units, **out, **searches, **self._marks}, always=_ALWAYS), complete=self._ended)

    def _searches(self) -> dict[str, int]:
        by_request = self._model.startswith(_BY_REQUEST)
        return {"web_search": min(len(self._queries), 1) if by_request else len(self._queries)}


def _details(usage: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for part, key in _DETAILS.items():
        for each in items(usage, key):
            modality, count = at(each, "modality"), at(each, "tokenCount")
            kind = _MODALITIES.get(modality) if isinstance(modality, str) else None
            if kind and count is not None:
                found[f"{part}.{kind}"] = found.get(f"{part}.{kind}", 0) + whole(count)
    return found
