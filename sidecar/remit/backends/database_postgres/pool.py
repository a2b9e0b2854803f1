"""A few connections, kept open between readings.

psycopg's own pool connects in the background, and lets those who wait run into a timeout when it cannot: here whoever
needs a connection makes it, and learns at once why there is none.

A server does not look at a cancel within one call of a function. A connection that does not answer keeps its place
until it does, so that no more than SIZE processes of the server are ever busy for one pool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus

from remit.backends.database_postgres.connection import Connection, Session, connect, drained, is_unchanged
from remit.backends.database_room import Room
from remit.ports import DatabaseFailed, Failure

SIZE = 8
LIFETIME = 1800.0  # seconds: a role that was changed is looked at again
BUSY_SECONDS = 120.0
"""How long a connection that does not answer keeps its place: a server that is gone for good never does."""

_IDLE = 300.0  # seconds
_CANCEL_SECONDS = 2.0


class Pool:
    """At most SIZE connections of one session; the one used last is used first."""

    def __init__(self, session: Session, size: int = SIZE) -> None:
        self._session = session
        self._room = Room(size)
        self._idle: list[tuple[Connection, float, float]] = []  # with when it was made and last used
        self._busy: dict[asyncio.Task[None], Connection] = {}
        self._closed = False

    @asynccontextmanager
    async def connection(self, seconds: float) -> AsyncIterator[Connection]:
        """A connection for a while. Raises DatabaseFailed, also where none is free within `seconds`.

        One that is not idle or not as it was set up is closed afterwards.
        """
        await self._room.take(seconds)
        try:
            connection, made = await self._taken()
        except BaseException:
            self._room.give()
            raise
        try:
            yield connection
        finally:
            await self._back(connection, made)

    async def _back(self, connection: Connection, made: float) -> None:
        """Keep it, close it, or wait until the server has done with it; its place is free once that is so."""
        if not connection.closed and connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            task = asyncio.create_task(self._answered(connection))
            self._busy[task] = connection
            task.add_done_callback(self._busy.pop)
            return
        try:
            if not self._closed and is_unchanged(connection, writes=self._session.writes):
                self._idle.append((connection, made, time.monotonic()))
            else:
                await connection.close()
        finally:
            self._room.give()

    async def _answered(self, connection: Connection) -> None:
        """Once the server has answered to what it still does, or is gone, or BUSY_SECONDS are over."""
        try:
            with suppress(psycopg.Error, TimeoutError, OSError):
                async with asyncio.timeout(BUSY_SECONDS):
                    with suppress(psycopg.Error):
                        await connection.cancel_safe(timeout=_CANCEL_SECONDS)
                    await drained(connection)
        finally:
            self._room.give()
            await connection.close()

    async def close(self) -> None:
        """Close what is idle and what does not answer; what is in use is closed when it comes back."""
        self._closed = True
        busy = dict(self._busy)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        for connection in busy.values():  # of a task that had not begun, too
            await connection.close()
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
