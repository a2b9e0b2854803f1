"""One selector: every key it names must match, and only `*` is special."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from remit.core.selector import EVERYTHING, KEYS, Selector, glob_matches

TEXT = st.text("ab*?[.", max_size=8)
ATTRIBUTES = st.dictionaries(st.sampled_from(KEYS), st.text("ab", max_size=2))
SELECTORS = st.builds(
    lambda terms: Selector(tuple(terms.items())),
    st.dictionaries(st.sampled_from(KEYS), st.lists(st.text("ab*", min_size=1, max_size=3), min_size=1).map(tuple)),
)


@given(TEXT, st.text("ab?[.", max_size=8))
@example("ab*ab", "ab")
@example("a**", "a")
@example("*a*b*", "ba")
def test_a_star_stands_for_any_characters_and_nothing_else_is_special(pattern: str, text: str) -> None:
    """A pattern matches what the regular expression does in which only `*` means anything."""
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    assert glob_matches(pattern, text) is (re.fullmatch(expression, text, re.DOTALL) is not None)


def test_a_hostile_pattern_is_matched_in_a_moment() -> None:
    """Many stars against a long text cost no more than a look at the text for each of them."""
    assert not glob_matches("*a" * 1000 + "b", "a" * 100_000)


@given(SELECTORS, ATTRIBUTES)
def test_each_named_key_must_match_by_one_of_its_values(selector: Selector, attributes: dict[str, str]) -> None:
    """A selector matches exactly where each of its terms does, an absent attribute being the empty text."""
    want = all(any(glob_matches(value, attributes.get(key, "")) for value in values) for key, values in selector.terms)
    assert selector.matches(attributes) is want


@given(SELECTORS, ATTRIBUTES)
def test_another_term_never_selects_more(selector: Selector, attributes: dict[str, str]) -> None:
    """What a selector does not match, it does not match with one more term either."""
    narrower = Selector((*selector.terms, ("team", ("a*",))))
    assert not narrower.matches(attributes) or selector.matches(attributes)


@pytest.mark.parametrize(
    ("value", "attributes", "matches"),
    [
        ("*", {}, True),
        ("*", {"purpose": ""}, True),
        ("a*", {}, False),
        ("support", {}, False),
        ("support", {"purpose": "support"}, True),
        ("Support", {"purpose": "support"}, False),
        ("sup", {"purpose": "support"}, False),
    ],
)
def test_an_absent_attribute_matches_the_star_alone(value: str, attributes: dict[str, str], matches: bool) -> None:
    """`*` is "anything, also nothing"; every other value asks for something; letters' case counts."""
    assert Selector((("purpose", (value,)),)).matches(attributes) is matches


def test_the_empty_selector_matches_everything() -> None:
    """A selector that names nothing selects all requests."""
    assert EVERYTHING.matches({})
    assert EVERYTHING.matches({"agent": "a"})
