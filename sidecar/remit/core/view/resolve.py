"""Every table and column of a statement, against the catalogue: what each use of a table can name.

The database resolves the names itself; each use is replaced by a view that has only the columns found here. So what
matters is that no column is missed that the database would take for a table's: a name without a table goes to the
innermost SELECT that has it, and there to every table that has it. If that finds too many, a label too many is
carried; were it to find too few, the database would know no such column, and show nothing. Exposing fewer columns
than the table has changes no name's meaning: where a name is found, all of that SELECT's columns of that name are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from remit.core.dataset import Table
from remit.core.view.conditions import conditions_of
from remit.core.view.functions import is_aggregate
from remit.core.view.model import Dialect, Use, ViewRefused
from remit.core.view.outputs import output_name
from remit.core.view.scope import Scope, Source, Text, known
from remit.core.view.sources import Ctes, Sources
from remit.core.view.tables import Tables, is_system

_SYSTEM_COLUMNS = frozenset(["ctid", "xmin", "xmax", "cmin", "cmax", "oid", "tableoid", "rowid", "_rowid_"])
_SESSION = frozenset(
    ["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema", "system_user"]
)
_NONE: frozenset[str] = frozenset()
_LISTS = (exp.Paren, exp.Tuple, exp.Ordered, exp.Rollup, exp.Cube, exp.GroupingSets)
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


class Resolution:
    """The walk through one statement's tree; it marks each table in the tree and writes names as the catalogue does."""

    def __init__(self, text: Text, *, dataset: str, tables: Mapping[str, Table]) -> None:
        self._text = text
        self._tables = tables
        self._datasets = Tables(text, dataset, tables)
        self._sources = Sources(text, self._datasets, self._query)
        self._scopes: dict[int, Scope] = {}
        self._aggregates: list[Scope] = []
        self.groups_outside = False
        """Whether an aggregate in a sub-query is over columns of a SELECT around it, and so may group that one."""

    def resolve(self, tree: exp.Expr) -> tuple[Use, ...]:
        """The uses of a whole statement. Raises ViewRefused."""
        self._query(tree, {}, None)
        for name in tree.find_all(exp.Identifier):
            if not name.args.get("quoted"):
                name.set("this", self._text.folded(name))
                name.set("quoted", True)
        return tuple(
            Use(
                draft.table,
                draft.alias,
                tuple(column for column in self._tables[draft.table].columns if column in draft.seen),
                tuple(draft.conditions),
            )
            for draft in self._sources.uses
        )

    def direct(self, select: exp.Expr) -> tuple[int, ...]:
        """The uses in a SELECT's own FROM."""
        return self._scopes[id(select)].uses()

    # Queries: each gives the names of its outputs.

    def _query(self, node: exp.Expr, ctes: Ctes, outer: Scope | None) -> list[str]:
        ctes = self._with(node, ctes, outer)
        if isinstance(node, exp.Select):
            return self._select(node, ctes, outer)
        if isinstance(node, exp.SetOperation):
            names = self._query(node.this, ctes, outer)
            self._query(node.expression, ctes, outer)
        elif isinstance(node, exp.Subquery):
            names = self._query(node.this, ctes, outer)
        else:
            raise self._text.refused("what is not a SELECT", node, expected="a SELECT")
        given = frozenset(self._text.key(name) for name in names if name)
        for part in ("order", "limit", "offset"):
            self._expressions(node.args.get(part), Scope(outer), ctes, given if part == "order" else _NONE)
        return names

    def _with(self, node: exp.Expr, ctes: Ctes, outer: Scope | None) -> Ctes:
        found = node.args.get("with_")
        if found is None:
            return ctes
        names = [self._text.key_of(cte.args["alias"].this) for cte in found.expressions]
        if len(set(names)) < len(names):
            raise self._text.refused("two WITH of one name", found, expected="a name for each")
        inside = dict(ctes)
        for number, cte in enumerate(found.expressions):
            if is_system(names[number]):
                raise self._text.refused("a WITH named as a system catalogue", cte.args["alias"])
            # SQLite reads a later WITH of the same list, or the same, where PostgreSQL reads a table of that name.
            later = names[number:] if self._text.dialect is Dialect.SQLITE else ()
            self._sources.forward.append(frozenset(later))
            outputs = self._query(cte.this, inside, outer)
            self._sources.forward.pop()
            inside[names[number]] = self._sources.renamed(outputs, cte.args["alias"])
        return inside

    def _select(self, node: exp.Select, ctes: Ctes, outer: Scope | None) -> list[str]:
        scope = self._scopes[id(node)] = Scope(outer)
        visible = self._sources.read(node, scope, ctes)
        aliases = [each.args["alias"] for each in node.expressions if isinstance(each, exp.Alias)]
        given = frozenset(self._text.key_of(alias) for alias in aliases)
        in_where = given if self._text.dialect is Dialect.SQLITE else _NONE
        names = [name for each in node.expressions for name in self._projected(each, scope, visible)]
        scope.plain = plain = _is_plain(node, scope)
        for each in node.expressions:
            self._expressions(each, scope, ctes, _NONE)
        scope.plain = plain and len(scope.sources) == 2  # ON reaches the tables before it alone
        for join in scope.joins:
            self._expressions(join.args.get("on"), scope, ctes, in_where)
        scope.plain = plain
        self._expressions(node.args.get("where"), scope, ctes, in_where)
        scope.plain = False  # the names of outputs count as well
        for part in ("distinct", "group", "having", "order"):
            self._expressions(node.args.get(part), scope, ctes, given)
        for part in ("windows", "limit", "offset"):
            self._expressions(node.args.get(part), scope, ctes, _NONE)
        for use, condition in conditions_of(node, scope, self._text):
            self._sources.uses[use].conditions.append(condition)
        return names

    def _projected(self, node: exp.Expr, scope: Scope, visible: list[str]) -> list[str]:
        """The names of what one entry of a SELECT's list shows; a star shows every column there is."""
        if isinstance(node, exp.Star):
            if not scope.sources:
                raise self._text.refused("a star without FROM", node, expected="a FROM")
            if _only_exists(node.parent):
                return visible
            for source in scope.sources.values():
                self._see_all(source)
            return visible
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
            source, _ = self._named(node, scope)
            self._see_all(source)
            return list(source.columns.values())
        return [output_name(node, self._text)]

    def _see_all(self, source: Source) -> None:
        for column in source.columns:
            self._sources.see(source, column)

    # Expressions.

    def _expressions(self, value: Any, scope: Scope, ctes: Ctes, aliases: frozenset[str]) -> None:
        """Resolve every name in a node or a list of them. `aliases` are keys that AS gave, where such may be used."""
        stack = value[::-1] if isinstance(value, list) else [value]
        while stack:
            node = stack.pop()
            if not isinstance(node, exp.Expr):
                continue
            if isinstance(node, exp.Select | exp.SetOperation | exp.Subquery):
                self._query(node, ctes, scope)
            elif isinstance(node, exp.Column):
                self._column(node, scope, aliases)
            elif is_aggregate(node, self._text.dialect):
                self._aggregates.append(scope)
                self._expressions(node.expressions, scope, ctes, aliases)
                self._aggregates.pop()
            else:
                for child in reversed(node.args.values()):
                    stack.extend(child[::-1] if isinstance(child, list) else [child])

    def _column(self, node: exp.Expr, scope: Scope, aliases: frozenset[str]) -> None:
        if isinstance(node.this, exp.Star):
            if not isinstance(node.parent, exp.Select) or node.arg_key != "expressions":
                raise self._text.refused("a star within an expression", node, expected="a column")
            return
        column = self._text.key_of(node.this)
        if node.args.get("table") is not None:
            source, around = self._named(node, scope)
            if column not in source.columns:
                raise self._unknown(node, list(source.columns.values()))
            self._found(node, [source], column, around)
            return
        for around in scope.upward():
            listing = around.listing(column)
            if listing:
                self._check_certain(node, listing, column, scope)
                if around is scope and scope.plain and column not in aliases:
                    self._check_one(node, listing, column)
                self._found(node, listing, column, around)
                return
        if column not in aliases or not self._may_be_output(node):
            raise self._unknown(node, [name for each in scope.upward() for name in each.names()])

    def _check_certain(self, node: exp.Expr, listing: list[Source], column: str, scope: Scope) -> None:
        """Where PostgreSQL finds no such column after all (a sub-query calls it otherwise, or ON does not reach the
        table that has it) it takes a table's alias of that name for the whole row, hidden columns and all."""
        if self._text.dialect is not Dialect.POSTGRES:
            return
        for around in scope.upward():
            named = around.sources.get(column)
            if named is not None and named.use is not None and named not in listing:
                what = f"{self._text.folded(node.this)}, which is a column and another table's name as well"
                raise self._text.refused(what, node, expected=f"{listing[0].alias}.{listing[0].columns[column]}")

    def _check_one(self, node: exp.Expr, listing: list[Source], column: str) -> None:
        """Both databases refuse a name that two tables have, and say so to nobody but the operator."""
        tables = [source for source in listing if source.use is not None]
        if len(tables) > 1:
            candidates = " or ".join(f"{source.alias}.{source.columns[column]}" for source in tables)
            what = f"{self._text.folded(node.this)}, which is a column of several tables"
            raise self._text.refused(what, node, expected=candidates)

    def _may_be_output(self, node: exp.Expr) -> bool:
        """Whether a name that is no column's is an output's here. PostgreSQL knows outputs only where they stand alone;
        in an expression it would take a table's alias of that name for the whole row, hidden columns and all."""
        return self._text.dialect is not Dialect.POSTGRES or _stands_alone(node)

    def _found(self, node: exp.Expr, listing: list[Source], column: str, scope: Scope) -> None:
        for source in listing:
            self._sources.see(source, column)
        node.this.set("this", listing[0].columns[column])
        node.this.set("quoted", True)
        if any(inside is not scope and scope in inside.upward() for inside in self._aggregates):
            self.groups_outside = True

    def _named(self, node: exp.Expr, scope: Scope) -> tuple[Source, Scope]:
        """The source that a column's table names, and whose it is: an alias, a table, or dataset.table."""
        name, schema = self._text.key_of(node.args["table"]), node.args.get("db")
        for around in scope.upward():
            source = around.sources.get(name)
            if source is None:
                continue
            if schema is not None:
                if source.use is None or not self._datasets.is_dataset(schema):
                    break
                node.set("db", None)
            node.args["table"].set("this", source.alias)
            node.args["table"].set("quoted", True)
            return source, around
        names = [source.alias for around in scope.upward() for source in around.sources.values()]
        written = self._text.folded(node.args["table"])
        raise self._text.refused(f"unknown table or alias {written}", node, expected=_one_of(names, written))

    def _unknown(self, node: exp.Expr, names: list[str]) -> ViewRefused:
        name = self._text.folded(node.this)
        if name.lower() in _SESSION and not node.args.get("table"):
            return self._text.refused(f"{name.lower()}, which tells of the session", node)
        if name.lower() in _SYSTEM_COLUMNS:
            return self._text.refused(f"a system column, {name}", node, expected=_one_of(names, name))
        return self._text.refused(f"unknown column {name}", node, expected=_one_of(names, name))


