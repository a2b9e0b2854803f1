"""A dataset in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg

from remit.backends.database_columns import AskedColumns
from remit.backends.database_postgres.connection import Session
from remit.backends.database_postgres.failure import failed
from remit.backends.database_postgres.fit import fitting_columns
from remit.backends.database_postgres.pool import Pool
from remit.backends.database_postgres.reading import PostgresReading
from remit.backends.database_postgres.writing import perform
from remit.core.dataset import Table
from remit.core.view.model import Cell, Columns, Dialect, Plan
from remit.ports import DatabaseFailed, Failure, Limits, Reading, Tokenizer, Write, Written


class PostgresDatabase:
    """The Database port. A `session` that is None is one that the dataset does not name."""

    def __init__(
        self,
        reader: Session | None,
        writer: Session | None,
        tables: Mapping[str, Table],
        *,
        tokenizer: Tokenizer,
    ) -> None:
        self._reader = Pool(reader) if reader else None
        self._writer = Pool(writer) if writer else None
        self._tables = tables
        self._tokenizer = tokenizer
        self._columns = AskedColumns(self._asked)

    @property
    def dialect(self) -> Dialect:
        """As the port says."""
        return Dialect.POSTGRES

    async def columns(self) -> Columns:
        """As the port says; what was found once holds until the catalogue is another one, or a name is not there."""
        return await self._columns.get()

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[Reading]:
        """As the port says. A connection that turns out to be lost is replaced once: nothing was shown yet."""
        await self.columns()
        pool = _named(self._reader, "reader")
        deadline = asyncio.get_running_loop().time() + limits.seconds
        async with self._columns.doubted(), AsyncExitStack() as stack:
            try:
                reading = await self._started(stack, pool, plan, parameters, limits, deadline)
            except _Lost:
                await stack.aclose()
                await pool.forget()
                try:
                    reading = await self._started(stack, pool, plan, parameters, limits, deadline)
                except _Lost as lost:
                    raise DatabaseFailed(lost.failure, lost.detail, code=lost.code) from None
            yield reading

    async def write(self, write: Write) -> Written:
        """As the port says."""
        return await perform(_named(self._writer, "writer"), write)

    async def close(self) -> None:
        """Let go of every connection, those in use as soon as they are not."""
        for pool in (self._reader, self._writer):
            if pool is not None:
                await pool.close()

    async def _started(
        self,
        stack: AsyncExitStack,
        pool: Pool,
        plan: Plan,
        parameters: Mapping[str, Cell],
        limits: Limits,
        deadline: float,
    ) -> PostgresReading:
        seconds = max(0.0, deadline - asyncio.get_running_loop().time())
        connection = await stack.enter_async_context(pool.connection(seconds))
        reading = PostgresReading(connection, plan, parameters, limits, tokenizer=self._tokenizer, deadline=deadline)
        stack.push_async_callback(reading.end)
        try:
            await reading.start()
        except DatabaseFailed as error:
            if error.failure is Failure.UNAVAILABLE:
                raise _Lost(error.failure, error.detail, code=error.code) from None
            raise
        return reading

    async def _asked(self) -> Columns:
        pool = _named(self._reader, "reader")
        for last in (False, True):
            try:
                async with pool.connection(60.0) as connection:
                    return await fitting_columns(connection, self._tables)
            except psycopg.Error as error:
                found = failed(error)
                if last or found.failure is not Failure.UNAVAILABLE:
                    raise found from None
                await pool.forget()
        raise DatabaseFailed(Failure.UNAVAILABLE)


class _Lost(DatabaseFailed):
    """The connection went away before it gave anything."""


def _named(pool: Pool | None, which: str) -> Pool:
    if pool is None:
        raise DatabaseFailed(Failure.NOT_FIT, f"the dataset names no {which}")
    return pool
