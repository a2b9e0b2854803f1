"""How large a statement becomes when a database puts sub-queries in the place of their names.

Both databases merge a WITH or a sub-query into the query around it, and write each of its outputs anew wherever it is
named: `SELECT s || s AS s FROM (SELECT s || s AS s FROM …)` doubles with each level, and some hundreds of characters
become more than a machine's memory while the statement is planned, where no limit of time or cost reaches. SQLite
plans a WITH anew for each place that reads it, too. So the size is counted beforehand, never too small: of two columns
of one name the larger one counts, and of an unknown name the largest there is.

The same number bounds the texts that a statement makes and searches, which no limit of time ends on either database
while one call is under way: long literals and parameters weigh more, so does what a call makes longer (`replace`), and
what is searched weighs as often as what is searched for (`core/view/texts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from remit.core.view.model import Cell, ViewRefused
from remit.core.view.places import where
from remit.core.view.texts import LONGEST_SOUGHT, MOST_SOUGHT, STORED, UNIT, growth, length, parts_sought, work_of

MOST = 20_000
"""Nodes of the expanded statement; what people write has some hundreds. Twice as many cost some 0.2 s and 50 MiB."""

_TOO_MANY = MOST + 1
_SUBQUERIES = (exp.Select, exp.SetOperation)


@dataclass(frozen=True, slots=True)
class _Query:
    """What a query weighs wherever it stands, and each of its outputs where it is named."""

    total: int
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Around:
    """What a query stands in: the statement's text, its parameters, and the queries of WITH by their names."""

    text: str
    parameters: Mapping[str, Cell]
    ctes: Mapping[str, _Query]


@dataclass(frozen=True, slots=True)
class _Names:
    """What can be named in a SELECT, and in those around it: column -> weight, by the name of what has it."""

    sources: Mapping[str, Mapping[str, int]]
    outer: _Names | None = None
    own: dict[str, int] = field(default_factory=dict)

    def of(self, column: str, table: str) -> int:
        """The weight of a column."""
        found: list[int] = []
        names: _Names | None = self
        while names is not None:
            sources = [names.sources[table]] if table in names.sources else [] if table else [*names.sources.values()]
            found += [each[column] for each in sources if column in each]
            found += [names.own[column]] if not table and column in names.own else []
            names = names.outer
        return max(found) if found else self.largest()

    def largest(self) -> int:
        """Of all that could be meant."""
        here = [weight for source in self.sources.values() for weight in source.values()]
        return max([1, *here, *self.own.values(), *([self.outer.largest()] if self.outer else [])])


def check_weight(tree: exp.Expr, text: str = "", parameters: Mapping[str, Cell] | None = None) -> None:
    """Raises ViewRefused for a statement that would become too large, with these parameters (None: with short ones)."""
    if _query(tree, _Around(text, parameters or {}, {}), None).total > MOST:
        raise ViewRefused(
            "a statement that grows too large where its sub-queries are put in the place of their names, or in the"
            " texts that it makes",
            expected="columns of sub-queries that are named less often, fewer levels, or shorter texts",
        )


def _query(node: exp.Expr, around: _Around, outer: _Names | None) -> _Query:
    ctes = dict(around.ctes)
    inside = replace(around, ctes=ctes)
    found = node.args.get("with_")
    for cte in found.expressions if found else ():
        made = _query(cte.this, inside, outer)
        ctes[cte.alias.lower()] = _Query(made.total, _renamed(made.outputs, cte.args.get("alias")))
    if isinstance(node, exp.Select):
        return _select(node, inside, outer)
    if isinstance(node, exp.SetOperation):
        left, right = _query(node.this, inside, outer), _query(node.expression, inside, outer)
        pairs = zip(left.outputs, right.outputs, strict=False)
        outputs = tuple((name, max(weight, other)) for (name, weight), (_, other) in pairs)
        return _Query(_capped(left.total + right.total), outputs)
    if isinstance(node, exp.Subquery):
        return _query(node.this, inside, outer)
    return _Query(1, ())


