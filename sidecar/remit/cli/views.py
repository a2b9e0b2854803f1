"""`remit views`: what an agent sees of a dataset, and why."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from remit.backends.opa_bundle import BundleInvalid
from remit.backends.opa_process import OpaFailed
from remit.backends.policy_files import sources
from remit.backends.view_explained import Explanation, explain
from remit.cli.advice import without_view
from remit.cli.failure import NO, Failure, Refused
from remit.cli.local import catalogue_paths
from remit.cli.opa import ready
from remit.cli.rehearsal import view_input
from remit.cli.screen import Told, emit, note, progress
from remit.cli.view_report import TableReport, report, tell
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.reading import nearest

PATH = click.Path(path_type=Path)


@click.group("views")
def command() -> None:
    """See what agents see of data."""


@command.command("explain")
@click.argument("agent")
@click.argument("dataset")
@click.option("--purpose", default="", help="What for; default: the agent's only one.")
@click.option("--table", "tables", multiple=True, help="This table alone; default: all.")
@click.option("--catalogue", multiple=True, type=PATH, help="File or directory [REMIT_CATALOGUE, remit.yaml].")
@click.option("--policy", multiple=True, type=PATH, help="Directory of your own policies [REMIT_POLICIES].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explained(agent: str, dataset: str, *, as_json: bool, **asked: Any) -> None:
    """Show which rows and columns AGENT sees of each table of DATASET, and which rule says so.

    It is asked of the policies as they lie here, outside any workflow, for a session without labels; no sidecar is
    needed. Exit code 1: no view of it is written, or a view cannot be had. Labels are those of all columns together:
    a query carries those of the columns that it names.

    Example: remit views explain support crm --purpose support
    """
    with progress("reading the catalogue") as told:
        found, reports, purpose, purposes = _explained(agent, dataset, told, **asked)
    if as_json:
        emit(_document(found, reports, agent=agent, dataset=dataset, purpose=purpose))
    else:
        tell(found, reports, title=f"{agent} sees of {dataset}" + (f", for {purpose}" if purpose else ""))
    if purpose not in purposes:
        known = f"those of {agent} are: {', '.join(purposes) or 'none'}"
        note(f"remit: a query for {purpose or 'no purpose'} is denied, whatever the view; {known} (--purpose)")
    if any(each.explained.failed for each in reports):
        raise click.exceptions.Exit(NO)


def _explained(
    agent: str,
    dataset: str,
    told: Told,
    *,
    purpose: str,
    tables: tuple[str, ...],
    catalogue: tuple[Path, ...],
    policy: tuple[Path, ...],
) -> tuple[Explanation, list[TableReport], str, tuple[str, ...]]:
    try:
        settings, read = load(catalogue_paths(catalogue), os.environ, {"policies": [*policy] or None})
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    _known("agent", agent, read.agents)
    _known("dataset", dataset, read.datasets)
    for table in tables:
        _known(f"table of {dataset}", table, read.datasets[dataset].tables)
    entry = read.agents[agent]
    purpose = purpose or (entry.purposes[0] if len(entry.purposes) == 1 else "")
    opa = ready(settings.opa.binary, told).path
    told("asking OPA", 0.5)
    document = view_input(read, agent, dataset, purpose)
    shown = tables or tuple(read.datasets[dataset].tables)
    try:
        found = asyncio.run(explain(sources(read, settings.policies), opa, dataset, shown, document))
    except BundleInvalid as error:
        raise Refused(*map(str, error.problems)) from error
    except OpaFailed as error:
        raise Failure(str(error)) from error
    if found is None:
        raise Refused(without_view(dataset))
    reports = [report(each, read.datasets[dataset], entry.clearance) for each in found.tables]
    return found, reports, purpose, tuple(entry.purposes)


def _known(what: str, name: str, entries: Collection[str]) -> None:
    if name not in entries:
        meant = nearest(name, entries)
        expected = f"did you mean {meant}?" if meant else f"expected one of {', '.join(sorted(entries)) or 'none'}"
        raise Failure(f"no {what} is called {name[:80]!r}; {expected}")


def _document(found: Explanation, reports: list[TableReport], **asked: str) -> dict[str, Any]:
    return {
        **asked,
        "revision": found.revision,
        "reads_time": found.reads_time,
        "traced": found.traced,
        "tables": [each.document() for each in reports],
    }
