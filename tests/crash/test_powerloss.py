"""When the power goes, everything that was answered is there, and nothing half.

The store runs on a disk that remembers every write and sync. An image is what a crash at some moment may leave:
what was synced, and of the rest any part, torn at sectors. Each is opened as after any start.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from counts import COUNTS, SEED, dice
from crash import local_workload, workload
from crash.mutants import AckBeforeCommit, NoteBeforeCommit, TwoTransactions
from crash.vfs import watched
from remit.backends.note_file import note_path, read_note_file
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_sqlite import SqliteStore

pytestmark = pytest.mark.crash

FAST_DISK = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
SECTOR = 512


@dataclass
class Tape:
    """Everything that happened, in order: (what, which file, where, with which bytes)."""

    happened: list[tuple[str, str, int, bytes]] = field(default_factory=list)

    def note(self, what: str, name: str, at: int = 0, content: bytes = b"") -> None:
        self.happened.append((what, name, at, content))

    @property
    def first_answer(self) -> int:
        return next(at for at, each in enumerate(self.happened) if each[0] == "ack")


def _life(store_type: type[SqliteStore]) -> ModuleType:
    """What such a store does, and how it is looked at."""
    return local_workload if issubclass(store_type, LocalStore) else workload


def _taped(store_type: type[SqliteStore], synchronous: str, random: Random) -> Tape:
    """A life of the store, on tape."""
    tape, life = Tape(), _life(store_type)

    class Noted(store_type):  # type: ignore[misc, valid-type]
        def _publish(self) -> None:
            super()._publish()
            tape.note("note", "", 0, read_note_file(note_path(self.path)).encode())

        def _sign_if_due(self) -> None:
            super()._sign_if_due()
            tape.note("note", "", 0, read_note_file(note_path(self.path)).encode())

    async def run(directory: str) -> None:
        store = life.open_store(Path(directory) / "state.db", Noted, connect=connect)
        await life.live(store, lambda id: tape.note("ack", id), random, callers=random.randrange(1, 9), turns=8)
        await store.close()

    with TemporaryDirectory(dir=FAST_DISK) as directory, watched("taped", tape.note, synchronous) as connect:
        asyncio.run(run(directory))
    return tape


def _image(tape: Tape, upto: int, random: Random) -> tuple[dict[str, bytes], list[str]]:
    """What may be on the disk after a crash at that moment, and what was answered by then."""
    files: dict[str, bytearray] = {}
    pending: dict[str, list[tuple[str, int, bytes]]] = {}
    acks: list[str] = []
    note = b""
    for what, name, at, content in tape.happened[:upto]:
        if what == "ack":
            acks.append(name)
        elif what == "note":
            note = content
        elif what == "delete":
            files.pop(name, None)
            pending.pop(name, None)
        elif what == "sync":
            for change in pending.pop(name, []):
                _apply(files.setdefault(name, bytearray()), *change)
        else:
            pending.setdefault(name, []).append((what, at, content))
    kept = random.choice([0.0, 0.5, 0.5, 1.0])  # none, some or all of what was not synced
    for name, changes in pending.items():
        for change in changes:
            if random.random() < kept:
                _apply(files.setdefault(name, bytearray()), *_torn(change, random))
    return {**files, **({"state.db.checkpoint": note} if note else {})}, acks


def _torn(change: tuple[str, int, bytes], random: Random) -> tuple[str, int, bytes]:
    what, at, content = change
    if what == "write" and random.random() < 0.2:
        content = content[: SECTOR * random.randrange(0, len(content) // SECTOR + 1)]
    return what, at, content


def _apply(file: bytearray, what: str, at: int, content: bytes) -> None:
    if what == "truncate":
        del file[at:]
        return
    file.extend(bytes(max(0, at + len(content) - len(file))))
    file[at : at + len(content)] = content


def _findings(tape: Tape, random: Random, count: int, store_type: type[SqliteStore] = SqliteStore) -> Iterator[str]:
    """The promises that images of the tape break."""
    for _ in range(count):
        files, acks = _image(tape, random.randrange(tape.first_answer, len(tape.happened) + 1), random)
        with TemporaryDirectory(dir=FAST_DISK) as directory:
            for name, content in files.items():
                (Path(directory) / name).write_bytes(content)
            yield from _life(store_type).wrongs(Path(directory) / "state.db", acks)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("store_type", "share"), [(SqliteStore, 1), (LocalStore, 4)])
def test_no_image_has_lost_or_broken_anything(store_type: type[SqliteStore], share: int) -> None:
    """Every answered record is there, the chain holds, the money adds up, the copied checkpoint is not ahead.

    Of a sidecar's file ahead of PostgreSQL: what a record did is there, to be shipped, exactly where the record is.
    """
    random = dice(f"powerloss {store_type.__name__}")
    tape = _taped(store_type, "", random)

    assert list(islice(_findings(tape, random, COUNTS.images // share, store_type), 5)) == [], SEED


@pytest.mark.parametrize(
    ("mutant", "synchronous", "sign"),
    [
        pytest.param(SqliteStore, "normal", "lost|changed or replaced", id="synchronous=NORMAL"),
        pytest.param(SqliteStore, "off", "", id="synchronous=OFF"),
        pytest.param(AckBeforeCommit, "", "lost|changed or replaced", id="ack before commit"),
        pytest.param(TwoTransactions, "", "without a record", id="ledger and journal apart"),
        pytest.param(NoteBeforeCommit, "", "changed or replaced", id="note before commit"),
        pytest.param(local_workload.OutboxApart, "", "without what it did", id="journal and outbox apart"),
    ],
)
def test_planted_bugs_are_found(mutant: type[SqliteStore], synchronous: str, sign: str) -> None:
    """The harness has teeth: each bug shows in some image, by the promise that it breaks."""
    random = dice(f"powerloss {mutant} {synchronous}")
    tape = _taped(mutant, synchronous, random)

    assert any(re.search(sign, each) for each in _findings(tape, random, 400, mutant)), SEED
