"""From a statement and the views that an agent has, what the database is given in its place.

Each table of the statement becomes a view that has exactly the columns which the statement can name (core/view/fence.py
says what is a fence and why). All else of the tree stays as it is, so that the statement means what it means in that
database. Added are: hidden columns at the end, with the keys of the subjects whose rows are shown; a limit, where there
is none; where policy sets a smallest group, a HAVING (core/view/group.py); where a row may grow beyond what is stored,
a measure of it (core/view/growth.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from remit.core.dataset import Table
from remit.core.view.bindings import Bindings, quoted
from remit.core.view.dialects import render
from remit.core.view.fence import RAW, Hidden, Source, distinct_sql, moved_sql, sources_of, view_sql
from remit.core.view.filter_sql import columns_of
from remit.core.view.group import check_groups, require_groups
from remit.core.view.growth import check_quoted, grows, measured
from remit.core.view.model import (
    MAX_SUBJECTS,
    MAX_TOKENS,
    NO_ROW,
    Columns,
    Dialect,
    Plan,
    Statement,
    SubjectQuery,
    TableView,
    TokenQuery,
    Use,
)
from remit.core.view.moved import bind
from remit.core.view.stars import orders_beyond, without_stars

# What an operator calls in SQLite: its authorizer is asked for these as for any function.
_OPERATORS: Mapping[type[exp.Expr], str] = {
    exp.Like: "like",
    exp.Glob: "glob",
    exp.JSONExtract: "->",
    exp.JSONExtractScalar: "->>",
    exp.CurrentDate: "current_date",
    exp.CurrentTime: "current_time",
    exp.CurrentTimestamp: "current_timestamp",
}


def rewrite(
    statement: Statement,
    views: Mapping[str, TableView],
    *,
    tables: Mapping[str, Table],
    columns: Columns,
    rows: int,
    minimum_group: int = 0,
) -> Plan:
    """The plan of a statement for an agent with these views, one for each table that it uses.

    `rows` is the most that may be shown: the plan returns one more, if there is one, so that this is known.
    Where the statement's own limit is not a number but a parameter, or FETCH, it stays, and the reader counts.
    With a `minimum_group`, only statements that count and sum pass, and each of their rows stands for at least so many
    subjects of each table. Raises ViewInvalid where policy or catalogue is at fault, ViewRefused where the agent is.
    """
    sources = sources_of(statement, views, tables, columns)
    if statement.dialect is Dialect.POSTGRES:
        check_quoted(statement.tree)
    if minimum_group > 0:
        check_groups(statement.tree, statement.text)
    return _Rewriting(statement, sources, rows=rows, minimum_group=minimum_group).plan()


@dataclass
class _Rewriting:
    """One statement's way to its plan."""

    statement: Statement
    sources: Mapping[str, Source]
    rows: int
    minimum_group: int
    hidden: dict[int, Hidden] = field(default_factory=dict)
    tokens: list[TokenQuery] = field(default_factory=list)
    token_indices: dict[tuple[str, str, str], int] = field(default_factory=dict)
    others: list[Bindings] = field(default_factory=list)

    def plan(self) -> Plan:
        bindings = Bindings(self.statement.dialect)
        tree: exp.Expr = self.statement.tree.copy()
        tree, shown = self._hide(tree)
        fences = self._replace(tree, bindings)
        if self.minimum_group:
            keys = [
                f"{quoted(self.statement.uses[index].alias)}.{quoted(each.name)}" for index, each in self.hidden.items()
            ]
            size = bindings.constant(self.minimum_group, "bigint")
            require_groups(tree, [bindings.call("count", f"DISTINCT {key}") for key in keys], size)
        self._limit(tree)
        called = _calls(tree)
        if self.statement.dialect is Dialect.POSTGRES:
            _part_standing_alone(tree, bindings)
        _prepend(tree, fences)
        sql = render(bind(tree, bindings), self.statement.dialect)
        grown = self.statement.dialect is Dialect.POSTGRES and grows(self.statement.tree)
        text = bindings.text(measured(sql, quoted(f"{self._prefix()}q")) if grown else sql)
        subjects = tuple(self._subjects(shown))
        return Plan(
            dialect=self.statement.dialect,
            text=text,
            hidden=tuple(self.statement.uses[index].table for index in shown),
            subjects=subjects,
            tokens=tuple(self.tokens),
            reads=self._reads(),
            functions=called.union(*(each.functions for each in (bindings, *self.others))),
            names=frozenset(cte.alias.lower() for cte in tree.find_all(exp.CTE)),
            rows=self.rows + 1,
            grows=grown,
        )

    # Hidden columns.

    def _hide(self, tree: exp.Expr) -> tuple[exp.Expr, tuple[int, ...]]:
        """Give uses their hidden columns. (tree, the uses whose keys the result itself tells, in order)"""
        uses, prefix = self.statement.uses, self._prefix()
        if self.minimum_group:
            self.hidden = {
                index: Hidden(f"{prefix}k{index}", self.sources[use.table].identity) for index, use in enumerate(uses)
            }
            return tree, ()
        plain = [index for index in self.statement.plain_uses if self._has_subjects(uses[index])]
        if not plain or not isinstance(tree, exp.Select) or not without_stars(tree, uses) or orders_beyond(tree):
            return tree, ()
        for number, index in enumerate(plain, 1):
            hidden = Hidden(f"{prefix}k{index}", self.sources[uses[index].table].identity)
            self.hidden[index] = hidden
            name = f"{quoted(uses[index].alias)}.{quoted(hidden.name)} AS {quoted(f'{prefix}s{number}')}"
            tree.append("expressions", exp.Var(this=name))
        return tree, tuple(plain)

    def _has_subjects(self, use: Use) -> bool:
        source = self.sources[use.table]
        return bool(source.table.subject_key) and source.rows != NO_ROW

    def _prefix(self) -> str:
        """With which no column begins: statements cannot name what begins with `remit_` and is no column."""
        prefix = "remit_"
        names = [column.lower() for source in self.sources.values() for column in source.columns]
        while any(name.startswith(prefix) for name in names):
            prefix += "_"
        return prefix

    # Views.

    def _replace(self, tree: exp.Expr, bindings: Bindings) -> list[exp.CTE]:
        """Put a view in the place of each table; the fences among them are returned."""
        fences: list[exp.CTE] = []
        prefix = self._prefix()
        nodes = [node for node in tree.find_all(exp.Table) if "use" in node.meta]
        for node in sorted(nodes, key=lambda each: int(each.meta["use"])):
            index = int(node.meta["use"])
            use = self.statement.uses[index]
            source = self.sources[use.table]
            hidden = (self.hidden[index],) if index in self.hidden else ()
            view = view_sql(use, source, bindings, self._token, hidden)
            if source.is_fenced:
                name = f"{prefix}v{index}"
                alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
                fences.append(exp.CTE(this=exp.Var(this=view), alias=alias, materialized=True))
                node.set("this", exp.to_identifier(name, quoted=True))
            else:
                node.set("this", exp.Var(this=f"({view})"))
            node.set("db", None)
            if not node.args.get("alias"):
                node.set("alias", exp.TableAlias(this=exp.to_identifier(use.alias, quoted=True)))
        for column in tree.find_all(exp.Column):
            column.set("db", None)
        return fences

    def _token(self, source: Source, column: str, domain: str) -> int:
        """The token query of a column; one for all of a table's uses."""
        key = (source.name, column, domain)
        if key not in self.token_indices:
            bindings = Bindings(source.dialect)
            value = f"CAST({RAW}.{quoted(column)} AS text)"
            sql = distinct_sql(value, source, self._moved(source, bindings), bindings, MAX_TOKENS + 1)
            self.token_indices[key] = len(self.tokens)
            self.tokens.append(TokenQuery(bindings.text(sql), domain, source.table.columns[column]))
            self.others.append(bindings)
        return self.token_indices[key]

    # Subjects that the result does not tell.

    def _subjects(self, shown: Sequence[int]) -> list[SubjectQuery]:
        found = []
        others = {use.table for index, use in enumerate(self.statement.uses) if index not in shown}
        for name in sorted(others):
            source = self.sources[name]
            if not source.table.subject_key or source.rows == NO_ROW:
                continue
            bindings = Bindings(source.dialect)
            moved = self._moved(source, bindings, beside=shown)
            sql = distinct_sql(source.identity, source, moved, bindings, MAX_SUBJECTS + 1)
            found.append(SubjectQuery(name, bindings.text(sql)))
            self.others.append(bindings)
        return found

    def _moved(self, source: Source, bindings: Bindings, beside: Sequence[int] = ()) -> str:
        """What restricts all uses of a table together: "" if one of them is not restricted."""
        uses = [
            use for index, use in enumerate(self.statement.uses) if use.table == source.name and index not in beside
        ]
        parts = [(use, moved_sql(use, source, Bindings(source.dialect))) for use in uses]
        if not all(part for _, part in parts):
            return ""
        return "(" + " OR ".join(f"({moved_sql(use, source, bindings)})" for use, _ in parts) + ")"

    # The rest.

    def _limit(self, tree: exp.Expr) -> None:
        limit, most = tree.args.get("limit"), self.rows + 1
        if isinstance(limit, exp.Fetch):
            return
        value = limit.expression if limit is not None else None
        number = int(value.this) if isinstance(value, exp.Literal) and value.this.isdigit() else None
        if value is not None and number is None and not _is_unlimited(value):
            return
        wanted = most if number is None else min(number, most)
        tree.set("limit", exp.Limit(expression=exp.Literal.number(wanted)))

    def _reads(self) -> Mapping[str, frozenset[str]]:
        """Physical tables, and of each all that views, filters and keys read."""
        found: dict[str, set[str]] = {}
        for index, use in enumerate(self.statement.uses):
            source = self.sources[use.table]
            names = found.setdefault(source.physical, set())
            names |= {*use.columns, *columns_of(source.rows)}
            names |= {each.column for each in use.conditions if each.column not in source.masks}
            if source.table.subject_key and source.rows != NO_ROW:
                names.add(source.table.subject_key)
            elif index in self.hidden:
                names |= source.identities
        return {table: frozenset(names) for table, names in found.items()}


