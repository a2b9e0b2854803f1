"""Many processes after the same approvals in one PostgreSQL: a grant is used as often as it may be, and no more.

What is alike is asked once; and nobody waits for somebody who waits for them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from counts import SEED, dice
from fakes.commits import START, Desk
from fakes.store_postgres import Installation, open_store
from race.grantee import asked
from race.reaching import START_SECONDS, Child, start, told
from race.test_races import LONGEST_SECONDS, deadlocks
from remit.core.approval import MOST_PENDING, Approval, Bind, Terms, Verdict, Vote, voted
from remit.core.effect import JoinApproval, MoveApproval, OpenApproval

pytestmark = pytest.mark.crash

PROCESSES, CONNECTIONS = 2, 4
REPLAYS = 1_000
UNLOCKED = ("lock_things", "PERFORM pg_advisory_xact_lock(", "PERFORM pg_try_advisory_xact_lock(")


@dataclass
class Rush:
    """What became of it: how many ended how."""

    outcomes: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    deadlocks: int = 0

    @property
    def wrong(self) -> list[str]:
        """What no rush may do."""
        wrong = [f"a wait of {self.longest:.1f} s"] if self.longest > LONGEST_SECONDS else []
        wrong += [f"{self.deadlocks} deadlocks"] if self.deadlocks else []
        return wrong + (["somebody had no answer"] if self.outcomes["unavailable"] else [])


async def rush(installation: Installation, does: str, calls: int, *begin: Approval, **spec: Any) -> Rush:
    """So many calls, by several processes with several connections each, after these approvals are there."""
    store = await open_store(installation, "first")
    desk = Desk(store)
    for each in begin:
        await _begun(desk, each)
    await store.close()
    children = []
    for process in range(PROCESSES):
        logs = [f"rush_{process}_{n}" for n in range(CONNECTIONS)]
        given = {"does": does, "seed": dice(does).getrandbits(32), "count": calls // (PROCESSES * CONNECTIONS), **spec}
        children.append(await start("grantee.py", told(installation, logs=logs, **given)))
    await asyncio.gather(*(child.ready() for child in children))
    found = Rush(deadlocks=-deadlocks(installation))
    for child in children:
        child.tell("go")
    await asyncio.gather(*(_answered(child, found) for child in children))
    await asyncio.gather(*(child.ended() for child in children))
    installation.cut()  # who leaves tells what it has met
    found.deadlocks += deadlocks(installation)
    return found


async def _begun(desk: Desk, grant: Approval) -> None:
    """A grant as people give it, with all of its items."""
    first, *others = grant.items
    known = asked(grant.id, terms=grant.terms, items=(first,))
    await desk.must(OpenApproval(known))
    for version, item in enumerate(others, 1):
        await desk.must(JoinApproval(grant.id, version, item))
    (there,) = [each for each in await desk.store.due_approvals(known.deadline, 1000) if each.id == grant.id]
    vote = Vote("person", "ana", Verdict.APPROVE, "", START, "d")
    await desk.must(MoveApproval(voted(there, vote, "approved", START)))


async def _answered(child: Child, found: Rush) -> None:
    async with asyncio.timeout(START_SECONDS * 60):
        while not child.lines and child.process.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if not child.lines:
            await child.ended()
    (line,) = child.lines
    answer = json.loads(line)
    found.outcomes.update(answer["outcomes"])
    found.longest = max(found.longest, answer["longest"])


def grant(id: str, *bindings: str, uses: int = 1, cost: int | None = None) -> Approval:
    """A grant that is to be given."""
    return asked(id, id, *bindings, terms=Terms(bind=Bind.OPERATION, uses=uses, cost=cost, ttl=10**6))


@contextmanager
def impatient(installation: Installation) -> Iterator[None]:
    """Deadlocks are looked for at once: where there are many, a second for each is long."""
    installation.run(f"ALTER DATABASE {installation.name} SET deadlock_timeout = '20ms'")
    try:
        yield
    finally:
        installation.run(f"ALTER DATABASE {installation.name} RESET deadlock_timeout")


def used(installation: Installation) -> list[tuple[str, int, int]]:
    """Each approval's uses and what they cost, by its id."""
    asked = "SELECT approval, sum(used)::bigint, sum(spent)::bigint FROM remit.approval_item GROUP BY 1 ORDER BY 1"
    return [(str(id), int(uses), int(spent)) for id, uses, spent in installation.rows(asked)]


