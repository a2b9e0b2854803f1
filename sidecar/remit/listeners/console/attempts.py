"""How often somebody may fail to sign in: some at once, then slowly, for each source and for all of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

SECOND = 1_000_000_000
AT_ONCE, EACH_SECONDS = 10, 30
"""Failures of one source: so many, then one more after each so many seconds."""
AT_ONCE_IN_ALL, EACH_SECONDS_IN_ALL = 100, 1
SOURCES = 1024
"""Sources that are told apart; what comes from others beyond them counts as one."""

_OTHERS = "others"


@dataclass(slots=True)
class _Bucket:
    """What is left, in ns of waiting that each failure costs."""

    most: int
    cost: int
    left: int
    time: int

    def room(self, now: int) -> bool:
        self.left = min(self.most, self.left + max(now - self.time, 0))
        self.time = now
        return self.left >= self.cost


class Attempts:
    """Counts failures. `now` is the time in ns."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._all = _bucket(AT_ONCE_IN_ALL, EACH_SECONDS_IN_ALL, now())
        self._sources: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def allowed(self, address: str) -> bool:
        """Whether a source may try."""
        now = self._now()
        found = self._sources.get(_source(address)) or self._sources.get(_OTHERS if self._full else "")
        return self._all.room(now) and (found is None or found.room(now))

    def failed(self, address: str) -> None:
        """Count a failure of a source."""
        now = self._now()
        source = _source(address)
        if source not in self._sources and self._full:
            self._forget(now)
            source = _OTHERS if self._full else source
        bucket = self._sources.setdefault(source, _bucket(AT_ONCE, EACH_SECONDS, now))
        for each in (bucket, self._all):
            each.room(now)
            each.left = max(each.left - each.cost, 0)

    @property
    def _full(self) -> bool:
        return len(self._sources) >= SOURCES

    def _forget(self, now: int) -> None:
        """Forget the sources whose failures are long over."""
        over = [source for source, each in self._sources.items() if each.room(now) and each.left == each.most]
        for source in over:
            del self._sources[source]


def _bucket(at_once: int, each_seconds: int, now: int) -> _Bucket:
    cost = each_seconds * SECOND
    return _Bucket(at_once * cost, cost, at_once * cost, now)


def _source(address: str) -> str:
    """An address, and of IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
