"""Tokens are priced as what they turn out to be, and reserved as the dearest that they may turn out to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from counts import COUNTS
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.catalogue import Catalogue, Price, Service, Variant
from remit.core.model import Estimate
from remit.core.price import POOLS, cost, estimate

INPUT, OUTPUT = (list(POOLS[pool]) for pool in ("input_token", "output_token"))


def price(unit: str, amount: int, **more: Any) -> Price:
    return Price("api/*", unit, amount, "EUR", **more)


def catalogue(*prices: Price) -> Catalogue:
    return Catalogue("EUR", services={"api": Service(variants={"large": Variant()})}, prices=prices)


def reserved(listed: Catalogue, usage: Mapping[str, int], **maxima: int) -> Estimate:
    return estimate(listed, "api", "large", usage=usage, time_ns=0, maxima=maxima)


def charged(listed: Catalogue, usage: Mapping[str, int], **maxima: int) -> Estimate:
    return cost(listed, "api", "large", usage=usage, time_ns=0, maxima=maxima)


TOKENS = catalogue(
    price("input_token", 100),
    price("cache_read_token", 10),
    price("cache_write_token", 125),
    price("output_token", 500),
)


def test_a_bound_on_the_input_is_reserved_as_its_dearest_kind() -> None:
    """All of it may be written to a cache, which costs more than to be read."""
    assert reserved(TOKENS, {"input_token": 8, "output_token": 2}).amount == 8 * 125 + 2 * 500


def test_a_kind_that_is_bounded_is_reserved_within_the_whole() -> None:
    """At most so many are written; what is ruled out is not reserved."""
    some = {"input_token": 8, "cache_write_token": 3, "cache_write_1h_token": 0, "output_token": 0}
    assert reserved(TOKENS, some).amount == 3 * 125 + 5 * 100
    nothing = {"input_token": 8, "cache_write_token": 0, "cache_write_1h_token": 0, "output_token": 0}
    assert reserved(TOKENS, nothing).amount == 800


def test_what_is_not_stated_of_a_pool_is_none_in_a_cost() -> None:
    """A response that tells of no cache used none."""
    assert charged(TOKENS, {"input_token": 8, "output_token": 2}).amount == 1800
    assert charged(TOKENS, {"cache_read_token": 8, "output_token": 0}).amount == 80


def test_a_pool_of_which_nothing_is_stated_takes_the_maximum_or_is_unknown() -> None:
    """No word of the input is not a word that there was none."""
    assert not charged(TOKENS, {"output_token": 2}).known
    assert not reserved(TOKENS, {"output_token": 2}).known
    assert charged(TOKENS, {"output_token": 2}, input_token=8).amount == 1800
    assert reserved(TOKENS, {"output_token": 2}, input_token=8).amount == 2000


def test_a_token_without_a_price_of_its_own_costs_what_it_is_a_kind_of() -> None:
    """Where a cached token has no price it is not free."""
    listed = catalogue(price("input_token", 100), price("output_token", 500))
    usage = {"input_token": 1, "cache_read_token": 1, "cache_write_1h_token": 1, "input_audio_token": 1}
    assert charged(listed, usage | {"output_token": 0, "output_audio_token": 1}).amount == 400 + 500


def test_an_hour_in_the_cache_costs_what_five_minutes_do_where_nothing_else_is_said() -> None:
    """The nearest kind that has a price gives it."""
    assert charged(TOKENS, {"cache_write_1h_token": 2, "output_token": 0}).amount == 250


def test_a_tier_of_the_input_is_chosen_by_all_of_it_and_holds_for_the_output() -> None:
    """Cached tokens count towards the threshold, and the output of a long call costs more."""
    listed = catalogue(
        price("input_token", 100),
        price("input_token", 200, above=10, of="input_token"),
        price("cache_read_token", 10),
        price("cache_read_token", 20, above=10, of="input_token"),
        price("output_token", 500),
        price("output_token", 700, above=10, of="input_token"),
    )
    assert charged(listed, {"input_token": 2, "cache_read_token": 8, "output_token": 20}).amount == 200 + 80 + 10_000
    assert charged(listed, {"input_token": 2, "cache_read_token": 9, "output_token": 20}).amount == 400 + 180 + 14_000
    assert reserved(listed, {"input_token": 11, "output_token": 20}).amount == 2200 + 14_000


def test_a_marked_price_holds_for_usage_with_the_mark() -> None:
    """A batch costs what a batch costs, and everything else what it costs."""
    listed = catalogue(price("token", 10), price("token", 5, given="batch"), price("token", 30, given="fast"))
    assert charged(listed, {"token": 2}).amount == 20
    assert charged(listed, {"token": 2, "batch": 0}).amount == 20
    assert charged(listed, {"token": 2, "batch": 1}).amount == 10
    assert charged(listed, {"token": 2, "batch": 1, "fast": 1}).amount == 60


def test_a_price_for_a_mark_alone_says_nothing_of_calls_without_it() -> None:
    """They are not free."""
    listed = catalogue(price("token", 5, given="batch"))
    assert not charged(listed, {"token": 2}).known
    assert charged(listed, {"token": 2, "batch": 1}).amount == 10


def test_an_optional_price_counts_none_where_none_is_stated() -> None:
    """A search that nobody mentions did not happen, unless the variant's maximum says that it may."""
    listed = catalogue(price("call", 1), price("web_search", 10, optional=True))
    assert charged(listed, {}).amount == 1
    assert charged(listed, {"web_search": 2}).amount == 21
    assert reserved(listed, {}, web_search=3).amount == 31


