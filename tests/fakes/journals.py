"""Journals made of thin air, to be tampered with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from remit.core.checkpoint import CheckpointRow, VerifierKey, checkpoint
from remit.core.effect import Record
from remit.core.journal import GENESIS, JournalRow, Verification, header_bytes, link, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ERASED_AT, ACT_AT = 4, 9


@dataclass
class Journal:
    """Rows and signed heads of one log, which can be changed."""

    log: str = "log_1"
    key: Ed25519PrivateKey = KEY
    rows: list[JournalRow] = field(default_factory=list)
    heads: list[CheckpointRow] = field(default_factory=list)

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.log, KEY.public_key().public_bytes_raw())

    def append(self, record: Record) -> None:
        """Chain a record."""
        previous = self.rows[-1].hash if self.rows else GENESIS
        self.rows.append(link(log=self.log, sequence=len(self.rows) + 1, record=record, previous=previous))

    def sign(self) -> None:
        """Sign the head."""
        head = self.rows[-1]
        time = head.record.time
        self.heads.append(checkpoint(log=self.log, size=head.sequence, head=head.hash, time=time, key=self.key))

    def erase(self, at: int) -> None:
        """Blank a body, without a word about it."""
        row = self.rows[at - 1]
        self.rows[at - 1] = replace(row, record=replace(row.record, body=b"", salt=b""), erased=True)

    def verify(self, *, pinned: bool = True, notes: Iterable[str] = ()) -> Verification:
        """Read it once."""
        return verify(iter(self.rows), iter(self.heads), self.verifier if pinned else None, notes=tuple(notes))

    def copy(self) -> Journal:
        """Another one of the same content."""
        return replace(self, rows=list(self.rows), heads=list(self.heads))

    def rechain(self, key: Ed25519PrivateKey) -> None:
        """What a forger does who can write everything but sign: make all hashes and heads fit again."""
        rows, sizes = self.rows, [head.size for head in self.heads]
        self.rows, self.heads, self.key = [], [], key
        for row in rows:
            self.append(row.record)
            if row.erased:
                self.rows[-1] = _as_erased(self.rows[-1], row.body_hash)
            if len(self.rows) in sizes:
                self.sign()


def _as_erased(row: JournalRow, body: bytes) -> JournalRow:
    """The row as if its body had been there with this hash."""
    header = header_bytes(log=row.log, sequence=row.sequence, record=row.record, previous=row.previous, body=body)
    return replace(row, body_hash=body, hash=sha256(header).digest(), erased=True)


def record(number: int, **parts: str) -> Record:
    """The n-th record of a small life."""
    given = {"kind": "decision", "subject": "ann", "workflow": "w1", "parent": "", "ref": "", **parts}
    return Record(
        id=f"d_{number:03}",
        time=1_800_000_000_000_000_000 + number,
        body=b'{"n":"%d"}' % number,
        salt=bytes([number % 256]) * 16,
        **given,
    )


def journal(size: int = 12, *, log: str = "log_1", signed_every: int = 5) -> Journal:
    """A journal with checkpoints, the last one over its end, and one body that was erased by an act."""
    made = Journal(log)
    for number in range(1, size + 1):
        if number == ACT_AT:
            made.erase(ERASED_AT)
            made.append(record(number, kind="erased", ref=f"d_{ERASED_AT:03}"))
        else:
            made.append(record(number))
        if number % signed_every == 0 or number == size:
            made.sign()
    return made
