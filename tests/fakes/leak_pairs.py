"""Two databases that differ in hidden cells alone, and what each tells of a statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from counts import dice
from fakes.leak_grammar import Made
from fakes.leak_world import VIEWS, World, fill_postgres, fill_sqlite, tables, world
from fakes.postgres_server import PostgresServer, fresh_database
from remit.backends.database_postgres import PostgresDatabase
from remit.backends.database_postgres.connection import Session
from remit.backends.database_sqlite import SqliteDatabase
from remit.backends.tokens_aessiv import KEY_BYTES, AesSivTokenizer
from remit.core.database_url import PostgresPlace, parse_url
from remit.core.view.model import Dialect, Plan, Statement, TableView, ViewRefused
from remit.core.view.rewrite import rewrite
from remit.core.view.statement import parse_statement
from remit.ports import Database, DatabaseFailed, Limits

LIMITS = Limits(rows=200, bytes=1 << 20, seconds=10)
TOKENIZER = AesSivTokenizer(bytes(range(KEY_BYTES)))

Change = Callable[[Plan], Plan]
"""What a planted bug does to a plan."""


def unfenced(plan: Plan) -> Plan:
    """The view of a plain sub-query: the planted bug."""
    sql = plan.text.sql.replace(" AS MATERIALIZED (", " AS NOT MATERIALIZED (")
    return replace(plan, text=replace(plan.text, sql=sql))


@dataclass(frozen=True)
class Told:
    """All that one database tells of a plan; `rows` as text, sorted where the statement asked for no order."""

    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[str] = ()
    truncated: bool = False
    failure: str = ""
    subjects: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Pair:
    """Twin databases and the worlds in them."""

    dialect: Dialect
    databases: tuple[Database, Database]
    worlds: tuple[World, World]

    async def told(
        self, made: Made, views: Mapping[str, TableView] = VIEWS, *, group: int = 0, change: Change | None = None
    ) -> tuple[Told, Told] | str:
        """What each tells of a statement, or why it is refused."""
        try:
            statement = parse_statement(made.sql, dataset="crm", tables=tables(self.dialect), dialect=self.dialect)
            plan = await self._plan(statement, views, group)
        except ViewRefused as refused:
            return str(refused)
        if set(statement.parameters) != set(made.parameters):
            return "parameters"
        if change:
            plan = change(plan)
        first, second = await asyncio.gather(*(_told(database, plan, made) for database in self.databases))
        return first, second

    async def _plan(self, statement: Statement, views: Mapping[str, TableView], group: int) -> Plan:
        plans = [
            rewrite(
                statement,
                views,
                tables=tables(self.dialect),
                columns=await database.columns(),
                rows=LIMITS.rows,
                minimum_group=group,
            )
            for database in self.databases
        ]
        assert plans[0] == plans[1]
        return plans[0]


async def _told(database: Database, plan: Plan, made: Made) -> Told:
    rows: list[str] = []
    columns: Sequence[tuple[str, str]] = ()
    try:
        async with database.read(plan, made.parameters, LIMITS) as reading:
            columns = [(each.name, each.type) for each in reading.columns]
            async for batch in reading.batches():
                rows += [repr(row[: len(columns)]) for row in batch]  # the others are not the agent's
            subjects = {table: len(keys) for table, keys in reading.subjects.items()}
            return Told(columns, rows if made.ordered else sorted(rows), reading.truncated, "", subjects)
    except DatabaseFailed as failed:
        # Rows that were told before a failure are as many as the database had made by then.
        return Told(columns, (), False, failed.failure.value)


def worlds() -> tuple[World, World]:
    """Twins: shown cells are those of one dice, hidden ones each of their own."""
    return (
        world(dice("shown"), dice("hidden one"), traps=1.0),
        world(dice("shown"), dice("hidden two"), traps=0.0),
    )


@asynccontextmanager
async def sqlite_pair(place: Path) -> AsyncIterator[Pair]:
    """Two files."""
    twins = worlds()
    paths = [place / f"{name}.db" for name in ("one", "two")]
    for twin, path in zip(twins, paths, strict=True):
        fill_sqlite(twin, path)
    one, two = (SqliteDatabase(str(path), "", tables(Dialect.SQLITE), tokenizer=TOKENIZER) for path in paths)
    try:
        yield Pair(Dialect.SQLITE, (one, two), twins)
    finally:
        for database in (one, two):
            await database.close()


@asynccontextmanager
async def postgres_pair(server: PostgresServer) -> AsyncIterator[Pair]:
    """Two databases of one server."""
    twins = worlds()
    with _filled(server, twins[0]) as one, _filled(server, twins[1]) as two:
        try:
            yield Pair(Dialect.POSTGRES, (one, two), twins)
        finally:
            for database in (one, two):
                await database.close()


@contextmanager
def _filled(server: PostgresServer, filled: World) -> Iterator[PostgresDatabase]:
    with fresh_database(server) as database:
        fill_postgres(filled, database)
        place = parse_url(database.reader)
        assert isinstance(place, PostgresPlace)

        async def password() -> bytes:
            return database.reader_password.encode()

        yield PostgresDatabase(Session(place, password, 10), None, tables(Dialect.POSTGRES), tokenizer=TOKENIZER)
