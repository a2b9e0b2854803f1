"""What one caller may have under way: bounded, so that nobody takes the places of all, and given back at its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes.egress_desk import AGENT, CATALOGUE, WAITS, FakeDesk, denial, held
from fakes.loop import in_loop, until
from remit.core.answer import Answer
from remit.core.call import Claimed, Objection
from remit.core.egress.exchange import HttpRequest, Mapped
from remit.core.errors import StoreUnavailable
from remit.core.model import Subject
from remit.core.reason import Reason
from remit.listeners.egress_caller import Caller
from remit.listeners.egress_desk import (
    BYTES_PER_CALLER,
    MAX_BYTES,
    OPEN_PER_CALLER,
    PER_CALLER,
    WAITING_BYTES_PER_CALLER,
    WAITING_PER_CALLER,
    EgressDesk,
)
from remit.listeners.grpc_status import Overloaded
from remit.pep.egress import Attempt, Passage
from remit.pep.meter import End, How
from remit.pep.outwait import Patience

ATTEMPT = Attempt("crm", HttpRequest("GET", "http", "x", "/"), Claimed())
CHECK = Attempt("crm", HttpRequest("GET", "http", "x", "/"), Claimed(), rewrites=False)
OTHER = Subject("agent", "another", AGENT.team, (), AGENT.identity)


class FakeEgress:
    """Permits, unless told otherwise; settles."""

    def __init__(self) -> None:
        self.denies = self.fails = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.stayed: list[bool] = []

    async def begin(self, subject: Subject, attempt: Attempt, patience: Patience | None = None) -> Passage | Answer:
        if attempt.wait and patience is not None:
            self.stayed.append(await patience.stays(attempt.wait))
            if not self.stayed[-1]:
                return held("d", WAITS)
        await self.goes_on.wait()
        if self.fails:
            raise StoreUnavailable("for a test")
        if self.denies:
            return denial("d", Objection(Reason.HALTED, ""))
        passage = FakeDesk()._passage("d", "crm", CATALOGUE.services["crm"], Mapped(""))
        assert passage.subject == AGENT
        return passage

    async def ended(self, passage: Passage, end: End) -> None:
        """Settled."""


def made() -> tuple[EgressDesk, FakeEgress]:
    egress, other = FakeEgress(), object()
    rest: Any = other
    fake: Any = egress
    return EgressDesk(fake, rest, rest, rest, catalogue=lambda: CATALOGUE, nonce="n"), egress


async def permitted(desk: EgressDesk, attempt: Attempt = ATTEMPT) -> Passage:
    begun = await desk.begin(AGENT, attempt)
    assert isinstance(begun, Passage)
    return begun


@in_loop
async def test_one_caller_has_so_many_calls_under_way_and_others_go_on() -> None:
    desk, _ = made()
    held = [await permitted(desk) for _ in range(OPEN_PER_CALLER)]
    with pytest.raises(Overloaded):
        await desk.begin(AGENT, ATTEMPT)
    assert isinstance(await desk.begin(OTHER, ATTEMPT), Passage)
    await desk.settle(held[0], End(How.CUT))
    await permitted(desk)
    with pytest.raises(Overloaded):
        await desk.begin(AGENT, ATTEMPT)


@in_loop
async def test_what_was_refused_or_failed_or_is_not_seen_to_end_takes_no_place() -> None:
    """Denials, a store that is away, and the checks of other people's Envoys."""
    desk, egress = made()
    for _ in range(OPEN_PER_CALLER + PER_CALLER):
        egress.denies, egress.fails = True, False
        assert isinstance(await desk.begin(AGENT, ATTEMPT), Answer)
        egress.denies, egress.fails = False, True
        with pytest.raises(StoreUnavailable):
            await desk.begin(AGENT, ATTEMPT)
        egress.fails = False
        await permitted(desk, CHECK)
    for _ in range(OPEN_PER_CALLER):
        await permitted(desk)


@in_loop
async def test_bodies_that_are_being_decided_have_a_bound_in_all_and_for_each_caller() -> None:
    """Large ones are refused for a moment rather than held by the dozen; small ones of others go on meanwhile."""
    desk, egress = made()
    large = Attempt("crm", HttpRequest("POST", "http", "x", "/", body=bytes(BYTES_PER_CALLER // 2 + 1)), Claimed())
    egress.goes_on.clear()
    callers = [Subject("agent", f"a{number}", AGENT.team, (), AGENT.identity) for number in range(8)]
    deciding = [asyncio.ensure_future(desk.begin(each, large)) for each in (AGENT, *callers)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded, match="bytes of bodies of one caller"):
        await desk.begin(AGENT, large)
    egress.goes_on.set()
    ended = await asyncio.gather(*deciding, return_exceptions=True)

    fits = MAX_BYTES // (BYTES_PER_CALLER // 2 + 1)
    assert [isinstance(each, Passage) for each in ended] == [True] * fits + [False] * (len(ended) - fits)
    assert {type(each) for each in ended[fits:]} == {Overloaded}
    await permitted(desk, large)


@in_loop
async def test_calls_that_wait_take_no_place_of_those_that_are_decided_and_have_a_bound_of_their_own() -> None:
    """Those beyond it have their answer at once; a place is free again as its call ends, or its caller leaves."""
    desk, egress = made()
    patient = replace(ATTEMPT, wait=10**9)
    egress.goes_on.clear()
    callers = [Caller() for _ in range(WAITING_PER_CALLER)]
    waiting = [asyncio.ensure_future(desk.begin(AGENT, patient, each)) for each in callers]
    await until(lambda: egress.stayed == [True] * WAITING_PER_CALLER)

    beyond = Caller()
    assert await desk.begin(AGENT, patient, beyond) == held("d", WAITS) and beyond.refused
    assert not any(each.refused for each in callers)
    others = asyncio.ensure_future(desk.begin(OTHER, patient, Caller()))
    deciding = [asyncio.ensure_future(desk.begin(AGENT, ATTEMPT, Caller())) for _ in range(PER_CALLER)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await desk.begin(AGENT, ATTEMPT)

    egress.goes_on.set()
    assert all(isinstance(each, Passage) for each in await asyncio.gather(others, *waiting, *deciding))
    assert isinstance(await desk.begin(AGENT, patient, Caller()), Passage)


@in_loop
async def test_bytes_that_wait_are_bounded_and_are_not_those_that_are_decided() -> None:
    """A body too large for what is left has its answer at once; it holds no bytes afterwards."""
    desk, egress = made()
    large = HttpRequest("POST", "http", "x", "/", body=bytes(WAITING_BYTES_PER_CALLER // 2 + 1))
    patient = Attempt("crm", large, Claimed(), wait=10**9)
    egress.goes_on.clear()
    first = asyncio.ensure_future(desk.begin(AGENT, patient, Caller()))
    await until(lambda: egress.stayed == [True])

    assert await desk.begin(AGENT, patient, Caller()) == held("d", WAITS)

    rest = HttpRequest("POST", "http", "x", "/", body=bytes(BYTES_PER_CALLER))
    whole = asyncio.ensure_future(desk.begin(AGENT, Attempt("crm", rest, Claimed()), Caller()))
    egress.goes_on.set()
    assert isinstance(await whole, Passage) and isinstance(await first, Passage)


@in_loop
async def test_who_has_left_does_not_begin_to_wait() -> None:
    desk, egress = made()
    gone = Caller()
    gone.leave()
    assert await desk.begin(AGENT, replace(ATTEMPT, wait=10**9), gone) == held("d", WAITS)
    assert egress.stayed == [False] and not gone.refused
