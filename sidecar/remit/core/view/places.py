"""Where in a statement's text a node of its tree stands."""

from __future__ import annotations

from sqlglot import exp

from remit.core.view.lexing import place


def where(node: exp.Expr | None, text: str) -> str:
    """ "line 1, column 8" of the first word of a node that sqlglot knows a place of; "" of none."""
    if node is None:
        return ""
    starts = [each.meta["start"] for each in node.walk() if "start" in each.meta]
    return place(text, min(starts)) if starts else ""
