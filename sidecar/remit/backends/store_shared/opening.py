"""How the store of a sidecar among others is made of its parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.backends.store_postgres.session import LOCK_SECONDS, Server, Session
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.connections import Listening, SessionCalls
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_shared.recalls import Recalls
from remit.backends.store_shared.store import SharedStore
from remit.ports import Clock, Ids

FILE = "local.db"


async def open_alone(open_remote: Callable[[str, Recall], Awaitable[PostgresStore]]) -> PostgresStore:
    """Decide nothing ahead of the shared store, and ask those that do for what is needed. Raises StoreUnavailable."""
    calls = _StoreCalls()
    calls.store = await open_remote("", Recalls(calls, "", monotonic).recall)
    return calls.store


class _StoreCalls:
    """Calls over the connection with which a store writes."""

    store: PostgresStore

    async def call(self, function: str, payload: dict[str, Any], /) -> Any:
        """The function's answer. Raises StoreUnavailable."""
        return await self.store.ask(function, payload)

    async def close(self) -> None:
        """It is the store's."""


async def open_shared(
    open_remote: Callable[[str, Recall], Awaitable[PostgresStore]],
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
    """Decide `actions` ahead of the shared store, in a file of `directory`.

    `open_remote` opens that store on `server`, for the local log of that name, with what recalls others' holdings.
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
        remote = await open_remote(local.log, Recalls(calls, local.log, monotonic).recall)
        opened.push_async_callback(remote.close)
        store = SharedStore(remote, local, calls, listening, actions=actions, clock=clock, ids=ids)
        await store.start()
        opened.pop_all()
        return store
