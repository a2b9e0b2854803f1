"""What the databases of both kinds have in common: room for a few connections, and columns that are asked for once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from remit.core.view.model import Columns
from remit.ports import DatabaseFailed, Failure


class Room:
    """For at most `size` connections at a time."""

    def __init__(self, size: int) -> None:
        self._places = asyncio.Semaphore(size)

    @asynccontextmanager
    async def place(self, seconds: float) -> AsyncIterator[None]:
        """Room for one. Raises DatabaseFailed where none is free within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        except TimeoutError:
            raise DatabaseFailed(Failure.TIMED_OUT, "no connection was free in time") from None
        try:
            yield
        finally:
            self._places.release()


class AskedColumns:
    """Columns as a database tells of them: asked for by whoever needs them first, and again where that failed."""

    def __init__(self, ask: Callable[[], Awaitable[Columns]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._found: Columns | None = None

    async def get(self) -> Columns:
        """What was found once. Raises DatabaseFailed."""
        if self._found is None:
            async with self._asking:
                if self._found is None:
                    self._found = await self._ask()
        return self._found
