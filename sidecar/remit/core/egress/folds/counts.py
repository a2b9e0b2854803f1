"""Reading counts out of documents that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from remit.core.price import MAX_QUANTITY

Paths = Mapping[str, tuple[str, ...]]

# How OpenAI, and Bedrock after it, name the ways of processing that have prices of their own.
TIERS = ("flex", "priority", "fast")


class Invalid(Exception):
    """A count is stated, and is none: negative, a fraction, too large, or at odds with another."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How many of each unit, each token counted once; not `complete` where the response did not state all of it."""

    units: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False


class Fold(Protocol):
    """Adds up one response, event by event; a response that is no stream is one event."""

    @property
    def marks(self) -> tuple[bytes, ...]:
        """An event of a stream without any of these bytes says nothing of usage; () means that any may."""

    def read(self, document: Any) -> bool:
        """Whether this event states a usage. Raises Invalid."""

    def usage(self) -> Usage:
        """What the events so far state. Raises Invalid."""


class Counts:
    """The highest of each count so far: what providers repeat they mean to include what they said before."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def take(self, document: Any, paths: Paths) -> bool:
        """Take what is stated at the paths; whether anything is. Raises Invalid, and then takes nothing."""
        stated = {name: at(document, *path) for name, path in paths.items()}
        found = {name: whole(value) for name, value in stated.items() if value is not None}
        self.put(found)
        return bool(found)

    def put(self, found: Mapping[str, int]) -> None:
        """Take counts that were read otherwise."""
        for name, count in found.items():
            self._seen[name] = max(count, self._seen.get(name, 0))

    def __getitem__(self, name: str) -> int:
        return self._seen.get(name, 0)

    def __contains__(self, name: str) -> bool:
        return name in self._seen


def at(document: Any, *path: str) -> Any:
    """The value at a path of keys; None where there is none, or null."""
    for key in path:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def items(document: Any, *path: str) -> Iterator[Any]:
    """The items of the list at a path; none where there is no list."""
    found = at(document, *path)
    yield from found if isinstance(found, list) else ()


def whole(value: Any) -> int:
    """A count. Raises Invalid."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_QUANTITY:
        raise Invalid
    return value


def rest(total: int, *parts: int) -> int:
    """What is left of a total. Raises Invalid where its parts are more."""
    left = total - sum(parts)
    if left < 0:
        raise Invalid
    return left


def beyond(counts: Counts, *parts: str) -> int:
    """What a stated `total` has more than its parts: some count reasoning there alone, and bill it as output."""
    return max(0, counts["total"] - sum(counts[part] for part in parts))


def tier(stated: Any) -> Mapping[str, int]:
    """Marks for the way of processing that the provider states; none where it states none."""
    return {name: int(name == stated) for name in TIERS} if isinstance(stated, str) else {}


def used(units: Mapping[str, int], *, always: tuple[str, ...]) -> Mapping[str, int]:
    """Units without those of which there are none, but for some that are always said."""
    return {unit: count for unit, count in units.items() if count or unit in always}
