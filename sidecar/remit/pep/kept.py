"""A bounded memory of what was worked out: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """At most `most` entries, of at most `weight` in all where entries have one."""

    def __init__(self, most: int, weight: int = 0) -> None:
        self._most = most
        self._weight = weight
        self._weighs = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What was kept, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, weight: int = 0) -> None:
        """Keep it; others go where there is no room, and it itself where it is too heavy alone."""
        _, before = self._entries.pop(key, (None, 0))
        self._entries[key] = (value, weight)
        self._weighs += weight - before
        while len(self._entries) > self._most or (self._weight and self._weighs > self._weight):
            _, (_, lost) = self._entries.popitem(last=False)
            self._weighs -= lost
