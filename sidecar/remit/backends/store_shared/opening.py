"""How the store of a sidecar among others is made of its parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.store_postgres import PostgresStore
from remit.backends.store_postgres.session import LOCK_SECONDS, Server, Session
from remit.backends.store_shared.connections import Listening, SessionCalls
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_shared.store import SharedStore
from remit.ports import Clock, Ids

FILE = "local.db"


async def open_shared(
    remote: PostgresStore,
    server: Server,
    directory: Path,
    *,
    clock: Clock,
    ids: Ids,
    key: Ed25519PrivateKey,
    actions: frozenset[str],
    synced: Callable[[float], None] = lambda seconds: None,
    patience: float = LOCK_SECONDS,
    careless: bool = False,
    local_type: type[LocalStore] = LocalStore,
) -> SharedStore:
    """Decide `actions` ahead of `remote`, which `server` has, in a file of `directory`; owns `remote` from then on.

    What an earlier run left in the file is shipped before this returns. Raises StoreUnavailable.
    """
    async with AsyncExitStack() as opened:
        local = local_type(directory / FILE, clock=clock, ids=ids, key=key, synced=synced)
        opened.push_async_callback(local.close)
        session = Session(
            server,
            log=local.log,
            kind="local",
            key=key.public_key().public_bytes_raw(),
            now=clock.now,
            patience=patience,
            careless=careless,
        )
        calls, listening = SessionCalls(session), Listening(server, f"remit-pulse-{local.log}"[:63])
        opened.push_async_callback(calls.close)
        opened.push_async_callback(listening.close)
        await session.open()
        store = SharedStore(remote, local, calls, listening, actions=actions, clock=clock, ids=ids)
        await store.start()
        opened.pop_all()
        return store
