"""What a call costs: the price table applied to a usage, exactly, rounded up once.

Which price holds. Of the catalogue's prices that match "service/variant" and have begun, each *line* (a
unit, the mark that it is `given`, and the quantity `above` which it applies) takes the one with the most
specific pattern, and of that pattern the latest. So a special price outlasts a newer general one, and a tier
may be laid over a price given elsewhere. A public price holds where the catalogue has none of its own for the
unit, in whatever tier (or, of a marked price, none for the unit with that mark).

Marks. A price that is `given: batch` holds for usage that states the unit `batch`, and then replaces the
unit's unmarked prices; of two marks' prices the dearer holds.

What is counted. Each unit that has a price, and no other: `call` is 1 where it is not stated, and never
less. A unit that is not stated takes the variant's maximum; without one the cost is unknown, unless its price
is `optional`. So it is where nothing has a price at all (what is free says `amount: 0`), a rate of exchange is
missing, a quantity lies below every tier, or the sum is more than one reservation can be. A service with
`reserve: expected` reserves only what is stated: fewer refusals, more overruns.

Pools. A token of input is one of several units (`POOLS`), and a usage states each token once. Before a call
nobody knows which it will be: in an estimate `input_token` bounds the whole pool, of which as much as possible is
charged as its dearest unit, in the dearest tier that the whole may reach. Another unit of the pool that is stated
is a bound for that unit alone, within the whole; 0 rules it out. In a cost, units of a pool that has some stated
are 0 where they are not, and one without a price has that of the unit it is a kind of (a cached token without a
price of its own costs what an uncached one does). A tier `of` a pool is chosen by the pool's total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from remit.core.catalogue import Catalogue, Price
from remit.core.errors import BadRequest, Violation
from remit.core.model import NO_COST, Estimate
from remit.core.reservation import MAX_NANOS

CALL = "call"
MAX_QUANTITY = 10**15

# Each unit of a pool, with those whose price it has where it has none of its own: the first that has one.
_INPUT = {
    "input_token": (),
    "cache_read_token": ("input_token",),
    "cache_write_token": ("input_token",),
    "cache_write_1h_token": ("cache_write_token", "input_token"),
    "input_audio_token": ("input_token",),
    "cache_audio_read_token": ("input_audio_token", "cache_read_token", "input_token"),
    "input_image_token": ("input_token",),
    "cache_image_read_token": ("input_image_token", "cache_read_token", "input_token"),
    "input_video_token": ("input_token",),
}
_OUTPUT = {
    "output_token": (),
    "output_audio_token": ("output_token",),
    "output_image_token": ("output_token",),
    "output_video_token": ("output_token",),
}
POOLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"input_token": _INPUT, "output_token": _OUTPUT}
_POOL_OF = {unit: pool for pool, units in POOLS.items() for unit in units}


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
        prices = catalogue.prices_for(service, variant)
        maxima = dict.fromkeys((unit for price in prices for unit in (price.unit, _POOL_OF.get(price.unit, CALL))), 0)
    return _priced(catalogue, (service, variant), usage, maxima=maxima, time_ns=time_ns, bounds=True)


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
    return _priced(catalogue, (service, variant), usage, maxima=maxima, time_ns=time_ns, bounds=False)


class _Tier(NamedTuple):
    """A price in force: nanos of the ledger's currency for each unit, in calls of more than `above`."""

    above: int
    replaces: bool  # the whole call's price, rather than the excess's
    rate: Fraction
    of: str = ""  # the pool whose total must be above; "": the quantity itself


class _Line(NamedTuple):
    """All that is in force for one unit: its tiers, lowest first."""

    tiers: Sequence[_Tier]
    optional: bool


_Lines = Mapping[str, _Line]


class _Unknown(Exception):
    """Some part of the price is not known, and so none of it is."""


def _priced(
    catalogue: Catalogue,
    name: tuple[str, str],
    usage: Mapping[str, int],
    *,
    maxima: Mapping[str, int],
    time_ns: int,
    bounds: bool,
) -> Estimate:
    _check(usage)
    if not name[0]:
        return NO_COST
    try:
        lines = _lines(catalogue, name, usage=usage, time_ns=time_ns, bounds=bounds)
        units = _quantities(lines, usage, maxima=maxima, bounds=bounds)
        amount = _ceiling(_bound(lines, units) if bounds else _exact(lines, units))
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


