"""Planted bugs of the rewriting, each as `rewrite` with one thing wrong: what compares answers must find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from remit.core.view.model import Compare, Every, Filter, Mask, Not, Plan, Some, Statement, TableView
from remit.core.view.rewrite import rewrite
from sqlglot import exp

Rewrite = Callable[..., Plan]
Views = Mapping[str, TableView]


def second_use_unfiltered(statement: Statement, views: Views, *, tables: Any, columns: Any, **more: Any) -> Plan:
    """Forgets the filter where a table is used for the second time."""
    seen: set[str] = set()
    uses, twins = [], {}
    for use in statement.uses:
        if use.table in seen:
            twins[f"{use.table} again"] = use.table
            use = replace(use, table=f"{use.table} again")
        seen.add(use.table)
        uses.append(use)
    again = {name: replace(views[table], table=name, filter=Every()) for name, table in twins.items()}
    return rewrite(
        replace(statement, uses=tuple(uses)),
        {**views, **again},
        tables={**tables, **{name: replace(tables[table], subject_key="") for name, table in twins.items()}},
        columns={**columns, **{name: columns[table] for name, table in twins.items()}},
        **more,
    )


def masked_after_where(statement: Statement, views: Views, **more: Any) -> Plan:
    """Lets conditions see what is masked: a column that no output names is left as it is."""
    outputs = {
        column.name
        for select in statement.tree.find_all(exp.Select)
        for output in select.expressions
        for column in output.find_all(exp.Column, exp.Star)
    }
    bare = {name: replace(view, masks=_only(view.masks, outputs)) for name, view in views.items()}
    return rewrite(statement, views if "*" in outputs else bare, **more)


def _only(masks: Mapping[str, Mask], names: set[str]) -> dict[str, Mask]:
    return {column: mask for column, mask in masks.items() if column in names}


def not_of_null(statement: Statement, views: Views, **more: Any) -> Plan:
    """Takes what is unknown for false, so that NOT makes it true."""
    wrong = {name: replace(view, filter=_negated(view.filter)) for name, view in views.items()}
    return rewrite(statement, wrong, **more)


def _negated(shown: Filter) -> Filter:
    match shown:
        case Every(parts):
            return Every(tuple(map(_negated, parts)))
        case Some(parts):
            return Some(tuple(map(_negated, parts)))
        case Not(Compare(column) as part):
            return Some((Not(part), Compare(column, "eq", None)))
    return shown


MUTANTS: Mapping[str, Rewrite] = {
    "the second use of a table is not filtered": second_use_unfiltered,
    "masks come after WHERE": masked_after_where,
    "NOT takes NULL for false": not_of_null,
}
