"""How a sidecar that decides ahead reaches the shared store: its local log's session, and a connection that listens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
import psycopg

from remit.backends.database_postgres.connection import Connection
from remit.backends.store_postgres.session import Rejected, Server, Session, Unknown
from remit.core.errors import StoreUnavailable

PULSE_TIMEOUT_SECONDS = 2.0
_LISTEN = b"LISTEN remit"
_LIMITS = b"SET statement_timeout = '2s'; SET lock_timeout = '2s'; SET search_path = pg_catalog"


class SessionCalls:
    """Calls over the session that holds the local log's lock. A call whose outcome is unknown can be made again."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def call(self, function: str, payload: Mapping[str, Any], /) -> Any:
        """The function's answer. Raises StoreUnavailable."""
        try:
            return await self._session.call(function, payload)
        except (Rejected, Unknown) as error:
            raise StoreUnavailable(f"{function}: {error}") from error

    async def close(self) -> None:
        """Let go of the log."""
        await self._session.close()


class Listening:
    """A connection that listens to what is told to all members, and takes the pulses. For one task alone."""

    def __init__(self, server: Server, name: str) -> None:
        self._server, self._name = server, name
        self._connection: Connection | None = None

    async def call(self, function: str, payload: Mapping[str, Any], /) -> Any:
        """The function's answer. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(PULSE_TIMEOUT_SECONDS):
                connection = await self._connected()
                text = orjson.dumps(payload).decode()
                cursor = await connection.execute(b"SELECT remit.%s(%%s::jsonb)::text" % function.encode(), [text])
                row = await cursor.fetchone()
        except (psycopg.Error, TimeoutError) as error:
            await self.close()
            raise StoreUnavailable(f"{function}: {str(error).strip() or 'no answer in time'}") from error
        return orjson.loads(row[0]) if row is not None else None

    async def heard(self, seconds: float) -> None:
        """Wait until something is told, or for so long. Raises StoreUnavailable where there is nobody to listen to."""
        if self._connection is None:
            await asyncio.sleep(seconds)
            return
        try:
            async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                return
        except psycopg.Error as error:
            await self.close()
            raise StoreUnavailable(str(error).strip()) from error

    async def close(self) -> None:
        """Let go of the connection; a call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            # Kept at once: whoever fails, or gives up waiting, closes it.
            self._connection = await self._server.connect(self._name)
            await self._connection.execute(_LIMITS)
            await self._connection.execute(_LISTEN)
        return self._connection
