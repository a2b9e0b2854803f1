"""What sidecars with datasets stand on: a catalogue, a view, and a database of people to read and notes to write."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fakes.postgres_server import PostgresDatabase
from remit.backends.named_write import EXECUTIONS_SQL
from remit.core.view.model import Dialect
from running import prepare

COST = 10_000_000
"""Of each write, in nanos: 0.01 EUR."""

PEOPLE, REGIONS, COLUMNS = 12_000, 12, 6
"""Answers of all people are of more than are recorded by name; each column has a label of its own."""

WRITERS, READERS = ("w0", "w1", "w2", "w3"), ("r0", "r1", "r2", "r3")
"""The last reader is only observed."""

_LABELS = ", ".join(["noted", *(f"l{number}" for number in range(COLUMNS))])
_VIEW = 'package remit.views.crm\n\ninclude if input.resource.operation == "people"\n'
_SCHEMA = """
CREATE TABLE people (id INTEGER PRIMARY KEY, region INTEGER, {columns});
CREATE TABLE notes (id {serial}, number INTEGER);
CREATE TABLE slots (slot INTEGER PRIMARY KEY, number INTEGER);
{executions};
INSERT INTO people SELECT n, n % {regions}, {values} FROM {numbers};
"""
_CATALOGUE = """
currency: EUR
teams: {{cx: {{}}}}
agents:
{agents}
datasets:
  crm:
    owner: cx
    {reader}
    clearance: [{labels}]
    limits: {{rows: 100000, bytes: 100000000, seconds: 10}}
    tables:
      people: {{subject_key: id, columns: {{id: [], region: [], {columns}}}}}
    writer: {{{writer}}}
    statements:
      add:
        sql: INSERT INTO notes (number) VALUES (:number) RETURNING id
        parameters: {{number: integer}}
        labels: [noted]
        cost: 0.01
      take:
        sql: INSERT INTO slots (slot, number) VALUES (:slot, :number)
        parameters: {{slot: integer, number: integer}}
        cost: 0.01
budgets: {{total: {{limit: 1000000}}}}
"""


@dataclass(frozen=True)
class Place:
    """One sidecar's directory, and a look into its dataset."""

    directory: Path
    rows: Callable[[str], Sequence[Sequence[Any]]]


def token(agent: str) -> str:
    """What an agent shows."""
    return f"tok-{agent}"


def on_sqlite(directory: Path, mode: str) -> Place:
    """With its dataset in a file; `mode` is SQLite's journal mode."""
    path = directory / "crm.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.executescript(
            _schema(
                Dialect.SQLITE,
                "INTEGER PRIMARY KEY AUTOINCREMENT",
                f"(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {PEOPLE}) SELECT n FROM c)",
            )
        )
    url = f'url: "sqlite://{path}"'
    _prepare(directory, url, url)

    def rows(statement: str) -> Sequence[Sequence[Any]]:
        with closing(sqlite3.connect(path)) as database:
            return database.execute(statement).fetchall()

    return Place(directory, rows)


def on_postgres(directory: Path, database: PostgresDatabase) -> Place:
    """With its dataset in a database of a server that can be killed."""
    numbers = f"generate_series(1, {PEOPLE}) AS n"
    database.run(_schema(Dialect.POSTGRES, "INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY", numbers))
    reader = _secret(directory / "reader", database.reader_password)
    writer = _secret(directory / "writer", database.writer_password)
    _prepare(
        directory,
        f'url: "{database.reader}"\n    credential: {{file: "{reader}"}}',
        f'url: "{database.writer}", credential: {{file: "{writer}"}}',
    )
    return Place(directory, database.rows)


def _schema(dialect: Dialect, serial: str, numbers: str) -> str:
    columns = [f"c{number}" for number in range(COLUMNS)]
    return _SCHEMA.format(
        columns=", ".join(f"{column} TEXT" for column in columns),
        values=", ".join(f"'{column}-' || n" for column in columns),
        serial=serial,
        executions=EXECUTIONS_SQL[dialect],
        regions=REGIONS,
        numbers=numbers,
    )


def _prepare(directory: Path, reader: str, writer: str) -> None:
    columns = ", ".join(f"c{number}: [l{number}]" for number in range(COLUMNS))
    agents = "\n".join(_agent(name) for name in (*WRITERS, *READERS))
    prepare(directory, _CATALOGUE.format(agents=agents, reader=reader, writer=writer, labels=_LABELS, columns=columns))
    (directory / "policies").mkdir()
    (directory / "policies" / "crm.rego").write_text(_VIEW)


def _agent(name: str) -> str:
    mode = "observe" if name == READERS[-1] else "enforce"
    hashed = sha256(token(name).encode()).hexdigest()
    return (
        f"  {name}: {{team: cx, roles: [worker], purposes: [work], clearance: [{_LABELS}], mode: {mode},"
        f' identity: {{token_hash: "sha256:{hashed}"}}}}'
    )


def _secret(path: Path, value: str) -> Path:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as written:
        written.write(value)
    return path
