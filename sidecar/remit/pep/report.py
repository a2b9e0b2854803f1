"""Reports: how an allowed action ended, and the end of its reservation with the whole real cost.

Who is believed. What Remit did not meter itself is the agent's word: it is recorded as claimed; it may raise
what is spent, and lowers or voids only where the catalogue says `metering: agent` of the service. What Remit sent
itself it meters itself: an agent's report on that is recorded, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from remit.core.answer import Reported
from remit.core.call import Report
from remit.core.canonical import digest
from remit.core.decision import Effect
from remit.core.effect import Effect as StoreEffect
from remit.core.effect import EndReservation, ProlongReservation
from remit.core.errors import IllegalTransition, NotFound
from remit.core.model import Subject
from remit.core.price import cost
from remit.pep import failures
from remit.pep.decide import HOLD_SECONDS, LONGEST_HOLD
from remit.pep.world import SECOND, World
from remit.pep.write import Entry, must_write
from remit.ports import JournalRow, Reservation

ENDED = frozenset({"settled", "voided"})
COUNTED = frozenset({"succeeded", "failed"})
LAPSED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a reservation ends: `cost` in nanos; `claimed` where the report's word was not taken over."""

    how: str
    cost: int
    usage: Mapping[str, int]
    claimed: bool


async def report(world: World, subject: Subject, told: Report) -> Reported:
    """Record a report, and settle, void or prolong. Raises NotFound, IllegalTransition."""
    row = await world.store.record(told.decision)
    if row is None or row.record.kind != "decision" or row.record.subject != subject.id:
        raise NotFound(f"{told.decision!r} is not a decision of {subject.id}")
    reservation = await world.store.reservation(told.decision)
    if reservation is None:
        id = await _append(world, told, row, (), _body(world, told, None))
        return await _advised(world, told, row, Reported(id, ""))
    if _sent_by_remit(row):
        return Reported(await _append(world, told, row, (), _claim(world, told)), reservation.state, claimed=True)
    mark = digest({"outcome": told.outcome, "usage": dict(told.usage), "error": told.error})
    if reservation.state in ENDED:
        return _again(reservation, mark)
    if told.outcome == "progress":
        return await _prolong(world, told, row, reservation)
    settlement = settle(world, reservation, told, row)
    effect = EndReservation(told.decision, settlement.how, settlement.cost, settlement.usage, mark)
    try:
        id = await _append(world, told, row, (effect,), _body(world, told, settlement))
    except IllegalTransition:
        return await _twin(world, told, mark)
    reported = Reported(
        id,
        settlement.how,
        cost=settlement.cost,
        overrun=max(0, settlement.cost - reservation.amount),
        claimed=settlement.claimed,
    )
    return await _advised(world, told, row, reported)


async def _advised(world: World, told: Report, row: JournalRow, reported: Reported) -> Reported:
    """With what policy's data says of a failed action: not of what was refused, or of what an erased record hides."""
    if told.outcome not in COUNTED or row.erased:
        return reported
    decided = orjson.loads(row.record.body)
    if decided["enforced"] and decided["effect"] != Effect.ALLOW:
        return reported
    resource = decided["resource"]
    advice, compensation = await failures.ended(
        world,
        subject=row.record.subject,
        service=resource["id"],
        operation=resource["operation"],
        workflow=row.record.workflow,
        decision=told.decision,
        failed=told.outcome == "failed",
    )
    return replace(reported, advice=advice, compensation=compensation)


def settle(world: World, reservation: Reservation, told: Report, row: JournalRow) -> Settlement:
    """The end of a reservation by a report's word, as far as that is believed."""
    service = world.catalogue.services.get(reservation.service)
    believed = service is not None and service.metering == "agent"
    if told.outcome == "not_sent":
        if believed:
            return Settlement("voided", 0, {}, False)
        return Settlement("settled", reservation.amount, {}, True)
    estimated = _estimated_units(row)
    usage = {**estimated, **told.usage}
    if not told.usage:
        return Settlement("settled", reservation.amount, usage, False)
    # Priced by the prices of the decision's moment: what was reserved and what is settled speak of one table.
    real = cost(
        world.catalogue,
        reservation.service,
        reservation.variant,
        usage=usage,
        time_ns=row.record.time,
        maxima={},
    )
    if real.amount is None:
        return Settlement("settled", reservation.amount, usage, True)
    if believed or real.amount >= reservation.amount:
        return Settlement("settled", real.amount, usage, False)
    return Settlement("settled", reservation.amount, usage, True)


