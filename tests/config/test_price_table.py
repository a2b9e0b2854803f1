"""Public prices are those of the table that is installed, exactly, for every model, date and way of processing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

import genai_prices.data
import genai_prices.types
import pytest
from counts import COUNTS
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import Tier as TableTier
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.config.price_table import MARKS, model_prices, prices_of, with_table
from remit.core.catalogue import Catalogue, Price, Rate, Service, Variant
from remit.core.model import Estimate
from remit.core.price import cost, estimate
from remit.core.reservation import MAX_NANOS

NANOS = 10**9
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
KINDS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google", "azure": "azure", "bedrock": "aws"}
PROVIDERS = {each.id: each for each in genai_prices.data.providers}
MODELS = [(kind, model) for kind, name in KINDS.items() for model in PROVIDERS[name].models]
# The unit here, and all counts of the table's that it adds to.
TOKENS = {
    "input_token": ("input_tokens",),
    "cache_read_token": ("input_tokens", "cache_read_tokens"),
    "cache_write_token": ("input_tokens", "cache_write_tokens"),
    "cache_write_1h_token": ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    "input_audio_token": ("input_tokens", "input_audio_tokens"),
    "cache_audio_read_token": ("input_tokens", "cache_read_tokens", "input_audio_tokens", "cache_audio_read_tokens"),
    "input_image_token": ("input_tokens", "input_image_tokens"),
    "cache_image_read_token": ("input_tokens", "cache_read_tokens", "input_image_tokens", "cache_image_read_tokens"),
    "input_video_token": ("input_tokens", "input_video_tokens"),
    "output_token": ("output_tokens",),
    "output_audio_token": ("output_tokens", "output_audio_tokens"),
    "output_image_token": ("output_tokens", "output_image_tokens"),
    "output_video_token": ("output_tokens", "output_video_tokens"),
}
quantities = st.one_of(st.integers(0, 2_000), st.integers(0, 400_000), st.sampled_from([0, 100_000, 200_000, 272_000]))
usages = st.fixed_dictionaries(dict.fromkeys(TOKENS, quantities))
JOINS = {"cache_audio_read_token": "input_audio_token", "cache_image_read_token": "input_image_token"}


def ns(when: datetime) -> int:
    return int(when.timestamp()) * NANOS


def priced(*prices: Price, currency: str = "USD", own: tuple[Price, ...] = ()) -> Catalogue:
    service = Service(kind="openai", variants={"v": Variant()})
    return Catalogue(currency, services={"s": service}, table=prices, prices=own)


def charged(listed: Catalogue, usage: Mapping[str, int], when: datetime = NOW) -> Estimate:
    return cost(listed, "s", "v", usage=usage, time_ns=ns(when), maxima={})


def reserved(listed: Catalogue, usage: Mapping[str, int]) -> Estimate:
    return estimate(listed, "s", "v", usage=usage, time_ns=ns(NOW), maxima={})


def table(model: ModelInfo) -> tuple[Price, ...]:
    return model_prices(model, match="s/v", marks=MARKS)


def by_library(model: ModelInfo, usage: Mapping[str, int], when: datetime, context: Mapping[str, str]) -> Fraction:
    """What the table's own arithmetic says, in nanos of a dollar."""
    counts: dict[str, int] = {}
    for unit, names in TOKENS.items():
        for name in names:
            counts[name] = counts.get(name, 0) + usage.get(unit, 0)
    counts["web_searches"] = usage.get("web_search", 0)
    found = model.get_prices(when, context).calc_price(genai_prices.types.Usage(**counts))
    return Fraction(found["total_price"]) * NANOS


def tokens_alone(model: ModelInfo) -> bool:
    return any(each.unit == "input_token" for each in table(model))


