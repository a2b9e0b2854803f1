"""A smallest group: the statements that keep to it, and the HAVING that holds them to it.

Such a statement counts and sums over groups, and each row that it shows stands for at least so many subjects of each
table. Anything by which one row could still be made out is not among what is allowed: what shows a value of one row
(min, max, lists), and what could fail for one row and not for another (arithmetic, functions, patterns), since the
error would tell what the group hides.

Nor may a condition choose whose rows are joined with many and whose with few: an average in which one row of a table
counts a thousand times, and all others once, is that row's value. So tables are joined by equal columns alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from remit.core.view.model import ViewRefused
from remit.core.view.places import where

_ALLOWED = (
    "one SELECT with count, sum, avg, stddev or variance of columns, GROUP BY columns, and in WHERE, ON and HAVING "
    "comparisons of columns, values and these"
)
_AGGREGATES = frozenset(
    ["count", "sum", "avg", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp"]
)
_COMPARISONS = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.Paren,
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.Is,
    exp.Between,
    exp.In,
    exp.Tuple,
)
_CALLED: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.IntDiv: "/",
    exp.Mod: "%",
    exp.DPipe: "||",
    exp.Like: "LIKE",
    exp.ILike: "ILIKE",
    exp.Case: "CASE",
    exp.Cast: "a cast",
    exp.Exists: "EXISTS",
    exp.In: "IN (SELECT …)",
    exp.Subquery: "a sub-query",
    exp.Select: "a sub-query",
}
_VALUES = (exp.Literal, exp.Placeholder, exp.Boolean, exp.Null)
_PARTS = frozenset(["kind", "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset"])

Name = tuple[str, str]
"""(table's alias or "", column) as they are written, small."""


class _Beyond(Exception):
    """What was found that is not allowed, and where in the tree."""

    def __init__(self, what: str, node: exp.Expr) -> None:
        super().__init__(what)
        self.what = what
        self.node = node


def check_groups(tree: exp.Expr, text: str = "") -> None:
    """Raises ViewRefused for a statement that could show less than a group; `text` is what it was read from."""
    try:
        _check(tree)
    except _Beyond as found:
        raise ViewRefused(
            f"{found.what}, where policy shows groups only", where=where(found.node, text), expected=_ALLOWED
        ) from None


def _check(tree: exp.Expr) -> None:
    if not isinstance(tree, exp.Select):
        raise _Beyond("a statement of several SELECTs", tree)
    for name, value in tree.args.items():
        if value and name not in _PARTS:
            raise _Beyond(name.strip("_").upper(), tree)
    sources = [tree.args["from_"], *tree.args.get("joins", ())] if tree.args.get("from_") else []
    for source in sources:
        table = source.this
        if not isinstance(table, exp.Table) or "use" not in table.meta or table.args.get("joins"):
            raise _Beyond("what is not a table in FROM", table)
        if source.args.get("on"):
            _check_condition(source.args["on"], None)
            if len(sources) > 1:
                _check_joins(source.args["on"], outer=bool(source.args.get("side")))
    if not sources:
        raise _Beyond("no table", tree)
    groups = _groups(tree)
    aggregated = [_check_output(each, groups) for each in tree.expressions]
    if not groups and not any(aggregated):
        raise _Beyond("rows that are not grouped", tree)
    for part in ("where", "having"):
        if tree.args.get(part):
            _check_condition(tree.args[part].this, groups if part == "having" else None)
    if tree.args.get("where") and len(sources) > 1:
        _check_joins(tree.args["where"].this, outer=False)
    _check_order(tree, groups)


def require_groups(tree: exp.Expr, counts: Iterable[str], size: str) -> None:
    """Show only that of which each of these counts is at least `size`; so too where all rows are one group."""
    conditions = " AND ".join(f"{count} >= {size}" for count in counts)
    having = tree.args.get("having")
    whole = exp.Var(this=conditions)
    tree.set(
        "having", exp.Having(this=exp.And(this=exp.Paren(this=having.this), expression=whole) if having else whole)
    )


def _groups(tree: exp.Select) -> frozenset[Name]:
    group = tree.args.get("group")
    if group is None:
        return frozenset()
    if any(value for name, value in group.args.items() if name != "expressions"):
        raise _Beyond("GROUP BY with more than columns", group)
    return frozenset(_name(each, "GROUP BY") for each in group.expressions)


def _check_output(node: exp.Expr, groups: frozenset[Name]) -> bool:
    """Whether it is an aggregate."""
    inner = node.this if isinstance(node, exp.Alias) else node
    if isinstance(inner, exp.Anonymous):
        _check_aggregate(inner)
        return True
    if _name(inner, "the outputs") not in groups:
        raise _Beyond(f"{inner.name!r} among the outputs, which is not in GROUP BY in the same words", inner)
    return False


def _check_aggregate(node: exp.Anonymous) -> None:
    name, arguments = str(node.this).lower(), node.expressions
    if name not in _AGGREGATES:
        raise _Beyond(f"function {name}", node)
    if isinstance(node.parent, exp.Window | exp.Filter | exp.WithinGroup):
        raise _Beyond(f"{name} over a window, or with a filter", node)
    if name == "count" and len(arguments) == 1 and isinstance(arguments[0], exp.Distinct):
        arguments = arguments[0].expressions
    if name == "count" and len(arguments) == 1 and isinstance(arguments[0], exp.Star):
        return
    if len(arguments) != 1:
        raise _Beyond(f"{name} of more than a column", node)
    _name(arguments[0], name)


def _check_condition(node: exp.Expr, groups: frozenset[Name] | None) -> None:
    """Only what compares; with `groups`, columns of these and aggregates; without, any column and no aggregate."""
    if isinstance(node, _VALUES) or _is_value(node):
        return
    if isinstance(node, exp.Column):
        name = _name(node, "a condition")
        if groups is not None and name not in groups:
            raise _Beyond(f"{node.name!r} in HAVING or ORDER BY, which is not in GROUP BY in the same words", node)
        return
    if isinstance(node, exp.Anonymous) and groups is not None:
        _check_aggregate(node)
        return
    if not isinstance(node, _COMPARISONS) or node.args.get("query"):
        raise _Beyond(f"{_called(node)} in a condition", node)
    for each in node.iter_expressions():
        _check_condition(each, groups)


def _called(node: exp.Expr) -> str:
    """What is more than a comparison, as it is written."""
    if isinstance(node, exp.Anonymous):
        return f"function {str(node.this).lower()}"
    return _CALLED.get(type(node), "more than comparisons")


def _check_joins(node: exp.Expr, *, outer: bool) -> None:
    """Each part that AND joins is of one table alone, or says that columns of two are equal; in an outer join's ON,
    which leaves rows in that do not meet it, only the latter."""
    if isinstance(node, exp.Paren):
        return _check_joins(node.this, outer=outer)
    if isinstance(node, exp.And):
        _check_joins(node.this, outer=outer)
        return _check_joins(node.expression, outer=outer)
    # Without its table's name, a column may be of any.
    tables = {each.table.lower() or f".{each.name.lower()}" for each in node.find_all(exp.Column)}
    joins = isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)
    joins = joins and len(tables) == 2 and not (outer and any(each.startswith(".") for each in tables))
    if not joins and (outer or len(tables) > 1):
        raise _Beyond("a condition on several tables that is not that columns of two are equal (table.column)", node)
    return None


def _is_value(node: exp.Expr) -> bool:
    """A value with a sign or a type: it fails for all rows or for none."""
    return isinstance(node, exp.Neg | exp.Cast) and isinstance(node.this, _VALUES)


def _check_order(tree: exp.Select, groups: frozenset[Name]) -> None:
    order = tree.args.get("order")
    given = {("", each.alias.lower()) for each in tree.expressions if isinstance(each, exp.Alias)}
    for each in order.expressions if order else ():
        key = each.this
        if not isinstance(key, exp.Column | exp.Anonymous | exp.Literal):
            raise _Beyond("ORDER BY with more than columns, outputs and aggregates", key)
        _check_condition(key, groups | given)


def _name(node: exp.Expr, part: str) -> Name:
    if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
        raise _Beyond(f"more than plain columns in {part}", node)
    return node.table.lower(), node.name.lower()
