"""When the disk fails at the n-th write or sync: for some n in every run, for all n in a soak.

After a failed sync the kernel may call the lost pages clean, so that only a new start, which reads what is on the
disk, can go on. A full disk is another matter: nothing was believed to be written, and space may come back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from counts import COUNTS, SEED, dice
from crash.mutants import GoesOnAfterFsync, IgnoredError
from crash.vfs import watched
from crash.workload import live, open_store, wrongs
from fakes.commits import Desk
from remit.backends.store_sqlite import SqliteStore
from remit.core.errors import StoreUnavailable

pytestmark = pytest.mark.crash

FSYNC, WRITE, FULL = apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_FULL
FAULTS = {FSYNC: "sync", WRITE: "write", FULL: "write"}


@dataclass
class Gremlin:
    """Fails the n-th write or sync of the write-ahead log once the store is open; then the disk is well again."""

    error: int = 0
    at: int = 0
    awake: bool = False
    seen: int = 0
    after: list[str] = field(default_factory=list)  # what was acknowledged after the fault

    @property
    def struck(self) -> bool:
        return bool(self.at) and self.seen >= self.at

    def watch(self, what: str, name: str, at: int, content: bytes) -> None:
        if self.awake and name.endswith("-wal") and what == FAULTS.get(self.error, "write"):
            self.seen += 1
            if self.seen == self.at:
                raise apsw.exception_for(self.error)


def _life(path: Path, store_type: type[SqliteStore], gremlin: Gremlin, salt: str) -> list[str]:
    """A life with a fault in it, and one more commit after it; what was answered."""
    acks: list[str] = []

    async def run(store: SqliteStore) -> None:
        def ack(id: str) -> None:
            acks.append(id)
            if gremlin.struck:
                gremlin.after.append(id)

        gremlin.awake = True
        await live(store, ack, dice(f"faults {salt}"), callers=3, turns=4)
        gremlin.awake = False
        with suppress(StoreUnavailable):
            await Desk(store).must(id="last")
            ack("last")
        with suppress(StoreUnavailable):
            await store.close()

    with watched("gremlin", gremlin.watch) as connect:
        asyncio.run(run(open_store(path, store_type, connect=connect)))
    return acks


def _points(tmp_path: Path, error: int) -> list[int]:
    """All the n, or as many as this run tries."""
    counting = Gremlin(error)
    _life(tmp_path / "counting.db", SqliteStore, counting, "")
    points = range(1, counting.seen + 1)
    return sorted(dice(f"points {error}").sample(points, min(len(points), COUNTS.faults // len(FAULTS))))


def _broken(tmp_path: Path, error: int, store_type: type[SqliteStore], may_go_on: bool) -> list[str]:
    found: list[str] = []
    for at in _points(tmp_path, error):
        path = tmp_path / f"{at}.db"
        gremlin = Gremlin(error, at)
        acks = _life(path, store_type, gremlin, "")
        found += [f"{at}: {each}" for each in wrongs(path, acks)]
        if not may_go_on:
            found += [f"{at}: {each} was answered after the fault" for each in gremlin.after]
        elif gremlin.struck and "last" not in acks:
            found.append(f"{at}: did not go on")
    return found


@pytest.mark.parametrize(
    ("error", "may_go_on"),
    [
        pytest.param(FSYNC, False, id="fsync error"),
        pytest.param(WRITE, False, id="write error"),
        pytest.param(FULL, True, id="disk full"),
    ],
)
@pytest.mark.timeout(3600)
def test_a_failing_disk_loses_nothing_that_was_answered(tmp_path: Path, error: int, may_go_on: bool) -> None:
    """What was answered is there; after an I/O error nothing more is answered; a full disk may have space again."""
    assert _broken(tmp_path, error, SqliteStore, may_go_on) == [], SEED


@pytest.mark.parametrize(
    ("mutant", "sign"),
    [(IgnoredError, "lost"), (GoesOnAfterFsync, "after the fault")],
)
def test_planted_bugs_are_found(tmp_path: Path, mutant: type[SqliteStore], sign: str) -> None:
    """A store that takes a failed sync for a success, and one that trusts the disk again."""
    found = _broken(tmp_path, FSYNC, mutant, may_go_on=False)

    assert any(sign in each for each in found), (found, SEED)
