"""Installations on a real PostgreSQL: a migrated database, its members' roles, and stores opened on it.

`installation` is a fixture of tests/conftest.py: one database a test process, emptied before each test, which is a
hundred times cheaper than a new one. `new_installation` makes one that nobody else has.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EVERY, START
from fakes.postgres_server import OWNER, PostgresServer
from fakes.world import FakeClock, FakeIds
from psycopg import sql
from remit.backends.store_postgres.migrate import migrate
from remit.backends.store_postgres.session import Server
from remit.backends.store_postgres.store import PostgresStore
from remit.core.database_url import PostgresPlace

SIDECAR, DESK, AUDITOR = "remit_test_sidecar", "remit_test_desk", "remit_test_auditor"
_GRANTED = {SIDECAR: "remit_sidecar", DESK: "remit_desk"}
_AUDITED = "remit.log, remit.journal, remit.checkpoint"  # what verifying the journal needs
_NAMES = itertools.count(1)
_STRANGERS = """
SELECT count({}) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Deleting the few rows of a test takes a millisecond, truncating the tables a hundred. Guards look away meanwhile.
_EMPTY = """
DO $$
DECLARE
    one regclass;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'remit'::regnamespace AND relkind IN ('r', 'p')
               AND NOT relispartition AND relname NOT IN ('migration', 'journal_months', 'shared') LOOP
        IF pg_total_relation_size(one) > 4000000 THEN
            EXECUTE format('TRUNCATE %s CASCADE', one);
        ELSE
            EXECUTE format('DELETE FROM %s', one);
        END IF;
    END LOOP;
    UPDATE remit.shared SET halts = 0, approvals = 0, claim_floor = 0;
END $$
"""


@dataclass
class Installation:
    """A migrated database. Its member roles can log in; `passwords` are theirs and the owner's."""

    server: PostgresServer
    name: str
    passwords: dict[str, str] = field(repr=False)
    _owner: psycopg.Connection[Any] | None = field(default=None, repr=False)

    @property
    def owner(self) -> psycopg.Connection[Any]:
        """A connection of the owner's, a superuser; it commits by itself and stays open."""
        if self._owner is None or self._owner.closed:
            self._owner = self.server.connect(self.name)
        return self._owner

    def place(self, role: str = SIDECAR) -> PostgresPlace:
        """Where a role finds it."""
        return PostgresPlace(self.server.host, self.server.port, role, self.name, {"sslmode": "disable"})

    def url(self, role: str = SIDECAR, *, more: str = "") -> str:
        """The same as a URL, without a password."""
        return self.server.url(role, self.name, more=more)

    def reached(self, role: str = SIDECAR, **settings: str) -> Server:
        """How a store reaches it; `settings` of libpq's go before the others, as another port."""

        async def password() -> bytes:
            return self.passwords[role].encode()

        place = self.place(role)
        named = {"host": place.host, "port": str(place.port), "user": role, "dbname": self.name, **place.settings}
        return Server({**named, **settings}, password, f"{place.host}:{place.port}/{self.name}")

    def connect(self, role: str = SIDECAR) -> psycopg.Connection[Any]:
        """A connection of a role's, which commits by itself."""
        return psycopg.connect(
            host=self.server.host,
            port=self.server.port,
            user=role,
            password=self.passwords[role],
            dbname=self.name,
            autocommit=True,
        )

    def run(self, statements: str) -> None:
        """Run statements as the owner."""
        self.owner.execute(statements.encode())

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows as the owner sees them."""
        return self.owner.execute(statement.encode(), parameters or None).fetchall()

    def cut(self) -> int:
        """End every other connection, as a network or a server does; how many. They are gone when it returns."""
        ended, end = int(self.rows(_STRANGERS.format("pg_terminate_backend(pid)"))[0][0]), time.monotonic() + 10
        while self.rows(_STRANGERS.format("*")) != [(0,)]:  # PostgreSQL itself looks ten times a second
            assert time.monotonic() < end, "a connection does not end"
            time.sleep(0.001)
        return ended

    def empty(self) -> None:
        """As it was migrated: nobody connected, nothing written."""
        try:
            self.cut()
        except psycopg.OperationalError:  # another test has killed the server, and started it again
            self.close()
            self.cut()
        self.run(_EMPTY)

    @contextmanager
    def planted(self, function: str, old: str, new: str) -> Iterator[None]:
        """A bug in a function of the store's while inside: `old` in its text, which must be there once, is `new`."""
        (text,) = (
            each
            for (each,) in self.rows(
                "SELECT pg_get_functiondef(oid) FROM pg_proc"
                " WHERE pronamespace = 'remit'::regnamespace AND proname = %s",
                [function],
            )
            if old in each
        )
        assert text.count(old) == 1
        self.run("SET search_path = remit")
        self.run(text.replace(old, new))
        try:
            yield
        finally:
            self.run(text)
            self.run("RESET search_path")

    def close(self) -> None:
        """Let go of the owner's connection."""
        if self._owner is not None:
            self._owner.close()


