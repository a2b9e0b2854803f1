"""Refused identities and malformed requests: journalled in aggregate, first at once, then counts per minute.

They are not decisions (nobody is known to have asked), and whoever sends them could send many.
"""

from __future__ import annotations

from dataclasses import dataclass

from remit.pep.world import SECOND, World
from remit.pep.write import Entry, must_write

MINUTE = 60 * SECOND
MAX_PEERS = 1000  # counted apart; all others together, so that a flood of peers cannot fill memory


@dataclass(slots=True)
class _Count:
    since: int
    count: int
    detail: str


class Refusals:
    """Counts per (peer, kind); `kind` is identity or request."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._counts: dict[tuple[str, str], _Count] = {}

    async def refused(self, peer: str, kind: str, detail: str) -> None:
        """Record the first of a minute at once, count the others."""
        key = self._key(peer, kind)
        now = self._world.clock.now()
        counted = self._counts.get(key)
        if counted is not None:
            counted.count += 1
            return
        self._counts[key] = _Count(now, 0, detail)
        await self._write(key, 1, detail, now)

    async def flush(self, *, everything: bool = False) -> None:
        """Record the counts of minutes that are over, or all of them."""
        now = self._world.clock.now()
        over = [key for key, each in self._counts.items() if everything or now - each.since >= MINUTE]
        for key in over:
            counted = self._counts.pop(key)
            if counted.count:
                await self._write(key, counted.count, counted.detail, counted.since)

    def _key(self, peer: str, kind: str) -> tuple[str, str]:
        if (peer, kind) in self._counts or len(self._counts) < MAX_PEERS:
            return peer, kind
        return "others", kind

    async def _write(self, key: tuple[str, str], count: int, detail: str, since: int) -> None:
        peer, kind = key
        body = {"peer": peer, "count": count, "detail": detail, "since": str(since)}
        await must_write(self._world, Entry(f"refused.{kind}", "", body))
