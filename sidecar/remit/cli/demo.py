"""`remit demo`: the product at work."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click

from remit.cli.failure import Failure

NEEDED = ("openai", "httpx2")


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
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise Failure(
            f"found no package {missing[0]}, which the demo's agents call their model with;"
            " expected: pip install 'remit[server,demo]'"
        )
    raise click.exceptions.Exit(import_module("remit.demo.main").run(keep=keep, state=state))
