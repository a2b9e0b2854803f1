"""One way to a dataset on each real database: its owner's, who makes and looks, and Remit's, who reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import apsw
import pytest
from fakes.postgres_server import PostgresDatabase
from remit.backends.database_postgres import PostgresDatabase as RemitPostgres
from remit.backends.database_postgres.connection import Session
from remit.backends.database_sqlite import SqliteDatabase as RemitSqlite
from remit.backends.named_write import EXECUTIONS_SQL
from remit.backends.tokens_aessiv import AesSivTokenizer
from remit.core.database_url import parse_url
from remit.core.dataset import Table
from remit.core.view.model import Binding, Cell, Dialect, Plan, Text
from remit.ports import Database, DatabaseFailed, Failure, Limits, ResultColumn

TOKENIZER = AesSivTokenizer(b"k" * 64)
AMPLE = Limits(rows=10_000, bytes=16 << 20, seconds=30.0)
# 1,000 rows and the canary's; the square of it is a million rows.
_NUMBERS = 1000
CANARY = "canary-8f2b1c"


class Owner(Protocol):
    """Whose database it is."""

    dialect: Dialect
    schema: str

    def run(self, statements: str) -> None:
        """Change it."""
        ...

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Look at it."""
        ...

    def database(self, tables: Mapping[str, Table], seconds: int) -> RemitPostgres | RemitSqlite:
        """As Remit has it."""
        ...


class SqliteOwner:
    """A file."""

    dialect = Dialect.SQLITE
    schema = "main"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))

    def run(self, statements: str) -> None:
        self.connection.execute(statements).fetchall()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement).fetchall()

    def database(self, tables: Mapping[str, Table], seconds: int) -> RemitSqlite:
        return RemitSqlite(str(self.path), str(self.path), tables, tokenizer=TOKENIZER)


class PostgresOwner:
    """A database of the test's server."""

    dialect = Dialect.POSTGRES
    schema = "public"

    def __init__(self, inner: PostgresDatabase) -> None:
        self.inner = inner

    def run(self, statements: str) -> None:
        self.inner.run(statements)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.inner.rows(statement)

    def database(self, tables: Mapping[str, Table], seconds: int) -> RemitPostgres:
        return RemitPostgres(self.session(seconds), self.session(seconds, writes=True), tables, tokenizer=TOKENIZER)

    def session(self, seconds: int, *, writes: bool = False) -> Session:
        """A session of the reader's role, or of the writer's."""
        url = self.inner.writer if writes else self.inner.reader
        secret = self.inner.writer_password if writes else self.inner.reader_password

        async def password() -> bytes:
            return secret.encode()

        place = parse_url(url)
        assert not isinstance(place, str) and hasattr(place, "host")
        return Session(place, password, seconds, writes)


PEOPLE = Table(columns={"id": (), "name": (), "score": ()}, subject_key="id")
NUMBERS = Table(columns={"n": ()})
TABLES = {"people": PEOPLE, "numbers": NUMBERS}
READS = {"people": frozenset({"id", "name", "score"}), "numbers": frozenset({"n"})}


@dataclass(frozen=True)
class Answer:
    """All that one reading gave."""

    columns: Sequence[ResultColumn]
    rows: list[tuple[Cell, ...]]
    subjects: Mapping[str, Sequence[str]]
    truncated: bool
    bytes: int


class Site:
    """A dataset of `people` and `numbers`, and a table `secret` that the catalogue does not name."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        owner.run("CREATE TABLE people (id integer PRIMARY KEY, name text, score double precision)")
        owner.run("INSERT INTO people VALUES (1, 'Ada', 1.5), (2, 'Bob', NULL), (3, 'Élodie', -2)")
        owner.run("CREATE TABLE numbers (n integer PRIMARY KEY)")
        owner.run(f"INSERT INTO numbers VALUES {', '.join(f'({n})' for n in range(_NUMBERS))}")
        owner.run(f"CREATE TABLE secret (word text); INSERT INTO secret VALUES ('{CANARY}')")
        owner.run(EXECUTIONS_SQL[owner.dialect])

    @property
    def dialect(self) -> Dialect:
        return self.owner.dialect

    @asynccontextmanager
    async def opened(self, tables: Mapping[str, Table] = TABLES, *, seconds: int = 30) -> AsyncIterator[Database]:
        """The database as Remit has it."""
        database = self.owner.database(tables, seconds)
        try:
            yield database
        finally:
            await database.close()

    def text(self, sql: str, *bindings: Binding) -> Text:
        """SQL whose places are written `@1` and whose tables `~people`, in this database's words."""
        sigil = "$" if self.dialect is Dialect.POSTGRES else "?"
        return Text(sql.replace("~", f"{self.owner.schema}.").replace("@", sigil), bindings)

    def plan(self, sql: str, *bindings: Binding, **more: Any) -> Plan:
        """A plan that reads `people` and `numbers`."""
        plan = Plan(self.dialect, self.text(sql, *bindings), reads=READS, functions=frozenset({"count", "sum"}))
        return replace(plan, **more)


async def answer(
    database: Database, plan: Plan, parameters: Mapping[str, Cell] | None = None, limits: Limits = AMPLE
) -> Answer:
    """A reading to its end. Raises DatabaseFailed."""
    rows: list[tuple[Cell, ...]] = []
    async with database.read(plan, parameters or {}, limits) as reading:
        async for batch in reading.batches():
            rows += [tuple(row) for row in batch]
        return Answer(reading.columns, rows, reading.subjects, reading.truncated, reading.bytes)


async def failure(
    database: Database, plan: Plan, parameters: Mapping[str, Cell] | None = None, limits: Limits = AMPLE
) -> Failure:
    """How a reading fails; its message is the class and nothing more."""
    with pytest.raises(DatabaseFailed) as caught:
        await answer(database, plan, parameters, limits)
    error = caught.value
    assert str(error) == error.failure.value and error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error.failure


@contextmanager
def sqlite_site(folder: Path, *, wal: bool = True) -> Iterator[Site]:
    """A site in a file."""
    owner = SqliteOwner(folder / "data #1.db")
    if wal:
        owner.run("PRAGMA journal_mode = WAL")
    try:
        yield Site(owner)
    finally:
        owner.connection.close()


@pytest.fixture(name="site", params=["sqlite", "postgres"])
def site_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A dataset on each of the two databases."""
    if request.param == "postgres":
        yield Site(PostgresOwner(request.getfixturevalue("fresh")))
        return
    with sqlite_site(tmp_path) as site:
        yield site
