"""What a call costs: the price table applied to a usage, exactly, rounded up once.

Which price holds. Of the catalogue's prices that match "service/variant" and have begun, each *line* (a
unit, and the quantity `above` which it applies) takes the one with the most specific pattern, and of that
pattern the latest. So a special price outlasts a newer general one, and a tier may be laid over a price
given elsewhere.

What is counted. Each unit that has a price, and no other: `call` is 1 where it is not stated, and never
less. A unit that is not stated takes the variant's maximum; without one the cost is unknown. So it is where
nothing has a price at all (what is free says `amount: 0`), a rate of exchange is missing, a quantity lies
below every tier, or the sum is more than one reservation can be. A service with `reserve: expected` reserves
only what is stated: fewer refusals, more overruns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from remit.core.catalogue import Catalogue, Price
from remit.core.errors import BadRequest, Violation
from remit.core.model import NO_COST, Estimate
from remit.core.reservation import MAX_NANOS

CALL = "call"
MAX_QUANTITY = 10**15


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

    `maxima` are the variant's, on the caller's terms. Where a tier makes more cheaper than less, the dearest
    quantity up to the stated one counts. Raises BadRequest for a quantity that is no integer in 0..10**15.
    """
    listed = catalogue.services.get(service)
    if listed is not None and listed.reserve == "expected":
        maxima = {price.unit: 0 for price in catalogue.prices_for(service, variant)}
    return _priced(catalogue, (service, variant), usage, maxima=maxima, time_ns=time_ns, charge=_dearest)


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
    return _priced(catalogue, (service, variant), usage, maxima=maxima, time_ns=time_ns, charge=_charge)


class _Tier(NamedTuple):
    """A price in force: nanos of the ledger's currency for each unit, in calls of more than `above`."""

    above: int
    replaces: bool  # the whole call's price, rather than the excess's
    rate: Fraction


class _Unknown(Exception):
    """Some part of the price is not known, and so none of it is."""


def _priced(
    catalogue: Catalogue,
    name: tuple[str, str],
    usage: Mapping[str, int],
    *,
    maxima: Mapping[str, int],
    time_ns: int,
    charge: Callable[[Sequence[_Tier], int], Fraction],
) -> Estimate:
    _check(usage)
    if not name[0]:
        return NO_COST
    try:
        lines = _lines(catalogue, catalogue.prices_for(*name), time_ns)
        units = {unit: _quantity(unit, usage, maxima) for unit in lines}
        amount = _ceiling(sum((charge(lines[unit], each) for unit, each in units.items()), Fraction(0)))
    except _Unknown:
        return Estimate(amount=None, units=dict(usage))
    return Estimate(amount=amount if amount <= MAX_NANOS else None, units={**usage, **units})


def _check(usage: Mapping[str, int]) -> None:
    wrong = [unit for unit, quantity in usage.items() if not _is_quantity(quantity)]
    if wrong:
        expected = f"a whole number from 0 to {MAX_QUANTITY}"
        raise BadRequest(*(Violation(f"usage.{unit}", expected) for unit in wrong))


def _is_quantity(quantity: object) -> bool:
    return isinstance(quantity, int) and not isinstance(quantity, bool) and 0 <= quantity <= MAX_QUANTITY


def _lines(catalogue: Catalogue, prices: Sequence[Price], time_ns: int) -> Mapping[str, Sequence[_Tier]]:
    """Each priced unit's tiers, lowest first; `prices` come so that of two for one line the later wins."""
    chosen = {(price.unit, price.above): price for price in prices if price.since <= time_ns}
    if not chosen:
        raise _Unknown
    lines: dict[str, list[_Tier]] = {}
    for (unit, above), price in sorted(chosen.items(), key=lambda item: item[0]):
        replaces = above == 0 or price.applies == "whole_call"
        lines.setdefault(unit, []).append(_Tier(above, replaces, _rate(catalogue, price, time_ns)))
    return lines


def _rate(catalogue: Catalogue, price: Price, time_ns: int) -> Fraction:
    exchange = catalogue.rate(price.currency, time_ns)
    if exchange is None:
        raise _Unknown
    return Fraction(price.amount, price.per) * exchange


def _quantity(unit: str, usage: Mapping[str, int], maxima: Mapping[str, int]) -> int:
    if unit == CALL:
        return max(1, usage.get(CALL, 1))
    if unit in usage:
        return usage[unit]
    if unit in maxima:
        return maxima[unit]
    raise _Unknown


def _charge(tiers: Sequence[_Tier], quantity: int) -> Fraction:
    """Nanos, exactly, for a quantity of one unit."""
    reached = [tier for tier in tiers if tier.above == 0 or tier.above < quantity]
    whole = [place for place, tier in enumerate(reached) if tier.replaces]
    if not whole:
        raise _Unknown
    # The last price for the whole call replaces all below it; each tier for the excess then adds its bracket.
    base, *brackets = reached[whole[-1] :]
    ends = [*(tier.above for tier in brackets), quantity]
    total = base.rate * ends[0]
    for tier, end in zip(brackets, ends[1:], strict=True):
        total += tier.rate * (end - tier.above)
    return total


def _dearest(tiers: Sequence[_Tier], quantity: int) -> Fraction:
    """The most that any quantity up to this one is charged: it, or the last one before a tier begins."""
    edges = [tier.above for tier in tiers[1:] if tier.above < quantity]
    return max(_charge(tiers, edge) for edge in (quantity, *edges))


def _ceiling(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)