def replayed(installation: Installation) -> list[str]:
    """What is wrong after one grant was used a thousand times."""
    found = asyncio.run(rush(installation, "use", REPLAYS, grant("g"), grants=["g"], bindings=["b"]))
    assert sum(found.outcomes.values()) == REPLAYS
    wrong = [] if found.outcomes == {"granted": 1, "facts_changed": REPLAYS - 1} else [f"{found.outcomes} of one use"]
    return found.wrong + wrong + ([] if used(installation) == [("g", 1, 1)] else ["it is not used once"])


def bounded(installation: Installation) -> list[str]:
    """What is wrong after a grant of many items was used up to its cost."""
    items, cost = ["b", "c", "d", "e"], 200
    begin = grant("g", *items, uses=10**6, cost=cost)
    found = asyncio.run(rush(installation, "use", REPLAYS, begin, grants=["g"], bindings=items))
    sums = [] if used(installation) == [("g", cost, cost)] else [f"{used(installation)} of a cost of {cost}"]
    return found.wrong + sums + ([] if found.outcomes["granted"] == cost else [f"{found.outcomes} of {cost}"])


def crossed(installation: Installation, calls: int = 800) -> list[str]:
    """What is wrong after grants and things were used in whatever order."""
    grants = [f"g{n}" for n in range(6)]
    begin = [grant(each, uses=10**6) for each in grants]
    given = {"grants": grants, "things": [f"thing {n}" for n in range(4)], "bindings": ["b"]}
    found = asyncio.run(rush(installation, "cross", calls, *begin, **given))
    each = found.outcomes["granted"]
    wrong = [f"{uses} uses of {id}, {each} were granted" for id, uses, _ in used(installation) if uses != each]
    return found.wrong + wrong


def opened(installation: Installation) -> list[str]:
    """What is wrong after the same was asked for again and again."""
    given = {"subjects": [f"agent{n}" for n in range(12)], "likes": [f"like {n}" for n in range(30)]}
    found = asyncio.run(rush(installation, "open", 800, **given))
    pending = "SELECT count(*), count(DISTINCT like_key) FROM remit.approval WHERE state = 'pending' GROUP BY subject"
    counts = installation.rows(pending)
    wrong = [f"{count} wait for {distinct} things" for count, distinct in counts if count != distinct]
    wrong += [f"{count} of one agent wait" for count, _ in counts if count > MOST_PENDING]
    assert found.outcomes["facts_changed"] and found.outcomes["approvals_exhausted"]
    all_of_it = 2 * found.outcomes["granted"] == sum(count for count, _ in counts)
    return found.wrong + wrong + ([] if all_of_it else ["not all that was granted waits"])


def test_one_grant_is_used_once(installation: Installation) -> None:
    """Of a thousand replays by two processes on eight connections one is let through."""
    assert replayed(installation) == [], SEED


def test_what_a_grant_s_uses_cost_together_stays_within_its_bound(installation: Installation) -> None:
    """To the nano, whichever items are used."""
    assert bounded(installation) == [], SEED


def test_no_order_of_approvals_makes_a_deadlock(installation: Installation) -> None:
    """Commits that use the same grants, respect the same claims and act on the same objects wait for each other in one
    order; and what one caller's part has done is undone alone."""
    assert crossed(installation) == [], SEED


def test_what_is_alike_is_asked_once(installation: Installation) -> None:
    """And no agent has more that waits than it may."""
    assert opened(installation) == [], SEED


@pytest.mark.parametrize(
    ("harness", "sign", "plants"),
    [
        pytest.param(
            replayed, "of one use", [("use_grant", "used < (terms->>'uses')", "0 < (terms->>'uses')")], id="replayed"
        ),
        pytest.param(bounded, "of a cost", [("use_grant", "(SELECT sum(i.spent)", "(SELECT max(i.spent)")]),
        pytest.param(partial(crossed, calls=64), "deadlocks", [UNLOCKED], id="crossed"),
        pytest.param(
            opened,
            "of one agent wait",
            [
                ("lock_homes", "SELECT s.subject, true", "SELECT s.subject, false"),
                ("open_approval", "PERFORM put_item", "PERFORM pg_sleep(0.03); PERFORM put_item"),
            ],
            id="opened",
        ),
    ],
)
def test_planted_bugs_are_found(
    installation: Installation, harness: Any, sign: str, plants: Sequence[tuple[str, str, str]]
) -> None:
    """A bound that is not there, and locks that are not waited for."""
    with ExitStack() as stack:
        stack.enter_context(impatient(installation))
        for each in plants:
            stack.enter_context(installation.planted(*each))
        found = (each for _ in range(4) for each in harness(installation))  # not every rush meets in the gap
        assert any(sign in each for each in found)
