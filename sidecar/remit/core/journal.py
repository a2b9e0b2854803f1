"""The journal: an append-only chain of records, and the reader that finds any change to it.

    body_hash = SHA-256(salt + body)        the body may be erased later; 16 random bytes of salt, erased with
                                            it, keep its hash from telling anything
    hash      = SHA-256(header)             header: RFC 8785 bytes of the fields of `header_bytes`, which hold
                                            body_hash, the hash before, the log's name and the sequence

A record therefore fixes everything before it, and a checkpoint (`remit.core.checkpoint`) that signs the hash of
record n fixes records 1 to n. `verify` recomputes every link, not only those at the checkpoints: a reader that
trusts the stretch between two signed points lets history fork inside it.

Erasing is an act: a record of kind `erased` whose `ref` names the record, covered by a checkpoint made with it.
A body that is gone without such an act is a failure, and so is an act whose body is still there. Where a journal has
several logs, the act may stand in another one than the record (`Elsewhere`).

What is after the last checkpoint is not signed by anybody: whoever can write the file can rewrite that tail,
with new hashes. A note kept elsewhere (`notes`) moves the line on, and finds journal and checkpoints that were
cut together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from remit.core.canonical import MalformedJson, canonical
from remit.core.checkpoint import CheckpointRow, VerifierKey, read_note, signed_by
from remit.core.effect import Record
from remit.core.errors import BadRequest

GENESIS = bytes(32)
"""What the first record names as the hash before it."""

ERASED = "erased"
"""The kind of the record that journals an erasure; its `ref` is the record whose body is gone."""

MAX_PROBLEMS = 100
"""How many problems a verification keeps; the rest is counted."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A record as stored: header, chain, and the body unless it was erased (then body and salt are empty)."""

    log: str
    sequence: int
    record: Record
    previous: bytes
    hash: bytes
    body_hash: bytes
    erased: bool


def body_hash(salt: bytes, body: bytes) -> bytes:
    """What the header says of the body."""
    return hashlib.sha256(salt + body).digest()


def header_bytes(*, log: str, sequence: int, record: Record, previous: bytes, body: bytes) -> bytes:
    """The header's canonical bytes; `body` is the body's hash. Raises MalformedJson for text that is not Unicode.

    Numbers are strings: RFC 8785 has no integers above 2^53.
    """
    fields = {
        "log": log,
        "sequence": str(sequence),
        "time": str(record.time),
        "kind": record.kind,
        "id": record.id,
        "subject": record.subject,
        "workflow": record.workflow,
        "parent": record.parent,
        "ref": record.ref,
        "previous": previous.hex(),
        "body_hash": body.hex(),
    }
    return canonical(fields)


