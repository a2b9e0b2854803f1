"""One run of the team: orders handed out, workers, leads and the sidecar killed in the middle, a person at the desk.

The plan of crashes is the seed's; when each comes about is the machine's. Nothing that the processes say counts at the
end: it only tells when to kill, and what to hand out again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import grpc
import remit
from fakes.team_books import Books, Left, look
from fakes.team_place import AGENTS, LEADS, PERSON, WIRES, WORKERS, Place, token_of
from remit.v1 import audit_pb2, audit_pb2_grpc

KINDS = ("large", "refund", "refund", "pay", "wire", "ship", "credit", "credit", "large", "plain")
"""Of the ten orders of a workflow. Two that are alike in a row are about one ticket, and contradict each other."""

STAGES = ("claimed", "asking", "reserved", "closing", "closed")
SECONDS = 60.0
"""How long all of it may take; what has no end by then has none."""

FLAVOURS: tuple[dict[str, Any], ...] = (
    {"failed": {"limit": 2, "answer": "escalate"}},
    {"failed": {"limit": 3, "answer": "compensate"}},
    {"failed": {"limit": 2, "answer": "deny"}},
    {"failed": {"limit": 3, "answer": "retry"}, "vanished": {"answer": "escalate"}},
)
"""What is done about failures, one seed after the other."""


@dataclass(frozen=True)
class Order:
    """What a worker is to do, and at which stage it is killed ("" for none)."""

    id: str
    kind: str
    context: str
    says: str
    ticket: str
    waits: float
    dies: str = ""
    after: float = 0.0

    def line(self) -> bytes:
        """As it is told."""
        told = {"order": self.id, "kind": self.kind, "workflow": self.context, "waits": self.waits}
        return json.dumps({**told, "says": self.says, "ticket": self.ticket}).encode() + b"\n"


@dataclass(frozen=True)
class Plan:
    """What one seed does. Workers are killed over `victims` of the orders, and wait so many seconds for an approval.

    `settles` is the longest that anything may be held once everybody has gone and the person has answered: holds and
    claims of two seconds, approvals of one for each who is asked, a lift that the person takes a while over.
    """

    seed: int
    workflows: int
    failure: Mapping[str, Any]
    sidecar_dies: bool = False
    lead_stays_away: bool = False
    kinds: tuple[str, ...] = KINDS
    victims: int = 0
    waits: float = 6.0
    settles: float = 6.0

    @classmethod
    def of(cls, seed: int, workflows: int) -> Plan:
        """By the number of the seed, so that few seeds have all of it."""
        failure, victims = FLAVOURS[seed % len(FLAVOURS)], 3 * workflows
        return cls(seed, workflows, failure, sidecar_dies=seed % 2 == 1, lead_stays_away=seed % 3 == 0, victims=victims)


@dataclass
class Team:
    """Who is at work on one plan. `silent` leads never answer."""

    place: Place
    plan: Plan
    silent: bool = False
    kills: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.orders: list[Order] = []
        self._random = Random(self.plan.seed)
        self._queue: asyncio.Queue[Order] = asyncio.Queue()
        self._open, self._turning = 0, 0.0
        self._midway = asyncio.Event()
        self._running: set[Process] = set()
        self._commands = 2
        self._log = (self.place.directory / "agents.log").open("wb")

    async def play(self) -> Books:
        """All of it; what is in the books when everybody has gone."""
        contexts = await self._opened()
        self.orders = self._orders(tuple(contexts.values()))
        self._open = len(self.orders)
        self._turning = self._open * self._random.uniform(0.3, 0.9)
        for each in self.orders:
            self._queue.put_nowait(each)
        everybody = [asyncio.create_task(self._work(name)) for name in WORKERS]
        everybody += [asyncio.create_task(self._lead(name)) for name in LEADS]
        if self.plan.sidecar_dies:
            everybody.append(asyncio.create_task(self._sidecar()))
        desk = asyncio.create_task(self._desk())
        try:
            await self._until_done(everybody)
            for each in everybody:
                each.cancel()
            await asyncio.gather(*everybody, return_exceptions=True)
            for process in tuple(self._running):
                await self._gone(process)
            left = await self._settled()
            traces = await self._traced(contexts)
        finally:
            for process in tuple(self._running):
                await self._gone(process)
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
            self._log.close()
        await asyncio.to_thread(self.place.end)
        return look(self.place, frozenset(each.id for each in self.orders), left, traces)

    async def _opened(self) -> dict[str, str]:
        async with remit.Agent.connect(self.place.address, token_of(LEADS[0])) as lead:
            opened = [await lead.open_workflow(["orders"], agents=tuple(WORKERS)) for _ in range(self.plan.workflows)]
        return {each.id: each.context for each in opened}

    def _orders(self, contexts: Sequence[str]) -> list[Order]:
        made: list[Order] = []
        kinds = [(context, kind) for context in contexts for kind in self.plan.kinds]
        victims = self._random.sample(range(len(kinds)), self.plan.victims)
        for number, (context, kind) in enumerate(kinds):
            second = bool(made) and (made[-1].kind, made[-1].says) == (kind, "approve")
            made.append(
                Order(
                    f"order-{number}",
                    kind,
                    context,
                    says="reject" if second else "approve",
                    ticket=made[-1].ticket if second else f"ticket-{number}",
                    waits=self.plan.waits,
                    dies=self._random.choice(STAGES) if number in victims else "",
                    after=self._random.choice([0.0, self._random.uniform(0, 0.3)]),
                )
            )
        return made

    async def _until_done(self, everybody: list[asyncio.Task[None]]) -> None:
        until = time.monotonic() + SECONDS
        while self._open and time.monotonic() < until:
            await asyncio.sleep(0.05)
            for each in everybody:
                if each.done() and not each.cancelled() and each.exception() is not None:
                    raise AssertionError("somebody failed") from each.exception()

    async def _work(self, name: str) -> None:
        """One worker, and whoever follows on it when it has been killed."""
        process: Process | None = None
        while True:
            order = await self._queue.get()
            if process is None:
                process = await self._started("team_worker.py", name)
            if await self._carried_out(process, order):
                self._open -= 1
                if self._open <= self._turning:
                    self._midway.set()
                continue
            self.kills[f"worker {order.dies}"] += 1
            await self._gone(process)
            process = None
            # Whoever takes it up is not to be killed for it again.
            self._queue.put_nowait(replace(order, dies=""))

    async def _carried_out(self, process: Process, order: Order) -> bool:
        """Whether the worker came to the end of it; False where it is to be killed."""
        assert process.stdin is not None
        process.stdin.write(order.line())
        async for said in _lines(process):
            if said["at"] == order.dies:
                await asyncio.sleep(order.after)
                return False
            if said["at"] == "stuck":
                self.errors.append(f"{order.id}: {said['why']}")
            if said["at"] == "next":
                return True
        raise AssertionError(f"a worker ended by itself at {order}: {self._agents_log()}")

    async def _lead(self, name: str) -> None:
        """One lead, killed twice at the most, before or after its verdict, and back some time later or never."""
        random = Random(f"{self.plan.seed} {name}")
        while True:
            process = await self._started("team_lead.py", name, *(["silent"] if self.silent else []))
            dies = random.choice(["sees", "said"]) if self.kills[name] < 2 else ""
            turn = random.randint(1, 4)
            async for said in _lines(process):
                turn -= said["at"] == dies
                if said["at"] == dies and turn == 0:
                    await asyncio.sleep(random.choice([0.0, random.uniform(0, 0.1)]))
                    break
            else:
                raise AssertionError(f"{name} ended by itself: {self._agents_log()}")
            self.kills[name] += 1
            await self._gone(process)
            if self.plan.lead_stays_away and name == LEADS[1]:
                return
            await asyncio.sleep(random.uniform(0.1, 2.5))

    async def _sidecar(self) -> None:
        """Killed in the middle of it all, and started again at once."""
        await self._midway.wait()
        await asyncio.to_thread(self.place.end, signal.SIGKILL)
        self.kills["sidecar"] += 1
        await asyncio.to_thread(self.place.up)

    async def _desk(self) -> None:
        """The person: answers what people are asked, and what a lead has left lying for a second."""
        answering: set[asyncio.Task[None]] = set()
        async with remit.Agent.connect(self.place.address, token_of(PERSON)) as person:
            async for request in person.reviews():
                task = asyncio.create_task(self._answer(request))
                answering.add(task)
                task.add_done_callback(answering.discard)

    async def _answer(self, request: remit.Review) -> None:
        if request.supervisor in LEADS:
            await asyncio.sleep(1.5)
        random = Random(f"{self.plan.seed} {request.approval} {request.version}")
        yes = request.action == "control.halt" or random.random() < 0.6
        if self._commands > 0 and request.deadline > time.time_ns() + 10**10:
            # There is time for a command line to start.
            self._commands -= 1
            await self._commanded(request, "approve" if yes else "deny")
            return
        while True:
            try:
                after = await (request.approve("fine") if yes else request.deny("no"))
                if after.state == "approved" and request.bind == "variant" and random.random() < 0.3:
                    await asyncio.sleep(random.uniform(0, 0.3))
                    await request.resolve(after, "DENY", "I was wrong")
                return
            except (remit.Denied, remit.IllegalState):
                return  # it is another by now, which comes again
            except remit.Unavailable:
                await asyncio.sleep(0.1)

    async def _commanded(self, request: remit.Review, verdict: str) -> None:
        """The same from the command line; where that finds no sidecar, the request is left to whoever comes next."""
        said = self.place.command(
            "approvals", verdict, request.approval, "--version", str(request.version), "--reason", "as told"
        )
        process = await asyncio.create_subprocess_exec(
            *said, cwd=self.place.directory, env=self.place.command_environment(), stdout=PIPE, stderr=PIPE
        )
        try:
            await process.communicate()
        finally:
            await self._gone(process)
        self.kills[f"command {verdict} {process.returncode}"] += 1
        if process.returncode:
            await self._answer(request)

    async def _started(self, program: str, name: str, *arguments: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(AGENTS / program),
            *arguments,
            env=self.place.environment(name),
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log,
        )
        self._running.add(process)
        return process

    async def _gone(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        self._running.discard(process)

    def _agents_log(self) -> str:
        return (self.place.directory / "agents.log").read_text()[-2000:]

    async def _settled(self) -> Left:
        """What is still held when all that could have ended has had its time, and a second."""
        until = time.monotonic() + self.plan.settles + 1
        while True:
            left = await asyncio.to_thread(Left.of, self.place)
            if left == Left() or time.monotonic() > until:
                return left
            await asyncio.sleep(0.1)

    async def _traced(self, workflows: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
        """The ids of all records that Audit.Trace tells of each workflow."""
        found = {}
        async with grpc.aio.insecure_channel(self.place.address) as channel:
            audit = audit_pb2_grpc.AuditStub(channel)  # type: ignore[no-untyped-call]
            for each in workflows:
                asked = audit_pb2.TraceRequest(workflow=each)
                answer = await audit.Trace(asked, metadata=[("authorization", f"Bearer {token_of(PERSON)}")])
                assert not answer.truncated
                found[each] = frozenset(record.id for record in answer.records)
        return found


async def _lines(process: Process) -> AsyncIterator[Mapping[str, Any]]:
    """What a process says, as JSON."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        yield json.loads(line)


def play(directory: Path, plan: Plan, *, wires: Mapping[str, Any] = WIRES, silent: bool = False) -> tuple[Team, Books]:
    """A team of its own, from the start to the end; `wires` are the terms on which wires are held."""
    place = Place(directory, failure=plan.failure, wires=wires)
    team = Team(place, plan, silent)
    try:
        place.up()
        return team, asyncio.run(team.play())
    finally:
        place.end(signal.SIGKILL)
