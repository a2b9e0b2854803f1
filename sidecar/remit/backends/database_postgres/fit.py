"""Whether a database is as the catalogue says: its tables and columns are there, readable, and not to be changed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from psycopg import AsyncRawCursor

from remit.backends.database_columns import refuse_any
from remit.backends.database_postgres.connection import Connection
from remit.backends.database_postgres.types import column_type
from remit.core.dataset import Table
from remit.core.view.model import Column, Columns, ColumnType

SCHEMA = "public"  # of a table whose source names none

_NAME = r'(?:"[^"\0]{1,63}"|[a-z_][a-z0-9_$ ]{0,62})'
_DECLARED = re.compile(rf"{_NAME}(?:\.{_NAME})?(?:\[\])?")
# A domain is what it is made of. Without a length: a type is to be cast to, and must not cut what it is cast from.
_COLUMNS = """
WITH RECURSIVE found AS (
  SELECT n.nspname AS schema, c.relname AS name, c.oid AS relation, a.attname AS column, a.attnum AS place,
    a.atttypid AS type
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT f.schema, f.name, f.relation, f.column, f.place, t.typbasetype
  FROM found f JOIN pg_catalog.pg_type t ON t.oid = f.type WHERE t.typtype = 'd'
)
SELECT f.schema::text, f.name::text, f.column::text, pg_catalog.format_type(f.type, -1), t.typname::text,
  t.typnamespace = 'pg_catalog'::regnamespace,
  pg_catalog.has_schema_privilege(f.schema, 'USAGE') AND
    pg_catalog.has_column_privilege(f.relation, f.place, 'SELECT'),
  pg_catalog.has_table_privilege(f.relation, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
    OR pg_catalog.has_any_column_privilege(f.relation, 'INSERT, UPDATE')
FROM found f JOIN pg_catalog.pg_type t ON t.oid = f.type
WHERE t.typtype <> 'd'
"""

_Place = tuple[str, str]


async def fitting_columns(connection: Connection, tables: Mapping[str, Table]) -> Columns:
    """The types of the catalogue's columns. Raises DatabaseFailed (NOT_FIT), and psycopg's errors."""
    places = {name: _place(name, table) for name, table in tables.items()}
    cursor = AsyncRawCursor(connection)
    wanted = sorted(set(places.values()))
    await cursor.execute(_COLUMNS.encode(), ([place[0] for place in wanted], [place[1] for place in wanted]))
    found: dict[_Place, dict[str, Column]] = {}
    problems: list[str] = []
    hidden: dict[_Place, set[str]] = {}
    changeable: set[_Place] = set()
    for schema, name, column, declared, base, builtin, readable, writable in await cursor.fetchall():
        place = (schema, name)
        kind = column_type(base) if builtin else ColumnType.ANY
        found.setdefault(place, {})[column] = Column(kind, declared if _DECLARED.fullmatch(declared) else "")
        if not readable:
            hidden.setdefault(place, set()).add(column)
        if writable:
            changeable.add(place)
    for name, place in places.items():
        columns = set(tables[name].columns)
        problems += _problems(".".join(place), columns, found.get(place), hidden.get(place, set()))
        if place in changeable:
            problems.append(f"the reader may change {'.'.join(place)}")
    refuse_any(problems)
    return {name: {column: found[place][column] for column in tables[name].columns} for name, place in places.items()}


def _place(name: str, table: Table) -> _Place:
    schema, dot, rest = (table.source or name).partition(".")
    return (schema, rest) if dot else (SCHEMA, schema)


def _problems(place: str, wanted: set[str], found: Mapping[str, Column] | None, hidden: set[str]) -> list[str]:
    if found is None:
        return [f"there is no table {place}"]
    return [
        *(f"there is no column {place}.{each}" for each in sorted(wanted - found.keys())),
        *(f"the reader may not read {place}.{each}" for each in sorted(wanted & hidden)),
    ]
