"""Which store a member has: the embedded file, which is its own, or one that the installation shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from remit.app.files import Files
from remit.backends.bundle_contents import Signed
from remit.backends.bundle_kept import Highest, check_serial
from remit.backends.bundle_remote import Guard
from remit.backends.keys_file import Keys, KeysUnfit
from remit.backends.store_postgres.administration import accept_bundle, join_installation
from remit.backends.store_postgres.session import Password, Server
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.opening import open_alone, open_shared
from remit.backends.store_shared.store import SharedStore
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.lock import FileLock
from remit.config import Settings
from remit.config.store_settings import StoreSettings
from remit.core.catalogue import Credential
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable
from remit.ports import Clock, DatabaseFailed, Failure, Ids, Store, Vault, VaultFailed

Synced = Callable[[float], None]
_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """`issuer` is who issues workflow contexts: all members that share the store have the same.

    `shared` says that other members may write to it too; then `lock` keeps others from this state directory.
    `unshipped` tells when the oldest record was made that is on this disk alone, where decisions are made ahead.
    """

    store: Store
    issuer: str
    shared: bool
    lock: FileLock | None = None
    unshipped: Callable[[], int | None] | None = None

    async def close(self) -> None:
        """Write a last checkpoint, and let go of everything."""
        try:
            await self.store.close()
        except StoreUnavailable as error:
            # What was answered is durable; the next start signs it.
            _log.error("the last checkpoint could not be signed: %s", error.detail)
        finally:
            if self.lock is not None:
                self.lock.release()


async def open_store(
    settings: Settings,
    files: Files,
    *,
    clock: Clock,
    ids: Ids,
    keys: Keys,
    vault: Vault,
    kind: str,
    synced: Synced,
    embedded: Callable[..., SqliteStore] = SqliteStore,
) -> OpenedStore:
    """Open what the settings say, for a member of a `kind` (sidecar or desk). Raises StoreUnavailable, KeysUnfit."""
    if not settings.store.shared:
        store = embedded(files.store, clock=clock, ids=ids, key=keys.journal, synced=synced)
        return OpenedStore(store, store.log, shared=False)
    lock = FileLock(files.lock)
    try:
        password = password_of(settings.store, vault)
        issuer = await _join(settings.store.place, password, keys, ids)
        shared = await _open_shared(
            settings.store, files, password, clock=clock, ids=ids, keys=keys, kind=kind, synced=synced
        )
    except BaseException:
        lock.release()
        raise
    ahead = shared.unshipped if isinstance(shared, SharedStore) else None
    return OpenedStore(shared, issuer, shared=True, lock=lock, unshipped=ahead)


async def _open_shared(
    settings: StoreSettings,
    files: Files,
    password: Password,
    *,
    clock: Clock,
    ids: Ids,
    keys: Keys,
    kind: str,
    synced: Synced,
) -> Store:
    """PostgreSQL alone; ahead of it, for a sidecar, what may be decided on its own disk."""
    server = Server.of(settings.place, password)

    async def remote(own: str = "", recall: Recall | None = None) -> PostgresStore:
        return await PostgresStore.open(
            server,
            log=log_name(kind, keys),
            kind=kind,
            key=keys.journal,
            clock=clock,
            ids=ids,
            own=own,
            recall=recall,
            synced=synced,
            note=files.state / f"{kind}.checkpoint",
        )

    if kind != "sidecar" or not settings.allotments or not settings.local:
        return await open_alone(remote)
    return await open_shared(
        remote,
        server,
        files.state,
        clock=clock,
        ids=ids,
        key=keys.journal,
        actions=frozenset(settings.local),
        synced=synced,
    )


async def bundle_guard(settings: StoreSettings, vault: Vault) -> Guard | None:
    """What keeps all that share a store from an older bundle than any of them had; None where nobody shares it.

    Raises StoreUnavailable.
    """
    if not settings.shared:
        return None
    secret = await _secret(password_of(settings, vault))

    def accept(signed: Signed) -> None:
        found = accept_bundle(settings.place, secret, serial=signed.serial, digest=signed.digest)
        check_serial(signed, Highest(*found), "was accepted in this installation")

    return accept


def log_name(kind: str, keys: Keys) -> str:
    """The log that goes with a member's own key: who has lost the key begins another log."""
    return f"{kind}-{sha256(keys.journal.public_key().public_bytes_raw()).hexdigest()[:24]}"


def password_of(settings: StoreSettings, vault: Vault) -> Password:
    """The password as the file has it now."""

    async def password() -> bytes:
        if settings.password_file is None:
            return b""
        try:
            return (await vault.secret(Credential(file=str(settings.password_file.absolute())))).value
        except VaultFailed as error:
            raise DatabaseFailed(Failure.NOT_FIT, str(error)) from None

    return password


async def _secret(password: Password) -> bytes:
    try:
        return await password()
    except DatabaseFailed as error:
        raise StoreUnavailable(f"the store's password cannot be had: {error.detail}") from error


async def _join(place: PostgresPlace, password: Password, keys: Keys, ids: Ids) -> str:
    """The installation's id. Raises StoreUnavailable, and KeysUnfit where its members have other keys."""
    secret = await _secret(password)
    joined = await asyncio.to_thread(join_installation, place, secret, id=ids.new("i"), keys=keys.fingerprints)
    if joined.differing:
        named = ", ".join(joined.differing)
        raise KeysUnfit(
            f"{keys.directory}: {named}: not the keys of this installation's other members; "
            "expected copies of theirs, in a directory that `keys` (REMIT_KEYS, --keys) names"
        )
    return joined.id
