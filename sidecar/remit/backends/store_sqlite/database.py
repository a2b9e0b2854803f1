"""One connection, in the four ways in which it is used. Prepared statements are kept by apsw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw

from remit.core.errors import StoreUnavailable

Row = tuple[Any, ...]


class Database:
    """A connection to the store's file; not to be used by two threads at once."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        cursor = connection.cursor()
        self._execute, self._execute_many = cursor.execute, cursor.executemany

    def do(self, sql: str, *values: object) -> int:
        """Run statements; how many rows the last one changed."""
        self._execute(sql, values).fetchall()
        return self.connection.changes()

    def each(self, sql: str, rows: Iterable[Row]) -> None:
        """Run one statement for each of many rows of values."""
        self._execute_many(sql, rows).fetchall()

    def all(self, sql: str, *values: object) -> list[Row]:
        """All rows, read to the end, so that no snapshot stays open."""
        return self._execute(sql, values).fetchall()

    def one(self, sql: str, *values: object) -> Row | None:
        """The first row."""
        rows = self.all(sql, *values)
        return rows[0] if rows else None

    def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, *values)
        return row[0] if row else None


class ReadDatabase(Database):
    """A connection that only reads; what goes wrong is StoreUnavailable."""

    def all(self, sql: str, *values: object) -> list[Row]:
        """All rows."""
        try:
            return super().all(sql, *values)
        except apsw.Error as error:
            raise StoreUnavailable(f"{self.connection.filename} cannot be read: {error}") from error
