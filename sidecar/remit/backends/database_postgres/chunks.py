"""One statement's rows in chunks of a bounded number, in one round trip, prepared by the server when it recurs.

psycopg's cursors either hold a whole answer, or stream it without ever preparing the statement; both is too much of
something, so the same steps are taken here with its lower layer (`pgconn`, `Transformer`, generators).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import Transformer
from psycopg.generators import execute, fetch, send
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from remit.backends.database_postgres.connection import Connection, waited
from remit.backends.database_postgres.types import dumped, loaded, type_name
from remit.core.view.model import Cell
from remit.ports import ResultColumn

CHUNK = 256  # rows: wide ones of 64 KiB still fit in 16 MiB
FEW = 16  # rows of a plan that grows: each may be of ROW_BYTES
PREPARED = 64  # statements of one connection

_CHUNKS = (ExecStatus.TUPLES_CHUNK, ExecStatus.SINGLE_TUPLE)
_Generator = Generator[Any, Any, Any]
_Key = tuple[bytes, tuple[int, ...]]


async def executed(connection: Connection, sql: bytes, values: Sequence[Any]) -> PGresult:
    """The whole result of one statement. psycopg's cursors let several through where nothing is bound."""
    sender = Transformer(connection)
    sent = dumped(sender, values)

    def steps() -> _Generator:
        connection.pgconn.send_query_params(sql, sent, param_types=sender.types, param_formats=sender.formats)
        return (yield from execute(connection.pgconn))

    result: PGresult = (await waited(connection, steps()))[-1]
    _check(connection, result)
    return result


def columns_of(result: PGresult) -> tuple[ResultColumn, ...]:
    """A result's columns, by PostgreSQL's names of their types."""
    return tuple(
        ResultColumn((result.fname(index) or b"").decode(), type_name(result.ftype(index)))
        for index in range(result.nfields)
    )


class _Prepared:
    """The statements of a connection: seen once, then prepared under a name."""

    def __init__(self) -> None:
        self.names: OrderedDict[_Key, bytes] = OrderedDict()
        self.seen: OrderedDict[_Key, None] = OrderedDict()
        self.count = 0


_PREPARED: WeakKeyDictionary[Connection, _Prepared] = WeakKeyDictionary()


def _drained(connection: Connection) -> _Generator:
    """What the server still says of a statement that failed."""
    while (yield from fetch(connection.pgconn)) is not None:
        pass


def _forgotten(connection: Connection, key: _Key) -> bool:
    """Prepare it no longer under the name that it has; whether it had one and can be sent again now."""
    known = _PREPARED.get(connection)
    had = known is not None and known.names.pop(key, None) is not None
    if known is not None:
        known.seen.pop(key, None)
    return had and connection.pgconn.transaction_status == TransactionStatus.IDLE


class Chunks:
    """The rows of one statement, as they come. Errors are psycopg's."""

    def __init__(self, connection: Connection, sql: str, values: Sequence[Any], rows: int = CHUNK) -> None:
        self._connection = connection
        self._sql = sql.encode()
        self._values = values
        self._rows = rows
        self._transformer = Transformer(connection)
        self.columns: tuple[ResultColumn, ...] = ()
        self.ended = False

    async def first(self) -> list[tuple[Cell, ...]]:
        """Send it; the first rows. `columns` are known then."""
        sender = Transformer(self._connection)
        values = dumped(sender, self._values)
        key = (self._sql, tuple(sender.types or ()))
        try:
            result = await waited(self._connection, self._steps(key, values, sender.formats))
        except psycopg.errors.FeatureNotSupported:
            # A statement that was prepared before a column's type was altered; it is prepared anew by and by.
            await waited(self._connection, _drained(self._connection))
            if not _forgotten(self._connection, key):
                raise
            result = await waited(self._connection, self._steps(key, values, sender.formats))
        self.columns = columns_of(result)
        self._transformer.set_pgresult(result)
        return loaded(self._transformer, result)

    async def next(self) -> list[tuple[Cell, ...]]:
        """The next rows; none once `ended`."""
        if self.ended:
            return []
        result = await waited(self._connection, self._fetched())
        self._transformer.set_pgresult(result, set_loaders=False)
        return loaded(self._transformer, result)

    def _steps(self, key: _Key, values: Sequence[Any], formats: Any) -> _Generator:
        """Prepare where it is worth it, send, and fetch the first chunk."""
        pgconn = self._connection.pgconn
        if pgconn.transaction_status == TransactionStatus.UNKNOWN:
            raise psycopg.OperationalError("the connection is closed")
        name = yield from self._prepare(key)
        if name is None:
            pgconn.send_query_params(key[0], values, param_types=key[1], param_formats=formats)
        else:
            pgconn.send_query_prepared(name, values, param_formats=formats)
        pgconn.set_chunked_rows_mode(self._rows)
        yield from send(pgconn)
        return (yield from self._fetched())

    def _prepare(self, key: _Key) -> _Generator:
        known = _PREPARED.setdefault(self._connection, _Prepared())
        if key in known.names:
            known.names.move_to_end(key)
            return known.names[key]
        if key not in known.seen:
            known.seen[key] = None
            if len(known.seen) > PREPARED:
                known.seen.popitem(last=False)
            return None
        pgconn = self._connection.pgconn
        if len(known.names) >= PREPARED:
            _, oldest = known.names.popitem(last=False)
            yield from self._run(lambda: pgconn.send_query_params(b"DEALLOCATE " + oldest, None))
        known.count += 1
        name = b"remit_%d" % known.count
        yield from self._run(lambda: pgconn.send_prepare(name, key[0], param_types=key[1]))
        known.names[key] = name
        return name

    def _run(self, sends: Callable[[], None]) -> _Generator:
        """One command to its end."""
        pgconn = self._connection.pgconn
        sends()
        yield from send(pgconn)
        while (result := (yield from fetch(pgconn))) is not None:
            _check(self._connection, result)

    def _fetched(self) -> _Generator:
        """The next chunk. One that is not full is the last: what follows it is read as well."""
        pgconn = self._connection.pgconn
        result = yield from fetch(pgconn)
        if result is None:
            raise psycopg.OperationalError("the server sent no result")
        _check(self._connection, result)
        if result.status in _CHUNKS and result.ntuples == self._rows:
            return result
        last = result
        while (following := (yield from fetch(pgconn))) is not None:
            _check(self._connection, following)
            last = following
        # What gives no rows is no SELECT, and may have changed the session.
        if last.status != ExecStatus.TUPLES_OK:
            self._connection.pgconn.finish()
            raise psycopg.ProgrammingError("the statement gave no rows")
        self.ended = True
        return result


def _check(connection: Connection, result: PGresult) -> None:
    if result.status == ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result)
    if result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH):
        connection.pgconn.finish()
        raise psycopg.ProgrammingError("the statement was a COPY")
