"""The time that calls have to end once a member is asked to stop: one for all listeners, not one for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

LEAST_SECONDS = 0.5
"""Of which something is left for everybody, whatever others took."""


class Draining:
    """`seconds` are counted from `begin`, or from the first who asks."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self._stops: list[Callable[[float], Awaitable[None]]] = []

    def begin(self) -> None:
        """The time runs."""
        if self._end is None:
            self._end = time.monotonic() + self._seconds

    def left(self) -> float:
        """Seconds."""
        self.begin()
        assert self._end is not None
        return max(LEAST_SECONDS, self._end - time.monotonic())

    def add(self, stack: AsyncExitStack, stop: Callable[[float], Awaitable[None]]) -> None:
        """Have the stack stop this beside all others that are added, where the first of them was."""
        if not self._stops:
            stack.push_async_callback(self._stop)
        self._stops.append(stop)

    async def alone(self, stop: Callable[[float], Awaitable[None]]) -> None:
        """Stop this, within what is left."""
        await stop(self.left())

    async def _stop(self) -> None:
        """All at once. Raises what the first raises, once all are done."""
        left = self.left()
        ended = await asyncio.gather(*(stop(left) for stop in self._stops), return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException):
                raise each
