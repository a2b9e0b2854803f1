"""What the chart makes of values."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from chart.tools import CHART, ROOT, helm

Document = dict[str, Any]
USES = ("dev", "team", "regulated")
RELEASE, NAMESPACE = "remit", "remit"
BY_HAND = ROOT / "tests" / "cluster" / "own_chart"


class Refused(Exception):
    """The chart does not take these values; its text is what helm says."""


def values_of(use: str) -> Document:
    """One of the examples."""
    read: Document = yaml.load((CHART / f"values-{use}.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    return read


@cache
def rendered(use: str) -> tuple[Document, ...]:
    """The objects of an example."""
    return tuple(parsed(template(CHART / f"values-{use}.yaml")))


def template(*values: Path, chart: Path = CHART, options: Sequence[str] = ()) -> str:
    """The manifests, of files of values. Raises Refused."""
    files = [argument for path in values for argument in ("--values", path)]
    done = helm("template", RELEASE, chart, "--namespace", NAMESPACE, *files, *options)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def parsed(manifests: str) -> list[Document]:
    """The objects in it."""
    return [each for each in yaml.load_all(manifests, yaml.CSafeLoader) if each]


def by_hand(values: Mapping[str, Any], directory: Path) -> str:
    """A chart of somebody's own, which writes Remit's parts into its pods: they are what injection puts there."""
    shutil.copytree(BY_HAND, directory, dirs_exist_ok=True)
    shutil.copytree(CHART, directory / "charts" / "remit")
    file = directory / "given.yaml"
    file.write_text(yaml.safe_dump({"remit": dict(values)}), encoding="utf-8")
    return template(file, chart=directory)


def of_kind(documents: Sequence[Document], kind: str, name: str = "") -> list[Document]:
    """The objects of a kind (and name)."""
    return [each for each in documents if each["kind"] == kind and name in ("", each["metadata"]["name"])]


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Document:
    """The values with others over them, as helm puts one file over another."""
    result = dict(base)
    for key, value in change.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) and value else value
    return result


def at(key: str, value: Any) -> Document:
    """A value at its dotted key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    found: Document = value
    return found
