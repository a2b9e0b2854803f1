"""Text for people: nothing in it acts on a terminal, and money is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.cli.text import amount, clean, moment


@given(st.text())
def test_clean_text_is_printable_on_one_line(text: str) -> None:
    """Whatever comes in, what goes out has no control, bidirectional or line-breaking character."""
    assert clean(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P"])))
def test_printable_text_stays_as_it_is(text: str) -> None:
    """Letters, digits and punctuation of any script are shown as they are."""
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("line\nnext\r", "line\\nnext\\r"),
        ("\udc80", "\\udc80"),
        ("[bold]x[/]", "[bold]x[/]"),
    ],
)
def test_what_would_act_is_escaped(text: str, shown: str) -> None:
    """ANSI sequences, bidirectional controls, line breaks and lone surrogates are written out."""
    assert clean(text) == shown


def test_money_is_exact() -> None:
    """Nanos are shown to the last one."""
    assert amount(9_007_199_254_740_993, "EUR") == "9007199.254740993 EUR"


@pytest.mark.parametrize("time", [-(10**30), 10**30])
def test_a_time_beyond_all_years_is_no_error(time: int) -> None:
    """A hostile time is told as never."""
    assert moment(time) == "never"


def test_times_are_utc() -> None:
    """A time is told to the millisecond, in UTC."""
    assert moment(1_763_875_200_123_456_789) == "2025-11-23 05:20:00.123Z"
