"""Whatever agents, those who are asked, operators and the clock do to approvals at a time, in a world of its own.

Everything yields where a disk, a network or policy would make it wait, for as long as the dice say; time passes only
where everybody waits. So one seed is one interleaving, the same each time. `approval_oracle` reads what happened.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fakes.approval_oracle import Looked, Oracle, Step
from fakes.approving import Holding
from fakes.store_memory import MemoryStore, Work
from fakes.store_memory_approvals import Refusal
from fakes.world import EUR, OPERATOR, START, FakeClock, FakePdp, subject
from fakes.world import world as make_world
from remit.core.answer import Answer
from remit.core.approval import Approval, Bind, Hold, State, Terms, Verdict
from remit.core.call import Call, Claimed, Resolution, WorkflowCall
from remit.core.catalogue import Agent, Person, Price, Service, Variant
from remit.core.dataset import Dataset
from remit.core.decision import Effect
from remit.core.decision import Verdict as Ruled
from remit.core.effect import Commit, Committed, Record, Refused
from remit.core.errors import CallerError
from remit.core.model import Identity, Resource, Subject
from remit.pep.pipeline import Pipeline
from remit.pep.world import World
from remit.ports import ApprovalsQuery, FactsQuery, Kept, StoredFacts

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
WORKERS = ("worker", "other")
ASKED = ("bo", "cy", "di")
ACTORS = 6
MOST_ACTS = 8
LONGEST_WAIT = 3600
OFFERS: tuple[Mapping[str, Any], ...] = ({}, {"arguments": {"n": 9}}, {"resource": {"variant": "large"}})
PAUSES = (0, 0, 0, 1, 1, 2, 3, 5)
"""How often somebody lets others go first."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while anybody can go on, and jumps to the next who waits for it."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.passed = 0.0

    def time(self) -> float:
        return self.passed


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody")
        self._loop.passed += max(0.0, timeout)
        return super().select(0)


class WatchedStore(MemoryStore):
    """The store in memory, which keeps what it was asked to do, in the order in which it was done."""

    def __init__(self, now: FakeClock, dice: Random) -> None:
        super().__init__(now.now)
        self.steps: list[Step] = []
        self._dice = dice

    async def turn(self) -> None:
        """Others go first, or not."""
        for _ in range(self._dice.choice(PAUSES)):
            await asyncio.sleep(0)

    async def commit(self, commit: Commit) -> Committed | Refused:
        await self.turn()
        held = Work(self._shelves, self.log).labels(commit.subject, commit.workflow, "process")
        try:
            committed = self._transact(lambda work: work.commit(commit, self._revision))
        except Refusal as refusal:
            return Refused(*refusal.args)
        self.steps.append(Step(commit, frozenset(held)))
        await self.turn()
        return committed

    async def facts(self, query: FactsQuery) -> StoredFacts:
        await self.turn()
        return await super().facts(query)

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        await self.turn()
        return await super().approvals(query)

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        await self.turn()
        return await super().kept(subject, rpc, key)


class SlowPdp(FakePdp):
    """Policy takes its time."""

    def __init__(self, policy: Any, store: WatchedStore) -> None:
        super().__init__(policy)
        self._store = store

    async def ask(self, document: Mapping[str, Any]) -> Ruled:
        await self._store.turn()
        return replace(self.policy(document), record=("/arguments",))


