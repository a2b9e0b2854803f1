"""What is generated is current, and keeps policy from reaching out of its decision."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import bundle, case_inputs, catalogue, decide, library, opa
from remit.backends.opa_bundle import BundleInvalid, Sources, build, library_path
from remit.core.model import ActionName

pytestmark = pytest.mark.opa

REGO = library_path().parent
PLACE = re.compile(r"\{([^}]*)\}")


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(REGO / "generate.py"))


def folders() -> dict[str, Path]:
    return {f"{path.parent.name}.{path.name}": path for path in sorted((library_path() / "rules").glob("*/*"))}


def test_the_dispatch_is_what_the_folders_make(generator: dict[str, Any]) -> None:
    assert generator["DISPATCH"].read_text(encoding="utf-8") == generator["dispatch"]()


def test_what_the_dispatch_does_not_ask_would_have_said_nothing(tmp_path: Path) -> None:
    """Of each case, with each action: the decision is the one that asking every rule gives."""
    asked = {
        f"{name}: {action}": one | {"action": {"name": action}}
        for name, one in case_inputs().items()
        for action in ("", *ActionName)
    }
    everything = library(tmp_path)
    path = everything / "dispatch" / "library.rego"
    text, skipped = re.subn(r"\n\tinput\.action\.name .*", "", path.read_text(encoding="utf-8"))
    assert skipped > 20
    path.write_text(text, encoding="utf-8")
    decisions = decide(bundle(tmp_path), asked)
    assert decide(build(Sources(everything, catalogue=catalogue()), opa(), tmp_path).path, asked) == decisions
    assert {each["effect"] for each in decisions.values()} == {"ALLOW", "DENY", "HOLD"}


def test_the_capabilities_are_what_the_pinned_opa_makes(generator: dict[str, Any]) -> None:
    assert generator["CAPABILITIES"].read_text(encoding="utf-8") == generator["capabilities"](opa())


def test_a_stale_file_is_named(generator: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "library.rego"
    stale.write_text("package remit.dispatch\n")
    monkeypatch.setitem(generator["main"].__globals__, "DISPATCH", stale)
    assert generator["main"](["--check"]) == "library.rego is stale: run rego/generate.py"
    assert generator["main"]([]) == ""
    assert generator["main"](["--check"]) == ""


@pytest.mark.parametrize(
    "call",
    [
        'http.send({"method": "get", "url": "http://127.0.0.1"})',
        'net.lookup_ip_addr("localhost")',
        'net.cidr_contains("10.0.0.0/8", "10.0.0.1")',
        "opa.runtime()",
        'rand.intn("x", 2)',
        'uuid.rfc4122("x")',
        "time.now_ns()",
    ],
)
def test_what_reaches_out_of_the_decision_does_not_build(call: str, tmp_path: Path) -> None:
    rule = f'package remit.custom.curious\n\ndeny contains "x" if {call}\n'
    with pytest.raises(BundleInvalid, match="undefined function"):
        bundle(tmp_path, custom={"curious.rego": rule})


def test_every_rule_has_a_test_a_level_and_nothing_else_has() -> None:
    levels = json.loads((library_path() / "config" / "data.json").read_text())["rules"]
    assert levels == {rule: {"level": "on"} for rule in folders()}
    for rule, folder in folders().items():
        name = rule.split(".")[1]
        assert {path.name for path in folder.iterdir()} == {f"{name}.rego", f"{name}_test.rego"}


def test_every_code_that_a_rule_says_has_a_message_of_input_paths() -> None:
    schema = json.loads((library_path() / "schemas" / "input.json").read_text())
    for rule, folder in folders().items():
        text = (folder / f"{rule.split('.')[1]}.rego").read_text(encoding="utf-8")
        said = set(re.findall(r'contains (?:\{"code": )?"(\w+)"', text))
        declared = dict(re.findall(r'^#     (\w+): "(.*)"$', text, re.MULTILINE))
        assert said == set(declared), rule
        for place in PLACE.findall("".join(declared.values())):
            assert in_schema(schema, place.split(".")), f"{rule}: {place}"


def in_schema(schema: dict[str, Any], names: list[str]) -> bool:
    """Whether a dotted path is a field of the schema, or lies in an object whose fields are not listed."""
    for name in names:
        if "properties" not in schema:
            return schema.get("type") == "object"
        if name not in schema["properties"]:
            return False
        schema = schema["properties"][name]
    return True