def link(*, log: str, sequence: int, record: Record, previous: bytes) -> JournalRow:
    """The record chained to the one before it."""
    body = body_hash(record.salt, record.body)
    header = header_bytes(log=log, sequence=sequence, record=record, previous=previous, body=body)
    return JournalRow(
        log=log,
        sequence=sequence,
        record=record,
        previous=previous,
        hash=hashlib.sha256(header).digest(),
        body_hash=body,
        erased=False,
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written; `sequence` says where (0: the journal as a whole)."""

    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a reader found.

    `state`: `broken` if anything was changed, else `authentic` if the pinned key signed records 1 to `covered`,
    else `consistent` (nobody's word but the file's own). `erased` counts bodies erased by a journalled act,
    `unlisted` the problems beyond those kept.
    """

    state: str
    log: str
    records: int
    erased: int
    checkpoints: int
    covered: int
    head: bytes
    problems: tuple[Problem, ...] = ()
    unlisted: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return self.state != "broken"

    @property
    def authentic(self) -> bool:
        """Whether a pinned key vouches for it."""
        return self.state == "authentic"

    @property
    def problem(self) -> str:
        """The first thing that does not hold; "" when ok."""
        return self.problems[0].what if self.problems else ""

    @property
    def sequence(self) -> int:
        """Where it is; 0 when ok."""
        return self.problems[0].sequence if self.problems else 0


def together(found: Sequence[Verification]) -> Verification:
    """What was found in several logs, as one: as bad as the worst, and its problems name their logs.

    A log in which nothing was recorded yet has nothing that a key could vouch for, and changes nothing. With more than
    one, `head` is empty and `sequence` that of the first problem in its own log.
    """
    if len(found) == 1:
        return found[0]
    states = {each.state for each in found if each.records or not each.ok} or {each.state for each in found}
    problems = [Problem(each.sequence, f"log {one.log}: {each.what}") for one in found for each in one.problems]
    return Verification(
        state=next((state for state in ("broken", "consistent") if state in states), "authentic"),
        log="",
        records=sum(each.records for each in found),
        erased=sum(each.erased for each in found),
        checkpoints=sum(each.checkpoints for each in found),
        covered=sum(each.covered for each in found),
        head=b"",
        problems=tuple(problems[:MAX_PROBLEMS]),
        unlisted=sum(each.unlisted for each in found) + max(0, len(problems) - MAX_PROBLEMS),
    )


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the journal's other logs say, by ids: whose bodies are gone there, and whose bodies acts there erased.

    Whether those acts stand as they were written, and are signed, shows where their own log is verified.
    """

    gone: Collection[str] = frozenset()
    erased: Collection[str] = frozenset()


NOWHERE = Elsewhere()


def verify(
    rows: Iterable[JournalRow],
    checkpoints: Iterable[CheckpointRow],
    key: VerifierKey | None = None,
    *,
    notes: Sequence[str] = (),
    after: CheckpointRow | None = None,
    elsewhere: Elsewhere = NOWHERE,
) -> Verification:
    """Read a journal once, in order, and say what was changed.

    `checkpoints` come in the order in which they were made; `notes` are signed notes kept outside the journal.
    `after` is a head to start from, whose record was checked by the caller: only the rest is read then. `elsewhere` is
    what the journal's other logs have to do with this one.
    Memory is bounded by the notes and by the erasures whose act is still to come.
    """
    reader = _Reader(key, checkpoints, notes, after, elsewhere)
    for row in rows:
        reader.read(row)
    return reader.finish()


@dataclass(slots=True)
class _Findings:
    kept: list[Problem] = field(default_factory=list)
    unlisted: int = 0

    def add(self, sequence: int, what: str) -> None:
        if len(self.kept) < MAX_PROBLEMS:
            self.kept.append(Problem(sequence, what))
        else:
            self.unlisted += 1


class _Heads:
    """The signed heads, met in step with the records: the journal's own and those kept elsewhere."""

    def __init__(
        self, key: VerifierKey | None, own: Iterable[CheckpointRow], notes: Sequence[str], found: _Findings
    ) -> None:
        self._key, self._found = key, found
        self._own: Iterator[CheckpointRow] = iter(own)
        self._next = next(self._own, None)
        self._kept = self._read_all(notes)
        self.covered = 0
        self.count = 0

    def meet(self, row: JournalRow) -> None:
        """Compare every head of this size with the record."""
        while self._next is not None and self._next.size <= row.sequence:
            self._check_own(self._next, row)
            self._next = next(self._own, None)
        for head in self._kept.get(row.sequence, ()):
            self._check(head, row)

    def finish(self, last: int) -> None:
        """Say which heads name more records than there are, and which of the journal's own are gone."""
        while self._next is not None:
            self._found.add(last + 1, f"records up to {self._next.size} are missing: a checkpoint signs them")
            self._next = next(self._own, None)
        for size in sorted(self._kept):
            if size > last:
                self._found.add(last + 1, f"records up to {size} are missing: a note kept elsewhere signs them")
            elif size > self.covered:
                self._found.add(size, "the journal's own checkpoint is gone: a note kept elsewhere is newer")

    def _check_own(self, head: CheckpointRow, row: JournalRow) -> None:
        self.count += 1
        if head.size <= self.covered or head.size < row.sequence:
            self._found.add(row.sequence, f"the checkpoint of size {head.size} is out of order")
        elif self._genuine(head, row.sequence) and self._check(head, row):
            self.covered = head.size

    def _genuine(self, head: CheckpointRow, sequence: int) -> bool:
        read = self._read(head.note, sequence)
        if read is not None and read != head:
            self._found.add(sequence, "the checkpoint does not say what its signed note says")
        return read == head

    def _check(self, head: CheckpointRow, row: JournalRow) -> bool:
        if (head.log, head.hash) != (row.log, row.hash):
            self._found.add(row.sequence, "the record is not the one that a signed head names")
            return False
        return True

    def _read_all(self, notes: Sequence[str]) -> dict[int, list[CheckpointRow]]:
        kept: dict[int, list[CheckpointRow]] = {}
        for note in notes:
            if (head := self._read(note, 0)) is not None:
                kept.setdefault(head.size, []).append(head)
        return kept

    def _read(self, note: str, sequence: int) -> CheckpointRow | None:
        try:
            head = read_note(note)
            vouched = self._key is None or signed_by(note, self._key)
        except BadRequest as error:
            self._found.add(sequence, f"a signed note cannot be read: {error}")
            return None
        if not vouched:
            self._found.add(sequence, "a note is not signed by the pinned key, or is another log's")
            return None
        return head


class _Reader:
    """Walks the chain; after a problem it goes on from what is stored, so that one change is told once."""

    def __init__(
        self,
        key: VerifierKey | None,
        checkpoints: Iterable[CheckpointRow],
        notes: Sequence[str],
        after: CheckpointRow | None,
        elsewhere: Elsewhere,
    ) -> None:
        self._elsewhere = elsewhere
        self._pinned = key is not None
        self._found = _Findings()
        self._heads = _Heads(key, checkpoints, notes, self._found)
        self._log = after.log if after else key.log if key else ""
        self._head = after.hash if after else GENESIS
        self._last = after.size if after else 0
        self._records = 0
        self._erased = 0
        self._last_act = 0
        self._awaited: dict[str, int] = {}  # erased record's id -> its sequence, until its act is met

    def read(self, row: JournalRow) -> None:
        self._records += 1
        self._log = self._log or row.log
        self._check_place(row)
        self._check_content(row)
        if row.record.kind == ERASED:
            self._meet_act(row)
        self._head, self._last = row.hash, row.sequence
        self._heads.meet(row)

    def finish(self) -> Verification:
        self._heads.finish(self._last)
        for id, sequence in self._awaited.items():
            if id in self._elsewhere.erased:
                continue
            self._found.add(sequence, "the body is gone, and no journalled act erased it")
        if self._last_act > self._heads.covered:
            self._found.add(self._last_act, "a body was erased by an act that no checkpoint covers")
        return self._verification()

    def _verification(self) -> Verification:
        signed = self._pinned and self._heads.covered > 0
        return Verification(
            state="broken" if self._found.kept else "authentic" if signed else "consistent",
            log=self._log,
            records=self._records,
            erased=self._erased,
            checkpoints=self._heads.count,
            covered=self._heads.covered,
            head=self._head,
            problems=tuple(self._found.kept),
            unlisted=self._found.unlisted,
        )

    def _check_place(self, row: JournalRow) -> None:
        if row.log != self._log:
            self._found.add(row.sequence, f"the record is of another log, {row.log!r}")
        if row.sequence != self._last + 1:
            self._found.add(row.sequence, f"record {self._last + 1} was expected here")
        elif row.previous != self._head:
            self._found.add(row.sequence, "the record is not chained to the one before it")

    def _check_content(self, row: JournalRow) -> None:
        if not _is_whole(row):
            self._found.add(row.sequence, "the header does not match its hash")
        if row.erased:
            self._meet_erased(row)
        elif body_hash(row.record.salt, row.record.body) != row.body_hash:
            self._found.add(row.sequence, "the body does not match its hash")

    def _meet_erased(self, row: JournalRow) -> None:
        self._erased += 1
        self._awaited[row.record.id] = row.sequence
        if row.record.body or row.record.salt:
            self._found.add(row.sequence, "the body is marked as erased and is there")

    def _meet_act(self, row: JournalRow) -> None:
        erased = row.record.ref
        if self._awaited.pop(erased, None) is None and erased not in self._elsewhere.gone:
            self._found.add(row.sequence, "the act names a body that is not erased")
        self._last_act = row.sequence


def _is_whole(row: JournalRow) -> bool:
    try:
        header = header_bytes(
            log=row.log, sequence=row.sequence, record=row.record, previous=row.previous, body=row.body_hash
        )
    except MalformedJson:  # text that is not Unicode was never written by us
        return False
    return hashlib.sha256(header).digest() == row.hash
