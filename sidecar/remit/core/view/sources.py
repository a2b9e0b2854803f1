"""What a FROM brings into a SELECT: tables of the dataset, each a use of its own, sub-queries, and names of a WITH."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from remit.core.view.model import Dialect
from remit.core.view.scope import Scope, Source, Text, UseDraft
from remit.core.view.tables import Tables

Ctes = Mapping[str, Sequence[str]]
"""A WITH's names (keys), with the names of their outputs."""
Query = Callable[[exp.Expr, Ctes, Scope | None], list[str]]


class Sources:
    """Reads FROM clauses: fills scopes, and drafts a use for each table in them."""

    def __init__(self, text: Text, tables: Tables, query: Query) -> None:
        self._text = text
        self._tables = tables
        self._query = query
        self.uses: list[UseDraft] = []
        self.forward: list[frozenset[str]] = []

    def read(self, select: exp.Expr, scope: Scope, ctes: Ctes) -> list[str]:
        """Put a SELECT's sources into its scope. Gives the names that its star stands for, in order."""
        found = select.args.get("from_")
        if found is None:
            return []
        return self._joined(found.this, select.args.get("joins") or [], scope, ctes)

    def see(self, source: Source, column: str) -> None:
        """A column, by key, of a source is named: if the source is a table, its use must have it."""
        if source.use is not None:
            self.uses[source.use].seen.add(source.columns[column])

    def _joined(self, first: exp.Expr, joins: list[exp.Expr], scope: Scope, ctes: Ctes) -> list[str]:
        done: list[str] = []  # of items before the last comma, which USING does not reach
        names = self._item(first, scope, ctes)
        for join in joins:
            right = self._item(join.this, scope, ctes)
            plain = not any(join.args.get(part) for part in ("side", "kind", "on", "using"))
            if plain and self._text.dialect is Dialect.POSTGRES:
                done, names = [*done, *names], right
            else:
                names = self._merged(names, right, join.args.get("using") or [], scope)
            scope.joins.append(join)
        return [*done, *names]

    def _merged(self, left: list[str], right: list[str], using: list[exp.Expr], scope: Scope) -> list[str]:
        """USING shows its columns once: first of all in PostgreSQL, at the left's place in SQLite."""
        keys = [self._text.key_of(name) for name in using]
        for name, column in zip(using, keys, strict=True):
            listing = scope.listing(column)
            if len(listing) < 2:
                raise self._text.refused(
                    f"USING ({self._text.folded(name)}), which not both sides have", name, expected="a column of both"
                )
            for source in listing:
                self.see(source, column)
            name.set("this", listing[0].columns[column])
        if not keys:
            return [*left, *right]
        rest = [name for name in right if self._text.key(name) not in keys]
        if self._text.dialect is Dialect.SQLITE:
            return [*left, *rest]
        return [*keys, *(name for name in left if name not in keys), *rest]

    def _item(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> list[str]:
        if isinstance(node, exp.Table):
            names = self._table(node, scope, ctes)
        elif isinstance(node, exp.Subquery) and isinstance(_core(node), exp.Select | exp.SetOperation):
            names = self._derived(node, scope, ctes)
        elif isinstance(node, exp.Subquery):
            names = self._bracket(node, scope, ctes)
        else:
            raise self._text.refused("an odd item of FROM", node, expected="a table or a sub-query")
        joins = node.args.get("joins")
        return self._rest(names, joins, scope, ctes) if joins else names

    def _rest(self, names: list[str], joins: list[exp.Expr], scope: Scope, ctes: Ctes) -> list[str]:
        """The joins that sqlglot hangs on an item rather than on the SELECT."""
        for join in joins:
            names = self._merged(names, self._item(join.this, scope, ctes), join.args.get("using") or [], scope)
            scope.joins.append(join)
        return names

    def _bracket(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> list[str]:
        """(a JOIN b …): its tables are seen from outside; with an alias they would not be."""
        if any(node.args.get(part) for part in ("alias", "with_", "order", "limit", "offset")):
            raise self._text.refused("a join with a name", node, expected="a name on each table, or a sub-query")
        return self._item(node.this, scope, ctes)

    def _table(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> list[str]:
        alias = node.args.get("alias")
        name = self._text.key_of(node.this)
        if alias is not None and alias.args.get("columns"):
            raise self._text.refused("new names for a table's columns", node, expected="a sub-query with AS")
        if node.args.get("db") is None:
            if any(name in names for names in self.forward):
                raise self._text.refused(
                    "a WITH that is read by itself or before it", node, expected="WITH in the order of use"
                )
            if name in ctes:
                shown = alias.this if alias is not None else node.this
                return self._add(scope, node, self._text.folded(shown), ctes[name])
        table = self._tables.find(node)
        shown = self._text.folded(alias.this if alias is not None else node.this)
        node.this.set("this", table)
        if alias is None:
            shown = table
        columns = self._tables.columns(table)
        self._put(scope, node, Source(shown, columns, len(self.uses)))
        node.meta["use"] = len(self.uses)
        self.uses.append(UseDraft(table, shown))
        return list(columns.values())

    def _derived(self, node: exp.Expr, scope: Scope, ctes: Ctes) -> list[str]:
        """A sub-query reads nothing of its neighbours: only what is around the whole SELECT."""
        alias = node.args.get("alias")
        names = self._query(node, ctes, scope.outer)
        if alias is None:
            if self._text.dialect is Dialect.POSTGRES:
                raise self._text.refused("a sub-query in FROM without a name", node, expected="(SELECT …) AS name")
            return self._add(scope, node, f" {len(scope.sources)}", names)
        if alias.args.get("columns") and self._text.dialect is Dialect.SQLITE:
            raise self._text.refused("new names for a sub-query's columns", alias, expected="AS in it, or WITH")
        return self._add(scope, node, self._text.folded(alias.this), self.renamed(names, alias))

    def renamed(self, names: Sequence[str], alias: exp.Expr) -> list[str]:
        """Outputs under the names that an alias gives them: name(a, b)."""
        new = [self._text.folded(column) for column in alias.args.get("columns") or ()]
        if len(new) > len(names):
            raise self._text.refused(
                f"{len(new)} names for {len(names)} columns", alias, expected="a name for each column"
            )
        return [*new, *names[len(new) :]]

    def _add(self, scope: Scope, node: exp.Expr, alias: str, names: Sequence[str]) -> list[str]:
        self._put(scope, node, Source(alias, {self._text.key(name): name for name in names if name}))
        return list(names)

    def _put(self, scope: Scope, node: exp.Expr, source: Source) -> None:
        name = self._text.key(source.alias)
        if name in scope.sources:
            raise self._text.refused(f"two tables named {source.alias}", node, expected="an alias for each")
        scope.sources[name] = source


def _core(node: exp.Expr) -> exp.Expr:
    """What brackets hold, unless they hold a join."""
    while isinstance(node, exp.Subquery) and not (node.this.args.get("joins") and isinstance(node.this, exp.Subquery)):
        node = node.this
    return node
