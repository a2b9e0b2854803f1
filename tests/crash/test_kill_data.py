"""kill -9 of the whole sidecar while agents write and read datasets: no write twice, no row that nobody knows of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from counts import COUNTS, dice
from data_agents import Reader, Told, Writer
from data_audit import violations
from data_place import READERS, WRITERS, Place, on_postgres, on_sqlite
from data_target import HOLD_SECONDS
from fakes.postgres_server import PostgresDatabase, PostgresServer
from remit.v1 import sidecar_pb2_grpc as g
from running import kill, select, start, stub, terminate

pytestmark = [pytest.mark.crash, pytest.mark.opa]
TARGET = Path(__file__).with_name("data_target.py")
KILLS = 2
"""Of one sidecar's state."""

LIFE_SECONDS = 0.3, 1.5
END_SECONDS = 60
DUE = "SELECT max(deadline) FROM reservation WHERE state = 'held'"


class Agents:
    """All of them, and what they were told."""

    def __init__(self, chance: Random) -> None:
        self.told = Told()
        self.writers = [Writer(name, self.told, chance) for name in WRITERS]
        self.readers = [Reader(name, self.told, chance) for name in READERS for _ in range(2)]

    async def work(self, clients: tuple[g.SidecarStub, ...]) -> None:
        """Until the sidecar is gone."""
        await asyncio.gather(*(each.work(clients) for each in (*self.writers, *self.readers)))

    async def finish(self, clients: tuple[g.SidecarStub, ...]) -> None:
        """Ask for what is unanswered, and once more for what was told."""
        async with asyncio.timeout(END_SECONDS):
            await asyncio.gather(*(each.finish(clients) for each in self.writers))
            await asyncio.gather(*(each.read(clients[0]) for each in self.readers))
            writers = {each.name: each for each in self.writers}
            answered = [each for each in self.told.writes if each.answers]
            for asked in answered[-20:] + answered[:20]:
                await writers[asked.agent].answered(clients, asked)


@asynccontextmanager
async def two_clients(directory: Path) -> AsyncIterator[tuple[g.SidecarStub, ...]]:
    """Each with a connection of its own."""
    async with stub(directory) as one, stub(directory) as other:
        yield one, other


async def one_life(place: Place, agents: Agents, *, seconds: float, mutant: str, server: PostgresServer | None) -> None:
    """Start, load, kill; of the sidecar, and sometimes of the server beside it."""
    process = await start(place.directory, mutant, target=TARGET)
    async with two_clients(place.directory) as clients:
        working = asyncio.create_task(agents.work(clients))
        await asyncio.sleep(seconds)  # not waiting for something: this is when the blow falls
        if server is not None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await asyncio.sleep(seconds / 2)
        await kill(process)
        await working


async def last_life(place: Place, agents: Agents) -> None:
    """A life in which everything is answered, and what nobody asks for any more lapses."""
    process = await start(place.directory, target=TARGET)
    async with two_clients(place.directory) as clients:
        await agents.finish(clients)
    await asyncio.sleep(HOLD_SECONDS + 1)  # as long as anything may still be held
    assert select(place.directory, DUE) == [(None,)], "something is held past its deadline"
    await terminate(process)


def attack(place: Place, *, kills: int, mutant: str = "", server: PostgresServer | None = None) -> list[str]:
    """So many kills of one sidecar's state; what was violated. One with a planted bug stays dead."""
    chance = dice(f"kill data {mutant} {place.directory.name}")
    agents = Agents(chance)

    async def scene() -> None:
        for _ in range(kills):
            await one_life(place, agents, seconds=chance.uniform(*LIFE_SECONDS), mutant=mutant, server=server)
        if not mutant:
            await last_life(place, agents)

    asyncio.run(scene())
    if not mutant:  # one with a planted bug is tried again until it shows
        assert any(each.answers for each in agents.told.writes), "no write was answered: the harness proves nothing"
        assert any(each.people for each in agents.told.shown), "no row was read: the harness proves nothing"
    return violations(place, agents.told)


@pytest.mark.timeout(600)
def test_no_write_is_doubled_and_no_row_unseen_whenever_it_is_killed(tmp_path: Path) -> None:
    """A key's write was done as it was told, once, and is paid once; of each row that came it is known whose it is."""
    for turn in range(max(1, COUNTS.kills // 12)):
        directory = tmp_path / str(turn)
        directory.mkdir()
        mode = dice(f"mode {turn}").choice(["delete", "wal"])
        found = attack(on_sqlite(directory, mode), kills=KILLS)
        assert not found, "\n".join([f"journal mode {mode}", *found])


@pytest.mark.timeout(600)
def test_the_same_where_the_database_s_server_is_killed_too(tmp_path: Path, fresh: PostgresDatabase) -> None:
    """PostgreSQL goes down in the middle of writes and answers, and comes back; then the sidecar is killed as well."""
    found = attack(on_postgres(tmp_path, fresh), kills=max(1, COUNTS.kills // 12), server=fresh.server)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("mutant", "found"),
    [
        ("writes_twice", " times"),
        ("records_late", "people who are not recorded"),
        ("voids_unknown", "is not paid: ('voided'"),
    ],
)
@pytest.mark.timeout(600)
def test_the_harness_finds_a_planted_bug(tmp_path: Path, mutant: str, found: str) -> None:
    """A write that does not claim its execution, rows that go out before they are recorded, an outcome made up."""
    violated: list[str] = []
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        violated = attack(on_sqlite(directory, "wal"), kills=1, mutant=mutant)
        if any(found in each for each in violated):
            break

    assert any(found in each for each in violated)
