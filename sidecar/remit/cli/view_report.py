"""A view for people: rows and columns of each table, with the rule that each comes from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rich.table import Table as Grid

from remit.backends.view_explained import Explained, Explanation, Part
from remit.cli.screen import show
from remit.cli.text import clean
from remit.core.dataset import Dataset
from remit.core.label import exceeding
from remit.core.view.model import EVERY_ROW, NO_ROW, Filter, Mask
from remit.core.view.rego import Rule
from remit.core.view.shown import filter_text, mask_text


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """One column: its labels in the catalogue, its mask (None: shown as it is), the rules that set it."""

    name: str
    labels: tuple[str, ...]
    mask: Mask | None
    rules: tuple[Rule, ...]

    @property
    def shown(self) -> str:
        """What stands in it, such as "partial (last 4)"."""
        return mask_text(self.mask) if self.mask else "as it is"


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table. `labels` are what reading all of it brings; `missing` those that the agent is not cleared for."""

    explained: Explained
    columns: tuple[ColumnReport, ...]
    labels: tuple[str, ...]
    missing: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        view = self.explained.view
        return {
            "table": view.table,
            "failed": self.explained.failed,
            "rows": _rows(view.filter),
            "filter": filter_text(view.filter),
            "rules": [_located(part.rule) | {"filter": filter_text(part.filter)} for part in _includes(self.explained)],
            "columns": [
                {
                    "column": each.name,
                    "labels": list(each.labels),
                    "mask": each.mask.kind if each.mask else "",
                    "settings": {name: str(value) for name, value in each.mask.settings.items()} if each.mask else {},
                    "rules": [_located(rule) for rule in each.rules],
                }
                for each in self.columns
            ],
            "labels": list(self.labels),
            "not_cleared": list(self.missing),
        }


def report(explained: Explained, dataset: Dataset, clearance: Collection[str]) -> TableReport:
    """A table's view beside what the catalogue says of it."""
    masks = explained.view.masks
    columns = tuple(
        ColumnReport(
            name,
            tuple(sorted({*dataset.labels, *labels})),
            masks.get(name),
            tuple(part.rule for part in explained.parts if name in part.masks),
        )
        for name, labels in dataset.tables[explained.table].columns.items()
    )
    kept = (each.labels for each in columns if each.mask is None or each.mask.keeps_labels)
    labels = tuple(sorted({*dataset.labels, *(label for labels in kept for label in labels)}))
    return TableReport(explained, columns, labels, exceeding(labels, clearance))


def tell(found: Explanation, reports: Collection[TableReport], *, title: str) -> None:
    """Print it."""
    show(f"{clean(title)} (policy revision {found.revision}{', now: it reads the time' if found.reads_time else ''})")
    for each in reports:
        show(
            "",
            f"{clean(each.explained.table)}: {clean(each.explained.failed or filter_text(each.explained.view.filter))}",
        )
        if not each.explained.failed:
            _tell_table(each)
    if not found.traced:
        show("", "the rules cannot be told apart: one of them does not stand without the others")


def _tell_table(told: TableReport) -> None:
    for part in _includes(told.explained):
        show(f"  {clean(_place(part.rule))}: {clean(filter_text(part.filter))}")
    if told.explained.view.filter == NO_ROW:
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for name in ("  column", "labels", "shown", "by"):
        grid.add_column(name)
    for each in told.columns:
        places = ", ".join(map(_place, each.rules))
        grid.add_row(f"  {clean(each.name)}", clean(", ".join(each.labels)), clean(each.shown), clean(places))
    show(grid)
    missing = f"; not cleared for {', '.join(told.missing)}" if told.missing else ""
    show(f"  labels: {clean((', '.join(told.labels) or 'none') + missing)}")


def _includes(explained: Explained) -> list[Part]:
    return [part for part in explained.parts if part.filter != NO_ROW]


def _rows(filter_: Filter) -> str:
    return "every" if filter_ == EVERY_ROW else "none" if filter_ == NO_ROW else "some"


def _place(rule: Rule) -> str:
    return f"{rule.file}:{rule.line}" + (f" ({rule.title})" if rule.title else "")


def _located(rule: Rule) -> dict[str, Any]:
    return {"file": rule.file, "line": rule.line, "title": rule.title}
