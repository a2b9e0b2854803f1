"""`remit explain`: a decision's story, from its record, what was said about it, and the approvals that it turned on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.pep_fake import START
from hypothesis import given, settings
from hypothesis import strategies as st
from listeners.serving import OPERATOR
from remit.cli.explaining import Said, Story, story_text
from remit.cli.records import Entry
from remit.core.approval import SECOND, State, Verdict, Vote
from remit.core.effect import Record
from remit.core.reason import EXPLANATIONS, Reason
from remit.ports import JournalRow

from .approvals_stage import Stage, staged
from .conftest import Remit

SEALED = {"hmac": "ab" * 32, "type": "string", "size": 40}


def body(**parts: Any) -> dict[str, Any]:
    """A decision's body as the pipeline writes it."""
    usual = {
        "subject": {
            "type": "agent",
            "id": "support",
            "team": "cx",
            "roles": ["support"],
            "actor": "summarise",
            "mode": "enforce",
            "isolation": "process",
            "identity": {"method": "token", "subject": "support"},
        },
        "action": "api.call",
        "resource": {"type": "service", "id": "openai", "operation": "chat", "variant": "large", "fields": []},
        "context": {
            "purpose": "support",
            "attempt": 2,
            "inputs": ["d_0"],
            "reason": SEALED,
            "arguments": {"risk": 38, "to\u202e": "an\x1b[2Ja", "letter": SEALED},
        },
        "facts": {
            "owner": "ml",
            "external": True,
            "region": "eu",
            "clearance": ["pii"],
            "resource_labels": ["untrusted"],
            "chain": [{"service": "openai", "owner": "ml", "region": "eu", "external": True}],
            "labels": {"pii": ["d_0"], "finance": []},
            "estimate": {"amount": "20000000", "units": {"input_token": 100}},
            "budgets": [
                {"id": "cx-month", "scope": "", "limit": "100000000000", "spent": "30000000000", "held": "500000000"}
            ],
            "halts": [],
            "claims": [{"object": "order/17", "holder": "writer", "workflow": "w_1", "own": False, "expires": 1}],
            "acts": [{"agent": "writer", "operation": "reject", "decision": "d_7", "time": 1}],
        },
        "effect": "HOLD",
        "enforced": True,
        "reasons": [
            {"policy": "variants.approval", "code": "approval_required"},
            {"policy": "custom.cx.hours", "code": "after_hours"},
        ],
        "detail": "",
        "obligations": [],
        "retryable": False,
        "revision": "r7",
        "currency": "EUR",
        "reserved": "0",
        "deadline": "0",
        "approvals": [{"id": "a_1", "state": "pending"}],
    }
    return {**usual, **parts}


def keep(stage: Stage, id: str, written: object, *, kind: str = "decision", ref: str = "") -> None:
    """A record of the journal."""
    raw = written if isinstance(written, bytes) else json.dumps(written).encode()
    sequence = len(stage.pipeline.journal) + 1
    record = Record(kind, id, START + sequence * SECOND, "support", "w_1", "d_0", ref, raw, b"salt")
    stage.pipeline.journal.append(JournalRow("local", sequence, record, b"", bytes(32), bytes(32), not raw))


