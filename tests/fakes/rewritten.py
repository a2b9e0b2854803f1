"""Plans of `rewrite` run on real databases, without anything else of Remit: two tables with a column of each type.

`World.ask` is what an agent would be answered; `World.raw` is what the database says to its owner. Every plan is also
held to what it says of itself: SQLite's authorizer may see it read and call no more than `reads` and `functions` name.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

import apsw
import apsw.ext
import psycopg
import pytest
from fakes.postgres_server import PostgresServer, fresh_database
from remit.core.dataset import Table
from remit.core.view.model import (
    EVERY_ROW,
    Binding,
    Column,
    ColumnType,
    Constant,
    Dialect,
    Filter,
    HashPad,
    Mask,
    Parameter,
    Plan,
    TableView,
    Text,
    TokenArray,
)
from remit.core.view.rewrite import rewrite
from remit.core.view.statement import parse_statement

DATASET = "crm"
KEY = b"k" * 64
# Column -> (type, its name in PostgreSQL, its name in SQLite).
PEOPLE: Mapping[str, tuple[ColumnType, str, str]] = {
    "id": (ColumnType.INTEGER, "bigint", "INTEGER"),
    "name": (ColumnType.TEXT, "text", "TEXT"),
    "region": (ColumnType.TEXT, "character varying(20)", "VARCHAR(20)"),
    "age": (ColumnType.INTEGER, "integer", "INTEGER"),
    "score": (ColumnType.REAL, "double precision", "REAL"),
    "balance": (ColumnType.DECIMAL, "numeric(14,2)", "NUMERIC(14,2)"),
    "born": (ColumnType.DATE, "date", "DATE"),
    "made": (ColumnType.TIMESTAMP, "timestamp without time zone", "TIMESTAMP"),
    "active": (ColumnType.BOOLEAN, "boolean", "BOOLEAN"),
}
ORDERS: Mapping[str, tuple[ColumnType, str, str]] = {
    "id": (ColumnType.INTEGER, "bigint", "INTEGER"),
    "customer": (ColumnType.INTEGER, "bigint", "INTEGER"),
    "total": (ColumnType.DECIMAL, "numeric(14,2)", "NUMERIC(14,2)"),
    "region": (ColumnType.TEXT, "text", "TEXT"),
}
SCHEMA = {"people": PEOPLE, "orders": ORDERS}
TABLES = {
    "people": Table({**dict.fromkeys(PEOPLE, ()), "name": ("pii",)}, subject_key="id"),
    "orders": Table(dict.fromkeys(ORDERS, ())),
}
REGIONS = ("eu", "us", "apac")
PEOPLE_ROWS: list[tuple[Any, ...]] = [
    (
        number,
        None if number % 13 == 0 else f"person {number}",
        None if number % 17 == 0 else REGIONS[number % 3],
        number % 90,
        number / 4,
        Decimal(number * 1000 + number % 100) / 100,
        date(1950 + number % 60, 1 + number % 12, 1 + number % 28),
        datetime(2020, 1 + number % 12, 1 + number % 28, number % 24, number % 60),
        number % 2 == 0,
    )
    for number in range(1, 121)
]
ORDER_ROWS: list[tuple[Any, ...]] = [
    (number, None if number % 19 == 0 else number % 120 + 1, Decimal(number * 7 % 5000) / 10, REGIONS[number % 3])
    for number in range(1, 301)
]


@dataclass(frozen=True)
class Answer:
    """What a plan brought: the agent's columns, and beside them the keys that go with each row and each table."""

    names: list[str]
    rows: list[tuple[Any, ...]]
    hidden: list[tuple[Any, ...]]
    subjects: Mapping[str, list[str]]


