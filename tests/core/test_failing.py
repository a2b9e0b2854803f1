"""What policy says about failures is read strictly; what it leaves unsaid stays as it was."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from remit.backends.opa_bundle import library_path
from remit.core.canonical import parse
from remit.core.failing import (
    DEFAULT,
    KINDS,
    MOST,
    REPLIES,
    Answer,
    ErrorRate,
    FailureInvalid,
    FailurePolicy,
    Gone,
    Reply,
    SpendRate,
    read_failures,
)


def test_the_library_s_own_data_are_the_defaults_and_name_every_field() -> None:
    stated = parse((library_path() / "failure" / "data.json").read_bytes(), 1 << 16)
    assert read_failures(stated) == DEFAULT
    assert {kind: set(fields) for kind, fields in stated.items()} == {
        "loop": {"limit", "answer"},
        "failed": {"limit", "answer"},
        "denials": {"limit", "answer"},
        "errors": {"share", "least", "answer"},
        "spending": {"amount", "answer"},
        "vanished": {"answer"},
    }


def test_everything_can_be_stated() -> None:
    stated = {
        "loop": {"limit": 3, "answer": "halt"},
        "failed": {"limit": 2, "answer": "compensate"},
        "denials": {"limit": MOST, "answer": "escalate"},
        "errors": {"share": Decimal("0.25"), "least": 4, "answer": "halt"},
        "spending": {"amount": Decimal("1.5"), "answer": "escalate"},
        "vanished": {"answer": "escalate"},
    }
    assert read_failures(stated) == FailurePolicy(
        loop=Answer(3, Reply.HALT),
        failed=Answer(2, Reply.COMPENSATE),
        denials=Answer(MOST, Reply.ESCALATE),
        errors=ErrorRate(Fraction(1, 4), 4, Reply.HALT),
        spending=SpendRate(1_500_000_000, Reply.ESCALATE),
        vanished=Gone(Reply.ESCALATE),
    )


def test_what_is_left_unsaid_stays_as_it_was() -> None:
    base = read_failures({"loop": {"limit": 3}})
    assert base == FailurePolicy(loop=Answer(3, Reply.DENY))
    assert read_failures({"loop": {"answer": "none"}, "vanished": {}}, base) == FailurePolicy(
        loop=Answer(3, Reply.NONE)
    )
    assert read_failures({}) == DEFAULT


def test_an_answer_of_none_and_a_limit_of_0_are_off() -> None:
    assert [each for each in KINDS if getattr(DEFAULT, each).on] == ["loop", "failed"]
    assert not Answer(0, Reply.HALT).on
    assert not SpendRate(0, Reply.HALT).on
    assert SpendRate(1, Reply.HALT).on
    assert ErrorRate(Fraction(1), 1, Reply.HALT).on
    assert Gone(Reply.HALT).on


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reply", Reply)
def test_each_failure_has_its_answers(kind: str, reply: Reply) -> None:
    if reply in REPLIES[kind]:
        assert getattr(read_failures({kind: {"answer": reply.value}}), kind).answer is reply
    else:
        with pytest.raises(FailureInvalid, match=rf"failure\.{kind}\.answer: found '{reply}', expected none or "):
            read_failures({kind: {"answer": reply.value}})


def test_only_what_is_asked_before_it_is_done_denies_and_only_one_action_is_tried_again_or_undone() -> None:
    assert [kind for kind in KINDS if Reply.DENY in REPLIES[kind]] == ["loop", "failed"]
    for reply in (Reply.RETRY, Reply.COMPENSATE):
        assert [kind for kind in KINDS if reply in REPLIES[kind]] == ["failed"]
    assert all({Reply.NONE, Reply.ESCALATE, Reply.HALT} <= set(REPLIES[kind]) for kind in KINDS)


@pytest.mark.parametrize(
    "stated, problem",
    [
        (None, "failure: found None, expected an object of loop"),
        ([], "failure: found list, expected an object"),
        ({"loops": {}}, "failure: found 'loops', expected one of loop, failed, "),
        ({"loop": 3}, "failure.loop: found 3, expected an object of limit, answer"),
        ({"loop": {"max": 3}}, "failure.loop: found 'max', expected one of limit, answer"),
        ({"loop": {"limit": -1}}, "failure.loop.limit: found -1, expected a whole number from 0 to 10000"),
        ({"loop": {"limit": MOST + 1}}, "failure.loop.limit: found 10001"),
        ({"loop": {"limit": True}}, "failure.loop.limit: found True"),
        ({"loop": {"limit": "3"}}, "failure.loop.limit: found '3'"),
        ({"loop": {"limit": Decimal("2.5")}}, "failure.loop.limit: found 2.5"),
        ({"loop": {"answer": "Deny"}}, "failure.loop.answer: found 'Deny', expected none or deny or escalate or halt"),
        ({"loop": {"answer": ["deny"]}}, "failure.loop.answer: found list"),
        ({"loop": {"answer": None}}, "failure.loop.answer: found None"),
        ({"errors": {"share": 0}}, "failure.errors.share: found 0, expected a number above 0, at most 1"),
        ({"errors": {"share": Decimal("1.01")}}, "failure.errors.share"),
        ({"errors": {"least": 0}}, "failure.errors.least: found 0, expected a whole number from 1"),
        ({"spending": {"amount": -1}}, "failure.spending.amount: found -1, expected an amount in the ledger's"),
        ({"spending": {"amount": Decimal("0.0000000001")}}, "failure.spending.amount"),
        ({"spending": {"amount": 10**18}}, "failure.spending.amount"),
    ],
)
def test_a_mistake_is_told_with_what_was_found_and_expected(stated: Any, problem: str) -> None:
    with pytest.raises(FailureInvalid) as caught:
        read_failures(stated)
    (told,) = caught.value.problems
    assert told.startswith(problem) and "expected" in told


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(FailureInvalid) as caught:
        read_failures({"lop": {}, "loop": {"limit": -1, "answer": "no"}, "vanished": {"answer": "deny"}})
    assert len(caught.value.problems) == 4