def _is_plain(select: exp.Select, scope: Scope) -> bool:
    """Whether each item of a FROM keeps its columns to itself: no USING, and no join in brackets."""
    return len(scope.joins) == len(select.args.get("joins") or ()) and not any(
        join.args.get("using") for join in scope.joins
    )


def _stands_alone(node: exp.Expr) -> bool:
    """Whether a name is by itself one of what a query orders by, groups by or is DISTINCT ON."""
    parent = node.parent
    while isinstance(parent, _LISTS):
        if isinstance(parent, exp.Tuple) and isinstance(parent.parent, exp.Ordered | exp.Tuple | exp.Paren):
            return False  # a row, as a value
        parent = parent.parent
    return isinstance(parent, exp.Order | exp.Group | exp.Distinct) and isinstance(parent.parent, _QUERIES)


def _one_of(names: list[str], wanted: str) -> str:
    return f"one of {known(names, wanted)}" if names else ""


def _only_exists(select: exp.Expr | None) -> bool:
    """Whether a SELECT is only asked for a row: EXISTS (SELECT * …) shows no column, and reads none for it."""
    return (
        isinstance(select, exp.Select)
        and isinstance(select.parent, exp.Exists)
        and not any(select.args.get(part) for part in ("distinct", "group", "having", "order"))
    )
