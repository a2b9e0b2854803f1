"""What a fence costs: one query on a million rows in the forms that a view can take, on PostgreSQL and SQLite.

`python -m bench.fences` prints a table; docs/decisions/0007-views-are-fences.md has the figures. The forms are texts
that `rewrite` made, or would make; each is run in turn with the others, with another value each time. The row filter
shows a third of the rows.

none        the statement on the table itself
sub-query   FROM (SELECT … WHERE filter): both databases merge it, and it is no fence
offset      the same with OFFSET 0: a fence too, where no output is a plain column
fence       WITH … AS MATERIALIZED, nothing moved
moved       the same, with the statement's own safe conditions within: what Remit does
barrier     PostgreSQL's security_barrier view
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import psycopg
from fakes.postgres_server import READER, fresh_database, postgres_server
from remit.core.dataset import Table
from remit.core.view.model import Column, ColumnType, Compare, Constant, Dialect, Statement, TableView, Text
from remit.core.view.rewrite import rewrite
from remit.core.view.statement import parse_statement

from bench.rows import Row, show

ROWS = 1_000_000
NAMES = ("id", "account", "region", "name", "score")
QUERIES = {
    "key": "SELECT id, name, score FROM customers WHERE id = :v",
    "index": "SELECT id, name, score FROM customers WHERE account = :v",
    "range": "SELECT count(*), sum(score) FROM customers WHERE id BETWEEN :v AND 4000",
    "scan": "SELECT count(*) FROM customers WHERE abs(score) > :v",
}
"""By the primary key; by an index, ten rows of which a third is shown; a few thousand keys; and none of these."""

TABLES = {"customers": Table(dict.fromkeys(NAMES, ()))}
VIEW = {"customers": TableView("customers", Compare("region", "eq", "eu"))}
COLUMNS = {
    Dialect.POSTGRES: dict(zip(NAMES, ("bigint", "integer", "text", "text", "integer"), strict=True)),
    Dialect.SQLITE: dict(zip(NAMES, ("INTEGER", "INTEGER", "TEXT", "TEXT", "INTEGER"), strict=True)),
}
SETTINGS = {"fsync": "off", "shared_buffers": "512MB", "max_connections": "20"}

SECONDS = 1.5

Run = Callable[[Text, int], object]


def texts(query: str, dialect: Dialect) -> Mapping[str, Text]:
    """The forms of a query."""
    statement = parse_statement(query, dataset="crm", tables=TABLES, dialect=dialect)
    still = replace(statement, uses=tuple(replace(use, conditions=()) for use in statement.uses))
    moved, fence = _text(statement, dialect), _text(still, dialect)
    start, end = fence.sql.split(") SELECT ", 1)
    name, body = start.removeprefix("WITH ").split(" AS MATERIALIZED (", 1)

    plain = re.sub(r"CASE WHEN now\(\) > '-infinity' THEN (\S+) END", r"\1", body)

    def derived(view: str) -> Text:
        return replace(fence, sql="SELECT " + end.replace(f"FROM {name}", f"FROM ({view})"))

    found = {
        "none": derived(plain.split(" WHERE ")[0]),
        "sub-query": derived(plain),
        "offset": derived(f"{body} {'LIMIT -1 ' if dialect is Dialect.SQLITE else ''}OFFSET 0"),
        "fence": fence,
        "moved": moved,
    }
    if dialect is Dialect.POSTGRES:
        barrier = end.replace(f"FROM {name}", "FROM public.shown")
        found["barrier"] = replace(fence, sql=f"SELECT {barrier}")
    return {form: _with_all_places(text) for form, text in found.items()}


def _text(statement: Statement, dialect: Dialect) -> Text:
    columns = {
        "customers": {
            name: Column(ColumnType.TEXT if declared.lower() == "text" else ColumnType.INTEGER, declared)
            for name, declared in COLUMNS[dialect].items()
        }
    }
    return rewrite(statement, VIEW, tables=TABLES, columns=columns, rows=10_000).text


def _with_all_places(text: Text) -> Text:
    """PostgreSQL wants the type of every place, also of one that a form leaves out: the filter's value is put in."""
    sql, kept = text.sql, []
    for number, binding in enumerate(text.bindings, 1):
        for sigil in "$?":
            place = f"{sigil}{number}"
            if isinstance(binding, Constant):
                sql = sql.replace(place, f"'{binding.value}'")
            elif place in sql:
                kept.append(binding)
                sql = sql.replace(place, f"{sigil}{len(kept)}")
    return Text(sql, tuple(kept))


