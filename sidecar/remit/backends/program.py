"""A program that Remit runs beside itself: found, and its version checked, before anything depends on it.

In this order: the one that the settings name, the one in its variable (`REMIT_…_BIN`), the one on PATH, Remit's cache.
One that was named but cannot be used is an error; one that merely lies on PATH is passed over.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, int, int]

_TIMEOUT_SECONDS = 10.0


class Unusable(Exception):
    """A file is not a program that may be used; the message says which and why."""


class Missing(Exception):
    """No usable program was found; `tried` says where it was looked for and what was wrong there."""

    def __init__(self, wanted: str, tried: tuple[str, ...]) -> None:
        lines = "\n".join(f"  - {each}" for each in tried)
        super().__init__(f"no {wanted} was found; tried\n{lines}")
        self.tried = tried


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that may be run; `origin` says where it was found."""

    path: Path
    version: Version
    origin: str


@dataclass(frozen=True, slots=True)
class Program:
    """What is looked for: `command` on PATH, of the pinned version or newer within its major version.

    `asking` makes it tell its version; `told` finds major, minor, patch and what follows them in the answer.
    """

    name: str
    command: str
    variable: str
    pinned: Version
    asking: str
    told: re.Pattern[str]
    unusable: type[Unusable]
    missing: type[Missing]

    @property
    def pinned_version(self) -> str:
        """The pinned version as text, e.g. 1.22.2."""
        return ".".join(map(str, self.pinned))

    def cache_path(self, environment: Mapping[str, str]) -> Path:
        """Where Remit keeps the one that it installed."""
        return cache_directory(environment) / f"{self.command}-{self.pinned_version}"

    def find(self, environment: Mapping[str, str], configured: Path | None = None) -> Binary:
        """The one to run. Raises `unusable` where one was named and is not fit, `missing` where none was found."""
        named = environment.get(self.variable)
        if configured is not None:
            return self.examine(configured, "the settings")
        if named:
            return self.examine(Path(named), self.variable)
        tried = ["the settings name none", f"{self.variable} is not set"]
        found = shutil.which(self.command, path=environment.get("PATH", ""))
        places = (("PATH", Path(found) if found else None), ("Remit's cache", self.cache_path(environment)))
        for origin, path in places:
            if path is None or not path.exists():
                tried.append(f"{origin}: nothing at {path or self.command}")
                continue
            try:
                return self.examine(self._trusted(path), origin)
            except self.unusable as e:
                tried.append(str(e))
        wanted = f"{self.name} {self.pinned_version} or newer (below {self.pinned[0] + 1})"
        raise self.missing(wanted, tuple(tried))

    def examine(self, path: Path, origin: str) -> Binary:
        """The one at `path` if its version is accepted; raises `unusable`. Runs it, without environment."""
        try:
            ran = subprocess.run(  # noqa: S603 - the path is the operator's own
                [str(path), self.asking], env={}, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as e:
            raise self.unusable(f"{origin}: {path} could not be run ({e})") from e
        matched = self.told.search(ran.stdout)
        if ran.returncode or not matched:
            raise self.unusable(f"{origin}: {path} does not answer `{self.asking}` as {self.name} does")
        version = (int(matched[1]), int(matched[2]), int(matched[3]))
        above = self.pinned[0] + 1
        if matched[4] or not self.pinned <= version < (above, 0, 0):
            found = ".".join(map(str, version)) + matched[4]
            expected = f"expected {self.pinned_version} or newer, below {above}"
            raise self.unusable(f"{origin}: {path} is version {found}, {expected}")
        return Binary(path.absolute(), version, origin)

    def _trusted(self, path: Path) -> Path:
        """The path, unless somebody else could have put the file there."""
        owner = path.stat().st_uid
        if owner not in (0, os.geteuid()):
            raise self.unusable(f"{path} belongs to user {owner}, expected root or the user that Remit runs as")
        return path


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where Remit keeps what it fetched and built."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "remit"
