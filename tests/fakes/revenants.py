"""Stores for state machines: with a loop of their own, and able to crash and come back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import START, Desk
from fakes.store_memory import MemoryStore
from fakes.store_postgres import Installation, abandon, open_store
from fakes.world import FakeClock, FakeIds
from remit.backends.store_postgres.store import PostgresStore
from remit.backends.store_sqlite import SqliteStore
from remit.core.journal import Verification, together, verify

T = TypeVar("T")
M = TypeVar("M")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class Memory:
    """The store in memory: it has no file to come back from, so a crash is nothing."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.desk = Desk(MemoryStore(lambda: START, KEY))
        self.desk.store.activate("r1")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for it."""
        return self._loop.run_until_complete(work)

    def crash(self) -> None:
        """All that was answered is there afterwards."""

    def verify(self) -> Verification:
        """Read the whole journal."""

        async def read() -> Verification:
            rows = await self.desk.store.journal(0, 10**6)
            return verify(rows, await self.desk.store.checkpoints(), self.desk.store.verifier)

        return self.run(read())

    def end(self) -> None:
        """Let go of everything."""
        try:
            self.run(self.desk.store.close())
        finally:
            self._loop.close()


class Sqlite(Memory):
    """The store on SQLite: a crash leaves its files as the operating system has them, without a clean stop."""

    store_type: type[SqliteStore] = SqliteStore

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._directories = [Path(mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))]
        self._ids = FakeIds()
        self.desk = Desk(self._open())

    def crash(self) -> None:
        """Copy the files as they are, and start on the copy."""
        old = self._directories[-1]
        fresh = Path(mkdtemp(dir=old.parent))
        for name in ("state.db", "state.db-wal", "state.db.checkpoint"):
            if (old / name).exists():
                shutil.copy(old / name, fresh / name)
        self.run(self.desk.store.close())
        self._directories.append(fresh)
        self.desk.store = self._open()

    def end(self) -> None:
        try:
            super().end()
        finally:
            for directory in self._directories:
                shutil.rmtree(directory)

    def _open(self) -> SqliteStore:
        path = self._directories[-1] / "state.db"
        store = self.store_type(path, clock=FakeClock(START), ids=self._ids, key=KEY, checkpoint_records=20)
        store.activate("r1")
        return store


class Postgres(Memory):
    """The store on PostgreSQL: a crash is the connections being cut, or the process being killed and started again.

    A test sets the installation, which each machine begins with as it was migrated. Where it hunts for a bug that has
    nothing to do with crashes, it need not crash, which takes longest.
    """

    installation: ClassVar[Installation]
    crashes: ClassVar[bool] = True

    def __init__(self) -> None:
        self.installation.empty()
        self._loop = asyncio.new_event_loop()
        self._ids = FakeIds()
        self._crashes = 0
        self._store = self._open()
        self.desk = Desk(self._store)

    def crash(self) -> None:
        """In turns: the store goes on with new connections, or another one takes up its log."""
        self._crashes += 1
        if not self.crashes:
            return
        if self._crashes % 2:
            self.installation.cut()
        else:
            abandon(self._store)
            self.desk.store = self._store = self._open()

    def verify(self) -> Verification:
        """As an operator asks it."""
        return together(self.run(self._store.verify()))

    def _open(self) -> PostgresStore:
        return self.run(open_store(self.installation, ids=self._ids, checkpoint_records=20))


def on_postgres(machine: type[M], installation: Installation, *, hunted: bool = False) -> type[M]:
    """A state machine on PostgreSQL, with crashes; a hunted bug need not come to a good end."""
    world = type("World", (Postgres,), {"installation": installation, "crashes": not hunted})
    parts: dict[str, Any] = {"world_type": world}
    if hunted:
        parts["teardown"] = lambda self: self.world.end()
    return type(machine.__name__, (machine,), parts)


def planted(machine: type[M], **parts: type) -> type[M]:
    """A state machine on SQLite, of whose store some parts have a bug; hunted, it need not come to a good end."""
    store = type("Planted", (SqliteStore,), parts)
    world = type("World", (Sqlite,), {"store_type": store})
    return type(machine.__name__, (machine,), {"world_type": world, "teardown": lambda self: self.world.end()})
