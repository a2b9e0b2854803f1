"""A few connections that only read, and whatever is asked on them, prepared once for each.

Whoever asks waits for its answer, and never long: for a place, for a connection, for the answer, each within seconds,
and then gets StoreUnavailable, which says for what. A connection that was lost is replaced, and what was asked on it is
asked once more: reading changes nothing. Whoever leaves in the middle leaves the answer to be read to its end.

The same steps as psycopg's cursor takes, with its lower layer: an answer costs half of what it does with a cursor, and
a wait that is broken off is over at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.generators import execute, fetch
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.waiting import wait_async

from remit.core.errors import BadRequest, StoreUnavailable, Violation

SIZE = 4
PLACE_SECONDS = 3.0
CONNECT_SECONDS = 4.0
STATEMENT_SECONDS = 4.0
"""What the server takes for one statement at most; a server that is gone is waited for a second longer."""

Connection = AsyncConnection[Any]
Connect = Callable[[], Awaitable[Connection]]
"""Makes a connection, autocommitting, or raises psycopg's errors, OSError or StoreUnavailable."""

_LOOK_SECONDS = 0.1  # at the latest, should the loop have missed that the socket can be read
_SETTINGS = {
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
    "default_transaction_read_only": "on",
    "row_security": "on",
    "jit": "off",
    "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
    "lock_timeout": str(int(STATEMENT_SECONDS * 1000)),
}
_SET = "SELECT set_config(s.name, s.value, false) FROM unnest(%s::text[], %s::text[]) s(name, value)"
_TIMED_OUT = "57014"  # query_canceled
_LEAVING = ("57P01", "57P02", "57P03", "57P05")  # it is being shut down, or was restarted
_STALE = "0A000"  # feature_not_supported: what was prepared has other columns by now


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A statement with places $1, $2, …, whose types it says itself. One object is one prepared statement."""

    sql: str


class ReadPool:
    """At most `size` connections; the one used last is used first. To be used from one event loop at a time."""

    def __init__(self, connect: Connect, size: int = SIZE) -> None:
        self._connect = connect
        self._places = asyncio.Semaphore(size)
        self._idle: list[_Prepared] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    async def rows(self, query: Query, *values: object) -> list[tuple[Any, ...]]:
        """All rows. Raises StoreUnavailable; BadRequest for a text that PostgreSQL cannot hold."""
        given = [_dumped(value) for value in values]
        await self._take_place()
        keeps_place = False
        try:
            known = await self._taken()
            answer = await self._asked(known, query, given, again=known.used)
            if answer is None:
                await self.forget()
                answer = await self._asked(await self._taken(), query, given, again=False)
            assert answer is not None
            return answer
        except _Left as left:
            keeps_place = True
            self._finish_later(left.connection)
            raise asyncio.CancelledError from None
        finally:
            if not keeps_place:
                self._places.release()

    async def forget(self) -> None:
        """Close what is idle: the server went away, and took all of them along."""
        while self._idle:
            await self._idle.pop().close()

    async def close(self) -> None:
        """Close what is idle, and what nobody waits for any more; the others as they come back."""
        self._closed = True
        for task in tuple(self._leaving):
            if task.get_loop() is asyncio.get_running_loop():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.forget()

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"PostgreSQL is too slow: no reading connection was free within {PLACE_SECONDS:.0f} s"
            ) from None

    async def _taken(self) -> _Prepared:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        while self._idle:
            known = self._idle.pop()
            if known.is_whole:
                return known
            await known.close()
        return await self._connected()

    async def _connected(self) -> _Prepared:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await self._connect()
                try:
                    await connection.execute(_SET, [list(_SETTINGS), list(_SETTINGS.values())])
                except BaseException:
                    await connection.close()
                    raise
        except TimeoutError:
            raise StoreUnavailable(
                f"PostgreSQL cannot be reached: no connection within {CONNECT_SECONDS:.0f} s"
            ) from None
        except (psycopg.Error, OSError) as error:
            raise StoreUnavailable(f"PostgreSQL cannot be reached: {_said(error)}") from error
        return _Prepared(connection)

    async def _asked(
        self, known: _Prepared, query: Query, values: Sequence[bytes | None], again: bool
    ) -> list[tuple[Any, ...]] | None:
        """The rows; None where the connection was lost and it is worth to ask again."""
        try:
            answer = await known.rows(query, values)
        except asyncio.CancelledError:
            raise _Left(known) from None
        except psycopg.Error as error:
            lost = not known.is_whole or error.sqlstate in (*_LEAVING, _STALE)
            timed_out = error.sqlstate == _TIMED_OUT or known.is_busy
            await known.close()
            if lost and again:
                return None
            if timed_out:
                raise StoreUnavailable(f"PostgreSQL did not answer within {STATEMENT_SECONDS:.0f} s") from error
            raise StoreUnavailable(f"PostgreSQL cannot be read: {_said(error)}") from error
        except BaseException:
            await known.close()
            raise
        if self._closed:
            await known.close()
        else:
            self._idle.append(known)
        return answer

    def _finish_later(self, known: _Prepared) -> None:
        """A caller has left: nobody else may have the connection before the server's answer was read."""

        async def finish() -> None:
            whole = False
            try:
                whole = await known.drained()
            finally:
                self._places.release()
                if whole and not self._closed:
                    self._idle.append(known)
                else:
                    await known.close()

        task = asyncio.create_task(finish())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


