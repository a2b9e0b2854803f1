"""Bedrock's Converse, and its InvokeModel, which answers as the model's maker does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from remit.core.egress.folds.anthropic import MessagesFold
from remit.core.egress.folds.counts import Counts, Invalid, Paths, Usage, at, items, tier, used, whole

_CONVERSE: Paths = {
    "input": ("inputTokens",),
    "read": ("cacheReadInputTokens",),
    "written": ("cacheWriteInputTokens",),
    "output": ("outputTokens",),
}
_METRICS: Paths = {
    "input": ("inputTokenCount",),
    "read": ("cacheReadInputTokenCount",),
    "written": ("cacheWriteInputTokenCount",),
    "output": ("outputTokenCount",),
}
_HEADERS = {
    "x-amzn-bedrock-input-token-count": "input",
    "x-amzn-bedrock-cache-read-input-token-count": "read",
    "x-amzn-bedrock-cache-write-input-token-count": "written",
    "x-amzn-bedrock-output-token-count": "output",
}
_ALWAYS = ("input_token", "output_token", *tier("default"))


def _usage(counts: Counts, marks: Mapping[str, int]) -> Usage:
    if "input" not in counts or "output" not in counts:
        return Usage()
    kept = counts["written_1h"]
    units = {
        "input_token": counts["input"],
        "cache_read_token": counts["read"],
        "cache_write_token": max(counts["written"], kept) - kept,
        "cache_write_1h_token": kept,
        "output_token": counts["output"],
    }
    return Usage(used({**units, **marks}, always=_ALWAYS), complete=True)


class ConverseFold:
    """A conversation's turn, whose stream ends with its metadata. The cached input is not part of `inputTokens`."""

    marks = (b"usage",)

    def __init__(self) -> None:
        self._counts, self._tier = Counts(), dict[str, int]()

    def read(self, document: Any) -> bool:
        """See Fold."""
        usage = at(document, "usage")
        kept = [each for each in items(usage, "cacheDetails") if at(each, "ttl") == "1h"]
        self._counts.put({"written_1h": sum(whole(at(each, "inputTokens")) for each in kept)})
        self._tier |= tier(at(document, "serviceTier", "type"))
        return self._counts.take(usage, _CONVERSE)

    def usage(self) -> Usage:
        """See Fold."""
        return _usage(self._counts, self._tier)


class InvokeFold:
    """What a model's maker answers: as Anthropic does, or as Bedrock counted it, in the headers or the last chunk."""

    marks = ()

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._counts, self._message = Counts(), MessagesFold()
        digits = {name: headers[header] for header, name in _HEADERS.items() if header in headers}
        valid = all(each.isascii() and each.isdigit() and len(each) < 16 for each in digits.values())
        self._counts.put({name: int(each) for name, each in digits.items()} if valid else {})

    def read(self, document: Any) -> bool:
        """See Fold."""
        packed = at(document, "bytes")
        inner = _unpacked(packed) if isinstance(packed, str) else document
        counted = self._counts.take(at(inner, "amazon-bedrock-invocationMetrics"), _METRICS)
        return self._message.read(inner) or counted

    def usage(self) -> Usage:
        """See Fold."""
        message = self._message.usage()
        return message if message.complete else _usage(self._counts, {})


def _unpacked(packed: str) -> Any:
    try:
        return json.loads(base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Invalid from error
