"""The Vault port: on the fake, and on files with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.loop import in_loop
from fakes.vault_memory import MemoryVault
from remit.backends.vault_file import FileVault
from remit.core.catalogue import Credential
from remit.ports import Secret, Vault, VaultFailed

KEY = b"sk-canary-3dhkQZVtgA29xLmA"
OTHER = b"sk-canary-rotated-77aQ"
CREDENTIAL = Credential(file="openai")


@dataclass
class Kept:
    """A vault, and how to change what is in it so that a second has passed."""

    vault: Vault
    put: Callable[[bytes | None], None]


def in_memory(folder: Path) -> Kept:
    vault = MemoryVault()
    return Kept(vault, lambda value: vault.put("openai", value))


def in_file(folder: Path) -> Kept:
    time = [0.0]

    def put(value: bytes | None) -> None:
        time[0] += 1
        if value is None:
            (folder / "openai").unlink()
            return
        (folder / "draft").touch(mode=0o600)
        (folder / "draft").write_bytes(value)
        (folder / "draft").rename(folder / "openai")

    return Kept(FileVault({}, folder, monotonic=lambda: time[0]), put)


@pytest.fixture(params=[in_memory, in_file])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    made: Kept = request.param(tmp_path)
    return made


@in_loop
async def test_a_credential_is_what_was_put_there(kept: Kept) -> None:
    """Its value, and where it came from."""
    kept.put(KEY)
    secret = await kept.vault.secret(CREDENTIAL)

    assert secret.value == KEY
    assert "openai" in secret.origin


@in_loop
async def test_a_rotation_is_seen_and_the_value_before_stays_known(kept: Kept) -> None:
    """A response to a request of before the rotation may still echo the old one; older ones are forgotten."""
    for value in (KEY, OTHER, OTHER):
        kept.put(value)
        assert (await kept.vault.secret(CREDENTIAL)).value == value
    assert set(kept.vault.known()) == {KEY, OTHER}
    kept.put(b"sk-third-value")
    await kept.vault.secret(CREDENTIAL)

    assert set(kept.vault.known()) == {OTHER, b"sk-third-value"}


@in_loop
async def test_what_has_gone_is_not_handed_out(kept: Kept) -> None:
    """Taking a credential away takes it back; that it was known stays so."""
    kept.put(KEY)
    await kept.vault.secret(CREDENTIAL)
    kept.put(None)
    with pytest.raises(VaultFailed):
        await kept.vault.secret(CREDENTIAL)

    assert kept.vault.known() == [KEY] or kept.vault.known() == (KEY,)


@pytest.mark.parametrize("value", [b"", b"hunter2", b"sk-canary\r\nHost: evil", b"sk-canary\0123", b"sk-canary-\xff"])
@in_loop
async def test_what_cannot_be_a_header_is_refused_and_not_told(kept: Kept, value: bytes) -> None:
    """Too short, of several lines, with NUL or beyond ASCII: the error says where and what is expected."""
    kept.put(value)
    with pytest.raises(VaultFailed) as caught:
        await kept.vault.secret(CREDENTIAL)

    assert "openai" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_never_shows_its_value() -> None:
    """However it is written out."""
    secret = Secret(KEY, "file openai")

    assert "canary" not in f"{secret} {secret!r} {secret!s} {[secret]} {Exception(secret)!r}"
