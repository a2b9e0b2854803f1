"""Sidecars that decide ahead of PostgreSQL: the same promises as if each decision had asked it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.commits import EUR, SECOND, START, Desk, row
from fakes.loop import in_loop
from fakes.store_postgres import DESK, Installation, open_store
from fakes.store_shared import open_sidecar
from remit.backends.store_shared import keeper
from remit.backends.store_shared.store import SharedStore
from remit.core.effect import (
    Commit,
    Committed,
    EndReservation,
    JoinLabels,
    KeepAnswer,
    PlaceHalt,
    Record,
    Refused,
    Reserve,
)
from remit.core.errors import StoreUnavailable
from remit.core.model import BudgetRow, Halt, Versions
from remit.core.reason import Reason
from remit.ports import FactsQuery, Store

CENT = EUR // 100
SOON = 3.0


class Agent:
    """Decides as the pipeline does: on facts, in one commit, asked again once where they were stale."""

    count = 0

    def __init__(self, store: Store, subject: str = "ann", *rows: BudgetRow) -> None:
        self.store, self.subject, self.rows = store, subject, rows

    async def call(
        self, amount: int, *, key: str = "", labels: tuple[str, ...] = (), deadline: int = 60
    ) -> tuple[str, Committed | Refused]:
        """One decision on a model call: its id, and what became of it."""
        for _ in range(2):
            Agent.count += 1
            id = f"d_{self.subject}_{Agent.count:06d}"
            facts = await self.store.facts(FactsQuery(self.subject, "process", "", "model", self.rows))
            self.labels = set(facts.labels)
            seen = Versions(facts.labels_version, 0, facts.halts_version, "r1")
            effects: list[Reserve | KeepAnswer | JoinLabels] = [
                Reserve(id, self.subject, "", "model", "large", "ml", self.rows, amount, START + deadline * SECOND)
            ]
            if labels:
                effects.append(JoinLabels(self.subject, "", dict.fromkeys(labels, id)))
            if key:
                effects.append(KeepAnswer(self.subject, "Authorize", key, "digest", id.encode(), START + 3600 * SECOND))
            record = Record("decision", id, START, self.subject, "", "", "", b'{"n":"1"}', bytes(16))
            commit = Commit(record, tuple(effects), seen, self.subject, "", "api.call")
            outcome = await self.store.commit(commit)
            if isinstance(outcome, Committed) or outcome.reason is not Reason.FACTS_CHANGED:
                break
        return id, outcome

    async def must(self, amount: int, **parts: object) -> Committed:
        """One that is granted."""
        _, outcome = await self.call(amount, **parts)  # type: ignore[arg-type]
        assert isinstance(outcome, Committed), outcome
        return outcome

    async def settle(self, decision: str, cost: int) -> Committed:
        """Its report."""
        record = Record("report", f"e_{decision}", START, self.subject, "", "", decision, b"{}", bytes(16))
        outcome = await self.store.commit(
            Commit(record, (EndReservation(decision, "settled", cost, {"call": 1}, "x"),))
        )
        assert isinstance(outcome, Committed)
        return outcome

    async def until_at_home(self, amount: int = CENT) -> None:
        """Decide until the sidecar decides by itself."""
        end = time.monotonic() + SOON
        while (await self.must(amount)).log == self.store.log:
            assert time.monotonic() < end, "the session was never taken home"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def sidecars(installation: Installation, tmp_path: Path, *names: str) -> AsyncIterator[list[SharedStore]]:
    """So many sidecars of one installation."""
    stores = [await open_sidecar(installation, tmp_path / name, name) for name in names]
    try:
        yield stores
    finally:
        for each in stores:
            await each.close()


async def soon(what: Callable[[], Awaitable[bool]], seconds: float = SOON) -> float:
    """Wait until it is so; how long it took."""
    began = time.monotonic()
    while not await what():
        assert time.monotonic() < began + seconds, "it never came about"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def books(installation: Installation) -> list[tuple[int, int]]:
    """(spent, held) of each budget row."""
    return installation.rows("SELECT spent, held FROM remit.budget ORDER BY id")


@in_loop
async def test_an_agent_that_decides_often_is_decided_on_here_and_its_records_arrive(
    installation: Installation, tmp_path: Path
) -> None:
    """Ahead of PostgreSQL, in another log, shipped within moments; what was given and taken is in the books."""
    async with sidecars(installation, tmp_path, "a") as (store,):
        ann = Agent(store, "ann", row(100 * EUR))
        await ann.until_at_home()
        held = [await ann.call(CENT) for _ in range(20)]
        assert {outcome.log for _, outcome in held if isinstance(outcome, Committed)} != {store.log}
        for id, _ in held:
            await ann.settle(id, CENT // 2)
        assert (await store.rooms([row(100 * EUR)]))[0].spent == 20 * (CENT // 2)
        assert await store.record(held[0][0]) is not None
        assert [each.record.kind for each in await store.about(held[0][0])] == ["report"]
        found = await store.verify()
        assert [each.state for each in found] == ["authentic"] * 2
    (spent, still_held), *_ = books(installation)
    open_ones = installation.rows("SELECT coalesce(sum(amount), 0) FROM remit.reservation WHERE state = 'held'")
    assert (spent, still_held) == (20 * (CENT // 2), open_ones[0][0])
    assert installation.rows("SELECT count(*) FROM remit.allotment") == [(0,)]
    assert installation.rows("SELECT count(*) FROM remit.home") == [(0,)]


@in_loop
async def test_a_halt_reaches_a_sidecar_that_decides_by_itself_within_a_second(
    installation: Installation, tmp_path: Path
) -> None:
    """Placed by the desk; and lifted."""
    async with sidecars(installation, tmp_path, "a") as (store,):
        desk = await open_store(installation, "log_desk", role=DESK)
        ann = Agent(store, "ann", row(100 * EUR))
        await ann.until_at_home()
        halt = Halt("h1", "agent", "ann", "ana", "stop", START)
        await Desk(desk, count=10**6).must(PlaceHalt(halt))

        async def halted() -> bool:
            facts = await store.facts(FactsQuery("ann", "process", "", "model", ()))
            return facts.halts == (halt,)

        assert await soon(halted) < 1.0
        await desk.close()


@in_loop
async def test_labels_that_another_sidecar_brings_are_held_at_once(installation: Installation, tmp_path: Path) -> None:
    """The session comes home from where it is before it changes: nobody decides on what it no longer holds."""
    async with sidecars(installation, tmp_path, "a", "b") as (first, second):
        here, there = Agent(first, "ann", row(100 * EUR)), Agent(second, "ann", row(100 * EUR))
        await here.until_at_home()
        await there.must(CENT, labels=("pii",))
        await here.must(CENT)
        assert here.labels == {"pii"}


@in_loop
async def test_a_key_that_was_answered_elsewhere_is_not_answered_again(
    installation: Installation, tmp_path: Path
) -> None:
    """An answer that one sidecar kept by itself is found by the other."""
    async with sidecars(installation, tmp_path, "a", "b") as (first, second):
        here, there = Agent(first, "ann", row(100 * EUR)), Agent(second, "ann", row(100 * EUR))
        await here.until_at_home()
        assert (await here.must(CENT, key="k1")).log != first.log
        id, outcome = await there.call(CENT, key="k1")
        assert isinstance(outcome, Refused) and outcome.reason is Reason.IDEMPOTENCY_MISMATCH, id
        kept = await second.kept("ann", "Authorize", "k1")
        assert kept is not None


@in_loop
async def test_a_key_that_was_answered_elsewhere_before_the_session_came_home_is_not_answered_again(
    installation: Installation, tmp_path: Path
) -> None:
    """A decision that was begun before: it asked for the key, and then another sidecar answered it."""
    async with sidecars(installation, tmp_path, "a", "b") as (first, second):
        here, there = Agent(first, "ann", row(100 * EUR)), Agent(second, "ann", row(100 * EUR))
        assert await first.kept("ann", "Authorize", "k1") is None
        await there.must(CENT, key="k1")
        await here.until_at_home()
        _, outcome = await here.call(CENT, key="k1")
        assert isinstance(outcome, Refused) and outcome.reason is Reason.IDEMPOTENCY_MISMATCH


@in_loop
async def test_an_agent_with_more_kept_answers_than_are_told_decides_here_on_keys_that_were_asked_for(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can tell all keys, one is asked of the shared store while the session is here, or decided there."""
    monkeypatch.setattr(keeper, "MOST_KEPT", 1)
    async with sidecars(installation, tmp_path, "a") as (store,):
        ann = Agent(store, "ann", row(100 * EUR))
        for key in ("k1", "k2"):
            await ann.must(CENT, key=key)
        await ann.until_at_home()
        assert (await ann.must(CENT, key="k3")).log == store.log
        assert await store.kept("ann", "Authorize", "k4") is None
        assert (await ann.must(CENT, key="k4")).log != store.log


