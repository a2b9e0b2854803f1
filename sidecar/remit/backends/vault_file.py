"""Credentials in files and environment variables.

A file is read again when its identity, size or time of change is another one than before, which is looked at twice a
second at most: a rotation is seen within a second, whether by a rename, by a symbolic link that is turned (Kubernetes)
or in place. A file that has gone or is unfit is not replaced by what it was before: that is how a credential is taken
back. While a writer has it half written it may be unfit for a moment; rename it into place instead.

Variables are taken out of the process's environment at the start (`take_environment`), so that the programs which the
sidecar starts do not inherit them. The kernel still shows them to the same user in /proc/PID/environ: prefer files.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.backends.mounted import alone_reads
from remit.core.catalogue import Credential
from remit.core.egress.echo import SHORTEST
from remit.ports import Secret, VaultFailed

MAX_SIZE = 16 * 1024
_FRESH = 0.5  # seconds during which a file is not looked at again
_EXPECTED = f"at least {SHORTEST} characters of printable ASCII on one line"


def take_environment(environ: MutableMapping[str, str], credentials: Iterable[Credential]) -> dict[str, str]:
    """The variables that credentials name, removed from `environ`; to be merged into what was taken before."""
    names = {each.environment for each in credentials if each.environment}
    return {name: environ.pop(name) for name in sorted(names) if name in environ}


@dataclass(frozen=True, slots=True)
class _Mark:
    """What tells whether a file is the one that was read: (device, inode, size, nanoseconds of its changes)."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Mark:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(slots=True)
class _Kept:
    mark: _Mark
    secret: Secret
    problem: str
    looked: float


class FileVault:
    """The Vault port on files and on variables that were taken from the environment.

    Relative paths are below `folder`. `monotonic` is in seconds.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._environment = environment
        self._folder = folder
        self._monotonic = monotonic
        self._kept: dict[Path, _Kept] = {}
        self._looking: dict[Path, asyncio.Lock] = {}
        self._handed: dict[str, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"FileVault({len(self._handed)} credentials in use)"

    async def secret(self, credential: Credential) -> Secret:
        """As the port says."""
        if credential.file:
            secret = await self._from_file(self._folder / credential.file)
        elif credential.environment:
            secret = self._from_environment(credential.environment)
        else:
            raise VaultFailed("the credential", found="neither file nor environment", expected="one of them")
        self._remember(secret)
        return secret

    def known(self) -> Sequence[bytes]:
        """As the port says."""
        return tuple(sorted({value for values in self._handed.values() for value in values}))

    def problems(self) -> Sequence[str]:
        """As the port says: files that others can read, or own."""
        return tuple(sorted(each.problem for each in self._kept.values() if each.problem))

    def _remember(self, secret: Secret) -> None:
        before = self._handed.get(secret.origin, ())
        if before[:1] != (secret.value,):
            self._handed[secret.origin] = (secret.value, *before[:1])

    def _from_environment(self, name: str) -> Secret:
        origin = f"environment {name}"
        if name not in self._environment:
            raise VaultFailed(origin, found="no such variable", expected="it to be set when the sidecar starts")
        # Undecodable bytes come as surrogates, which are not ASCII.
        return _checked(origin, self._environment[name].encode("utf-8", "surrogateescape"))

    async def _from_file(self, path: Path) -> Secret:
        """One look at a time, in a thread: a file may lie on a network, and the loop must not wait for it."""
        kept = self._kept.get(path)
        if kept and self._monotonic() - kept.looked < _FRESH:
            return kept.secret
        async with self._looking.setdefault(path, asyncio.Lock()):
            kept = self._kept.get(path)
            if kept and self._monotonic() - kept.looked < _FRESH:
                return kept.secret
            looked = self._monotonic()
            try:
                fresh = await asyncio.to_thread(_look, path, kept, looked)
            except VaultFailed:
                self._kept.pop(path, None)
                raise
            self._kept[path] = fresh
            return fresh.secret


def _look(path: Path, kept: _Kept | None, looked: float) -> _Kept:
    """The file as it is now; what is kept where it has not changed."""
    origin = f"file {path}"
    try:
        # A pipe without a writer must not hold us up, nor a terminal become ours.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise VaultFailed(origin, found=os.strerror(error.errno or 0), expected="a file that can be read") from error
    try:
        found = os.fstat(file)
        problem = _fit(path, origin, found)
        mark = _Mark.of(found)
        if kept and kept.mark == mark:
            return _Kept(mark, kept.secret, problem, looked)
        return _Kept(mark, _checked(origin, _read(file)), problem, looked)
    except OSError as error:
        raise VaultFailed(origin, found=os.strerror(error.errno or 0), expected="a file that can be read") from error
    finally:
        os.close(file)


def _fit(path: Path, origin: str, found: os.stat_result) -> str:
    """What is questionable about how the file is kept, or "". Raises VaultFailed where it cannot be trusted."""
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise VaultFailed(origin, found="no regular file", expected="a regular file")
    if found.st_size > MAX_SIZE:
        raise VaultFailed(origin, found=f"{found.st_size} bytes", expected=f"at most {MAX_SIZE}")
    if mode & 0o022:
        raise VaultFailed(origin, found=f"mode {mode:o}", expected="nobody but its owner to be able to write it")
    if found.st_uid not in (0, os.geteuid()):
        return f"{origin}: found owner {found.st_uid}, who can read and change it; expected the sidecar's user or root"
    if mode & 0o004 and not alone_reads(path, mode):
        return f"{origin}: found mode {mode:o}, which every user can read; expected 600 or 640"
    return ""


def _read(file: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size <= MAX_SIZE and (part := os.read(file, MAX_SIZE + 1 - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _checked(origin: str, text: bytes) -> Secret:
    if len(text) > MAX_SIZE:
        raise VaultFailed(origin, found=f"more than {MAX_SIZE} bytes", expected=f"at most {MAX_SIZE}")
    value = text.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) < SHORTEST:
        raise VaultFailed(origin, found=f"{len(value)} bytes", expected=_EXPECTED)
    strange = [index for index, byte in enumerate(value) if not 0x20 <= byte <= 0x7E]
    if strange:
        raise VaultFailed(origin, found=f"something else at byte {strange[0] + 1}", expected=_EXPECTED)
    if value != value.strip():
        raise VaultFailed(origin, found="spaces around it", expected=_EXPECTED)
    return Secret(value, origin)
