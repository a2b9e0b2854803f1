"""Which store a member has: the embedded file, which is its own, or one that the installation shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from remit.app.files import Files
from remit.backends.keys_file import Keys
from remit.backends.store_sqlite import SqliteStore
from remit.config import Settings
from remit.ports import Clock, Ids, Store

Synced = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """`issuer` is who issues workflow contexts: all members that share the store have the same.

    `shared` says that other members may write to it too.
    """

    store: Store
    issuer: str
    shared: bool


async def open_store(
    settings: Settings,
    files: Files,
    *,
    clock: Clock,
    ids: Ids,
    keys: Keys,
    kind: str,
    synced: Synced,
    embedded: Callable[..., SqliteStore] = SqliteStore,
) -> OpenedStore:
    """Open what the settings say, for a member of a `kind` (sidecar or desk). Raises StoreUnavailable, KeysUnfit."""
    store = embedded(files.store, clock=clock, ids=ids, key=keys.journal, synced=synced)
    return OpenedStore(store, store.log, shared=False)
