"""The network between a member and its PostgreSQL is cut, in each phase and in each way, and heals again.

Callers are answered or told that the store is unavailable within BOUND_SECONDS; what was answered is there, and what
was not is there once or not at all; nothing is decided past the lease; when the network is back, so is everything.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from counts import COUNTS, PROFILE, SEED, dice
from fakes.commits import EUR, SECOND, START, Desk, row
from fakes.cut_proxy import Cut, CutProxy, cut_proxy
from fakes.loop import in_loop
from fakes.store_postgres import DESK, Installation, open_store
from fakes.store_shared import open_sidecar
from race.books import recorded, wrong_books, wrong_end
from race.mutants import AnswersFirst
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.queue import ANSWER_SECONDS
from remit.backends.store_postgres.session import Server
from remit.backends.store_postgres.store import PostgresStore
from remit.backends.store_shared.store import SharedStore
from remit.backends.store_shared.term import LEASE_SECONDS, Term
from remit.core.effect import Commit, Committed, EndReservation, PlaceHalt, Record, Refused, Reserve
from remit.core.errors import StoreUnavailable
from remit.core.model import BudgetRow, Halt, Versions
from remit.ports import FactsQuery, StoredFacts

pytestmark = [pytest.mark.crash, pytest.mark.timeout(0 if PROFILE == "soak" else 180)]

BOUND_SECONDS = ANSWER_SECONDS + 10.0
"""The longest that a caller may wait: to ask for facts (a place, a connection and an answer), and then to commit."""

HEALED_SECONDS = 60.0
"""A bound for machines that have other things to do: it heals within moments."""

AT_ONCE = 10
"""Members at once: each has up to seven connections, and the server of the tests takes 80."""

LIMIT = 1000 * EUR
CENT = EUR // 100
IDS = RandomIds(SystemClock())
AHEAD = ("ship", "pulse", "take_slices", "settle_homes", "begin_term")
FUNCTIONS = ("commit", "facts", "look_up", "take_log", "recall", *AHEAD)


@dataclass
class Agent:
    """One that decides for a while, and notes what it was answered and how long it waited."""

    store: SharedStore
    subject: str
    answered: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    longest: float = 0.0
    pause: float = 0.005

    @property
    def rows(self) -> tuple[object, ...]:
        """One that all share, and its own."""
        return row(LIMIT, "all"), row(LIMIT, "each", self.subject)

    async def facts(self) -> StoredFacts:
        """What a decision is made on."""
        return await self.store.facts(FactsQuery(self.subject, "process", "", "model", self.rows))  # type: ignore[arg-type]

    async def decide(
        self, facts: StoredFacts, deadline: int = START + 3600 * SECOND
    ) -> tuple[str, Committed | Refused]:
        """One decision on facts; it notes whatever comes of it."""
        id = IDS.new("d")
        reserve = Reserve(id, self.subject, "", "model", "large", "ml", self.rows, CENT, deadline)  # type: ignore[arg-type]
        seen = Versions(facts.labels_version, 0, facts.halts_version, "r1")
        record = Record("decision", id, START, self.subject, "", "", "", b'{"n":"1"}', bytes(16))
        self.unknown.append(id)
        outcome = await self.store.commit(Commit(record, (reserve,), seen, self.subject, "", "api.call"))
        self.unknown.remove(id)
        if isinstance(outcome, Committed):
            self.answered[id] = CENT
        return id, outcome

    async def call(self) -> bool:
        """A decision, and the report of every other one; whether it was answered, and granted."""
        began = time.monotonic()
        try:
            id, outcome = await self.decide(await self.facts())
            if isinstance(outcome, Committed) and len(self.answered) % 2:
                await self.settle(id)
        except StoreUnavailable:
            return False
        finally:
            self.longest = max(self.longest, time.monotonic() - began)
        return isinstance(outcome, Committed)

    async def settle(self, id: str) -> None:
        """Its report."""
        record = Record("report", IDS.new("e"), START, self.subject, "", "", id, b"{}", bytes(16))
        await self.store.commit(Commit(record, (EndReservation(id, "settled", CENT // 2, {"call": 1}, id),)))

    async def work(self, stopping: asyncio.Event) -> None:
        """Until it is told to stop."""
        while not stopping.is_set():
            if not await self.call():
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.pause)

    async def until_ahead(self) -> None:
        """Decide until its store decides by itself."""
        async with asyncio.timeout(HEALED_SECONDS):
            while not self.store._mirror.at_home(self.subject) or not self.store._keeper.slices.cover(self.rows):  # type: ignore[arg-type]
                await self.call()
                await asyncio.sleep(0.01)


@dataclass
class Scene:
    """A member behind a network of its own."""

    store: SharedStore
    network: CutProxy
    agent: Agent


async def _opened(installation: Installation, place: Path, name: str, through: Server) -> SharedStore:
    """Begun again where the machine was too slow."""
    for _ in range(5):
        with suppress(StoreUnavailable):
            return await open_sidecar(installation, place, name, server=through)
    return await open_sidecar(installation, place, name, server=through)


@asynccontextmanager
async def scene(installation: Installation, place: Path, name: str) -> AsyncIterator[Scene]:
    """One that decides ahead already."""
    async with cut_proxy(installation.server.host, installation.server.port) as network:
        through = installation.reached(host="127.0.0.1", port=str(network.port))
        store = await _opened(installation, place / name, name, through)
        try:
            agent = Agent(store, f"subject-{name}")
            await agent.until_ahead()
            yield Scene(store, network, agent)
        finally:
            await network.heal()
            await store.close()


@dataclass(frozen=True)
class Blow:
    """What is done to the network, once it works; for a cut, of which `function` and how."""

    what: str
    function: str = ""
    after: int = 0
    how: str = ""
    seconds: float = 0.0

    async def fall(self, network: CutProxy) -> None:
        """Do it; after so long the network is well again."""
        match self.what:
            case "drop":
                network.drop()
            case "refuse":
                network.refuse()
            case "swallow":
                network.swallow()
            case "delay":
                network.delay = 0.2
            case part:
                cut = network.arm(Cut(self.function, part, self.after, self.how))
                if self.function in ("look_up", "take_log", "begin_term"):  # what is only asked after another cut
                    network.arm(Cut("pulse" if self.function == "begin_term" else "commit", "answer"))
                with suppress(TimeoutError):  # it may be that nobody calls it now
                    async with asyncio.timeout(2):
                        await cut.struck.wait()
        await asyncio.sleep(self.seconds)  # not waiting for something: so long it lasts
        await network.heal()


def blows(random: random.Random) -> Iterator[Blow]:
    """First the ones that are known to hurt, then any."""
    for function in ("commit", "ship", "pulse", "take_slices", "settle_homes"):
        yield Blow("answer", function, 3, "drop")
    yield Blow("request", "commit", 40, "drop")
    yield Blow("answer", "ship", 0, "half", 0.5)
    yield Blow("swallow", seconds=1.5)
    yield Blow("refuse", seconds=1.2)
    yield Blow("answer", "look_up", 0, "drop")
    yield Blow("delay", seconds=1.0)
    yield Blow("answer", "take_slices", 0, "swallow", 0.5)
    while True:
        what = random.choice(["drop", "refuse", "swallow", "delay", *["request", "answer"] * 6])
        how = random.choice(["drop", "drop", "half", "swallow"])
        after = random.choice([0, 0, 1, 5, 40, 200])
        yield Blow(what, random.choice(FUNCTIONS), after, how, random.choice([0.0, 0.3, 1.5]))


async def struck(
    installation: Installation, place: Path, name: str, blow: Blow, patience: float = HEALED_SECONDS
) -> list[str]:
    """The blow, and what is wrong after the network has healed."""
    wrong: list[str] = []
    async with scene(installation, place, name) as found:
        agent, stopping = found.agent, asyncio.Event()
        others = [Agent(found.store, f"new-{name}-{n}") for n in range(2)]  # who want a home and slices yet
        working = [asyncio.ensure_future(each.work(stopping)) for each in (agent, agent, *others)]
        await blow.fall(found.network)
        healed = time.monotonic()
        before = len(agent.answered)
        while len(agent.answered) < before + 3:
            if time.monotonic() > healed + HEALED_SECONDS:
                wrong.append("it did not heal")
                break
            await asyncio.sleep(0.02)
        stopping.set()
        _, hanging = await asyncio.wait(working, timeout=BOUND_SECONDS)
        wrong += ["a caller hangs"] if hanging else []
        for each in (agent, *others):
            if each.longest > BOUND_SECONDS:
                wrong.append(f"{each.subject} waited {each.longest:.1f} s")
        wrong += await _differ(installation, found.store, patience)
    there = recorded(installation)
    for each in (agent, *others):
        wrong += [f"answered but not recorded: {id}" for id in each.answered if id not in there]
    return [f"{blow}: {each}" for each in wrong]


async def _differ(installation: Installation, store: SharedStore, seconds: float = HEALED_SECONDS) -> list[str]:
    """Whether a member and PostgreSQL know of the same slices, when nobody asks any more: else money is nobody's."""
    end = time.monotonic() + seconds
    asked = """SELECT b.budget, b.scope, b.start_ns, b.end_ns, greatest(0, a.allotted - a.drawn)
               FROM remit.allotment a JOIN remit.budget b ON b.id = a.budget WHERE a.log = %s"""
    while True:
        await store._keeper.flush()
        there = {BudgetRow(*key, 0): int(left) for *key, left in installation.rows(asked, [store._local.log])}
        here = {each: max(0, store._local.left(each)) for each in {*there, *store._local.slices()}}
        if {each: there.get(each, 0) for each in here} == here:
            return []
        if time.monotonic() > end:
            return [f"slices are {there} in PostgreSQL, and {here} where they are spent"]
        await asyncio.sleep(0.05)


