"""Prices are applied exactly, rounded up once, and unknown where anything is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.catalogue import Catalogue, Price, Rate, Service, Variant
from remit.core.errors import BadRequest
from remit.core.model import NO_COST, Estimate
from remit.core.price import MAX_QUANTITY, cost, estimate
from remit.core.reservation import MAX_NANOS

EUR = 1_000_000_000
NOW = 1_000


def price(unit: str, amount: int, **more: Any) -> Price:
    given: dict[str, Any] = {"match": "api/*", "currency": "EUR"} | more
    return Price(unit=unit, amount=amount, **given)


def catalogue(*prices: Price, rates: tuple[Rate, ...] = (), reserve: str = "worst") -> Catalogue:
    service = Service(variants={"large": Variant()}, reserve=reserve)
    return Catalogue("EUR", services={"api": service}, prices=prices, exchange=rates)


def estimated(listed: Catalogue, usage: Mapping[str, int] | None = None, **maxima: int) -> Estimate:
    return estimate(listed, "api", "large", usage=usage or {}, time_ns=NOW, maxima=maxima)


def costed(listed: Catalogue, usage: Mapping[str, int], **maxima: int) -> Estimate:
    return cost(listed, "api", "large", usage=usage, time_ns=NOW, maxima=maxima)


quantities = st.integers(0, 10**6)
plain_prices = st.builds(
    lambda unit, amount, per, currency: price(unit, amount, per=per, currency=currency),
    st.sampled_from(["token", "image", "second"]),
    st.integers(0, 10**10),
    st.integers(1, 10**7),
    st.sampled_from(["EUR", "USD"]),
)


@settings(max_examples=300)
@given(
    st.lists(plain_prices, min_size=1, max_size=3, unique_by=lambda each: each.unit),
    st.fixed_dictionaries(dict.fromkeys(("token", "image", "second"), quantities)),
    st.integers(1, 10**11),
)
def test_a_sum_is_exact_and_rounded_up_once(prices: list[Price], usage: dict[str, int], rate: int) -> None:
    """What is charged is the least whole number of nanos that is not below the exact sum."""
    rates = {"EUR": Fraction(1), "USD": Fraction(rate, EUR)}
    exact = sum(Fraction(usage[p.unit] * p.amount, p.per) * rates[p.currency] for p in prices)
    listed = catalogue(*prices, rates=(Rate("USD", "EUR", rate),))
    charged = costed(listed, usage).amount
    if exact > MAX_NANOS:
        assert charged is None
    else:
        assert charged is not None
        assert exact <= charged < exact + 1


def test_rounding_happens_once_and_not_for_each_unit() -> None:
    """Three thirds of a nano are one nano, not three."""
    listed = catalogue(*(price(unit, 1, per=3) for unit in ("a", "b", "c")))
    assert costed(listed, {"a": 1, "b": 1, "c": 1}).amount == 1


@given(quantities, st.integers(0, 10**12), st.integers(1, 10**7))
def test_more_never_costs_less_without_tiers(quantity: int, amount: int, per: int) -> None:
    """One unit more is charged at least as much."""
    listed = catalogue(price("token", amount, per=per))
    less, more = (costed(listed, {"token": each}).amount or 0 for each in (quantity, quantity + 1))
    assert less <= more


def brute(tiers: list[Price], quantity: int) -> Fraction:
    """The definition, unit by unit: the last price for the whole call that was reached, and the excess on top."""
    reached = [tier for tier in tiers if tier.above < quantity or tier.above == 0]
    whole = max((t for t in reached if t.above == 0 or t.applies == "whole_call"), key=lambda t: t.above)
    excess = [tier for tier in reached if tier.applies == "excess" and tier.above > whole.above]
    total = Fraction(0)
    for number in range(1, quantity + 1):
        beyond = [tier for tier in excess if tier.above < number]
        tier = max(beyond, key=lambda t: t.above) if beyond else whole
        total += Fraction(tier.amount, tier.per)
    return total


tier_sets = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 50), st.integers(1, 7), st.sampled_from(["whole_call", "excess"])),
    max_size=3,
    unique_by=lambda each: each[0],
).map(
    lambda found: [
        price("token", 10, per=3),
        *(price("token", amount, per=per, above=above, applies=how) for above, amount, per, how in found),
    ]
)


@settings(max_examples=300)
@given(tier_sets, st.integers(0, 50), st.randoms())
def test_tiers_charge_what_they_say(tiers: list[Price], quantity: int, random: Any) -> None:
    """Tiers for the whole call and for the excess add up, in whatever order they are listed."""
    listed = list(tiers)
    random.shuffle(listed)
    exact = brute(tiers, quantity)
    charged = costed(catalogue(*listed), {"token": quantity}).amount
    assert charged is not None
    assert exact <= charged < exact + 1


@settings(max_examples=300)
@given(tier_sets, st.integers(0, 50), st.integers(0, 50))
def test_an_estimate_bounds_every_smaller_usage(tiers: list[Price], one: int, other: int) -> None:
    """What is reserved for a quantity is enough for any quantity below it, even where more is cheaper."""
    listed = catalogue(*tiers)
    most, real = max(one, other), min(one, other)
    bound, charged = estimated(listed, {"token": most}).amount, costed(listed, {"token": real}).amount
    assert bound is not None
    assert charged is not None
    assert charged <= bound


def test_a_tier_for_the_whole_call_begins_after_its_threshold() -> None:
    """At the threshold the base price holds; one more, and the tier's holds for all of it."""
    listed = catalogue(price("token", 2), price("token", 5, above=100))
    assert costed(listed, {"token": 100}).amount == 200
    assert costed(listed, {"token": 101}).amount == 505


