"""`remit opa`: the Open Policy Agent that Remit runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from remit.backends.opa_binary import OpaBinary, OpaMissing, OpaUnusable, cache_path, find, pinned_version
from remit.backends.opa_install import InstallFailed, install, obtain
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import find_settings
from remit.cli.screen import Told, emit, progress, show


@click.group("opa")
def command() -> None:
    """Find or build the Open Policy Agent that Remit runs."""


@command.command("install")
@click.option("--force", is_flag=True, help="Build it anew, whatever is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install_opa(force: bool, as_json: bool) -> None:
    """Build the pinned OPA into Remit's cache, unless a fit one is found. Takes some minutes with Go.

    Example: remit opa install
    """
    with progress("looking for OPA") as tell:
        found = _built(tell) if force else ready(None, tell)
    _tell(found, as_json=as_json)


@command.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def path(as_json: bool) -> None:
    """Print where the OPA is that Remit would run; builds nothing.

    Example: remit opa path
    """
    try:
        found = find(os.environ, find_settings(None).opa.binary)
    except (OpaMissing, OpaUnusable) as error:
        raise Failure(*f"{error}; build it with `remit opa install`".splitlines()) from error
    if as_json:
        _tell(found, as_json=True)
    else:
        show(str(found.path))


def ready(configured: Path | None, tell: Told) -> OpaBinary:
    """The OPA to run, built where none is found. Raises Failure, Unreachable."""
    try:
        return obtain(os.environ, configured, tell)
    except OpaUnusable as error:
        raise Failure(str(error)) from error
    except InstallFailed as error:
        raise Unreachable(*str(error).splitlines()) from error


def _built(tell: Told) -> OpaBinary:
    target = cache_path(os.environ)
    kept = target.with_suffix(".old")
    try:
        if target.exists():
            target.replace(kept)
        built = install(os.environ, tell)
        kept.unlink(missing_ok=True)
        return built
    except InstallFailed as error:
        if kept.exists():
            kept.replace(target)
        raise Unreachable(*str(error).splitlines()) from error
    except OSError as error:
        raise Failure(f"{target}: {error.strerror}; expected a directory that can be written to") from error


def _tell(found: OpaBinary, *, as_json: bool) -> None:
    version = ".".join(map(str, found.version))
    if as_json:
        emit({"path": str(found.path), "version": version, "origin": found.origin, "pinned": pinned_version()})
    else:
        show(f"OPA {version} at {found.path} ({found.origin})")
