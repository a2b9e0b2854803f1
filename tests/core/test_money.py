"""Money is exact: what is written is what is kept, or it is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.money import MAX_NANOS, MIN_NANOS, Money, MoneyInvalid, decimal_text, parse_nanos

NANOS = st.integers(MIN_NANOS, MAX_NANOS)

EXACT: dict[str | int | Decimal, int] = {
    "0": 0,
    "12": 12_000_000_000,
    "0.92": 920_000_000,
    "0.000000001": 1,
    "-3.5": -3_500_000_000,
    "+1.10": 1_100_000_000,
    "007": 7_000_000_000,
    7: 7_000_000_000,
    -1: -1_000_000_000,
    Decimal("4.10"): 4_100_000_000,
    Decimal("1E+3"): 1_000_000_000_000,
    Decimal("1E-9"): 1,
    Decimal("-0"): 0,
    Decimal("0E+999999"): 0,
    "9223372036.854775807": MAX_NANOS,
    "-9223372036.854775808": MIN_NANOS,
}

REFUSED: dict[str, Any] = {
    "a float, which is not exact": 0.1,
    "true, which is not one": True,
    "nothing": None,
    "NaN": Decimal("NaN"),
    "infinity": Decimal("-Infinity"),
    "NaN in text": "NaN",
    "ten decimals": "0.0000000001",
    "ten decimals, the last of them 0": "1.0000000000",
    "ten decimals of a Decimal": Decimal("1E-10"),
    "an exponent in text": "1e3",
    "an exponent that would fill the memory": Decimal("1E+999999999"),
    "one nano more than fits": "9223372036.854775808",
    "one nano less than fits": "-9223372036.854775809",
    "a Decimal of more digits than Python turns into an int": Decimal("1" * 5000),
    "more units than fit": 10**10,
    "a million digits": "1" * 1_000_000,
    "empty text": "",
    "a lone sign": "-",
    "a lone point": ".",
    "no digits before the point": ".5",
    "no digits after the point": "5.",
    "a comma": "1,5",
    "an underscore": "1_000",
    "a blank": " 1",
    "a line's end": "1\n",
    "digits of another script": "١٢",
    "a currency": "1 EUR",
}


@pytest.mark.parametrize(("amount", "nanos"), EXACT.items())
def test_exact_amounts_are_kept(amount: str | int | Decimal, nanos: int) -> None:
    """A decimal of at most nine places within 64 bits is read exactly."""
    assert parse_nanos(amount) == nanos


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_exact_amount_is_refused(why: str) -> None:
    """Whatever would have to be rounded, guessed or cut is refused, saying what was expected."""
    with pytest.raises(MoneyInvalid, match="expected"):
        parse_nanos(REFUSED[why])


@given(NANOS)
def test_an_amount_survives_its_text(nanos: int) -> None:
    """Reading the text of an amount, as text or Decimal, gives the amount."""
    assert parse_nanos(decimal_text(nanos)) == nanos
    assert parse_nanos(Decimal(decimal_text(nanos))) == nanos


@given(NANOS)
def test_the_text_of_an_amount_is_minimal_and_exact(nanos: int) -> None:
    """The text has the amount's value, no needless zero, and no exponent."""
    text = decimal_text(nanos)
    assert Decimal(text) * 10**9 == nanos
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("nanos", "text"), [(12_500_000_000, "12.5"), (-1, "-0.000000001"), (0, "0"), (2 * 10**9, "2")]
)
def test_text_of_amounts(nanos: int, text: str) -> None:
    """Amounts look as people write them."""
    assert decimal_text(nanos) == text


def test_money_shows_amount_and_currency() -> None:
    """Money is shown with its currency."""
    assert str(Money("EUR", 920_000_000)) == "0.92 EUR"


@given(NANOS)
def test_money_survives_the_wire(nanos: int) -> None:
    """Units and billionths have the amount's sign and give it back."""
    units, rest = Money("EUR", nanos).parts
    assert abs(rest) < 10**9
    assert units * rest >= 0
    assert Money.from_parts("EUR", units, rest) == Money("EUR", nanos)


@pytest.mark.parametrize(("units", "nanos"), [(1, -1), (-1, 1), (0, 10**9), (0, -(10**9)), (2**63, 0)])
def test_parts_that_contradict_each_other_are_refused(units: int, nanos: int) -> None:
    """Units and billionths of different signs, or too many of either, are no amount."""
    with pytest.raises(MoneyInvalid):
        Money.from_parts("EUR", units, nanos)


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "E R", "EUR\n"])
def test_a_currency_has_three_capital_letters(currency: str) -> None:
    """Nothing else is a currency."""
    with pytest.raises(MoneyInvalid, match="currency"):
        Money(currency, 0)
