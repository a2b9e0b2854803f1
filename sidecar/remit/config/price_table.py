"""The public prices of model providers, as prices of the catalogue: what `genai-prices` knows, read offline.

A service of kind openai, anthropic, gemini, azure or bedrock has the prices of each of its variants' models (the
variant's `price`, else its `model`, else its name; a pattern has none). They are in US dollars, so a ledger in
another currency needs `exchange: {USD: …}`, or they are unknown. What the table does not know it leaves out.

Dated prices hold from their date (UTC). Where a price depends on the time of day the dearest of the day holds.
Batch, flex, priority and fast processing are marks (`given`), as the provider's own price list has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from remit.config.priced_kinds import PROVIDERS, UNITS
from remit.core.catalogue import Catalogue, Price, Service
from remit.core.money import NANOS

_EPOCH = date(1970, 1, 1)

# The mark under which each of the providers' ways of processing is priced.
MARKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "batch": (("processing", "batch"),),
    "fast": (("service_tier", "fast"), ("speed", "fast")),
    "flex": (("service_tier", "flex"),),
    "priority": (("service_tier", "priority"),),
}

# This says again what another key of the same model says.
_REPEATED = "input_audio_hours"
_OPTIONAL = frozenset({"web_search", "file_search"})

# What is charged for one unit, by how much input the call must have more than: (0, USD), (200000, USD), …
_Steps = Mapping[int, Fraction]


def with_table(catalogue: Catalogue) -> Catalogue:
    """The catalogue with the public prices of its services' variants."""
    return replace(catalogue, table=tuple(_table(catalogue.services)))


def _table(services: Mapping[str, Service]) -> Iterator[Price]:
    for name, service in services.items():
        if service.kind in PROVIDERS:
            for variant, listed in service.variants.items():
                model = listed.price or listed.model or variant
                yield from prices_of(service.kind, model, match=f"{name}/{variant}")


def prices_of(kind: str, model: str, *, match: str) -> tuple[Price, ...]:
    """The public prices of a provider's model, for one "service/variant"; none where it is not known."""
    provider = next(each for each in providers if each.id == PROVIDERS[kind])
    found = None if "*" in model else provider.find_model(model, all_providers=providers)
    if found is None:
        return ()
    # Who resells another's models does not resell their other ways of processing.
    marks = MARKS if any(found is own for own in provider.models) else {}
    return model_prices(found, match=match, marks=marks)


def model_prices(
    model: ModelInfo, *, match: str, marks: Mapping[str, tuple[tuple[str, str], ...]]
) -> tuple[Price, ...]:
    """All prices of one model, of all dates and ways of processing.

    None at all where one of them is of a kind that is not understood: part of a price would charge too little.
    """
    dates = _dates(model)
    plain = [(day, _on(model, day, {})) for day in dates]
    lines = list(_lines(plain, match=match, given=""))
    for mark, contexts in marks.items():
        lines += _lines(_marked(model, contexts, plain), match=match, given=mark)
    understood = {unit for unit, _ in UNITS.values()}
    return tuple(lines) if all(line.unit in understood for line in lines) else ()


def _dates(model: ModelInfo) -> Sequence[date]:
    """The days on which a price changes; what holds before the first has no date."""
    starts = {each.start_date for each in _constraints(model) if isinstance(each, StartDateConstraint)}
    return sorted({_EPOCH, *starts})


def _constraints(model: ModelInfo) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    conditional = model.prices if isinstance(model.prices, list) else []
    for each in (*conditional, *(model.price_variants or ())):
        if each.constraint is not None:
            yield each.constraint


def _on(model: ModelInfo, day: date, context: Mapping[str, str]) -> Mapping[str, _Steps]:
    """What holds on a day: of each kind of price, where it changes within the day, the dearest."""
    daily = [each for each in _constraints(model) if isinstance(each, TimeOfDateConstraint)]
    instants = {time(0, tzinfo=UTC), *(edge for each in daily for edge in (each.start_time, each.end_time))}
    times = [datetime.combine(day, instant if instant.tzinfo else instant.replace(tzinfo=UTC)) for instant in instants]
    # An edge in another zone may lie on another day of UTC.
    times = [datetime.combine(day, each.astimezone(UTC).time(), UTC) for each in times]
    return _dearest([_steps(model.get_prices(each, context)) for each in times])


def _marked(
    model: ModelInfo, contexts: Sequence[tuple[str, str]], plain: Sequence[tuple[date, Mapping[str, _Steps]]]
) -> Sequence[tuple[date, Mapping[str, _Steps]]]:
    """By day, the prices under a mark that differ from the plain ones on some day."""
    days = []
    for day, prices in plain:
        found = [_on(model, day, {key: value}) for key, value in contexts]
        days.append((day, _dearest([each for each in found if each != prices]) or prices))
    differing = {
        key
        for (_, prices), (_, found) in zip(plain, days, strict=True)
        for key in found
        if found[key] != prices.get(key)
    }
    return [(day, {key: steps for key, steps in found.items() if key in differing}) for day, found in days]


def _steps(prices: ModelPrice) -> Mapping[str, _Steps]:
    given = {key: value for key, value in vars(prices).items() if value is not None and key != _REPEATED}
    return {key: _by_size(value) for key, value in given.items()}


def _by_size(price: Decimal | TieredPrices) -> _Steps:
    if isinstance(price, TieredPrices):
        return {0: Fraction(price.base)} | {tier.start: Fraction(tier.price) for tier in price.tiers}
    return {0: Fraction(price)}


def _dearest(found: Sequence[Mapping[str, _Steps]]) -> Mapping[str, _Steps]:
    merged: dict[str, _Steps] = {}
    for key in dict.fromkeys(key for each in found for key in each):
        of_key = [each[key] for each in found if key in each]
        sizes = sorted({size for steps in of_key for size in steps})
        merged[key] = {size: max(_at(steps, size) for steps in of_key) for size in sizes}
    return merged


def _at(steps: _Steps, size: int) -> Fraction:
    return steps[max(each for each in steps if each <= size)]


def _lines(days: Sequence[tuple[date, Mapping[str, _Steps]]], *, match: str, given: str) -> Iterator[Price]:
    """A line for each change. What is no longer named keeps its price; a step that is no longer there is levelled."""
    last: dict[str, dict[int, Fraction]] = {}
    for day, prices in days:
        for key, steps in prices.items():
            before = last.setdefault(key, {})
            now = {size: _at(steps, size) for size in sorted({*before, *steps})}
            changes = [(size, usd) for size, usd in now.items() if before.get(size) != usd]
            before |= now
            yield from (_price(key, size, usd, day=day, match=match, given=given) for size, usd in changes)


def _price(key: str, above: int, usd: Fraction, *, day: date, match: str, given: str) -> Price:
    unit, per = UNITS.get(key, (key, 1))
    amount = usd * NANOS
    return Price(
        match=match,
        unit=unit,
        amount=amount.numerator,
        currency="USD",
        per=per * amount.denominator,
        since=int(datetime.combine(day, time(0), UTC).timestamp()) * NANOS,
        above=above,
        of="input_token" if above else "",
        given=given,
        optional=unit in _OPTIONAL,
        public=True,
    )
