"""Policy and the sidecar's own code read selectors, variants and the input alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import ask, opa, request
from remit.backends.opa_bundle import Sources, build, library_path
from remit.config.loading import load
from remit.core import approval
from remit.core.canonical import canonical
from remit.core.catalogue import Approval, Catalogue, Override, Terms, Variant
from remit.core.document import input_document
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
from remit.core.selector import KEYS, Selector

pytestmark = pytest.mark.opa

REGO = library_path().parent
CATALOGUE = Path(__file__).parents[1] / "cases" / "catalogue_full.yaml"
PATTERNS = ["*", "**", "a", "a*", "*a", "*a*", "a*b", "a*b*c", "a.b*", "a/*", "*:*", "a-b_c*", "A*"]
TEXTS = ["", "a", "A", "ab", "ba", "aab", "abc", "a.b", "a.bc", "a/b", "b/a", "a:b", "a-b_c", "axbxc", "a\nb", "é*b"]


def test_a_selector_s_values_match_alike() -> None:
    asked = {
        f"{pattern} {text!r}": [{"variant": [pattern]}, {"variant": text}] for pattern in PATTERNS for text in TEXTS
    }
    query = "{name | some name, pair in input; data.remit.lib.selector.matches(pair[0], pair[1])}"
    matched = {
        f"{pattern} {text!r}"
        for pattern, text in product(PATTERNS, TEXTS)
        if Selector((("variant", (pattern,)),)).matches({"variant": text})
    }
    assert set(ask(REGO, query, asked)) == matched
    assert 0 < len(matched) < len(asked)


def test_a_selector_sees_the_same_keys() -> None:
    assert set(ask(REGO, "data.remit.lib.selector.request", request("call"))) == set(KEYS)


def overridden() -> Catalogue:
    """The full catalogue, in which overrides of several kinds select by agent, region and purpose."""
    _, catalogue = load([CATALOGUE], {}, {})
    finance, lead = Approval(("finance",), cost=20_500_000_000), Approval(("lead",), uses=2)
    overrides = (
        Override({"large": Terms(max={"output_token": 9})}, Selector((("agent", ("support", "x*")),))),
        Override({"large": Terms(approval=lead), "small": Terms(approval=finance)}, Selector((("region", ("us",)),))),
        Override({"small": Terms(max={}), "large": Terms(cheaper="")}, Selector((("purpose", ("*",)),))),
        Override({"large": Terms(max={"call": 1})}, Selector((("agent", ("*",)), ("region", ("e*",))))),
    )
    variants = {"small": Variant(max={"image": 1}), "large": Variant(finance, {"call": 2}, "small")}
    service = replace(catalogue.services["openai"], variants=variants, overrides=overrides)
    return replace(catalogue, services={"openai": service})


def test_overrides_make_the_same_terms(tmp_path: Path) -> None:
    catalogue = overridden()
    root = build(Sources(library_path(), catalogue=catalogue.document()), opa(), tmp_path).path
    asked, expected = {}, {}
    for agent, variant, region in product(("support", "lead"), ("small", "large", "huge", ""), ("eu", "us", "")):
        link = {"service": "openai", "owner": "o", "region": region, "external": True}
        resource = {"id": "openai", "variant": variant}
        name = f"{agent} {variant} {region}"
        asked[name] = {"subject": {"id": agent}, "resource": resource, "facts": {"chain": [link]}}
        terms = catalogue.services["openai"].variant(variant, {"agent": agent, "region": region})
        expected[name] = terms and document(terms, catalogue)
    query = "{name: terms | some name, asked in input; terms := data.remit.lib.variant.terms with input as asked}"
    inputs = {name: request("call", **given) for name, given in asked.items()}
    assert ask(root, query, inputs) == {name: terms for name, terms in expected.items() if terms}


def document(terms: Variant, catalogue: Catalogue) -> Any:
    """A variant as the catalogue's document writes one."""
    service = replace(catalogue.services["openai"], variants={"it": terms}, overrides=())
    written = replace(catalogue, services={"openai": service}).document()["services"]["openai"]["variants"]["it"]
    return json.loads(canonical(written))


VOTERS = (("agent", "lead"), ("agent", "chief"), ("person", "ana"), ("person", "support"))
CHAIN = ("lead", "chief")