def test_a_quantity_below_every_tier_is_unknown() -> None:
    """A tier alone says nothing of smaller calls."""
    listed = catalogue(price("token", 5, above=100))
    assert not costed(listed, {"token": 100}).known
    assert costed(listed, {"token": 101}).amount == 505


def test_an_excess_without_a_price_below_it_is_unknown() -> None:
    """A price for the excess alone leaves the first part without a price."""
    assert not costed(catalogue(price("token", 5, above=100, applies="excess")), {"token": 101}).known


def test_a_call_counts_as_one_and_never_less() -> None:
    """`call` is one where it is not stated, and stating none of it does not make a call free."""
    listed = catalogue(price("call", 7))
    assert estimated(listed) == Estimate(amount=7, units={"call": 1})
    assert estimated(listed, {"call": 0}).amount == 7
    assert estimated(listed, {"call": 3}).amount == 21


def test_a_unit_that_is_not_stated_takes_the_maximum() -> None:
    """The variant's maximum is the bound for whatever is not stated."""
    listed = catalogue(price("token", 2), price("image", 10))
    assert estimated(listed, {"image": 1}, token=50) == Estimate(110, {"image": 1, "token": 50})


def test_a_stated_quantity_is_taken_at_its_word() -> None:
    """What is stated counts, below or above the maximum: whether it may be above is for policy to say."""
    listed = catalogue(price("token", 2))
    assert estimated(listed, {"token": 5}, token=50).amount == 10
    assert estimated(listed, {"token": 500}, token=50).amount == 1000


def test_a_unit_without_statement_or_maximum_is_unknown() -> None:
    """What cannot be bounded has no known price, whatever else is known."""
    listed = catalogue(price("token", 2), price("call", 1))
    assert estimated(listed, {"image": 4}) == Estimate(amount=None, units={"image": 4})
    assert not costed(listed, {}).known


def test_what_has_no_price_at_all_is_unknown_and_what_is_free_says_so() -> None:
    """No price is not free; a price of 0 is."""
    assert not estimated(catalogue()).known
    assert not estimated(catalogue(price("call", 1, match="other/*"))).known
    assert estimated(catalogue(price("call", 0))) == Estimate(amount=0, units={"call": 1})


def test_an_unlisted_service_is_priced_by_what_matches() -> None:
    """A pattern holds for services and variants that the catalogue does not list, too."""
    listed = catalogue(price("call", 3, match="*"))
    assert estimate(listed, "new", "v", usage={}, time_ns=NOW, maxima={}).amount == 3


def test_a_unit_without_a_price_costs_nothing() -> None:
    """Usage that nothing is charged for is kept and not charged."""
    listed = catalogue(price("call", 3))
    assert costed(listed, {"token": 9}) == Estimate(amount=3, units={"token": 9, "call": 1})


def test_an_action_without_a_service_costs_nothing() -> None:
    """Only plain actions are free without a price."""
    assert estimate(catalogue(), "", "", usage={}, time_ns=NOW, maxima={}) == NO_COST
    assert cost(catalogue(), "", "", usage={}, time_ns=NOW, maxima={}) == NO_COST


def test_expected_reservations_hold_what_is_stated() -> None:
    """With `reserve: expected`, what is not stated is not reserved; it is charged all the same."""
    listed = catalogue(price("token", 2), price("call", 1), reserve="expected")
    assert estimated(listed, {}, token=50).amount == 1
    assert estimated(listed, {"token": 5}, token=50).amount == 11
    assert not costed(listed, {}).known
    assert not estimated(catalogue(reserve="expected")).known


