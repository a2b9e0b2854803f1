"""The store on one SQLite file: ledger, journal, labels, workflows, halts, approvals, claims and kept answers in one
transaction.

Files, all beside each other: `state.db` (with SQLite's `-wal` and `-shm` while it is open), `state.db.lock`,
and `state.db.checkpoint`, a copy of the last signed head. The copy is always written after the commit that it
speaks of, so that it never promises more than the file holds; it tells when journal and checkpoints were cut
together, as long as whoever cut them could not write it, or somebody keeps another copy elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.note_file import note_path, read_note_file, write_note_file
from remit.backends.store_sqlite.approvals import Approvals
from remit.backends.store_sqlite.chain import Chain
from remit.backends.store_sqlite.claims import Claims
from remit.backends.store_sqlite.controls import Controls
from remit.backends.store_sqlite.database import Database, ReadDatabase
from remit.backends.store_sqlite.group_commit import GroupCommit
from remit.backends.store_sqlite.journal_file import open_journal
from remit.backends.store_sqlite.ledger import Ledger
from remit.backends.store_sqlite.lock import FileLock
from remit.backends.store_sqlite.reader import Reader
from remit.backends.store_sqlite.refusal import Refusal
from remit.backends.store_sqlite.schema import DAMAGE, Connect, connect, migrate
from remit.backends.store_sqlite.sessions import Sessions
from remit.backends.store_sqlite.sightings import Sightings
from remit.core.canonical import canonical
from remit.core.checkpoint import VerifierKey
from remit.core.effect import (
    AdjustBudget,
    BindTrace,
    CloseWorkflow,
    Commit,
    Committed,
    EndReservation,
    JoinApproval,
    JoinLabels,
    KeepAnswer,
    LapseSlice,
    LiftHalt,
    MoveApproval,
    NoteAct,
    OpenApproval,
    OpenWorkflow,
    PlaceHalt,
    ProlongReservation,
    Record,
    Refused,
    ReleaseClaim,
    Reserve,
    RespectClaims,
    SeeSubjects,
    TakeClaim,
    UseGrant,
    UsePassport,
)
from remit.core.errors import StoreUnavailable
from remit.core.journal import ERASED, Verification, verify
from remit.ports import CheckpointRow, Clock, Ids

CHECKPOINT_RECORDS = 1024
CHECKPOINT_SECONDS = 10.0
PRUNED_AT_ONCE = 500
"""Rows that one `prune` takes from each table: it runs on the event loop."""

MONTH = 30 * 86_400 * 1_000_000_000
"""How long approvals and free claims are still told of, in ns."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class SqliteStore(Reader):
    """The `Store` port on one file, which it owns until `close`. To be used from one event loop.

    `key` signs checkpoints: every `checkpoint_records` records, `checkpoint_seconds` after the first unsigned
    one, on open and on close. `synced` is told how many seconds each batch took to get durable. Opening raises
    StoreUnavailable: another sidecar has the file, it is newer than this Remit, not one of ours, or its journal
    was changed.
    """

    ledger_type = Ledger
    sessions_type = Sessions
    approvals_type = Approvals
    claims_type = Claims
    group_type = GroupCommit

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        ids: Ids,
        key: Ed25519PrivateKey,
        checkpoint_records: int = CHECKPOINT_RECORDS,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        connect: Connect = connect,
        synced: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.path = path
        self._clock, self._ids, self._key = clock, ids, key
        self._records, self._seconds = checkpoint_records, checkpoint_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._note = ""  # the copy beside the file
        self._wal_holds_erased = False
        with ExitStack() as opened:
            opened.enter_context(_told_of(path))
            self._lock = FileLock(path.with_name(path.name + ".lock"))
            opened.callback(self._lock.release)
            self._db = Database(_connected(opened, connect, path))
            self._read = ReadDatabase(_connected(opened, connect, path))
            self._begin()
            opened.pop_all()
        self._group = self.group_type(
            self._db, last=self._sign_if_due, after=self._publish, undone=self._chain.reload, synced=synced
        )

    def _begin(self) -> None:
        self._log = migrate(self._db, now=self._clock.now(), log=self._ids.new("log"))
        # What a failed fsync may have left in the page cache alone is written anew, before we build on it.
        self._move_log()
        self._chain = Chain(self._db, self._log, self._key)
        self._chain.check(read_note_file(note_path(self.path)))
        self._db.do("BEGIN IMMEDIATE")
        self._chain.sign(self._clock.now())
        self._db.do("COMMIT")
        self._publish()
        self._controls = Controls(self._db)
        self._approvals, self._claims = self.approvals_type(self._db), self.claims_type(self._db)
        self._effects = {
            **_performers(self.ledger_type(self._db), self.sessions_type(self._db), self._controls),
            **_performers_of_approvals(self._approvals, self._claims),
        }
        self._sightings = Sightings(self._db)
        self._effects[SeeSubjects] = self._sightings.see

    @property
    def log(self) -> str:
        """The log's name."""
        return self._log

    @property
    def verifier(self) -> VerifierKey:
        """What an auditor pins, as text: `str(store.verifier)`."""
        return VerifierKey(self.log, self._key.public_key().public_bytes_raw())

    @property
    def checkpoint(self) -> CheckpointRow | None:
        """The last signed head that is durable."""
        return self._signed

    @property
    def failed(self) -> bool:
        """Whether the store has given up for good."""
        return bool(self._group.failure)

    def activate(self, revision: str) -> None:
        """Refuse commits that were judged by another policy revision."""
        self._controls.revision = revision

    async def commit(self, commit: Commit) -> Committed | Refused:
        """All of it or nothing, durable. Raises as the port says."""
        try:
            return await self._group.submit(partial(self._perform, commit))
        except Refusal as refusal:
            return refusal.refused

    async def erase(self, id: str, *, by: str, reason: str) -> Committed:
        """Blank a record's body by a journalled act, and sign a checkpoint over it."""
        record = Record(
            kind=ERASED,
            id=self._ids.new("r"),
            time=self._clock.now(),
            subject=by,
            workflow="",
            parent="",
            ref=id,
            body=canonical({"reason": reason}),
            salt=self._ids.salt(),
        )
        return await self._group.submit(partial(self._erase, record))

    async def sign(self) -> None:
        """Sign a checkpoint over everything that is recorded by now."""
        await self._group.submit(self._sign)

    async def verify(self) -> Sequence[Verification]:
        """Sign the head, so that the key vouches for all of it, and read the file once."""
        await self.sign()
        return (await asyncio.to_thread(self._check),)

    async def prune(self, now: int) -> int:
        """Forget some of what has expired; how many rows."""
        return await self._group.submit(partial(self._prune, now))

    async def close(self) -> None:
        """Sign the head, and let go of the file."""
        try:
            if not self._group.failure:
                await self._group.submit(self._sign)
        finally:
            await self._group.stop("the store is closed")
            self._stop_timer()
            self._read.connection.close()
            self._db.connection.close()
            self._lock.release()

    def _perform(self, commit: Commit) -> Committed:
        """Inside the caller's savepoint. The record comes last: after it nothing can refuse."""
        self._controls.check(commit)
        self._sightings.upcoming = (commit.record.id, self._chain.sequence + 1)
        for effect in commit.effects:
            self._effects[type(effect)](effect, commit.record.time)
        return self._chain.append(commit.record)

    def _check(self) -> Verification:
        with open_journal(self.path) as journal:
            return verify(journal.rows(), journal.checkpoints(), self.verifier, notes=journal.notes)

    def _erase(self, record: Record) -> Committed:
        self._chain.blank(record.ref)
        self._approvals.erase(record.ref)
        committed = self._chain.append(record)
        self._sign()
        self._wal_holds_erased = True
        return committed

    def _prune(self, now: int) -> int:
        long_ago = now - MONTH
        return (
            self._controls.prune(now, PRUNED_AT_ONCE)
            + self._approvals.prune(long_ago, PRUNED_AT_ONCE)
            + self._claims.prune(long_ago, now, PRUNED_AT_ONCE)
        )

    def _sign(self) -> None:
        self._chain.sign(self._clock.now())

    def _sign_if_due(self) -> None:
        """At the end of every transaction."""
        if self._chain.unsigned >= self._records:
            self._sign()
        if not self._chain.unsigned:
            self._stop_timer()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._sign_soon)

    def _sign_soon(self) -> None:
        self._timer = None
        if not self._group.failure:
            self._group.submit(self._sign).add_done_callback(_look_at)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _publish(self) -> None:
        """Once a transaction is durable: copy its checkpoint beside the file, and let no erased body linger."""
        if self._wal_holds_erased:
            self._wal_holds_erased = not self._move_log()
        self._signed = signed = self._chain.signed
        if signed is None or signed.note == self._note:
            return
        try:
            write_note_file(note_path(self.path), signed.note)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
        else:
            self._note = signed.note

    def _move_log(self) -> bool:
        """Move the write-ahead log's content into the file, and cut it; False while somebody else is reading."""
        try:
            self._db.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        return True


