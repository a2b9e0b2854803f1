"""kill -9 of members and of PostgreSQL in the middle of their work: nothing answered is lost or spent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from counts import COUNTS, PROFILE, SEED, dice
from fakes.members_stage import durable_installation
from fakes.store_postgres import Installation, open_store
from race.books import answered
from race.fleet import MOST, Fleet
from race.mutants import unguarded_shipments
from remit.core.checkpoint import VerifierKey

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]
ROUNDS = 20
"""Kills in one story, after which another begins with empty books."""


@pytest.fixture(scope="module", name="durable")
def durable_fixture() -> Iterator[Installation]:
    """On a server of this file's own, which is killed too."""
    with durable_installation() as made:
        yield made


async def story(fleet: Fleet, random: Random, rounds: int) -> list[str]:
    """So many blows, each in the middle of a load; what is wrong when all has come to rest."""
    fleet.add("ann", "bob")
    fleet.add("cid", "ann")  # whom both decide for
    if PROFILE == "soak":
        fleet.add("dan", allotments=False)
    await fleet.run()
    blows = ["disk", "member", "postgres", "members"]
    for turn in range(rounds):
        await fleet.watch(random.uniform(0.2, 1.2))
        member = random.choice([each for each in fleet.members.values() if each.child is not None])
        match blows[turn] if turn < len(blows) else random.choice([*blows, "member", "members"]):
            case "member":
                await fleet.kill(member)
                await fleet.run(member)
            case "disk":
                await fleet.run(await fleet.lose(member))
            case "members":
                running = [each for each in fleet.members.values() if each.child is not None]
                await asyncio.gather(*(fleet.kill(each) for each in running))
                await fleet.run(*running)
            case "postgres":
                away = random.uniform(0.0, 1.5)
                await asyncio.gather(fleet.kill_postgres(seconds=away), fleet.watch(away + 0.5))
    await fleet.watch(0.5)
    await fleet.swept()
    await fleet.terminate()
    fleet.wrong += await _unverified(fleet.installation)
    return fleet.findings()


async def _unverified(installation: Installation) -> list[str]:
    """Every log, by the key with which its writer was registered."""
    keys = installation.rows("SELECT name, public_key FROM remit.log WHERE signed > 0")
    store = await open_store(installation, "auditor")
    found = await store.verify(*(VerifierKey(name, bytes(key)) for name, key in keys))
    await store.close()
    states = {each.log: each.state for each in found if each.log != "auditor"}
    return [f"journal: {log} is {state}" for log, state in states.items() if state == "broken"] + [
        f"journal: {name} is not signed by its writer" for name, _ in keys if states[name] != "authentic"
    ]


def _told(fleet: Fleet) -> str:
    decisions = [answered(each.said)[0] for each in fleet.members.values()]
    count = sum(map(len, decisions))
    local = sum(
        log != f"log_{each.name}" for each in fleet.members.values() for _, log in answered(each.said)[0].values()
    )
    return (
        f"{dict(fleet.kills)}: {count} answered ({local} ahead), {len(fleet.gone)} lost with disks, {fleet.looks} looks"
    )


@pytest.mark.timeout(0 if PROFILE == "soak" else 300)
def test_whatever_is_killed_nothing_answered_is_lost_or_spent_twice(durable: Installation, tmp_path: Path) -> None:
    """Members, their disks and PostgreSQL; books add up at every look, and every hold ends in time."""
    random, left = dice("members killed"), COUNTS.member_kills
    while left > 0:
        durable.empty()
        place = tmp_path / str(left)
        place.mkdir()
        fleet = Fleet(durable, place, limit=MOST * random.choice([60, 300, 2_000]), seed=random.getrandbits(32))
        wrong = asyncio.run(story(fleet, random, min(left, ROUNDS)))
        left -= ROUNDS
        print(_told(fleet))
        assert any(answered(each.said)[0] for each in fleet.members.values()), "nothing was ever answered"
        assert wrong[:20] == [], SEED


def test_a_store_that_answers_first_is_found(durable: Installation, tmp_path: Path) -> None:
    """What it had answered is not there after a kill."""

    async def scene(place: Path) -> list[str]:
        fleet = Fleet(durable, place, limit=MOST * 10**6, pause=0.0)
        member = fleet.add("ann", "bob", allotments=False, mutant="AnswersFirst")
        await fleet.run()
        await fleet.watch(0.5)
        await fleet.kill(member)
        return fleet.findings()

    found: list[str] = []
    for attempt in range(5):
        durable.empty()
        place = tmp_path / str(attempt)
        place.mkdir()
        found = asyncio.run(scene(place))
        if any("answered but not recorded" in each for each in found):
            return

    pytest.fail(f"not found: {found}")


def test_shipments_that_are_performed_twice_are_found(durable: Installation, tmp_path: Path) -> None:
    """Where the log's sequence does not guard them, the books do not add up."""
    durable.empty()
    with ExitStack() as stack:
        stack.enter_context(unguarded_shipments(durable))
        fleet = Fleet(durable, tmp_path, limit=MOST * 10**6)
        fleet.add("ann", mutant="ships_twice")

        async def scene() -> list[str]:
            await fleet.run()
            await fleet.watch(1.5)
            await fleet.kill(*fleet.members.values())
            return fleet.findings()

        found = asyncio.run(scene())

    assert any("is held, not" in each or "is spent, not" in each for each in found), found
