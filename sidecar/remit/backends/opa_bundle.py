"""One bundle of everything that judges: the library, users' packages, the configuration and the catalogue.

The sources are copied into one tree (tests apart), checked and built by OPA itself, and named by the hash of what is
in the tree: the same sources give the same revision on every sidecar. Errors name the source's own file and line.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from remit.backends.opa_views import DatasetViews
from remit.backends.policy_problem import BundleInvalid as BundleInvalid
from remit.backends.policy_problem import Problem as Problem
from remit.backends.policy_tree import files_below
from remit.backends.view_package import (
    ViewPackage,
    dataset_of,
    dataset_problem,
    package_of,
    tables_of,
    view_packages,
)
from remit.core.canonical import canonical, parse
from remit.core.dispatch import SETS, custom_dispatch, view_dispatch
from remit.core.view.policy import Tables, view_schema

MAX_FILES = 2_000
MAX_BYTES = 16 << 20
_TIMEOUT_SECONDS = 60.0
_TEST = "_test.rego"
_CATALOGUE = "remit/catalogue/data.json"
_CONFIG = "remit/config/data.json"
_FAILURE = "remit/failure/data.json"
_DISPATCH = "remit/dispatch/custom.rego"
_VIEWING = "remit/viewing"
# What only tests use is not served.
_UNSERVED = ("remit/testing/",)
# As a verdict names policies (core/document.py).
_NOT_A_SET = re.compile(rf"^(?:default\s+)?({'|'.join(SETS)})\b(?!\s+contains\b)", re.MULTILINE)
_CUSTOM = re.compile(r"remit\.custom(\.[a-z][a-z0-9_]{0,63}){1,14}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sources:
    """What a bundle is made of.

    `custom` are directories (or single files) of users' packages; `config` and `failure` are laid over the library's
    defaults and become `data.remit.config` and `data.remit.failure`; `catalogue` becomes `data.remit.catalogue`.
    Decimals in them stay exact.
    """

    library: Path
    custom: tuple[Path, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    catalogue: Mapping[str, Any] = field(default_factory=dict)
    failure: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built bundle: a file that nobody changes any more, its revision, and the datasets of which it has a view."""

    path: Path
    revision: str
    views: Mapping[str, DatasetViews] = field(default_factory=dict)


def library_path() -> Path:
    """Where the Rego library lies: in a checkout beside the package, in a wheel inside of it."""
    package = Path(str(resources.files("remit")))
    checkout = package.parents[1] / "rego" / "remit"
    return checkout if checkout.is_dir() else package / "_rego" / "remit"


