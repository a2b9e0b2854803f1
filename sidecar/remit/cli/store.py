"""`remit store`: the PostgreSQL that the members of an installation share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.table import Table

from remit.backends.store_postgres.administration import MemberLog, NotReached, Status, migrate_store, store_status
from remit.cli.failure import Failure, Unreachable
from remit.cli.local import find_settings
from remit.cli.screen import emit, progress, show
from remit.cli.text import clean
from remit.core.database_url import PostgresPlace, UrlRefused, parse_url
from remit.core.errors import StoreUnavailable

T = TypeVar("T")

FILE = click.Path(dir_okay=False, path_type=Path)
_ADDRESS = click.option("--url", metavar="URL", help="postgresql://user@host/database [REMIT_STORE_URL].")
_PASSWORD = click.option("--password-file", type=FILE, help="A file with its password [REMIT_STORE_PASSWORD_FILE].")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("store")
def command() -> None:
    """Migrate the store that members share, and see who writes to it."""


@command.command("migrate")
@_ADDRESS
@_PASSWORD
@_JSON
def migrate(url: str | None, password_file: Path | None, as_json: bool) -> None:
    """Make a database a store, or bring it up to date, as the role that owns it; all of it or nothing.

    Members' roles are granted remit_sidecar or remit_desk: they may append and spend, and rewrite nothing.

    Example: remit store migrate --url postgresql://installer@db.example.com/remit --password-file installer.password
    """
    place, password = find_place(url, password_file)
    with progress("migrating the store"):
        done = _told(lambda: migrate_store(place, password))
    if as_json:
        emit({"before": done.before, "version": done.now})
    elif done.before == done.now:
        show(f"the schema is version {done.now} already; its functions and grants were made anew")
    else:
        show(f"the schema was {f'version {done.before}' if done.before else 'not there'}, and is version {done.now}")
        show("next: GRANT remit_sidecar TO the role of the sidecars; GRANT remit_desk TO that of the desk")


@command.command("status")
@_ADDRESS
@_PASSWORD
@_JSON
def status(url: str | None, password_file: Path | None, as_json: bool) -> None:
    """Show the schema's version, and of every member its log, whether it runs, and how far it has recorded.

    Example: remit store status --url postgresql://desk@db.example.com/remit --password-file desk.password
    """
    place, password = find_place(url, password_file)
    with progress("looking at the store"):
        found = _told(lambda: store_status(place, password))
    emit(_document(found)) if as_json else _show(found)


def find_place(url: str | None, password_file: Path | None) -> tuple[PostgresPlace, bytes]:
    """Which database, and its password (b"" for none): options, else the settings. Raises Failure."""
    if url is None:
        settings = find_settings(None).store
        if not settings.shared:
            raise Failure("which store: expected --url, REMIT_STORE_URL or `store.url` in the settings")
        url, password_file = settings.url, password_file or settings.password_file
    elif password_file is None and (named := os.environ.get("REMIT_STORE_PASSWORD_FILE")):
        password_file = Path(named)
    try:
        place = parse_url(url)
    except UrlRefused as error:
        raise Failure(f"--url: {error}" if error.found != "a password" else _NO_PASSWORD) from error
    if not isinstance(place, PostgresPlace):
        raise Failure("--url: found the URL of another database; expected postgresql://user@host:port/database")
    return place, _password(password_file) if password_file else b""


_NO_PASSWORD = "--url: found a password; expected none in it: --password-file says where it is"  # noqa: S105


def _password(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; expected the file of the database's password") from error


def _told(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except NotReached as error:
        raise Unreachable(error.detail) from error
    except StoreUnavailable as error:
        raise Failure(error.detail) from error


def _document(found: Status) -> dict[str, Any]:
    return {
        "version": found.version,
        "installation": found.installation,
        "members": [
            {
                "log": each.name,
                "kind": each.kind,
                "running": each.running,
                "lease_seconds": round(each.lease, 3),
                "revision": each.revision,
                "records": each.records,
                "last_ns": each.last,
            }
            for each in found.members
        ],
    }


def _show(found: Status) -> None:
    named = f"installation {clean(found.installation)}" if found.installation else "no member has joined yet"
    show(f"schema version {found.version}; {named}")
    if not found.members:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("log", "kind", "running", "lease", "revision"):
        table.add_column(name, no_wrap=True)
    table.add_column("records", justify="right")
    table.add_column("last record", no_wrap=True)
    for each in found.members:
        table.add_row(*_cells(each))
    show(table)


def _cells(member: MemberLog) -> tuple[str, ...]:
    last = "" if member.last is None else datetime.fromtimestamp(member.last // 10**9, UTC).isoformat(" ", "seconds")
    return (
        clean(member.name),
        clean(member.kind),
        "yes" if member.running else "no",
        f"{member.lease:.1f} s" if member.lease else "",
        clean(member.revision[:12]),
        str(member.records),
        last,
    )
