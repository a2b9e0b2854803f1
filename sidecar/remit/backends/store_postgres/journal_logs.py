"""Reading every log of an installation's journal, for verification: beside its writers, as a role that only reads.

One snapshot for all of it. Rows come in batches, so that memory does not grow with the journal. Nothing is awaited
here: reading a million records takes a minute of a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from remit.backends.store_postgres.rows import CHECKPOINTS, JOURNAL, Row, checkpoint_row, journal_row
from remit.backends.store_postgres.session import Server
from remit.core.checkpoint import VerifierKey, read_note
from remit.core.errors import BadRequest, StoreUnavailable
from remit.core.journal import GENESIS, MAX_PROBLEMS, Elsewhere, Problem, Verification, verify
from remit.ports import CheckpointRow, JournalRow

BATCH_ROWS = 2000
BATCH_SECONDS = 30
"""How long one batch may take the server."""

_LOGS = "SELECT name, kind, public_key, sequence, head, signed FROM remit.log ORDER BY name"
# From one name to the next in each month's index: it costs the logs, not their records.
_WRITTEN = """
    WITH RECURSIVE written AS (
        SELECT min(log) AS log FROM remit.journal
        UNION ALL
        SELECT (SELECT min(journal.log) FROM remit.journal WHERE journal.log > written.log)
        FROM written WHERE written.log IS NOT NULL
    )
    SELECT log FROM written WHERE log IS NOT NULL
"""
# Acts that erased bodies of other logs.
_ACROSS = """
    SELECT act.log, record.log, record.id FROM remit.journal AS act JOIN remit.journal AS record ON record.id = act.ref
    WHERE act.kind = 'erased' AND record.body IS NULL AND record.log <> act.log
"""
_ROWS = f"{JOURNAL} WHERE log = %s ORDER BY sequence, time"
_HEADS = f"{CHECKPOINTS} WHERE log = %s ORDER BY size"


@dataclass(frozen=True, slots=True)
class RegisteredLog:
    """A log as its writer has registered it: where it ends and how far it is signed, by the table's word alone."""

    name: str
    kind: str
    public: bytes
    sequence: int
    head: bytes
    signed: int

    @property
    def key(self) -> VerifierKey:
        """Its registered key."""
        return VerifierKey(self.name, self.public)


