"""`remit policy`: rules of your own, beside the library."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import click

from remit.backends.opa_bundle import BundleInvalid, Problem, Sources, library_path, run_tests
from remit.backends.policy_files import sources
from remit.cli.failure import NO, Failure
from remit.cli.local import catalogue_paths, find_settings
from remit.cli.opa import ready
from remit.cli.policy_template import rule_text, test_text, view_test_text, view_text
from remit.cli.screen import Told, emit, progress, show
from remit.cli.suggest import suggest
from remit.cli.text import clean
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.reading import nearest
from remit.core.catalogue import Catalogue

DIRECTORY = click.Path(file_okay=False, path_type=Path)
POLICIES = Path("policies")
VIEWS = "views"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
# As names these would be words of Rego itself, in the rule or in the test that imports it.
_RESERVED = re.compile(
    "as|contains|data|default|else|every|false|if|import|in|input|not|null|package|some|true|with|.*_test"
)


@click.group("policy")
def command() -> None:
    """Start a rule of your own, have rules suggested, and test policies."""


command.add_command(suggest)


@command.command("new")
@click.argument("name", metavar="CATEGORY/NAME")
@click.option("--dir", "directory", type=DIRECTORY, default=POLICIES, show_default=True, help="Your policies.")
@click.option("--owner", help="The team that answers for it; default: the category.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, directory: Path, owner: str | None, as_json: bool) -> None:
    """Write a rule and its test, both working, for you to change. CATEGORY views: the view of a dataset of remit.yaml.

    Example: remit policy new cx/hours
    """
    category, rule = _parts(name)
    package, text, test = _view(rule, owner) if category == VIEWS else _rule(category, rule, owner)
    folder = directory / category / rule
    texts = {folder / f"{rule}.rego": text, folder / f"{rule}_test.rego": test}
    _write(texts)
    if as_json:
        emit({"package": package, "files": [str(path) for path in texts]})
        return
    for path in texts:
        show(f"wrote {path}")
    show(f"now: remit policy test {directory}", f"then: remit check --policy {directory}")


def _rule(category: str, name: str, owner: str | None) -> tuple[str, str, str]:
    """A rule's package, and the texts of its file and of its test's."""
    text = rule_text(category, name, owner=_owner(owner or category))
    return f"remit.custom.{category}.{name}", text, test_text(category, name)


def _view(name: str, owner: str | None) -> tuple[str, str, str]:
    """The same of a dataset's view."""
    catalogue = _catalogue()
    dataset = catalogue.datasets.get(name)
    if dataset is None:
        meant = nearest(name, catalogue.datasets)
        expected = f"did you mean {meant}?" if meant else "expected the name of one"
        raise Failure(f"views/{name}: no such dataset in the catalogue; {expected}")
    if not any(table.columns for table in dataset.tables.values()):
        raise Failure(f"views/{name}: the dataset has no column in the catalogue; expected tables with columns")
    role = next(
        iter((*dataset.roles, *(role for agent in catalogue.agents.values() for role in agent.roles))), "reader"
    )
    text = view_text(name, dataset, owner=_owner(owner or dataset.owner or VIEWS), role=role)
    return f"remit.views.{name}", text, view_test_text(name, dataset, role=role, asker=_asker(catalogue, role))


def _asker(catalogue: Catalogue, role: str) -> tuple[str, str, str]:
    """An agent of the role, its team and a purpose of its; made-up ones where there is none."""
    for name, agent in catalogue.agents.items():
        if role in agent.roles:
            return name, agent.team, next(iter(agent.purposes), "")
    return "somebody", "", ""


def _parts(name: str) -> tuple[str, str]:
    parts = name.split("/")
    fit = all(_NAME.fullmatch(part) and not _RESERVED.fullmatch(part) for part in parts)
    if len(parts) != 2 or not fit:
        raise Failure(f"CATEGORY/NAME: found {name[:80]!r}; expected two names of a-z, 0-9 and _, such as cx/hours")
    return parts[0], parts[1]


def _owner(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name, re.ASCII) is None:
        raise Failure(f"--owner: found {name[:80]!r}; expected a team's name, such as cx")
    return name


def _write(texts: dict[Path, str]) -> None:
    for path in texts:
        if path.exists():
            raise Failure(f"{path} is there already: change it there; expected a new name")
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}; expected a place that can be written to") from error


@command.command("test")
@click.argument("directories", nargs=-1, type=DIRECTORY)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(directories: tuple[Path, ...], as_json: bool) -> None:
    """Run the tests of your policies and of the library, with the catalogue of remit.yaml where there is one.

    DIRECTORIES default to the settings' policies, else ./policies. Exit code 1: a test fails, or does not compile.

    Example: remit policy test policies
    """
    with progress("looking for OPA") as tell:
        failed = _failures(directories, tell)
    if as_json:
        emit({"ok": not failed, "failed": [{"file": p.file, "line": p.line, "message": p.message} for p in failed]})
    else:
        for each in failed:
            show(clean(str(each)))
        show(f"{len(failed)} failed" if failed else "all tests passed")
    if failed:
        raise click.exceptions.Exit(NO)


def _failures(directories: Sequence[Path], tell: Told) -> tuple[Problem, ...]:
    settings = find_settings(None)
    own = tuple(directories) or settings.policies or tuple(path for path in (POLICIES,) if path.is_dir())
    opa = ready(settings.opa.binary, tell).path
    try:
        tell("running your tests", 0.4)
        failed = run_tests(sources(_catalogue(), own), opa) if own else ()
        tell("running the library's tests", 0.7)
        return (*failed, *run_tests(Sources(library_path()), opa, library=True))
    except BundleInvalid as error:
        return error.problems


def _catalogue() -> Catalogue:
    paths = catalogue_paths(())
    if not any(path.exists() for path in paths):
        return Catalogue("EUR")
    try:
        return load(paths, os.environ, {})[1]
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