def _performers(ledger: Ledger, sessions: Sessions, controls: Controls) -> dict[type, Callable[[Any, int], None]]:
    return {
        Reserve: ledger.reserve,
        EndReservation: ledger.end,
        ProlongReservation: ledger.prolong,
        AdjustBudget: ledger.adjust,
        LapseSlice: ledger.lapse_slice,
        OpenWorkflow: sessions.open,
        CloseWorkflow: sessions.close,
        JoinLabels: sessions.join,
        BindTrace: sessions.bind,
        PlaceHalt: controls.place,
        LiftHalt: controls.lift,
        UsePassport: controls.use,
        KeepAnswer: controls.keep,
    }


def _performers_of_approvals(approvals: Approvals, claims: Claims) -> dict[type, Callable[[Any, int], None]]:
    return {
        OpenApproval: approvals.open,
        JoinApproval: approvals.join,
        MoveApproval: approvals.move,
        UseGrant: approvals.use,
        TakeClaim: claims.take,
        ReleaseClaim: claims.release,
        RespectClaims: claims.respect,
        NoteAct: claims.note,
    }


def _connected(opened: ExitStack, connect: Connect, path: Path) -> apsw.Connection:
    """A connection to a file that only its owner may read; closed again if the store does not open."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = connect(path)
    opened.callback(connection.close)
    return connection


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """What goes wrong on opening is told with the file's name."""
    try:
        yield
    except (apsw.Error, OSError, *DAMAGE) as error:
        raise StoreUnavailable(f"{path}: {error}") from error
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{path}: {error.detail}") from error


def _look_at(signing: asyncio.Future[None]) -> None:
    """A checkpoint that could not be made shows in the age of the last; the store's failure shows by itself."""
    if not signing.cancelled():
        signing.exception()
