"""PostgreSQL is killed, and wires to it are cut, in the middle of writes: each execution is done, and done once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from counts import COUNTS, dice
from fakes.databases import AMPLE, TOKENIZER, PostgresOwner, Site
from fakes.loop import in_loop
from fakes.postgres_server import PostgresDatabase
from fakes.wire import Wire, wire
from remit.backends.database_postgres import PostgresDatabase as RemitPostgres
from remit.backends.database_postgres import writing
from remit.ports import Database, DatabaseFailed, Failure, Write

WRITERS = 4
KILLS = max(3, COUNTS.kills // 4)
PAY = "INSERT INTO payments (execution) VALUES (:execution)"
# A caller that repeats what failed. Without a claim of the execution it pays twice, sooner or later.
UNCLAIMED = b"INSERT INTO public.remit_executions (id, result) VALUES ($1 || gen_random_uuid()::text, '')"


@dataclass
class Till:
    """What callers were told, and whether there is more to pay."""

    open: bool = True
    answered: list[str] = field(default_factory=list)


async def payer(database: Database, till: Till, name: str) -> None:
    """Pays under one id after the other, each until it is answered."""
    number = 0
    while till.open:
        number += 1
        execution = f"{name}-{number}"
        write = Write(execution, PAY, {"execution": execution}, replace(AMPLE, seconds=2.0))
        await paid_at_last(database, till, write)


async def paid_at_last(database: Database, till: Till, write: Write) -> None:
    """Asks for a write until it is answered."""
    while True:
        try:
            await database.write(write)
        except DatabaseFailed as error:
            assert error.failure in {Failure.UNAVAILABLE, Failure.TIMED_OUT, Failure.INTERNAL}
            await asyncio.sleep(0)
        else:
            till.answered.append(write.execution)
            return


def paid_so(site: Site) -> list[tuple[str, int]]:
    """Which executions were paid, and how often."""
    return [tuple(row) for row in site.owner.rows("SELECT execution, count(*) FROM payments GROUP BY execution")]


async def killed(site: Site, owner: PostgresOwner, kills: int) -> tuple[Till, list[tuple[str, int]]]:
    """Payers beside a server that is killed again and again: what they were told, and what was paid (how often)."""
    site.owner.run("CREATE TABLE payments (execution text)")
    server, chance, till = owner.inner.server, dice("killed database"), Till()
    pause = threading.Event()

    def kill() -> None:
        for _ in range(kills):
            pause.wait(chance.uniform(0.02, 0.25))
            server.kill()
            server.start()

    async with site.opened() as database:
        payers = [asyncio.create_task(payer(database, till, f"p{n}")) for n in range(WRITERS)]
        await asyncio.to_thread(kill)
        till.open = False
        await asyncio.gather(*payers)
    return till, paid_so(site)


@in_loop
@pytest.mark.crash
async def test_each_execution_happens_once_whenever_the_server_dies(fresh: PostgresDatabase) -> None:
    """Whoever was answered finds what was paid; nobody pays twice, however often it was asked for."""
    owner = PostgresOwner(fresh)

    till, paid = await killed(Site(owner), owner, KILLS)

    assert {count for _, count in paid} == {1}
    assert sorted(name for name, _ in paid) == sorted(till.answered)


@asynccontextmanager
async def cut(owner: PostgresOwner, chance: Random) -> AsyncIterator[tuple[Wire, RemitPostgres]]:
    """A database behind a wire that breaks at a chunk in ten, once the session stands."""

    def breaks(who: str, chunk: bytes) -> str:
        # The steps of a write: what comes before them only costs time.
        own = (b"remit_executions", b"COMMIT", b"payments", b"BEGIN", b"INSERT 0")
        if not any(each in chunk for each in own) or chance.random() > 0.07:
            return ""
        return chance.choice(["before", "after"])

    async with wire(owner.inner.server.port, breaks) as between:
        session = owner.session(30, writes=True)
        place = replace(session.place, port=between.port)
        database = RemitPostgres(None, replace(session, place=place), {}, tokenizer=TOKENIZER)
        try:
            yield between, database
        finally:
            await database.close()


async def paid_behind_a_wire(
    site: Site, owner: PostgresOwner, payments: int
) -> tuple[Till, list[tuple[str, int]], int]:
    """So many payments over a wire that breaks; how often it did."""
    site.owner.run("CREATE TABLE payments (execution text)")
    till = Till()
    async with cut(owner, dice("cut database")) as (between, database):
        for number in range(payments):
            execution = f"w-{number}"
            write = Write(execution, PAY, {"execution": execution}, replace(AMPLE, seconds=10.0))
            await paid_at_last(database, till, write)
    return till, paid_so(site), between.broken


@in_loop
@pytest.mark.crash
async def test_each_execution_happens_once_wherever_the_wire_breaks(fresh: PostgresDatabase) -> None:
    """Before or after each step reaches the server, and before or after its answer comes back."""
    owner = PostgresOwner(fresh)

    till, paid, broken = await paid_behind_a_wire(Site(owner), owner, COUNTS.cuts)

    assert broken > COUNTS.cuts // 10
    assert {count for _, count in paid} == {1}
    assert sorted(name for name, _ in paid) == sorted(till.answered)


@in_loop
@pytest.mark.crash
async def test_the_harness_finds_a_write_that_does_not_claim_its_execution(
    fresh: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a commit whose answer was lost is simply made again."""
    monkeypatch.setattr(writing, "_CLAIM", UNCLAIMED)
    owner = PostgresOwner(fresh)

    _, paid, _ = await paid_behind_a_wire(Site(owner), owner, COUNTS.cuts)

    assert max(count for _, count in paid) > 1