@settings(max_examples=COUNTS.examples * 10, deadline=None)
@given(
    st.sampled_from([each for each in MODELS if tokens_alone(each[1])]),
    usages,
    st.integers(0, 9),
    st.dates(date(2024, 1, 1), date(2027, 12, 31)),
    st.sampled_from(["", *MARKS]),
)
def test_a_cost_is_what_the_table_itself_computes(
    listed: tuple[str, ModelInfo], usage: dict[str, int], searches: int, day: date, mark: str
) -> None:
    """For every model, date and way of processing, to the nano; a tier is chosen by all of the input."""
    _, model = listed
    named = {each.unit for each in table(model)}
    for join, kind in JOINS.items():
        if join not in named and {kind, "cache_read_token"} & named:
            # Of a cached token of audio without a price the table knows nothing; here it costs what audio does.
            usage[join] = 0
    when = datetime.combine(day, time(3), UTC)
    contexts = [dict([context]) for context in MARKS.get(mark, ())] or [{}]
    expected = max(by_library(model, usage | {"web_search": searches}, when, context) for context in contexts)
    marked = {mark: 1} if mark else {}
    found = charged(priced(*table(model)), usage | {"web_search": searches} | marked, when).amount
    if expected <= MAX_NANOS:
        assert found == -(-expected.numerator // expected.denominator)
    else:
        assert found is None


@settings(max_examples=COUNTS.examples * 10, deadline=None)
@given(st.sampled_from([each for each in MODELS if tokens_alone(each[1])]), usages, st.integers(0, 3), st.data())
def test_an_estimate_bounds_whatever_the_call_turns_out_to_use(
    listed: tuple[str, ModelInfo], usage: dict[str, int], slack: int, data: st.DataObject
) -> None:
    """Input of at most the request's bytes, output of at most the cap: no split of them costs more than reserved."""
    _, model = listed
    into = sum(count for unit, count in usage.items() if "output" not in unit)
    out = sum(count for unit, count in usage.items() if "output" in unit)
    bounds = {"input_token": into + slack, "output_token": out + slack, "web_search": 4}
    # Bounds of single units, too, hold where the call keeps them.
    for unit in data.draw(st.sets(st.sampled_from([each for each in TOKENS if each not in bounds]))):
        bounds[unit] = usage[unit]
    catalogue = priced(*table(model))
    bound, real = reserved(catalogue, bounds).amount, charged(catalogue, usage | {"web_search": 4}).amount
    assert bound is None or (real is not None and real <= bound)


@pytest.mark.parametrize("listed", MODELS, ids=lambda each: f"{each[0]}-{each[1].id}")
def test_every_price_of_the_table_is_understood(listed: tuple[str, ModelInfo]) -> None:
    """A model has prices here where it has some there, and of each kind that it has there."""
    _, model = listed
    assert bool(table(model)) == bool(vars(model.get_prices(NOW)))


def test_a_kind_of_price_that_is_not_understood_leaves_the_model_without_a_price() -> None:
    """Part of a price would charge too little."""
    prices = ModelPrice(input_mtok=Decimal(1), rerank_searches_kcount=Decimal(2))
    assert table(ModelInfo("m", ClauseEquals("m"), prices=prices)) == ()


def test_a_price_by_the_time_of_day_is_the_dearest_of_the_day() -> None:
    """Which hour the provider's clock shows when it counts is not known before."""
    night = TimeOfDateConstraint(time(16, 30, tzinfo=UTC), time(0, 30, tzinfo=UTC))
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(8))),
        ConditionalPrice(night, prices=ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(9))),
    ]
    listed = priced(*table(ModelInfo("m", ClauseEquals("m"), prices=prices)))
    for hour in (0, 1, 12, 17, 23):
        when = datetime(2026, 11, 26, hour, tzinfo=UTC)
        assert charged(listed, {"input_token": 1000, "output_token": 1000}, when).amount == 2_000_000 + 9_000_000


def test_a_price_begins_on_its_day_and_levels_the_tiers_before_it() -> None:
    """From the first instant of the day in UTC on, and a tier that is no longer there charges no more."""
    tiered = TieredPrices(Decimal(1), [TableTier(1000, Decimal(3))])
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=tiered, output_mtok=Decimal(1))),
        ConditionalPrice(
            StartDateConstraint(date(2026, 6, 1)), prices=ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(1))
        ),
    ]
    listed = priced(*table(ModelInfo("m", ClauseEquals("m"), prices=prices)))
    usage = {"input_token": 2000, "output_token": 0}
    assert charged(listed, usage, datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)).amount == 6_000_000
    assert charged(listed, usage, datetime(2026, 6, 1, tzinfo=UTC)).amount == 4_000_000


def services(kind: str, **variants: Variant) -> Catalogue:
    return Catalogue("USD", services={"s": Service(kind=kind, variants=variants)})


