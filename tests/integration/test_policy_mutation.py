"""No field's absence makes a decision more permissive: each is taken away, and made null, in every case of the table.

Twice: with the guard that denies an input with a missing field as a whole, and without it, so that the rules hold by
themselves. Planted bugs show that the search finds what it is for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import Edit, ask, bundle, case_inputs, decide
from remit.backends.opa_bundle import library_path

pytestmark = pytest.mark.opa

SCHEMA = json.loads((library_path() / "schemas" / "input.json").read_text(encoding="utf-8"))
RANK = {"DENY": 0, "HOLD": 1, "ALLOW": 2}
MUTATED = """{name: found |
    some name, patches in input.patches
    found := {path: verdict |
        some path, patch in patches
        verdict := data.remit.decision with input as json.patch(input.requests[name], [patch])
    }
}"""

UNGUARDED = Edit("lib/total/total.rego", "holds if {", "holds if input.action.name\n\n_unused if {")
OWNER = Edit("rules/ownership/owner/owner.rego", 'input.resource.owner > ""', 'not input.resource.owner == ""')
PLANTED = {
    "a negation that holds for what is absent": ("/resource/owner", OWNER),
    "a denial that needs the field that it is about": (
        "/facts/halts",
        Edit("rules/halts/halted/halted.rego", "not _free", "count(input.facts.halts) > 0"),
    ),
    "a denial that looks for the wrong instead of the right": (
        "/facts/budgets/1/held",
        Edit(
            "rules/budgets/room/room.rego",
            "if not _room",
            "if {\n\tsome budget in input.facts.budgets\n"
            "\tsum([budget.spent, budget.held, input.facts.estimate.amount]) > budget.limit\n}",
        ),
    ),
    "a label compared with a clearance that is absent": (
        "/resource/clearance",
        Edit(
            "rules/flow/clearance/clearance.rego",
            "not _cleared",
            "some label, _ in input.facts.labels\n\tsome known in input.resource.clearance\n\tlabel != known",
        ),
    ),
    "a null that compares": (
        "/context/workflow",
        Edit("rules/purposes/granted/granted.rego", 'input.context.workflow > ""', 'input.context.workflow != ""'),
    ),
    "an actor that is forgotten": (
        "/subject/actor",
        Edit("lib/catalogue/catalogue.rego", " if is_string(input.subject.actor)", ""),
    ),
}


def fields(schema: Mapping[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """The path of every field that the schema names, as far as the value has it."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}/{name}"
        yield from fields(inner, value[name], f"{path}/{name}")
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from fields(schema.get("items", {}), each, f"{path}/{index}")


def patches(request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    paths = list(fields(SCHEMA, request))
    # What the caller states is no field of the schema, and must not be worth hiding either.
    paths += [f"/context/arguments/{name}" for name in request["context"]["arguments"]]
    removed = {f"no {path}": {"op": "remove", "path": path} for path in paths}
    nulled = {f"null {path}": {"op": "replace", "path": path, "value": None} for path in paths}
    return removed | nulled


def more_permissive(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a decision lets through, leaves undone or shows something that another does not."""
    ranks = RANK[after["effect"]], RANK[before["effect"]]
    if ranks[0] != ranks[1]:
        return ranks[0] > ranks[1]
    dropped = [each for each in before["obligations"] if each not in after["obligations"]]
    shown = [each for each in after["record"] if each not in before["record"]]
    waived = [each for each in before["approval"].get("holds", []) if each not in after["approval"].get("holds", [])]
    return bool(dropped or shown or waived)


def search(root: Path, only: str = "") -> set[str]:
    """Every mutation, as "case: no /path", that made a decision more permissive; `only` looks at one path."""
    requests = case_inputs()
    before = decide(root, requests)
    made = {
        name: {how: patch for how, patch in patches(request).items() if only in ("", patch["path"])}
        for name, request in requests.items()
    }
    asked = {"requests": requests, "patches": made}
    # Not strict: an error that is swallowed is the harder case. Strict, it would be a denial.
    mutated = ask(root, MUTATED, asked, strict=False)
    return {
        f"{name}: {path}"
        for name, verdicts in mutated.items()
        for path, after in verdicts.items()
        if more_permissive(after, before[name])
    }


def test_no_absent_field_makes_a_decision_more_permissive(tmp_path: Path) -> None:
    assert search(bundle(tmp_path)) == set()


def test_the_rules_hold_without_the_guard(tmp_path: Path) -> None:
    assert search(bundle(tmp_path, edits=[UNGUARDED])) == set()


def test_the_guard_denies_every_absent_field(tmp_path: Path) -> None:
    request = case_inputs()["an agent calls a service"]
    taken = {path: patch for path, patch in patches(request).items() if patch["op"] == "remove"}
    expected = [{"policy": "main", "code": "context_invalid"}]
    asked = {"requests": {"it": request}, "patches": {"it": taken}}
    verdicts = ask(bundle(tmp_path), MUTATED, asked)["it"]
    guarded = {path: verdict["reasons"] for path, verdict in verdicts.items() if "arguments/" not in path}
    assert len(guarded) > 60
    assert guarded == dict.fromkeys(guarded, expected)


@pytest.mark.parametrize("bug", PLANTED)
def test_the_search_finds_a_planted_bug(bug: str, tmp_path: Path) -> None:
    path, edit = PLANTED[bug]
    found = search(bundle(tmp_path, edits=[UNGUARDED, edit]), only=path)
    assert [each for each in found if each.endswith(f" {path}")]


def test_the_search_finds_a_hole_in_the_guard(tmp_path: Path) -> None:
    hole = Edit("lib/total/total.rego", '"owner", "external", "labels"', '"external", "labels"')
    loose = Edit("lib/total/total.rego", "object.keys(input.resource) ==", 'object.keys(input.resource) - {"owner"} ==')
    assert any("no /resource/owner" in each for each in search(bundle(tmp_path / "hole", edits=[hole, loose, OWNER])))
    # Whole, the guard makes up for the rule.
    assert not any(": no /" in each for each in search(bundle(tmp_path / "whole", edits=[OWNER])))


def test_less_asked_and_more_shown_count_as_more_permissive() -> None:
    allow = {"effect": "ALLOW", "obligations": [{"id": "log"}], "record": [], "approval": {}}
    hold = {"effect": "HOLD", "obligations": [], "record": [], "approval": {"holds": [{"code": "a"}, {"code": "b"}]}}
    assert more_permissive(allow, hold)
    assert not more_permissive(hold, allow)
    assert not more_permissive(allow, allow)
    assert more_permissive(allow | {"obligations": []}, allow)
    assert more_permissive(allow | {"record": ["/a"]}, allow)
    assert more_permissive(hold | {"approval": {"holds": [{"code": "a"}]}}, hold)
