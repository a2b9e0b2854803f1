"""How a call that Remit itself sent is settled: by what the answer said, not by anybody's word.

    nothing was sent          voided
    the usage is known        its real cost, lower or higher than what was reserved
    the provider refused it   nothing but what a call costs as such
    cut, or usage not told    the estimate, with what was seen of the input; marked `presumed`

A stream that was cut tells its input, and of its output only what had come: as much as was reserved may have been
made, so that is what it is charged. A caller that leaves early must not pay less than one that stays. Where the
provider runs tools of its own, what they find becomes input as well, after the first was told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from remit.core.canonical import digest
from remit.core.catalogue import Catalogue
from remit.core.effect import EndReservation, ProlongReservation
from remit.core.errors import IllegalTransition
from remit.core.price import CALL, POOLS, cost
from remit.pep.world import World
from remit.pep.write import Entry, must_write

LONGEST_NANOS = 86_400 * 1_000_000_000
INPUT = "input"


class How(StrEnum):
    """How a call ended, as its enforcement point saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the upstream answered with an error
    CUT = "cut"  # no whole answer: client, upstream or Remit ended it
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Held:
    """The reservation to settle: nanos and units as reserved, `time` (ns) of the decision, whose prices hold.

    `grows` says that input is still added while the answer is made. `catalogue` is the one it was decided by (None:
    the one in force): a price that is changed meanwhile changes no call that is under way.
    """

    decision: str
    subject: str
    workflow: str
    service: str
    variant: str
    time: int
    reserved: int
    units: Mapping[str, int]
    grows: bool = False
    catalogue: Catalogue | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """What was seen of a call. `complete` says that `usage` is the provider's last word."""

    how: How
    usage: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Metered:
    """What was settled: nanos of the ledger's currency; `presumed` where the real usage is not known."""

    state: str
    cost: int
    usage: Mapping[str, int]
    presumed: bool = False


def meter(world: World, held: Held, end: End) -> Metered:
    """The settlement of a call's end."""
    if end.how is How.NOT_SENT:
        return Metered("voided", 0, {})
    if end.how is How.FAILED and not (end.complete and end.usage):
        return _priced(world, held, _nothing_used(held), presumed=False)
    if end.complete:
        return _priced(world, held, dict(end.usage), presumed=False)
    seen = {unit: count for unit, count in end.usage.items() if not (held.grows or _still_growing(unit))}
    partial = {unit: max(count, held.units.get(unit, 0)) for unit, count in end.usage.items() if unit not in seen}
    usage = {**held.units, **seen, **partial}
    found = _priced(world, held, usage, presumed=True)
    for pool, kinds in POOLS.items():
        if pool in held.units and not any(kind in seen for kind in kinds):
            ways = (_priced(world, held, each, presumed=True) for each in _splits(usage, pool, held.units))
            found = max(ways, key=lambda each: each.cost)
            usage = dict(found.usage)
    return found


async def settle(world: World, held: Held, end: End) -> Metered | None:
    """Settle, once, and durably; None where it was settled before. Raises StoreUnavailable."""
    metered = meter(world, held, end)
    body: dict[str, Any] = {
        "outcome": end.how.value,
        "error": end.error,
        "reported": dict(end.usage),
        "state": metered.state,
        "cost": str(metered.cost),
        "currency": world.catalogue.currency,
        "usage": dict(metered.usage),
        "claimed": False,
        "metered": True,
        "presumed": metered.presumed,
    }
    mark = digest({"metered": held.decision})
    effect = EndReservation(held.decision, metered.state, metered.cost, metered.usage, mark)
    try:
        await must_write(
            world, Entry("report", held.subject, body, workflow=held.workflow, ref=held.decision), (effect,)
        )
    except IllegalTransition:
        # Voiding comes too late for a hold that lapsed meanwhile: nothing was sent, and so nothing is owed.
        return await _settle_late(world, held, body, mark) if metered.state == "voided" else None
    return metered


async def _settle_late(world: World, held: Held, body: Mapping[str, Any], mark: str) -> Metered | None:
    effect = EndReservation(held.decision, "settled", 0, {}, mark)
    entry = Entry("report", held.subject, {**body, "state": "settled"}, workflow=held.workflow, ref=held.decision)
    try:
        await must_write(world, entry, (effect,))
    except IllegalTransition:
        return None
    return Metered("settled", 0, {})


async def prolong(world: World, held: Held, hold: int) -> bool:
    """Move the deadline on, since bytes still flow; whether it could be. A day is the longest."""
    deadline = world.clock.now() + hold
    if deadline > held.time + LONGEST_NANOS:
        return False
    body = {"outcome": "progress", "reported": {}, "error": ""}
    entry = Entry("report", held.subject, body, workflow=held.workflow, ref=held.decision)
    try:
        await must_write(world, entry, (ProlongReservation(held.decision, deadline),))
    except IllegalTransition:
        return False
    return True


def _priced(world: World, held: Held, usage: dict[str, int], *, presumed: bool) -> Metered:
    usage = {**_marks(world, held), **usage}
    real = cost(
        held.catalogue or world.catalogue, held.service, held.variant, usage=usage, time_ns=held.time, maxima={}
    )
    if real.amount is None:
        # A unit that was not told: as much of it as was reserved.
        usage = {**held.units, **usage}
        real = cost(
            held.catalogue or world.catalogue, held.service, held.variant, usage=usage, time_ns=held.time, maxima={}
        )
        presumed = True
    if real.amount is None:
        return Metered("settled", held.reserved, usage, presumed=True)
    return Metered("settled", real.amount, usage, presumed)


def _splits(usage: Mapping[str, int], pool: str, bounds: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The usage with each way in which a pool whose split is not told may come to be the dearest."""
    kinds = POOLS[pool]
    others = {unit: count for unit, count in usage.items() if unit not in kinds}
    seen = sum(count for unit, count in usage.items() if unit in kinds and unit not in bounds)
    total = max(usage[pool], bounds[pool], seen)
    yield {**others, pool: total}
    for kind in kinds:
        if kind != pool:
            most = min(total, max(bounds.get(kind, total), usage.get(kind, 0)))
            yield {**others, pool: total - most, kind: most}


def _marks(world: World, held: Held) -> dict[str, int]:
    """The way of processing that was asked for and reserved by; an answer that tells another one wins."""
    marks = {price.given for price in (held.catalogue or world.catalogue).prices_for(held.service, held.variant)}
    return {unit: count for unit, count in held.units.items() if unit in marks}


def _nothing_used(held: Held) -> dict[str, int]:
    return {unit: 0 for unit in held.units if unit != CALL}


def _still_growing(unit: str) -> bool:
    """Whether more of it may have been made after the last that was seen. Most input is told at the start, whole."""
    return INPUT not in unit and "cache" not in unit