@dataclass
class Scene:
    """One interleaving."""

    dice: Random
    store: WatchedStore
    world: World
    pipeline: Pipeline
    clock: FakeClock
    terms: Terms
    looked: dict[str, Looked] = field(default_factory=dict)
    keys: dict[tuple[str, str], Call] = field(default_factory=dict)
    contexts: list[tuple[str, str]] = field(default_factory=list)
    asked: list[tuple[Subject, Call]] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    async def play(self) -> list[str]:
        """What is wrong."""
        await self._open()
        await self._ask()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.dice.randint(2, ACTORS)):
                tasks.create_task(self._act(self.dice.randint(1, MOST_ACTS)))
        await self._come_to_rest()
        oracle = Oracle(self.looked)
        for step in self.store.steps:
            oracle.read(step)
        made = {step.commit.record.id for step in self.store.steps if step.body.get("effect") == Effect.ALLOW}
        self.wrong += [f"{id} is answered, and was not recorded so" for id in self.allowed - made]
        stored = await self.store.approvals(ApprovalsQuery(limit=10_000))
        oracle.compare(stored)
        problems = [problem for each in await self.store.verify() for problem in each.problems]
        return self.wrong + oracle.wrong + [f"journal: {each}" for each in problems]

    async def _act(self, times: int) -> None:
        acts = [self._ask] * 4 + [self._say] * 5 + [self._agree] * 4 + [self._use] * 3
        acts += [self._read, self._pass, self.pipeline.sweep, self._close, self._halt, self._open]
        for _ in range(times):
            await self.store.turn()
            # Many an act comes too late, is nobody's to do, or meets a halt: that is said so, and is nothing.
            with suppress(CallerError):
                await self.dice.choice(acts)()

    async def _ask(self) -> None:
        """An agent asks, with a key or without, and waits or not."""
        who, call = self._question()
        if self.dice.random() < 0.4:
            key = f"k{self.dice.randint(1, 3)}"
            call = self.keys.setdefault((who.id, key), replace(call, key=key))
        wait = self.dice.choice((0, 0, 0, SECOND))
        answer = await self.pipeline.authorize(who, call, wait)
        self._heard(answer)
        if answer.alternative is not None:
            self.asked.append((who, _changed(call, answer.alternative)))

    async def _use(self) -> None:
        """Several ask for the same at a time."""
        who, call = self._question()
        asked = [self.pipeline.authorize(who, call) for _ in range(self.dice.randint(2, 4))]
        for answer in await asyncio.gather(*asked):
            self._heard(answer)

    async def _say(self) -> None:
        """Somebody looks at what waits, or was approved, and answers."""
        verdict = self.dice.choice((Verdict.APPROVE,) * 5 + (Verdict.DENY, Verdict.HOLD))
        await self._answer(self._answering(), self.dice.choice(await self._ids()), verdict)

    async def _agree(self) -> None:
        """All people approve something at a time, and then its agent, or another, goes on."""
        who, call = self._question()
        answer = await self.pipeline.authorize(who, call)
        for each in answer.approvals:
            await asyncio.gather(*(self._agreeing(name, each.id) for name in ASKED))
        for _ in range(self.dice.randint(1, 3)):
            await self.pipeline.authorize(who, call)

    async def _agreeing(self, name: str, id: str) -> None:
        await self.store.turn()
        with suppress(CallerError):  # another one was sooner
            await self._answer(_person(name), id, Verdict.APPROVE)

    async def _answer(self, who: Subject, id: str, verdict: Verdict) -> None:
        """To what they saw, or to whatever it is by then."""
        shown = await self.pipeline.approvals(who, (), id, "", 1)
        if not shown:
            return
        seen = shown[0].approval
        if seen.state is State.APPROVED and self.dice.random() < 0.4:
            verdict = Verdict.DENY
        for _ in range(self.dice.choice((0, 1, 10))):  # people take their time
            await self.store.turn()
        version = self.dice.choice((seen.version, seen.version, seen.version, 0))
        offer = self.dice.choice(OFFERS) if verdict is Verdict.DENY and seen.state is State.PENDING else {}
        said = Resolution(seen.id, verdict, "because", version, offer)
        answer = (await self.pipeline.resolve(who, said)).answer
        if version:
            self.looked[answer.id] = {each.binding: (each.amount, frozenset(each.labels)) for each in seen.items}

    async def _ids(self) -> list[str]:
        """All there are; those that are over seldom."""
        found = await self.store.approvals(ApprovalsQuery(limit=100))
        live = [each.id for each in found if each.state in (State.PENDING, State.APPROVED)]
        return live if live and self.dice.random() < 0.9 else [each.id for each in found] or [""]

    async def _read(self) -> None:
        """An agent reads what its session had not."""
        who = subject(self.dice.choice(WORKERS))
        claimed = Claimed(workflow=self._context(who.id), purpose="onboarding")
        await self.pipeline.authorize(who, Call("Authorize", "data.read", Resource("dataset", "crm"), claimed))

    async def _pass(self) -> None:
        self.clock.pass_seconds(self.dice.choice((1, 4, 10)))

    async def _open(self) -> None:
        who = self.dice.choice(WORKERS)
        opened = await self.pipeline.open_workflow(subject(who), WorkflowCall(("onboarding",), WORKERS, HOUR))
        if opened.context:
            self.contexts.append((opened.id, opened.context))

    async def _close(self) -> None:
        if self.contexts:
            await self.pipeline.close_workflow(OPERATOR, self.dice.choice(self.contexts)[0], "done")

    async def _halt(self) -> None:
        """And resume again, a little later."""
        who = self.dice.choice(WORKERS)
        await self.pipeline.halt(OPERATOR, "agent", who, "stop")
        for _ in range(self.dice.randint(0, 10)):
            await self.store.turn()
        await self.pipeline.resume(OPERATOR, "agent", who, "go on")

    async def _come_to_rest(self) -> None:
        """Time passes for all who are asked; then nobody waits, and each key has one answer."""
        for _ in range(4):
            self.clock.pass_seconds(LONGEST_WAIT)
            await self.pipeline.sweep()
        waiting = await self.store.approvals(ApprovalsQuery(states=(State.PENDING,), limit=10_000))
        self.wrong += [f"{each.id} waits for ever" for each in waiting]
        for (who, key), call in self.keys.items():
            kept = await self.store.kept(who, "Authorize", key)
            answer = await self.pipeline.authorize(subject(who), call)
            again = await self.pipeline.authorize(subject(who), call)
            if kept is not None and not kept.provisional and not answer.replayed and answer.reasons[0].code != "halted":
                self.wrong.append(f"key {key} of {who} was answered, and is decided anew")
            codes = {each.reasons[0].code for each in (answer, again)}
            if answer.id != again.id and not codes & {"halted", "facts_changed"}:
                self.wrong.append(f"key {key} of {who} is answered {answer.id} and {again.id}")

    def _question(self) -> tuple[Subject, Call]:
        """Mostly one that was asked before."""
        if self.asked and self.dice.random() < 0.7:
            return self.dice.choice(self.asked)
        self.asked.append(self._new_question())
        return self.asked[-1]

    def _new_question(self) -> tuple[Subject, Call]:
        who = subject(self.dice.choice((*WORKERS[:1] * 3, *WORKERS[1:])))
        operation = self.dice.choice(("chat", "chat", "chat", "draw"))
        variant = self.dice.choice(("large", "large", "huge"))
        arguments = {"n": self.dice.randint(1, 2)}
        claimed = Claimed(workflow=self._context(who.id), purpose="onboarding", arguments=arguments)
        resource = Resource("service", "model", operation, variant)
        return who, Call("Authorize", "api.call", resource, claimed, digest=repr((resource, claimed)))

    def _context(self, who: str) -> str:
        """A workflow, mostly the latest, or none."""
        return self.contexts[-1][1] if self.contexts and self.dice.random() < 0.5 else ""

    def _answering(self) -> Subject:
        """Whoever is asked, and now and then whoever is not to answer."""
        name = self.dice.choice((*ASKED * 4, *("lead",) * 4, *("boss",) * 2, *WORKERS))
        return _person(name) if name in ASKED else subject(name)

    def _heard(self, answer: Answer) -> None:
        if answer.effect is Effect.ALLOW:
            self.allowed.add(answer.id)


