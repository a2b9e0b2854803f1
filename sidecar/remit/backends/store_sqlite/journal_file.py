"""Reading a journal from its file, for verification: beside a running sidecar or without one, never writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from remit.backends.note_file import note_path, read_note_file
from remit.backends.store_sqlite.database import Database
from remit.backends.store_sqlite.rows import CHECKPOINTS, JOURNAL, checkpoint_row, journal_row
from remit.backends.store_sqlite.schema import BUSY_MS, DAMAGE, check_version
from remit.core.errors import StoreUnavailable
from remit.ports import CheckpointRow, JournalRow


class JournalFile:
    """One snapshot of a log: `rows` and `checkpoints` in order, each to be read to the end once.

    `notes` has the copy of the last checkpoint kept beside the file, where there is one.
    """

    def __init__(self, connection: apsw.Connection, log: str, note: str) -> None:
        self._connection = connection
        self.log = log
        self.notes = (note,) if note else ()

    def rows(self) -> Iterator[JournalRow]:
        """Every record. Raises StoreUnavailable where the file is no longer a database."""
        return (journal_row(self.log, row) for row in self._all(f"{JOURNAL} ORDER BY sequence"))

    def checkpoints(self) -> Iterator[CheckpointRow]:
        """Every signed head."""
        return (checkpoint_row(self.log, row) for row in self._all(f"{CHECKPOINTS} ORDER BY size"))

    def _all(self, sql: str) -> Iterator[tuple[object, ...]]:
        try:
            yield from self._connection.cursor().execute(sql)
        except (apsw.Error, *DAMAGE) as error:
            raise _unreadable(self._connection.filename, error) from error


@contextmanager
def open_journal(path: Path) -> Iterator[JournalFile]:
    """A snapshot of the journal in a store's file. Raises StoreUnavailable where it is none.

    Needs no lock. Beside a running sidecar it is a reader like another; while it reads, the log of the
    sidecar's writes cannot be cut back.
    """
    if not path.is_file():
        raise StoreUnavailable(f"{path}: there is no such store")
    note = read_note_file(note_path(path))  # before the snapshot, so that it cannot be newer
    try:
        connection = apsw.Connection(_address(path), flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    except apsw.Error as error:
        raise _unreadable(str(path), error) from error
    try:
        yield JournalFile(connection, _begin(connection, path), note)
    finally:
        connection.close(True)


def _begin(connection: apsw.Connection, path: Path) -> str:
    """Begin a snapshot; the log's name."""
    try:
        connection.set_busy_timeout(BUSY_MS)
        db = Database(connection)
        db.do("BEGIN")
        check_version(db)
        return str(db.value("SELECT name FROM log"))
    except (apsw.Error, *DAMAGE) as error:
        raise _unreadable(str(path), error) from error


def _address(path: Path) -> str:
    """After a clean stop there is no write-ahead log, and nobody to keep out: then not even its index is made."""
    unused = not path.with_name(path.name + "-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if unused else ''}"


def _unreadable(path: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{path} cannot be read: {error}")
