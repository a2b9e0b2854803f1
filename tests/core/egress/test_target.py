"""Only the canonical form of a target or an authority passes; nothing is repaired."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.egress.exchange import Unmapped
from remit.core.egress.target import (
    MAX_TARGET_BYTES,
    check_authority,
    check_target,
    decoded,
    query_items,
    query_values,
    segments,
)
from ruamel.yaml import YAML

from tests.counts import COUNTS

CASES: dict[str, list[dict[str, Any]]] = YAML(typ="safe").load(
    (Path(__file__).parents[2] / "cases" / "url_vectors.yaml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", CASES["targets"], ids=lambda case: repr(case["given"]))
def test_a_target_is_taken_only_in_its_canonical_form(case: dict[str, str]) -> None:
    """Each vector has its verdict, and is told what is wrong."""
    found = check_target(case["given"])

    assert case["want"] in found
    assert bool(found) == bool(case["want"])


@pytest.mark.parametrize("case", CASES["authorities"], ids=lambda case: repr(case["given"]))
def test_an_authority_is_taken_only_in_its_canonical_form(case: dict[str, str]) -> None:
    """Each vector has its verdict, and is told what is wrong."""
    found = check_authority(case["given"])

    assert case["want"] in found
    assert bool(found) == bool(case["want"])


def test_there_are_as_many_attacks_as_promised() -> None:
    """At least 60 targets and authorities that must not pass."""
    assert sum(1 for part in CASES.values() for case in part if case["want"]) >= 60


def test_a_target_has_an_end() -> None:
    """8 KiB pass, a byte more does not."""
    assert check_target("/" + "a" * (MAX_TARGET_BYTES - 1)) == ""
    assert "longer" in check_target("/" + "a" * MAX_TARGET_BYTES)


def test_parts_are_read_as_they_stand() -> None:
    """Segments raw, query pairs decoded."""
    assert segments("/v1/a%3Ab/?x=1") == ("v1", "a%3Ab", "")
    assert query_items("/a?x=1&x=2&y=a+b%2B") == (("x", "1"), ("x", "2"), ("y", "a b+"))
    assert query_items("/a") == query_items("/a?") == ()


@pytest.mark.parametrize("query", ["x=1&x=2", "x=1&%78=2", "x", "=1", "x=1&", "&"])
def test_a_query_that_may_be_read_in_two_ways_is_not_read(query: str) -> None:
    """A key twice, however written, and what is no pair."""
    with pytest.raises(Unmapped):
        query_values(f"/a?{query}")


@given(st.text())
@settings(max_examples=COUNTS.examples)
def test_no_text_breaks_the_checks(text: str) -> None:
    """Whatever comes, there is a verdict."""
    assert isinstance(check_target(text), str)
    assert isinstance(check_target("/" + text), str)
    assert isinstance(check_authority(text), str)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\%"), min_size=1))
@settings(max_examples=COUNTS.examples)
def test_what_a_good_client_escapes_passes_and_is_read_back(text: str) -> None:
    """`quote` writes the canonical form, apart from dot segments."""
    raw = quote(text, safe="")

    assert check_target(f"/a/{raw}x") == ""
    assert decoded(raw) == text
    assert query_values(f"/a?k={raw}") == {"k": text}
