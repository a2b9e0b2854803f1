"""A PostgreSQL server: how it is reached, and what it must be like before a log is written on it.

Only one that keeps what it has committed (fsync, full_page_writes, synchronous_commit), that is the primary, and to
which the connection is our own: a pooler that hands the server's connections round would let go of the log's lock, and
keeps no setting. And only as a role that can do no more than a member should.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from remit.backends.database_postgres.connection import Connection
from remit.backends.store_postgres.migrate import SERVER_VERSION, check_version, latest
from remit.backends.store_postgres.wire import ask
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable
from remit.ports import DatabaseFailed

CONNECT_SECONDS = 4
"""Until a connection is made and set up, unless the URL says otherwise."""

SERVER_SECONDS = 4
"""How long the server works on a call, or waits for a lock in it, before it gives up."""

DEAD_SECONDS = 9
"""After about so long a server lets go of a connection whose other end is gone without a word."""

Password = Callable[[], Awaitable[bytes]]
"""The password as it is now, b"" where there is none. Raises DatabaseFailed."""

_SETTINGS: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "client_min_messages": "warning",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "row_security": "on",
    "jit": "off",
    "statement_timeout": str(SERVER_SECONDS * 1000),
    "lock_timeout": str(SERVER_SECONDS * 1000 - 500),
    "idle_in_transaction_session_timeout": str(SERVER_SECONDS * 1000),
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": str(DEAD_SECONDS * 1000),
}
_SET = b"SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) s(name, value)"
# Never weaker than `on`; `remote_apply` is stronger.
_DURABLE = b"""SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)"""
_LOOK = b"""
SELECT current_setting('server_version_num'), current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('synchronous_commit'), pg_is_in_recovery(), current_setting('transaction_read_only'),
       pg_backend_pid(), r.rolsuper, n.oid IS NOT NULL, pg_has_role(n.nspowner, 'MEMBER'),
       has_schema_privilege(n.oid, 'USAGE')
FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = 'remit' WHERE r.rolname = current_user
"""
_VERSION = b"SELECT max(version) FROM remit.migration"
POOLED = (
    "a connection pooler stands between Remit and PostgreSQL, and the log's lock does not hold through it: "
    "name the server itself"
)


class Lost(StoreUnavailable):
    """The log cannot be written by this process any more, whatever is tried."""


@dataclass(frozen=True, slots=True)
class Server:
    """How a database is reached: libpq's settings (host, port, user, dbname, sslmode, …), and the password beside them.

    Nothing else is taken from libpq's environment variables and files.
    """

    settings: Mapping[str, str]
    password: Password
    where: str

    @staticmethod
    def of(place: PostgresPlace, password: Password) -> Server:
        """The database that a URL names."""
        named = {"host": place.host, "port": str(place.port), "user": place.user, "dbname": place.database}
        return Server({**place.settings, **named}, password, f"{place.host}:{place.port}/{place.database}")

    async def connect(self, name: str) -> Connection:
        """A connection to a server that can be written to; whoever calls bounds the time. Raises StoreUnavailable."""
        try:
            password = await self.password()
        except DatabaseFailed as error:
            raise StoreUnavailable(f"{self.where}: no password: {error.detail or error}") from error
        arguments: dict[str, Any] = {
            "connect_timeout": str(CONNECT_SECONDS),
            "keepalives_idle": "3",
            "keepalives_interval": "2",
            "keepalives_count": "3",
            "tcp_user_timeout": str(DEAD_SECONDS * 1000),
            **self.settings,
            "application_name": name,
            "target_session_attrs": "read-write",  # of several servers behind one name, the one that is the primary
            "options": "",
            "passfile": "/nonexistent/pgpass",
            "gssencmode": "disable",
        }
        if password:
            try:
                arguments["password"] = password.decode()
            except UnicodeDecodeError:
                raise StoreUnavailable(f"{self.where}: the password is not UTF-8") from None
        if self.settings.get("sslmode") == "disable" and not self.settings.get("host", "").startswith("/"):
            arguments["require_auth"] = "!password"  # never in clear over a network
        return await AsyncConnection.connect(**arguments, autocommit=True, prepare_threshold=None)

    @property
    def connect_seconds(self) -> float:
        """How long making a connection may take."""
        return float(self.settings.get("connect_timeout", CONNECT_SECONDS))


async def set_up(connection: Connection, where: str, *, careless: bool) -> int:
    """Set a connection up and look at what it leads to; the backend's process id.

    `careless` takes a server that may lose what it has committed. Raises StoreUnavailable, Lost, Rejected, Unknown.
    """
    names, values = (("{" + ",".join(f'"{each}"' for each in side) + "}").encode() for side in _columns(_SETTINGS))
    await ask(connection, _SET, names, values)
    await ask(connection, _DURABLE)
    (look,) = await ask(connection, _LOOK)
    _check(connection, where, [(each or b"").decode() for each in look], careless)
    ((version,),) = await ask(connection, _VERSION)
    try:
        check_version(int(version or 0))
    except StoreUnavailable as error:
        if int(version or 0) > latest():
            raise Lost(error.detail) from None
        raise
    return connection.pgconn.backend_pid


def _check(connection: Connection, where: str, look: Sequence[str], careless: bool) -> None:
    version, fsync, pages, synchronous, standby, read_only, pid, is_super, is_store, is_owner, is_member = look
    user = connection.info.user
    if int(version) < SERVER_VERSION:
        raise StoreUnavailable(f"PostgreSQL {int(version) // 10000} is too old: 14 or later is needed")
    if standby == "t" or read_only != "off":
        raise StoreUnavailable(f"{where} is a standby, or only lets read: name the primary")
    if int(pid) != connection.pgconn.backend_pid:
        raise StoreUnavailable(POOLED)
    if synchronous not in ("on", "remote_apply"):
        raise StoreUnavailable("the server does not let synchronous_commit be on")
    for name, value in (("fsync", fsync), ("full_page_writes", pages)):
        if value != "on" and not careless:
            raise StoreUnavailable(f"{name} is {value} on the server, which may lose what was committed: turn it on")
    if is_store != "t":
        check_version(None)
    if is_super == "t" or is_owner == "t":
        why = "it is a superuser" if is_super == "t" else "it owns the store"
        raise StoreUnavailable(
            f"the role {user} could rewrite the journal, because {why}: "
            "use one that was granted no more than remit_sidecar or remit_desk"
        )
    if is_member != "t":
        raise StoreUnavailable(f"the role {user} is no member of the store: GRANT remit_sidecar TO {user}")


def _columns(settings: Mapping[str, str]) -> tuple[Sequence[str], Sequence[str]]:
    return tuple(settings), tuple(settings.values())
