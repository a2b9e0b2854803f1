"""Terms under attack: leases that others have taken from, writers that are not the log's, costs beyond all sums."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fakes.commits import EUR, START, Desk, row
from fakes.loop import in_loop
from fakes.store_postgres import DESK, Installation, open_store
from fakes.store_shared import open_sidecar
from remit.backends.store_shared.store import SharedStore
from remit.core.effect import AdjustBudget, Commit, Committed, EndReservation, Record, Reserve
from remit.core.model import Versions
from remit.core.reservation import MAX_NANOS, MAX_TOTAL
from remit.ports import FactsQuery

CENT = EUR // 100
ROW = {"budget": "month", "scope": "", "start": 0, "end": 0, "limit": 100 * EUR}
NOTHING = {"flows": [], "rooms": [], "now": START}


@contextmanager
def member(installation: Installation, log: str, lease_ms: int) -> Iterator[psycopg.Connection[Any]]:
    """A writer of a local log, whose term has begun."""
    with closing(installation.connect()) as connection:
        call(connection, "take_log", log=log, kind="local", key="00" * 32, time=START)
        call(connection, "begin_term", log=log, lease_ms=lease_ms, **NOTHING)
        yield connection


def call(connection: psycopg.Connection[Any], function: str, **asked: object) -> Any:
    """What a function answers to a member."""
    rows = connection.execute(f"SELECT remit.{function}(%s::jsonb)".encode(), [json.dumps(asked)]).fetchone()
    assert rows is not None
    return rows[0]


def test_a_pulse_that_is_durable_too_late_prolongs_no_lease_that_others_took_from(installation: Installation) -> None:
    """Asked while the lease lasted, its commit took until that had passed: one of the two has the session."""
    with (
        member(installation, "la", 5000) as one,
        member(installation, "lb", 10_000) as other,
        closing(installation.connect()) as pulse,
    ):
        call(one, "settle_homes", log="la", subjects=["ann"], most=5)
        installation.run("UPDATE remit.log SET lease = clock_timestamp() + interval '1 s' WHERE name = 'la'")
        pulse.autocommit = False
        assert "lost" not in call(pulse, "pulse", log="la", lease_ms=5000, **NOTHING)
        time.sleep(1.05)
        taken = call(other, "settle_homes", log="lb", subjects=["ann"], most=5)
        pulse.commit()
        lost = "lost" in call(pulse, "pulse", log="la", lease_ms=5000, **NOTHING)
        assert (taken == {}) != lost


def test_what_was_taken_from_a_lease_that_has_passed_stays_taken(installation: Installation) -> None:
    """No pulse prolongs it: its writer begins anew."""
    with member(installation, "la", 5000) as one, member(installation, "lb", 5000) as other:
        call(one, "settle_homes", log="la", subjects=["ann"], most=5)
        installation.run("UPDATE remit.log SET lease = clock_timestamp() WHERE name = 'la'")
        assert call(other, "settle_homes", log="lb", subjects=["ann"], most=5) == {"ann": []}
        assert call(one, "pulse", log="la", lease_ms=1000, **NOTHING) == {"lost": True}


def test_several_take_from_one_lease_that_has_passed_at_once(installation: Installation) -> None:
    """Nobody is in another's way."""
    with (
        member(installation, "la", 5000) as one,
        member(installation, "lb", 5000) as two,
        member(installation, "lc", 5000) as three,
    ):
        call(one, "settle_homes", log="la", subjects=["ann", "bob"], most=5)
        installation.run("UPDATE remit.log SET lease = clock_timestamp() WHERE name = 'la'")
        two.autocommit = False
        assert call(two, "settle_homes", log="lb", subjects=["ann"], most=5) == {"ann": []}
        assert call(three, "settle_homes", log="lc", subjects=["bob"], most=5) == {"bob": []}
        two.commit()


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        ("begin_term", {"lease_ms": 1000, **NOTHING}),
        ("close_books", {"now": START}),
        ("take_slices", {"rows": [{**ROW, "amount": CENT}]}),
        ("settle_homes", {"subjects": ["bob"], "most": 5}),
        ("leave_homes", {"subjects": ["ann"]}),
        ("ship", {"first": 1, "records": [], "effects": [], "checkpoints": []}),
    ],
)
def test_nobody_else_does_anything_in_a_connected_writers_name(
    installation: Installation, function: str, asked: dict[str, object]
) -> None:
    """By hand, as a role that may call the functions."""
    with member(installation, "la", 5000) as one, closing(installation.connect()) as stranger:
        call(one, "settle_homes", log="la", subjects=["ann"], most=5)
        call(one, "take_slices", log="la", rows=[{**ROW, "amount": EUR}])
        with pytest.raises(psycopg.errors.Error) as refused:
            call(stranger, function, log="la", **asked)
        assert refused.value.sqlstate == "RM101"
    assert installation.rows("SELECT subject FROM remit.home") == [("ann",)]
    assert installation.rows("SELECT allotted, drawn FROM remit.allotment") == [(EUR, 0)]


