"""What a response says that the call used, read while it passes by.

A reader is fed the body in whatever pieces it comes, keeps a bounded part of it, and never fails: what cannot
be read is not stated, and then the usage is not complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from remit.core.egress.folds.anthropic import MessagesFold
from remit.core.egress.folds.bedrock import ConverseFold, InvokeFold
from remit.core.egress.folds.counts import Fold, Invalid
from remit.core.egress.folds.counts import Usage as Usage
from remit.core.egress.folds.gemini import GenerateFold
from remit.core.egress.folds.openai import ChatFold, EmbeddingsFold, ImagesFold, ResponsesFold
from remit.core.egress.folds.pointers import PointersFold
from remit.core.egress.frames import EventStream, ServerSentEvents

MAX_DOCUMENT = 8 << 20

_FOLDS: Mapping[str, Callable[[], Fold]] = {
    "openai.chat": ChatFold,
    "openai.responses": ResponsesFold,
    "openai.embeddings": EmbeddingsFold,
    "openai.images": ImagesFold,
    "anthropic.messages": MessagesFold,
    "gemini.generate": GenerateFold,
    "bedrock.converse": ConverseFold,
}
FORMATS = (*_FOLDS, "bedrock.invoke", "http", "mcp")
# Streams with a last word of their own: clients hang up on it, before the body's end has come.
_LAST_WORDS = (ChatFold, ResponsesFold, MessagesFold)


class UsageReader(Protocol):
    """Reads one response. None of it raises."""

    def feed(self, chunk: bytes) -> None:
        """The next piece of the body."""

    def end(self) -> Usage:
        """The body has ended as it should."""

    def seen(self) -> Usage:
        """What was stated until now, for a body that was cut off; complete where a stream had said its last word."""


def make_reader(
    name: str,
    *,
    content_type: str,
    returns: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> UsageReader:
    """A reader for a response of one of FORMATS ("azure.x" is "openai.x"; "" is mcp).

    `returns` are the JSON pointers of an http route, `headers` the response's, by lower-case name. Raises ValueError
    for another format.
    """
    fold = _fold(name, returns or {}, headers or {})
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return _Events(fold, ServerSentEvents())
    if kind == "application/vnd.amazon.eventstream":
        return _Events(fold, EventStream())
    return _Document(fold)


def _fold(name: str, returns: Mapping[str, str], headers: Mapping[str, str]) -> Fold:
    maker, _, kind = name.partition(".")
    name = f"openai.{kind}" if maker == "azure" else name
    if name in _FOLDS:
        return _FOLDS[name]()
    if name == "bedrock.invoke":
        return InvokeFold(headers)
    if name in ("http", "mcp", ""):
        return PointersFold(returns if name == "http" else {})
    raise ValueError(f"no such format: {name!r}")


class _Framing(Protocol):
    lost: bool

    def feed(self, chunk: bytes) -> Iterator[bytes]: ...

    def end(self) -> Iterator[bytes]: ...


class _Events:
    """A stream of events. One that could not be read leaves the usage open until a later one states it."""

    def __init__(self, fold: Fold, framing: _Framing) -> None:
        self._fold, self._framing, self._open = fold, framing, False

    def feed(self, chunk: bytes) -> None:
        for event in self._framing.feed(chunk):
            self._take(event)

    def end(self) -> Usage:
        for event in self._framing.end():
            self._take(event)
        return _usage(self._fold, complete=self._told)

    def seen(self) -> Usage:
        return _usage(self._fold, complete=self._told and isinstance(self._fold, _LAST_WORDS))

    @property
    def _told(self) -> bool:
        return not self._open and not self._framing.lost

    def _take(self, event: bytes) -> None:
        if self._framing.lost:
            self._framing.lost, self._open = False, True
        if event == b"[DONE]" and isinstance(self._fold, ChatFold):
            self._fold.done()
        elif not self._fold.marks or any(mark in event for mark in self._fold.marks):
            stated = _read(self._fold, event)
            self._open = not stated if stated is not False else self._open


class _Document:
    """One JSON document, kept until its end; one that is longer than MAX_DOCUMENT states nothing."""

    def __init__(self, fold: Fold) -> None:
        self._fold, self._text, self._size = fold, bytearray(), 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > MAX_DOCUMENT:
            self._text.clear()
        else:
            self._text += chunk

    def end(self) -> Usage:
        if self._size > MAX_DOCUMENT:
            return _usage(self._fold, complete=False)
        stated = _read(self._fold, bytes(self._text).removeprefix(b"\xef\xbb\xbf"))
        return _usage(self._fold, complete=stated is not None)

    def seen(self) -> Usage:
        return _usage(self._fold, complete=False)


def _read(fold: Fold, event: bytes) -> bool | None:
    """Whether the event states a usage; None where it cannot be told."""
    try:
        return fold.read(_parsed(event))
    except Invalid:
        return None


def _usage(fold: Fold, *, complete: bool) -> Usage:
    try:
        usage = fold.usage()
    except Invalid:
        return Usage()
    return usage if complete else Usage(usage.units, complete=False)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Invalid from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Whose word counts, the first or the last, depends on who reads it.
        raise Invalid
    return found


def _no_number(name: str) -> Any:
    raise Invalid