def _lines(
    catalogue: Catalogue, name: tuple[str, str], *, usage: Mapping[str, int], time_ns: int, bounds: bool
) -> _Lines:
    """Each priced unit's line for a call of this kind, at this time and with these marks."""
    prices = catalogue.prices_for(*name)
    marks = tuple(mark for mark in dict.fromkeys(price.given for price in prices) if mark and usage.get(mark))
    lines, unrated = catalogue.derived(name, marks, time_ns, lambda: _in_force(catalogue, prices, marks, time_ns))
    if not unrated:
        return lines
    if any(not _may_be_left_out(unit, by_mark, usage, bounds=bounds) for unit, by_mark in unrated.items()) or not lines:
        raise _Unknown
    return lines


_ByMark = Mapping[str, Sequence[Price]]


def _in_force(
    catalogue: Catalogue, prices: Sequence[Price], marks: Sequence[str], time_ns: int
) -> tuple[_Lines, Mapping[str, _ByMark]]:
    """The lines that have a rate, and by unit the public prices whose rate is missing.

    `prices` come so that of two for one line the later wins. Looked up on every decision, so it is worked out once.
    """
    begun = _unreplaced([price for price in prices if price.since <= time_ns])
    if not begun:
        raise _Unknown
    held = {(price.unit, price.given, price.above): price for price in begun if not price.given or price.given in marks}
    groups: dict[str, dict[str, list[Price]]] = {}
    for (unit, given, _), price in sorted(held.items(), key=_place):
        groups.setdefault(unit, {}).setdefault(given, []).append(price)
    # Priced with some mark alone: a kind of token falls back on its pool; all else is unknown without the mark.
    if any(price.unit not in groups and _POOL_OF.get(price.unit, price.unit) == price.unit for price in begun):
        raise _Unknown
    exchange = {currency: catalogue.rate(currency, time_ns) for currency in {price.currency for price in held.values()}}
    unrated = {price.unit for price in held.values() if exchange[price.currency] is None and price.public}
    lines = {unit: _line(by_mark, exchange) for unit, by_mark in groups.items() if unit not in unrated}
    return lines, {unit: groups[unit] for unit in unrated}


def _may_be_left_out(unit: str, by_mark: _ByMark, usage: Mapping[str, int], *, bounds: bool) -> bool:
    """Whether nothing is charged too low without a public price whose exchange rate is missing.

    So where there is none of the unit, or where it has a dearer price instead: what is read from a cache costs what is
    not. Catalogues in another currency that price what they use need no rate for the rest.
    """
    if unit == _POOL_OF.get(unit):
        return False
    optional = all(price.optional for prices in by_mark.values() for price in prices)
    none = usage.get(unit) == 0 or (not usage.get(unit) and (optional or not bounds))
    return none or unit.endswith("_read_token")


def _place(item: tuple[tuple[str, str, int], Price]) -> tuple[str, str, int]:
    return item[0]


def _unreplaced(prices: Sequence[Price]) -> Sequence[Price]:
    own = {(price.unit, price.given) for price in prices if not price.public}
    if not own:
        return prices
    return [
        each for each in prices if not each.public or not ((each.unit, "") in own or (each.unit, each.given) in own)
    ]


def _line(by_mark: Mapping[str, Sequence[Price]], exchange: Mapping[str, Fraction | None]) -> _Line:
    """The dearest of the marked lines, if there is one, else the line without a mark."""
    found = [_tiers(group, exchange) for mark, group in by_mark.items() if mark or len(by_mark) == 1]
    optional = all(price.optional for group in by_mark.values() for price in group)
    return _Line(max(found, key=_dearest_rate), optional)


def _dearest_rate(tiers: Sequence[_Tier]) -> Fraction:
    return max(tier.rate for tier in tiers)


def _tiers(prices: Sequence[Price], exchange: Mapping[str, Fraction | None]) -> Sequence[_Tier]:
    return [
        _Tier(
            each.above, each.above == 0 or each.applies == "whole_call", _rate(each, exchange[each.currency]), each.of
        )
        for each in prices
    ]


def _rate(price: Price, exchange: Fraction | None) -> Fraction:
    if exchange is None:
        raise _Unknown
    return _product(price.amount * exchange.numerator, price.per * exchange.denominator)


@lru_cache(maxsize=4096)
def _product(numerator: int, denominator: int) -> Fraction:
    """A fraction in its lowest terms, which takes its time to find: there are as many as there are prices."""
    return Fraction(numerator, denominator)


def _quantities(
    lines: _Lines, usage: Mapping[str, int], *, maxima: Mapping[str, int], bounds: bool
) -> Mapping[str, int]:
    """How many of each priced unit; of a pool, how many of each unit that is stated, or taken from the maxima."""
    units = {
        unit: _quantity(unit, usage, maxima, line.optional) for unit, line in lines.items() if unit not in _POOL_OF
    }
    chosen_by = {tier.of for line in lines.values() for tier in line.tiers}
    for pool in {*(_POOL_OF[unit] for unit in lines if unit in _POOL_OF), *chosen_by} & POOLS.keys():
        stated = {unit: usage[unit] for unit in POOLS[pool] if unit in usage}
        if bounds:
            units |= stated | {pool: _quantity(pool, usage, maxima, False)}
        else:
            units |= stated or _at_most(pool, maxima)
    return units