async def decided(store: SharedStore, id: str, amount: int) -> Committed:
    """A model call of ann's that reserves."""
    facts = await store.facts(FactsQuery("ann", "process", "", "model", (row(100 * EUR),)))
    reserve = Reserve(id, "ann", "", "model", "large", "ml", (row(100 * EUR),), amount, START + 60 * EUR)
    seen = Versions(facts.labels_version, 0, facts.halts_version, "r1")
    record = Record("decision", id, START, "ann", "", "", "", b"{}", bytes(16))
    outcome = await store.commit(Commit(record, (reserve,), seen, "ann", "", "api.call"))
    assert isinstance(outcome, Committed), outcome
    return outcome


async def here(store: SharedStore, made: list[str], count: int) -> list[str]:
    """So many calls that were decided by the sidecar itself, after as many others as it takes."""
    found: list[str] = []
    end = time.monotonic() + 5
    while len(found) < count:
        made.append(f"d_{len(made):04d}")
        if (await decided(store, made[-1], CENT)).log != store.log:
            found.append(made[-1])
        assert time.monotonic() < end, "nothing is decided here"
    return found


@in_loop
async def test_costs_beyond_all_sums_are_shipped_too(installation: Installation, tmp_path: Path) -> None:
    """What no number holds must not keep a log from being shipped, for ever."""
    store = await open_sidecar(installation, tmp_path / "a", "a")
    for id in await here(store, [], 10):
        record = Record("report", f"e_{id}", START, "ann", "", "", id, b"{}", bytes(16))
        await store.commit(Commit(record, (EndReservation(id, "settled", MAX_NANOS, {"call": 1}, "x"),)))
    (room,) = await store.rooms([row(100 * EUR)])
    assert room.spent == MAX_TOTAL
    await store.close()
    assert installation.rows("SELECT count(*) FROM remit.allotment") == [(0,)]


@in_loop
async def test_what_a_database_that_was_set_back_has_lost_is_shipped_again(
    installation: Installation, tmp_path: Path
) -> None:
    """At once, and not with the next decision: until then its money would be anybody's."""
    store = await open_sidecar(installation, tmp_path / "a", "a")
    made: list[str] = []
    await here(store, made, 1)
    await store.rooms([])
    ((log, sequence, head),) = installation.rows("SELECT name, sequence, head FROM remit.log WHERE kind = 'local'")
    known = len(made)
    await here(store, made, 5)
    await store.rooms([])
    lost = made[known:]
    installation.cut()
    installation.rows("DELETE FROM remit.journal WHERE log = %s AND sequence > %s RETURNING 1", [log, sequence])
    installation.rows("DELETE FROM remit.reservation WHERE decision = ANY (%s) RETURNING 1", [lost])
    installation.rows(
        "UPDATE remit.log SET sequence = %s, head = %s, lease = '-infinity' WHERE name = %s RETURNING 1",
        [sequence, head, log],
    )
    end = time.monotonic() + 5
    while len(installation.rows("SELECT id FROM remit.journal WHERE id = ANY (%s)", [lost])) < len(lost):
        assert time.monotonic() < end, "they were not shipped again"
        await asyncio.sleep(0.02)
    await store.close()


@in_loop
async def test_what_slices_have_left_is_no_call_s_and_refuses_nobody(
    installation: Installation, tmp_path: Path
) -> None:
    """Policy judges by what calls hold: else it refused what the ledger has room for, before anybody asked for it."""
    first, second = [await open_sidecar(installation, tmp_path / name, name) for name in ("a", "b")]
    made: list[str] = []
    await here(first, made, 3)
    await first.rooms([])  # all of it is shipped
    for store, subject in ((second, "bob"), (first, "bob"), (first, "ann")):
        facts = await store.facts(FactsQuery(subject, "process", "", "model", (row(100 * EUR),)))
        (room,) = facts.budgets
        assert room.idle > 0 and room.held == len(made) * CENT + room.idle
        assert room.reserved == len(made) * CENT
    await first.close()
    await second.close()


@in_loop
async def test_slices_come_back_when_a_limit_is_lowered(installation: Installation, tmp_path: Path) -> None:
    """They were within the limit of before."""
    store = await open_sidecar(installation, tmp_path / "a", "a")
    desk = await open_store(installation, "log_desk", role=DESK)
    await here(store, [], 1)
    left = "SELECT coalesce(sum(greatest(0, allotted - drawn)), 0) FROM remit.allotment"
    assert installation.rows(left) > [(0,)]
    await Desk(desk, count=10**6).must(AdjustBudget(row(100 * EUR), -100 * EUR))
    end = time.monotonic() + 1.5
    while installation.rows(left) != [(0,)]:
        assert time.monotonic() < end, "what was left was not given back"
        await store.workflow("none")
    await desk.close()
    await store.close()
