"""YAML is read as it is written: nothing is rounded, guessed or built."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.config.problem import Place, Problems
from remit.config.tree import Entries, Leaf, parse, plain

PLAIN: dict[str, object] = {
    "1": 1,
    "-1": -1,
    "+1": 1,
    "1_000_000": 1_000_000,
    "0": 0,
    "010": "010",
    "0x10": "0x10",
    "0o10": "0o10",
    "1.50": Decimal("1.50"),
    "1_000.5": Decimal("1000.5"),
    ".5": Decimal("0.5"),
    "5.": Decimal("5"),
    "1e3": Decimal("1E+3"),
    "1.5e-3": Decimal("0.0015"),
    ".": ".",
    "-": "-",
    "-.": "-.",
    "._": "._",
    "1._": Decimal("1"),
    "e5": "e5",
    "1.2.3": "1.2.3",
    "1__0": 10,
    ".inf": ".inf",
    ".nan": ".nan",
    "1:30": "1:30",
    "2026-11-01": "2026-11-01",
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "true": True,
    "False": False,
    "tRUE": "tRUE",
    "null": None,
    "~": None,
    "": None,
}


@pytest.mark.parametrize("written", PLAIN)
def test_plain_words_mean_what_yaml_1_2_says(written: str) -> None:
    """Numbers are exact, `yes`, `no`, `on`, `off` and dates are text, and octal and hex are not guessed."""
    value = plain(written)
    assert value == PLAIN[written]
    assert type(value) is type(PLAIN[written])


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9))
def test_a_decimal_is_never_rounded(number: Decimal) -> None:
    """The digits that are written are the digits that are read."""
    assert plain(f"{number:f}") == number


@given(st.text(max_size=60))
def test_any_word_means_something(word: str) -> None:
    """No scalar raises, and what is text stays as it is."""
    value = plain(word)
    assert not isinstance(value, str) or value == word


def test_a_number_of_many_digits_is_text() -> None:
    """Nothing is converted that would take long: such a number is wrong anyway."""
    assert plain("9" * 5000) == "9" * 5000
    assert plain("1e99999") == "1e99999"


def test_quoted_words_are_text() -> None:
    """Quotes make anything text."""
    tree = parse("a: '1'\nb: \"true\"\nc: ''\n", "f.yaml", Problems())
    assert isinstance(tree, Entries)
    assert [node.value for node in tree.nodes.values() if isinstance(node, Leaf)] == ["1", "true", ""]


def test_every_value_knows_its_place() -> None:
    """Lines and columns count from one; an empty value stands where its key does."""
    tree = parse("a: 1\nb:\n  c: [x, y]\nd:\n", "f.yaml", Problems())
    assert isinstance(tree, Entries)
    assert tree.nodes["a"].place == Place("f.yaml", 1, 4)
    assert tree.nodes["b"].place == Place("f.yaml", 3, 3)
    assert tree.nodes["d"].place == Place("f.yaml", 4, 1)
    assert tree.keys["b"] == Place("f.yaml", 2, 1)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_nesting_is_bounded_before_it_costs_anything(text: str) -> None:
    """However deep a document is nested, reading stops at the bound, and no recursion is exhausted."""
    problems = Problems()
    assert parse(text, "f.yaml", problems) is None
    assert problems


def test_aliases_cannot_multiply() -> None:
    """A document that would grow a thousandfold is refused at its first alias."""
    bomb = "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
    assert parse(bomb, "f.yaml", Problems()) is None


def test_keys_are_text_whatever_they_look_like() -> None:
    """A variant may be called 4.1, and a team no."""
    tree = parse("4.1: a\nno: b\ntrue: c\n2026-01-01: d\n", "f.yaml", Problems())
    assert isinstance(tree, Entries)
    assert list(tree.nodes) == ["4.1", "no", "true", "2026-01-01"]
