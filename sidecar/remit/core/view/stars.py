"""What in the outermost SELECT could mean a hidden column at its end: a star, and ORDER BY with a column's number."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from remit.core.view.model import Use


def without_stars(tree: exp.Select, uses: Sequence[Use]) -> bool:
    """Replace each star among a SELECT's outputs; whether that could be done.

    It cannot where a star joins columns of one name (USING), or its tables are in brackets: then the tree is unchanged.
    """
    if not any(_is_star(each) for each in tree.expressions):
        return True
    items = _items(tree)
    if items is None:
        return False
    named = {item.alias_or_name: item for item in items}
    outputs: list[exp.Expr] = []
    for each in tree.expressions:
        if not _is_star(each):
            outputs.append(each)
            continue
        meant = items if isinstance(each, exp.Star) else [named.get(each.table)]
        for item in meant:
            if item is None:
                return False
            outputs += _outputs(item, uses)
    tree.set("expressions", outputs)
    return True


def orders_beyond(tree: exp.Select) -> bool:
    """Whether ORDER BY may name an output by a number that is none of the agent's own: it would be a hidden column."""
    order = tree.args.get("order")
    numbers = [_bare(each.this) for each in (order.expressions if order else ())]
    known = len(tree.expressions)  # a star that is left among them is at least one
    return any(isinstance(each, exp.Literal) and not _within(each, known) for each in numbers)


def _bare(node: exp.Expr) -> exp.Expr:
    """Without what SQLite passes over when it looks for a number."""
    while isinstance(node, exp.Paren | exp.Collate | exp.Neg):
        node = node.this
    return node


def _within(literal: exp.Literal, most: int) -> bool:
    return literal.is_string or (literal.this.isdigit() and int(literal.this) <= most)


def _is_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def _items(tree: exp.Select) -> list[exp.Expr] | None:
    """What a FROM names, in order; None where a star is more than the columns of each in turn."""
    start = tree.args.get("from_")
    joins = tree.args.get("joins") or []
    if start is None or any(join.args.get("using") or join.args.get("method") for join in joins):
        return None
    items = [start.this, *(join.this for join in joins)]
    plain = all(isinstance(each, exp.Table | exp.Subquery) and each.alias_or_name for each in items)
    nested = any(each.args.get("joins") or isinstance(each.this, exp.Table) for each in items)
    return items if plain and not nested else None


def _outputs(item: exp.Expr, uses: Sequence[Use]) -> list[exp.Expr]:
    """`alias.column` of each column of a table; `alias.*` of what has no hidden column."""
    if "use" not in item.meta:
        star = exp.Column(this=exp.Star(), table=exp.to_identifier(item.alias_or_name, quoted=True))
        return [star]
    use = uses[int(item.meta["use"])]
    return [
        exp.Column(this=exp.to_identifier(column, quoted=True), table=exp.to_identifier(use.alias, quoted=True))
        for column in use.columns
    ]
