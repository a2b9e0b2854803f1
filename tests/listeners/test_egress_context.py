"""The surroundings that a request's headers claim: read in one way or not at all."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from counts import COUNTS
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.call import Claimed
from remit.core.egress.baggage import without_ours
from remit.core.egress.exchange import HttpRequest
from remit.core.reason import Reason
from remit.listeners.egress_context import Surroundings, read_surroundings
from ruamel.yaml import YAML

CASES = YAML(typ="safe").load((Path(__file__).parents[1] / "cases" / "egress_context.yaml").read_text("utf-8"))
NAMES = ("workflow", "purpose", "reason", "actor", "parent", "key", "wait")


def text(value: Any) -> str:
    """A value of the table."""
    return value["repeat"][0] * value["repeat"][1] if isinstance(value, dict) else str(value)


def read(*headers: tuple[str, str]) -> Surroundings:
    return read_surroundings(HttpRequest("GET", "https", "x", "/", headers))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_headers_claim_what_the_table_says_and_nothing_else(case: dict[str, Any]) -> None:
    """What is wrong is an objection that binds everybody, and then nothing is claimed."""
    found = read(*((name, text(value)) for name, value in case["headers"]))

    if "wrong" in case:
        assert found.objection is not None and case["wrong"] in found.objection.detail
        assert (found.objection.reason, found.objection.binding) == (Reason.CONTEXT_INVALID, True)
        assert (found.claimed, found.key) == (Claimed(), "")
    else:
        plain = {**asdict(found.claimed), "key": found.key, "wait": found.wait // 10**9}
        said = {name: value for name, value in plain.items() if value}
        assert found.objection is None
        claims = {name: text(value) for name, value in case.get("claims", {}).items()}
        assert said == {"attempt": 1} | claims | ({"wait": int(claims["wait"])} if "wait" in claims else {})


headers = st.lists(
    st.tuples(
        st.sampled_from([*(f"remit-{name}" for name in NAMES), "baggage", "traceparent"]),
        st.text(st.characters(max_codepoint=255), max_size=20)
        | st.from_regex(r"remit\.(workflow|purpose|actor)[=; ,a-z%]{0,9}", fullmatch=True),
    ),
    max_size=4,
)


@settings(max_examples=5 * COUNTS.examples)
@given(headers)
def test_whatever_the_headers_say_is_believed_in_its_form_or_refused(found: list[tuple[str, str]]) -> None:
    """It never fails; and a workflow that was said somewhere is never taken for none."""
    read_ = read(*found)

    said = any(name == "remit-workflow" for name, _ in found) or any(
        name == "baggage" and member.strip().startswith(("remit.workflow=", "remit.workflow "))
        for name, value in found
        for member in value.split(",")
    )
    assert read_.objection is not None or bool(read_.claimed.workflow) >= said
    assert read_.claimed.purpose.isascii() and read_.key.isprintable()


@pytest.mark.parametrize(
    ("baggage", "left"),
    [
        ("a=b,remit.workflow=x,c=d;e", "a=b,c=d;e"),
        (" remit.workflow=x , remit.purpose=y", ""),
        ("remit.anything=1,\tremit.actor=z,k=v", "k=v"),
        ("k=remit.workflow", "k=remit.workflow"),
        ("", ""),
    ],
)
def test_what_goes_on_has_none_of_remit_s_baggage(baggage: str, left: str) -> None:
    assert without_ours(baggage) == left
