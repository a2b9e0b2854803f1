"""Users' packages of views: which files they are, and what they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from remit.backends.policy_problem import BundleInvalid, Problem
from remit.core.view.policy import Tables, ViewRules, doubts, faults, rules_of
from remit.core.view.rego import Package, read_package

_VIEWS = re.compile(r'remit\.views(?:\.([a-z][a-z0-9_]*)|\["([a-z0-9][a-z0-9._-]*)"\])', re.ASCII)
_PACKAGE = re.compile(r"(?:\s+|#[^\n]*(?:\n|\Z))*package[ \t]+([^\s#;]+)")
_SUFFIX = "_test"

Parse = Callable[[str], Any]
"""The syntax tree of a staged file, as `opa parse --format json` gives it with locations."""


def package_of(text: str) -> str:
    """The package that a file says it is of, "" where it says none."""
    found = _PACKAGE.match(text)
    return found[1] if found else ""


def dataset_of(package: str, *, test: bool = False) -> str:
    """The dataset of which a package holds the view (or, with `test`, tests of it); "" for other packages."""
    found = _VIEWS.fullmatch(package)
    name = (found[1] or found[2]) if found else ""
    return name.removesuffix(_SUFFIX) if test else name


def tables_of(catalogue: Mapping[str, Any]) -> dict[str, Tables]:
    """The tables and columns of each dataset, of the catalogue's document for policy."""
    datasets: Mapping[str, Any] = catalogue.get("datasets") or {}
    return {
        name: {table: tuple(each.get("columns") or ()) for table, each in (dataset.get("tables") or {}).items()}
        for name, dataset in datasets.items()
    }


def dataset_problem(dataset: str, datasets: Mapping[str, Tables]) -> str:
    """Why a view of this dataset cannot be; "" where it can."""
    if dataset in datasets:
        return ""
    nearest = get_close_matches(dataset, sorted(datasets), n=1)
    meant = f": did you mean {nearest[0]}?" if nearest else ""
    return f"found a view of {dataset}, expected a dataset of the catalogue{meant}"


@dataclass(frozen=True, slots=True)
class ViewPackage:
    """A dataset's view: its rules as written, what follows from them, and the user's files that they are in.

    `doubts` are what is probably not meant in them, and yet makes a view.
    """

    rules: ViewRules
    package: Package
    files: tuple[Path, ...]
    doubts: tuple[Problem, ...] = ()


def view_packages(
    files: Mapping[str, Sequence[tuple[Path, str]]], datasets: Mapping[str, Tables], parse: Parse
) -> tuple[ViewPackage, ...]:
    """The views; `files` are, by dataset, the user's and their names in the stage. Raises BundleInvalid."""
    problems: list[Problem] = []
    views = []
    for dataset, paths in sorted(files.items()):
        tables = datasets[dataset]
        package = read_package(("remit", "views", dataset), {str(path): parse(staged) for path, staged in paths})
        whole = str(paths[0][0])
        wrong = [Problem(each.file or whole, each.line, each.message) for each in faults(package, dataset, tables)]
        problems += wrong
        if not wrong:
            files_of = tuple(path for path, _ in paths)
            doubtful = tuple(Problem(each.file, each.line, each.message) for each in doubts(package, dataset, tables))
            views.append(ViewPackage(rules_of(package, dataset, tables), package, files_of, doubtful))
    if problems:
        raise BundleInvalid(list(dict.fromkeys(problems)))
    return tuple(views)
