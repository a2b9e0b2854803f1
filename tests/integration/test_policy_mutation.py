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
OUTCOMES = ("denied", "expired", "pending", "escalated", "approved")
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
    "a claim that is another's only where it says so": (
        "/facts/claims/0/own",
        Edit(
            "rules/conflicts/claimed/claimed.rego",
            "not _free",
            "some claim in input.facts.claims\n\tclaim.own == false",
        ),
    ),
    "a contradiction that is lost with the call that would find it": (
        "/facts/acts/0/operation",
        Edit(
            "rules/conflicts/contradiction/contradiction.rego",
            "not _agree(act, input.resource, _conflicts)",
            "not _same(input.resource.operation, act.operation)\n] if {\n\tis_array(input.facts.acts)\n}\n\n"
            "_same(a, b) if not [a, b] in _conflicts.between\n\n_unused := [act |\n\tsome act in input.facts.acts",
        ),
    ),
    "a limit that null is below": (
        "/facts/history/repeats",
        Edit("rules/failures/loop/loop.rego", "\tis_number(input.facts.history.repeats)\n", ""),
    ),
    "an approval of nobody's, which is another's": (
        "/resource/properties/subject",
        Edit("rules/access/approval/approval.rego", "\tis_string(input.resource.properties.subject)\n", ""),
    ),
    "a quorum of null that is always there": (
        "/resource/properties/quorum",
        Edit("lib/verdicts/verdicts.rego", "\tis_number(approval.quorum)\n", ""),
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
    if request["action"]["name"] == "approval.resolve":
        paths += listed("/resource/properties", request["resource"]["properties"])
    removed = {f"no {path}": {"op": "remove", "path": path} for path in paths}
    nulled = {f"null {path}": {"op": "replace", "path": path, "value": None} for path in paths}
    return removed | nulled


def listed(path: str, value: Any) -> Iterator[str]:
    """The path of every field of every object in a value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{path}/{name}"
            yield from listed(f"{path}/{name}", each)
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from listed(f"{path}/{index}", each)


def outcome(verdict: Mapping[str, Any]) -> int:
    """How much what becomes of an approval lets through; without a word it goes on waiting."""
    said = [each["properties"]["outcome"] for each in verdict["obligations"] if each["id"] == "resolve_approval"]
    return min((OUTCOMES.index(each) for each in said), default=OUTCOMES.index("pending"))


def more_permissive(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a decision lets through, leaves undone or shows something that another does not."""
    ranks = RANK[after["effect"]], RANK[before["effect"]]
    if ranks[0] != ranks[1]:
        return ranks[0] > ranks[1]
    if outcome(after) > outcome(before):
        return True
    asked = [each for each in before["obligations"] if each["id"] != "resolve_approval"]
    dropped = [each for each in asked if each not in after["obligations"]]
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


def resolving(said: str) -> dict[str, Any]:
    return {"id": "resolve_approval", "properties": {"outcome": said}}


def test_less_asked_and_more_shown_count_as_more_permissive() -> None:
    allow = {"effect": "ALLOW", "obligations": [{"id": "log"}], "record": [], "approval": {}}
    hold = {"effect": "HOLD", "obligations": [], "record": [], "approval": {"holds": [{"code": "a"}, {"code": "b"}]}}
    assert more_permissive(allow, hold)
    assert not more_permissive(hold, allow)
    assert not more_permissive(allow, allow)
    said = {each: allow | {"obligations": [resolving(each)]} for each in OUTCOMES}
    assert more_permissive(said["approved"], said["escalated"])
    assert more_permissive(allow, said["denied"])
    assert not more_permissive(allow, said["pending"])
    assert not more_permissive(said["denied"], said["approved"])
    assert not more_permissive(allow | {"obligations": [resolving("approved"), resolving("denied")]}, said["denied"])
    assert more_permissive(allow | {"obligations": []}, allow)
    assert more_permissive(allow | {"record": ["/a"]}, allow)
    assert more_permissive(hold | {"approval": {"holds": [{"code": "a"}]}}, hold)