lines = st.lists(
    st.tuples(
        st.sampled_from([*INPUT, *OUTPUT]),
        st.integers(0, 300),
        st.sampled_from([0, 5, 12]),
        st.sampled_from(["", "input_token", "output_token"]),
        st.sampled_from(["whole_call", "excess"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda each: (each[0], each[2]),
)
counts = st.fixed_dictionaries({}, optional=dict.fromkeys([*INPUT, *OUTPUT], st.integers(0, 9)))


@settings(max_examples=COUNTS.examples * 20)
@given(lines, counts, st.integers(0, 3), st.sets(st.sampled_from([*INPUT[1:], *OUTPUT[1:]])))
def test_an_estimate_bounds_every_split_of_its_pools(
    found: list[tuple[str, int, int, str, str]], usage: dict[str, int], slack: int, bounded: set[str]
) -> None:
    """Whatever the prices, tiers and bounds of single units: what fits the bounds costs no more."""
    bases = {unit: price(unit, 7) for unit, *_ in found}
    tiers = [
        price(unit, amount, above=above, of=of if above else "", applies="whole_call" if of or not above else applies)
        for unit, amount, above, of, applies in found
    ]
    listed = catalogue(
        *(base for unit, base in bases.items() if not any((t.unit, t.above) == (unit, 0) for t in tiers)), *tiers
    )
    usage = {"input_token": 0, "output_token": 0} | usage
    bounds = {unit: count for unit, count in usage.items() if unit in bounded}
    bounds |= {unit: 0 for unit in bounded if unit not in usage}
    for pool, units in POOLS.items():
        bounds[pool] = sum(usage.get(unit, 0) for unit in units) + slack
    most, real = reserved(listed, bounds).amount, charged(listed, usage).amount
    assert most is not None
    assert real is not None
    assert real <= most


@pytest.mark.parametrize("unit", [*INPUT, *OUTPUT])
def test_every_kind_of_token_falls_back_on_its_pool(unit: str) -> None:
    """None of them is free for want of a price."""
    other = "output_token" if unit in INPUT else "input_token"
    listed = catalogue(price("input_token", 3), price("output_token", 3))
    assert charged(listed, {unit: 1, other: 0}).amount == 3


IN_DOLLARS = Catalogue(
    "EUR",
    services={"api": Service(variants={"large": Variant()})},
    prices=(price("input_token", 100), price("output_token", 500)),
    table=tuple(
        Price("api/large", unit, amount, "USD", public=True, optional=unit == "web_search")
        for unit, amount in (("cache_read_token", 10), ("cache_write_token", 125), ("web_search", 10_000))
    ),
)
"""What is used is priced in the ledger's currency; the rest is public, in another, and no rate is known."""


def test_a_public_price_without_a_rate_is_not_needed_for_what_there_is_none_of() -> None:
    """Own prices in the ledger's currency are enough where nothing else is used."""
    usage = {"input_token": 8, "cache_write_token": 0, "output_token": 2}
    assert reserved(IN_DOLLARS, usage).amount == charged(IN_DOLLARS, usage).amount == 1800


def test_what_is_read_from_a_cache_costs_as_much_as_what_is_not_where_its_price_has_no_rate() -> None:
    """It would be cheaper, so nothing is charged too low."""
    assert charged(IN_DOLLARS, {"input_token": 8, "cache_read_token": 4, "output_token": 2}).amount == 2200


@pytest.mark.parametrize("unit", ["cache_write_token", "web_search"])
def test_what_costs_more_is_unknown_where_its_price_has_no_rate(unit: str) -> None:
    """Dearer than what it would be charged as instead, or free."""
    usage = {"input_token": 8, "output_token": 2, unit: 1}
    assert reserved(IN_DOLLARS, usage).amount is None
    assert charged(IN_DOLLARS, usage).amount is None


def test_a_bound_that_may_be_written_to_a_cache_is_unknown_where_that_price_has_no_rate() -> None:
    """Before a call nobody knows."""
    assert reserved(IN_DOLLARS, {"input_token": 8, "output_token": 2}).amount is None


def test_public_prices_alone_need_a_rate() -> None:
    """Nothing of what is charged may be left out."""
    table = (Price("api/large", "cache_read_token", 10, "USD", public=True),)
    alone = Catalogue("EUR", services=IN_DOLLARS.services, table=table)
    assert charged(alone, {"input_token": 8, "cache_read_token": 1}).amount is None
