"""The second wall: what a plan may touch, as SQLite itself sees it while it prepares the statement.

Whatever the text was made of, a statement that reads another table or column than the plan's, calls another function,
or is anything but a SELECT is not prepared (https://sqlite.org/c3ref/set_authorizer.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from remit.core.view.bindings import quoted
from remit.core.view.model import Plan

HASH, TOKEN = "remit_hash", "remit_token"

_ALWAYS = frozenset({HASH, TOKEN, "like"})  # LIKE calls a function of that name
_NEVER = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})

Reads = Mapping[str, frozenset[str]]


class Objects:
    """What a schema holds: names of tables, views and table functions, all lower case."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.version: int = connection.execute("PRAGMA schema_version").get
        found: list[tuple[Any, ...]] = connection.execute(
            "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')"
        ).fetchall()
        modules: list[tuple[Any, ...]] = connection.execute("PRAGMA module_list").fetchall()
        self.names = frozenset(_lower(name) for name, _ in found) | frozenset(_lower(name) for (name,) in modules)
        self.views: dict[str, str] = {_lower(name): name for name, type in found if type == "view"}
        self._beneath: dict[str, tuple[frozenset[tuple[str, str, str]], frozenset[str]]] = {}

    def beneath(self, connection: apsw.Connection, view: str) -> tuple[frozenset[tuple[str, str, str]], frozenset[str]]:
        """All that a view of the schema reads itself, (view, table, column), and calls."""
        if view not in self._beneath:
            reads: set[tuple[str, str, str]] = set()
            calls: set[str] = set()

            def note(code: int, first: str | None, second: str | None, _: str | None, via: str | None) -> int:
                if code == apsw.SQLITE_READ:
                    reads.add((_lower(via), _lower(first), _lower(second)))
                if code == apsw.SQLITE_FUNCTION:
                    calls.add(_lower(second))
                return int(apsw.SQLITE_OK)

            connection.authorizer = note
            try:
                name = quoted(self.views[view])
                connection.execute(f"EXPLAIN SELECT * FROM main.{name}", can_cache=False).close()  # noqa: S608
            finally:
                connection.authorizer = None
            self._beneath[view] = (frozenset(each for each in reads if each[0]), frozenset(calls))
        return self._beneath[view]


class Wall:
    """What one plan may touch."""

    def __init__(self, plan: Plan, objects: Objects, connection: apsw.Connection) -> None:
        self._reads = {
            _lower(table).removeprefix("main."): frozenset(map(_lower, columns))
            for table, columns in plan.reads.items()
        }
        self._calls = (frozenset(map(_lower, plan.functions)) | _ALWAYS) - _NEVER
        self._names = objects.names
        self._with = frozenset(map(_lower, plan.names))
        self._beneath: frozenset[tuple[str, str, str]] = frozenset()
        for view in sorted(self._reads.keys() & objects.views.keys()):
            reads, calls = objects.beneath(connection, view)
            self._beneath |= reads
            self._calls |= calls - _NEVER
        self.refused = ""

    def __call__(self, code: int, first: str | None, second: str | None, database: str | None, via: str | None) -> int:
        """SQLite's question: may it? `refused` says what was not let through."""
        if code == apsw.SQLITE_SELECT:
            return int(apsw.SQLITE_OK)
        if code == apsw.SQLITE_FUNCTION and _lower(second) in self._calls:
            return int(apsw.SQLITE_OK)
        if code == apsw.SQLITE_READ and self._may_read(_lower(first), _lower(second), database, _lower(via)):
            return int(apsw.SQLITE_OK)
        self.refused = self.refused or f"{apsw.mapping_authorizer_function.get(code, code)} {first} {second}"
        return int(apsw.SQLITE_DENY)

    def _may_read(self, table: str, column: str, database: str | None, via: str) -> bool:
        if database not in ("main", None):
            return False
        if column in self._reads.get(table, ()) or (via, table, column) in self._beneath:
            return True
        if column:
            return False
        if database is None and table in self._with:  # a name in WITH hides a table's, unless a schema stands before it
            return True
        # "" of a table that gives no column (also where a view on it was dissolved: its rows can be counted then), and
        # of a common table expression's name.
        beneath = any(name == table for _, name, _ in self._beneath)
        return beneath or table in self._reads or not (table in self._names or table.startswith(("sqlite_", "pragma_")))


def _lower(name: str | None) -> str:
    return (name or "").lower()