async def open_store(
    installation: Installation,
    log: str = "log_a",
    *,
    role: str = SIDECAR,
    store_type: type[PostgresStore] = PostgresStore,
    server: Server | None = None,
    **parts: Any,
) -> PostgresStore:
    """A member's store, whose clock stands still. `server` where it is not to be reached directly.

    The server of the tests does not wait for its disk, so that it is taken for careless.
    """
    given: dict[str, Any] = {
        "kind": "desk" if role == DESK else "sidecar",
        "key": key_of(log),
        "clock": FakeClock(START),
        "ids": FakeIds(),
        "checkpoint_records": EVERY,
        "careless": True,
        **parts,
    }
    store = await store_type.open(server or installation.reached(role), log=log, **given)
    store.activate("r1")
    return store


def abandon(store: PostgresStore) -> None:
    """What a kill -9 leaves of a store: its sockets are closed, and nothing else is done."""
    store._stop_timer()
    connections = [store._session._connection, *(each._connection for each in store._reads._idle)]
    for connection in connections:
        if connection is not None:
            connection.pgconn.finish()


def key_of(log: str) -> Ed25519PrivateKey:
    """The key of a log, the same each time."""
    return Ed25519PrivateKey.from_private_bytes(sha256(log.encode()).digest())


@contextmanager
def new_installation(server: PostgresServer) -> Iterator[Installation]:
    """A migrated database; dropped afterwards, whoever is connected."""
    name = f"remit{next(_NAMES)}_{secrets.token_hex(3)}"
    server.run(f"CREATE DATABASE {name}")
    made = Installation(server, name, {OWNER: server.passwords[OWNER]})
    try:
        migrate(made.owner, 0)
        for role in (SIDECAR, DESK, AUDITOR):
            made.passwords[role] = _login(made.owner, role, server)
        made.run(f"GRANT USAGE ON SCHEMA remit TO {AUDITOR}; GRANT SELECT ON {_AUDITED} TO {AUDITOR}")
        yield made
    finally:
        made.close()
        server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session", name="shared_installation")
def shared_installation_fixture(postgres: PostgresServer) -> Iterator[Installation]:
    """The test process's; use `installation`."""
    with new_installation(postgres) as made:
        yield made


@pytest.fixture(name="installation")
def installation_fixture(shared_installation: Installation) -> Installation:
    """An installation in which nothing has happened yet."""
    shared_installation.empty()
    return shared_installation


def _login(owner: psycopg.Connection[Any], role: str, server: PostgresServer) -> str:
    """Let a role log in, with the password that it has in every installation of this server."""
    password = sha256(f"{server.passwords[OWNER]} {role}".encode()).hexdigest()
    if owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        named = sql.Identifier(role)
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(named, sql.Literal(password)))
        if role in _GRANTED:
            owner.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(_GRANTED[role]), named))
    return password
