"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click import Group
from remit.cli.main import root
from remit.config.loading import load
from remit.config.settings import VARIABLES
from remit.core.view.model import ColumnType
from remit.metrics import Metrics
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_variable() -> None:
    """docs/settings.md has a row for each key, and none that is not there."""
    rows = set(re.findall(r"^\| `([a-z_.]+)` \| `(REMIT_[A-Z_]+)`", read("docs/settings.md"), re.MULTILINE))

    assert rows == set(VARIABLES.items())


def test_every_metric_is_documented() -> None:
    """docs/metrics.md names each metric of a fresh sidecar, and every metric it names is in the code."""
    text = read("docs/metrics.md")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sidecar/remit/metrics").glob("*.py"))
    metrics = Metrics("0")
    metrics.envoy(up=True)
    metrics.journal(lambda: 0.0, lambda: 0.0)
    exposed = {metric.name for metric in metrics.registry.collect()}
    named = {name.removesuffix("_total") for name in re.findall(r"`(remit_[a-z_]+)`", text)}

    assert exposed <= named
    assert {name for name in named if f'"{name}"' not in source} == set()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/cli.md",
        "docs/catalogue.md",
        "docs/console.md",
        "docs/demo.md",
        "docs/egress.md",
        "docs/installation.md",
        "docs/observe.md",
        "docs/sign-in.md",
        "docs/views.md",
    ],
)
def test_every_command_that_is_shown_exists(page: str) -> None:
    """`remit X Y` in the docs is a command of the program."""
    shown = set(re.findall(r"(?:^|`|\$ )remit ([a-z0-9]+)(?: ([a-z]+))?", read(page), re.MULTILINE))
    unknown = []
    for first, second in shown:
        command = root.get_command(None, first)  # type: ignore[arg-type]
        if command is None:
            unknown.append(first)
        elif isinstance(command, Group) and second and command.get_command(None, second) is None:  # type: ignore[arg-type]
            unknown.append(f"{first} {second}")

    assert unknown == []


@pytest.mark.parametrize(
    "page",
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("**/*.md")
        if not {".venv", "node_modules"} & set(path.parts)
    ),
)
def test_every_file_that_is_named_exists(page: str) -> None:
    """Paths in backquotes that look like files of the project are there."""
    named = re.findall(r"`((?:docs|tests|rego|bench|proto|sidecar|helm)/[A-Za-z0-9_./-]+)`", read(page))

    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_test_that_is_said_to_falsify_a_promise_exists() -> None:
    """Also those that stand beside another one, without its folder."""
    there = {path.name for path in ROOT.glob("tests/**/test_*.py")}
    named = set(re.findall(r"\btest_[a-z0-9_]+\.py", read("GUARANTEES.md")))

    assert named and named - there == set()


def test_every_dependency_has_its_reason() -> None:
    """ARCHITECTURE.md tells what each package is for that a server's installation brings, and of no other one."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    reasons = read("ARCHITECTURE.md").partition("## Runtime dependencies, and why")[2]
    intro, told = reasons.split("| package | why |")
    table = told.partition("\n\n")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }

    assert named == {_name(each) for each in project["optional-dependencies"]["server"]}
    assert {_name(each) for each in project["dependencies"]} <= set(re.findall(r"`([^`]+)`", intro))


def _name(requirement: str) -> str:
    """Of a package, without its extras and versions."""
    return re.split(r"[\[>=<]", requirement, maxsplit=1)[0]


def test_the_catalogue_of_the_egress_page_is_one(tmp_path: Path) -> None:
    """It loads as it stands there."""
    shown = re.findall(r"```yaml\n(.*?)```", read("docs/egress.md"), re.DOTALL)
    (tmp_path / "remit.yaml").write_text(shown[0], encoding="utf-8")

    _, catalogue = load([tmp_path / "remit.yaml"], {}, {})

    assert {each.kind for each in catalogue.services.values()} == {"openai", "http", "tcp"}


def test_every_key_of_a_service_is_documented() -> None:
    """docs/catalogue.md names each key that the complete catalogue uses below `services`."""
    services = YAML(typ="safe").load(read("tests/cases/catalogue_full.yaml"))["services"].values()
    named = set(re.findall(r"`([a-z_]+)[:`]", read("docs/catalogue.md")))

    used = {key for service in services for key in keys_of(service)}

    assert used - named == set()


def test_every_key_of_a_dataset_is_documented() -> None:
    """So it is below `datasets`, to the last key of a table and a statement."""
    datasets = YAML(typ="safe").load(read("tests/cases/catalogue_full.yaml"))["datasets"].values()
    page = read("docs/catalogue.md")
    named = set(re.findall(r"`([a-z_]+)[:`]", page[page.index("## A dataset") :]))

    used = {key for dataset in datasets for part in parts_of(dataset) for key in part}

    assert used - named == set()
    assert {each.value for each in ColumnType} - set(re.findall(r"[a-z]+", page)) == set()


def parts_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """A dataset, and what of it has keys of its own."""
    sources = [dataset, dataset.get("writer", {})]
    credentials = [each.get("credential", {}) for each in sources]
    listed = [*dataset.get("tables", {}).values(), *dataset.get("statements", {}).values()]
    return [*sources, *credentials, *listed, dataset.get("limits", {})]


def keys_of(service: dict[str, Any]) -> set[str]:
    """The keys of a service, and of what it lists that has keys of its own."""
    parts = [service, *service.get("credentials", ()), *service.get("routes", ())]
    parts += [*service.get("endpoints", {}).values(), *service.get("variants", {}).values()]
    return {key for part in parts for key in part}
