"""Room for a few connections to a database, of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from remit.ports import DatabaseFailed, Failure


class Room:
    """For at most `size` connections at a time."""

    def __init__(self, size: int) -> None:
        self._places = asyncio.Semaphore(size)

    async def take(self, seconds: float) -> None:
        """Take a place, until `give`. Raises DatabaseFailed where none is free within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise DatabaseFailed(Failure.TIMED_OUT, "no connection was free in time") from None

    def give(self) -> None:
        """Give a place back."""
        self._places.release()

    @asynccontextmanager
    async def place(self, seconds: float) -> AsyncIterator[None]:
        """Room for one. Raises DatabaseFailed where none is free within `seconds`."""
        await self.take(seconds)
        try:
            yield
        finally:
            self.give()