def _select(node: exp.Select, around: _Around, outer: _Names | None) -> _Query:
    sources: dict[str, Mapping[str, int]] = {}
    total = _from(node, around, outer, sources)
    names = _Names(sources, outer)
    outputs: list[tuple[str, int]] = []
    for each in node.expressions:
        if each.is_star:
            outputs += [pair for source in sources.values() for pair in source.items()]
        else:
            outputs.append((each.alias_or_name.lower(), _expression(each, around, names)))
    names.own.update(dict(sorted(outputs, key=lambda pair: pair[1])))
    total += sum(weight for _, weight in outputs)
    for part, value in node.args.items():
        if part not in {"expressions", "from_", "joins", "with_"}:
            total += sum(_expression(each, around, names) for each in _nodes(value))
    for join in node.args.get("joins") or ():
        total += sum(_expression(each, around, names) for each in _nodes(join.args.get("on")))
    return _Query(_capped(total + 1), tuple(outputs))


def _from(node: exp.Expr, around: _Around, outer: _Names | None, sources: dict[str, Mapping[str, int]]) -> int:
    """Add what a FROM has to `sources`; its weight."""
    first = node.args.get("from_")
    items = [first.this] if first is not None else []
    items += [join.this for join in node.args.get("joins") or ()]
    return sum(_source(item, around, outer, sources) for item in items)


def _source(item: exp.Expr, around: _Around, outer: _Names | None, sources: dict[str, Mapping[str, int]]) -> int:
    nested = sum(_source(join.this, around, outer, sources) for join in item.args.get("joins") or ())
    if isinstance(item, exp.Table):
        query = around.ctes.get(item.name.lower()) if "use" not in item.meta else None
        query = query or _Query(1, ())
    elif isinstance(item, exp.Subquery) and not isinstance(item.this, _SUBQUERIES) and not item.alias:
        return nested + _source(item.this, around, outer, sources)
    else:
        query = _query(item, around, outer)
    outputs = _renamed(query.outputs, item.args.get("alias"))
    sources[item.alias_or_name.lower()] = dict(sorted(outputs, key=lambda pair: pair[1]))
    return nested + query.total


def _renamed(outputs: Sequence[tuple[str, int]], alias: exp.Expr | None) -> tuple[tuple[str, int], ...]:
    columns = [each.name.lower() for each in alias.args.get("columns") or ()] if alias is not None else []
    changed = [(new, weight) for new, (_, weight) in zip(columns, outputs, strict=False)]
    return (*changed, *outputs[len(changed) :])


def _expression(node: exp.Expr, around: _Around, names: _Names) -> int:
    total = 0
    stack = [(node, 1)]
    while stack:
        each, times = stack.pop()
        if isinstance(each, exp.Column):
            total += times * (1 + names.of(each.name.lower(), each.table.lower()))
        elif isinstance(each, _SUBQUERIES):
            total += times * _query(each, around, names).total
        else:
            total += times * (1 + (length(each, around.parameters) or 0) // UNIT)
            weight, inside = _work(each, times, around, names)
            total += weight
            stack.extend(inside)
    return _capped(total)


def _work(node: exp.Expr, times: int, around: _Around, names: _Names) -> tuple[int, list[tuple[exp.Expr, int]]]:
    """What is weighed of a node's arguments, and those that still are to be, with how often each counts."""
    work = work_of(node)
    sought = _sought(work.sought, around, names) if work.sought is not None else 1
    put = _expression(work.put, around, names) if work.put is not None else 0
    factor = sought * growth(node, work, put, around.parameters)
    inside: list[tuple[exp.Expr, int]] = []
    for each in (child for value in node.args.values() for child in _nodes(value)):
        if each is work.repeated:
            inside.append((each, _capped(times * work.times)))
        elif each is not work.sought and each is not work.put:
            inside.append((each, _capped(times * factor * (1 if work.repeated is not None else work.times))))
    weighed = (sought if work.sought is not None else 0) + put + work.weight
    return times * weighed, inside


def _sought(node: exp.Expr, around: _Around, names: _Names) -> int:
    """The weight of what is searched for. Raises ViewRefused where it may be long, but for what is stored so."""
    plain = all(
        isinstance(each, exp.Column) and names.of(each.name.lower(), each.table.lower()) <= STORED
        for each in parts_sought(node)
    )
    weight = _expression(node, around, names) if plain else 0
    if not plain or weight > MOST_SOUGHT:
        raise ViewRefused(
            "a long or computed text that is searched for",
            where=where(node, around.text) if around.text else "",
            expected=f"a column, literals and parameters of at most {LONGEST_SOUGHT:,} characters, joined by ||",
        )
    return weight


def _nodes(value: object) -> list[exp.Expr]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, exp.Expr)]


def _capped(weight: int) -> int:
    return min(weight, _TOO_MANY)
