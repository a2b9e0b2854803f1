"""Many processes after the same money in one PostgreSQL: exactly what fits is granted, and nobody waits long."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate

import pytest
from counts import COUNTS, SEED, dice
from fakes.commits import Desk, row
from fakes.store_postgres import Installation, open_store
from race.reaching import START_SECONDS, Child, start, told
from remit.core.effect import Committed, Refused

pytestmark = pytest.mark.crash

CONNECTIONS = 4
AGENTS = 6
MOST = 1_000_003
LONGEST_SECONDS = 5.0
"""Nobody waits longer: PostgreSQL itself looks for a deadlock after one second, and ends it by refusing somebody."""


@dataclass
class Rush:
    """What became of it: `granted` (begun, amount, agent), `refused` (ended, amount, agent, budget)."""

    limit: int
    each: int
    granted: list[tuple[float, int, int]] = field(default_factory=list)
    refused: list[tuple[float, int, int, str]] = field(default_factory=list)
    longest: float = 0.0
    seconds: float = 0.0
    deadlocks: int = 0

    def told(self) -> str:
        """The figures, for people."""
        count = len(self.granted) + len(self.refused)
        return (
            f"{count} reserves ({len(self.granted)} granted) in {self.seconds:.1f} s: {count / self.seconds:.0f}/s, "
            f"the longest wait {self.longest * 1000:.0f} ms"
        )


async def rush(installation: Installation, *, processes: int, reserves: int) -> Rush:
    """So many reserves by so many processes, of which about two thirds fit."""
    each = max(1, reserves // (processes * CONNECTIONS))
    limit = each * processes * CONNECTIONS * MOST // 3
    one = limit * 11 // (10 * AGENTS)
    seed = dice("rush").getrandbits(32)
    spec = {"count": each, "limit": limit, "each": one, "agents": AGENTS, "most": MOST, "seed": seed}
    children = []
    for process in range(processes):
        logs = [f"rush_{process}_{n}" for n in range(CONNECTIONS)]
        children.append(await start("rusher.py", told(installation, logs=logs, **spec)))
    await asyncio.gather(*(child.ready() for child in children))
    began = time.monotonic()
    found = Rush(limit, one, deadlocks=-deadlocks(installation))
    for child in children:
        child.tell("go")
    await asyncio.gather(*(_answered(child, found) for child in children))
    found.seconds = time.monotonic() - began
    await asyncio.gather(*(child.ended() for child in children))
    found.deadlocks += deadlocks(installation)
    return found


def deadlocks(installation: Installation) -> int:
    """How many PostgreSQL has found in this database."""
    asked = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(installation.rows(asked)[0][0])


async def _answered(child: Child, found: Rush) -> None:
    async with asyncio.timeout(START_SECONDS * 60):
        while not child.lines and child.process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if not child.lines:
            await child.ended()
    (line,) = child.lines
    answer = json.loads(line)
    found.granted += [tuple(each) for each in answer["granted"]]
    found.refused += [tuple(each) for each in answer["refused"]]
    found.longest = max(found.longest, answer["longest"])


def wrongs(installation: Installation, found: Rush) -> list[str]:
    """What a rush has broken."""
    wrong = [f"a wait of {found.longest:.1f} s"] if found.longest > LONGEST_SECONDS else []
    rows: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for begun, amount, agent in found.granted:
        rows["all", ""].append((begun, amount))
        rows["each", f"agent{agent}"].append((begun, amount))
    held = {
        (budget, scope): held
        for budget, scope, held in installation.rows("SELECT budget, scope, held FROM remit.budget")
    }
    for key, granted in rows.items():
        limit, sums = (found.limit if key[0] == "all" else found.each), sum(amount for _, amount in granted)
        if sums > limit:
            wrong.append(f"{key}: {sums} was granted of {limit}")
        if held[key] != sums:
            wrong.append(f"{key}: {sums} was granted, and {held[key]} is held")
    wrong += _too_soon(found, rows)
    wrong += [f"{found.deadlocks} deadlocks"] if found.deadlocks else []
    (records,) = installation.rows("SELECT count(DISTINCT id) FROM remit.journal")[0]
    (reserved,) = installation.rows("SELECT count(*) FROM remit.reservation")[0]
    if not records == reserved == len(found.granted):
        wrong.append(f"{len(found.granted)} were granted, {records} recorded, {reserved} reserved")
    return wrong


def _too_soon(found: Rush, rows: dict[tuple[str, str], list[tuple[float, int]]]) -> Iterable[str]:
    """Whoever was refused though it would have fitted beside all that had been begun by then."""
    moments, sums = {}, {}
    for key, granted in rows.items():
        granted.sort()
        moments[key] = [begun for begun, _ in granted]
        sums[key] = [0, *accumulate(amount for _, amount in granted)]
    for ended, amount, agent, budget in found.refused:
        key = (budget, "" if budget == "all" else f"agent{agent}")
        most = sums[key][bisect_left(moments[key], ended)]
        limit = found.limit if budget == "all" else found.each
        if most + amount <= limit:
            yield f"{amount} of {key} was refused, though no more than {most} of {limit} can have been held"


async def filled(installation: Installation, found: Rush) -> list[str]:
    """What is left is granted to the nano, and not one nano more."""
    left = found.limit - sum(amount for _, amount, _ in found.granted)
    store = await open_store(installation, "last")
    desk, all_of_it = Desk(store, count=10**6), row(found.limit, "all")
    last = await desk.commit(desk.reserving(left, all_of_it)[1])
    more = await desk.commit(desk.reserving(1, all_of_it)[1])
    verified = [f"{each.log}: {each.problems}" for each in await store.verify() if not each.ok]
    await store.close()
    wrong = [] if isinstance(last, Committed) else [f"the last {left} was not granted"]
    return wrong + ([] if isinstance(more, Refused) else ["a nano too many was granted"]) + verified


def test_exactly_what_fits_is_granted(installation: Installation) -> None:
    """To the nano, to many processes at once; whoever was refused would not have fitted; no deadlock."""
    processes = 8 if COUNTS.reserves > 10_000 else 2
    found = asyncio.run(rush(installation, processes=processes, reserves=COUNTS.reserves))
    print(found.told())

    assert found.refused, "everything fitted: the harness proves nothing"
    assert wrongs(installation, found) + asyncio.run(filled(installation, found)) == [], SEED


@pytest.mark.parametrize(
    ("plants", "sign"),
    [
        pytest.param([("reserve", "IF amount_ <> 0 AND", "IF false AND")], "was granted of", id="no guard"),
        pytest.param(
            [("lock_rooms", "ORDER BY id FOR NO KEY UPDATE", "ORDER BY id")], "is held", id="read, then write"
        ),
    ],
)
def test_planted_bugs_are_found(installation: Installation, plants: Sequence[tuple[str, str, str]], sign: str) -> None:
    """A guard that is not there, and one that reads what another has not written yet."""
    with ExitStack() as stack:
        for each in plants:
            stack.enter_context(installation.planted(*each))
        found = asyncio.run(rush(installation, processes=1, reserves=400))

    assert any(sign in each for each in wrongs(installation, found))
