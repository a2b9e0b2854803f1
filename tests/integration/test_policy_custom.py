"""Users' packages lie beside the library: they add, at any depth, and what they get wrong never allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import Failed, ask, bundle, decide, request, said
from remit.backends.opa_bundle import BundleInvalid

pytestmark = pytest.mark.opa

FULL = """\
# METADATA
# title: At night, somebody looks
# schemas:
#   - input: schema.input
# custom:
#   owner: cx
#   codes:
#     late: "{resource.ref} is closed"
package remit.custom.cx.shop.night

allow contains "clerk" if input.action.name == "claim.take"

deny contains "late" if {
	input.action.name == "api.call"
	input.context.reason == "late"
}

hold contains {"code": "ask", "approval": {"roles": ["lead"], "uses": 1}} if {
	input.action.name == "api.call"
	input.context.reason == "ask"
}

oblige contains {"id": "watermark", "properties": {"text": "internal"}} if input.action.name == "api.call"

record contains "/arguments/messages" if input.action.name == "api.call"
"""
NAME = "custom.cx.shop.night"


def scalar(definition: str) -> dict[str, str]:
    return {"x.rego": f"package remit.custom.x\n\n{definition}\n"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("full"), custom={"cx/night.rego": FULL})


def decision(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    verdict: dict[str, Any] = decide(root, {"it": asked})["it"]
    return verdict


def test_a_package_at_any_depth_allows_what_the_library_does_not(full: Path) -> None:
    asked = request("decide", action={"name": "claim.take"})
    assert said(decision(full, asked)) == {"ALLOW": [f"{NAME} clerk"]}


def test_it_denies_what_the_library_allows(full: Path) -> None:
    asked = request("call", context={"reason": "late"})
    assert said(decision(full, asked)) == {"DENY": [f"{NAME} late"]}


def test_its_hold_waits_for_its_own_approval_beside_the_library_s(full: Path) -> None:
    asked = request("call", context={"reason": "ask"}, resource={"variant": "large"})
    held = decision(full, asked)
    assert said(held) == {"HOLD": [f"{NAME} ask", "variants.approval approval_required"]}
    own = {"policy": NAME, "code": "ask", "approval": {"roles": ["lead"], "uses": 1, "bind": "variant"}}
    assert own in held["approval"]["holds"]
    assert len(held["approval"]["holds"]) == 2


def test_a_grant_of_each_hold_allows(full: Path) -> None:
    grants = [
        {"id": "g-1", "policy": NAME, "code": "ask"},
        {"id": "g-2", "policy": "variants.approval", "code": "approval_required"},
    ]
    given = {"context": {"reason": "ask"}, "resource": {"variant": "large"}}
    assert decision(full, request("call", **given, facts={"grants": grants}))["effect"] == "ALLOW"
    assert decision(full, request("call", **given, facts={"grants": grants[:1]}))["effect"] == "HOLD"


def test_what_it_obliges_to_and_may_be_recorded_goes_with_the_decision(full: Path) -> None:
    allowed = decision(full, request("call"))
    assert allowed["obligations"] == [{"id": "watermark", "properties": {"text": "internal"}}]
    assert allowed["record"] == ["/arguments/messages"]


def test_a_rule_of_the_library_is_replaced_by_turning_it_off_beside_one_s_own(tmp_path: Path) -> None:
    own = 'package remit.custom.owners\n\ndeny contains "not_ours" if input.resource.owner != "cx"\n'
    root = bundle(tmp_path, custom={"owners.rego": own}, levels={"ownership.owner": "off"})
    assert said(decision(root, request("read", resource={"owner": ""}))) == {"DENY": ["custom.owners not_ours"]}
    assert said(decision(root, request("read"))) == {"ALLOW": ["access.dataset allowed"]}


def test_a_rule_that_is_off_allows_nothing_either(tmp_path: Path) -> None:
    root = bundle(tmp_path, levels={"access.dataset": "off"})
    assert said(decision(root, request("read"))) == {"DENY": ["main default_deny"]}


@pytest.mark.parametrize("rule", ["flow.clearance", "halts.halted", "variants.approval"])
def test_a_level_is_of_one_rule_alone(rule: str, tmp_path: Path) -> None:
    root = bundle(tmp_path, levels={rule: "off"})
    halt = {"id": "h", "scope": "all", "value": "", "by": "ana", "reason": "", "time": 1}
    asked = request("send", resource={"owner": ""}, facts={"labels": {"pii": ["d-1"]}, "halts": [halt]})
    codes = {"flow.clearance flow_label_exceeds_clearance", "halts.halted halted", "ownership.owner no_owner"}
    assert set(said(decision(root, asked))["DENY"]) == {each for each in codes if not each.startswith(rule)}


@pytest.mark.parametrize("kind", ["allow", "deny", "hold", "oblige", "record"])
@pytest.mark.parametrize(
    "body", [":= true", 'if input.action.name == "api.call"', ':= "x"', ":= null", ":= 1", ":= input.context.reason"]
)
def test_a_set_that_is_none_does_not_build(kind: str, body: str, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match=f"expected `{kind} contains"):
        bundle(tmp_path, custom=scalar(f"{kind} {body}"))


@pytest.mark.parametrize(
    "hold", ['"late"', '{"code": "late"}', '{"approval": {}}', '{"code": 1, "approval": {}}', "input.context.reason"]
)
def test_a_hold_that_cannot_be_read_denies(hold: str, tmp_path: Path) -> None:
    root = bundle(tmp_path, custom=scalar(f'hold contains {hold} if input.action.name == "api.call"'))
    assert said(decision(root, request("call"))) == {"DENY": ["custom.x policy_invalid"]}
    assert decision(root, request("read"))["effect"] == "ALLOW"


def test_two_approvals_of_one_code_deny_as_whoever_gives_one_would_give_the_other(tmp_path: Path) -> None:
    holds = "".join(
        f'\nhold contains {{"code": "ask", "approval": {{"roles": ["{role}"]}}}} if input.context.reason > "{least}"\n'
        for role, least in (("lead", ""), ("finance", "a"))
    )
    root = bundle(tmp_path, custom={"x.rego": f"package remit.custom.x\n{holds}"})
    assert said(decision(root, request("read", context={"reason": "a"}))) == {"HOLD": ["custom.x ask"]}
    assert said(decision(root, request("read", context={"reason": "b"}))) == {"DENY": ["custom.x policy_invalid"]}


def test_what_becomes_of_an_approval_is_replaced_by_a_rule_of_one_s_own(tmp_path: Path) -> None:
    """Here hold beats deny, and whoever is not sure has it denied."""
    own = (
        "package remit.custom.outcomes\n\n"
        'oblige contains {"id": "resolve_approval", "properties": {"outcome": "denied"}} if {\n'
        '\tinput.action.name == "approval.resolve"\n\tinput.resource.operation == "hold"\n}\n'
    )
    held = request("resolve", resource={"operation": "hold", "properties": {"verdicts": []}})
    beside = decision(bundle(tmp_path / "beside", custom={"outcomes.rego": own}), held)
    assert outcomes(beside) == ["denied", "pending"]
    root = bundle(tmp_path / "alone", custom={"outcomes.rego": own}, levels={"approvals.outcome": "off"})
    assert outcomes(decision(root, held)) == ["denied"]
    assert outcomes(decision(root, request("resolve"))) == []


def outcomes(verdict: dict[str, Any]) -> list[str]:
    return sorted(each["properties"]["outcome"] for each in verdict["obligations"] if each["id"] == "resolve_approval")


def test_a_rule_that_fails_fails_the_query_and_is_not_skipped(tmp_path: Path) -> None:
    root = bundle(tmp_path, custom=scalar('deny contains "x" if to_number(input.context.reason) > 1'))
    with pytest.raises(Failed, match="to_number"):
        ask(root, "data.remit.decision", request("call"))


def test_no_package_of_users_stands_for_the_library_s(tmp_path: Path) -> None:
    for package in ("remit", "remit.dispatch", "remit.rules.flow.clearance", "remit.lib.total", "remit.customs.x"):
        with pytest.raises(BundleInvalid, match=r"below remit\.custom"):
            bundle(tmp_path, custom={"x.rego": f'package {package}\n\nallow contains "x"\n'})
