"""What is done with a store over a connection of its own: joining the installation, migrating it, looking at it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from remit.backends.store_postgres.migrate import Migrated, check_version, migrate
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30

_VERSION = "SELECT CASE WHEN to_regclass('remit.migration') IS NOT NULL THEN 1 END"
_JOIN = "SELECT remit.join_installation(%s)"
_BUNDLE = "SELECT remit.accept_bundle(%s)"
# A writer holds the advisory lock (2, number) of its log for as long as it runs.
_MEMBERS = """
SELECT l.name, l.kind, l.revision, l.sequence,
       (SELECT j.time FROM remit.journal j WHERE j.log = l.name AND j.sequence = l.sequence),
       CASE WHEN l.lease > clock_timestamp() THEN extract(epoch FROM l.lease - clock_timestamp()) ELSE 0 END,
       EXISTS (SELECT FROM pg_locks k WHERE k.locktype = 'advisory' AND k.classid = 2 AND k.objid = l.number::oid
               AND k.objsubid = 2 AND k.granted AND k.database =
                   (SELECT oid FROM pg_database WHERE datname = current_database()))
FROM remit.log l ORDER BY l.created, l.name
"""


class NotReached(StoreUnavailable):
    """The database could not be reached: nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The installation's id, and the names of the shared keys that are not the ones it has."""

    id: str
    differing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberLog:
    """One writer's log: until when (seconds from now, 0 for not) it may decide by what it holds; times in ns."""

    name: str
    kind: str
    revision: str
    records: int
    last: int | None
    lease: float
    running: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A store: its schema, the installation's id ("" where no member has joined yet), and every writer's log."""

    version: int
    installation: str
    members: tuple[MemberLog, ...]


def join_installation(place: PostgresPlace, password: bytes, *, id: str, keys: Mapping[str, str]) -> Joined:
    """Become a member. `id` is the installation's where there is none yet; `keys` are fingerprints by name.

    Raises StoreUnavailable, also where the schema is not this Remit's.
    """
    with connected(place, password) as connection:
        check_version(_version(connection))
        (told,) = _one(connection, _JOIN, [Jsonb({"id": id, "time": time.time_ns(), "keys": dict(keys)})])
    return Joined(told["id"], tuple(told["differing"]))


def accept_bundle(place: PostgresPlace, password: bytes, *, serial: int, digest: str) -> tuple[int, str]:
    """Have the installation accept a bundle, unless it has a newer one; serial and digest of the one it has then.

    Raises StoreUnavailable.
    """
    with connected(place, password) as connection:
        (told,) = _one(connection, _BUNDLE, [Jsonb({"serial": serial, "digest": digest, "time": time.time_ns()})])
    return int(told["serial"]), str(told["digest"])


def migrate_store(place: PostgresPlace, password: bytes) -> Migrated:
    """Make the database a store, or bring it up to date, as the role that owns it. Raises StoreUnavailable."""
    with connected(place, password) as connection:
        return migrate(connection, time.time_ns())


def store_status(place: PostgresPlace, password: bytes) -> Status:
    """Who writes to the store, and how far. Raises StoreUnavailable."""
    with connected(place, password) as connection, connection.transaction():
        version = _version(connection)
        check_version(version)
        found = connection.execute("SELECT id FROM remit.installation").fetchone()
        rows = connection.execute(_MEMBERS).fetchall()
    members = tuple(
        MemberLog(name, kind, revision, int(sequence), last, float(lease), running)
        for name, kind, revision, sequence, last, lease, running in rows
    )
    return Status(version or 0, found[0] if found else "", members)


@contextmanager
def connected(place: PostgresPlace, password: bytes) -> Iterator[psycopg.Connection[Any]]:
    """A connection that commits by itself. Raises NotReached, and StoreUnavailable for what goes wrong on it."""
    try:
        connection = psycopg.connect(**_arguments(place, password))
    except psycopg.Error as error:
        raise NotReached(f"PostgreSQL at {told(place)} cannot be reached: {_first_line(error)}") from None
    try:
        yield connection
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL at {told(place)}: {_first_line(error)}") from error
    finally:
        connection.close()


def told(place: PostgresPlace) -> str:
    """Where it is, for people."""
    return f"{place.host}:{place.port}/{place.database}"


def _version(connection: psycopg.Connection[Any]) -> int | None:
    """The schema's version, None where there is none."""
    if _one(connection, _VERSION)[0] is None:
        return None
    return int(_one(connection, "SELECT coalesce(max(version), 0) FROM remit.migration")[0])


def _one(connection: psycopg.Connection[Any], query: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return tuple(row)


def _arguments(place: PostgresPlace, password: bytes) -> dict[str, Any]:
    """Nothing is left to libpq's environment variables and files."""
    arguments: dict[str, Any] = {
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": "remit",
        **place.settings,
        "host": place.host,
        "port": place.port,
        "user": place.user,
        "dbname": place.database,
        "options": f"-c statement_timeout={STATEMENT_SECONDS}s",
        "passfile": "/nonexistent/pgpass",
        "gssencmode": "disable",
        "autocommit": True,
    }
    if password:
        arguments["password"] = password.decode("utf-8", "surrogateescape")
    if place.settings.get("sslmode") == "disable" and not place.is_socket:
        arguments["require_auth"] = "!password"  # never in clear over a network
    return arguments


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
