"""A command that fails in ways that a good one does not."""

from __future__ import annotations

import click


@click.command("broken")
@click.option("--interrupted", is_flag=True)
def command(interrupted: bool) -> None:
    """Break."""
    if interrupted:
        raise KeyboardInterrupt
    raise ZeroDivisionError("a\nb\x1b")