def _at_most(pool: str, maxima: Mapping[str, int]) -> Mapping[str, int]:
    found = {unit: maxima[unit] for unit in POOLS[pool] if unit in maxima}
    if not found:
        raise _Unknown
    return found


def _quantity(unit: str, usage: Mapping[str, int], maxima: Mapping[str, int], optional: bool) -> int:
    if unit == CALL:
        return max(1, usage.get(CALL, 1))
    if unit in usage:
        return usage[unit]
    if unit in maxima:
        return maxima[unit]
    if optional:
        return 0
    raise _Unknown


def _totals(units: Mapping[str, int]) -> Mapping[str, int]:
    return {pool: sum(units.get(unit, 0) for unit in members) for pool, members in POOLS.items()}


def _exact(lines: _Lines, units: Mapping[str, int]) -> Fraction:
    """What these quantities cost."""
    totals = _totals(units)
    counted: dict[str, int] = {}
    for unit, quantity in units.items():
        priced = _priced_as(unit, lines)
        if priced:
            counted[priced] = counted.get(priced, 0) + quantity
    charges = (_charge(lines[unit].tiers, each, totals) for unit, each in counted.items())
    return sum(charges, Fraction(0))


def _charge(tiers: Sequence[_Tier], quantity: int, totals: Mapping[str, int]) -> Fraction:
    """Nanos, exactly, for a quantity of one unit."""
    reached = _reached(tiers, quantity, totals)
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


def _reached(tiers: Sequence[_Tier], quantity: int, totals: Mapping[str, int]) -> Sequence[_Tier]:
    return [tier for tier in tiers if tier.above == 0 or tier.above < totals.get(tier.of, quantity)]


def _bound(lines: _Lines, units: Mapping[str, int]) -> Fraction:
    """The most that any quantities within these bounds cost."""
    totals = {pool: max((units.get(unit, 0) for unit in members), default=0) for pool, members in POOLS.items()}
    alone = (unit for unit in lines if unit not in _POOL_OF)
    pools = {_POOL_OF[unit] for unit in lines if unit in _POOL_OF}
    parts = [
        *(_dearest(lines[unit].tiers, units[unit], totals) for unit in alone),
        *(_dearest_split(lines, pool, units, totals=totals) for pool in pools),
    ]
    return sum(parts, Fraction(0))


def _dearest_split(lines: _Lines, pool: str, units: Mapping[str, int], *, totals: Mapping[str, int]) -> Fraction:
    """The most that a pool costs however it splits: as much as can be of its dearest unit, then of the next one."""
    left = totals[pool]
    if [unit for unit in lines if unit in POOLS[pool]] == [pool]:
        return _dearest(lines[pool].tiers, left, totals)
    rates = []
    for unit in POOLS[pool]:
        priced = _priced_as(unit, lines)
        if priced:
            most = left if unit == pool else units.get(unit, left)
            rates.append((_highest(lines[priced].tiers, left, totals), most))
    amount = Fraction(0)
    for rate, most in sorted(rates, reverse=True):
        if left == 0:
            break
        amount += rate * min(most, left)
        left -= min(most, left)
    return amount


def _dearest(tiers: Sequence[_Tier], quantity: int, totals: Mapping[str, int]) -> Fraction:
    """The most that any quantity up to this one is charged."""
    if any(tier.of for tier in tiers):
        return quantity * _highest(tiers, quantity, totals)
    # It is this quantity or the last one before a tier begins.
    edges = [tier.above for tier in tiers[1:] if tier.above < quantity]
    return max(_charge(tiers, edge, totals) for edge in (quantity, *edges))


def _highest(tiers: Sequence[_Tier], quantity: int, totals: Mapping[str, int]) -> Fraction:
    """The most that one unit is charged in a quantity up to this one."""
    reached = _reached(tiers, quantity, totals)
    if not reached:
        raise _Unknown
    return max(tier.rate for tier in reached)


def _priced_as(unit: str, lines: _Lines) -> str | None:
    """The unit whose price a unit has: its own, or that of what it is a kind of; None where nothing is charged."""
    kinds = (unit, *POOLS[_POOL_OF[unit]][unit]) if unit in _POOL_OF else (unit,)
    return next((kind for kind in kinds if kind in lines), None)


def _ceiling(amount: Fraction) -> int:
    return -(-amount.numerator // amount.denominator)