@pytest.mark.parametrize(
    ("kind", "variant"),
    [
        ("openai", Variant(model="gpt-5")),
        ("openai", Variant(model="company-alias", price="gpt-5")),
        ("azure", Variant(model="our-deployment", price="gpt-5")),
        ("anthropic", Variant(model="claude-sonnet-4-5")),
        ("gemini", Variant(model="gemini-2.5-flash")),
        ("bedrock", Variant(model="eu.anthropic.claude-sonnet-4-5-20250929-v1:0")),
    ],
)
def test_each_kind_of_provider_finds_its_models(kind: str, variant: Variant) -> None:
    """By the variant's `price`, else its `model`."""
    listed = with_table(services(kind, large=variant))
    found = estimate(listed, "s", "large", usage={"input_token": 1000, "output_token": 10}, time_ns=ns(NOW), maxima={})
    assert found.known
    assert all(price.match == "s/large" and price.currency == "USD" and price.public for price in listed.table)


def test_a_variant_that_names_no_model_has_that_of_its_name() -> None:
    """The name is the model's where the catalogue says nothing else."""
    listed = with_table(Catalogue("USD", services={"s": Service(kind="openai", variants={"gpt-5": Variant()})}))
    assert {price.match for price in listed.table} == {"s/gpt-5"}


@pytest.mark.parametrize("model", ["gpt-*", "*", "no-such-model", ""])
def test_a_pattern_or_an_unknown_model_has_no_public_price(model: str) -> None:
    """One price for many models would be the wrong one for most: unknown, and so denied."""
    assert prices_of("openai", model, match="s/v") == ()


def test_other_kinds_have_no_public_prices() -> None:
    """An API of one's own that calls a variant gpt-5 is not OpenAI's."""
    assert with_table(services("http", v=Variant(model="gpt-5"))).table == ()


def test_a_resold_model_has_no_batch_price() -> None:
    """Azure lists OpenAI's models at OpenAI's prices, but not what a batch costs there."""
    model = next(
        each
        for each in PROVIDERS["openai"].models
        if any("batch" in v.when.values() for v in each.price_variants or ())
    )
    resold = prices_of("azure", model.id, match="s/v")
    assert not any(price.given for price in resold)


def test_without_a_rate_for_dollars_a_public_price_is_unknown() -> None:
    """A ledger in euros needs a rate, and is told by a denial rather than charged 1:1."""
    dollars = prices_of("openai", "gpt-5", match="s/v")
    usage = {"input_token": 1000, "output_token": 1000}
    assert not charged(priced(*dollars, currency="EUR"), usage).known
    rate = Rate("USD", "EUR", NANOS // 2)
    exchanged = replace(priced(*dollars, currency="EUR"), exchange=(rate,))
    assert charged(exchanged, usage).amount == (1_250_000 + 10_000_000) // 2


def test_a_price_of_ones_own_replaces_the_public_ones_of_the_unit() -> None:
    """All tiers and marks of that unit, and no other unit; a marked one that mark alone."""
    public = prices_of("openai", "gpt-5.5", match="s/v")
    own = Price("s/*", "input_token", 1 * NANOS, "USD", per=10**6)
    usage = {"input_token": 300_000, "output_token": 1000}
    # 300,000 x 1 USD/M, and 1,000 x 45 USD/M: above 272,000 of input the output's tier still holds.
    assert charged(priced(*public, own=(own,)), usage).amount == 300_000_000 + 45_000_000
    assert charged(priced(*public, own=(own,)), usage | {"batch": 1}).amount == 300_000_000 + 22_500_000
    marked = replace(own, given="batch")
    assert charged(priced(*public, own=(marked,)), usage).amount == 3_000_000_000 + 45_000_000
    assert charged(priced(*public, own=(marked,)), usage | {"batch": 1}).amount == 300_000_000 + 22_500_000


def test_a_price_of_ones_own_replaces_nothing_before_its_day() -> None:
    """Until it begins, the public price holds."""
    public = prices_of("openai", "gpt-5", match="s/v")
    own = Price("s/v", "input_token", 0, "USD", since=ns(NOW) + 1)
    assert charged(priced(*public, own=(own,)), {"input_token": 1000, "output_token": 0}).amount == 1_250_000


def test_policy_does_not_see_the_table_but_the_digest_does() -> None:
    """A catalogue that was judged by other prices is another one."""
    plain = services("openai", v=Variant(model="gpt-5"))
    listed = with_table(plain)
    assert listed.document() == plain.document()
    assert listed.digest != plain.digest
    assert "table" not in json.dumps(list(listed.document()))
