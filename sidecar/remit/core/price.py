"""What a call costs: the price table applied to a usage, exactly, rounded up once.

Which price holds. Of the catalogue's prices that match "service/variant" and have begun, each *line* (a
unit, and the quantity `above` which it applies) takes the one with the most specific pattern, and of that
pattern the latest. So a special price outlasts a newer general one, and a tier may be laid over a price
given elsewhere.

What is counted. Each unit that has a price, and no other: `call` is 1 where it is not stated, and never
less. A unit that is not stated takes the variant's maximum; without one the cost is unknown. So it is where
nothing has a price at all (what is free says `amount: 0`), a rate of exchange is missing, a quantity lies
below every tier, or the sum does not fit 64 bits. A service with `reserve: expected` reserves only what is
stated: fewer refusals, more overruns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from remit.core.catalogue import Catalogue, Price
from remit.core.errors import BadRequest, Violation
from remit.core.model import NO_COST, Estimate
from remit.core.money import MAX_NANOS, NANOS

CALL = "call"
MAX_QUANTITY = 10**15

_Lines = Mapping[str, Sequence[Price]]  # unit -> its tiers, lowest `above` first


def estimate(
    catalogue: Catalogue,
    service: str,
    variant: str,
    *,
    usage: Mapping[str, int],
    time_ns: int,
    maxima: Mapping[str, int],
) -> Estimate:
    """The upper bound to reserve for a call with at most this usage; nothing for an action without a service.

    `maxima` are the variant's, on the caller's terms. Where a tier makes more cheaper than less, the
    dearest quantity up to the stated one counts. Raises BadRequest for a quantity that is no integer from 0
    to 10**15.
    """
    _check(usage)
    if not service:
        return NO_COST
    listed = catalogue.services.get(service)
    expected = listed is not None and listed.reserve == "expected"
    lines = _lines(catalogue.prices_for(service, variant), time_ns)
    units = _quantities(lines, usage, maxima, default=0 if expected else None)
    return _total(catalogue, lines, units, usage=usage, time_ns=time_ns, bound=True)


def cost(
    catalogue: Catalogue,
    service: str,
    variant: str,
    *,
    usage: Mapping[str, int],
    time_ns: int,
    maxima: Mapping[str, int],
) -> Estimate:
    """What a call with this usage really cost, by the prices of a time. Raises BadRequest as `estimate`."""
    _check(usage)
    if not service:
        return NO_COST
    lines = _lines(catalogue.prices_for(service, variant), time_ns)
    units = _quantities(lines, usage, maxima, default=None)
    return _total(catalogue, lines, units, usage=usage, time_ns=time_ns, bound=False)


def _check(usage: Mapping[str, int]) -> None:
    wrong = [unit for unit, quantity in usage.items() if not _is_quantity(quantity)]
    if wrong:
        raise BadRequest(
            *(Violation(f"usage.{unit}", f"a whole number from 0 to {MAX_QUANTITY}") for unit in wrong)
        )


def _is_quantity(quantity: object) -> bool:
    return isinstance(quantity, int) and not isinstance(quantity, bool) and 0 <= quantity <= MAX_QUANTITY


def _lines(prices: Sequence[Price], time_ns: int) -> _Lines:
    """The prices in force; `prices` come so ordered that of two for one line the later wins."""
    chosen = {(price.unit, price.above): price for price in prices if price.since <= time_ns}
    lines: dict[str, list[Price]] = {}
    for (unit, _), price in sorted(chosen.items(), key=lambda item: item[0]):
        lines.setdefault(unit, []).append(price)
    return lines


def _quantities(
    lines: _Lines, usage: Mapping[str, int], maxima: Mapping[str, int], *, default: int | None
) -> Mapping[str, int | None]:
    assumed = {unit: maxima.get(unit, default) for unit in lines}
    if CALL in lines:
        assumed[CALL] = 1
    stated = {unit: usage[unit] for unit in lines if unit in usage}
    quantities = {**assumed, **stated}
    if CALL in lines:
        quantities[CALL] = max(1, stated.get(CALL, 1))
    return quantities


def _total(
    catalogue: Catalogue,
    lines: _Lines,
    units: Mapping[str, int | None],
    *,
    usage: Mapping[str, int],
    time_ns: int,
    bound: bool,
) -> Estimate:
    counted = {**usage, **{unit: quantity for unit, quantity in units.items() if quantity is not None}}
    charges = [
        None
        if quantity is None
        else _unit_charge(catalogue, lines[unit], quantity, time_ns=time_ns, bound=bound)
        for unit, quantity in units.items()
    ]
    known = [charge for charge in charges if charge is not None]
    if not lines or len(known) < len(charges):
        return Estimate(amount=None, units=counted)
    amount = _ceiling(sum(known, Fraction(0)) * NANOS)
    return Estimate(amount=amount if amount <= MAX_NANOS else None, units=counted)


def _unit_charge(
    catalogue: Catalogue, tiers: Sequence[Price], quantity: int, *, time_ns: int, bound: bool
) -> Fraction | None:
    """Units of the ledger's currency for a quantity of one unit; None where it is not known."""
    rates = {price: rate for price in tiers if (rate := _rate(catalogue, price, time_ns)) is not None}
    if len(rates) < len(tiers):
        return None
    charge = _tiered(tiers, rates, quantity)
    if charge is None or not bound:
        return charge
    edges = (_tiered(tiers, rates, tier.above) for tier in tiers if tier.above < quantity)
    return max([charge, *(edge for edge in edges if edge is not None)])


def _rate(catalogue: Catalogue, price: Price, time_ns: int) -> Fraction | None:
    """Units of the ledger's currency for one of the priced unit."""
    exchange = catalogue.rate(price.currency, time_ns)
    return None if exchange is None else Fraction(price.amount, price.per * NANOS) * exchange


def _tiered(tiers: Sequence[Price], rates: Mapping[Price, Fraction], quantity: int) -> Fraction | None:
    reached = [tier for tier in tiers if tier.above == 0 or tier.above < quantity]
    whole = [place for place, tier in enumerate(reached) if tier.above == 0 or tier.applies == "whole_call"]
    if not whole:
        return None
    # The last price for the whole call replaces all below it; each tier for the excess then adds its bracket.
    base, *brackets = reached[whole[-1] :]
    ends = [tier.above for tier in brackets] + [quantity]
    total = rates[base] * ends[0]
    for tier, end in zip(brackets, ends[1:], strict=True):
        total += rates[tier] * (end - tier.above)
    return total


def _ceiling(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)
