"""Connections to PostgreSQL: each is set up, and looked at, before anything of an agent's runs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.generators import fetch
from psycopg.pq import TransactionStatus
from psycopg.waiting import wait_async

from remit.backends.database_postgres.failure import failed
from remit.backends.database_postgres.types import ADAPTERS
from remit.core.database_url import PostgresPlace
from remit.ports import DatabaseFailed, Failure

CONNECT_SECONDS = 5

_LOOK_SECONDS = 0.1  # at the latest, should the loop have missed that the socket can be read

Password = Callable[[], Awaitable[bytes]]
"""The password as it is now, b"" where there is none. Raises DatabaseFailed."""

_SETTINGS: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "row_security": "on",
    "transform_null_equals": "off",
    "client_min_messages": "error",
    "jit": "off",
}
_READING = {"default_transaction_read_only": "on", "default_transaction_isolation": "read committed"}
_WRITING = {
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "search_path": "pg_catalog, public, pg_temp",  # what the catalogue's owner wrote may leave `public.` out
}
# Those of them that the server reports with each change: a statement that changed one is found out.
_REPORTED = (
    "client_encoding",
    "standard_conforming_strings",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "default_transaction_read_only",
)
_SET = "SELECT pg_catalog.set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) s(name, value)"
# Never weaker than the server's own default.
_DURABLE = (
    "SELECT pg_catalog.set_config('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)"
)
_LOOK = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY($1::text[])"
# What a role may not be, itself or through another that it is a member of.
_RIGHTS = """
SELECT DISTINCT CASE
  WHEN r.rolsuper THEN 'superuser'
  WHEN r.rolbypassrls THEN 'BYPASSRLS'
  WHEN r.rolcreaterole THEN 'CREATEROLE'
  WHEN r.rolcreatedb THEN 'CREATEDB'
  WHEN r.rolreplication THEN 'REPLICATION'
  ELSE r.rolname::text END
FROM pg_catalog.pg_roles r
WHERE pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER')
  AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolname IN (
    'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_write_all_data',
    'pg_signal_backend', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_monitor',
    'pg_create_subscription', 'pg_maintain', 'pg_checkpoint'))
"""


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection is for: reading, or writing, at most `seconds` a statement."""

    place: PostgresPlace
    password: Password
    seconds: int
    writes: bool = False

    @property
    def settings(self) -> Mapping[str, str]:
        """All that is set, in PostgreSQL's base units."""
        milliseconds = str(self.seconds * 1000)
        return {
            **_SETTINGS,
            **(_WRITING if self.writes else _READING),
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": str(self.seconds * 2000),
        }


Connection = AsyncConnection[Any]


async def connect(session: Session) -> Connection:
    """A connection that is set up, of a role that can do no more than it should. Raises DatabaseFailed."""
    password = await session.password()
    try:
        async with asyncio.timeout(int(session.place.settings.get("connect_timeout", CONNECT_SECONDS)) + 1):
            connection = await AsyncConnection.connect(**_arguments(session.place, password))
            try:
                await _set_up(connection, session)
            except BaseException:
                await connection.close()
                raise
    except TimeoutError:
        raise DatabaseFailed(Failure.UNAVAILABLE, "it did not take a connection in time") from None
    except psycopg.Error as error:
        raise failed(error) from None
    return connection


async def waited(connection: Connection, steps: Generator[Any, Any, Any]) -> Any:
    """What a generator of psycopg's gives. Cancelled, it is over at once, and whoever has the connection ends what runs
    on it: psycopg's own `wait` asks the server to stop, waits for seconds, and then closes the connection, by which
    nobody knows any more that the server is still busy."""
    return await wait_async(steps, connection.pgconn.socket, interval=_LOOK_SECONDS)


async def drained(connection: Connection) -> None:
    """Read and drop what still comes of a statement."""

    def steps() -> Generator[Any, Any, Any]:
        while (yield from fetch(connection.pgconn)) is not None:
            pass

    await waited(connection, steps())


def is_unchanged(connection: Connection, *, writes: bool) -> bool:
    """Whether a connection is still as it was set up, as far as the server reports it, and idle."""
    if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    expected = {**_SETTINGS, **(_WRITING if writes else _READING)}
    status = connection.pgconn.parameter_status
    for name in _REPORTED:
        found = status(name.encode())
        # Before version 14 the server does not report whether it only reads.
        if found is not None and found.decode() != expected[name]:
            return False
    return True


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
        "options": "",
        "passfile": "/nonexistent/pgpass",
        "gssencmode": "disable",
        "autocommit": True,
        "prepare_threshold": None,
        "context": ADAPTERS,
    }
    if password:
        arguments["password"] = password.decode("ascii")
    if place.settings.get("sslmode") == "disable" and not place.is_socket:
        arguments["require_auth"] = "!password"  # never in clear over a network
    return arguments


async def _set_up(connection: Connection, session: Session) -> None:
    settings = session.settings
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(_SET.encode(), (list(settings), list(settings.values())))
    if session.writes:
        await cursor.execute(_DURABLE.encode())
    await cursor.execute(_LOOK.encode(), (list(settings),))
    found = dict(await cursor.fetchall())
    wrong = sorted(name for name, value in settings.items() if found.get(name) != value)
    if wrong:
        raise DatabaseFailed(Failure.NOT_FIT, f"it does not let be set: {', '.join(wrong)}")
    await cursor.execute(_RIGHTS.encode())
    rights = sorted(row[0] for row in await cursor.fetchall())
    if rights:
        raise DatabaseFailed(
            Failure.NOT_FIT,
            f"the role {session.place.user} can do more than it should: {', '.join(rights)}; use one that cannot",
        )