class Runs(Protocol):
    """A database that takes SQL with numbered places."""

    def run(self, sql: str, values: Sequence[Any], plan: Plan | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of the columns, and the rows."""
        ...


@dataclass
class World:
    """One database with PEOPLE and ORDERS, and the catalogue's word on them."""

    dialect: Dialect
    database: Runs
    tables: Mapping[str, Table] = field(default_factory=lambda: dict(TABLES))
    schema: dict[str, Mapping[str, tuple[ColumnType, str, str]]] = field(default_factory=lambda: dict(SCHEMA))

    @property
    def postgres(self) -> bool:
        return self.dialect is Dialect.POSTGRES

    @property
    def columns(self) -> Mapping[str, Mapping[str, Column]]:
        return {
            table: {
                name: Column(kind, first if self.postgres else second) for name, (kind, first, second) in each.items()
            }
            for table, each in self.schema.items()
        }

    def add(
        self, table: str, columns: Mapping[str, tuple[ColumnType, str, str]], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Create one more table."""
        listed = ", ".join(
            f'"{name}" {first if self.postgres else second}' for name, (_, first, second) in columns.items()
        )
        self.database.run(f'CREATE TABLE "{table}" ({listed})', ())
        sigil = "$" if self.postgres else "?"
        places = ", ".join(f"{sigil}{number}" for number in range(1, len(columns) + 1))
        for row in rows:
            self.database.run(f'INSERT INTO "{table}" VALUES ({places})', row)
        self.schema[table] = columns
        self.tables = {**self.tables, table: Table(dict.fromkeys(columns, ()))}

    def plan(
        self,
        statement: str,
        *,
        filters: Mapping[str, Filter] | None = None,
        masks: Mapping[str, Mapping[str, Mask]] | None = None,
        rows: int = 100_000,
        minimum_group: int = 0,
    ) -> Plan:
        """The plan of a statement under these views; of what is not named every row and no mask."""
        views = {
            table: TableView(table, (filters or {}).get(table, EVERY_ROW), (masks or {}).get(table, {}))
            for table in self.tables
        }
        parsed = parse_statement(statement, dataset=DATASET, tables=self.tables, dialect=self.dialect)
        before = parsed.tree.sql()
        plan = rewrite(parsed, views, tables=self.tables, columns=self.columns, rows=rows, minimum_group=minimum_group)
        assert parsed.tree.sql() == before
        return plan

    def ask(self, statement: str, parameters: Mapping[str, Any] | None = None, **views: Any) -> Answer:
        """What the plan of a statement brings."""
        return self.run(self.plan(statement, **views), parameters or {})

    def run(self, plan: Plan, parameters: Mapping[str, Any]) -> Answer:
        """As a backend would, in the plainest way."""
        tokens = []
        for query in plan.tokens:
            _, found = self.database.run(query.text.sql, _bound(query.text, parameters, []))
            raw = [row[0] for row in found]
            tokens.append((raw, [token(each, query.domain) for each in raw]))
        subjects = {}
        for asked in plan.subjects:
            _, found = self.database.run(asked.text.sql, _bound(asked.text, parameters, []), plan)
            subjects[asked.table] = sorted(row[0] for row in found)
        names, rows = self.database.run(plan.text.sql, _bound(plan.text, parameters, tokens), plan)
        shown = len(names) - len(plan.hidden)
        return Answer(names[:shown], [row[:shown] for row in rows], [row[shown:] for row in rows], subjects)

    def raw(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What the database itself says."""
        return self.database.run(sql, values)[1]


def token(value: str, domain: str) -> str:
    """Stands for a value; so plain that a test can see through it."""
    return f"token({domain},{value})"


def hashed(value: str, domain: str) -> str:
    """HMAC-SHA-256 of a value, of a key block that is the same for all domains but for the domain's name."""
    return hmac.new(_key(domain), value.encode(), hashlib.sha256).hexdigest()


def _key(domain: str) -> bytes:
    return hashlib.sha512(KEY + domain.encode()).digest()


def _bound(text: Text, parameters: Mapping[str, Any], tokens: Sequence[tuple[list[str], list[str]]]) -> list[Any]:
    return [_value(each, parameters, tokens) for each in text.bindings]


def _value(binding: Binding, parameters: Mapping[str, Any], tokens: Sequence[tuple[list[str], list[str]]]) -> Any:
    match binding:
        case Parameter(name):
            return parameters[name]
        case Constant(value):
            return value
        case HashPad(domain, which):
            return bytes(each ^ (0x36 if which == "inner" else 0x5C) for each in _key(domain))
        case TokenArray(query, which):
            return tokens[query][which == "token"]


class SqliteRuns:
    """SQLite in memory, which watches each plan."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        for setting in (apsw.SQLITE_DBCONFIG_DQS_DML, apsw.SQLITE_DBCONFIG_DQS_DDL):
            self.connection.config(setting, 0)
        self.connection.create_scalar_function("remit_token", _sqlite_token, 3, deterministic=True)
        self.connection.create_scalar_function("remit_hash", _sqlite_hash, 2, deterministic=True)
        self._plan: Plan | None = None
        self.connection.authorizer = self._may

    def run(self, sql: str, values: Sequence[Any], plan: Plan | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        self._plan = plan
        cursor = self.connection.cursor()
        cursor.execute(sql, [_plain(each) for each in values])
        rows = list(cursor)
        self._plan = None
        asks = sql.lstrip("(").startswith(("SELECT", "WITH"))
        return [name for name, _ in apsw.ext.query_info(self.connection, sql).description] if asks else [], rows

    def _may(self, operation: int, first: str | None, second: str | None, base: str | None, _: str | None) -> int:
        if self._plan is not None:
            if operation == apsw.SQLITE_READ and base is None:  # a sub-query, of which no column is named
                assert not second, (first, second)
            elif operation == apsw.SQLITE_READ:
                read = self._plan.reads.get(f"{base}.{first}")
                assert read is not None, first
                assert not second or second in read, (first, second)
            if operation == apsw.SQLITE_FUNCTION:
                assert second in self._plan.functions, second
        return apsw.SQLITE_OK


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return (
        value.isoformat(" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else value
    )


def _sqlite_token(value: Any, domain: str, labels: str) -> str | None:
    return None if value is None else token(str(value), domain)


def _sqlite_hash(value: Any, domain: str) -> str | None:
    return None if value is None else hashed(str(value), domain)


class PostgresRuns:
    """PostgreSQL as the sidecar speaks with it: native places, one plan a statement, nothing in the search path."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        connection.prepare_threshold = None

    def run(self, sql: str, values: Sequence[Any], plan: Plan | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        with psycopg.RawCursor(self.connection) as cursor:
            cursor.execute(sql.encode(), list(values))
            if cursor.description is None:
                return [], []
            return [each.name for each in cursor.description], cursor.fetchall()


def fill(world: World) -> World:
    """Create and fill the two tables."""
    tables = world.tables
    world.add("people", PEOPLE, PEOPLE_ROWS)
    world.add("orders", ORDERS, ORDER_ROWS)
    world.tables = tables
    return world


def sqlite_world() -> World:
    """A new one in SQLite."""
    return fill(World(Dialect.SQLITE, SqliteRuns()))


@contextlib.contextmanager
def postgres_world(server: PostgresServer) -> Iterator[World]:
    """A new one in PostgreSQL."""
    with fresh_database(server) as database:
        options = "-c TimeZone=UTC -c search_path=public"
        with server.connect(database.name, options=options) as owner:
            yield fill(World(Dialect.POSTGRES, PostgresRuns(owner)))


@pytest.fixture(scope="module", params=list(Dialect))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One of each database, for the tests of a module; import it where it is used."""
    if request.param is Dialect.SQLITE:
        yield sqlite_world()
    else:
        with postgres_world(request.getfixturevalue("postgres")) as found:
            yield found
