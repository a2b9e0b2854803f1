"""Which OPA to run: found, and its version checked, before anything depends on it.

In this order: the one that the settings name, `REMIT_OPA_BIN`, `opa` on PATH, Remit's cache. One that was named but
cannot be used is an error; one that merely lies on PATH is passed over. See `opa_install` for building it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PINNED = (1, 22, 2)
"""The version that Remit is tested with and builds. Older ones carry known holes; 2.x may mean other semantics."""

ENVIRONMENT_VARIABLE = "REMIT_OPA_BIN"
_VERSION_LINE = re.compile(r"^Version: (\d+)\.(\d+)\.(\d+)(\S*)$", re.MULTILINE)
_TIMEOUT_SECONDS = 10.0


class OpaUnusable(Exception):
    """A file is not an OPA that may be used; the message says which and why."""


class OpaMissing(Exception):
    """No usable OPA was found; `tried` says where it was looked for and what was wrong there."""

    def __init__(self, tried: tuple[str, ...]) -> None:
        lines = "\n".join(f"  - {each}" for each in tried)
        super().__init__(f"no OPA {pinned_version()} or newer (below 2) was found; tried\n{lines}")
        self.tried = tried


@dataclass(frozen=True, slots=True)
class OpaBinary:
    """An OPA that may be run; `origin` says where it was found."""

    path: Path
    version: tuple[int, int, int]
    origin: str


def pinned_version() -> str:
    """The pinned version as text, e.g. 1.22.2."""
    return ".".join(map(str, PINNED))


def cache_path(environment: Mapping[str, str]) -> Path:
    """Where Remit keeps the OPA that it built."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".cache")
    return Path(base) / "remit" / f"opa-{pinned_version()}"


def find(environment: Mapping[str, str], configured: Path | None = None) -> OpaBinary:
    """The OPA to run. Raises OpaUnusable where one was named and is not fit, OpaMissing where none was found."""
    named = environment.get(ENVIRONMENT_VARIABLE)
    if configured is not None:
        return examine(configured, "the settings")
    if named:
        return examine(Path(named), ENVIRONMENT_VARIABLE)
    tried = ["the settings name none", f"{ENVIRONMENT_VARIABLE} is not set"]
    for origin, path in (("PATH", _on_path(environment)), ("Remit's cache", cache_path(environment))):
        if path is None or not path.exists():
            tried.append(f"{origin}: nothing at {path or 'opa'}")
            continue
        try:
            return examine(_trusted(path), origin)
        except OpaUnusable as e:
            tried.append(str(e))
    raise OpaMissing(tuple(tried))


def examine(path: Path, origin: str) -> OpaBinary:
    """The OPA at `path` if it is one of an accepted version; OpaUnusable otherwise. Runs it, without environment."""
    try:
        ran = subprocess.run(  # noqa: S603 - the path is the operator's own
            [str(path), "version"], env={}, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as e:
        raise OpaUnusable(f"{origin}: {path} could not be run ({e})") from e
    matched = _VERSION_LINE.search(ran.stdout)
    if ran.returncode or not matched:
        raise OpaUnusable(f"{origin}: {path} does not answer `version` as OPA does")
    version = (int(matched[1]), int(matched[2]), int(matched[3]))
    if matched[4] or not PINNED <= version < (2, 0, 0):
        found = ".".join(map(str, version)) + matched[4]
        raise OpaUnusable(f"{origin}: {path} is version {found}, expected {pinned_version()} or newer, below 2")
    return OpaBinary(path.absolute(), version, origin)


def _trusted(path: Path) -> Path:
    """The path, unless somebody else could have put the file there."""
    owner = path.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise OpaUnusable(f"{path} belongs to user {owner}, expected root or the user that Remit runs as")
    return path


def _on_path(environment: Mapping[str, str]) -> Path | None:
    found = shutil.which("opa", path=environment.get("PATH", ""))
    return Path(found) if found else None
