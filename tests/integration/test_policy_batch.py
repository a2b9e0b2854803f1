"""A batch answers each request by its id, or not at all: conflicting, undefined and honest ones side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import Edit, Failed, ask, bundle, decide, request, requests

pytestmark = pytest.mark.opa

CONFLICT = {
    "quarrel.rego": "package remit.custom.quarrel\n\n"
    'answer := "yes" if input.context.reason != ""\n\nanswer := "no" if input.context.reason == "quarrel"\n\n'
    'deny contains "no" if answer == "no"\n'
}
# An ALLOW is undefined.
UNDEFINED = Edit("main/main.rego", '"effect": "ALLOW"', '"effect": input.effect.that.is.absent')


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("plain"))


def batch(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    items = {id: {"digest": f"digest of {id}", "input": each} for id, each in asked.items()}
    answered: dict[str, Any] = ask(root, "data.remit.batch", {"batch": items})
    return answered


def mixed(count: int) -> dict[str, Any]:
    kinds = [("call", {}), ("call", {"resource": {"variant": "large"}}), ("read", {"resource": {"owner": ""}})]
    return requests({f"r-{index:03}": kinds[index % len(kinds)] for index in range(count)})


def test_each_request_gets_the_answer_that_it_gets_alone(plain: Path) -> None:
    asked = mixed(64)
    alone = decide(plain, asked)
    expected = {id: {"digest": f"digest of {id}", "decision": verdict} for id, verdict in alone.items()}
    assert batch(plain, asked) == expected
    assert {verdict["effect"] for verdict in alone.values()} == {"ALLOW", "HOLD", "DENY"}


def test_an_undefined_decision_is_missing_and_no_neighbour_takes_its_place(tmp_path: Path) -> None:
    asked = mixed(9)
    answered = batch(bundle(tmp_path, edits=[UNDEFINED]), asked)
    assert {id: each["decision"]["effect"] for id, each in answered.items()} == {
        "r-001": "HOLD", "r-002": "DENY", "r-004": "HOLD", "r-005": "DENY", "r-007": "HOLD", "r-008": "DENY",
    }  # fmt: skip
    assert all(each["digest"] == f"digest of {id}" for id, each in answered.items())


def test_a_conflict_fails_the_whole_batch(tmp_path: Path) -> None:
    root = bundle(tmp_path, custom=CONFLICT)
    honest = mixed(3)
    assert set(batch(root, honest)) == set(honest)
    with pytest.raises(Failed, match="conflict"):
        batch(root, honest | {"r-999": request("call", context={"reason": "quarrel"})})


def test_a_request_that_is_not_whole_is_denied_among_honest_ones(plain: Path) -> None:
    asked = mixed(2) | {"r-empty": {}, "r-text": "nonsense", "r-null": None}
    effects = {id: each["decision"]["reasons"][0]["code"] for id, each in batch(plain, asked).items()}
    assert effects == {
        "r-000": "allowed",
        "r-001": "approval_required",
        "r-empty": "context_invalid",
        "r-text": "context_invalid",
        "r-null": "context_invalid",
    }


def test_an_answer_stands_under_no_id_but_its_own(plain: Path) -> None:
    reversed_ids = dict(zip(["a", "b", "c"], reversed(mixed(3).values()), strict=True))
    effects = [each["decision"]["effect"] for _, each in sorted(batch(plain, reversed_ids).items())]
    assert effects == ["DENY", "HOLD", "ALLOW"]
