"""Certificate files that change: Envoy is told of pairs that fit together, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fakes.loop import in_loop
from listeners.certificates import Authority, Pair
from remit.backends.envoy_places import EgressPlaces, EgressTls
from remit.backends.pem_files import TlsUnusable
from remit.backends.tls_files import TlsFiles

AUTHORITY = Authority()


def written(place: Path, pair: Pair) -> EgressPlaces:
    """Places whose files lie in `place`."""
    found = EgressTls(place / "crt", place / "key", place / "ca")
    for path, text in ((found.certificate, pair.certificate), (found.key, pair.key)):
        path.write_bytes(text)
    (place / "ca").write_bytes(AUTHORITY.certificate)
    return EgressPlaces(place, tls=found)


def told(places: EgressPlaces) -> int:
    """The state of what Envoy watches: another one for each time that it was told."""
    found = list(places.tls_watched.iterdir())
    return found[0].stat().st_ino if found else 0


@in_loop
async def test_envoy_is_told_once_of_each_pair_and_of_nothing_that_does_not_fit(tmp_path: Path) -> None:
    """Halfway through a rotation it keeps what it has, and that is said once."""
    places = written(tmp_path, AUTHORITY.sign())
    files = TlsFiles(places)
    await files.start()
    assert not await files.refresh()
    assert not told(places)

    second = AUTHORITY.sign()
    (tmp_path / "crt").write_bytes(second.certificate)
    with pytest.raises(TlsUnusable, match="crt"):
        await files.refresh()
    assert not await files.refresh()
    assert not told(places)
    (tmp_path / "key").write_bytes(second.key)
    assert await files.refresh()
    assert told(places)
    assert not await files.refresh()


@pytest.mark.parametrize("name", ["crt", "key", "ca"])
@pytest.mark.parametrize("text", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
@in_loop
async def test_what_cannot_be_served_with_is_said_with_the_file(tmp_path: Path, name: str, text: bytes | None) -> None:
    """Missing, empty, or no PEM of that kind; at the start as well as later."""
    places = written(tmp_path, AUTHORITY.sign())
    running = TlsFiles(places)
    await running.start()
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_bytes(text)
    for each in (running.refresh, TlsFiles(places).start):
        with pytest.raises(TlsUnusable, match=str(tmp_path / name)):
            await each()


@in_loop
async def test_a_key_with_a_passphrase_is_refused_and_not_asked_about(tmp_path: Path) -> None:
    """Nobody is there to type it."""
    places = written(tmp_path, AUTHORITY.sign())
    key = load_pem_private_key((tmp_path / "key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    (tmp_path / "key").write_bytes(locked)
    with pytest.raises(TlsUnusable, match="key"):
        await TlsFiles(places).start()


@in_loop
async def test_without_tls_there_is_nothing_to_do(tmp_path: Path) -> None:
    files = TlsFiles(EgressPlaces(tmp_path))
    await files.start()
    assert not await files.refresh()
    assert not EgressPlaces(tmp_path).tls_watched.exists()