def approvals() -> Iterator[tuple[approval.Approval, approval.Vote]]:
    """Pending approvals of every standing, and who says what next."""
    said = (None, *approval.Verdict)
    for level, quorum, (kind, by), says in product(range(3), (1, 2), VOTERS, approval.Verdict):
        for before in product(said, said, said, (None, approval.Verdict.APPROVE)):
            votes = tuple(
                approval.Vote(*voter, verdict, "", 1, "d", min(level, index))
                for index, (voter, verdict) in enumerate(zip(VOTERS, before, strict=True))
                if verdict is not None and voter != (kind, by)
            )
            terms = approval.Terms(quorum=quorum, supervisor=True)
            pending = approval.Approval(
                id="a", like="", subject="support", team="", workflow="", purpose="", policy="p", code="c",
                action="api.call", resource={}, reason="", terms=terms, time=0, deadline=9, chain=CHAIN, level=level,
                votes=votes,
            )  # fmt: skip
            yield pending, approval.Vote(kind, by, says, "", 2, "d", level)


def latest(pending: approval.Approval, vote: approval.Vote) -> dict[str, Any]:
    verdicts = [
        {"kind": each.kind, "by": each.by, "verdict": each.verdict.value, "level": each.level}
        for each in (*pending.votes, vote)
    ]
    return {
        "subject": pending.subject,
        "quorum": pending.terms.quorum,
        "chain": list(pending.chain),
        "level": pending.level,
        "addressee": pending.addressee,
        "verdicts": verdicts,
    }


def test_whatever_policy_makes_of_a_verdict_its_life_allows() -> None:
    """Of every standing of an approval and whatever is said next, and deny comes before hold, and hold before allow."""
    asked = list(approvals())
    query = "[data.remit.lib.verdicts.outcome(each[0], each[1], each[2]) | some each in input]"
    outcomes = ask(REGO, query, [[vote.verdict.value, vote.by, latest(pending, vote)] for pending, vote in asked])
    assert len(outcomes) == len(asked)
    assert set(outcomes) == {"approved", "denied", "escalated", "pending"}
    for (pending, vote), outcome in zip(asked, outcomes, strict=True):
        after = approval.voted(pending, vote, outcome, now=2)
        if outcome == "approved":
            assert len(approval.approving(after)) >= pending.terms.quorum
        said = {each.verdict for each in after.votes}
        assert (outcome == "denied") == (approval.Verdict.DENY in said)
        assert (after.level > pending.level) <= (outcome == "escalated")
        held = any((each.verdict, each.level) == (approval.Verdict.HOLD, pending.level) for each in after.votes)
        assert not (held and outcome == "approved")


def test_what_the_sidecar_asks_is_whole_and_as_the_schema_says() -> None:
    asked = Request(
        Subject("agent", "support", team="cx", roles=("support",), identity=Identity("token", "support")),
        "api.call",
        Resource("service", "models", "chat", "small", properties={"purposes": ("support",)}),
        Context("w-1", "support", "because", "d-0", 1, {"messages": 1}, ("d-0",)),
        usage={"input_token": 7},
    )
    link = Link("models", "platform", "eu", True)
    facts = Facts(
        time=1_796_083_200_000_000_000,
        resource=ResourceFacts(True, "platform", True, "eu", ("untrusted",), ("pii",), (link,)),
        labels={"pii": ("d-0",)},
        arguments={"/messages": {"labels": ["pii"], "sources": ["d-0"]}},
        estimate=Estimate(30_000_001, {"input_token": 7}),
        budgets=(BudgetRoom(BudgetRow("cx-month", "", 0, 10, 5), 5_000_000_000, 1, 1),),
        grants=({"id": "g-1", "policy": "p", "code": "c", "bind": "exact", "uses_left": 1, "expires": 1_796_086_800},),
        claims=({"object": "7", "holder": "support", "workflow": "w-1", "own": True, "expires": 1_796_086_800},),
        acts=({"agent": "lead", "operation": "reject", "decision": "d-0", "time": 1_796_083_000},),
        history=History(1, 2, 3),
        halts=(Halt("h-1", "all", "", "ana", "", 1_796_083_200_000_000_000),),
    )
    document = json.loads(canonical(input_document(asked, facts)))
    schema = json.loads((library_path() / "schemas" / "input.json").read_text(encoding="utf-8"))
    assert ask(REGO, "data.remit.lib.total.holds", document) is True
    asked_with = {"it": document, "schema": schema}
    assert ask(REGO, "json.match_schema(input.it, input.schema)[1]", asked_with) == []