def test_the_latest_price_that_has_begun_holds() -> None:
    """A price holds from its date on, and until the next one's."""
    listed = catalogue(price("call", 1), price("call", 2, since=NOW), price("call", 3, since=NOW + 1))
    at = {
        time: estimate(listed, "api", "large", usage={}, time_ns=time, maxima={}).amount
        for time in (NOW - 1, NOW, NOW + 1)
    }
    assert at == {NOW - 1: 1, NOW: 2, NOW + 1: 3}


def test_a_price_that_has_not_begun_is_no_price() -> None:
    """Before the first price's date the price is unknown."""
    assert not estimated(catalogue(price("call", 1, since=NOW + 1))).known


@pytest.mark.parametrize(
    ("special", "general"),
    [
        ("api/large", "api/*"),
        ("api/lar*", "api/l*"),
        ("api/*", "*"),
        ("api/large", "api/larg*"),
        ("api/large", "api/large*"),
        ("api/*ge", "*/*ge"),
    ],
)
def test_the_more_specific_pattern_holds(special: str, general: str) -> None:
    """More literal characters win, then fewer stars, whatever the order and although the other is newer."""
    prices = price("call", 5, match=special), price("call", 9, match=general, since=NOW)
    assert estimated(catalogue(*prices)).amount == 5
    assert estimated(catalogue(*reversed(prices))).amount == 5


def test_a_specific_price_that_has_not_begun_leaves_the_general_one() -> None:
    """Until its date, a special price changes nothing."""
    prices = price("call", 5, match="api/large", since=NOW + 1), price("call", 9)
    assert estimated(catalogue(*prices)).amount == 9


def test_each_unit_and_tier_is_chosen_by_itself() -> None:
    """A special price for one unit or tier leaves the general ones for the others."""
    listed = catalogue(
        price("token", 1),
        price("image", 100),
        price("token", 3, match="api/large", above=10),
    )
    assert costed(listed, {"token": 10, "image": 1}).amount == 110
    assert costed(listed, {"token": 11, "image": 1}).amount == 133


def test_patterns_of_equal_weight_give_the_same_price_in_any_order() -> None:
    """Which of two equally specific patterns holds does not depend on the order of the list."""
    prices = price("call", 5, match="api/la*"), price("call", 9, match="api/*ge")
    assert estimated(catalogue(*prices)) == estimated(catalogue(*reversed(prices)))


def test_a_foreign_price_takes_the_rate_of_its_day() -> None:
    """The rate is the latest that has begun; before the first, the price is unknown."""
    rates = Rate("USD", "EUR", EUR // 2, since=5), Rate("USD", "EUR", EUR * 2, since=NOW + 1)
    listed = catalogue(price("call", 8, currency="USD"), rates=rates)
    found = [estimate(listed, "api", "large", usage={}, time_ns=time, maxima={}).amount for time in (4, NOW, NOW + 1)]
    assert found == [None, 4, 16]


def test_a_missing_rate_makes_the_price_unknown() -> None:
    """A price in a currency that cannot be converted is no known price, even of nothing."""
    rates = (Rate("GBP", "EUR", EUR), Rate("EUR", "USD", EUR))
    assert not estimated(catalogue(price("call", 0, currency="USD"), rates=rates)).known


def test_a_sum_beyond_one_reservation_is_unknown() -> None:
    """What the ledger cannot hold cannot be reserved."""
    listed = catalogue(price("token", MAX_NANOS))
    assert estimated(listed, {"token": 1}).amount == MAX_NANOS
    assert not estimated(listed, {"token": 2}).known
    assert not estimated(listed, {"token": MAX_QUANTITY}).known


@pytest.mark.parametrize("wrong", [-1, MAX_QUANTITY + 1, True, 1.0, "1", None])
@pytest.mark.parametrize("service", ["api", ""])
def test_a_quantity_is_a_whole_number_within_bounds(wrong: Any, service: str) -> None:
    """Anything else is refused by the unit's name, for actions without a service too."""
    with pytest.raises(BadRequest, match=r"usage\.token"):
        estimate(catalogue(), service, "", usage={"token": wrong}, time_ns=NOW, maxima={})
    with pytest.raises(BadRequest, match=r"usage\.token"):
        cost(catalogue(), service, "", usage={"token": wrong}, time_ns=NOW, maxima={})


def test_prices_are_found_for_listed_and_unlisted_variants_alike() -> None:
    """What is looked up beforehand is what would be found by looking."""
    listed = catalogue(price("call", 1), price("call", 2, match="api/large"), price("call", 3, match="api/x*"))
    unlisted = replace(listed, services={})
    for variant in ("large", "", "x1"):
        assert listed.prices_for("api", variant) == unlisted.prices_for("api", variant)
