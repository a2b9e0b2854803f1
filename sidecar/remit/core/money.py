"""Money as whole nano-units of a currency: 1 EUR is 1_000_000_000 nanos. Exact, bounded, never a float.

An amount must fit a signed 64-bit integer (about ±9.2 thousand million units) and has at most nine decimals;
anything else is refused, not rounded. Rounding happens once, in pricing, and upwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from remit.core.errors import RemitError

NANOS = 1_000_000_000
DECIMALS = 9
MAX_NANOS = 2**63 - 1
MIN_NANOS = -(2**63)

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_PLAIN = re.compile(r"([+-]?)([0-9]{1,20})(?:\.([0-9]{1,20}))?", re.ASCII)


class MoneyInvalid(RemitError, ValueError):
    """Something is not an exact amount of money; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Money:
    """`nanos` billionths of `currency` (an ISO 4217 code). Raises MoneyInvalid outside the 64-bit range."""

    currency: str
    nanos: int

    def __post_init__(self) -> None:
        if not is_currency(self.currency):
            raise MoneyInvalid("expected a currency of three capital letters, such as EUR")
        _bounded(self.nanos)

    def __str__(self) -> str:
        return f"{decimal_text(self.nanos)} {self.currency}"

    @property
    def parts(self) -> tuple[int, int]:
        """(units, nanos) as on the wire: whole units and billionths, both of the amount's sign."""
        units, rest = divmod(abs(self.nanos), NANOS)
        return (units, rest) if self.nanos >= 0 else (-units, -rest)

    @classmethod
    def from_parts(cls, currency: str, units: int, nanos: int) -> Money:
        """The amount of whole units and billionths; refused unless |nanos| < 10**9 and the signs agree."""
        if not -NANOS < nanos < NANOS or units * nanos < 0:
            raise MoneyInvalid("expected billionths between -999999999 and 999999999, of the units' sign")
        return cls(currency, units * NANOS + nanos)


def is_currency(text: str) -> bool:
    """Whether the text has the form of an ISO 4217 code: three capital letters."""
    return _CURRENCY.fullmatch(text) is not None


def parse_nanos(amount: str | int | Decimal) -> int:
    """Nanos of an exact decimal such as "12.50", 12 or Decimal("12.5").

    Raises MoneyInvalid for floats and booleans, NaN and infinities, exponents in text, more than nine
    decimals, and amounts beyond 64 bits.
    """
    match amount:
        case bool() | float():
            raise MoneyInvalid(f"expected an exact decimal, not {type(amount).__name__}")
        case int():
            return _bounded(amount * NANOS)
        case Decimal():
            return _from_decimal(amount)
        case str():
            return _from_text(amount)
    raise MoneyInvalid(f"expected an exact decimal, not {type(amount).__name__}")


def decimal_text(nanos: int) -> str:
    """The shortest decimal text of an amount, valid as a JSON number: 12_500_000_000 is "12.5"."""
    units, rest = divmod(abs(nanos), NANOS)
    text = f"{units}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nanos < 0 else text


def _from_text(text: str) -> int:
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise MoneyInvalid("expected a decimal number such as 12.50")
    sign, units, decimals = found[1], found[2], found[3] or ""
    if len(decimals) > DECIMALS:
        raise MoneyInvalid("expected at most 9 decimals")
    nanos = int(units) * NANOS + int(decimals.ljust(DECIMALS, "0"))
    return _bounded(-nanos if sign == "-" else nanos)


def _from_decimal(amount: Decimal) -> int:
    if not amount.is_finite():
        raise MoneyInvalid("expected a finite number")
    sign, digits, exponent = amount.as_tuple()
    shift = int(exponent) + DECIMALS
    if shift < 0:
        raise MoneyInvalid("expected at most 9 decimals")
    # The exponent is looked at first: 1E+999999999 must not be written out.
    if len(digits) + shift > 30 and any(digits):
        raise MoneyInvalid(_RANGE)
    nanos = int("".join(map(str, digits))) * 10 ** min(shift, 30)
    return _bounded(-nanos if sign else nanos)


_RANGE = f"expected an amount between {decimal_text(MIN_NANOS)} and {decimal_text(MAX_NANOS)}"


def _bounded(nanos: int) -> int:
    if not MIN_NANOS <= nanos <= MAX_NANOS:
        raise MoneyInvalid(_RANGE)
    return nanos
