"""Policy's verdict is read strictly; its input is total and exact."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from counts import COUNTS
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.approval import Bind, Hold, Terms
from remit.core.canonical import encode
from remit.core.decision import Effect, PolicyReason
from remit.core.document import MAX_FREE_BYTES, input_document, money, read_verdict
from remit.core.errors import PolicyFailure
from remit.core.model import (
    BudgetRoom,
    BudgetRow,
    Context,
    Estimate,
    Facts,
    Halt,
    History,
    Identity,
    Link,
    Request,
    Resource,
    ResourceFacts,
    Subject,
)
from remit.core.obligation import Obligation, unsupported
from remit.core.reason import Reason

ALLOW: dict[str, Any] = {
    "effect": "ALLOW",
    "reasons": [{"policy": "rules.access.role", "code": "allowed"}],
    "obligations": [{"id": "cap_output", "properties": {"tokens": 10}}],
    "approval": {},
    "record": ["/arguments/amount"],
}

HOLD: dict[str, Any] = {"policy": "variants.approval", "code": "approval_required", "approval": {"bind": "variant"}}
HELD: dict[str, Any] = ALLOW | {"effect": "HOLD", "approval": {"holds": [HOLD]}}

UNREADABLE: dict[str, object] = {
    "as text": "large",
    "null": None,
    "without a policy": {key: value for key, value in HOLD.items() if key != "policy"},
    "without a code": {key: value for key, value in HOLD.items() if key != "code"},
    "without an approval": {key: value for key, value in HOLD.items() if key != "approval"},
    "with something more": HOLD | {"message": "m"},
    "with an empty code": HOLD | {"code": ""},
    "with a code in capitals": HOLD | {"code": "LARGE"},
    "with a policy of spaces": HOLD | {"policy": " "},
    "with an approval as text": HOLD | {"approval": "finance"},
    "with a list of terms": HOLD | {"approval": []},
}

ODD: dict[str, dict[str, object]] = {
    "of no known name": {"role": ["finance"]},
    "with roles as text": {"roles": "finance"},
    "with roles of numbers": {"roles": [1]},
    "with an empty role": {"roles": [""]},
    "with a role in capitals": {"roles": ["Finance"]},
    "with 33 roles": {"roles": [f"r{n}" for n in range(33)]},
    "with supervisor as text": {"supervisor": "yes"},
    "with supervisor as a number": {"supervisor": 1},
    "with supervisor null": {"supervisor": None},
    "with a quorum of 0": {"quorum": 0},
    "with a quorum of 17": {"quorum": 17},
    "with a quorum of a half": {"quorum": Decimal("1.5")},
    "with a quorum of true": {"quorum": True},
    "with a quorum as text": {"quorum": "1"},
    "with a bind of no known name": {"bind": "agent"},
    "with bind null": {"bind": None},
    "with a list of binds": {"bind": ["exact"]},
    "with 0 uses": {"uses": 0},
    "with a million and one uses": {"uses": 1_000_001},
    "with a cost below 0": {"cost": -1},
    "with a cost as text": {"cost": "20"},
    "with a cost of true": {"cost": True},
    "with a cost of ten decimals": {"cost": Decimal("0.0000000001")},
    "with a cost beyond all money": {"cost": 10**18},
    "with a ttl of 0": {"ttl": 0},
    "with a ttl of a year": {"ttl": 365 * 86_400},
    "with a wait of 0": {"wait": 0},
    "with a wait of a month": {"wait": 30 * 86_400},
    "with an alternative as text": {"alternative": "small"},
    "with an alternative too big": {"alternative": {"x": "y" * MAX_FREE_BYTES}},
}

INVALID: dict[str, object] = {
    "nothing": None,
    "true": True,
    "text": "ALLOW",
    "a list of a verdict": [ALLOW],
    "no field": {},
    "one field less": {key: value for key, value in ALLOW.items() if key != "record"},
    "one field more": ALLOW | {"allow": True},
    "effect in lower case": ALLOW | {"effect": "allow"},
    "effect with a space": ALLOW | {"effect": "ALLOW "},
    "effect true": ALLOW | {"effect": True},
    "effect 1": ALLOW | {"effect": 1},
    "effect null": ALLOW | {"effect": None},
    "effect in a list": ALLOW | {"effect": ["ALLOW"]},
    "effect unknown": ALLOW | {"effect": "PERMIT"},
    "no reason": ALLOW | {"reasons": []},
    "reasons an object": ALLOW | {"reasons": {}},
    "reasons null": ALLOW | {"reasons": None},
    "a reason as text": ALLOW | {"reasons": ["allowed"]},
    "a reason without policy": ALLOW | {"reasons": [{"code": "allowed"}]},
    "a reason with a message": ALLOW | {"reasons": [{"policy": "p", "code": "c", "message": "m"}]},
    "a code with a capital": ALLOW | {"reasons": [{"policy": "p", "code": "Allowed"}]},
    "a code with a newline": ALLOW | {"reasons": [{"policy": "p", "code": "allowed\n"}]},
    "a code of 65 characters": ALLOW | {"reasons": [{"policy": "p", "code": "a" * 65}]},
    "an empty code": ALLOW | {"reasons": [{"policy": "p", "code": ""}]},
    "a policy with a slash": ALLOW | {"reasons": [{"policy": "rules/access", "code": "c"}]},
    "a policy ending in a dot": ALLOW | {"reasons": [{"policy": "rules.", "code": "c"}]},
    "a policy with foreign digits": ALLOW | {"reasons": [{"policy": "rules٣", "code": "c"}]},
    "65 reasons": ALLOW | {"reasons": [{"policy": "p", "code": f"c{n}"} for n in range(65)]},
    "obligations as ids": ALLOW | {"obligations": ["cap_output"]},
    "an obligation without properties": ALLOW | {"obligations": [{"id": "cap_output"}]},
    "an obligation with a list of properties": ALLOW | {"obligations": [{"id": "cap_output", "properties": []}]},
    "17 obligations": ALLOW | {"obligations": [{"id": f"o{n}", "properties": {}} for n in range(17)]},
    "properties too big": ALLOW | {"obligations": [{"id": "o", "properties": {"x": "y" * MAX_FREE_BYTES}}]},
    "an approval with ALLOW": HELD | {"effect": "ALLOW"},
    "an approval with DENY": HELD | {"effect": "DENY"},
    "no approval with HOLD": ALLOW | {"effect": "HOLD"},
    "no hold with HOLD": HELD | {"approval": {"holds": []}},
    "approval a list": HELD | {"approval": [1]},
    "an approval that is no list of holds": HELD | {"approval": {"roles": ["finance"]}},
    "an approval with more than holds": HELD | {"approval": {"holds": [HOLD], "roles": []}},
    "holds an object": HELD | {"approval": {"holds": HOLD}},
    "17 holds": HELD | {"approval": {"holds": [HOLD | {"code": f"c{n}"} for n in range(17)]}},
    **{f"a hold {name}": HELD | {"approval": {"holds": [hold]}} for name, hold in UNREADABLE.items()},
    **{f"terms {name}": HELD | {"approval": {"holds": [HOLD | {"approval": terms}]}} for name, terms in ODD.items()},
    "record a text": ALLOW | {"record": "/arguments"},
    "a record path without slash": ALLOW | {"record": ["arguments"]},
    "a record path with a newline": ALLOW | {"record": ["/a\nb"]},
    "a record path that is a number": ALLOW | {"record": [1]},
    "257 record paths": ALLOW | {"record": [f"/{n}" for n in range(257)]},
}


@pytest.mark.parametrize("raw", INVALID.values(), ids=INVALID.keys())
def test_a_result_of_another_shape_is_policy_invalid(raw: object) -> None:
    with pytest.raises(PolicyFailure) as caught:
        read_verdict(raw)
    assert caught.value.reason is Reason.POLICY_INVALID
    assert "expected" in caught.value.detail and len(caught.value.detail) < 400


@pytest.mark.parametrize("raw, holds", [(ALLOW, 0), (ALLOW | {"effect": "DENY"}, 0), (HELD, 1)])
def test_a_verdict_is_read(raw: dict[str, Any], holds: int) -> None:
    verdict = read_verdict(raw)
    assert verdict.effect is Effect(raw["effect"])
    assert verdict.reasons == (PolicyReason("rules.access.role", "allowed"),)
    assert verdict.obligations == (Obligation("cap_output", {"tokens": 10}),)
    assert (len(verdict.holds), verdict.record) == (holds, ("/arguments/amount",))


def test_what_a_hold_does_not_say_has_its_default() -> None:
    (hold,) = read_verdict(HELD | {"approval": {"holds": [HOLD | {"approval": {}}]}}).holds
    assert hold == Hold("variants.approval", "approval_required", Terms())
    assert hold.terms.cost is None


def test_all_terms_of_a_hold_are_read() -> None:
    said = {
        "roles": ["finance", "lead-1"],
        "supervisor": True,
        "quorum": 2,
        "bind": "operation",
        "uses": 50,
        "cost": Decimal("20.5"),
        "ttl": 14_400,
        "wait": 60,
        "alternative": {"resource": {"variant": "small"}},
    }
    second = HOLD | {"policy": "custom.cx", "approval": said}
    first, read = read_verdict(HELD | {"approval": {"holds": [HOLD, second]}}).holds
    assert first.terms == Terms(bind=Bind.VARIANT)
    assert read == Hold(
        "custom.cx",
        "approval_required",
        Terms(
            roles=("finance", "lead-1"),
            supervisor=True,
            quorum=2,
            bind=Bind.OPERATION,
            uses=50,
            cost=20_500_000_000,
            ttl=14_400,
            wait=60,
            alternative={"resource": {"variant": "small"}},
        ),
    )


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-9, max_value=9)
    | st.sampled_from(["ALLOW", "DENY", "HOLD", "allow", "", "p", "p.q", "allowed", "/x", "x\n"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ALLOW, "policy", "code", "id", "properties", "allow"]), inner, max_size=6)
    ),
    max_leaves=10,
)


def _or_junk(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, JUNK)


REASONS = st.lists(
    _or_junk(st.fixed_dictionaries({"policy": _or_junk(st.just("p.q")), "code": _or_junk(st.just("ok"))})),
    max_size=2,
)
OBLIGATIONS = st.lists(
    _or_junk(st.fixed_dictionaries({"id": _or_junk(st.just("cap")), "properties": _or_junk(st.just({}))})),
    max_size=2,
)
NEARLY = st.fixed_dictionaries(
    {
        "effect": _or_junk(st.just("ALLOW")),
        "reasons": _or_junk(REASONS),
        "obligations": _or_junk(OBLIGATIONS),
        "approval": _or_junk(st.just({})),
        "record": _or_junk(st.lists(st.sampled_from(["/x", "", 1, None]), max_size=2)),
    },
    optional={"extra": JUNK},
)


def _is_allow(raw: Any) -> bool:
    """The shape of an ALLOW, written down a second time and in another way."""
    match raw:
        case {"effect": "ALLOW", "reasons": [_, *_] as reasons, "obligations": list(obligations), **rest}:
            return (
                rest.keys() == {"approval", "record"}
                and isinstance(rest["approval"], dict)
                and rest["approval"] == {}
                and isinstance(rest["record"], list)
                and all(isinstance(path, str) and path.startswith("/") for path in rest["record"])
                and all(_has(each, {"policy": str, "code": str}) for each in reasons)
                and all(each["policy"] in ("p", "p.q", "allowed", "allow") for each in reasons)
                and all(each["code"] in ("p", "ok", "allowed", "allow") for each in reasons)
                and all(_has(each, {"id": str, "properties": dict}) for each in obligations)
                and all(each["id"] in ("p", "cap", "allowed", "allow") for each in obligations)
            )
    return False


def _has(value: Any, types: dict[str, type]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == types.keys()
        and all(isinstance(value[key], kind) for key, kind in types.items())
    )


@given(JUNK | NEARLY | NEARLY)
@settings(max_examples=20 * COUNTS.examples, deadline=None)
def test_nothing_but_a_valid_allow_allows(raw: Any) -> None:
    try:
        allowed = read_verdict(raw).effect is Effect.ALLOW
    except PolicyFailure as failure:
        assert failure.reason is Reason.POLICY_INVALID
        allowed = False
    assert allowed == _is_allow(raw)


def test_an_obligation_that_the_enforcement_point_does_not_fulfil_is_named_once() -> None:
    obligations = [Obligation("mask", {}), Obligation("cap", {}), Obligation("mask", {"x": 1})]
    assert unsupported(obligations, frozenset({"cap"})) == ("mask",)
    assert unsupported(obligations, frozenset({"cap", "mask"})) == ()


SECOND = 1_000_000_000
REQUEST = Request(
    subject=Subject("agent", "support", "cx", ("support",), Identity("token", "support")),
    action="api.call",
    resource=Resource("service", "openai", "chat", "small"),
    context=Context(workflow="w_1", arguments={"amount": Decimal("0.1")}),
)
CLAIM = {"object": "7", "holder": "support", "workflow": "w_1", "own": True, "expires": 1_700_000_060}
ACT = {"agent": "analysis", "operation": "reject", "decision": "d_0", "time": 1_699_999_000}
FACTS = Facts(time=1_700_000_000 * SECOND + 5, resource=ResourceFacts(known=True))


def test_the_input_is_total_where_nothing_is_known() -> None:
    document = input_document(
        Request(
            subject=Subject("", "", "", (), Identity("", "")),
            action="",
            resource=Resource("", ""),
            context=Context(),
        ),
        Facts(time=0, resource=ResourceFacts(known=False)),
    )
    assert document == {
        "subject": {
            "type": "",
            "id": "",
            "team": "",
            "roles": [],
            "actor": "",
            "mode": "enforce",
            "isolation": "process",
            "identity": {"method": "", "subject": ""},
        },
        "action": {"name": ""},
        "resource": {
            "type": "",
            "id": "",
            "operation": "",
            "variant": "",
            "ref": "",
            "owner": "",
            "external": False,
            "labels": [],
            "clearance": [],
            "properties": {},
        },
        "context": {
            "workflow": "",
            "purpose": "",
            "reason": "",
            "parent": "",
            "time": 0,
            "attempt": 1,
            "arguments": {},
            "inputs": [],
        },
        "facts": {
            "labels": {},
            "arguments": {},
            "estimate": {"amount": 0, "known": True, "units": {}},
            "budgets": [],
            "grants": [],
            "claims": [],
            "acts": [],
            "history": {"repeats": 0, "failures": 0, "denials": 0},
            "halts": [],
            "chain": [],
        },
    }


def test_facts_are_written_as_rego_reads_them() -> None:
    row = BudgetRow("each-run", "w_1", start=1_699_999_000 * SECOND, end=1_700_003_000 * SECOND, limit=3 * SECOND)
    facts = replace(
        FACTS,
        labels={"pii": ("d_1", "d_2")},
        estimate=Estimate(amount=1, units={"call": 1}),
        budgets=(BudgetRoom(row, limit=2_500_000_000, spent=100_000_000, held=9_223_372_036_854_775_807),),
        halts=(Halt("h_1", "agent", "support", "ana", "stop", 1_700_000_000 * SECOND),),
        claims=(CLAIM,),
        acts=(ACT,),
        history=History(repeats=7, failures=2, denials=1),
        resource=ResourceFacts(
            known=True,
            owner="ml",
            external=True,
            labels=("untrusted",),
            clearance=("pii",),
            chain=(Link("connector", "integrations", "eu", False),),
        ),
    )
    document = input_document(REQUEST, facts)
    assert document["resource"]["ref"] == "openai/chat"
    assert document["resource"]["clearance"] == ["pii"]
    assert document["context"]["time"] == 1_700_000_000
    assert document["facts"]["claims"] == [CLAIM]
    assert document["facts"]["acts"] == [ACT]
    assert document["facts"]["history"] == {"repeats": 7, "failures": 2, "denials": 1}
    assert document["facts"]["labels"] == {"pii": ["d_1", "d_2"]}
    assert document["facts"]["chain"] == [
        {"service": "connector", "owner": "integrations", "region": "eu", "external": False}
    ]
    assert document["facts"]["halts"] == [
        {
            "id": "h_1",
            "scope": "agent",
            "value": "support",
            "by": "ana",
            "reason": "stop",
            "time": 1_700_000_000,
        }
    ]
    assert document["facts"]["budgets"][0]["elapsed"] == Decimal("0.25")
    text = encode(document)
    assert b'"amount":0.000000001' in text
    assert b'"limit":2.5,"spent":0.1,"held":9223372036.854775807' in text
    assert b'"arguments":{"amount":0.1}' in text
    assert b"null" not in text


def test_an_unknown_price_is_not_a_price_of_zero() -> None:
    document = input_document(REQUEST, replace(FACTS, estimate=Estimate(amount=None)))
    assert document["facts"]["estimate"] == {"amount": 0, "known": False, "units": {}}


@pytest.mark.parametrize(
    "start, end, elapsed",
    [(0, 0, "0"), (0, 10, "1"), (2 * 10**18, 3 * 10**18, "0"), (0, 3 * 10**18, "0.566666")],
)
def test_the_elapsed_share_of_a_window_is_between_0_and_1(start: int, end: int, elapsed: str) -> None:
    row = BudgetRow("b", "", start=start, end=end, limit=1)
    document = input_document(REQUEST, replace(FACTS, budgets=(BudgetRoom(row, limit=1, spent=0, held=0),)))
    assert document["facts"]["budgets"][0]["elapsed"] == Decimal(elapsed)


def test_what_is_held_for_no_call_is_not_told() -> None:
    """Slices that writers have left go to whoever needs them."""
    room = BudgetRoom(BudgetRow("month", "", 0, 0, 10), limit=10, spent=1, held=5, idle=3)
    document = input_document(REQUEST, replace(FACTS, budgets=(room,)))
    assert (
        document["facts"]["budgets"][0]["held"]
        == input_document(REQUEST, replace(FACTS, budgets=(replace(room, held=2, idle=0),)))["facts"]["budgets"][0][
            "held"
        ]
    )


@given(st.integers(-(2**63), 2**63 - 1))
def test_money_is_exact(nanos: int) -> None:
    text = encode(money(nanos)).decode()
    assert Decimal(text) * SECOND == nanos
    assert "E" not in text
