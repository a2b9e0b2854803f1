"""Credentials in real files: what is refused, what is only said, and what a rotation looks like."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.loop import in_loop
from remit.backends import vault_file
from remit.backends.vault_file import MAX_SIZE, FileVault, take_environment
from remit.core.catalogue import Credential
from remit.ports import VaultFailed

KEY = b"sk-canary-3dhkQZVtgA29xLmA"
CREDENTIAL = Credential(file="key")
write, mode = Path.write_bytes, Path.chmod


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(KEY + b"\n")
    return path


def stopped(folder: Path) -> FileVault:
    """A vault for which no time passes."""
    return FileVault({}, folder, monotonic=lambda: 0.0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@in_loop
async def test_one_line_end_is_not_part_of_the_credential(key: Path, end: bytes) -> None:
    """As editors and `echo` leave it."""
    write(key, KEY + end)

    assert (await stopped(key.parent).secret(CREDENTIAL)).value == KEY


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (Path.unlink, "No such file or directory"),
        (lambda path: path.chmod(0o620), "mode 620"),
        (lambda path: path.chmod(0o602), "mode 602"),
        (lambda path: path.write_bytes(b"k" * (MAX_SIZE + 1)), f"{MAX_SIZE + 1} bytes"),
        (lambda path: path.write_bytes(KEY + b"\n\n"), "something else at byte 27"),
        (lambda path: path.write_bytes(b" " + KEY), "spaces around it"),
        (pipe, "no regular file"),
        (directory, "no regular file"),
    ],
)
@in_loop
async def test_a_file_that_cannot_be_trusted_is_refused(
    key: Path, change: Callable[[Path], object], found: str
) -> None:
    """At once, with the file's name and what was found there; a pipe does not hold us up."""
    change(key)
    async with asyncio.timeout(5):
        with pytest.raises(VaultFailed, match=found) as caught:
            await stopped(key.parent).secret(CREDENTIAL)

    assert str(key) in str(caught.value)
    assert "canary" not in str(caught.value)


@in_loop
async def test_a_file_that_every_user_can_read_is_used_and_told(key: Path) -> None:
    """Kubernetes mounts secrets so by default; the problem goes when the mode does."""
    time = [0.0]
    vault = FileVault({}, key.parent, monotonic=lambda: time[0])
    mode(key, 0o644)
    await vault.secret(CREDENTIAL)

    assert vault.problems() == (f"file {key}: found mode 644, which every user can read; expected 600 or 640",)

    mode(key, 0o600)
    time[0] = 1
    await vault.secret(CREDENTIAL)

    assert vault.problems() == ()


def by_rename(path: Path, value: bytes) -> None:
    draft = path.with_name("draft")
    draft.touch(mode=0o600)
    draft.write_bytes(value)
    draft.rename(path)


def by_link(path: Path, value: bytes) -> None:
    """As the kubelet does: a link to the folder of the day is turned."""
    folder = path.parent / f"..{value.decode()}"
    folder.mkdir()
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_bytes(value)
    (path.parent / "turned").symlink_to(folder / "key")
    (path.parent / "turned").rename(path)


@pytest.mark.parametrize("rotate", [Path.write_bytes, by_rename, by_link])
@in_loop
async def test_a_rotation_is_seen_within_a_second(key: Path, rotate: Callable[[Path, bytes], object]) -> None:
    """In place (of the same size too), by a rename, by a link; without a restart."""
    time = [0.0]
    vault = FileVault({}, key.parent, monotonic=lambda: time[0])
    await vault.secret(CREDENTIAL)
    for value in (KEY[::-1], b"another-canary-1", b"another-canary-2"):
        rotate(key, value)
        time[0] += 1

        assert (await vault.secret(CREDENTIAL)).value == value


@in_loop
async def test_many_calls_at_once_look_once(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none waits in the event loop."""
    looks = []
    real = vault_file._look
    monkeypatch.setattr(vault_file, "_look", lambda *args: looks.append(args) or real(*args))
    vault = stopped(key.parent)
    secrets = await asyncio.gather(*(vault.secret(CREDENTIAL) for _ in range(50)))

    assert {each.value for each in secrets} == {KEY}
    assert len(looks) == 1


@in_loop
async def test_variables_are_taken_out_of_the_environment_and_still_served(tmp_path: Path) -> None:
    """Children do not inherit them; others stay."""
    environ = {"OPENAI_API_KEY": KEY.decode(), "PATH": "/bin"}
    credential = Credential(environment="OPENAI_API_KEY")
    vault = FileVault(take_environment(environ, [credential, CREDENTIAL]), tmp_path)

    assert environ == {"PATH": "/bin"}
    assert (await vault.secret(credential)).value == KEY
    with pytest.raises(VaultFailed, match="environment MISSING: found no such variable"):
        await vault.secret(Credential(environment="MISSING"))
    assert "canary" not in repr(vault)
