"""A response on its way to the agent: read for its usage, filtered where it lists, and cut where it has a secret.

The order matters: usage is read from what the upstream said; the guard looks last, at exactly what would go on.
"""

from __future__ import annotations

from typing import Protocol

from remit.core.egress.echo import EchoGuard
from remit.core.egress.usage import Usage, UsageReader


class Filter(Protocol):
    """Changes a body; what it holds back comes at its end."""

    def feed(self, chunk: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class ResponseBody:
    """One response's body. Raises Echoed from `feed` and `end`, and nothing of the echo is given out."""

    def __init__(self, reader: UsageReader | None, listing: Filter | None, guard: EchoGuard | None) -> None:
        self._reader, self._filter, self._guard = reader, listing, guard
        self.size = 0
        """Bytes that the upstream sent so far."""

    @property
    def reads(self) -> bool:
        """Whether the body is read for what was used."""
        return self._reader is not None

    def feed(self, chunk: bytes) -> bytes:
        """What may go on now."""
        self.size += len(chunk)
        if self._reader is not None:
            self._reader.feed(chunk)
        text = self._filter.feed(chunk) if self._filter is not None else chunk
        return self._guard.feed(text) if self._guard is not None else text

    def end(self) -> bytes:
        """What goes on at the end."""
        text = self._filter.end() if self._filter is not None else b""
        if self._guard is None:
            return text
        return self._guard.feed(text) + self._guard.end()

    def used(self, *, whole: bool) -> Usage:
        """The usage that the response told: `whole` where it came to its end."""
        if self._reader is None:
            return Usage({}, complete=False)
        return self._reader.end() if whole else self._reader.seen()