@in_loop
async def test_the_last_cent_is_spent_by_whoever_asks(installation: Installation, tmp_path: Path) -> None:
    """Others' slices come back before anybody is refused."""
    async with sidecars(installation, tmp_path, "a", "b") as (first, second):
        limit = row(3 * EUR)
        ann, bob = Agent(first, "ann", limit), Agent(second, "bob", limit)
        await ann.until_at_home(CENT)
        assert installation.rows("SELECT sum(allotted - drawn) FROM remit.allotment") > [(0,)]
        while isinstance((await bob.call(CENT))[1], Committed):
            pass
        assert sum_of_holds(installation) == 3 * EUR


@in_loop
async def test_a_call_that_needs_the_ledger_gets_what_our_own_slices_hold(
    installation: Installation, tmp_path: Path
) -> None:
    """One budget has a slice here, another is too small for any: the slice is in nobody's way."""
    async with sidecars(installation, tmp_path, "a") as (store,):
        month = row(40 * CENT)
        ann = Agent(store, "ann", month)
        await ann.until_at_home()
        assert installation.rows("SELECT sum(allotted - drawn) FROM remit.allotment") > [(0,)]
        (room,) = await store.rooms([month])
        left = 40 * CENT - room.spent - sum_of_holds(installation)
        both = Agent(store, "bob", month, row(left, "bobs-own"))
        await both.must(left)
        assert sum_of_holds(installation) == 40 * CENT


