"""Which labels an answer carries: those of what a statement can see, but for columns whose mask takes them away."""

from __future__ import annotations

from collections.abc import Mapping

from remit.core.dataset import Dataset
from remit.core.view.model import Statement, TableView


def labels_of(statement: Statement, views: Mapping[str, TableView], dataset: Dataset) -> tuple[str, ...]:
    """Sorted. The dataset's own labels lie on every answer. A table of which no column is named has all of its labels:
    that there is a row tells something of each."""
    labels = set(dataset.labels)
    for use in statement.uses:
        columns = dataset.tables[use.table].columns
        masks = views[use.table].masks
        for column in use.columns or columns:
            mask = masks.get(column)
            if mask is None or mask.keeps_labels:
                labels.update(columns[column])
    return tuple(sorted(labels))


def masked_columns(statement: Statement, views: Mapping[str, TableView]) -> tuple[tuple[str, str, str], ...]:
    """(table, column, kind of mask) of what the statement can see and does not see as it is; sorted."""
    return tuple(
        sorted(
            {
                (use.table, column, views[use.table].masks[column].kind)
                for use in statement.uses
                for column in use.columns
                if column in views[use.table].masks
            }
        )
    )
