"""A call under way when a budget's window ends belongs to the window in which it was reserved, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.leaving import Leaving, chat, leaving, run
from fakes.world import FakeClock, subject
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.ledger import Ledger
from remit.core.catalogue import Budget
from remit.core.effect import EndReservation
from remit.core.errors import RemitError
from remit.core.model import BudgetRow
from remit.core.window import window_at
from remit.pep.egress import Passage
from remit.pep.meter import End, How
from remit.pep.report import lapse_due

ANALYSIS = subject("analysis")
BERLIN, NEW_YORK, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DONE = End(How.SUCCEEDED, {"input_token": 5, "output_token": 1}, complete=True)
COST = 15_000_000
SECOND = 10**9


def at(zone: ZoneInfo, *when: int) -> int:
    """A local time, in ns since the epoch."""
    return int(datetime(*when, tzinfo=zone).timestamp()) * SECOND  # type: ignore[arg-type]


# kind, zone, the moment at which one window ends and the next begins
EDGES = {
    "month in UTC": ("month", UTC_ZONE, at(UTC_ZONE, 2027, 4, 1)),
    "year's end in UTC": ("month", UTC_ZONE, at(UTC_ZONE, 2028, 1, 1)),
    "leap day": ("day", UTC_ZONE, at(UTC_ZONE, 2028, 2, 29)),
    "month in Berlin, before UTC's": ("month", BERLIN, at(BERLIN, 2027, 4, 1)),
    "month in New York, after UTC's": ("month", NEW_YORK, at(NEW_YORK, 2027, 4, 1)),
    "week in Berlin": ("week", BERLIN, at(BERLIN, 2027, 4, 5)),
    "start of the day of 23 hours": ("day", BERLIN, at(BERLIN, 2027, 3, 28)),
    "end of the day of 23 hours": ("day", BERLIN, at(BERLIN, 2027, 3, 29)),
    "end of the day of 25 hours": ("day", BERLIN, at(BERLIN, 2027, 11, 1)),
    "the hour that is skipped": ("hour", BERLIN, at(UTC_ZONE, 2027, 3, 28, 1)),
    "end of the hour that passes twice": ("hour", BERLIN, at(UTC_ZONE, 2027, 10, 31, 2)),
    "day of 23 hours in New York": ("day", NEW_YORK, at(NEW_YORK, 2027, 3, 15)),
}


@asynccontextmanager
async def ready(path: Path, kind: str, zone: ZoneInfo, store: type[SqliteStore] = SqliteStore) -> Any:
    """A world on a real store, with a budget that has room for one call in each window."""
    site = leaving(budgets={"edge": Budget(limit=10**18, window=kind, zone=zone)})
    site.world.store = store(path, clock=site.world.clock, ids=site.world.ids, key=KEY)
    site.world.store.activate("r1")
    first = await begun(site)
    await voided(site, first)
    bound = first.held.reserved
    budgets = {"edge": Budget(limit=bound, window=kind, zone=zone)}
    catalogue = replace(site.world.catalogue, budgets=budgets)
    site.world.installation = replace(site.world.installation, catalogue=catalogue)
    try:
        yield site
    finally:
        await site.world.store.close()


async def begun(site: Leaving) -> Passage:
    return await site.passage(ANALYSIS, chat())


async def room(site: Leaving, kind: str, zone: ZoneInfo, time: int) -> tuple[int, int]:
    """What is spent and held in the window of a time."""
    window = window_at(kind, zone, time)
    (found,) = await site.world.store.rooms([BudgetRow("edge", "", window.start, window.end, 1)])
    return found.spent, found.held


def go_to(site: Leaving, time: int) -> None:
    assert isinstance(site.world.clock, FakeClock)
    site.world.clock.time = time


Ending = Callable[[Leaving, Passage], Coroutine[Any, Any, int]]


async def settled(site: Leaving, passage: Passage) -> int:
    await site.egress.ended(passage, DONE)
    return COST


async def voided(site: Leaving, passage: Passage) -> int:
    await site.egress.ended(passage, End(How.NOT_SENT))
    return 0


async def cut(site: Leaving, passage: Passage) -> int:
    await site.egress.ended(passage, End(How.CUT))
    return passage.held.reserved


async def lapsed(site: Leaving, passage: Passage) -> int:
    site.pass_seconds(301)
    assert await lapse_due(site.world) == 1
    return passage.held.reserved


async def lapsed_and_settled(site: Leaving, passage: Passage) -> int:
    await lapsed(site, passage)
    return await settled(site, passage)


async def prolonged_and_settled(site: Leaving, passage: Passage) -> int:
    for _ in range(4):
        site.pass_seconds(200)
        assert await site.egress.prolong(passage)
        assert await lapse_due(site.world) == 0
    return await settled(site, passage)


ENDINGS = (settled, voided, cut, lapsed, lapsed_and_settled, prolonged_and_settled)


async def across(site: Leaving, kind: str, zone: ZoneInfo, edge: int, ending: Ending) -> None:
    """A call from the last nanosecond of a window into the next, and another one in that."""
    last = edge - 1
    go_to(site, last)
    first = await begun(site)
    refused = await site.refused(ANALYSIS, chat())
    assert [each.code for each in refused.reasons] == ["budget_exhausted"]
    assert await room(site, kind, zone, last) == (0, first.held.reserved)

    go_to(site, edge)
    assert await room(site, kind, zone, edge) == (0, 0)
    second = await begun(site)
    assert await room(site, kind, zone, last) == (0, first.held.reserved)
    assert await room(site, kind, zone, edge) == (0, second.held.reserved)
    await site.egress.ended(second, DONE)

    cost = await ending(site, first)
    assert await room(site, kind, zone, last) == (cost, 0)
    assert await room(site, kind, zone, edge) == (COST, 0)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
@pytest.mark.parametrize("name", EDGES)
def test_a_call_across_a_boundary_is_booked_where_it_was_reserved(tmp_path: Path, name: str, ending: Ending) -> None:
    """It neither takes room of the next window nor makes any there; the next one is free from its first nanosecond."""
    kind, zone, edge = EDGES[name]

    async def scene() -> None:
        async with ready(tmp_path / "state.db", kind, zone) as site:
            await across(site, kind, zone, edge, ending)

    run(scene())


@pytest.mark.parametrize(
    ("kind", "zone", "inside"),
    [
        ("hour", BERLIN, at(UTC_ZONE, 2027, 10, 31, 1)),  # the clocks go back from 3 to 2
        ("day", BERLIN, at(UTC_ZONE, 2027, 10, 31, 1)),
        ("day", BERLIN, at(UTC_ZONE, 2027, 3, 28, 1)),
        ("month", BERLIN, at(UTC_ZONE, 2027, 4, 1)),  # UTC's month ends, Berlin's has ended before
        ("month", NEW_YORK, at(UTC_ZONE, 2027, 4, 1)),
        ("day", NEW_YORK, at(UTC_ZONE, 2027, 11, 7, 6)),
    ],
)
def test_where_clocks_change_or_others_turn_no_new_window_begins(
    tmp_path: Path, kind: str, zone: ZoneInfo, inside: int
) -> None:
    """A window that is used up stays so, and what is settled makes room in it."""

    async def scene() -> None:
        async with ready(tmp_path / "state.db", kind, zone) as site:
            go_to(site, inside - 1)
            first = await begun(site)
            go_to(site, inside)
            await site.refused(ANALYSIS, chat())
            await site.egress.ended(first, End(How.NOT_SENT))
            await begun(site)

    run(scene())


def test_windows_of_several_budgets_end_each_at_its_time(tmp_path: Path) -> None:
    """A day ends within a month: the call stays in both rows in which it was reserved."""
    edge = at(BERLIN, 2027, 3, 29)

    async def scene() -> None:
        async with ready(tmp_path / "state.db", "day", BERLIN) as site:
            budgets = {**site.world.catalogue.budgets, "month": Budget(limit=10**18, window="month", zone=BERLIN)}
            catalogue = replace(site.world.catalogue, budgets=budgets)
            site.world.installation = replace(site.world.installation, catalogue=catalogue)
            go_to(site, edge - 1)
            first = await begun(site)
            go_to(site, edge)
            second = await begun(site)
            await site.egress.ended(second, DONE)
            await site.egress.ended(first, DONE)
            window = window_at("month", BERLIN, edge)
            (month,) = await site.world.store.rooms([BudgetRow("month", "", window.start, window.end, 1)])
            assert (month.spent, month.held) == (2 * COST, 0)
            assert [await room(site, "day", BERLIN, time) for time in (edge - 1, edge)] == [(COST, 0)] * 2

    run(scene())


class BooksWhereItEnds(Ledger):
    """Planted bug: a call is booked in the windows of the time at which it ends."""

    def end(self, ended: EndReservation, now: int) -> None:
        rows = "SELECT json_group_array(id) FROM budget WHERE start_ns <= ?1 AND ?1 < end_ns"
        self._db.do(f"UPDATE reservation SET budgets = ({rows}) WHERE decision = ?2", now, ended.decision)
        super().end(ended, now)


class Mistaken(SqliteStore):
    """The store with it."""

    ledger_type = BooksWhereItEnds


def test_a_ledger_that_books_where_a_call_ends_is_found_out(tmp_path: Path) -> None:
    """The scene above does not pass with it."""
    kind, zone, edge = EDGES["month in UTC"]

    async def scene() -> None:
        async with ready(tmp_path / "state.db", kind, zone, Mistaken) as site:
            await across(site, kind, zone, edge, settled)

    with pytest.raises((AssertionError, RemitError)):
        run(scene())