def sum_of_holds(installation: Installation) -> int:
    """What open reservations hold."""
    return int(installation.rows("SELECT coalesce(sum(amount), 0) FROM remit.reservation WHERE state = 'held'")[0][0])


@in_loop
async def test_many_at_once_are_granted_exactly_what_fits(installation: Installation, tmp_path: Path) -> None:
    """Three sidecars, twelve agents, one budget: whoever is refused, is refused because all of it is gone."""
    async with sidecars(installation, tmp_path, "a", "b", "c") as stores:
        limit = row(4 * EUR)
        agents = [Agent(stores[n % 3], f"agent{n}", limit) for n in range(12)]

        untold = 0  # recorded, and not answered: on a machine that is too busy for the lease

        async def spend(agent: Agent) -> int:
            nonlocal untold
            granted = 0
            while True:
                try:
                    _, outcome = await agent.call(CENT)
                except StoreUnavailable:
                    untold += 1
                    continue
                if not isinstance(outcome, Committed):
                    return granted
                granted += 1

        granted = await asyncio.gather(*map(spend, agents))
        assert 400 - untold <= sum(granted) <= 400
    assert books(installation) == [(0, 4 * EUR)]


@in_loop
async def test_a_sidecar_that_died_ships_what_it_had_decided_when_it_starts_again(
    installation: Installation, tmp_path: Path
) -> None:
    """On the same disk nothing that was answered is lost, whatever was not shipped."""
    store = await open_sidecar(installation, tmp_path / "a", "a")
    ann = Agent(store, "ann", row(100 * EUR))
    await ann.until_at_home()
    for each in store._keeper._tasks:
        each.cancel()
    answered = {(await ann.call(CENT))[0] for _ in range(3)}
    waits = [store.unshipped()]
    await stop_dead(store)
    assert answered - recorded(installation), "nothing was left to be shipped"
    store = await open_sidecar(installation, tmp_path / "a", "a")
    waits.append(store.unshipped())
    assert waits[0] is not None and waits[1] is None
    assert answered - recorded(installation) == set()
    await store.close()
    open_ones = installation.rows("SELECT sum(amount) FROM remit.reservation WHERE state = 'held'")
    assert books(installation) == [(0, open_ones[0][0])]


@in_loop
async def test_what_a_sidecar_that_is_gone_had_left_is_presumed_spent_until_it_comes_back(
    installation: Installation, tmp_path: Path
) -> None:
    """Told by a record; what it ships later is taken out of the presumption, to the nano."""
    store = await open_sidecar(installation, tmp_path / "a", "a")
    ann = Agent(store, "ann", row(100 * EUR))
    await ann.until_at_home()
    _, shipper = store._keeper._tasks
    shipper.cancel()
    for _ in range(5):
        await ann.must(CENT)
    await stop_dead(store)
    other = await open_store(installation, "log_other")
    assert await other.prune(START) == 0, "it may still be alive"
    (before,) = books(installation)
    installation.run("UPDATE remit.log SET lease = lease - interval '31 seconds' WHERE kind = 'local'")
    assert await other.prune(START) == 1
    (after,) = books(installation)
    assert after[0] > 0 and sum(after) == sum(before)
    (lapse,) = [each.record for each in await other.journal(0, 10) if each.record.kind == "allotment"]
    assert b'"lapsed":"' in lapse.body
    await other.close()
    store = await open_sidecar(installation, tmp_path / "a", "a")
    assert books(installation) == [(0, sum_of_holds(installation))]
    await store.close()


def recorded(installation: Installation) -> set[str]:
    """The decisions that PostgreSQL has."""
    return {id for (id,) in installation.rows("SELECT id FROM remit.journal WHERE kind = 'decision'")}


async def stop_dead(store: SharedStore) -> None:
    """As a kill does: nothing more is shipped, nothing is given back."""
    for task in store._keeper._tasks:
        task.cancel()
    await asyncio.gather(*store._keeper._tasks, return_exceptions=True)
    await store._calls.close()
    await store._pulses.close()
    await store._remote._session.close()
    await store._remote._reads.close()
    await store._local.close()
