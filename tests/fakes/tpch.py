"""TPC-H, made offline by DuckDB: its tables in PostgreSQL and SQLite, and its 22 queries as each of them takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import duckdb
import duckdb_extension_tpch
from fakes.postgres_server import PostgresDatabase
from remit.core.view.model import Dialect

KEYS: Mapping[str, tuple[str, ...]] = {
    "region": ("r_regionkey",),
    "nation": ("n_nationkey",),
    "part": ("p_partkey",),
    "supplier": ("s_suppkey",),
    "partsupp": (),  # below scale 0.01 some come twice
    "customer": ("c_custkey",),
    "orders": ("o_orderkey",),
    "lineitem": ("l_orderkey", "l_linenumber"),
}
_INDEXES = ("lineitem (l_partkey, l_suppkey)", "orders (o_custkey)", "partsupp (ps_partkey)")
_SUBJECTS = {"customer": "c_custkey", "orders": "o_custkey"}
_LABELS = {"c_name": "pii", "c_address": "pii", "c_phone": "pii", "c_acctbal": "finance", "o_totalprice": "finance"}
_POSTGRES = {"VARCHAR": "text"}
_SQLITE = {"VARCHAR": "text", "DATE": "text", "BIGINT": "integer"}

# SQLite has no dates, no EXTRACT, no SUBSTRING … FROM and no names for the columns of a sub-query.
_TO_SQLITE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"cast\(('[0-9-]+') as date\)", r"\1"),
    (r"date ('[0-9-]+')", r"\1"),
    (r"extract\(year from (\w+)\)", r"CAST(strftime('%Y', \1) AS integer)"),
    (r"substring\((\w+) from 1 for 2\)", r"substr(\1, 1, 2)"),
    (r"count\(o_orderkey\)", "count(o_orderkey) AS c_count"),
    (r"as c_orders \(c_custkey,\s+c_count\)", "AS c_orders"),
)


@dataclass(frozen=True, slots=True)
class Tpch:
    """Tables with the types of their columns, rows, and the queries by number as PostgreSQL takes them."""

    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, list[tuple[Any, ...]]]
    queries: Mapping[int, str]

    def query(self, number: int, dialect: Dialect) -> str:
        """A query for one of the databases; PostgreSQL takes all as they are."""
        text = self.queries[number]
        if dialect is Dialect.SQLITE:
            for pattern, replacement in _TO_SQLITE:
                text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
        return text

    def catalogue(self, dialect: Dialect) -> str:
        """The dataset's `tables`, as a catalogue's YAML has them (flow style, one line)."""
        parts = []
        for table, columns in self.columns.items():
            listed = ", ".join(f"{column}: [{_LABELS.get(column, '')}]" for column in columns)
            subject = f", subject_key: {_SUBJECTS[table]}" if table in _SUBJECTS else ""
            source = f", source: tpch.{table}" if dialect is Dialect.POSTGRES else ""
            parts.append(f"{table}: {{columns: {{{listed}}}{subject}{source}}}")
        return "{" + ", ".join(parts) + "}"

    def fill_postgres(self, database: PostgresDatabase) -> None:
        """Make the tables in the schema `tpch`."""
        database.run("CREATE SCHEMA tpch")
        with database.server.connect(database.name) as connection, connection.cursor() as cursor:
            for table, columns in self.columns.items():
                database.run(f"CREATE TABLE tpch.{table} ({_columns(table, columns, _POSTGRES)})")
                with cursor.copy(f"COPY tpch.{table} FROM STDIN".encode()) as copy:
                    for row in self.rows[table]:
                        copy.write_row(row)
        for index in _INDEXES:
            database.run(f"CREATE INDEX ON tpch.{index}")
        database.run("ANALYZE")

    def fill_sqlite(self, file: Path) -> None:
        """Make the tables in a new file."""
        connection = apsw.Connection(str(file))
        with connection:
            for table, columns in self.columns.items():
                connection.execute(f"CREATE TABLE {table} ({_columns(table, columns, _SQLITE)})")
                places = ", ".join("?" * len(columns))
                rows = (tuple(map(_sqlite_value, row)) for row in self.rows[table])
                connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
            for index in _INDEXES:
                connection.execute(f"CREATE INDEX {index.split()[0]}_more ON {index}")
        connection.execute("ANALYZE")
        connection.close()


def make_tpch(scale: float) -> Tpch:
    """TPC-H's data at a scale (1.0 is 6 million lines)."""
    folder = Path(duckdb_extension_tpch.__file__).parent / "extensions"
    connection = duckdb.connect()
    connection.load_extension(str(next(folder.rglob("tpch.duckdb_extension"))))
    connection.execute(f"CALL dbgen(sf = {scale})")
    columns = {table: {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()} for table in KEYS}
    rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in KEYS}
    queries = dict(connection.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
    connection.close()
    return Tpch(columns, rows, {number: text.strip().rstrip(";") for number, text in queries.items()})


def _columns(table: str, columns: Mapping[str, str], types: Mapping[str, str]) -> str:
    typed = [f"{name} {types.get(type, type)}" for name, type in columns.items()]
    return ", ".join(typed + ([f"PRIMARY KEY ({', '.join(KEYS[table])})"] if KEYS[table] else []))


def _sqlite_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, int | str) else str(value)
