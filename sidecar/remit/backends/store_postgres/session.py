"""The connection that writes one log: it holds the log's advisory lock for as long as it lasts.

    session = Session(server, log="pod-1", kind="sidecar", key=public, now=clock.now)
    state = await session.open()                    # connects, registers the log on first use, takes its lock
    answer = await session.call("commit", {...})    # SELECT remit.commit($1::jsonb): one statement, one transaction

A call ends in one of four ways, and each says what is known of its transaction:

    it returns              it is committed, and durable as far as the server's settings go
    Rejected                the server refused it: nothing of it happened
    StoreUnavailable        it was never sent: nothing of it happened; it may be better the next time
    Unknown                 the connection broke, or there was no answer in time: it may have happened or not

After Unknown the next call connects anew and takes the lock again. A backend that an older connection of this session
has left behind on the server is ended first, so that nothing of it can still happen once the lock is taken: what is not
there then never will be. `Lost` is a StoreUnavailable that does not pass: somebody else writes the log, or its key or
the schema is another.

Only a connection of our own will do: a pooler that hands the server's connections round would let go of the lock, and
keeps no setting. And only a server that keeps what it has committed: fsync, full_page_writes, synchronous_commit.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from remit.backends.database_postgres.connection import Connection, waited
from remit.backends.store_postgres.migrate import SERVER_VERSION, check_version, latest
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable
from remit.ports import DatabaseFailed

CONNECT_SECONDS = 4
"""Until a connection is made and set up, unless the URL says otherwise."""

LOCK_SECONDS = 3.0
"""How long a session waits for its log's lock: until a backend that it has ended is gone."""

SERVER_SECONDS = 4
"""How long the server works on a call, or waits for a lock in it, before it gives up."""

CALL_SECONDS = 5.0
"""How long a call waits for its answer before it is unknown."""

RETRY_SECONDS = 0.2
"""How soon after a failure it is tried to connect again: until then callers are told of that failure."""

DEAD_SECONDS = 9
"""After about so long a server lets go of a connection whose other end is gone without a word."""

Password = Callable[[], Awaitable[bytes]]
"""The password as it is now, b"" where there is none. Raises DatabaseFailed."""

_NAME = re.compile(r"[a-z_]{1,63}")
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
# Our own of before, by the name that no other session has; it runs as the role that is connected.
_END_OLD = b"""
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = $1 AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""
_POOLED = (
    "a connection pooler stands between Remit and PostgreSQL, and the log's lock does not hold through it: "
    "name the server itself"
)


class Unknown(Exception):
    """The connection broke, or there was no answer in time: the transaction may have happened or not."""


class Rejected(Exception):
    """The server refused a call, and nothing of it happened. `code` is the SQLSTATE, `said` the server's words."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(f"{said} (SQLSTATE {code})")
        self.code = code
        self.said = said


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


@dataclass(frozen=True, slots=True)
class LogState:
    """The log as it was when its lock was taken: where it ends, and its last checkpoint's note ("" for none)."""

    sequence: int
    head: bytes
    signed: int
    note: str


