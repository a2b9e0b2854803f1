"""The same data behind Remit's views and behind PostgreSQL's own: row-level security and views that mask.

tests/cases/twins has both policies side by side. An agent asks Remit; its twin, a role of the database, asks directly.
"""

from __future__ import annotations

import hmac
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import psycopg
from fakes.postgres_server import PostgresDatabase, literal
from fakes.sql_tables import TABLES, Rows, catalogue, fill_postgres, fill_sqlite, rows_of
from fakes.views_stage import Answered, Staged, staged
from psycopg import sql
from psycopg.types.string import TextLoader
from remit.core.view.model import Dialect
from remit.ports import Tokenizer

CASES = Path(__file__).parents[1] / "cases" / "twins"
MASKED = ("***", "***io", "hidden", "somebody")
AGENTS = ("north", "south", "west")
CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  all: {team: cx, clearance: [pii, finance]}
  north: {team: cx, clearance: [pii, finance]}
  south: {team: cx, clearance: [pii, finance]}
  west: {team: cx, clearance: [pii, finance]}
datasets:
  shop:
    owner: cx
    url: URL
    limits: {rows: 1000000, bytes: 1073741824, seconds: 5}
    tables: TABLES
"""
# (kind, domain, table, column) of what the twins look up.
_MADE = (
    ("hash", "shop.customers.email", "customers", "email"),
    ("hash", "shop.customers.code", "customers", "code"),
    ("hash", "shop.items.raw", "items", "raw"),
    ("hash", "shop.products.kind", "products", "kind"),
    ("hash", "shop.products.name", "products", "name"),
    ("token", "mail", "customers", "name"),
    ("token", "mail", "customers", "email"),
    ("token", "mail", "products", "name"),
    ("token", "shop.orders.status", "orders", "status"),
)
_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
_DATASET = re.compile(r"\bshop\.(?=\w)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a query: rows in order, or the class of an error; `refused` says why it was not run at all."""

    names: tuple[str, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    failure: str = ""
    refused: str = ""

    def agrees(self, other: Outcome, *, ordered: bool) -> bool:
        """Whether both say the same; rows as a multiset unless they are ordered."""
        if self.failure or other.failure:
            return self.failure == other.failure
        mine, theirs = self.rows, other.rows
        if not ordered:
            mine, theirs = sorted(mine, key=repr), sorted(theirs, key=repr)
        return self.names == other.names and list(mine) == list(theirs)


def plain(value: Any) -> Any:
    """A cell so that equal ones are alike, whatever scale or zero they are written with; text for what Python orders
    otherwise than by equality."""
    match value:
        case Decimal():
            return value.normalize() + 0
        case float():
            return repr(value + 0.0)
        case bytes() | memoryview():
            return bytes(value)
    return value


def outcome_of(answered: Answered) -> Outcome:
    """What Remit answered."""
    if not answered.allowed:
        return Outcome(refused="; ".join(answered.reasons))
    if answered.failure:
        return Outcome(failure=answered.failure)
    assert answered.ended is not None
    assert not answered.ended.truncated
    return Outcome(answered.names, [tuple(map(plain, row)) for row in answered.rows])


def ask_postgres(connection: psycopg.Connection[Any], text: str, parameters: Mapping[str, Any]) -> Outcome:
    """What PostgreSQL itself answers; parameters are literals there, and nothing is of a dataset."""
    text = _DATASET.sub("", text)
    statement = _PARAMETER.sub(lambda name: literal(parameters[name[1]]) if name[1] in parameters else name[0], text)
    try:
        cursor = connection.execute(statement.encode())
        rows = cursor.fetchall()
    except psycopg.DataError:
        return Outcome(failure="bad_value")
    except psycopg.ProgrammingError:
        return Outcome(failure="bad_statement")
    except psycopg.errors.CardinalityViolation:
        return Outcome(failure="bad_value")
    except psycopg.NotSupportedError:
        return Outcome(failure="bad_statement")
    except psycopg.errors.QueryCanceled:
        return Outcome(failure="timed_out")
    names = tuple(column.name for column in cursor.description or ())
    return Outcome(names, [tuple(map(plain, row)) for row in rows])


def ask_sqlite(connection: apsw.Connection, text: str, parameters: Mapping[str, Any]) -> Outcome:
    """What SQLite itself answers."""
    text = _DATASET.sub("", text)
    names: tuple[str, ...] = ()

    def begun(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        nonlocal names
        names = tuple(name for name, _ in cursor.get_description())
        return True

    cursor = connection.cursor()
    cursor.exec_trace = begun
    try:
        rows = [tuple(map(plain, row)) for row in cursor.execute(text, dict(parameters))]
    except apsw.SQLError:
        return Outcome(failure="bad_statement")
    return Outcome(names, rows)


@dataclass(frozen=True, slots=True)
class Twins:
    """Remit's stage with each agent's twin beside it, and `all`'s: the database as it is."""

    remit: Staged
    twins: Mapping[str, psycopg.Connection[Any]]
    masked: Sequence[str]

    def ask(self, agent: str, text: str, parameters: Mapping[str, Any]) -> tuple[Outcome, Outcome]:
        """What the agent is told, and what its twin."""
        told = outcome_of(self.remit.query(agent, text, **parameters))
        return told, ask_postgres(self.twins[agent], text, parameters)


@contextmanager
def twins(place: Path, database: PostgresDatabase, dice: random.Random) -> Iterator[Twins]:
    """Both, on the same rows."""
    rows = rows_of(dice)
    fill_postgres(database.run, rows)
    database.run(
        "GRANT USAGE ON SCHEMA shop TO remit_reader; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO remit_reader"
    )
    database.run((CASES / "shop.sql").read_text())
    database.run(f"ALTER DATABASE {database.name} SET jit = off")  # it takes longer than any of these queries
    text = CATALOGUE.replace("URL", f'"{database.reader}"\n    credential: {{environment: READER}}')
    text = text.replace("TABLES", catalogue(Dialect.POSTGRES))
    environment = {"READER": database.reader_password}
    with staged(place, text, policy(), environment=environment) as remit:
        tokenizer = remit.stage.world.tokenizer
        assert tokenizer is not None
        made = _make(database, tokenizer, rows)
        connections = {agent: _twin(database, agent) for agent in AGENTS}
        connections["all"] = _connected(database, "shop")
        try:
            yield Twins(remit, connections, (*MASKED, *dice.sample(made, 4)))
        finally:
            for each in connections.values():
                each.close()


def policy() -> Mapping[str, str]:
    """The views as Rego."""
    return {"shop.rego": (CASES / "shop.rego").read_text()}


@dataclass(frozen=True, slots=True)
class SqliteTwins:
    """The same in SQLite, where a twin is a connection with views that stand before the tables."""

    remit: Staged
    twins: Mapping[str, apsw.Connection]
    masked: Sequence[str]

    def ask(self, agent: str, text: str, parameters: Mapping[str, Any]) -> tuple[Outcome, Outcome]:
        """What the agent is told, and what its twin."""
        told = outcome_of(self.remit.query(agent, text, **parameters))
        return told, ask_sqlite(self.twins[agent], text, parameters)


@contextmanager
def sqlite_twins(place: Path, dice: random.Random) -> Iterator[SqliteTwins]:
    """Both, on one file."""
    file = place / "shop.db"
    fill_sqlite(file, rows_of(dice))
    text = CATALOGUE.replace("URL", f'"sqlite://{file}"').replace("TABLES", catalogue(Dialect.SQLITE))
    parts = re.split(r"^-- (\w+)$", (CASES / "shop_sqlite.sql").read_text(), flags=re.MULTILINE)[1:]
    views = {"all": "", **dict(zip(parts[::2], parts[1::2], strict=True))}
    with staged(place, text, policy()) as remit:
        tokenizer = remit.stage.world.tokenizer
        assert tokenizer is not None
        made: set[str] = set()
        connections = {agent: _bare_sqlite(file, views[agent], tokenizer, made) for agent in (*AGENTS, "all")}
        for agent in AGENTS:
            connections[agent].execute("SELECT email, name FROM customers").fetchall()
        try:
            yield SqliteTwins(remit, connections, (*MASKED, *dice.sample(sorted(made), 4)))
        finally:
            for each in connections.values():
                each.close()


def _bare_sqlite(file: Path, views: str, tokenizer: Tokenizer, made: set[str]) -> apsw.Connection:
    """A connection with the views of one agent; `made` are the hashes and tokens that they have shown."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    labels = {domain: _labels(table, column) for _, domain, table, column in _MADE}

    def twin_hash(domain: str, value: str | None) -> str | None:
        return note(None if value is None else _hmac(tokenizer, domain, value))

    def twin_token(domain: str, value: str | None) -> str | None:
        return note(None if value is None else tokenizer.token(value, domain, labels[domain]))

    def note(text: str | None) -> str | None:
        made.update(() if text is None else (text,))
        return text

    connection.create_scalar_function("twin_hash", twin_hash, 2, deterministic=True)
    connection.create_scalar_function("twin_token", twin_token, 2, deterministic=True)
    connection.execute(views)
    return connection


def _make(database: PostgresDatabase, tokenizer: Tokenizer, rows: Rows) -> list[str]:
    """Write down what each value's hash and token is: HMAC as Python has it, under the installation's key."""
    made = {}
    for kind, domain, table, column in _MADE:
        labels = _labels(table, column)
        for value in {row[column] for row in rows[table]} - {None}:
            assert value is not None
            hashed = kind == "hash"
            made[kind, domain, value] = (
                _hmac(tokenizer, domain, value) if hashed else tokenizer.token(value, domain, labels)
            )
    values = ", ".join(f"({', '.join(map(literal, (*names, text)))})" for names, text in made.items())
    database.run(f"INSERT INTO twin.made VALUES {values}")
    return list(made.values())


def _hmac(tokenizer: Tokenizer, domain: str, value: str) -> str:
    """As Python has it, under the installation's key: the block without the padding."""
    key = bytes(byte ^ 0x36 for byte in tokenizer.pad(domain, "inner"))[:32]
    return hmac.new(key, value.encode(), "sha256").hexdigest()


def _labels(table: str, column: str) -> list[str]:
    label = TABLES[table].labels.get(column)
    return [label] if label else []


def _twin(database: PostgresDatabase, agent: str) -> psycopg.Connection[Any]:
    connection = _connected(database, agent)
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"twin_{agent}")))
    return connection


def _connected(database: PostgresDatabase, path: str) -> psycopg.Connection[Any]:
    connection = database.server.connect(database.name)
    connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(path)))
    connection.execute("SET TimeZone = 'UTC'; SET statement_timeout = '5s'")
    for name in ("uuid", "json", "jsonb"):
        connection.adapters.register_loader(name, TextLoader)
    return connection
