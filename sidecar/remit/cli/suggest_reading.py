"""What was observed, read from the journal: a state directory's, or that of all members in PostgreSQL."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from remit.backends.store_postgres.administration import NotReached, connected
from remit.backends.store_postgres.journal_logs import open_logs
from remit.backends.store_sqlite import open_journal
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import DATABASE, find_settings
from remit.cli.screen import Told
from remit.cli.store import find_place
from remit.core.errors import StoreUnavailable
from remit.core.journal import JournalRow
from remit.core.money import NANOS
from remit.core.records import from_row
from remit.core.suggestion.observed import MAX_DECISIONS, Observed

R = TypeVar("R")

SINCE = "24h"
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = 1000
_KINDS = frozenset({"decision", "report", "lapse", "write", "refused.identity"})
_FILE = click.Path(dir_okay=False, path_type=Path)


def journal_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options that say which journal to read, and how far back."""

    @click.option("--since", default=SINCE, show_default=True, metavar="DURATION", help="How far back: 30m, 24h, 7d.")
    @click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory [REMIT_STATE].")
    @click.option("--store-url", metavar="URL", help="Read the PostgreSQL that members share instead.")
    @click.option("--store-password-file", type=_FILE, help="Its password [REMIT_STORE_PASSWORD_FILE].")
    @wraps(command)
    def collected(*args: Any, **options: Any) -> R:
        return command(*args, **options)

    return collected


def observed(
    told: Told,
    *,
    since: str,
    state: Path | None,
    store_url: str | None,
    store_password_file: Path | None,
    agent: str = "",
    most: int = MAX_DECISIONS,
) -> Observed:
    """Read it. Raises Failure for what is asked wrongly, Unreachable where there is no journal."""
    found = Observed(time.time_ns() - seconds(since) * NANOS, agent, most)
    settings = find_settings(state)
    try:
        if store_url or (state is None and settings.store.shared):
            _shared(found, told, store_url, store_password_file)
        else:
            _local(found, told, settings.state)
    except StoreUnavailable as error:
        raise Unreachable(error.detail) from error
    except NotReached as error:
        raise Unreachable(error.detail) from error
    return found


def seconds(duration: str) -> int:
    """Such as 24h. Raises Failure."""
    matched = _DURATION.fullmatch(duration)
    if matched is None:
        raise Failure(f"--since: found {duration[:40]!r}; expected a duration such as 30m, 24h or 7d")
    return int(matched[1]) * _SECONDS[matched[2]]


def _local(found: Observed, told: Told, state: Path) -> None:
    path = state / DATABASE
    if not path.is_file():
        raise Unreachable(
            f"{path}: there is no journal here; name the state directory with --state or REMIT_STATE, "
            "or with --store-url the PostgreSQL that members share"
        )
    with open_journal(path) as journal:
        _read(found, journal.rows(), told, _KINDS)


def _shared(found: Observed, told: Told, url: str | None, password_file: Path | None) -> None:
    """Twice: what one log says of another's decision may stand before it."""
    place, password = find_place(url, password_file)
    with connected(place, password) as connection, open_logs(connection) as journal:
        for kinds in ({"decision"}, _KINDS - {"decision"}):
            for log in journal.logs:
                _read(found, journal.rows(log.name), told, kinds)


def _read(found: Observed, rows: Iterator[JournalRow], told: Told, kinds: frozenset[str] | set[str]) -> None:
    for count, row in enumerate(rows, 1):
        if row.record.kind in kinds:
            found.add(from_row(row))
        if count % _EVERY == 0:
            told(f"reading the journal: {count} records", 0.0)
