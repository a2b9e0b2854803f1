"""The connection that writes one log: it holds the log's advisory lock for as long as it lasts.

    session = Session(server, log="pod-1", kind="sidecar", key=public, now=clock.now)
    await session.open()                            # connects, registers the log on first use, takes its lock
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
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.pq import TransactionStatus

from remit.backends.database_postgres.connection import Connection
from remit.backends.store_postgres.server import POOLED, set_up
from remit.backends.store_postgres.server import Lost as Lost
from remit.backends.store_postgres.server import Password as Password
from remit.backends.store_postgres.server import Server as Server
from remit.backends.store_postgres.wire import Rejected as Rejected
from remit.backends.store_postgres.wire import Unknown as Unknown
from remit.backends.store_postgres.wire import ask
from remit.core.errors import StoreUnavailable

LOCK_SECONDS = 5.0
"""How long a session waits for its log's lock: until a backend that it has ended is gone."""

CALL_SECONDS = 5.0
"""How long a call waits for its answer before it is unknown."""

RETRY_SECONDS = 0.2
"""How soon after a failure it is tried to connect again: until then callers are told of that failure."""

_NAME = re.compile(r"[a-z_]{1,63}")
# Our own of before, by the name that no other session has; it runs as the role that is connected.
_END_OLD = b"""
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = $1 AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()
"""


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
                (row,) = await ask(connection, statement, text)
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
            raise Lost(POOLED)
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
                    connection.add_notice_handler(self._heed)
                    self._pid = await set_up(connection, self._server.where, careless=self._careless)
                    state = await self._take(connection)
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

    async def _take(self, connection: Connection) -> LogState:
        """The log's lock, once every older connection of ours is gone."""
        payload = orjson.dumps({"log": self._log, "kind": self._kind, "key": self._key.hex(), "time": self._now()})
        end = time.monotonic() + (LOCK_SECONDS if self._begun else self._patience)
        while True:
            ((ours,),) = await ask(connection, _END_OLD, self._name.encode())
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
            ((answer,),) = await ask(connection, b"SELECT remit.take_log($1::jsonb)::text", payload)
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
