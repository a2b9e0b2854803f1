"""A few connections, kept open between readings.

psycopg's own pool connects in the background, and lets those who wait run into a timeout when it cannot: here whoever
needs a connection makes it, and learns at once why there is none.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from remit.backends.database_postgres.connection import Connection, Session, connect, is_unchanged
from remit.backends.database_room import Room
from remit.ports import DatabaseFailed, Failure

SIZE = 8
LIFETIME = 1800.0  # seconds: a role that was changed is looked at again
_IDLE = 300.0  # seconds


class Pool:
    """At most SIZE connections of one session; the one used last is used first."""

    def __init__(self, session: Session, size: int = SIZE) -> None:
        self._session = session
        self._room = Room(size)
        self._idle: list[tuple[Connection, float, float]] = []  # with when it was made and last used
        self._closed = False

    @asynccontextmanager
    async def connection(self, seconds: float) -> AsyncIterator[Connection]:
        """A connection for a while. Raises DatabaseFailed, also where none is free within `seconds`.

        One that is not idle or not as it was set up is closed afterwards.
        """
        async with self._room.place(seconds):
            connection, made = await self._taken()
            try:
                yield connection
            finally:
                if not self._closed and is_unchanged(connection, writes=self._session.writes):
                    self._idle.append((connection, made, time.monotonic()))
                else:
                    await connection.close()

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        while self._idle:
            await self._idle.pop()[0].close()

    async def forget(self) -> None:
        """Close what is idle: the server went away, and took all of them along."""
        while self._idle:
            await self._idle.pop()[0].close()

    async def _taken(self) -> tuple[Connection, float]:
        if self._closed:
            raise DatabaseFailed(Failure.UNAVAILABLE, "the catalogue no longer names it so")
        now = time.monotonic()
        while self._idle and now - self._idle[0][2] > _IDLE:
            await self._idle.pop(0)[0].close()
        while self._idle:
            connection, made, _ = self._idle.pop()
            if now - made < LIFETIME and not connection.closed:
                return connection, made
            await connection.close()
        return await connect(self._session), now
