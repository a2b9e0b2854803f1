"""`remit demo`: the product at work."""

from __future__ import annotations

from pathlib import Path

import click

from remit.demo.main import run


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave it running afterwards, and show its addresses.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".remit/demo"),
    show_default=True,
    help="Where it keeps what it makes.",
)
def command(keep: bool, state: Path) -> None:
    """Run three agents that on-board customers: first without Remit, then with it.

    Exit code 0 only if everything happened that it shows.

    Example: remit demo --keep
    """
    raise click.exceptions.Exit(run(keep=keep, state=state))
