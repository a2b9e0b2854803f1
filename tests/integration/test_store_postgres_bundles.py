"""The highest serial of a bundle is one for all who share a store, and nothing that a member may do lowers it."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from fakes.bundles import public_pem, sound
from fakes.store_postgres import DESK, SIDECAR, Installation
from psycopg.types.json import Jsonb
from remit.app.stores import bundle_guard
from remit.backends.bundle_archive import BundleRefused
from remit.backends.bundle_fetch import Answer, Origin
from remit.backends.bundle_remote import Guard, RemoteBundle
from remit.backends.store_postgres.administration import accept_bundle
from remit.backends.vault_file import FileVault
from remit.config.store_settings import StoreSettings
from remit.core.errors import StoreUnavailable

A, B = "a" * 64, "b" * 64


def accepted(installation: Installation, serial: int, digest: str = A, role: str = SIDECAR) -> tuple[int, str]:
    return accept_bundle(installation.place(role), installation.passwords[role].encode(), serial=serial, digest=digest)


def test_serials_rise_for_all_and_the_first_content_of_one_stays(installation: Installation) -> None:
    """Whoever asks with another is told which it is."""
    assert accepted(installation, 5) == (5, A)
    assert accepted(installation, 5, B, DESK) == (5, A)
    assert accepted(installation, 4, B) == (5, A)
    assert accepted(installation, 6, B, DESK) == (6, B)
    assert accepted(installation, 6, B) == (6, B)


def test_of_many_at_once_the_highest_stays(installation: Installation) -> None:
    """Each is told at least its own serial, and the end is the highest of all."""
    serials = list(range(1, 41))
    random.Random(8).shuffle(serials)
    with ThreadPoolExecutor(8) as members:
        told = list(members.map(lambda serial: accepted(installation, serial, f"{serial:064x}"), serials))
    assert all(
        found >= serial and digest == f"{found:064x}" for serial, (found, digest) in zip(serials, told, strict=True)
    )
    assert installation.rows("SELECT serial FROM remit.bundle") == [(40,)]


@pytest.mark.parametrize(
    "wrong", [{"serial": 0, "digest": A}, {"serial": -1, "digest": A}, {"digest": A}, {"serial": 1}]
)
def test_what_is_no_bundle_is_refused(installation: Installation, wrong: dict[str, object]) -> None:
    """Nothing is kept of it."""
    with installation.connect() as member, pytest.raises(psycopg.Error):
        member.execute("SELECT remit.accept_bundle(%s)", [Jsonb({"time": 1, **wrong})])
    assert installation.rows("SELECT count(*) FROM remit.bundle") == [(0,)]


def test_a_member_with_an_empty_disk_takes_no_older_bundle_than_the_others(
    installation: Installation, tmp_path: Path
) -> None:
    """A new pod, asked by a mirror to go back: its own disk knows of nothing, the store does."""
    secret, key = tmp_path / "password", tmp_path / "key.pub"
    secret.write_text(installation.passwords[SIDECAR])
    secret.chmod(0o600)
    key.write_bytes(public_pem())
    settings = StoreSettings(url=installation.url(), password_file=secret)
    guard = asyncio.run(bundle_guard(settings, FileVault({}, tmp_path)))

    def pod(name: str, body: bytes) -> RemoteBundle:
        remote = RemoteBundle(
            Origin("https://x/b"), key, tmp_path / name, poll_seconds=30, get=lambda origin, etag: Answer(body, "")
        )
        remote.take()
        return remote

    other = sound(7, **{"policies/x.rego": b"package x\n"})
    assert pod("first", sound(7)).accept(guard)["serial"] == 7
    assert pod("second", sound(7)).accept(guard)["serial"] == 7
    for name, body, said in (("third", sound(6), "7 was accepted in this"), ("fourth", other, "another bundle")):
        with pytest.raises(BundleRefused, match=said):
            pod(name, body).accept(guard)
        assert not (tmp_path / name / "highest.json").exists()
    assert _planted(pod("fifth", sound(6)), None)["serial"] == 6


def _planted(remote: RemoteBundle, guard: Guard | None) -> dict[str, object]:
    """The planted bug: without the store's word the disk alone is asked, and the old bundle is in force."""
    return dict(remote.accept(guard))


def test_a_store_that_is_away_accepts_nothing(installation: Installation, tmp_path: Path) -> None:
    """Neither who it is, nor what it knows, can be told."""
    with pytest.raises(StoreUnavailable):
        accept_bundle(installation.place(), b"wrong", serial=1, digest=A)
    settings = StoreSettings(url=installation.url(), password_file=tmp_path / "none")
    with pytest.raises(StoreUnavailable, match="password"):
        asyncio.run(bundle_guard(settings, FileVault({}, tmp_path)))
    assert asyncio.run(bundle_guard(StoreSettings(), FileVault({}, tmp_path))) is None