def _is_unlimited(value: exp.Expr) -> bool:
    """LIMIT ALL, LIMIT NULL, and SQLite's LIMIT -1."""
    return isinstance(value, exp.Var | exp.Null) or (isinstance(value, exp.Neg) and isinstance(value.this, exp.Literal))


def _prepend(tree: exp.Expr, fences: Sequence[exp.CTE]) -> None:
    """Make the fences the first of the outermost WITH, where all of the statement sees them."""
    if not fences:
        return
    found = tree.args.get("with_")
    expressions = [*fences, *(found.expressions if found else ())]
    tree.set("with_", exp.With(expressions=expressions, recursive=bool(found and found.args.get("recursive"))))


def _calls(tree: exp.Expr) -> frozenset[str]:
    """The functions that the agent's own part calls."""
    named = {str(node.this).lower() for node in tree.find_all(exp.Anonymous)}
    return frozenset(named | {name for kind, name in _OPERATORS.items() if tree.find(kind)})


def _part_standing_alone(tree: exp.Expr, bindings: Bindings) -> None:
    """Places of their own for parameters where nothing says what type they have.

    PostgreSQL infers one type for a place, from all that it stands in. `:x IS NULL OR region = :x` and
    `SELECT :x … WHERE id = :x` are errors with one place, and plain with two.
    """
    for node in list(tree.find_all(exp.Placeholder)):
        holder = node.parent
        if isinstance(holder, exp.Is) and node.arg_key == "this":
            node.replace(exp.Var(this=bindings.alone(node.name, "text")))
        elif isinstance(holder, exp.Select) or (
            isinstance(holder, exp.Alias) and isinstance(holder.parent, exp.Select)
        ):
            node.replace(exp.Var(this=bindings.alone(node.name)))
