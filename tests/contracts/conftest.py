"""The stores under contract: the one in memory and the one on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EVERY, START, Desk
from fakes.store_memory import MemoryStore
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore


@pytest.fixture(name="desk", params=["memory", "sqlite"])
def _desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    store: MemoryStore | SqliteStore
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