class JournalLogs:
    """One snapshot of the journal: `logs` by name; `strays` are names that have records and are not registered.

    `rows` and `checkpoints` of a log come in order, one of them at a time or both. Raises StoreUnavailable.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._cursors = 0
        self.logs = tuple(RegisteredLog(*row) for row in self._all(_LOGS))
        known = {log.name for log in self.logs}
        self.strays = tuple(name for (name,) in self._all(_WRITTEN) if name not in known)
        self._gone: dict[str, set[str]] = {}
        self._erased: dict[str, set[str]] = {}
        for act_log, record_log, id in self._all(_ACROSS):
            self._gone.setdefault(act_log, set()).add(id)
            self._erased.setdefault(record_log, set()).add(id)

    def elsewhere(self, log: str) -> Elsewhere:
        """What the other logs have to do with one."""
        return Elsewhere(self._gone.get(log, frozenset()), self._erased.get(log, frozenset()))

    def rows(self, log: str) -> Iterator[JournalRow]:
        """Every record of a log."""
        return map(journal_row, self._all(_ROWS, log))

    def checkpoints(self, log: str) -> Iterator[CheckpointRow]:
        """Every signed head of a log."""
        return map(checkpoint_row, self._all(_HEADS, log))

    def _all(self, sql: str, *values: str) -> Iterator[Row]:
        self._cursors += 1
        try:
            with self._connection.cursor(f"journal_{self._cursors}", binary=True) as cursor:
                cursor.itersize = BATCH_ROWS
                yield from cursor.execute(sql.encode(), values)
        except (psycopg.Error, UnicodeError) as error:
            raise StoreUnavailable(f"the journal cannot be read: {error}") from error


@contextmanager
def open_logs(connection: psycopg.Connection[Any]) -> Iterator[JournalLogs]:
    """A snapshot of the journal, on a connection with no transaction open. Raises StoreUnavailable."""
    if connection.autocommit:
        connection.autocommit = False
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction(force_rollback=True):
        try:
            connection.execute(b"SET LOCAL statement_timeout = '%ds'" % BATCH_SECONDS)
            connection.execute("SET LOCAL search_path = pg_catalog")
        except psycopg.Error as error:
            raise StoreUnavailable(f"the journal cannot be read: {error}") from error
        yield JournalLogs(connection)


def verify_logs(
    journal: JournalLogs, pinned: Iterable[VerifierKey] = (), notes: Sequence[str] = ()
) -> list[Verification]:
    """What is found in each log, by name, with its registered key, or with the one that is pinned for it: then alone it
    is authentic.

    `notes` are checkpoints kept elsewhere, of any log. A log in which nothing was written yet is left out, unless it is
    all there is; one that is pinned, or that a note or a record names, is not.
    """
    keys = {key.log: key for key in pinned}
    kept = _by_log(notes)
    logs = {log.name: log for log in journal.logs}
    named = {*keys, *kept, *journal.strays}
    used = {name for name, log in logs.items() if log.sequence or log.signed} | named
    found = []
    for name in sorted(used or logs):
        log = logs.get(name)
        checked = _verified(journal, name, keys.get(name) or (log.key if log else None), kept.get(name, ()), log)
        if log is None:
            checked = _with(checked, "no such log is registered")
        elif name in keys and keys[name].public != log.public:
            checked = _with(checked, "the key that is registered for it is not the pinned one")
        elif name not in keys and checked.authentic:
            # Signed, by a key that only the database names: it may have been replaced together with the log.
            checked = replace(checked, state="consistent")
        found.append(checked)
    return found


async def verify_all(
    server: Server, pinned: Iterable[VerifierKey] = (), notes: Sequence[str] = ()
) -> Sequence[Verification]:
    """`verify_logs` on a connection of its own, in a thread. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(server.connect_seconds + 1):
            connection = await server.connect("remit-verify")
    except TimeoutError:
        raise StoreUnavailable(f"{server.where} did not take a connection in time") from None
    except psycopg.Error as error:
        raise StoreUnavailable(f"{server.where}: {str(error).strip()}") from error

    def read() -> Sequence[Verification]:
        with psycopg.Connection(connection.pgconn) as reading, open_logs(reading) as journal:
            return verify_logs(journal, pinned, notes)

    try:
        return await asyncio.to_thread(read)
    finally:
        await connection.close()


class _Last:
    """The rows of a log, and where they ended."""

    def __init__(self, rows: Iterator[JournalRow]) -> None:
        self._rows = rows
        self.sequence, self.hash = 0, GENESIS

    def __iter__(self) -> Iterator[JournalRow]:
        for row in self._rows:
            yield row
            self.sequence, self.hash = row.sequence, row.hash


def _verified(
    journal: JournalLogs, name: str, key: VerifierKey | None, notes: Sequence[str], log: RegisteredLog | None
) -> Verification:
    last = _Last(journal.rows(name))
    found = verify(last, journal.checkpoints(name), key, notes=notes, elsewhere=journal.elsewhere(name))
    found = replace(found, log=name)  # which verification cannot know where there is neither record nor key
    if log is not None and (log.sequence, log.head) != (last.sequence, last.hash):
        found = _with(found, f"its writer left off at record {log.sequence}, which is not the last one", last.sequence)
    return found


def _with(found: Verification, what: str, sequence: int = 0) -> Verification:
    """The same with one more problem, told first."""
    problems = (Problem(sequence, what), *found.problems)
    over = max(0, len(problems) - MAX_PROBLEMS)
    return replace(found, state="broken", problems=problems[:MAX_PROBLEMS], unlisted=found.unlisted + over)


def _by_log(notes: Sequence[str]) -> dict[str, list[str]]:
    """The notes of each log. One that cannot be read is a note of the log "", which is not there."""
    kept: dict[str, list[str]] = {}
    for note in notes:
        try:
            log = read_note(note).log
        except BadRequest:
            log = ""
        kept.setdefault(log, []).append(note)
    return kept
