"""`remit check`: everything that can be known before anything runs."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from remit.backends.opa_bundle import BundleInvalid, Sources, build, check, library_path, read_views, run_tests
from remit.backends.opa_sources import read_messages
from remit.backends.policy_files import sources
from remit.cli.advice import advise, advise_views
from remit.cli.egress_advice import advise_egress, advise_files
from remit.cli.failure import NO, Failure
from remit.cli.local import catalogue_paths
from remit.cli.opa import ready
from remit.cli.ready import check_ready
from remit.cli.rehearsal import rehearsed
from remit.cli.screen import Told, emit, progress, show
from remit.cli.suggest_reading import journal_options
from remit.cli.text import clean, counted
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.core.catalogue import Catalogue

DIRECTORY = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: `failed` tests, compile errors and views that would be refused; lines of `advice`.

    `codes` are (policy, code) -> template, `views` are the datasets of which there is a view.
    """

    revision: str
    failed: tuple[str, ...]
    codes: Mapping[tuple[str, str], str]
    advice: tuple[str, ...]
    views: tuple[str, ...] = ()


@click.command("check")
@click.option("--catalogue", multiple=True, type=DIRECTORY, help="File or directory [REMIT_CATALOGUE, remit.yaml].")
@click.option("--policy", multiple=True, type=DIRECTORY, help="Directory of your own policies [REMIT_POLICIES].")
@click.option("--ready", "agent", metavar="AGENT", help="What would break if this observed agent were bound now.")
@journal_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    catalogue: tuple[Path, ...], policy: tuple[Path, ...], *, agent: str | None, as_json: bool, **journal: Any
) -> None:
    """Check the catalogue, compile and type-check all policies, run their tests, list every reason code and view.

    Each view is asked for, for each agent and purpose that its dataset admits (200 at most, in 5 seconds).

    Exit code 1: a policy does not compile, a test fails, or a view would be refused. 2: the catalogue or the
    settings cannot be used. Warnings name entries that no request could ever use, and what is weaker than it looks:
    tunnels that nobody meters, credentials that are not there or open to others. They do not fail.

    With --ready, reads what AGENT was observed to do instead, and asks the policies as they lie here about it. Exit
    code 1: something would be refused or held, or nothing was observed. 3: there is no journal.

    Example: remit check --catalogue remit.yaml --policy policies
    """
    if agent is not None:
        check_ready(agent, catalogue, policy, as_json=as_json, **journal)
        return
    if journal["state"] or journal["store_url"]:
        raise click.UsageError("--state and --store-url say which journal --ready reads: without it, none is read.")
    with progress("reading the catalogue") as tell:
        found = _check(catalogue, policy, tell)
    emit(_document(found)) if as_json else _tell(found)
    if found.failed:
        raise click.exceptions.Exit(NO)


def _check(catalogue: tuple[Path, ...], policy: tuple[Path, ...], tell: Told) -> Checked:
    flags = {"policies": [*policy] or None}
    try:
        settings, read = load(catalogue_paths(catalogue), os.environ, flags)
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    advice = (*advise(read, time.time_ns()), *advise_egress(read), *advise_files(read, Path.cwd()))
    opa = ready(settings.opa.binary, tell).path
    try:
        made = sources(read, settings.policies)
        failed = _judge(made, opa, tell)
        if failed:
            return Checked("", failed, {}, advice)
        return _served(read, made, opa, advice, tell)
    except BundleInvalid as error:
        return Checked("", tuple(map(str, error.problems)), {}, advice)


def _judge(made: Sources, opa: Path, tell: Told) -> tuple[str, ...]:
    """What does not compile raises BundleInvalid; what fails is returned."""
    tell("type-checking the policies", 0.2)
    check(made, opa)
    tell("running your tests", 0.5)
    own = run_tests(made, opa) if made.custom else ()
    tell("running the library's tests", 0.7)
    # The library is judged as delivered: its tests know nothing of this catalogue and configuration.
    return tuple(map(str, (*own, *run_tests(Sources(library_path()), opa, library=True))))


def _served(read: Catalogue, made: Sources, opa: Path, advice: tuple[str, ...], tell: Told) -> Checked:
    """What the bundle has, and what its views come to. Raises BundleInvalid."""
    with tempfile.TemporaryDirectory(prefix="remit-check-") as directory:
        bundle = build(made, opa, Path(directory))
        codes = read_messages(bundle, opa)
        tell("asking for the views", 0.9)
        asked = rehearsed(read, bundle, opa, Path(directory), read_views(made, opa) if bundle.views else ())
    views = tuple(sorted(bundle.views))
    told = (*advice, *advise_views(read, views), *asked.advice)
    return Checked(bundle.revision, asked.errors, codes, told, views)


def _tell(found: Checked) -> None:
    for line in found.failed:
        show(f"error: {clean(line)}")
    if found.codes:
        show(_codes_table(found.codes))
    if found.views:
        show(f"views: {', '.join(map(clean, found.views))}")
    for line in found.advice:
        show(f"warning: {clean(line)}")
    warned = f", {counted(len(found.advice), 'warning')}" if found.advice else ""
    errors = counted(len(found.failed), "error")
    show(f"{errors}{warned}" if found.failed else f"good: policy revision {found.revision}{warned}")


def _codes_table(codes: Mapping[tuple[str, str], str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("policy", "code", "message"):
        table.add_column(name)
    for (policy, code), text in sorted(codes.items()):
        table.add_row(clean(policy), clean(code), clean(text))
    return table


def _document(found: Checked) -> dict[str, Any]:
    return {
        "ok": not found.failed,
        "revision": found.revision,
        "errors": list(found.failed),
        "warnings": list(found.advice),
        "views": list(found.views),
        "codes": [{"policy": p, "code": c, "message": text} for (p, c), text in sorted(found.codes.items())],
    }
