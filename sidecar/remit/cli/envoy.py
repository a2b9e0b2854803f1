"""`remit envoy`: the Envoy that Remit runs."""

from __future__ import annotations

from pathlib import Path

import click

from remit.backends.envoy_install import INSTALLATION
from remit.backends.program import Binary
from remit.cli import programs
from remit.cli.local import find_settings
from remit.cli.screen import Told


@click.group("envoy")
def command() -> None:
    """Find or install the Envoy that Remit runs."""


@command.command("install")
@click.option("--force", is_flag=True, help="Install it anew, whatever is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install_envoy(force: bool, as_json: bool) -> None:
    """Install the pinned Envoy into Remit's cache, unless a fit one is found.

    Example: remit envoy install
    """
    programs.installed(INSTALLATION, force=force, as_json=as_json)


@command.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def path(as_json: bool) -> None:
    """Print where the Envoy is that Remit would run; installs nothing.

    Example: remit envoy path
    """
    programs.located(INSTALLATION, find_settings(None).egress.binary, as_json=as_json)


def ready(configured: Path | None, tell: Told) -> Binary:
    """The Envoy to run, installed where none is found. Raises Failure, Unreachable."""
    return programs.ready(INSTALLATION, configured, tell)
