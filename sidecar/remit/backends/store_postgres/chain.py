"""The head of this writer's log as it knows it: whatever comes to it is checked before anybody relies on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.store_postgres.parts import Header
from remit.backends.store_postgres.session import LogState, Lost
from remit.core.checkpoint import CheckpointRow, VerifierKey, checkpoint, read_note, signed_by
from remit.core.errors import BadRequest
from remit.core.journal import GENESIS, JournalRow, verify

PAGE = 1000


@dataclass(slots=True)
class Chain:
    """`sequence` and `head` of the last record, `signed` the last checkpoint."""

    log: str
    key: Ed25519PrivateKey
    sequence: int = 0
    head: bytes = GENESIS
    signed: CheckpointRow | None = None

    @property
    def verifier(self) -> VerifierKey:
        """What an auditor pins."""
        return VerifierKey(self.log, self.key.public_key().public_bytes_raw())

    @property
    def unsigned(self) -> int:
        """How many records no checkpoint covers yet."""
        return self.sequence - (self.signed.size if self.signed else 0)

    def follow(self, header: Header, sequence: int, hash_: bytes) -> None:
        """One more record, as the server says that it chained it. Raises Lost where it did not."""
        if sequence != self.sequence + 1 or hash_ != header.hash(self.head, sequence):
            raise changed(f"record {sequence} was not chained to record {self.sequence}")
        self.sequence, self.head = sequence, hash_

    def head_signed(self, now: int) -> CheckpointRow:
        """A checkpoint of the head; it is `signed` once it is durable."""
        return self.signed_as(self.sequence, self.head, now)

    def signed_as(self, sequence: int, head: bytes, now: int) -> CheckpointRow:
        """A checkpoint of a head that is to be."""
        return checkpoint(log=self.log, size=sequence, head=head, time=now, key=self.key)

    def compare(self, state: LogState, *, pending: bool) -> None:
        """Whether the log is as we left it. `pending`: there may be more, which we do not know of yet. Raises Lost."""
        if state.sequence < self.sequence:
            raise _behind(self.log, state.sequence, self.sequence)
        if state.sequence == self.sequence and state.head != self.head:
            raise changed(f"record {self.sequence} is another")
        if state.sequence > self.sequence and not pending:
            raise changed(f"it ends at record {state.sequence}, and we wrote {self.sequence}")

    async def take_up(self, state: LogState, pages: AsyncIterator[Sequence[JournalRow]]) -> None:
        """Begin from what is there, whose `pages` hold the records from the last checkpoint's on.

        What we append and sign vouches for all of it: so the records that no checkpoint covers are checked, and that
        the last checkpoint is ours and names a record that is there. Raises Lost.
        """
        if state.note:
            self.signed = self.own(state.note)
        after = self.signed.size if self.signed else 0
        tail: list[JournalRow] = []
        async for page in pages:
            tail.extend(page)
        if self.signed is not None:
            if not tail or tail[0].sequence != after or tail[0].hash != self.signed.hash:
                raise changed(f"record {after} is not the one that the last checkpoint names")
            tail = tail[1:]
        found = verify(tail, (), after=self.signed)
        if found.problems:
            raise changed(f"record {found.problems[0].sequence}: {found.problems[0].what}")
        end = tail[-1].sequence if tail else after
        head = tail[-1].hash if tail else self.signed.hash if self.signed else GENESIS
        if (end, head) != (state.sequence, state.head):
            raise changed(f"it ends at record {end}, and its head is record {state.sequence}")
        self.sequence, self.head = end, head

    def compare_kept(self, kept: CheckpointRow, found: bytes) -> None:
        """Whether the record that a kept checkpoint names has, in the database, the hash that it signs. Raises Lost."""
        if kept.size > self.sequence:
            raise _behind(self.log, self.sequence, kept.size)
        if found != kept.hash:
            raise changed(f"record {kept.size} is not the one that this member has signed")

    def own(self, note: str) -> CheckpointRow:
        """A checkpoint that this member has signed. Raises Lost."""
        try:
            head = read_note(note)
            ours = signed_by(note, self.verifier)
        except BadRequest as error:
            raise changed(f"the last checkpoint cannot be read: {error}") from error
        if not ours:
            raise changed("the last checkpoint is not signed by this member's key")
        return head


def _behind(log: str, found: int, recorded: int) -> Lost:
    return Lost(
        f"the database has lost records of the log {log} that were answered for: it ends at record {found}, and "
        f"{recorded} were recorded; a failover to a standby that was behind, or an old backup? Restore the records, or "
        "move this member's state directory away, so that it begins a new log"
    )


def changed(what: str) -> Lost:
    """The journal is not as it was written."""
    return Lost(
        f"the journal in the database was changed or replaced ({what}); look with `remit audit verify`, "
        "restore the database, or let this member begin a new log"
    )