@in_loop
async def test_cuts_of_all_kinds_heal(installation: Installation, tmp_path: Path) -> None:
    """Each has a member of its own; they are cut at once, since most of the time goes by in waiting."""
    coming, left = blows(dice("network cuts")), COUNTS.network_cuts
    wrong: list[str] = []
    while left > 0 and not wrong:
        some = [next(coming) for _ in range(min(left, AT_ONCE))]
        found = await asyncio.gather(
            *(struck(installation, tmp_path, f"n{left}_{n}", blow) for n, blow in enumerate(some))
        )
        wrong = [each for one in found for each in one]
        wrong += wrong_books(installation.owner, {"all": LIMIT, "each": LIMIT}) + wrong_end(installation, before=0)
        left -= AT_ONCE
    assert wrong == [], SEED


@in_loop
async def test_slices_that_nobody_knows_of_are_found(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: a term goes on after it was asked for slices, and the answer was lost."""
    monkeypatch.setattr(Term, "lose", lambda self: None)

    found = await struck(installation, tmp_path, "a", Blow("answer", "take_slices", 3, "drop"), patience=1.0)

    assert any("slices are" in each for each in found), found


async def decides_on_old_facts(installation: Installation, place: Path) -> list[str]:
    """A member is cut off between facts and commit, and a halt is placed; what it then decides all the same."""
    async with scene(installation, place, "late") as found:
        desk = await open_store(installation, "log_desk", role=DESK)
        agent = found.agent
        await agent.until_ahead()
        facts = await agent.facts()
        found.network.swallow()
        await Desk(desk, count=10**6).must(PlaceHalt(Halt("h1", "agent", agent.subject, "ana", "stop", START)))
        halted = time.monotonic()
        await asyncio.sleep(LEASE_SECONDS)  # so long its lease may last
        before = set(agent.answered)
        deciding = asyncio.ensure_future(agent.decide(facts))
        await asyncio.wait([deciding], timeout=0.3)
        wrong = [
            f"decided {time.monotonic() - halted:.1f} s after the halt: {id}"
            for id in agent.answered
            if id not in before
        ]
        await found.network.heal()
        with suppress(StoreUnavailable):
            async with asyncio.timeout(BOUND_SECONDS):
                _, outcome = await deciding
            assert isinstance(outcome, Refused) or wrong, "what was decided before the halt was recorded after it"
        wrong += await _halts_are_heeded(agent)
        await desk.close()
    return wrong


async def _halts_are_heeded(agent: Agent) -> list[str]:
    """Once it is back, it decides on facts that hold the halt, or not at all."""
    end = time.monotonic() + HEALED_SECONDS
    while time.monotonic() < end:
        try:
            facts = await agent.facts()
            _, outcome = await agent.decide(facts)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
            continue
        if isinstance(outcome, Committed):
            return [] if [each.id for each in facts.halts] == ["h1"] else ["decided without the halt"]
    return ["it did not heal"]


@in_loop
async def test_who_is_cut_off_decides_nothing_past_its_lease(installation: Installation, tmp_path: Path) -> None:
    """Whatever facts it had gathered before; and halts that were placed meanwhile are in force when it is back."""
    assert await decides_on_old_facts(installation, tmp_path) == []


@in_loop
async def test_a_lease_without_end_is_found(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: a sidecar that believes in its lease for ever decides after the halt."""
    monkeypatch.setattr(Term, "live", property(lambda self: self.begun))

    found = await decides_on_old_facts(installation, tmp_path)

    assert any("after the halt" in each for each in found), found


async def answers_while_held(installation: Installation, store_type: type[PostgresStore]) -> list[str]:
    """What a caller is told while PostgreSQL's answer to its commit is still under way."""
    async with cut_proxy(installation.server.host, installation.server.port) as network:
        through = installation.reached(host="127.0.0.1", port=str(network.port))
        store = await open_store(installation, "log_held", server=through, store_type=store_type)
        held = network.arm(Cut("commit", "answer", how="hold"))
        calling = asyncio.ensure_future(Desk(store).commit())
        await held.struck.wait()
        done, _ = await asyncio.wait([calling], timeout=0.3)
        told = [f"answered before PostgreSQL: {each.result()}" for each in done]
        held.go_on.set()
        await calling
        assert len(recorded(installation)) == 1
        await store.close()
    return told


@in_loop
async def test_no_answer_leaves_before_postgresql_has_said_that_it_is_committed(installation: Installation) -> None:
    """Durable before the answer: PostgreSQL says so after its sync (the session refuses servers that do not wait)."""
    assert await answers_while_held(installation, PostgresStore) == []


@in_loop
async def test_an_answer_before_the_commit_is_found(installation: Installation) -> None:
    """Planted bug."""
    assert await answers_while_held(installation, AnswersFirst) != []


@in_loop
async def test_a_connection_that_broke_unnoticed_keeps_nothing_from_being_given_back(
    installation: Installation, tmp_path: Path
) -> None:
    """A member that stops ships and gives back over a new one."""
    async with scene(installation, tmp_path, "idle") as found:
        found.network.drop()
    assert installation.rows("SELECT count(*) FROM remit.allotment") == [(0,)]
    assert set(found.agent.answered) <= recorded(installation)


@in_loop
async def test_what_was_voided_while_others_presumed_it_spent_is_in_no_total(
    installation: Installation, tmp_path: Path
) -> None:
    """A member that is cut off voids what it holds; others, who have lapsed it after its lease, hear of it later."""
    async with scene(installation, tmp_path, "void") as found:
        id, _ = await found.agent.decide(await found.agent.facts(), deadline=START)
        assert await found.store._local.reservation(id) is not None
        await found.store._keeper.flush()
        found.network.swallow()
        await asyncio.sleep(LEASE_SECONDS)  # its lease ends
        other = await open_store(installation, "log_other")
        await Desk(other, count=10**6).end(id, "lapsed", CENT)
        await other.close()
        record = Record("report", IDS.new("e"), START, found.agent.subject, "", "", id, b"{}", bytes(16))
        await found.store.commit(Commit(record, (EndReservation(id, "voided", 0, {}, "unsent"),)))
        await found.network.heal()
    assert installation.rows("SELECT state FROM remit.reservation WHERE decision = %s", [id]) == [("voided",)]
    assert wrong_books(installation.owner, {"all": LIMIT, "each": LIMIT}) + wrong_end(installation, before=0) == []