def measure(rounds: int, calls: int) -> Iterator[Row]:
    """The rows of both databases."""
    with ExitStack() as stack:
        for dialect, run in ((Dialect.POSTGRES, _postgres(stack)), (Dialect.SQLITE, _sqlite(stack))):
            for query, sql in QUERIES.items():
                forms = texts(sql, dialect)
                _check_alike(run, forms)
                taken = _taken(run, forms, rounds, calls)
                for form, value in taken.items():
                    ratio = value / taken["none"]
                    name = f"fence_{dialect}_{query}_{form.replace('-', '_')}"
                    yield Row(name, value, "ms", against="none", ratio=None if form == "none" else ratio)


def _check_alike(run: Run, forms: Mapping[str, Text]) -> None:
    """All that filter give the same rows."""
    answers = {form: run(text, 77) for form, text in forms.items() if form != "none"}
    assert all(answer == answers["moved"] for answer in answers.values())


def _taken(run: Run, forms: Mapping[str, Text], rounds: int, calls: int) -> Mapping[str, float]:
    """Milliseconds of each form: the median of all calls; a slow one is called for a second and a half a round."""
    times: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(rounds):
        for form, text in forms.items():
            end = time.perf_counter() + SECONDS
            for call in range(calls):
                value = 3 + (turn * calls + call) * 37 % 900
                started = time.perf_counter()
                run(text, value)
                times[form].append((time.perf_counter() - started) * 1000)
                if time.perf_counter() > end:
                    break
    return {form: statistics.median(each) for form, each in times.items()}


def _postgres(stack: ExitStack) -> Run:
    server = stack.enter_context(postgres_server(SETTINGS))
    database = stack.enter_context(fresh_database(server))
    database.run(
        f"""
        CREATE TABLE customers AS SELECT i::bigint AS id, (i / 10)::integer AS account,
          (ARRAY['eu', 'us', 'apac'])[1 + i % 3] AS region, 'customer ' || i AS name, (i % 1000)::integer AS score
          FROM generate_series(1, {ROWS}) AS i;
        ALTER TABLE customers ADD PRIMARY KEY (id);
        CREATE INDEX ON customers (account);
        CREATE VIEW shown WITH (security_barrier) AS SELECT * FROM customers WHERE region = 'eu'
        """
    )
    database.run("VACUUM ANALYZE customers")
    connection = stack.enter_context(server.connect(database.name, READER))
    connection.prepare_threshold = None
    connection.execute("SET jit = off")
    cursor = stack.enter_context(psycopg.RawCursor(connection))

    def run(text: Text, value: int) -> object:
        return cursor.execute(text.sql.encode(), [value]).fetchall()

    return run


def _sqlite(stack: ExitStack) -> Run:
    folder = Path(stack.enter_context(TemporaryDirectory()))
    connection = apsw.Connection(str(folder / "crm.db"))
    with connection:
        connection.execute(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, account INTEGER, region TEXT, name TEXT, score INTEGER)"
        )
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            ((i, i // 10, ("eu", "us", "apac")[i % 3], f"customer {i}", i % 1000) for i in range(1, ROWS + 1)),
        )
        connection.execute("CREATE INDEX customers_account ON customers (account)")
    connection.execute("ANALYZE")

    def run(text: Text, value: int) -> object:
        return connection.execute(text.sql, (value,)).fetchall()

    return run


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--calls", type=int, default=200)
    given: Any = asked.parse_args()
    show(list(measure(given.rounds, given.calls)))


if __name__ == "__main__":
    main()