class Session:
    """A connection that holds the lock of `log`; to be used from one event loop. Calls wait for each other.

    `kind` is the log's ('sidecar', 'local', 'desk'), `key` the raw public key that signs its checkpoints: both are
    registered on first use, and another of them is refused later. `check` is told the log's state whenever the lock was
    taken again, and may raise. `patience` is how long `open` waits for a lock that another process holds.
    `careless` takes a server that may lose what it has committed: for tests alone.
    """

    def __init__(
        self,
        server: Server,
        *,
        log: str,
        kind: str,
        key: bytes,
        now: Callable[[], int],
        check: Callable[[LogState], None] = lambda state: None,
        patience: float = LOCK_SECONDS,
        careless: bool = False,
    ) -> None:
        self._server = server
        self._log, self._kind, self._key = log, kind, key
        self._now = now
        self._check = check
        self._patience = patience
        self._careless = careless
        # So that on the server our own connections are told from everybody else's.
        self._name = f"{server.settings.get('application_name', 'remit')[:40]}-{secrets.token_hex(8)}"
        self._connection: Connection | None = None
        self._pid = 0
        self._begun = False  # whether it was open before
        self._warned = ""
        self._turn = asyncio.Lock()
        self._failure: tuple[float, StoreUnavailable] | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    async def open(self) -> None:
        """Connect, and take the lock. Raises StoreUnavailable; Lost where it is no use to try again."""
        async with self._turn:
            self._failure = None
            await self._opened()

    async def call(self, function: str, payload: Mapping[str, Any] | bytes, *, seconds: float = CALL_SECONDS) -> Any:
        """What the function answers. `payload` is JSON, or what orjson can write. Raises as told above."""
        if not _NAME.fullmatch(function):
            raise ValueError(function)
        text = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        async with self._turn:
            connection = await self._opened()
            try:
                return await self._called(connection, function, text, seconds)
            except (Unknown, Lost):
                await self._drop()
                raise

    async def close(self) -> None:
        """Let go of the lock and the connection; there is no other afterwards."""
        self._closed = True
        async with self._turn:
            await self._drop()

    async def _called(self, connection: Connection, function: str, text: bytes, seconds: float) -> Any:
        statement = b"SELECT remit.%s($1::jsonb)::text, pg_backend_pid()" % function.encode()
        self._warned = ""
        try:
            async with asyncio.timeout(seconds):
                (row,) = await _ask(connection, statement, text)
        except TimeoutError:
            raise Unknown(f"no answer within {seconds} s") from None
        except BaseException:
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                await self._drop()  # cancelled, for one: whatever still comes of it, nobody waits for it
            raise
        if self._warned:
            # As when it no longer waits for its standby: committed here, and not yet where it must be.
            raise Unknown(self._warned)
        answer, pid = row
        if pid is None or int(pid) != self._pid:
            raise Lost(_POOLED)
        return None if answer is None else orjson.loads(answer)

    async def _opened(self) -> Connection:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._failure and time.monotonic() - self._failure[0] < RETRY_SECONDS:
            raise type(self._failure[1])(self._failure[1].detail)
        try:
            return await self._connected()
        except StoreUnavailable as error:
            self._failure = (time.monotonic(), error)
            raise

    async def _connected(self) -> Connection:
        bound = self._server.connect_seconds + (LOCK_SECONDS if self._begun else self._patience) + 1
        try:
            async with asyncio.timeout(bound):
                connection = await self._server.connect(self._name)
                try:
                    state = await self._set_up(connection)
                except BaseException:
                    await connection.close()
                    raise
        except TimeoutError:
            raise StoreUnavailable(f"{self._server.where} did not take a connection in time") from None
        except (psycopg.Error, Unknown, Rejected) as error:
            raise StoreUnavailable(f"{self._server.where}: {str(error).strip()}") from error
        self._connection = connection
        try:
            self._check(state)
        except BaseException:
            await self._drop()
            raise
        self._begun = True
        self._failure = None
        return connection

    async def _set_up(self, connection: Connection) -> LogState:
        connection.add_notice_handler(self._heed)
        names, values = (("{" + ",".join(f'"{each}"' for each in side) + "}").encode() for side in _columns(_SETTINGS))
        await _ask(connection, _SET, names, values)
        await _ask(connection, _DURABLE)
        (look,) = await _ask(connection, _LOOK)
        self._check_server(connection, [(each or b"").decode() for each in look])
        ((version,),) = await _ask(connection, _VERSION)
        try:
            check_version(int(version or 0))
        except StoreUnavailable as error:
            if int(version or 0) > latest():
                raise Lost(error.detail) from None
            raise
        return await self._take(connection)

    def _check_server(self, connection: Connection, look: Sequence[str]) -> None:
        version, fsync, pages, synchronous, standby, read_only, pid, is_super, is_store, is_owner, is_member = look
        user = connection.info.user
        if int(version) < SERVER_VERSION:
            raise StoreUnavailable(f"PostgreSQL {int(version) // 10000} is too old: 14 or later is needed")
        if standby == "t" or read_only != "off":
            raise StoreUnavailable(f"{self._server.where} is a standby, or only lets read: name the primary")
        if int(pid) != connection.pgconn.backend_pid:
            raise StoreUnavailable(_POOLED)
        self._pid = int(pid)
        if synchronous not in ("on", "remote_apply"):
            raise StoreUnavailable("the server does not let synchronous_commit be on")
        for name, value in (("fsync", fsync), ("full_page_writes", pages)):
            if value != "on" and not self._careless:
                raise StoreUnavailable(
                    f"{name} is {value} on the server, which may lose what was committed: turn it on"
                )
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

    async def _take(self, connection: Connection) -> LogState:
        """The log's lock, once every older connection of ours is gone."""
        payload = orjson.dumps({"log": self._log, "kind": self._kind, "key": self._key.hex(), "time": self._now()})
        end = time.monotonic() + (LOCK_SECONDS if self._begun else self._patience)
        while True:
            ((ours,),) = await _ask(connection, _END_OLD, self._name.encode())
            if ours == b"0":
                taken = await self._asked_for(connection, payload)
                if taken["taken"]:
                    return LogState(taken["sequence"], bytes.fromhex(taken["head"]), taken["signed"], taken["note"])
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.02)
        if ours != b"0":
            raise StoreUnavailable("a connection of before is still busy on the server, and does not end")
        raise Lost(f"another process writes the log {self._log}: each needs a log, and a state directory, of its own")

    async def _asked_for(self, connection: Connection, payload: bytes) -> Any:
        try:
            ((answer,),) = await _ask(connection, b"SELECT remit.take_log($1::jsonb)::text", payload)
        except Rejected as error:
            if error.code == "RM100":
                raise Lost(f"{error.said}: another member has this name; give each its own") from None
            raise
        if self._warned:
            raise Unknown(self._warned)
        return orjson.loads(answer or b"null")

    def _heed(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._warned = said.message_primary or "a warning"

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()


async def _ask(connection: Connection, statement: bytes, *values: bytes) -> list[tuple[bytes | None, ...]]:
    """The rows of one statement, which is a transaction. Raises Rejected, Unknown."""
    pgconn = connection.pgconn
    try:
        pgconn.send_query_params(statement, values)
        results: Sequence[PGresult] = await waited(connection, execute(pgconn))
    except psycopg.Error as error:
        raise Unknown(str(error).strip() or "the connection broke") from error
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise _refused(connection, result)
    if pgconn.transaction_status != TransactionStatus.IDLE:  # it is only over when the server says so
        raise Unknown("the connection broke before the end of the answer")
    last = results[-1]
    return [tuple(last.get_value(row, column) for column in range(last.nfields)) for row in range(last.ntuples)]


def _refused(connection: Connection, result: PGresult) -> Unknown | Rejected:
    def part(field: DiagnosticField) -> str:
        return (result.error_field(field) or b"").decode(errors="replace")

    code, said = part(DiagnosticField.SQLSTATE), part(DiagnosticField.MESSAGE_PRIMARY)
    over = connection.pgconn.transaction_status == TransactionStatus.IDLE
    if part(DiagnosticField.SEVERITY_NONLOCALIZED) == "ERROR" and over and code:
        return Rejected(code, said)
    return Unknown(said or "the connection broke")


def _columns(settings: Mapping[str, str]) -> tuple[Sequence[str], Sequence[str]]:
    return tuple(settings), tuple(settings.values())
