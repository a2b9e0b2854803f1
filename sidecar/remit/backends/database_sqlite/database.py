"""A dataset in an SQLite file. Statements run in threads, one connection to each reading."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import apsw

from remit.backends.database_columns import AskedColumns
from remit.backends.database_room import Room
from remit.backends.database_sqlite.columns import fitting_columns
from remit.backends.database_sqlite.connection import open_reader
from remit.backends.database_sqlite.failure import failed
from remit.backends.database_sqlite.reading import Opened, Run
from remit.backends.database_sqlite.watch import Watch
from remit.backends.database_sqlite.writing import perform
from remit.core.dataset import Table
from remit.core.view.model import Cell, Columns, Dialect, Plan
from remit.ports import DatabaseFailed, Failure, Limits, Reading, ResultColumn, Tokenizer, Write, Written

CONNECTIONS = 8
THREADS = 4
COLUMNS_SECONDS = 30.0

_T = TypeVar("_T")


class SqliteDatabase:
    """The Database port. A path that is "" is one that the dataset does not name."""

    def __init__(self, reader: str, writer: str, tables: Mapping[str, Table], *, tokenizer: Tokenizer) -> None:
        self._reader = reader
        self._writer = writer
        self._tables = tables
        self._tokenizer = tokenizer
        self._columns = AskedColumns(self._asked)
        self._room = Room(CONNECTIONS)
        self._threads = ThreadPoolExecutor(THREADS, "remit-sqlite")
        self._idle: list[Opened] = []
        self._used = 0
        self._closed = False

    @property
    def dialect(self) -> Dialect:
        """As the port says."""
        return Dialect.SQLITE

    async def columns(self) -> Columns:
        """As the port says; what was found once holds until the catalogue is another one, or a name is not there."""
        return await self._columns.get()

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[Reading]:
        """As the port says."""
        watch = Watch(time.monotonic() + limits.seconds, limits.cost)
        async with self._columns.doubted(), self._connection(limits.seconds, watch) as opened:
            run = Run(opened, plan, parameters, limits, watch)
            try:
                first = await self._in_thread(watch, lambda: run.start(self._tokenizer))
                yield SqliteReading(run, first, lambda: self._in_thread(watch, run.next))
            finally:
                run.finish()

    async def write(self, write: Write) -> Written:
        """As the port says."""
        if not self._writer:
            raise DatabaseFailed(Failure.NOT_FIT, "the dataset names no writer")
        watch = Watch(time.monotonic() + write.limits.seconds)
        async with self._counted():
            return await self._in_thread(watch, lambda: perform(self._writer, write, watch))

    async def close(self) -> None:
        """Let go of every connection, those in use as soon as they are not."""
        self._closed = True
        while self._idle:
            self._idle.pop().connection.close()
        self._end_threads()

    def _end_threads(self) -> None:
        """Once nobody reads any more."""
        if self._closed and not self._used:
            self._threads.shutdown(wait=False)

    @asynccontextmanager
    async def _connection(self, seconds: float, watch: Watch) -> AsyncIterator[Opened]:
        """A connection of this reading's own; one that fails at its end is closed."""
        if not self._reader:
            raise DatabaseFailed(Failure.NOT_FIT, "the dataset names no reader")
        async with self._room.place(seconds), self._counted():
            opened = self._kept()
            if opened is None:
                opened = await self._in_thread(watch, self._opened)
            try:
                yield opened
            finally:
                self._put(opened)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """In use: the threads stay until nobody is."""
        if self._closed:
            raise DatabaseFailed(Failure.UNAVAILABLE, "the catalogue no longer names it so")
        self._used += 1
        try:
            yield
        finally:
            self._used -= 1
            self._end_threads()

    def _put(self, opened: Opened) -> None:
        if self._closed or opened.connection.in_transaction:
            opened.connection.close(True)
        else:
            self._idle.append(opened)

    def _kept(self) -> Opened | None:
        """An idle connection to the file that is there now."""
        while self._idle:
            opened = self._idle.pop()
            if opened.file == _identity(self._reader):
                return opened
            opened.connection.close()
        return None

    def _opened(self) -> Opened:
        try:
            file = _identity(self._reader)
            return Opened(open_reader(self._reader, self._tokenizer), file)
        except apsw.Error as error:
            raise failed(error, running=False) from None

    async def _asked(self) -> Columns:
        watch = Watch(time.monotonic() + COLUMNS_SECONDS)

        def ask(connection: apsw.Connection) -> Columns:
            watch.put_on(connection)
            try:
                return fitting_columns(connection, self._tables)
            except apsw.Error as error:
                raise failed(error, running=False) from None

        async with self._connection(COLUMNS_SECONDS, watch) as opened:
            return await self._in_thread(watch, lambda: ask(opened.connection))

    async def _in_thread(self, watch: Watch, work: Callable[[], _T]) -> _T:
        """The work's result. Cancelled, it is stopped, and waited for: a connection is used by one thread at a time."""
        submitted = self._threads.submit(work)
        future = asyncio.wrap_future(submitted)
        over = asyncio.get_running_loop().call_later(watch.seconds, watch.stop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            watch.stop()
            submitted.cancel()
            while not submitted.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            future.cancelled() or future.exception()  # looked at: nobody else will
            raise
        finally:
            over.cancel()


class SqliteReading:
    """The Reading of a plan."""

    def __init__(
        self, run: Run, first: list[tuple[Cell, ...]], following: Callable[[], Awaitable[list[tuple[Cell, ...]]]]
    ) -> None:
        self._run = run
        self._first = first
        self._following = following

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """As the port says."""
        return self._run.columns

    @property
    def subjects(self) -> Mapping[str, Sequence[str]]:
        """As the port says."""
        return self._run.subjects

    @property
    def truncated(self) -> bool:
        """As the port says."""
        return self._run.meter.truncated

    @property
    def bytes(self) -> int:
        """As the port says."""
        return self._run.meter.counted

    async def batches(self) -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
        """As the port says."""
        rows, self._first = self._first, []
        while True:
            if rows:
                yield rows
            if self._run.ended:
                return
            rows = await self._following()


def _identity(path: str) -> tuple[int, int]:
    """Which file lies at a path now: another one may have been put in its place."""
    try:
        found = Path(path).stat()
    except OSError:
        raise DatabaseFailed(Failure.NOT_FIT, f"there is no file {path}") from None
    return found.st_dev, found.st_ino
