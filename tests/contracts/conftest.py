"""The stores under contract: the one in memory, the one on SQLite and the one on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EVERY, START, Desk
from fakes.loop import one_loop
from fakes.store_memory import MemoryStore
from fakes.store_postgres import open_store
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore
from remit.ports import Store


@pytest.fixture(name="desk", params=["memory", "sqlite", "postgres"])
def _desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    if request.param == "postgres":
        yield from _on_postgres(request)
        return
    store: Store
    if request.param == "memory":
        store = MemoryStore(lambda: START, checkpoint_records=EVERY)
    else:
        key = Ed25519PrivateKey.generate()
        clock, ids = FakeClock(START), FakeIds()
        store = SqliteStore(tmp_path / "state.db", clock=clock, ids=ids, key=key, checkpoint_records=EVERY)
    store.activate("r1")
    yield Desk(store)
    if not store.failed:
        asyncio.run(store.close())


def _on_postgres(request: pytest.FixtureRequest) -> Iterator[Desk]:
    installation = request.getfixturevalue("installation")
    with one_loop() as loop:
        store = loop.run(open_store(installation))
        yield Desk(store)
        if not store.failed:
            loop.run(store.close())
