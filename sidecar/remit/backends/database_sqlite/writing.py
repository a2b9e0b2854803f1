"""A named write, performed once; everything here runs in the thread of the statement."""

from __future__ import annotations

import apsw

from remit.backends.database_sqlite.connection import bindable, open_writer
from remit.backends.database_sqlite.failure import failed
from remit.backends.database_sqlite.watch import Watch
from remit.backends.named_write import EXECUTIONS_SQL, Numbered, kept_text, numbered, replayed, values_of, within
from remit.core.view.model import Dialect
from remit.ports import DatabaseFailed, Failure, NotPerformed, ResultColumn, Write, Written

_CLAIM = "INSERT INTO main.remit_executions (id, result) VALUES (?, '') ON CONFLICT (id) DO NOTHING"
_FIND = "SELECT result FROM main.remit_executions WHERE id = ?"
_KEEP = "UPDATE main.remit_executions SET result = ? WHERE id = ?"
_NAMES = {int: "integer", float: "real", str: "text", bytes: "blob"}
# What would end the transaction or reach beyond the file.
_NEVER = frozenset(
    {apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA}
)


def perform(path: str, write: Write, watch: Watch) -> Written:
    """Perform it, or find that it was. Raises DatabaseFailed.

    A commit that fails is looked up on a new connection: the file itself knows whether it happened.
    """
    statement = numbered(write.sql, Dialect.SQLITE)
    values_of(statement, write.parameters)
    try:
        return _Attempt(path, write, watch).made(statement)
    except _Unknown as unknown:
        done = _found(path, write, watch, unknown)
        if done is None:
            raise DatabaseFailed(Failure.UNAVAILABLE, unknown.detail) from None
        return done


class _Unknown(DatabaseFailed):
    """The commit failed."""


class _Attempt:
    """One connection's try."""

    def __init__(self, path: str, write: Write, watch: Watch) -> None:
        self._path = path
        self._write = write
        self._watch = watch
        self._running = False

    def made(self, statement: Numbered) -> Written:
        """The transaction from its beginning to its commit."""
        self._watch.check()
        connection = _opened(self._path, self._watch)
        try:
            return self._transaction(connection, statement)
        except apsw.InterruptError:
            raise self._watch.failed() from None
        except (apsw.Error, ValueError, TypeError, OverflowError) as error:
            raise failed(error, running=self._running) from None
        finally:
            connection.close(True)  # what was not committed is undone

    def _transaction(self, connection: apsw.Connection, statement: Numbered) -> Written:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_CLAIM, (self._write.execution,))
        except (apsw.SQLError, apsw.ReadOnlyError) as error:
            detail = f"{error}; create it: {EXECUTIONS_SQL[Dialect.SQLITE]}"
            raise DatabaseFailed(Failure.NOT_FIT, detail) from None
        if connection.changes() == 0:
            return replayed(str(connection.execute(_FIND, (self._write.execution,)).get))
        if not self._write.perform:
            raise NotPerformed
        written = within(self._run(connection, statement), self._write.limits)
        connection.execute(_KEEP, (kept_text(written), self._write.execution))
        self._commit(connection)
        return written

    def _run(self, connection: apsw.Connection, statement: Numbered) -> Written:
        cursor = connection.cursor()
        described: list[tuple[tuple[str, str | None], ...]] = []
        reads: list[bool] = []

        def prepared(of: apsw.Cursor, _sql: str, _values: object) -> bool:
            """Called before the first step: there is one statement, and from now on a value is to blame."""
            described.append(of.get_description())
            reads.append(of.is_readonly)
            self._running = True
            return len(described) == 1

        cursor.exec_trace = prepared
        connection.authorizer = _only_within
        values = [bindable(each) for each in values_of(statement, self._write.parameters)]
        rows = []
        for row in cursor.execute(statement.sql, values):
            rows.append(row)
            if len(rows) > self._write.limits.rows:
                raise DatabaseFailed(Failure.TOO_COSTLY, f"the write returned more than {self._write.limits.rows} rows")
        connection.authorizer = None
        affected = len(rows) if not reads or reads[0] else connection.changes()
        columns = tuple(
            ResultColumn(name, (declared or _NAMES.get(type(rows[0][index] if rows else None), "")).lower())
            for index, (name, declared) in enumerate(described[0] if described else ())
        )
        return Written(affected, columns, rows)

    def _commit(self, connection: apsw.Connection) -> None:
        """Constraints that were deferred are checked here, and another reader may be in the way: both undo it."""
        try:
            connection.execute("COMMIT")
        except (apsw.ConstraintError, apsw.BusyError, apsw.InterruptError):
            raise
        except apsw.Error as error:
            raise _Unknown(Failure.UNAVAILABLE, failed(error, running=True).detail) from None


def _only_within(code: int, *_: str | None) -> int:
    return int(apsw.SQLITE_DENY if code in _NEVER else apsw.SQLITE_OK)


def _opened(path: str, watch: Watch) -> apsw.Connection:
    try:
        return open_writer(path, watch)
    except apsw.Error as error:
        raise failed(error, running=False) from None


def _found(path: str, write: Write, watch: Watch, unknown: DatabaseFailed) -> Written | None:
    """What the file says of an execution."""
    try:
        connection = open_writer(path, watch)
        try:
            kept = connection.execute(_FIND, (write.execution,)).get
        finally:
            connection.close(True)
    except (apsw.Error, DatabaseFailed):
        raise DatabaseFailed(Failure.UNAVAILABLE, unknown.detail) from None
    return replayed(str(kept)) if kept is not None else None