def _sent_by_remit(row: JournalRow) -> bool:
    """Whether Remit itself sends what was decided. An erased record does not say, and so its reports change nothing."""
    return row.erased or "sent" in orjson.loads(row.record.body)


def _estimated_units(row: JournalRow) -> Mapping[str, int]:
    facts = orjson.loads(row.record.body).get("facts", {})
    units: Mapping[str, int] = facts.get("estimate", {}).get("units", {})
    return units


def _again(reservation: Reservation, mark: str) -> Reported:
    if reservation.report_digest != mark:
        raise IllegalTransition(
            f"decision {reservation.decision} was already reported otherwise, and is {reservation.state}"
        )
    overrun = max(0, reservation.spent - reservation.amount)
    return Reported("", reservation.state, cost=reservation.spent, overrun=overrun, replayed=True)


async def _twin(world: World, told: Report, mark: str) -> Reported:
    """What came in between: the same report, which is replayed, or another one. Raises IllegalTransition."""
    reservation = await world.store.reservation(told.decision)
    if reservation is None or reservation.state not in ENDED:
        raise IllegalTransition(f"the reservation of {told.decision} has lapsed; it can only be settled")
    return _again(reservation, mark)


async def _prolong(world: World, told: Report, row: JournalRow, reservation: Reservation) -> Reported:
    if reservation.state != "held":
        raise IllegalTransition(f"the reservation of {told.decision} is {reservation.state}; progress comes too late")
    service = world.catalogue.services.get(reservation.service)
    seconds = service.hold_seconds if service else HOLD_SECONDS
    deadline = world.clock.now() + seconds * SECOND
    if deadline > row.record.time + LONGEST_HOLD:
        raise IllegalTransition(f"decision {told.decision} has held its money for a day; report how it ended")
    effect = ProlongReservation(told.decision, deadline)
    id = await _append(world, told, row, (effect,), _body(world, told, None))
    return Reported(id, "held")


def _claim(world: World, told: Report) -> dict[str, Any]:
    return {**_body(world, told, None), "claimed": True}


def _body(world: World, told: Report, settlement: Settlement | None) -> dict[str, Any]:
    body: dict[str, Any] = {"outcome": told.outcome, "reported": dict(told.usage), "error": told.error}
    if settlement is not None:
        body |= {
            "state": settlement.how,
            "cost": str(settlement.cost),
            "currency": world.catalogue.currency,
            "usage": dict(settlement.usage),
            "claimed": settlement.claimed,
        }
    return body


async def _append(
    world: World, told: Report, row: JournalRow, effects: tuple[StoreEffect, ...], body: Mapping[str, Any]
) -> str:
    about = row.record
    entry = Entry("report", about.subject, body, workflow=about.workflow, ref=told.decision)
    id, _ = await must_write(world, entry, effects)
    return id


async def lapse_due(world: World) -> int:
    """End all held reservations whose deadline has passed: charged as reserved, presumed. Returns how many.

    Many at once, so that they share a sync of the disk: an agent can make holds faster than one can be ended alone.
    """
    lapsed = 0
    while due := await world.store.due(world.clock.now(), LAPSED_AT_ONCE):
        ended = sum(await asyncio.gather(*(_lapse(world, held) for held in due)))
        lapsed += ended
        if not ended:
            break
    return lapsed


async def _lapse(world: World, held: Reservation) -> bool:
    body = {"state": "lapsed", "cost": str(held.amount), "currency": world.catalogue.currency}
    entry = Entry("lapse", held.subject, body, workflow=held.workflow, ref=held.decision)
    try:
        await must_write(world, entry, (EndReservation(held.decision, "lapsed", held.amount, {}, ""),))
    except IllegalTransition:
        return False  # its report came in between: it has ended, or goes on
    await failures.vanished(world, held.subject, held.workflow, held.decision)
    return True
