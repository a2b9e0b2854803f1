"""Events that wait to be told: in order for each approval, and none of them holds up those of others.

What cannot be told is tried again and again. Only once its approval is over may an event be given up: where too many
wait, the oldest of these; or after a day. Requests that still wait are never dropped: the store bounds how many an
agent may have.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_WAITING = 1000
DAY = 86_400 * 1_000_000_000

_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits. `number` counts them all; `time` (ns) is when it began to wait."""

    number: int
    time: int
    approval: str
    event: Mapping[str, Any]


@dataclass(slots=True)
class _Lane:
    """What waits of one approval. `over`: nobody needs to answer it any more."""

    events: deque[Waiting] = field(default_factory=deque)
    over: bool = False


class Outbox:
    """One queue; for one reader. Lanes that have failed go behind the others."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._lanes: dict[str, _Lane] = {}
        self._numbers = itertools.count()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(lane.events) for lane in self._lanes.values())

    def put(self, approval: str, event: Mapping[str, Any], *, over: bool, time: int) -> None:
        """Add an event; `over` says that its approval is, which holds for what waits of it already."""
        lane = self._lanes.setdefault(approval, _Lane())
        lane.events.append(Waiting(next(self._numbers), time, approval, event))
        lane.over = lane.over or over
        self._filled.set()
        if len(self) > self._most and (oldest := min(self._droppable(), key=lambda each: each.number, default=None)):
            self._drop(oldest, f"more than {self._most} events wait")

    async def first(self) -> Waiting:
        """The next event to tell, once there is one; it stays until it is `done`."""
        await self._filled.wait()
        return next(iter(self._lanes.values())).events[0]

    def done(self, told: Waiting) -> None:
        """It was told."""
        lane = self._lanes.get(told.approval)
        if lane and lane.events[0] is told:
            lane.events.popleft()
            self._tidy(told.approval)

    def failed(self, told: Waiting, now: int) -> None:
        """It could not be told now: others come first."""
        lane = self._lanes.get(told.approval)
        if not lane or lane.events[0] is not told:
            return
        self._lanes[told.approval] = self._lanes.pop(told.approval)
        if lane.over and told.time + DAY <= now:
            self._drop(told, "it could not be told for a day")

    def _droppable(self) -> Iterator[Waiting]:
        return (lane.events[0] for lane in self._lanes.values() if lane.over)

    def _drop(self, dropped: Waiting, why: str) -> None:
        self._lanes[dropped.approval].events.popleft()
        self._tidy(dropped.approval)
        _log.warning("event %s, of an approval that is over, is told to nobody: %s", dropped.event["id"], why)

    def _tidy(self, approval: str) -> None:
        if not self._lanes[approval].events:
            del self._lanes[approval]
        if not self._lanes:
            self._filled.clear()
