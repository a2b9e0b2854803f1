"""The statement's own conditions on a table, where they may be asked within its fence, so that an index is used.

There they are computed for rows that the filter hides, in whatever order the database likes. So only those are copied
that cannot fail for any row: comparisons by operators that PostgreSQL calls LEAKPROOF (pg_proc.proleakproof); of
SQLite's comparisons none fails. A value that does not fit its column fails before a row is read, whatever the rows.

They are copied as they stand, and not cast to the column's type: `age > 2.5` as integers would be another condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlglot import exp

from remit.core.view.bindings import Bindings, quoted
from remit.core.view.dialects import render
from remit.core.view.model import Column, Condition, Dialect

# By the first word of a type's name in PostgreSQL: types whose comparisons with one another are leakproof (of 15's
# pg_proc; `numeric` is not among them).
_FAMILIES = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "real": "real",
    "double": "real",
    "text": "text",
    "character": "text",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "uuid": "uuid",
}
_CASTS = {
    exp.DType.SMALLINT: "integer",
    exp.DType.INT: "integer",
    exp.DType.BIGINT: "integer",
    exp.DType.FLOAT: "real",
    exp.DType.DOUBLE: "real",
    exp.DType.TEXT: "text",
    exp.DType.VARCHAR: "text",
    exp.DType.BOOLEAN: "boolean",
    exp.DType.DATE: "date",
    exp.DType.TIMESTAMP: "timestamp",
    exp.DType.TIMESTAMPTZ: "timestamptz",
    exp.DType.UUID: "uuid",
}
_SIGNS = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def conditions_sql(
    conditions: Iterable[Condition], columns: Mapping[str, Column], bindings: Bindings, alias: str
) -> str:
    """Those of the conditions on `alias` that cannot fail for any row, joined by AND; "" where there are none.

    `columns` are those of which a condition may be moved: not the masked ones.
    """
    kept = [each for each in conditions if each.column in columns and _is_safe(each, columns, bindings.dialect)]
    return " AND ".join(f"({_condition(each, bindings, alias)})" for each in kept)


def _is_safe(condition: Condition, columns: Mapping[str, Column], dialect: Dialect) -> bool:
    if dialect is Dialect.SQLITE:
        return True
    family = _family(columns[condition.column].declared)
    return bool(family) and all(_fits(operand, family) for operand in condition.operands)


def _family(declared: str) -> str:
    """Of a type's name in PostgreSQL; "" of an array, and of any other type."""
    words = re.sub(r"\(.*?\)", "", declared).split()
    if not words or "[" in declared:
        return ""
    if words[-3:] == ["with", "time", "zone"]:
        return "timestamptz" if words[0] == "timestamp" else ""
    return _FAMILIES.get(words[0], "")


def _fits(operand: Any, family: str) -> bool:
    """Whether an operand is compared with a column of a family by a leakproof operator.

    A text in quotes, and a parameter that is bound as one, is taken for the column's own type. A parameter that is
    bound as a number or a time of another kind brings operators that are not marked so, but are as total.
    """
    match operand:
        case exp.Placeholder() | exp.Null():
            return True
        case exp.Boolean():
            return family == "boolean"
        case exp.Literal(is_string=True):
            return True
        case exp.Neg():
            return isinstance(operand.this, exp.Literal) and not operand.this.is_string and _fits(operand.this, family)
        case exp.Literal():
            whole = operand.this.isdigit() and int(operand.this) < 2**63
            return family == "real" or (family == "integer" and whole)
        case exp.Cast():
            same = _CASTS.get(operand.to.this) == family
            return same and isinstance(operand.this, exp.Literal | exp.Placeholder | exp.Neg | exp.Boolean)
    return False


def _condition(condition: Condition, bindings: Bindings, alias: str) -> str:
    name = f"{alias}.{quoted(condition.column)}"
    operands = [render(bind(operand.copy(), bindings), bindings.dialect) for operand in condition.operands]
    if condition.operator == "between":
        return f"{name} BETWEEN {operands[0]} AND {operands[1]}"
    if condition.operator == "in":
        return f"{name} IN ({', '.join(operands)})"
    return f"{name} {_SIGNS[condition.operator]} {operands[0]}"


def bind(tree: exp.Expr, bindings: Bindings) -> exp.Expr:
    """The same tree with a numbered place for each of the agent's parameters; it is changed."""
    for node in list(tree.find_all(exp.Placeholder)):
        place = exp.Var(this=bindings.parameter(node.name))
        if node is tree:
            return place
        node.replace(place)
    return tree
