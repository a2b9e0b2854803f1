"""What `remit opa` and `remit envoy` do alike."""

from __future__ import annotations

import os
from pathlib import Path

from remit.backends.program import Binary, Missing, Unusable
from remit.backends.program_install import Installation, InstallFailed
from remit.cli.failure import Failure, Unreachable
from remit.cli.screen import Told, emit, progress, show


def ready(installation: Installation, configured: Path | None, tell: Told) -> Binary:
    """The program to run, installed where none is found. Raises Failure, Unreachable."""
    try:
        return installation.obtain(os.environ, configured, tell)
    except Unusable as error:
        raise Failure(str(error)) from error
    except InstallFailed as error:
        raise Unreachable(*str(error).splitlines()) from error


def installed(installation: Installation, *, force: bool, as_json: bool) -> None:
    """Find or install the program (with `force` install it anew), and tell where it is."""
    with progress(f"looking for {installation.program.name}") as tell:
        found = _renewed(installation, tell) if force else ready(installation, None, tell)
    _tell(installation, found, as_json=as_json)


def located(installation: Installation, configured: Path | None, *, as_json: bool) -> None:
    """Tell where the program is that would be run. Raises Failure where there is none."""
    program = installation.program
    try:
        found = program.find(os.environ, configured)
    except (Missing, Unusable) as error:
        advice = f"{error}; {installation.doing} it: `remit {program.command} install`"
        raise Failure(*advice.splitlines()) from error
    if as_json:
        _tell(installation, found, as_json=True)
    else:
        show(str(found.path))


def _renewed(installation: Installation, tell: Told) -> Binary:
    target = installation.program.cache_path(os.environ)
    kept = target.with_name(f"{target.name}.old")
    try:
        if target.exists():
            target.replace(kept)
        made = installation.install(os.environ, tell)
        kept.unlink(missing_ok=True)
        return made
    except InstallFailed as error:
        if kept.exists():
            kept.replace(target)
        raise Unreachable(*str(error).splitlines()) from error
    except OSError as error:
        raise Failure(f"{target}: {error.strerror}; expected a directory that can be written to") from error


def _tell(installation: Installation, found: Binary, *, as_json: bool) -> None:
    version = ".".join(map(str, found.version))
    pinned = installation.program.pinned_version
    if as_json:
        emit({"path": str(found.path), "version": version, "origin": found.origin, "pinned": pinned})
    else:
        show(f"{installation.program.name} {version} at {found.path} ({found.origin})")