class _Left(Exception):
    """A caller was cancelled while the server was busy for it."""

    def __init__(self, connection: _Prepared) -> None:
        self.connection = connection


class _Prepared:
    """A connection and what is prepared on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._names: dict[Query, bytes] = {}
        self.used = False

    @property
    def is_whole(self) -> bool:
        """Whether it can be used, as far as is known."""
        return not self._connection.closed and self._pgconn.status == ConnStatus.OK

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return self.is_whole and self._pgconn.transaction_status == TransactionStatus.ACTIVE

    async def rows(self, query: Query, values: Sequence[bytes | None]) -> list[tuple[Any, ...]]:
        """The rows of a statement. Raises psycopg's errors."""
        answer: list[tuple[Any, ...]] = await self._waited(self._steps(query, values))
        self.used = True
        return answer

    async def drained(self) -> bool:
        """Read and drop what still comes; whether it can be used again."""
        with suppress(psycopg.Error):
            await self._waited(self._rest())
        return self.is_whole and self._pgconn.transaction_status == TransactionStatus.IDLE

    async def close(self) -> None:
        """Let go of it, whatever it does."""
        await self._connection.close()

    async def _waited(self, steps: Generator[Any, Any, Any]) -> Any:
        return await wait_async(steps, self._pgconn.socket, interval=_LOOK_SECONDS, timeout=STATEMENT_SECONDS + 1)

    def _steps(self, query: Query, values: Sequence[bytes | None]) -> Generator[Any, Any, list[tuple[Any, ...]]]:
        name = self._names.get(query)
        if name is None:
            name = b"q%d" % len(self._names)
            self._pgconn.send_prepare(name, query.sql.encode())
            self._check((yield from execute(self._pgconn))[-1], ExecStatus.COMMAND_OK)
            self._names[query] = name
        self._pgconn.send_query_prepared(name, values, result_format=Format.BINARY)
        result = (yield from execute(self._pgconn))[-1]
        self._check(result, ExecStatus.TUPLES_OK)
        reader = Transformer(self._connection)
        reader.set_pgresult(result)
        return reader.load_rows(0, result.ntuples, tuple)

    def _check(self, result: Any, expected: ExecStatus) -> None:
        if result.status != expected:
            raise psycopg.errors.error_from_result(result)

    def _rest(self) -> Generator[Any, Any, None]:
        while (yield from fetch(self._pgconn)) is not None:
            pass


def _dumped(value: object) -> bytes | None:
    """A value as PostgreSQL reads it in text: numbers, bytes, texts, and lists of numbers or of texts."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    if isinstance(value, list | tuple):
        return b"{%s}" % b",".join(_element(each) for each in value)
    raise TypeError(value)


def _element(value: object) -> bytes:
    if isinstance(value, int):
        return b"%d" % value
    return b'"%s"' % _text(str(value)).replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _text(value: str) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = b"\0"
    if b"\0" in raw:
        raise BadRequest(Violation("text", "Unicode without NUL"))
    return raw


def _said(error: Exception) -> str:
    """An error's first line: what PostgreSQL or libpq says of it."""
    diagnosed = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return diagnosed or (str(error).strip().splitlines() or [type(error).__name__])[0]