@pytest.fixture
def stage(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with staged() as running:
        monkeypatch.setenv("REMIT_ADDRESS", running.address)
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        yield running


def test_a_held_decision_tells_all_of_its_story(remit: Remit, stage: Stage) -> None:
    """Who, what, what was known, what each rule said, whom it waits for, what would change it; sealed stays sealed."""
    keep(stage, "d_1", body())
    stage.ask("a_1", votes=(Vote("agent", "lead", Verdict.HOLD, "not mine", START, "d_9"),))

    ended = remit("explain", "d_1")

    assert ended.code == 0, ended
    assert all(each.isprintable() or each == "\n" for each in ended.out)
    required = EXPLANATIONS[Reason.APPROVAL_REQUIRED]
    for said in (
        "decision d_1  HOLD",
        "who  support of cx, acting as summarise",
        "proved by  token",
        "what  api.call  service openai/chat/large",
        "with  risk=38, to\\u202e=an\\x1b[2Ja, letter=(kept as a hash: string of 40 bytes)",
        "purpose  support",
        "workflow  w_1",
        "after  d_0",
        "attempt  2",
        "labels held  finance, pii from d_0",
        "its results available  d_0",
        "estimate  0.02 EUR for input_token 100",
        "budget  cx-month: 69.5 EUR left of 100 EUR",
        "held  order/17 by writer",
        "done before  reject by writer (d_7)",
        f"variants.approval  approval_required: {required.raised}",
        "custom.cx.hours  after_hours",
        "policy revision  r7",
        "recorded  local #1, hash 0000000000000000",
        "approval  a_1 pending",
        required.remedy,
        "custom.cx.hours says after_hours: its author's own word",
        "a_1  pending  version 1",
        "agent lead pass: not mine",
    ):
        assert said in ended.out, (said, ended.out)
    chapters = ["Who asked", "What was known", "What the rules", "What the store", "What it turned", "What would"]
    assert [ended.out.index(each) for each in chapters] == sorted(ended.out.index(each) for each in chapters)
    assert SEALED["hmac"] not in ended.out


def test_what_came_of_it_is_told(remit: Remit, stage: Stage) -> None:
    """Reports, and what it cost in the end; of what nobody reported, that."""
    allowed = body(
        effect="ALLOW",
        reasons=[{"policy": "access.service", "code": "allowed"}],
        reserved="20000000",
        deadline=str(START + 300 * SECOND),
        approvals=[],
        grants=["a_1"],
    )
    keep(stage, "d_1", allowed)
    assert "nobody has reported how it ended" in remit("explain", "d_1").out

    keep(
        stage,
        "r_1",
        {"outcome": "failed", "state": "settled", "cost": "15000000", "error": "bo\x07om"},
        kind="report",
        ref="d_1",
    )
    stage.ask("a_1", state=State.APPROVED, expires=START + 3600 * SECOND)
    out = remit("explain", "d_1").out

    assert "local #2  report failed settled: bo\\x07om" in out
    assert "cost  0.015 EUR settled, of 0.02 EUR reserved" in out
    assert "set aside  0.02 EUR until 2027-01-15 08:05:00.000Z" in out
    assert "used the grant  a_1" in out
    assert "a_1  approved" in out
    assert "What would change it" not in out
    assert "nobody has reported" not in out


def test_what_the_store_refused_is_told_apart_from_what_rules_said(remit: Remit, stage: Stage) -> None:
    """The sidecar's own word stands in the store's chapter, with its detail and whether asking again helps."""
    reasons = [{"policy": "remit", "code": "facts_changed"}]
    keep(stage, "d_1", body(effect="DENY", reasons=reasons, detail="labels", retryable=True, approvals=[]))

    out = remit("explain", "d_1").out

    assert "What the rules said\n  policy revision" in out
    store = out.partition("What the store said")[2]
    assert f"remit  facts_changed: {EXPLANATIONS[Reason.FACTS_CHANGED].raised}" in store.replace("\n", " ")
    assert "about  labels" in store
    assert "Asking again, unchanged, may succeed." in store


def test_an_alternative_that_was_offered_is_told(remit: Remit, stage: Stage) -> None:
    """What sending would accept."""
    offered = {"resource": {"type": "service", "id": "openai", "operation": "chat", "variant": "small"}}
    reasons = [{"policy": "remit", "code": "alternative_offered"}]
    keep(stage, "d_1", body(effect="DENY", reasons=reasons, alternative={**offered, "arguments": {"n": 1}}))

    assert "take instead  service openai/chat/small with n=1" in remit("explain", "d_1").out


def test_an_approval_that_is_not_ones_to_see_is_named_all_the_same(remit: Remit, stage: Stage) -> None:
    """The record names it."""
    keep(stage, "d_1", body())

    assert "approval  a_1 pending; not for you to see" in remit("explain", "d_1").out


def test_the_story_as_json(remit: Remit, stage: Stage) -> None:
    """One document: the record, what the reasons mean, the approvals, what was said later."""
    keep(stage, "d_1", body())
    keep(stage, "r_1", {"outcome": "succeeded"}, kind="report", ref="d_1")
    stage.ask("a_1")

    document = remit("explain", "d_1", "--json").document

    assert document["decision"]["body"] == body()
    first, second = document["reasons"]
    assert (first["code"], first["remedy"]) == (
        "approval_required",
        EXPLANATIONS[Reason.APPROVAL_REQUIRED].remedy,
    )
    assert (second["code"], second["raised"]) == ("after_hours", "")
    assert [each["approval"] for each in document["approvals"]] == ["a_1"]
    assert [each["kind"] for each in document["about"]] == ["report"]


def test_a_decision_that_is_not_there_is_exit_code_2(remit: Remit, stage: Stage) -> None:
    """And a sidecar that is not there 3."""
    ended = remit("explain", "d_9")
    assert (ended.code, ended.err) == (2, "remit: no decision d_9\n")
    stage.stop()
    assert remit("explain", "d_9").code == 3


def test_an_erased_decision_is_still_told(remit: Remit, stage: Stage) -> None:
    """Who, where and when are in its header."""
    keep(stage, "d_1", b"")

    out = remit("explain", "d_1").out

    assert "decision d_1  (body erased)" in out
    assert "who  support" in out
    assert "recorded  local #1" in out


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_library_has_its_words(reason: Reason) -> None:
    """And a custom rule that uses one of its words for its own code has not."""
    told = Said.of({"policy": "access.service", "code": reason.value})
    assert (told.raised, told.remedy) == (EXPLANATIONS[reason].raised, EXPLANATIONS[reason].remedy)
    assert Said.of({"policy": "custom.cx.hours", "code": reason.value}).raised == ""


def acts(told: str) -> bool:
    """Whether a text could do something to a terminal, or has a line of somebody else's making."""
    return not all(each.isprintable() or each == "\n" for each in told) or "\ns\n" in told


def test_a_story_that_is_told_as_it_came_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: without escaping, the same record acts."""
    monkeypatch.setattr("remit.cli.explaining.clean", str)
    entry = Entry("l", 1, 1, "decision", "d\u202e", "s", "w", "p", "", False, "h", body())

    assert acts(story_text(Story(entry, (), ()), 2).plain) is True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SHAPES = st.fixed_dictionaries({}, optional=dict.fromkeys(body(), JSON_VALUES))


@settings(max_examples=200)
@given(SHAPES, st.sampled_from(["facts", "context", "subject", "resource"]), JSON_VALUES)
def test_no_record_is_told_so_that_it_acts_on_a_terminal(shape: dict[str, Any], part: str, inner: Any) -> None:
    """Whatever the shape of a record's body, its story is printable text."""
    whole = body(**shape)
    if isinstance(whole.get(part), dict):
        whole[part] = dict.fromkeys(whole[part], inner)
    entry = Entry("l\x1b", 1, 1, "decision", "d\u202e", "s\n", "w", "p", "", False, "h\x07", whole)

    assert acts(story_text(Story(entry, (entry,), ()), 2).plain) is False
