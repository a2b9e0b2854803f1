"""Which table of the dataset a name is."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from remit.core.dataset import Table
from remit.core.view.model import ViewRefused
from remit.core.view.scope import Text, known

_SYSTEM_SCHEMAS = frozenset(["pg_catalog", "information_schema", "pg_toast", "pg_temp", "sqlite_temp_master"])
_SYSTEM_PREFIXES = ("pg_", "sqlite_", "pragma_")


def is_system(name: str) -> bool:
    """Whether a database keeps its own things under this name."""
    return name.lower() in _SYSTEM_SCHEMAS or name.lower().startswith(_SYSTEM_PREFIXES)


class Tables:
    """A dataset's tables and columns, by what its database takes for the same name."""

    def __init__(self, text: Text, dataset: str, tables: Mapping[str, Table]) -> None:
        self._text = text
        self._dataset = dataset
        self._tables = tables
        self._names = {text.key(name): name for name in tables}

    def find(self, node: exp.Expr) -> str:
        """The table that a node of a FROM names. Raises ViewRefused: another dataset, a system catalogue, unknown."""
        name, schema = self._text.folded(node.this), node.args.get("db")
        if schema is not None and not self.is_dataset(schema):
            other = self._text.folded(schema)
            if is_system(other):
                raise self._system(node, other)
            raise self._text.refused(f"another dataset, {other}", node, expected=f"tables of {self._dataset}")
        found = self._names.get(self._text.key(name))
        if found is None and is_system(name):
            raise self._system(node, name)
        if found is None:
            raise self._text.refused(
                f"unknown table {name}", node, expected=f"a table of {self._dataset}: {known(list(self._tables), name)}"
            )
        return found

    def is_dataset(self, schema: exp.Expr) -> bool:
        """Whether a name is the dataset's own."""
        return self._text.key_of(schema) == self._text.key(self._dataset)

    def columns(self, table: str) -> dict[str, str]:
        """A table's columns: key -> name, in the catalogue's order."""
        return {self._text.key(column): column for column in self._tables[table].columns}

    def _system(self, node: exp.Expr, name: str) -> ViewRefused:
        return self._text.refused(
            f"a system catalogue, {name}",
            node,
            expected=f"tables of {self._dataset}: {known(list(self._tables), name)}",
        )
