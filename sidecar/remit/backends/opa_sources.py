"""What users lay beside the library: packages of their own, and a `config.json`.

Its "rules" set the library's rules (`data.remit.config`), e.g. {"rules": {"flow.clearance": {"level": "off"}}}; its
"failure" says what is done when agents fail (`data.remit.failure`), e.g. {"failure": {"loop": {"limit": 20}}}.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remit.backends.opa_bundle import Bundle, BundleInvalid, Problem
from remit.core.canonical import MalformedJson, parse
from remit.core.failing import DEFAULT, FailureInvalid, FailurePolicy, read_failures

CONFIG = "config.json"
MAX_CONFIG = 64 * 1024
LEVELS = ("on", "off")
_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Stated:
    """What the policy directories state: `config` is laid over `data.remit.config`, `failure` over
    `data.remit.failure`; `failures` is what the latter comes to. Of two directories the later has the last word."""

    config: Mapping[str, Any] = field(default_factory=dict)
    failure: Mapping[str, Any] = field(default_factory=dict)
    failures: FailurePolicy = DEFAULT


def read_stated(policies: Sequence[Path], library: Path) -> Stated:
    """What the policy directories state. Raises BundleInvalid for what the library does not have."""
    known = parse((library / "config" / "data.json").read_bytes(), MAX_CONFIG)["rules"]
    stated, problems = Stated(), list[Problem]()
    for path in (each / CONFIG for each in policies if (each / CONFIG).is_file()):
        said = _config(path)
        rules = said.get("rules", {})
        problems += (Problem(str(path), 0, wrong) for wrong in _wrong_rules(rules, known))
        failure = said.get("failure", {})
        try:
            failures = read_failures(failure, stated.failures)
        except FailureInvalid as error:
            problems += (Problem(str(path), 0, wrong) for wrong in error.problems)
            continue
        levels = {**stated.config.get("rules", {}), **rules}
        answers = {kind: {**stated.failure.get(kind, {}), **each} for kind, each in failure.items()}
        stated = Stated({"rules": levels}, {**stated.failure, **answers}, failures)
    if problems:
        raise BundleInvalid(problems)
    return stated


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = parse(path.read_bytes(), MAX_CONFIG)
    except MalformedJson as error:
        raise BundleInvalid([Problem(str(path), 0, str(error))]) from error
    expected = 'expected {"rules": {RULE: {"level": …}}, "failure": {KIND: {"answer": …}}}, or one of the two'
    if not isinstance(config, dict) or not config.keys() <= {"rules", "failure"} or not config:
        raise BundleInvalid([Problem(str(path), 0, expected)])
    if not isinstance(config.get("rules", {}), dict):
        raise BundleInvalid([Problem(str(path), 0, f"rules: {expected}")])
    return config


def _wrong_rules(rules: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for rule, setting in rules.items():
        if rule not in known:
            yield f"rules: found {rule!r}, expected one of {', '.join(known)}"
        elif setting not in ({"level": level} for level in LEVELS):
            yield f'rules.{rule}: expected {{"level": "on"}} or "off"'


def read_messages(bundle: Bundle, opa: Path) -> dict[tuple[str, str], str]:
    """(policy, code) -> message template, of every code that a rule's metadata declares (`custom.codes`)."""
    ran = subprocess.run(  # noqa: S603 - the OPA that was found fit, without environment
        [str(opa), "inspect", "--annotations", "--format", "json", str(bundle.path)],
        env={},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if ran.returncode:
        raise BundleInvalid([Problem(str(bundle.path), 0, ran.stderr.strip()[-500:])])
    messages: dict[tuple[str, str], str] = {}
    for each in json.loads(ran.stdout).get("annotations") or ():
        codes = ((each.get("annotations") or {}).get("custom") or {}).get("codes")
        if isinstance(codes, dict):
            policy = _policy(each.get("path") or ())
            messages |= {(policy, str(code)): str(text) for code, text in codes.items()}
    return messages


def _policy(path: Sequence[Mapping[str, Any]]) -> str:
    """The name by which reasons call a package: data.remit.rules.flow.clearance is flow.clearance."""
    names = [str(part.get("value", "")) for part in path]
    for prefix in (["data", "remit", "rules"], ["data", "remit"]):
        if names[: len(prefix)] == prefix:
            return ".".join(names[len(prefix) :]) or "main"
    return ".".join(names)
