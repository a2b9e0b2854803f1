"""Anthropic's messages, wherever they are served."""

from __future__ import annotations

from typing import Any

from remit.core.egress.folds.counts import Counts, Invalid, Paths, Usage, at, items, used

_PATHS: Paths = {
    "input": ("input_tokens",),
    "read": ("cache_read_input_tokens",),
    "written": ("cache_creation_input_tokens",),
    "written_5m": ("cache_creation", "ephemeral_5m_input_tokens"),
    "written_1h": ("cache_creation", "ephemeral_1h_input_tokens"),
    "output": ("output_tokens",),
    "searches": ("server_tool_use", "web_search_requests"),
}
_ALWAYS = ("input_token", "output_token", "web_search", "fast", "batch")


class MessagesFold:
    """A message. Its stream states the input first, and with each delta of the message all of the output so far."""

    marks = (b"usage", b"message_stop")

    def __init__(self) -> None:
        self._counts, self._marks, self._ended = Counts(), dict[str, int](), False

    def read(self, document: Any) -> bool:
        """See Fold."""
        event = at(document, "type")
        if event == "message_stop":
            self._ended = True
            return False
        usage = at(document, "message", "usage") if event == "message_start" else at(document, "usage")
        # What a compaction or an adviser used is not in the sums: only in this list, and at other models' prices.
        if any(at(each, "type") != "message" for each in items(usage, "iterations")):
            raise Invalid
        stated = self._counts.take(usage, _PATHS)
        self._mark(usage)
        self._ended |= stated and event == "message"
        return stated

    def _mark(self, usage: Any) -> None:
        speed, tier = at(usage, "speed"), at(usage, "service_tier")
        if isinstance(speed, str):
            self._marks["fast"] = int(speed == "fast")
        if isinstance(tier, str):
            self._marks["batch"] = int(tier == "batch")

    def usage(self) -> Usage:
        """See Fold."""
        counts = self._counts
        if "input" not in counts:
            return Usage()
        # Where how long it is kept is not said of all that was written, the rest is kept for five minutes.
        written = max(counts["written"], counts["written_5m"] + counts["written_1h"])
        units = {
            "input_token": counts["input"],
            "cache_read_token": counts["read"],
            "cache_write_token": written - counts["written_1h"],
            "cache_write_1h_token": counts["written_1h"],
            "output_token": counts["output"],
            "web_search": counts["searches"],
        }
        return Usage(used(units | self._marks, always=_ALWAYS), complete=self._ended and "output" in counts)
