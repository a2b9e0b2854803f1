"""Generated SELECTs: joins, CTEs, set operations, correlated sub-queries, windows, aggregates, outer joins, NULLs.

Each gives the same rows whenever it is run on the same data, however the database plans it: where it is LIMITed it is
ordered by everything, and windows whose frames are counted in rows are ordered by keys.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from fakes.sql_expressions import RISKY, Expressions, Relation, Scope
from fakes.sql_tables import KEYS, LARGEST, TABLES
from remit.core.view.model import Dialect

MOST_ROWS = LARGEST**3
"""Of one join: nothing takes long."""

_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", ",", "JOIN", "LEFT JOIN")
_OUTER = frozenset({"LEFT JOIN", "RIGHT JOIN", "FULL JOIN"})
_SETS = ("UNION", "UNION ALL", "INTERSECT", "EXCEPT")
_LINKS = {"parent_id": "customers", "customer_id": "customers", "order_id": "orders", "product_id": "products"}
# A set operation's and a sub-query's columns are of these.
_SIMPLE = ("int", "text", "date", "num", "text", "int")


@dataclass(frozen=True, slots=True)
class Generated:
    """A query with its parameters; `ordered` where the order of its rows is fixed too; `kinds` is what is in it."""

    sql: str
    parameters: Mapping[str, Any]
    ordered: bool
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Part:
    """A SELECT without ORDER BY: its text, the columns that it gives, and at most how many rows."""

    sql: str
    columns: Mapping[str, str]
    size: int


@dataclass
class _Maker:
    dice: random.Random
    dialect: Dialect
    masked: Sequence[str] = ()
    kinds: set[str] = field(default_factory=set)
    ctes: dict[str, Relation] = field(default_factory=dict)
    names: int = 0
    out_of_sight: str = ""
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.expressions = Expressions(self.dice, self.dialect, self.masked)

    @property
    def postgres(self) -> bool:
        return self.dialect is Dialect.POSTGRES

    def chance(self, share: float) -> bool:
        return self.dice.random() < share

    # Whole queries.

    def query(self) -> Generated:
        if self.postgres and self.chance(0.06):
            return self._done(self._risky().sql)
        head = self._with() if self.chance(0.25) else ""
        part = self._set_operation() if self.chance(0.2) else self.select((), depth=2, top=True)
        if not self.chance(0.6):
            return self._done(head + part.sql)
        return self._done(
            f"{head}{part.sql} {self._order(len(part.columns), plain='c1' in part.columns)}", ordered=True
        )

    def _done(self, sql: str, *, ordered: bool = False) -> Generated:
        used = {name: value for name, value in self.expressions.parameters.items() if f":{name}" in sql}
        return Generated(sql, used, ordered, frozenset(self.kinds))

    def _order(self, width: int, *, plain: bool) -> str:
        """By every column, so that only rows that are alike can change places; by name where these are `plain`."""
        self.kinds.add("order")
        columns = list(range(1, width + 1))
        self.dice.shuffle(columns)
        ways = ("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST")
        named = "c" if plain and self.chance(0.3) else ""
        clause = "ORDER BY " + ", ".join(f"{named}{each}{self.dice.choice(ways)}" for each in columns)
        if self.chance(0.4):
            self.kinds.add("limit")
            clause += f" {self._limit()}"
        return clause

    def _limit(self) -> str:
        most, skipped = self.dice.choice((1, 3, 10)), self.dice.choice((1, 2))
        forms = [f"LIMIT {most}", f"LIMIT {most}", f"LIMIT {most} OFFSET {skipped}"]
        if self.postgres:
            forms += [f"OFFSET {skipped}", f"FETCH FIRST {most} ROWS ONLY", f"FETCH FIRST {most} ROWS WITH TIES"]
        return self.dice.choice(forms)

    def _with(self) -> str:
        self.kinds.add("cte")
        made = []
        for _ in range(self.dice.choice((1, 1, 2))):
            # Sometimes under the name of a table, which it hides from then on; in SQLite from itself as well.
            name = self.dice.choice((*TABLES, "a", "b", "c"))
            if name in self.ctes or (name in TABLES and made and not self.postgres):
                continue
            if name in TABLES:
                self.kinds.add("shadow")
                self.out_of_sight = "" if self.postgres else name
            part = self._set_operation() if self.chance(0.15) else self.select((), depth=1)
            made.append(f"{name}{self._hint()} ({part.sql})")
            self.ctes[name] = Relation(name, part.columns, size=part.size)
            if self.out_of_sight:
                break
        self.out_of_sight = ""
        return f"WITH {', '.join(made)} "

    def _hint(self) -> str:
        hints = (" AS", " AS", " AS MATERIALIZED", " AS NOT MATERIALIZED")
        return self.dice.choice(hints) if self.postgres else " AS"

    def _set_operation(self) -> _Part:
        self.kinds.add("set")
        types = self._types(self.dice.choice((1, 2, 3)))
        operation = self.dice.choice((*_SETS, "INTERSECT ALL", "EXCEPT ALL") if self.postgres else _SETS)
        left, right = self.select((), depth=1, types=types), self.select((), depth=1, types=types)
        size = left.size + right.size
        if self.postgres and self.chance(0.4):
            return _Part(f"({left.sql}) {operation} ({right.sql})", left.columns, size)
        return _Part(f"{left.sql} {operation} {right.sql}", left.columns, size)

    def _risky(self) -> _Part:
        """One table, and something that fails for some rows: for those that a filter hides it must not."""
        self.kinds.add("risky")
        name = self._any_table()
        relation = Relation("t", TABLES[name].columns, "id")
        type = self.dice.choice([type for type in RISKY if relation.named(type)])
        made = self.expressions.filled(self.dice.choice(RISKY[type]), [relation], 0)
        if self.chance(0.5):
            return _Part(f"SELECT {made} AS c1 FROM {name} t", {"c1": type}, LARGEST)
        return _Part(f"SELECT t.id FROM {name} t WHERE {made} > 1", {"id": "int"}, LARGEST)

    # SELECTs.

    def select(self, outer: Scope, *, depth: int, types: Sequence[str] = (), top: bool = False) -> _Part:
        """One SELECT, which may use what is outside; with these types, or any."""
        source, scope = self._from(depth, outer)
        where = self._where([*scope, *outer], depth)
        kind = self.dice.random()
        if top and kind < 0.08:
            return self._star(source, scope, where)
        if kind < 0.35:
            grouped = self._grouped(source, scope, where, types or self._types(self.dice.choice((1, 2)), scope))
            if grouped is not None:
                return grouped
        chosen = types or self._types(self.dice.choice((1, 2, 3, 4)), scope)
        return self._plain(source, scope, where, chosen, outer=outer, depth=depth)

    def _plain(self, source: str, scope: Scope, where: str, types: Sequence[str], *, outer: Scope, depth: int) -> _Part:
        makers: list[Callable[[str], str]] = [lambda type: self.expressions.one(type, [*scope, *outer], depth)]
        if depth > 0 and self.chance(0.25):
            makers.append(lambda type: self._window(type, scope))
        if depth > 0 and self.chance(0.2):
            makers.append(lambda type: self._scalar(type, [*scope, *outer]))
        outputs = [(self.dice.choice(makers)(type), type) for type in types]
        listed, columns = self._listed(outputs)
        size = _product(scope)
        if self.chance(0.15):
            self.kinds.add("distinct")
            return _Part(f"SELECT DISTINCT {listed} FROM {source}{where}", columns, size)
        keys = [f"{relation.alias}.{relation.key}" for relation in scope if relation.key]
        if self.postgres and len(keys) == len(scope) and self.chance(0.05):
            self.kinds.add("distinct on")
            by = self.dice.choice(
                [column for each in scope for column in map(f"{each.alias}.{{}}".format, each.columns)]
            )
            first = f"SELECT DISTINCT ON ({by}) {listed} FROM {source}{where} ORDER BY {', '.join((by, *keys))}"
            return _Part(f"SELECT * FROM ({first}) AS d", columns, size)
        return _Part(f"SELECT {listed} FROM {source}{where}", columns, size)

    def _grouped(self, source: str, scope: Scope, where: str, types: Sequence[str]) -> _Part | None:
        keys: list[str] = []
        outputs = []
        for type in types:
            columns = [column for relation in scope for column in relation.named(type)]
            if columns and self.chance(0.4):
                keys.append(self.dice.choice(columns))
                outputs.append((keys[-1], type))
                continue
            made = self.expressions.aggregate(type, scope)
            if made is None:
                return None
            outputs.append((made, type))
        self.kinds.add("aggregate")
        clause = ""
        if keys:
            numbers = [str(number) for number, (made, _) in enumerate(outputs, 1) if made in keys]
            listed = ", ".join(numbers if self.chance(0.15) else dict.fromkeys(keys))
            rolled = self.postgres and not listed[0].isdigit() and self.chance(0.15)
            clause = f" GROUP BY {self.dice.choice(('ROLLUP', 'CUBE'))} ({listed})" if rolled else f" GROUP BY {listed}"
            if self.chance(0.3):
                self.kinds.add("having")
                clause += f" HAVING {self.expressions.aggregate('int', scope)} >= {self.dice.choice((1, 2))}"
        listed, columns = self._listed(outputs)
        return _Part(f"SELECT {listed} FROM {source}{where}{clause}", columns, _product(scope) + 1)

    def _star(self, source: str, scope: Scope, where: str) -> _Part:
        self.kinds.add("star")
        columns = {f"{relation.alias}.{name}": type for relation in scope for name, type in relation.columns.items()}
        # With USING, * has less than all columns.
        star = (
            "*"
            if " USING " not in source and self.chance(0.6)
            else ", ".join(f"{relation.alias}.*" for relation in scope)
        )
        return _Part(f"SELECT {star} FROM {source}{where}", columns, _product(scope))

    def _listed(self, outputs: Sequence[tuple[str, str]]) -> tuple[str, Mapping[str, str]]:
        names = [f"c{number}" for number in range(1, len(outputs) + 1)]
        listed = ", ".join(f"{made} AS {name}" for name, (made, _) in zip(names, outputs, strict=True))
        return listed, {name: type for name, (_, type) in zip(names, outputs, strict=True)}

    def _window(self, type: str, scope: Scope) -> str:
        keys = [f"{relation.alias}.{relation.key}" for relation in scope if relation.key]
        exact = len(keys) == len(scope)
        columns = [column for relation in scope for column in relation.named(self.expressions.type_in(scope))]
        by = self.dice.choice(columns) if columns else ""
        partition = f"PARTITION BY {by} " if by and self.chance(0.6) else ""
        forms = self._window_forms(type, scope, ", ".join(keys) if exact else "", by)
        if not forms:
            return self.expressions.one(type, scope, 1)
        self.kinds.add("window")
        function, order = self.dice.choice(forms)
        return f"{function} OVER ({partition}{order})"

    def _window_forms(self, type: str, scope: Scope, keys: str, by: str) -> list[tuple[str, str]]:
        """(function, its ORDER BY): by keys where rows are counted, else with frames of all that are alike."""
        order = f"ORDER BY {by}" if by else ""
        forms = []
        if type == "int":
            forms += [("count(*)", order), ("rank()", order), ("dense_rank()", order)] if order else []
            forms += [("row_number()", f"ORDER BY {keys}")] if keys else []
        if type == "num":
            summed = self.expressions.one("int", scope, 0)
            forms += [(f"sum({summed})", order), (f"sum({summed})", "")]
            rows = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"
            forms += [(f"sum({summed})", f"ORDER BY {keys} {rows}")] if keys else []
        value = self.expressions.one(type, scope, 0)
        if keys:
            forms += [(f"{name}({value})", f"ORDER BY {keys}") for name in ("lag", "lead", "first_value")]
        return forms

    def _scalar(self, type: str, scope: Scope) -> str:
        """A sub-query of one value."""
        inner = self._table(self._alias(), self._any_table())
        made = self.expressions.aggregate(type, [inner])
        if made is None:
            return self.expressions.one(type, scope, 1)
        self.kinds.add("scalar")
        condition = self._correlated(inner, scope)
        return f"(SELECT {made} FROM {self._name_of(inner)} {inner.alias} WHERE {condition})"

    # FROM and WHERE.

    def _from(self, depth: int, outer: Scope) -> tuple[str, list[Relation]]:
        text, first = self._relation(depth)
        scope = [first]
        count = self.dice.choice((0, 0, 0, 1, 1, 2)) if depth > 0 else self.dice.choice((0, 0, 1))
        for number in range(1, count + 1):
            right, relation = self._relation(depth)
            if _product([*scope, relation]) > MOST_ROWS:
                break
            before, after = self._join(scope, relation, last=number == count)
            text = f"{text}{before}{right}{after}"
            scope.append(relation)
        if len(scope) == 1 and not outer and self.chance(0.2):
            scope = [replace(scope[0], bare=True)]
        return text, scope

    def _join(self, scope: Scope, relation: Relation, *, last: bool) -> tuple[str, str]:
        """What stands before and after the relation that is joined."""
        kind = self.dice.choice(_JOINS)
        if not all(each.key for each in (*scope, relation)) and kind in {"CROSS JOIN", ","}:
            kind = "JOIN"  # what is derived may be large already
        self.kinds.add("outer" if kind in _OUTER else "join")
        shared = [name for name in ("region", "code") if all(name in each.columns for each in (*scope, relation))]
        if shared and kind not in {"CROSS JOIN", ","} and len(scope) == 1 and self.chance(0.4):
            self.kinds.add("using")
            return f" {kind} ", f" USING ({shared[0]})"
        link = self._link(scope, relation)
        if kind == "," and last:  # it binds less than JOIN: what is joined after it would not see what stands before
            return ", ", ""
        if kind in {"CROSS JOIN", ","} or link is None:
            return " CROSS JOIN ", ""
        if kind != "FULL JOIN" and self.chance(0.35):
            link = f"{link} AND {self.expressions.predicate([*scope, relation], 0)}"
        return f" {kind} ", f" ON {link}"

    def _link(self, scope: Scope, relation: Relation) -> str | None:
        """Two columns of one type, mostly a key and what refers to it."""
        pairs = []
        for other in scope:
            for left, left_type in other.columns.items():
                for right, right_type in relation.columns.items():
                    if left_type == right_type and left_type in {"int", "text", "date", "uuid"}:
                        weight = 12 if (left in KEYS and right == "id") or (right in KEYS and left == "id") else 1
                        pairs += [f"{other.alias}.{left} = {relation.alias}.{right}"] * weight
        return self.dice.choice(pairs) if pairs else None

    def _relation(self, depth: int) -> tuple[str, Relation]:
        alias = self._alias()
        if self.ctes and self.chance(0.45):
            name = self.dice.choice((*self.ctes,))
            return f"{name} {alias}", replace(self.ctes[name], alias=alias)
        if depth > 0 and self.chance(0.18):
            self.kinds.add("derived")
            part = self.select((), depth=depth - 1)
            if self.chance(0.15):
                self.kinds.add("nested with")
                part = replace(part, sql=f"WITH n{self.names} AS ({part.sql}) SELECT * FROM n{self.names}")
            if self.postgres and self.chance(0.3):
                renamed = {f"r{number}": type for number, type in enumerate(part.columns.values(), 1)}
                return f"({part.sql}) AS {alias} ({', '.join(renamed)})", Relation(alias, renamed, size=part.size)
            return f"({part.sql}) AS {alias}", Relation(alias, part.columns, size=part.size)
        name = self._any_table()
        relation = self._table(alias, name)
        called = self._name_of(relation)
        if relation.key and self.chance(0.15):
            called = f"shop.{name}"
        return f"{called} {self.dice.choice(('', 'AS '))}{alias}", relation

    def _table(self, alias: str, name: str) -> Relation:
        if name in self.ctes:
            return replace(self.ctes[name], alias=alias)
        return Relation(alias, TABLES[name].columns, "id")

    def _any_table(self) -> str:
        return self.dice.choice([name for name in TABLES if name != self.out_of_sight])

    def _name_of(self, relation: Relation) -> str:
        names = [name for name, table in TABLES.items() if table.columns is relation.columns]
        if not names:
            return next(name for name, cte in self.ctes.items() if cte.columns is relation.columns)
        return self.dice.choice((names[0], names[0], names[0].upper(), f'"{names[0]}"'))

    def _where(self, scope: Scope, depth: int) -> str:
        if self.chance(0.4 if depth == 2 else 0.6):
            return ""
        made = self._subquery(scope) if depth > 0 and self.chance(0.3) else self.expressions.predicate(scope, depth)
        if self.chance(0.2):
            made = f"{made} AND {self.expressions.predicate(scope, 0)}"
        return f" WHERE {made}"

    def _subquery(self, scope: Scope) -> str:
        self.kinds.add("subquery")
        inner = self._table(self._alias(), self._any_table())
        source = f"{self._name_of(inner)} {inner.alias}"
        condition = self._correlated(inner, scope)
        kind = self.dice.choice(("EXISTS", "NOT EXISTS", "IN", "NOT IN", "ANY", "ALL", "scalar"))
        if kind in {"EXISTS", "NOT EXISTS"}:
            return f"{kind} (SELECT {self.dice.choice(('1', '*', inner.alias + '.*'))} FROM {source} WHERE {condition})"
        if kind == "scalar" or (kind in {"ANY", "ALL"} and not self.postgres):
            made = self.expressions.aggregate("int", [inner])
            return f"{self.expressions.one('int', scope, 0)} <= (SELECT {made} FROM {source} WHERE {condition})"
        type = self.dice.choice([type for type in _SIMPLE if inner.named(type)] or ["int"])
        sub = f"(SELECT {self.expressions.one(type, [inner], 0)} FROM {source} WHERE {condition})"
        left = self.expressions.one(type, scope, 0)
        return f"{left} {kind} {sub}" if "IN" in kind else f"{left} >= {kind} {sub}"

    def _correlated(self, inner: Relation, outer: Scope) -> str:
        link = self._link(outer, inner) if outer and self.chance(0.75) else None
        if link is not None:
            self.kinds.add("correlated")
        own = self.expressions.predicate([inner], 0)
        return own if link is None else f"{link} AND {own}" if self.chance(0.4) else link

    def _types(self, count: int, scope: Scope = ()) -> list[str]:
        if not scope:
            return [self.dice.choice(_SIMPLE) for _ in range(count)]
        return [self.expressions.type_in(scope) for _ in range(count)]

    def _alias(self) -> str:
        self.names += 1
        alias = f"t{self.names}"
        if self.chance(0.08):  # the name of a table, whatever it stands for here; once, so that nothing is hidden
            free = [name for name in TABLES if name not in self.taken]
            alias = self.dice.choice([*free, alias])
            self.taken.add(alias)
        return alias


def _product(scope: Scope) -> int:
    """The most rows that a join can have."""
    return prod(relation.size for relation in scope)


def generate(dice: random.Random, dialect: Dialect, masked: Sequence[str] = ()) -> Generated:
    """One query. `masked` are more texts to compare with."""
    return _Maker(dice, dialect, masked).query()
