"""The journal's writing end: appends to the chain, blanks bodies, signs heads. Inside the caller's savepoint.

The head is kept in memory, so that a record costs one insert. Whoever rolls a batch back calls `reload`.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.store_sqlite.database import Database
from remit.backends.store_sqlite.rows import CHECKPOINTS, JOURNAL, checkpoint_row, journal_row
from remit.core.checkpoint import CheckpointRow, checkpoint, read_note
from remit.core.effect import Committed, Record
from remit.core.errors import BadRequest, IllegalTransition, NotFound, StoreUnavailable
from remit.core.journal import GENESIS, link, verify

_APPEND = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LAST = "SELECT sequence, hash FROM journal ORDER BY sequence DESC LIMIT 1"
_SIGNED = f"{CHECKPOINTS} ORDER BY size DESC LIMIT 1"
_TAIL = f"{JOURNAL} WHERE sequence > ? ORDER BY sequence"


class Chain:
    """The head of one log: `sequence` and `head` of the last record, `signed` the last checkpoint."""

    def __init__(self, db: Database, log: str, key: Ed25519PrivateKey) -> None:
        self._db = db
        self._key = key
        self.log = log
        self.reload()

    def reload(self) -> None:
        """Take the head from the file."""
        self.sequence: int
        self.head: bytes
        self.sequence, self.head = self._db.one(_LAST) or (0, GENESIS)
        row = self._db.one(_SIGNED)
        self.signed: CheckpointRow | None = checkpoint_row(self.log, row) if row else None

    @property
    def unsigned(self) -> int:
        """How many records no checkpoint covers yet."""
        signed = self.signed.size if self.signed else 0
        return self.sequence - signed

    def append(self, record: Record) -> Committed:
        """Chain a record to the head."""
        row = link(log=self.log, sequence=self.sequence + 1, record=record, previous=self.head)
        self._db.do(
            _APPEND,
            row.sequence,
            record.time,
            record.kind,
            record.id,
            record.subject,
            record.workflow,
            record.parent,
            record.ref,
            row.previous,
            row.hash,
            row.body_hash,
            record.salt,
            record.body,
        )
        self.sequence, self.head = row.sequence, row.hash
        return Committed(self.log, row.sequence)

    def blank(self, id: str) -> None:
        """Take a record's body and salt away. Raises NotFound, IllegalTransition."""
        body = self._db.one("SELECT body IS NULL FROM journal WHERE id = ?", id)
        if body is None:
            raise NotFound(f"no record {id}")
        if body[0]:
            raise IllegalTransition(f"the body of record {id} was erased before")
        self._db.do("UPDATE journal SET body = NULL, salt = NULL WHERE id = ?", id)

    def sign(self, now: int) -> None:
        """Sign the head, if there is anything new in it."""
        if not self.unsigned:
            return
        signed = checkpoint(log=self.log, size=self.sequence, head=self.head, time=now, key=self._key)
        self._db.do("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", signed.size, signed.hash, now, signed.note)
        self.signed = signed

    def check(self, kept: str) -> None:
        """Refuse to go on from a journal that was changed: what we append and sign would vouch for it.

        Checks the records that no checkpoint covers, and that the last checkpoint and the note `kept` beside
        the file ("" for none) name records that are there. Raises StoreUnavailable.
        """
        if self.signed is not None:
            self._check_head(self.signed)
        if kept:
            self._check_head(_read(kept))
        rows = (journal_row(self.log, row) for row in self._db.all(_TAIL, self.signed.size if self.signed else 0))
        problems = verify(rows, (), after=self.signed).problems
        if problems:
            raise _changed(f"record {problems[0].sequence}: {problems[0].what}")

    def _check_head(self, head: CheckpointRow) -> None:
        if head.log != self.log:
            raise _changed(f"the checkpoint beside it is of another log, {head.log}")
        found = self._db.value("SELECT hash FROM journal WHERE sequence = ?", head.size)
        if found != head.hash:
            raise _changed(f"record {head.size} is not the one that a checkpoint names")


def _read(note: str) -> CheckpointRow:
    try:
        return read_note(note)
    except BadRequest as error:
        raise _changed(f"the checkpoint beside it cannot be read: {error}") from error


def _changed(what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the journal was changed or replaced ({what}); look with `remit audit verify`, "
        "restore the state directory, or move it away to begin a new one"
    )
