"""Putting a program into Remit's cache: one at a time, whole or not at all."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from remit.backends.program import Binary, Program

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share done (0 to 1)."""

Make = Callable[[Path, Mapping[str, str], Progress], Path]
"""Makes the program in a directory of its own, which goes away afterwards; gives its path there."""

_TIMEOUT_SECONDS = 1800.0


class InstallFailed(Exception):
    """The program could not be installed, or what came out is not what is pinned; the message says why."""


@dataclass(frozen=True, slots=True)
class Installation:
    """How a program is installed; `doing` names that, e.g. building."""

    program: Program
    doing: str
    make: Make

    def obtain(self, environment: Mapping[str, str], configured: Path | None, progress: Progress) -> Binary:
        """The one to run, installed first where none is found. Raises the program's `unusable`, or InstallFailed."""
        try:
            return self.program.find(environment, configured)
        except self.program.missing as missing:
            try:
                return self.install(environment, progress)
            except InstallFailed as e:
                raise InstallFailed(f"{missing}\n  - {self.doing} it: {e}") from e

    def install(self, environment: Mapping[str, str], progress: Progress) -> Binary:
        """Put the pinned one into the cache, unless it is there by then. Raises InstallFailed."""
        target = self.program.cache_path(environment)
        try:
            self._install(target, environment, progress)
        except OSError as e:
            where = f"{e.filename or target}: {e.strerror or e}"
            raise InstallFailed(f"{where}; XDG_CACHE_HOME may name a directory that can be written to") from e
        return self.program.examine(target, "Remit's cache")

    def _install(self, target: Path, environment: Mapping[str, str], progress: Progress) -> None:
        prefix = f"{self.program.command}-build-"
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone(target.with_name(f"{target.name}.lock"), progress):
            if target.exists():
                return
            for abandoned in target.parent.glob(f"{prefix}*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as workplace:
                made = self.make(Path(workplace), environment, progress)
                made.replace(target)
        progress(f"{self.program.name} {self.program.pinned_version} is at {target}", 1.0)

    @contextmanager
    def _alone(self, lock: Path, progress: Progress) -> Iterator[None]:
        """Hold the lock: two at once would only be slower, and the second finds the first one's work."""
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(f"waiting for another process that is {self.doing} {self.program.name}", 0.0)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def pip_install(requirements: str, target: Path, environment: Mapping[str, str]) -> None:
    """Install the wheels pinned in a file of this package into a directory. Raises InstallFailed."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    with resources.as_file(resources.files("remit.backends").joinpath(requirements)) as pinned:
        run([*pip, "--only-binary", ":all:", "--target", str(target), "-r", str(pinned)], environment)


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """What a command prints. Raises InstallFailed with its last words."""
    try:
        ran = subprocess.run(  # noqa: S603 - fixed commands of this package
            command, env=dict(environment), capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise InstallFailed(f"{command[0]} could not be run ({e})") from e
    if ran.returncode:
        raise InstallFailed(f"`{' '.join(command[:4])} …` failed: {ran.stderr.strip()[-400:]}")
    return ran.stdout
