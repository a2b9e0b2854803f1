"""kill -9 of the whole sidecar at any time: nothing answered is lost, nothing is overspent, nothing stays stuck."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from counts import COUNTS, dice
from remit.v1 import resources_pb2 as r
from running import Answered, ask_until_dead, kill, prepare, recorded, select, start, stub, terminate, verified

pytestmark = pytest.mark.crash
CALLERS = 16
MAX_ROUND_SECONDS = 0.4
FILL_SECONDS = 60
# By the catalogue's limits (nanos), not by those that the store wrote down itself.
OVERSPENT = """
    SELECT budget, spent, held FROM budget
    WHERE spent + held > CASE budget WHEN 'total' THEN 3000000000 WHEN 'each-agent' THEN 2500000000 END
"""
STUCK = "SELECT decision FROM reservation WHERE state = 'held' AND deadline < {before}"


async def one_round(directory: Path, answered: Answered, *, seconds: float, mutant: str) -> None:
    """Start, load, kill."""
    process = await start(directory, mutant)
    async with stub(directory) as client:
        callers = [
            asyncio.create_task(ask_until_dead(client, answered, report_every=2 + n % 3)) for n in range(CALLERS)
        ]
        await asyncio.sleep(seconds)  # not waiting for something: this is when the blow falls
        await kill(process)
        await asyncio.gather(*callers)


async def filled(directory: Path, *, mutant: str) -> list[str]:
    """A load until something is denied, then a kill; what was violated."""
    prepare(directory)
    answered = Answered()
    process = await start(directory, mutant)
    async with stub(directory) as client, asyncio.timeout(FILL_SECONDS):
        callers = [asyncio.create_task(ask_until_dead(client, answered, report_every=3)) for _ in range(CALLERS)]
        while r.EFFECT_DENY not in answered.effects.values():  # noqa: ASYNC110 (the callers have no event)
            await asyncio.sleep(0.05)
        await kill(process)
        await asyncio.gather(*callers)
    return await violations(directory, answered)


async def violations(directory: Path, answered: Answered) -> list[str]:
    """What does not hold after a restart that was given time for every deadline."""
    process = await start(directory)
    await asyncio.sleep(2 + 1)  # hold_seconds and the second that P3 allows
    before = time.time_ns() - 1_000_000_000
    found = [f"stuck past its deadline: {row}" for row in select(directory, STUCK.format(before=before))]
    found += [f"overspent: {row}" for row in select(directory, OVERSPENT)]
    await terminate(process)
    found += [f"answered but not recorded: {id}" for id in set(answered.effects) - recorded(directory)]
    verification = verified(directory)
    if not verification.ok:
        found.append(f"journal: {verification.problem} at {verification.sequence}")
    return found


def attack(directory: Path, *, kills: int, mutant: str = "") -> list[str]:
    """So many kills of one sidecar's state; what was violated."""
    prepare(directory)
    moments = dice(f"kill {mutant}")

    async def scene() -> list[str]:
        answered = Answered()
        for _ in range(kills):
            seconds = moments.uniform(0.01, MAX_ROUND_SECONDS)
            await one_round(directory, answered, seconds=seconds, mutant=mutant)
        assert answered.effects, "nothing was ever answered: the harness proves nothing"
        return await violations(directory, answered)

    return asyncio.run(scene())


@pytest.mark.timeout(600)
def test_nothing_answered_is_lost_whenever_it_is_killed(tmp_path: Path) -> None:
    """After every kill each answered decision is in the verified journal, budgets hold, and holds have lapsed."""
    assert attack(tmp_path, kills=max(3, COUNTS.kills // 3)) == []


@pytest.mark.timeout(600)
def test_the_harness_finds_a_sidecar_that_answers_first(tmp_path: Path) -> None:
    """A planted bug, answering before the commit, loses answered decisions at a kill."""
    found: list[str] = []
    for attempt in range(5):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        found = attack(directory, kills=2, mutant="AnswersFirst")
        if found:
            break

    assert any("answered but not recorded" in each for each in found)


@pytest.mark.timeout(600)
def test_the_harness_finds_a_ledger_without_a_guard(tmp_path: Path) -> None:
    """A planted bug, reserving without looking at the limit, overspends.

    Rego, too, looks for room, by facts that may be old: only the calls that are under way when the room ends show
    what the store does. So each attempt has new budgets, and its blow falls once they are full.
    """
    found: list[str] = []
    for attempt in range(8):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        found = asyncio.run(filled(directory, mutant="Overspends"))
        if found:
            break

    assert any("overspent" in each for each in found)
