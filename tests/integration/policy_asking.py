"""Asks the Rego library, or a copy of it that differs, with the real OPA, one process a question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from remit.backends.opa_binary import find
from remit.backends.opa_bundle import Sources, build, library_path
from ruamel.yaml import YAML

CASES = Path(__file__).parents[1] / "cases" / "policy.yaml"


@dataclass(frozen=True)
class Edit:
    """`old` in a file of the library becomes `new`."""

    file: str
    old: str
    new: str


class Failed(Exception):
    """OPA ended in an error."""


@cache
def opa() -> Path:
    return find(os.environ).path


def ask(root: Path, query: str, document: object = None, *, strict: bool = True) -> Any:
    """A query's only value in a bundle (a file or a directory); None where it is undefined."""
    options = ["--strict-builtin-errors"] if strict else []
    ran = subprocess.run(
        [str(opa()), "eval", "--bundle", str(root), "--stdin-input", "--format", "json", *options, query],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(ran.stdout)
    if "errors" in answer:
        raise Failed(json.dumps(answer["errors"]))
    results = answer.get("result") or [{"expressions": [{"value": None}]}]
    return results[0]["expressions"][0]["value"]


def library(directory: Path, edits: Sequence[Edit] = ()) -> Path:
    """A copy of the library in which the edits were made."""
    copy = directory / "library" / "remit"
    shutil.copytree(library_path(), copy)
    shutil.copyfile(library_path().parent / "capabilities.json", copy.parent / "capabilities.json")
    for edit in edits:
        path = copy / edit.file
        text = path.read_text(encoding="utf-8")
        assert edit.old in text, f"{edit.file} has no {edit.old!r}"
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return copy


def bundle(
    directory: Path,
    *,
    edits: Sequence[Edit] = (),
    custom: Mapping[str, str] | None = None,
    levels: Mapping[str, str] | None = None,
) -> Path:
    """A bundle as the sidecar builds it, of the library, users' files by name and levels by rule."""
    policies = directory / "policies"
    for name, text in (custom or {}).items():
        path = policies / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sources = Sources(
        library=library(directory, edits) if edits else library_path(),
        custom=(policies,) if custom else (),
        config={"rules": {rule: {"level": level} for rule, level in (levels or {}).items()}},
        catalogue=catalogue(),
    )
    return build(sources, opa(), directory).path


@cache
def catalogue() -> dict[str, Any]:
    """The catalogue that the library's own tests have."""
    read: dict[str, Any] = ask(library_path().parent, "data.remit.testing.catalogue")
    return read


def requests(asked: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Inputs by name, each of a builder of data.remit.testing and what is laid over it."""
    parts = (
        f"{json.dumps(name)}: data.remit.testing.{ask_}(input[{json.dumps(name)}])" for name, (ask_, _) in asked.items()
    )
    changes = {name: given for name, (_, given) in asked.items()}
    made: dict[str, Any] = ask(library_path().parent, "{" + ", ".join(parts) + "}", changes)
    return made


def request(ask_: str, **given: Any) -> dict[str, Any]:
    """One input of a builder of data.remit.testing."""
    made: dict[str, Any] = requests({"it": (ask_, given)})["it"]
    return made


def decide(root: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The decision about each input, by name."""
    query = "{name: verdict | some name, asked in input; verdict := data.remit.decision with input as asked}"
    decided: dict[str, Any] = ask(root, query, inputs)
    return decided


def said(decision: Mapping[str, Any]) -> dict[str, list[str]]:
    """A decision as the cases write it: effect -> "policy code"."""
    return {decision["effect"]: sorted(f"{each['policy']} {each['code']}" for each in decision["reasons"])}


def cases() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = YAML(typ="safe").load(CASES.read_text(encoding="utf-8"))
    return loaded


@cache
def case_inputs() -> dict[str, Any]:
    """Each case's input, by its description."""
    return requests({case["description"]: (case["ask"], case.get("given", {})) for case in cases()})
