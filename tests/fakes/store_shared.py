"""Sidecars that decide ahead of one installation's PostgreSQL, each with a local file of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fakes.commits import START
from fakes.store_postgres import Installation, key_of, open_store
from fakes.world import FakeClock
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.session import Server
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.opening import open_shared
from remit.backends.store_shared.store import SharedStore

ACTIONS = frozenset({"api.call"})


async def open_sidecar(
    installation: Installation,
    directory: Path,
    name: str = "a",
    *,
    server: Server | None = None,
    store_type: type[SharedStore] = SharedStore,
    **parts: Any,
) -> SharedStore:
    """A sidecar's store; its name is that of its log and its key. Its clock stands still, its ids are random."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    clock, ids = FakeClock(START), RandomIds(SystemClock())
    reached = server or installation.reached()

    async def open_remote(own: str, recall: Recall) -> PostgresStore:
        return await open_store(
            installation, f"log_{name}", server=reached, ids=ids, clock=clock, own=own, recall=recall, **parts
        )

    store = await open_shared(
        open_remote,
        reached,
        directory,
        clock=clock,
        ids=ids,
        key=key_of(f"log_{name}"),
        actions=ACTIONS,
        careless=True,
    )
    store.activate("r1")
    return store
