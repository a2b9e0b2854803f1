"""Strict JSON in, exact JSON out, one canonical form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.canonical import MAX_INTEGER, MalformedJson, canonical, digest, encode, parse

LIMIT = 1 << 20

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=9)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)

REFUSED = {
    "nothing at all": b"",
    "a duplicate key": b'{"a": 1, "a": 2}',
    "a duplicate key deep inside": b'[{"b": {"a": 1, "c": 2, "a": 2}}]',
    "a duplicate key written differently": b'{"a": 1, "\\u0061": 2}',
    "NaN": b"[NaN]",
    "Infinity": b"Infinity",
    "minus Infinity": b"-Infinity",
    "a number that a double reads as infinite": b"1e400",
    "a number that a double reads as zero": b"1e-400",
    "an exponent that would fill the memory": b"1e999999999999",
    "an integer beyond 10**18": b"1000000000000000001",
    "an integer of 5,000 digits": b"9" * 5000,
    "a decimal of 5,000 digits": b"0." + b"1" * 5000,
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'{"a": "x\\uDC00"}',
    "a lone surrogate in a key": b'{"\\ud800": 1}',
    "invalid UTF-8": b'"\xff"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "UTF-16": '"a"'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "two values": b"{} {}",
    "a trailing comma": b"[1,]",
    "a comment": b"{} // no",
    "an unquoted key": b"{a: 1}",
    "a control character in a string": b'"\x00"',
    "a leading zero": b"01",
    "a string that does not end": b'"abc',
    "a string that ends in a backslash": b'"\\',
    "an object that does not end": b'{"a": ',
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_whatever_two_readers_may_understand_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedJson) as caught:
        parse(raw, LIMIT)
    assert caught.value.where and caught.value.found and caught.value.expected


def test_an_error_says_where_what_and_what_was_expected() -> None:
    with pytest.raises(MalformedJson) as caught:
        parse(b'{"a": 1,\n "b": nope}', LIMIT)
    assert (caught.value.where, caught.value.found) == ("line 2 column 7", "'n'")


def test_an_error_does_not_repeat_unbounded_input() -> None:
    with pytest.raises(MalformedJson) as caught:
        parse(b'{"' + b"k" * 9000 + b'": 1, "' + b"k" * 9000 + b'": 2}', LIMIT)
    assert len(str(caught.value)) < 200


def test_more_bytes_than_allowed_are_not_read() -> None:
    assert parse(b'"1234"', 6) == "1234"
    with pytest.raises(MalformedJson, match="at most 5"):
        parse(b'"1234"', 5)


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("levels", [33, 10_000, 200_000])
def test_deep_nesting_is_a_typed_error(opening: bytes, closing: bytes, levels: int) -> None:
    with pytest.raises(MalformedJson, match="at most 32 levels"):
        parse(opening * levels + b"1" + closing * levels, 1 << 22)


def test_nesting_up_to_the_bound_is_read() -> None:
    assert parse(b"[" * 32 + b"]" * 32, LIMIT) is not None
    assert parse(b"[[[]]]", LIMIT, max_depth=3) == [[[]]]
    with pytest.raises(MalformedJson):
        parse(b"[[[]]]", LIMIT, max_depth=2)


def test_brackets_inside_strings_do_not_nest() -> None:
    text = "[" * 100 + '\\"{' * 100
    assert parse(json.dumps([text, {"]": text}]).encode(), LIMIT) == [text, {"]": text}]


def test_the_depth_check_is_linear_on_hostile_text() -> None:
    with pytest.raises(MalformedJson):
        parse(b'"' + b'\\"' * 400_000 + b"[" * 100, LIMIT)


@pytest.mark.parametrize(
    "raw, value",
    [
        (b"9007199254740993", 9007199254740993),
        (b"-1000000000000000000", -(10**18)),
        (b"1.0000000000000000000001", Decimal("1.0000000000000000000001")),
        (b"0.1", Decimal("0.1")),
        (b"-0.0", Decimal("-0.0")),
        (b"1e2", Decimal("1e2")),
        (b'"\\ud83d\\ude00"', "😀"),
        ('"É"'.encode(), "É"),
    ],
)
def test_what_is_read_is_exact(raw: bytes, value: object) -> None:
    read = parse(raw, LIMIT)
    assert (read, type(read)) == (value, type(value))


@given(VALUES)
@settings(deadline=None)
def test_reading_what_was_written_gives_it_back(value: Any) -> None:
    assert parse(encode(value), LIMIT) == value
    assert parse(canonical(value), LIMIT) == value


@given(VALUES, VALUES)
@settings(deadline=None)
def test_two_values_have_one_digest_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (_typed(one) == _typed(other))


def _typed(value: Any) -> Any:
    """Python finds True equal to 1; JSON does not."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (isinstance(value, bool), value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(PLAIN)
@settings(deadline=None)
def test_the_canonical_form_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
@settings(deadline=None)
def test_a_decimal_that_a_double_holds_is_written_as_rfc_8785_writes_the_double(value: float) -> None:
    assert canonical(Decimal(repr(value))) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value, text",
    [
        (9007199254740993, b"9007199254740993"),
        (Decimal("9007199254740993.0"), b"9007199254740993"),
        (Decimal("1.0000000000000000000001"), b"1.0000000000000000000001e+0"),
        (Decimal("1.00000000000000000000010"), b"1.0000000000000000000001e+0"),
        (Decimal("-0.00000000000000000000010000000000000000000001"), b"-1.0000000000000000000001e-22"),
        (Decimal("12.50"), b"12.5"),
        (Decimal("1E+2"), b"100"),
        (Decimal("-0.0"), b"0"),
        ({"\U0001f600": 1, "\ue000": 2, "a": 3}, '{"a":3,"\U0001f600":1,"\ue000":2}'.encode()),
    ],
)
def test_exact_numbers_and_key_order(value: object, text: bytes) -> None:
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="NaN"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param({"\ud800": 1.5}, id="a lone surrogate in a key"),
        pytest.param({1: 2}, id="a key that is no text"),
        pytest.param({"a": object()}, id="an object of Python's"),
        pytest.param({"a"}, id="a set"),
        pytest.param(2**64, id="an integer beyond 64 bits"),
        pytest.param(Decimal("NaN"), id="a decimal that is no number"),
    ],
)
def test_what_is_not_json_has_no_canonical_form(value: object) -> None:
    with pytest.raises(MalformedJson):
        canonical(value)
    with pytest.raises(MalformedJson):
        encode(value)


def test_a_value_nested_without_end_is_a_typed_error() -> None:
    value: list[Any] = [0.5]
    for _ in range(5000):
        value = [value]
    with pytest.raises(MalformedJson):
        canonical(value)


def test_a_float_is_not_written_into_a_document() -> None:
    with pytest.raises(MalformedJson, match="a float"):
        encode({"limit": [12.5]})
