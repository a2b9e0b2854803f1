"""What a SELECT's outputs are called, where they have no AS: what a query around it may name them by."""

from __future__ import annotations

from sqlglot import exp

from remit.core.view.model import Dialect
from remit.core.view.scope import Text

# PostgreSQL 15's FigureColname, as far as it gives a name that one can guess. Missing one refuses a statement that
# reads a derived column by it; a wrong one is refused by the database.
_CALLED: dict[type[exp.Expr], str] = {
    exp.Exists: "exists",
    exp.Extract: "extract",
    exp.Substring: "substring",
    exp.StrPosition: "position",
    exp.CurrentDate: "current_date",
    exp.CurrentTimestamp: "current_timestamp",
    exp.Array: "array",
}


def output_name(node: exp.Expr, text: Text) -> str:
    """The name of one output; "" if it has none that could be used."""
    if isinstance(node, exp.Alias):
        return text.folded(node.args["alias"])
    if isinstance(node, exp.Column):
        return text.folded(node.this)
    return _figured(node, text) if text.dialect is Dialect.POSTGRES else ""


def _figured(node: exp.Expr, text: Text) -> str:
    if isinstance(node, exp.Paren | exp.Cast | exp.Collate):
        return output_name(node.this, text)
    if isinstance(node, exp.Case):  # called by what ELSE gives, if that has a name
        default = node.args.get("default")
        return (output_name(default, text) if default is not None else "") or "case"
    if isinstance(node, exp.Window | exp.Filter | exp.WithinGroup):
        return _figured(node.this, text)
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower()
    if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select) and len(node.this.expressions) == 1:
        return output_name(node.this.expressions[0], text)
    return _CALLED.get(type(node), "")
