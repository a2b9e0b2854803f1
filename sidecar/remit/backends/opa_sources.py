"""What users lay beside the library: packages of their own, and a `config.json` that sets the library's rules.

`config.json` in a policy directory becomes `data.remit.config`, e.g. {"rules": {"flow.clearance": {"level": "off"}}}.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from remit.backends.opa_bundle import Bundle, BundleInvalid, Problem
from remit.core.canonical import MalformedJson, parse

CONFIG = "config.json"
MAX_CONFIG = 64 * 1024
LEVELS = ("on", "off")
_TIMEOUT = 30.0


def read_config(policies: Sequence[Path], library: Path) -> dict[str, Any]:
    """The levels that the policy directories set. Raises BundleInvalid for what the library does not have."""
    known = parse((library / "config" / "data.json").read_bytes(), MAX_CONFIG)["rules"]
    levels: dict[str, Any] = {}
    problems: list[Problem] = []
    for path in (each / CONFIG for each in policies if (each / CONFIG).is_file()):
        for rule, setting in _rules(path).items():
            if rule not in known:
                problems.append(Problem(str(path), 0, f"rules: found {rule!r}, expected one of {', '.join(known)}"))
            elif setting not in ({"level": level} for level in LEVELS):
                problems.append(Problem(str(path), 0, f'rules.{rule}: expected {{"level": "on"}} or "off"'))
            levels[rule] = setting
    if problems:
        raise BundleInvalid(problems)
    return {"rules": levels} if levels else {}


def _rules(path: Path) -> Mapping[str, Any]:
    try:
        config = parse(path.read_bytes(), MAX_CONFIG)
    except MalformedJson as error:
        raise BundleInvalid([Problem(str(path), 0, str(error))]) from error
    if not isinstance(config, dict) or set(config) != {"rules"} or not isinstance(config["rules"], dict):
        raise BundleInvalid([Problem(str(path), 0, 'expected {"rules": {RULE: {"level": …}}}')])
    return config["rules"]


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
