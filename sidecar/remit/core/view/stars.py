"""A star in the outermost SELECT, as the columns that it means, so that a hidden column is not among them."""

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
