"""What the Rego library decides: a table, and that inputs and answers have the shapes that the schemas give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import Edit, ask, bundle, case_inputs, cases, decide, library, opa, said
from remit.backends.opa_bundle import BundleInvalid, Sources, check, library_path, run_tests
from remit.core.document import read_verdict

pytestmark = pytest.mark.opa

LIBRARY = library_path()
MATCHES = "{name: json.match_schema(value, input.schema)[1] | some name, value in input.values}"


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return decide(bundle(tmp_path_factory.mktemp("plain")), case_inputs())


def faults(schema: str, values: dict[str, Any]) -> dict[str, Any]:
    asked = {"schema": json.loads((LIBRARY / "schemas" / schema).read_text()), "values": values}
    return {name: found for name, found in ask(LIBRARY.parent, MATCHES, asked).items() if found}


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["description"])
def test_the_library_decides_as_the_table_says(case: dict[str, Any], decisions: dict[str, Any]) -> None:
    assert said(decisions[case["description"]]) == {effect: sorted(codes) for effect, codes in case["want"].items()}


def test_every_action_that_is_judged_is_allowed_and_denied_in_the_table() -> None:
    seen = {(case["ask"], effect) for case in cases() for effect in case["want"]}
    assert {each for each, _ in seen} == {each for each, effect in seen if effect == "ALLOW"}
    assert {each for each, _ in seen} == {each for each, effect in seen if effect == "DENY"}
    assert ("call", "HOLD") in seen


def test_inputs_and_decisions_are_as_their_schemas_say(decisions: dict[str, Any]) -> None:
    assert faults("input.json", case_inputs()) == {}
    assert faults("decision.json", decisions) == {}


def test_the_schemas_refuse_what_is_not_so(decisions: dict[str, Any]) -> None:
    decision = decisions["a variant that waits for approval"]
    wrong = {
        "effect": decision | {"effect": "PERMIT"},
        "reasons": decision | {"reasons": []},
        "approval": decision | {"approval": {"holds": [{"code": "x"}]}},
        "more": decision | {"more": 1},
    }
    assert set(faults("decision.json", wrong)) == set(wrong)


def test_the_sidecar_believes_every_decision_of_the_library(decisions: dict[str, Any]) -> None:
    for decision in decisions.values():
        assert read_verdict(decision).effect.value == decision["effect"]


def test_the_library_compiles_strictly_against_its_schemas_and_its_own_tests_pass() -> None:
    check(Sources(LIBRARY), opa())
    assert run_tests(Sources(LIBRARY), opa(), library=True) == ()


def test_a_misspelt_input_is_a_compile_error(tmp_path: Path) -> None:
    copy = library(tmp_path, [Edit("rules/halts/halted/halted.rego", "input.facts.halts", "input.facts.halt")])
    with pytest.raises(BundleInvalid, match=r"undefined ref: input\.facts\.halt"):
        check(Sources(copy), opa())