def _changed(call: Call, offered: Mapping[str, Any]) -> Call:
    """What was offered instead."""
    resource = replace(call.resource, **{part: offered["resource"][part] for part in ("operation", "variant")})
    claimed = replace(call.claimed, arguments=offered["arguments"])
    return replace(call, resource=resource, claimed=claimed, key="", digest=repr((resource, claimed)))


def _person(name: str) -> Subject:
    return Subject("person", name, "", ("approver",), Identity("token", name))


class Policy(Holding):
    """Holds what is large or huge."""

    def _is_held(self, document: Mapping[str, Any]) -> bool:
        return document["resource"]["variant"] in ("large", "huge")


def scene(dice: Random) -> Scene:
    """A world of its own, on terms that are as the dice say."""
    terms = Terms(
        roles=("approver",),
        supervisor=dice.random() < 0.4,
        quorum=dice.choice((1, 1, 2, 3)),
        bind=dice.choice(tuple(Bind)),
        uses=dice.randint(1, 3),
        cost=dice.choice((None, None, EUR, 2 * EUR, 5 * EUR)),
        ttl=dice.choice((3, 10, 600)),
        wait=dice.choice((5, 20)),
    )
    more = () if dice.random() < 0.7 else (Hold("custom.second", "look_twice", Terms(roles=("approver",))),)
    clock = FakeClock(START)
    store = WatchedStore(clock, dice)
    store.activate("r1")
    policy = Policy(terms=terms, more=more, refused=frozenset(dice.choice(((), ("lead",), ("boss",)))))
    agents = {
        name: Agent("cx", ("worker",), ("onboarding",), supervisor="lead", clearance=("pii",)) for name in WORKERS
    }
    world = make_world(
        store,
        policy,
        agents={**agents, "lead": Agent("cx", clearance=("pii",), supervisor="boss"), "boss": Agent("cx")},
        people={name: Person(("approver",)) for name in ASKED} | {"ana": Person(("operator",))},
        services={
            "model": Service(
                owner="ml", clearance=("pii",), variants={"large": Variant(), "huge": Variant()}, metering="agent"
            )
        },
        prices=(
            Price(match="model/large", unit="call", amount=EUR, currency="EUR"),
            Price(match="model/huge", unit="call", amount=2 * EUR, currency="EUR"),
        ),
        datasets={"crm": Dataset(owner="cx", labels=("pii",))},
        budgets={},
    )
    world.clock = clock
    world.installation = replace(world.installation, pdp=SlowPdp(policy, store))
    return Scene(dice, store, world, Pipeline(world), clock, terms)


def interleaving(seed: str) -> list[str]:
    """What is wrong after one interleaving."""
    return _played(seed)[0]


def history(seed: str) -> list[Record]:
    """What one interleaving records."""
    return [step.commit.record for step in _played(seed)[1]]


def _played(seed: str) -> tuple[list[str], Sequence[Step]]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        played = scene(Random(seed))
        return runner.run(played.play()), played.store.steps
