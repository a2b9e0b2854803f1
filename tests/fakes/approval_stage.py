"""Two processes by which all happens to approvals: clients of one sidecar on SQLite, or members on one PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from fakes.approval_orders import LASTS, SECOND, USES, Expected, Flavour, Known, Played, orders_world
from fakes.store_postgres import Installation, key_of, open_store
from fakes.world import FakeClock, FakeIds
from race.reaching import START_SECONDS, Child, start, told
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.store_sqlite import SqliteStore
from remit.core.approval import Approval
from remit.core.checkpoint import VerifierKey
from remit.core.journal import Verification, together
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_server import GrpcListener, UnixSocket
from remit.pep.pipeline import Pipeline
from remit.ports import ApprovalsQuery, Store

LOGS = ("first", "second")
ANSWER_SECONDS = 120
PAGE = 500


class Hand:
    """A process that does what it is told."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._told: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until it says so."""
        async with asyncio.timeout(START_SECONDS):
            assert await self._out.readline() == b"ready\n"
        self._reading = asyncio.create_task(self._read())

    async def do(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Have it do something; what it answers."""
        id = len(self._told)
        self._told[id] = asyncio.get_running_loop().create_future()
        self._child.tell(json.dumps({"id": id, **message}))
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._told[id]

    async def end(self) -> None:
        """Let it close what it has open."""
        assert self._child.process.stdin is not None
        self._child.process.stdin.close()
        async with asyncio.timeout(START_SECONDS):
            await self._child.process.wait()
            if self._reading is not None:
                await self._reading

    @property
    def _out(self) -> asyncio.StreamReader:
        assert self._child.process.stdout is not None
        return self._child.process.stdout

    async def _read(self) -> None:
        while line := await self._out.readline():
            said = json.loads(line)
            self._told[said.pop("id")].set_result(said)
        for waiting in self._told.values():
            if not waiting.done():
                waiting.set_exception(RuntimeError("the process has ended"))


class Stage(Protocol):
    """The two processes, and what can be read of what they did. `now` is everybody's time, in ns."""

    hands: Sequence[Hand]
    now: int

    async def sweep(self, by: Hand) -> None:
        """What ends by itself ends."""

    async def approvals(self) -> Sequence[Approval]:
        """All that are stored."""

    async def bodies(self) -> Sequence[bytes]:
        """The bodies of all records."""

    async def verification(self) -> Verification:
        """Once all is done."""


class OnSqlite:
    """A sidecar in this process, which owns the file."""

    def __init__(self, hands: Sequence[Hand], store: SqliteStore, pipeline: Pipeline, clock: FakeClock) -> None:
        self.hands = hands
        self._store, self._pipeline, self._clock = store, pipeline, clock

    @property
    def now(self) -> int:
        return self._clock.time

    @now.setter
    def now(self, time: int) -> None:
        self._clock.time = time

    async def sweep(self, by: Hand) -> None:
        while await self._store.due_approvals(self.now, 1):
            await self._pipeline.sweep()

    async def approvals(self) -> Sequence[Approval]:
        return await _all_of(self._store)

    async def bodies(self) -> Sequence[bytes]:
        found: list[bytes] = []
        while page := await self._store.journal(len(found), PAGE):
            found += [row.record.body for row in page]
        return found

    async def verification(self) -> Verification:
        return together(await self._store.verify())


class OnPostgres:
    """Nobody but the two members; what they did is read by a third."""

    def __init__(self, hands: Sequence[Hand], installation: Installation, now: int) -> None:
        self.hands, self.now = hands, now
        self._installation = installation

    async def sweep(self, by: Hand) -> None:
        await by.do({"do": "sweep", "now": self.now})

    async def approvals(self) -> Sequence[Approval]:
        store = await open_store(self._installation, "reader")
        try:
            return await _all_of(store)
        finally:
            await store.close()

    async def bodies(self) -> Sequence[bytes]:
        return [bytes(body) for (body,) in self._installation.rows("SELECT body FROM remit.journal")]

    async def verification(self) -> Verification:
        """Each log by its writer's key; the writers have signed their last."""
        await asyncio.gather(*(each.end() for each in self.hands))
        store = await open_store(self._installation, "auditor")
        try:
            keys = [VerifierKey(log, key_of(log).public_key().public_bytes_raw()) for log in LOGS]
            return together([each for each in await store.verify(*keys) if each.log in LOGS])
        finally:
            await store.close()


@asynccontextmanager
async def on_sqlite(directory: Path) -> AsyncIterator[Stage]:
    """A sidecar, and two clients of it."""
    clock = FakeClock()
    store = SqliteStore(directory / "state.db", clock=clock, ids=FakeIds(), key=key_of("sqlite"))
    store.activate("r1")
    world = orders_world(store, clock)
    pipeline = Pipeline(world)
    listener = GrpcListener(
        pipeline,
        CatalogueIdentity(world.catalogue, clock),
        _Nobody(),
        addresses=[UnixSocket(directory / "s")],
        limits=Limits(concurrency=4096, per_caller=4096, receive_seconds=ANSWER_SECONDS, call_seconds=ANSWER_SECONDS),
    )
    (target,) = await listener.start()
    hands = [Hand(await start("hand.py", {"target": target})) for _ in LOGS]
    await asyncio.gather(*(each.ready() for each in hands))
    try:
        yield OnSqlite(hands, store, pipeline, clock)
    finally:
        await asyncio.gather(*(each.end() for each in hands))
        await listener.stop(grace=1)
        await store.close()


@asynccontextmanager
async def on_postgres(installation: Installation) -> AsyncIterator[Stage]:
    """Two members of an installation."""
    hands = []
    for log in LOGS:
        given = told(installation, log=log, key=key_of(log).private_bytes_raw().hex())
        hands.append(Hand(await start("hand.py", given)))
    await asyncio.gather(*(each.ready() for each in hands))
    try:
        yield OnPostgres(hands, installation, FakeClock().time)
    finally:
        await asyncio.gather(*(each.end() for each in hands))


class _Nobody:
    """Hears of nothing."""

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a call took so long."""

    def identity_failed(self, cause: str) -> None:
        """No identity was proved."""


async def _all_of(store: Store) -> Sequence[Approval]:
    found: list[Approval] = []
    while page := await store.approvals(ApprovalsQuery(before=found[-1].id if found else "", limit=PAGE)):
        found += page
    return found


async def play(stage: Stage, batch: Sequence[Played]) -> list[str]:
    """Play orders, some beside each other: those for which time passes in the same step. Each has an agent of its own.

    The processes take turns. What is wrong, by the order.
    """
    wrong: list[str] = []
    groups: dict[tuple[Flavour, int], list[Played]] = {}
    for each in batch:
        groups.setdefault((each.flavour, each.order.index("expire")), []).append(each)
    for (_, expires), group in groups.items():
        await _each(stage, group, "begin", 0, wrong)
        for step in range(len(group[0].order)):
            if step == expires:
                await _pass(stage, step)
            await _each(stage, group, "", step, wrong)
        await _each(stage, group, "end", 0, wrong)
    await _pass(stage, 0)  # and so nothing waits for ever
    for each in batch:
        each.model.sweep(stage.now)
    return wrong + await _books(stage, batch)


async def _pass(stage: Stage, step: int) -> None:
    stage.now += LASTS * SECOND
    await stage.sweep(stage.hands[step % len(stage.hands)])


async def _each(stage: Stage, group: Sequence[Played], moment: str, step: int, wrong: list[str]) -> None:
    async def one(which: Played) -> None:
        op = moment or which.order[step]
        turn = (step + which.number) % len(stage.hands)
        for found in await _step(stage, which, op, stage.hands[turn:] + stage.hands[:turn]):
            wrong.append(f"{which}: {op}: {found}")

    await asyncio.gather(*map(one, group))


async def _step(stage: Stage, which: Played, op: str, hands: Sequence[Hand]) -> list[str]:
    model, (hand, *_) = which.model, hands
    match op:
        case "begin":
            return _compared(await _do(stage, hand, which.asking()), *model.ask(1, stage.now))
        case "change" if USES[which.flavour.bind] > 1:
            read = await _do(stage, hand, {"do": "read", "who": which.agent})
            model.labels = frozenset({"pii"})
            said = await _do(stage, hand, which.asking())
            return _compared(read, Expected("ALLOW", frozenset({"allowed"}))) + _compared(
                said, *model.ask(1, stage.now)
            )
        case "change":
            return _compared(await _do(stage, hand, which.asking(2)), *model.ask(2, stage.now))
        case "expire":
            model.sweep(stage.now)
            return []
        case "revoke" if model.approvals[0].state != "approved":
            return []  # there is nothing to take back
        case "consume" | "end":
            asked = [_do(stage, each, which.asking()) for each in hands]
            return _burst(await asyncio.gather(*asked), which, stage.now)
        case _:
            asking = which.saying(op)
            said = await _do(stage, hand, asking)
            return _compared(said, model.say(asking["verdict"], asking["version"], stage.now))


async def _do(stage: Stage, hand: Hand, message: Mapping[str, Any]) -> dict[str, Any]:
    return await hand.do({**message, "now": stage.now})


def _compared(said: Mapping[str, Any], expected: Expected, names: Known | None = None) -> list[str]:
    """What is wrong with an answer."""
    codes = set(said["codes"])
    if said["effect"] != expected.effect or (expected.effect and (not codes or not codes <= expected.codes)):
        return [f"{said['effect'] or 'illegal'} {sorted(codes)}, not {expected}"]
    if names is None:
        return []
    (its,) = said["approvals"]
    if not names.id:
        names.id = its
    return [] if names.id == its else [f"waits for {its}, not {names.id}"]


def _burst(answers: Sequence[Mapping[str, Any]], which: Played, now: int) -> list[str]:
    """What is wrong with answers of the same moment: as many are let through as would be one after the other."""
    expected = [which.model.ask(1, now) for _ in answers]
    allowed = sum(each.effect == "ALLOW" for each, _ in expected)
    let_through = sum(each["effect"] == "ALLOW" for each in answers)
    wrong = [] if let_through == allowed else [f"{let_through} of {len(answers)} at a time are allowed, not {allowed}"]
    rest, names = expected[-1]
    for each in answers:
        # Whoever was twice too late is told to try again.
        if each["effect"] != "ALLOW" and each["codes"] != ["facts_changed"]:
            wrong += _compared(each, rest, names)
    return wrong


async def _books(stage: Stage, batch: Sequence[Played]) -> list[str]:
    """What is wrong with what is stored, and with what is recorded of it."""
    stored: dict[str, dict[str, tuple[str, int, list[int]]]] = {}
    uses: Counter[str] = Counter()
    for each in await stage.approvals():
        standing = (each.state.value, each.version, sorted(item.used for item in each.items))
        stored.setdefault(each.subject, {})[each.id] = standing
        uses[each.id] += sum(item.used for item in each.items)
    wrong = [
        f"{each}: {stored.get(each.agent)} is stored, not {standing}"
        for each in batch
        if stored.get(each.agent) != (standing := each.model.standing())
    ]
    recorded: Counter[str] = Counter()
    for body in await stage.bodies():
        recorded.update(json.loads(body).get("grants", ()))
    wrong += [
        f"{id}: {recorded[id]} uses are recorded, {uses[id]} stored"
        for id in recorded | uses
        if recorded[id] != uses[id]
    ]
    problems = (await stage.verification()).problems
    return wrong + [f"journal: {each}" for each in problems]
