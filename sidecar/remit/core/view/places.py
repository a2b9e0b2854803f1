"""Where in a statement's text a node of its tree stands."""

from __future__ import annotations

from sqlglot import exp

from remit.core.view.lexing import place


def where(node: exp.Expr | None, text: str) -> str:
    """ "line 1, column 8" of the first word of a node, or of what it is in; "" if no place of either is known."""
    while node is not None and text:
        starts = [each.meta["start"] for each in node.walk() if "start" in each.meta]
        if starts:
            return place(text, min(starts))
        node = node.parent
    return ""
