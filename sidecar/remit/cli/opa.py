"""`remit opa`: the Open Policy Agent that Remit runs."""

from __future__ import annotations

from pathlib import Path

import click

from remit.backends.opa_install import INSTALLATION
from remit.backends.program import Binary
from remit.cli import programs
from remit.cli.local import find_settings
from remit.cli.screen import Told


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
    programs.installed(INSTALLATION, force=force, as_json=as_json)


@command.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def path(as_json: bool) -> None:
    """Print where the OPA is that Remit would run; builds nothing.

    Example: remit opa path
    """
    programs.located(INSTALLATION, find_settings(None).opa.binary, as_json=as_json)


def ready(configured: Path | None, tell: Told) -> Binary:
    """The OPA to run, built where none is found. Raises Failure, Unreachable."""
    return programs.ready(INSTALLATION, configured, tell)
