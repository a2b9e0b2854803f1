"""State directories with a journal in them, written by the real store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import Desk
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_sqlite import SqliteStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def write_state(state: Path, decisions: Sequence[tuple[str, str, bytes]]) -> str:
    """A stopped sidecar's directory with these decisions (id, parent, body) of workflow w1; the verifier key."""
    state.mkdir()
    return asyncio.run(_write(state, decisions))


async def _write(state: Path, decisions: Sequence[tuple[str, str, bytes]]) -> str:
    clock = SystemClock()
    store = SqliteStore(state / "state.db", clock=clock, ids=RandomIds(clock), key=KEY)
    desk = Desk(store, time=clock.now())
    for id, parent, body in decisions:
        await desk.must(id=id, parent=parent, body=body, workflow="w1")
    await store.close()
    return str(store.verifier)
