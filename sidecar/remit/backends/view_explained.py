"""What a view comes to for one input, and which of its rules each part comes from.

Each rule of `include` and of `masks` is asked alone too, in a copy of the package without the others: as a dataset of
its own, in one bundle with the view itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from remit.backends.opa_bundle import BundleInvalid, Sources, build, read_views
from remit.backends.opa_server import OpaServer
from remit.backends.pdp_opa import OpaPdp
from remit.backends.view_package import ViewPackage, package_of
from remit.backends.view_rehearsal import places
from remit.core.errors import PolicyFailure
from remit.core.view.alone import alone
from remit.core.view.model import NO_ROW, Filter, Mask, TableView, ViewRefused
from remit.core.view.policy import INCLUDE, MASKS
from remit.core.view.rego import Rule

Failed = PolicyFailure | ViewRefused
"""Why there is no view."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one rule brings of one table: rows that it includes, or masks by column."""

    rule: Rule
    filter: Filter
    masks: Mapping[str, Mask]


@dataclass(frozen=True, slots=True)
class Explained:
    """A table's view, or why there is none (`failed`), and the rules that bring something of it."""

    table: str
    view: TableView
    failed: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All tables that were asked for, under one policy revision; `traced`: whether their rules could be told."""

    revision: str
    tables: tuple[Explained, ...]
    reads_time: bool
    traced: bool


async def explain(
    sources: Sources, opa: Path, dataset: str, tables: Sequence[str], document: Mapping[str, Any]
) -> Explanation | None:
    """None where no view of the dataset is written. Raises BundleInvalid, OpaFailed."""
    with tempfile.TemporaryDirectory(prefix="remit-views-") as name:
        place = Path(name)
        view = next((each for each in read_views(sources, opa) if each.rules.dataset == dataset), None)
        if view is None:
            return None
        revision = build(sources, opa, place).revision
        rules = [rule for rule in view.package.rules if rule.name in (INCLUDE, MASKS) and not rule.default]
        traced = True
        try:
            bundle = build(_with_copies(sources, view, rules, place), opa, place)
        except BundleInvalid:  # a rule that cannot stand without the others
            bundle, traced, rules = build(sources, opa, place), False, []
        server = OpaServer(opa, place / "opa", document)
        await server.start(bundle)
        try:
            explained = [await _table(server.pdp, view, table, document, rules) for table in tables]
        finally:
            await server.stop()
        return Explanation(revision, tuple(explained), view.rules.reads_time, traced)


async def _table(
    pdp: OpaPdp, package: ViewPackage, table: str, document: Mapping[str, Any], rules: Sequence[Rule]
) -> Explained:
    dataset = package.rules.dataset
    view, failure = await _asked(pdp, dataset, table, document)
    parts = []
    for number, rule in enumerate(rules):
        found, _ = await _asked(pdp, _copy(dataset, number), table, document)
        part = Part(rule, found.filter if rule.name == INCLUDE else NO_ROW, found.masks if rule.name == MASKS else {})
        if part.filter != NO_ROW or part.masks:
            parts.append(part)
    return Explained(table, view, _told(package, table, failure), tuple(parts))


async def _asked(pdp: OpaPdp, dataset: str, table: str, document: Mapping[str, Any]) -> tuple[TableView, Failed | None]:
    try:
        return (await pdp.view(dataset, [table], document))[0], None
    except (PolicyFailure, ViewRefused) as failure:
        return TableView(table), failure


def _told(package: ViewPackage, table: str, failure: Failed | None) -> str:
    """A failure, and the rules that it may come of; "" of none."""
    if failure is None:
        return ""
    found = ", ".join(f"{rule.file}:{rule.line}" for rule in places(package, table, failure))
    return f"{failure} ({found})" if found else str(failure)


def _copy(dataset: str, number: int) -> str:
    """The name of the dataset that a rule is alone in."""
    return f"{dataset}.rule-{number}"


def _with_copies(sources: Sources, view: ViewPackage, rules: Sequence[Rule], place: Path) -> Sources:
    dataset = view.rules.dataset
    copies = {_copy(dataset, number): rule for number, rule in enumerate(rules)}
    directory = place / "copies"
    for number, (name, rule) in enumerate(copies.items()):
        for file, text in _files(view, name, rule, rules):
            path = directory / str(number) / f"{file}.rego"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    datasets = sources.catalogue["datasets"]
    catalogue = {**sources.catalogue, "datasets": {**datasets, **dict.fromkeys(copies, datasets[dataset])}}
    return replace(sources, custom=(*sources.custom, directory), catalogue=catalogue)


def _files(view: ViewPackage, name: str, rule: Rule, rules: Sequence[Rule]) -> Iterator[tuple[int, str]]:
    """The package's files, by number, with one rule alone; beside one of masks, all of `include`, which must be."""
    others = [each for each in rules if each is not rule and rule.name in (each.name, INCLUDE)]
    for number, path in enumerate(view.files):
        text = path.read_text(encoding="utf-8")
        yield number, alone(text, str(path), (package_of(text), f'remit.views["{name}"]'), without=others)
