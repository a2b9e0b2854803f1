"""Which parts of a statement's own WHERE may be copied into the view of a table, so that an index is used.

Why a copy changes no answer. Let J be what a FROM makes of its tables, by inner, outer and cross joins in any order,
and P a condition on a column of table T alone that is not TRUE if the column is NULL. Let T' be T without the rows
for which P is not TRUE, and J' the same joins over T'. Then the rows of J for which P is TRUE are those of J' for
which P is TRUE: a row of J with P TRUE holds a row of T for which P is TRUE, so that row is in T', and each join
along the way that kept it looks only at the rows that it holds; and a row that J' has and J has not can only be one
in which a join found no partner in T' and put NULLs in T's place, and there P is not TRUE. The statement's own WHERE
stays, and asks P of each row again, before GROUP BY, windows, DISTINCT and LIMIT. So P may go into T's view whatever
the joins are; and the same holds of ON of an inner join, which is a WHERE over what is joined up to there.

Taken are only parts that AND joins at the top, of a column and literals or parameters: `<>`, NOT, OR, IS and LIKE
stay where they are. A comparison with a NULL parameter is never TRUE: that rejects NULLs as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from remit.core.view.model import Condition
from remit.core.view.scope import Scope, Text

_OPERATORS: dict[type[exp.Expr], tuple[str, str]] = {
    exp.EQ: ("eq", "eq"),
    exp.LT: ("lt", "gt"),
    exp.LTE: ("le", "ge"),
    exp.GT: ("gt", "lt"),
    exp.GTE: ("ge", "le"),
}


def conditions_of(select: exp.Expr, scope: Scope, text: Text) -> Iterator[tuple[int, Condition]]:
    """What this SELECT asks of one column of one use in its own FROM: the use's index, and the condition."""
    found = select.args.get("where")
    roots = [found.this] if found is not None else []
    roots += [join.args["on"] for join in scope.joins if join.args.get("on") is not None and not join.args.get("side")]
    for root in roots:
        for part in _conjuncts(root):
            yield from _condition(part, scope, text)


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, exp.And):
            stack += [part.expression, part.this]
        elif isinstance(part, exp.Paren):
            stack.append(part.this)
        else:
            yield part


def _condition(part: exp.Expr, scope: Scope, text: Text) -> Iterator[tuple[int, Condition]]:
    for column, operator, operands in _compared(part):
        source = _sole(column, scope, text)
        if source is not None and operands and all(_is_value(each) for each in operands):
            use, name = source
            yield use, Condition(name, operator, operands)


def _compared(part: exp.Expr) -> Iterator[tuple[exp.Expr, str, tuple[exp.Expr, ...]]]:
    """The ways in which a part could be a column, an operator, and what it is compared with."""
    operators = _OPERATORS.get(type(part))
    if operators:
        yield part.this, operators[0], (part.expression,)
        yield part.expression, operators[1], (part.this,)
    elif isinstance(part, exp.In) and part.args.get("query") is None:
        yield part.this, "in", tuple(part.expressions)
    elif isinstance(part, exp.Between) and not part.args.get("symmetric"):
        yield part.this, "between", (part.args["low"], part.args["high"])


def _sole(node: exp.Expr, scope: Scope, text: Text) -> tuple[int, str] | None:
    """The use and column that a node certainly is; None if it is another thing, or might be another's column."""
    if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
        return None
    column, table = text.key_of(node.this), node.args.get("table")
    listing = scope.listing(column)
    if table is not None:
        named = scope.sources.get(text.key_of(table))
        listing = [named] if named is not None and column in named.columns else []
    if len(listing) != 1 or listing[0].use is None:
        return None
    return listing[0].use, listing[0].columns[column]


def _is_value(node: exp.Expr) -> bool:
    if isinstance(node, exp.Cast):
        return _is_value(node.this)
    if isinstance(node, exp.Neg):
        return isinstance(node.this, exp.Literal) and not node.this.is_string
    return isinstance(node, exp.Literal | exp.Placeholder | exp.Boolean)
