"""What a command shows: answers on stdout, progress on stderr, nothing coloured where nobody watches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from remit.cli.text import clean

Told = Callable[[str, float], None]
"""Called with what is being done, and the share done (0 to 1; what is unknown stays 0)."""

_PIPED_WIDTH = 160


def show(*parts: RenderableType) -> None:
    """Print tables, trees and texts on stdout. A plain str is taken as it is: no markup, no emoji codes."""
    console = _console(stderr=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))


def note(text: str) -> None:
    """A remark for people, on stderr: an answer in a pipe stays clean."""
    click.echo(clean(text), err=True)


def emit(document: Any) -> None:
    """Print JSON on stdout. ASCII alone, so that no text in it can act on a terminal."""
    click.echo(json.dumps(document, indent=2))


def emit_line(document: Any) -> None:
    """Print JSON on one line of stdout, at once: somebody waits for it."""
    click.echo(json.dumps(document))
    sys.stdout.flush()


@contextmanager
def progress(title: str) -> Iterator[Told]:
    """Show on stderr that something is being done, unless that is piped. Yields how to tell more."""
    if not sys.stderr.isatty():
        yield _silent
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(30), TimeElapsedColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def tell(what: str, share: float) -> None:
            # A total appears with the first share, so that the bar pulses until something is known.
            bar.update(task, description=clean(what)[:80], total=1.0 if share else None, completed=share)

        yield tell


def _silent(what: str, share: float) -> None:
    pass


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Where nobody watches, lines are not broken at the width of a terminal that is not there.
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)
