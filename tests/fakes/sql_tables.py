"""Four small tables for generated queries, in PostgreSQL and SQLite: a column of every type, NULLs and duplicates.

Every value comes from a small pool, so that joins meet and comparisons hold; sums of doubles are exact in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from psycopg import sql
from remit.core.view.model import Dialect


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of column: its type in each database, and what can be in it as PostgreSQL's text."""

    postgres: str
    sqlite: str
    values: tuple[str, ...]


# By the generator's names of types.
POOLS: Mapping[str, Pool] = {
    "int": Pool("integer", "INTEGER", tuple(map(str, (0, 1, 2, 3, 4, 5, 7, 9, 12, -1, -4, 20)))),
    "num": Pool("numeric(12,2)", "NUMERIC", ("0.00", "1.50", "2.25", "10.00", "99.75", "-3.50", "1000.25", "12.00")),
    "float": Pool("double precision", "REAL", ("0", "0.25", "1.5", "-2.75", "8", "100.5", "3")),
    "text": Pool("text", "TEXT", ("", "eu", "us", "Eu", "a%b", "x_y", "ann@a.io", "bob@b.io", "é", "o'k", "ann", "zz")),
    "bool": Pool("boolean", "BOOLEAN", ("true", "false")),
    "date": Pool("date", "DATE", ("2024-01-01", "2024-02-29", "2023-12-31", "2024-03-15", "1999-07-04")),
    "ts": Pool("timestamp", "TIMESTAMP", ("2024-01-01 00:00:00", "2024-02-29 13:45:10", "2023-12-31 23:59:59")),
    "tz": Pool(
        "timestamptz",
        "TIMESTAMP",
        ("2024-01-01 00:00:00+00:00", "2024-02-29 22:30:00+00:00", "2023-06-01 12:00:00+00:00"),
    ),
    "time": Pool("time", "TEXT", ("00:00:00", "08:30:00", "23:59:59")),
    "interval": Pool("interval", "TEXT", ("00:00:00", "01:30:00", "3 days", "-02:00:00")),
    "uuid": Pool("uuid", "TEXT", tuple(f"0000000{n}-0000-4000-8000-00000000000{n}" for n in range(1, 5))),
    "json": Pool("jsonb", "JSON", ('{"k": 1}', '{"k": "v"}', "[1, 2]", "{}", '{"k": null}')),
    "bytes": Pool("bytea", "BLOB", ("\\x", "\\x00ff", "\\x616263")),
    "any": Pool("shop.mood", "TEXT", ("low", "mid", "top")),
}


@dataclass(frozen=True, slots=True)
class Shop:
    """A table: its columns by name, with the generator's type of each. `id` is its key, and is never NULL."""

    columns: Mapping[str, str]
    rows: int
    labels: Mapping[str, str]
    subject: str = ""


TABLES: Mapping[str, Shop] = {
    "customers": Shop(
        {
            "id": "int",
            "parent_id": "int",
            "region": "text",
            "name": "text",
            "email": "text",
            "score": "float",
            "balance": "num",
            "active": "bool",
            "born": "date",
            "seen": "tz",
            "code": "uuid",
            "notes": "json",
        },
        18,
        {"email": "pii", "name": "pii"},
        "id",
    ),
    "orders": Shop(
        {
            "id": "int",
            "customer_id": "int",
            "region": "text",
            "status": "text",
            "amount": "num",
            "qty": "int",
            "ordered": "date",
            "placed": "ts",
            "paid": "bool",
            "rate": "float",
        },
        24,
        {"amount": "finance"},
        "customer_id",
    ),
    "items": Shop(
        {
            "id": "int",
            "order_id": "int",
            "product_id": "int",
            "qty": "int",
            "price": "num",
            "opens": "time",
            "took": "interval",
            "raw": "bytes",
            "label": "text",
        },
        26,
        {},
    ),
    "products": Shop(
        {"id": "int", "name": "text", "kind": "any", "price": "float", "made": "date", "tags": "json", "code": "uuid"},
        10,
        {"name": "pii"},
    ),
}
LARGEST = max(table.rows for table in TABLES.values())
KEYS = frozenset({"parent_id", "customer_id", "order_id", "product_id"})

# Other names of types of the same kind, in PostgreSQL.
_DECLARED = {
    ("orders", "id"): "bigint",
    ("orders", "status"): "character varying(12)",
    ("items", "qty"): "smallint",
    ("products", "price"): "real",
    ("customers", "region"): "character(2)",
}
_SHORT = {"region": ("eu", "us", "Eu", "zz")}

Rows = Mapping[str, list[dict[str, str | None]]]


def rows_of(dice: random.Random) -> Rows:
    """Rows of every table, as PostgreSQL's text; a quarter of all is NULL, and some rows are alike but for their id."""
    return {name: [_row(table, number, dice) for number in range(1, table.rows + 1)] for name, table in TABLES.items()}


def _row(table: Shop, number: int, dice: random.Random) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for column, type in table.columns.items():
        pool = _SHORT.get(column, POOLS[type].values)
        if column in KEYS:
            pool = tuple(map(str, range(1, 13)))
        row[column] = None if dice.random() < 0.25 else dice.choice(pool)
    return {**row, "id": str(number)}


def fill_postgres(run: Callable[[str], None], rows: Rows) -> None:
    """Make the tables in the schema `shop`."""
    run("CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('low', 'mid', 'top')")
    for name, table in TABLES.items():
        columns = [
            f"{column} {_DECLARED.get((name, column), POOLS[type].postgres)}" for column, type in table.columns.items()
        ]
        run(f"CREATE TABLE shop.{name} ({', '.join(columns)}, PRIMARY KEY (id))")
        literals = [f"({', '.join(_literal(row[column]) for column in table.columns)})" for row in rows[name]]
        run(f"INSERT INTO shop.{name} VALUES {', '.join(literals)}")
    run("CREATE INDEX ON shop.orders (customer_id); CREATE INDEX ON shop.items (order_id); ANALYZE")


def fill_sqlite(file: Path, rows: Rows) -> None:
    """Make the tables in a new file."""
    connection = apsw.Connection(str(file))
    with connection:
        for name, table in TABLES.items():
            columns = [f"{column} {POOLS[type].sqlite}" for column, type in table.columns.items()]
            connection.execute(f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY (id))")
            places = ", ".join("?" * len(table.columns))
            values = [
                [_sqlite_value(row[column], type) for column, type in table.columns.items()] for row in rows[name]
            ]
            connection.executemany(f"INSERT INTO {name} VALUES ({places})", values)
    connection.close()


def catalogue(dialect: Dialect) -> str:
    """The dataset's `tables`, as a catalogue's YAML has them (flow style, one line)."""
    parts = []
    for name, table in TABLES.items():
        columns = ", ".join(f"{column}: [{table.labels.get(column, '')}]" for column in table.columns)
        subject = f", subject_key: {table.subject}" if table.subject else ""
        source = f", source: shop.{name}" if dialect is Dialect.POSTGRES else ""
        parts.append(f"{name}: {{columns: {{{columns}}}{subject}{source}}}")
    return "{" + ", ".join(parts) + "}"


def _literal(text: str | None) -> str:
    return "NULL" if text is None else sql.Literal(text).as_string(None)


def _sqlite_value(text: str | None, type: str) -> Any:
    if text is None:
        return None
    match type:
        case "int":
            return int(text)
        case "num" | "float":
            return float(text)
        case "bool":
            return int(text == "true")
        case "bytes":
            return bytes.fromhex(text.removeprefix("\\x"))
    return text
