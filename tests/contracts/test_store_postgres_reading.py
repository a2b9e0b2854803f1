"""Reading from PostgreSQL where network, server or caller fail: an answer, or a clear error within seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.commits import EUR, START, Desk, row
from fakes.cut_proxy import CutProxy, cut_proxy
from fakes.loop import in_loop, until
from fakes.store_postgres import Installation, open_store
from remit.backends.store_postgres import read_pool
from remit.backends.store_postgres.store import PostgresStore
from remit.core.errors import BadRequest, StoreUnavailable

BACKENDS = """
SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'remit-reads'
"""


@asynccontextmanager
async def opened(installation: Installation) -> AsyncIterator[PostgresStore]:
    """A store, closed in the end."""
    store = await open_store(installation)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def through(installation: Installation) -> AsyncIterator[tuple[PostgresStore, CutProxy]]:
    """A store behind a network that can be cut."""
    async with cut_proxy(installation.server.host, installation.server.port) as network:
        store = await open_store(installation, server=installation.reached(port=str(network.port)))
        try:
            yield store, network
        finally:
            await network.heal()
            await store.close()


@in_loop
async def test_many_questions_at_once_take_few_connections(installation: Installation) -> None:
    """As many as are needed, and never more than SIZE."""
    async with opened(installation) as store:
        await store.halts()
        assert installation.rows(BACKENDS) == [(1,)]
        await asyncio.gather(*(store.halts() for _ in range(50)))
        assert installation.rows(BACKENDS)[0][0] <= read_pool.SIZE


@in_loop
async def test_lost_connections_are_replaced_unseen(installation: Installation) -> None:
    """Whoever asks after the server has ended them all gets an answer."""
    async with opened(installation) as store:
        desk = Desk(store)
        await asyncio.gather(desk.must(), *(store.halts() for _ in range(8)))
        for _ in range(2):
            assert installation.cut() >= 1
            found = await asyncio.gather(*(store.record("d_000001") for _ in range(8)))
            assert all(each is not None for each in found)


@in_loop
async def test_a_server_that_cannot_be_reached_is_told_at_once(installation: Installation) -> None:
    """And as soon as it is there again, it is read from."""
    async with through(installation) as (store, network):
        await store.halts()
        network.refuse()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="PostgreSQL cannot be reached"):
            await store.halts()
        assert time.monotonic() - began < 4
        await network.heal()
        assert await store.halts() == ()


@in_loop
async def test_a_connection_that_says_nothing_is_not_waited_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent vanishes: whoever asks on it is told within seconds, and the next one has another."""
    async with through(installation) as (store, network):
        await store.halts()
        monkeypatch.setattr(read_pool, "STATEMENT_SECONDS", 0.2)
        network.swallow()
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await store.halts()
        await network.heal()
        monkeypatch.undo()
        assert await store.halts() == ()


@in_loop
async def test_a_server_that_is_too_slow_is_told(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up by itself, and the connection is not used again; nor does a caller wait for a place for ever."""
    monkeypatch.setitem(read_pool._SETTINGS, "statement_timeout", "300")
    monkeypatch.setattr(read_pool, "PLACE_SECONDS", 0.1)
    async with opened(installation) as store:
        with installation.owner.transaction():
            installation.run("LOCK TABLE remit.halt IN ACCESS EXCLUSIVE MODE")
            asked = [asyncio.create_task(store.halts()) for _ in range(read_pool.SIZE + 1)]
            told = [str(each) for each in await asyncio.gather(*asked, return_exceptions=True)]
        assert sum("no reading connection was free" in each for each in told) == 1, told
        assert sum("did not answer within" in each for each in told) == read_pool.SIZE, told
        assert await store.halts() == ()


@in_loop
async def test_whoever_leaves_in_the_middle_spoils_nothing(installation: Installation) -> None:
    """Its answer is read to the end by nobody; the connection serves others afterwards, and no other is made."""
    async with opened(installation) as store:
        await store.halts()
        with installation.owner.transaction():
            installation.run("LOCK TABLE remit.halt IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.create_task(store.halts())
            await asyncio.sleep(0.05)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await until(lambda: bool(store._reads._idle))
        for _ in range(3):
            assert await store.workflow("w_nothing") is None
        assert installation.rows(BACKENDS) == [(1,)]


@in_loop
async def test_a_text_that_cannot_be_stored_is_a_bad_question(installation: Installation) -> None:
    """U+0000, and what is no Unicode: nothing is cut off, and nothing else is found in its place."""
    async with opened(installation) as store:
        await Desk(store).must(id="d_1")
        for wrong in ("d_1\0", "d_1\udc00"):
            with pytest.raises(BadRequest):
                await store.record(wrong)
        for odd in ('d_1"', "{d_1}", "d_1\\", "d_1,", "NULL"):
            assert await store.record(odd) is None
            (room,) = await store.rooms([row(EUR, odd, odd)])
            assert (room.row.budget, room.limit) == (odd, EUR)


@in_loop
async def test_what_another_writer_may_end_alone_is_not_due(installation: Installation) -> None:
    """A reservation of a slice is its writer's while its lease lasts, and everybody's afterwards."""
    async with opened(installation) as store:
        desk = Desk(store)
        id = await desk.reserve(EUR, row(EUR), deadline=START)
        installation.run(f"UPDATE remit.reservation SET allotted = 'log_a' WHERE decision = '{id}'")

        assert [each.decision for each in await store.due(START, 10)] == [id]
        installation.run("UPDATE remit.log SET lease = clock_timestamp() + interval '1 minute'")
        assert await store.due(START, 10) == ()
        installation.run("UPDATE remit.log SET lease = '-infinity'")
