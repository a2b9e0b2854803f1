"""A named write, performed once, whatever becomes of connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import AsyncRawCursor
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus

from remit.backends.database_postgres.chunks import columns_of, executed
from remit.backends.database_postgres.connection import Connection
from remit.backends.database_postgres.failure import failed
from remit.backends.database_postgres.pool import Pool
from remit.backends.database_postgres.types import loaded
from remit.backends.named_write import EXECUTIONS_SQL, Numbered, kept_text, numbered, replayed, values_of, within
from remit.core.view.model import Dialect
from remit.ports import DatabaseFailed, Failure, NotPerformed, Write, Written

_CLAIM = b"INSERT INTO public.remit_executions (id, result) VALUES ($1, '') ON CONFLICT (id) DO NOTHING"
_FIND = b"SELECT result FROM public.remit_executions WHERE id = $1"
_KEEP = b"UPDATE public.remit_executions SET result = $2 WHERE id = $1"
_END_SECONDS = 2.0
# Seconds before each further attempt: a server that was killed is back after some.
_PAUSES = (0.0, 0.02, 0.1, 0.3, 0.5, 1.0, 1.0, 2.0, 2.0)
# The transaction is gone and may be tried again: serialisation, deadlock.
_AGAIN = ("40001", "40P01")


@dataclass(slots=True)
class _Attempt:
    """How far an attempt came. `claimed`: no earlier one happened, or ever will. Once `committing`, a connection that
    is lost leaves open whether this one did."""

    claimed: bool = False
    committing: bool = False


class _Passing(DatabaseFailed):
    """This attempt is over, and another may do better."""


async def perform(pool: Pool, write: Write) -> Written:
    """Perform it, or find that it was. Raises DatabaseFailed.

    After UNAVAILABLE and INTERNAL nobody knows whether it happened; after all others it did not. An attempt whose
    end was not seen is made again: its row, committed or about to be, stands in the way of the second one.
    """
    statement = numbered(write.sql, Dialect.POSTGRES)
    values_of(statement, write.parameters)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + write.limits.seconds
    unknown, pauses = False, iter(_PAUSES)
    while True:
        attempt = _Attempt()
        try:
            async with pool.connection(max(0.0, deadline - loop.time())) as connection:
                written = await _attempted(connection, write, statement, attempt, deadline)
                # What an attempt of this call committed was done now.
                return replace(written, replayed=False) if unknown else written
        except NotPerformed:
            raise
        except DatabaseFailed as error:
            unknown = attempt.committing or (unknown and not attempt.claimed)
            again = isinstance(error, _Passing) or (unknown and error.failure is Failure.UNAVAILABLE)
            pause = next(pauses, None)
            if not again or pause is None or loop.time() + pause >= deadline:
                raise DatabaseFailed(
                    Failure.UNAVAILABLE if unknown else error.failure, error.detail, code=error.code
                ) from None
            await pool.forget()
            await asyncio.sleep(pause)


async def _attempted(
    connection: Connection, write: Write, statement: Numbered, attempt: _Attempt, deadline: float
) -> Written:
    try:
        async with asyncio.timeout_at(deadline):
            return await _transaction(connection, write, statement, attempt)
    except TimeoutError:
        await connection.close()  # before the COMMIT was sent, this undoes it
        if attempt.committing:
            raise _Passing(Failure.UNAVAILABLE, "its commit was not answered in time") from None
        raise DatabaseFailed(Failure.TIMED_OUT, "the write took longer than it may") from None
    except psycopg.Error as error:
        found = failed(error)
        if error.sqlstate in _AGAIN:
            attempt.committing = False
            raise _Passing(Failure.UNAVAILABLE, found.detail) from None
        if found.failure in (Failure.UNAVAILABLE, Failure.INTERNAL) and _is_lost(connection):
            raise _Passing(found.failure, found.detail) from None
        attempt.committing = False
        raise found from None
    finally:
        await _undone(connection)


async def _transaction(connection: Connection, write: Write, statement: Numbered, attempt: _Attempt) -> Written:
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
    cursor = AsyncRawCursor(connection)
    try:
        await cursor.execute(_CLAIM, (write.execution,))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        detail = f"{failed(error).detail}; create it: {EXECUTIONS_SQL[Dialect.POSTGRES]}"
        raise DatabaseFailed(Failure.NOT_FIT, detail) from None
    if cursor.rowcount == 0:
        await cursor.execute(_FIND, (write.execution,))
        row = await cursor.fetchone()
        if row is None:  # taken out in between, by whoever tidies the table up
            raise _Passing(Failure.UNAVAILABLE, "its execution was there, and is gone")
        return replayed(row[0])
    attempt.claimed = True
    if not write.perform:
        raise NotPerformed
    written = await _run(connection, statement, write)
    await cursor.execute(_KEEP, (write.execution, kept_text(written)))
    attempt.committing = True
    ended = await connection.execute("COMMIT")
    if ended.statusmessage != "COMMIT":  # of a transaction that had failed, PostgreSQL makes a ROLLBACK of it
        attempt.committing = False
        raise DatabaseFailed(Failure.INTERNAL, "the commit undid the write")
    return written


async def _run(connection: Connection, statement: Numbered, write: Write) -> Written:
    result = await executed(connection, statement.sql.encode(), values_of(statement, write.parameters))
    if connection.pgconn.transaction_status != TransactionStatus.INTRANS:
        raise DatabaseFailed(Failure.INTERNAL, "the write ended its own transaction")
    affected = result.command_tuples or 0
    if result.status != ExecStatus.TUPLES_OK:
        return Written(affected)
    if result.ntuples > write.limits.rows:
        raise DatabaseFailed(Failure.TOO_COSTLY, f"the write returned more than {write.limits.rows} rows")
    transformer = Transformer(connection)
    transformer.set_pgresult(result)
    return within(Written(affected, columns_of(result), loaded(transformer, result)), write.limits)


def _is_lost(connection: Connection) -> bool:
    return connection.closed or connection.pgconn.transaction_status == TransactionStatus.UNKNOWN


async def _undone(connection: Connection) -> None:
    """Leave the transaction; a connection that cannot is closed by its pool."""
    if connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with suppress(psycopg.Error, TimeoutError, OSError):
            async with asyncio.timeout(_END_SECONDS):
                await connection.execute("ROLLBACK")
