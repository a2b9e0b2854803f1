"""What a command shows: answers on stdout, progress on stderr, nothing coloured where nobody watches."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from remit.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Told = Callable[[str, float], None]
"""Called with what is being done, and the share done (0 to 1; what is unknown stays 0)."""

_PIPED_WIDTH = 160
_ACTING = dict.fromkeys(b"\a\b\v\f\r")  # bell, backspace and the like: tables leave them out too


def show(*parts: RenderableType) -> None:
    """Print tables, trees and texts on stdout. A plain str is taken as it is: no markup, no emoji codes."""
    for part in parts:
        if isinstance(part, str):
            click.echo(part.translate(_ACTING))
        else:
            _console(stderr=False).print(part)


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
    bars = import_module("rich.progress")
    text = bars.TextColumn("{task.description}", markup=False)
    columns = (bars.SpinnerColumn(), text, bars.BarColumn(30), bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=_console(stderr=True), transient=True) as bar:
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
    # What draws tables takes memory and time to load: a sidecar in a pod draws none.
    console: type[Console] = import_module("rich.console").Console
    return console(file=stream, width=width, markup=False, highlight=False, emoji=False)