def build(sources: Sources, opa: Path, directory: Path) -> Bundle:
    """Build the bundle into `directory`. Raises BundleInvalid; takes a fraction of a second."""
    with _staged(sources, _served, opa) as stage:
        revision = stage.revision()
        stage.check(opa)
        target = directory / f"bundle-{revision}.tar.gz"
        made = stage.root.with_suffix(".tar.gz")
        stage.run(opa, "build", "--bundle", ".", "--revision", revision, "--output", str(made))
        shutil.copyfile(made, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
        views = _described(stage.views, sources, stage.mark)
    return Bundle(target, revision, views)


def check(sources: Sources, opa: Path) -> None:
    """Compile everything, tests too, strictly and against the schemas of the input. Raises BundleInvalid."""
    with _staged(sources, _everything, opa) as stage, tempfile.TemporaryDirectory(prefix="remit-schemas-") as schemas:
        given = sources.library / "schemas"
        if given.is_dir():
            shutil.copytree(given, schemas, dirs_exist_ok=True)
            _write_schemas(Path(schemas), tables_of(sources.catalogue))
        stage.check(opa, "--strict", "--schema", schemas)


def read_views(sources: Sources, opa: Path) -> tuple[ViewPackage, ...]:
    """The views among users' packages. Raises BundleInvalid; nothing is compiled."""
    with _staged(sources, _served, opa) as stage:
        return stage.views


def run_tests(sources: Sources, opa: Path, *, library: bool = False) -> tuple[Problem, ...]:
    """What fails of the users' tests, and on demand of the library's; raises BundleInvalid if they do not compile.

    The library's tests judge the library as delivered: run them without a configuration of one's own.
    """
    keep = _everything if library else _but_library_tests
    with _staged(sources, keep, opa) as stage:
        stage.check(opa)
        report = stage.run(opa, "test", "--bundle", ".", "--format", "json", accept=(0, 2))
        results = json.loads(report or "[]") or []
        failed = [stage.problem(result, _failure(result)) for result in results if _failure(result)]
        # OPA runs tests side by side, and tells them as they end.
        return tuple(sorted(failed, key=lambda each: (each.file, each.line)))


def _served(path: str) -> bool:
    return not path.endswith(_TEST) and not path.startswith(_UNSERVED)


def _everything(path: str) -> bool:
    return True


def _but_library_tests(path: str) -> bool:
    return path.startswith("custom/") or not path.endswith(_TEST)


def _failure(result: Mapping[str, Any]) -> str:
    name = f"{result.get('package')}.{result.get('name')}"
    if "error" in result:
        return f"{name} ended in an error: {result['error']}"
    return f"{name} failed" if result.get("fail") else ""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A tree of sources, where each file of it came from, and the views in it, whose filters carry the mark."""

    root: Path
    origins: Mapping[str, Path]
    capabilities: Path | None
    views: tuple[ViewPackage, ...] = ()
    mark: str = ""

    def revision(self) -> str:
        """The hash of all paths and contents, shortened."""
        digest = sha256()
        for path in sorted(each for each in self.root.rglob("*") if each.is_file()):
            content = sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(self.root).as_posix()}\0{content}\n".encode())
        return digest.hexdigest()[:16]

    def check(self, opa: Path, *options: str) -> None:
        """Compile the tree, or raise BundleInvalid with each error at its source."""
        ran = self._opa(opa, "check", "--bundle", ".", "--format", "json", "--max-errors", "50", *options)
        if ran.returncode:
            raise BundleInvalid(self._errors(ran))

    def parse(self, opa: Path, staged: str) -> Any:
        """The syntax tree of one file. Raises BundleInvalid."""
        ran = self._run(opa, "parse", "--format", "json", "--json-include", "locations,-comments", staged)
        if ran.returncode:
            raise BundleInvalid(self._errors(ran))
        return json.loads(ran.stdout)

    def run(self, opa: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
        """What an OPA command says of the tree; BundleInvalid where it fails otherwise than expected."""
        ran = self._opa(opa, *arguments)
        if ran.returncode not in accept:
            raise BundleInvalid([Problem(str(self.root.name), 0, (ran.stderr or ran.stdout).strip()[-1000:])])
        return ran.stdout

    def problem(self, located: Mapping[str, Any], message: str) -> Problem:
        """A problem at the source of a location that OPA gave."""
        location = located.get("location") or {}
        staged = str(location.get("file", ""))
        return Problem(str(self.origins.get(staged, staged or "policy")), int(location.get("row", 0)), message)

    def _errors(self, ran: subprocess.CompletedProcess[str]) -> list[Problem]:
        try:
            errors = json.loads(ran.stdout or ran.stderr)["errors"]
        except (ValueError, KeyError, TypeError):
            return [Problem("policy", 0, (ran.stderr or ran.stdout).strip()[-1000:])]
        return [self.problem(error, f"{error.get('code')}: {self._said(error)}") for error in errors]

    def _said(self, error: Mapping[str, Any]) -> str:
        """OPA's message on one line; it may name other files, and those as they are staged."""
        words = str(error.get("message")).split()
        return " ".join(self._origin(word) for word in words)

    def _origin(self, word: str) -> str:
        """A staged file's own name where `word` is one, with its line: `custom/0/x.rego:3`."""
        staged, colon, line = word.rpartition(":")
        return f"{self.origins[staged]}{colon}{line}" if staged in self.origins else word

    def _opa(self, opa: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        limits = ["--capabilities", str(self.capabilities)] if self.capabilities else []
        return self._run(opa, command, *limits, *arguments)

    def _run(self, opa: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - the OPA that was found fit, without environment
                [str(opa), *arguments],
                cwd=self.root,
                env={},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise BundleInvalid([Problem(str(opa), 0, f"`opa {arguments[0]}` could not be run ({e})")]) from e


@contextmanager
def _staged(sources: Sources, keep: Callable[[str], bool], opa: Path) -> Iterator[_Stage]:
    datasets = tables_of(sources.catalogue)
    files = _library_files(sources.library) | _custom_files(sources.custom, datasets)
    files = {staged: origin for staged, origin in files.items() if keep(staged)}
    _check_size(files)
    with tempfile.TemporaryDirectory(prefix="remit-bundle-") as workplace:
        root = Path(workplace) / "policy"
        for staged, origin in files.items():
            _write(root / staged, origin.read_bytes())
        _write(root / _DISPATCH, custom_dispatch(_custom_packages(files)).encode())
        _write(root / _CATALOGUE, canonical(sources.catalogue))
        for place, stated in ((_CONFIG, sources.config), (_FAILURE, sources.failure)):
            _write(root / place, canonical(_overlaid(_default(sources.library, place), stated)))
        capabilities = sources.library.parent / "capabilities.json"
        stage = _Stage(root, files, capabilities if capabilities.is_file() else None)
        yield _with_views(stage, datasets, opa)


def _with_views(stage: _Stage, datasets: Mapping[str, Tables], opa: Path) -> _Stage:
    """The stage with the rules around its views, by which they are asked."""
    staged: dict[str, list[str]] = {}
    for name, origin in stage.origins.items():
        if dataset := _view_of(name, origin):
            staged.setdefault(dataset, []).append(name)
    places = {dataset: [(stage.origins[name], name) for name in names] for dataset, names in staged.items()}
    views = view_packages(places, datasets, lambda name: stage.parse(opa, name))
    mark = stage.revision()
    for number, view in enumerate(views):
        rules = view.rules
        text = view_dispatch(rules.dataset, mark=mark, masks=rules.masks, known=rules.known)
        _write(stage.root / _VIEWING / f"{number}.rego", text.encode())
    return replace(stage, views=views, mark=mark)


def _view_of(staged: str, origin: Path) -> str:
    """The dataset of which a file is the view, "" for other files and for tests."""
    if not staged.startswith("custom/") or staged.endswith(_TEST):
        return ""
    return dataset_of(package_of(origin.read_text(encoding="utf-8")))


def _write_schemas(directory: Path, datasets: Mapping[str, Tables]) -> None:
    """`schema.views.DATASET`: the input of each dataset's view, closed."""
    schema = parse((directory / "input.json").read_bytes(), MAX_BYTES)
    for dataset, tables in datasets.items():
        _write(directory / "views" / f"{dataset}.json", canonical(view_schema(schema, tables)))


def _described(views: Sequence[ViewPackage], sources: Sources, mark: str) -> dict[str, DatasetViews]:
    tables = tables_of(sources.catalogue)
    return {each.rules.dataset: DatasetViews(tables[each.rules.dataset], mark, each.rules.reads_time) for each in views}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _library_files(library: Path) -> dict[str, Path]:
    files = {f"remit/{path.relative_to(library).as_posix()}": path for path in _rego_below(library)}
    if not files:
        raise BundleInvalid([Problem(str(library), 0, "expected the Rego library here, found no .rego file")])
    return files


def _custom_files(roots: Sequence[Path], datasets: Mapping[str, Tables]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    problems = []
    for index, root in enumerate(roots):
        for path in _rego_below(root):
            inside = path.name if root.is_file() else path.relative_to(root).as_posix()
            files[f"custom/{index}/{inside}"] = path
            problems += _package_problem(path, datasets)
    if problems:
        raise BundleInvalid(problems)
    return files


def _custom_packages(files: Mapping[str, Path]) -> Iterator[str]:
    """The names below `remit` of users' packages, tests apart."""
    for staged, origin in files.items():
        if staged.startswith("custom/") and not staged.endswith(_TEST):
            found = package_of(origin.read_text(encoding="utf-8"))
            if _CUSTOM.fullmatch(found):
                yield found.removeprefix("remit.")


def _rego_below(root: Path) -> list[Path]:
    """The Rego files of a directory, in order; those below a hidden name are left out, as a mounted volume's are."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise BundleInvalid([Problem(str(root), 0, "expected a directory of .rego files, found nothing")])
    return files_below(root, {".rego"})


def _head_problems(path: Path, text: str) -> list[Problem]:
    """What is no set would be lost without a word when it turns out, at run time, to be no collection."""
    return [
        Problem(str(path), text.count("\n", 0, head.start()) + 1, f"expected `{head[1]} contains …`: it is a set")
        for head in _NOT_A_SET.finditer(text)
    ]


def _package_problem(path: Path, datasets: Mapping[str, Tables]) -> list[Problem]:
    """A user's file may only add: its package lies below remit.custom or is a view, or it is refused."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        return [Problem(str(path), 0, f"expected UTF-8, found another byte at {e.start}")]
    found = package_of(text) or "none"
    if _CUSTOM.fullmatch(found):
        return _head_problems(path, text)
    line = _package_line(text)
    if dataset := dataset_of(found, test=path.name.endswith(_TEST)):
        wrong = dataset_problem(dataset, datasets)
        return [Problem(str(path), line, wrong)] if wrong else []
    expected = "expected a package remit.views.DATASET or one below remit.custom, in lower case"
    return [Problem(str(path), line, f"{expected}; found {found[:80]}")]


def _package_line(text: str) -> int:
    """Where a file says its package; 1 where it does not."""
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if line.lstrip().startswith("package")), 1)


def _check_size(files: Mapping[str, Path]) -> None:
    size = sum(path.stat().st_size for path in files.values())
    if len(files) > MAX_FILES or size > MAX_BYTES:
        found = f"{len(files)} files of {size} bytes"
        raise BundleInvalid([Problem("policy", 0, f"{found}, expected at most {MAX_FILES} of {MAX_BYTES} bytes")])


def _default(library: Path, place: str) -> dict[str, Any]:
    """The data that the library itself has at a place of the tree."""
    path = library / place.removeprefix("remit/")
    read: dict[str, Any] = parse(path.read_bytes(), MAX_BYTES) if path.is_file() else {}
    return read


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, object by object; any other value replaces."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = _overlaid(inner, value) if both else value  # type: ignore[arg-type]
    return result
