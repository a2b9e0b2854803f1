"""Agents of one installation, from ten to ten thousand: what a decision costs with allotments, beside the embedded
store and beside PostgreSQL asked each time; and how long what was decided ahead is on a pod's disk alone.

Three fleets of four sidecars each, all with the same catalogue. Agents work in runs: a handful at once, each for ten to
twenty calls and their reports, then another takes its place, chosen of all of them.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from fakes.postgres_server import postgres_server
from fakes.store_postgres import Installation, new_installation
from remit.v1 import resources_pb2, sidecar_pb2, sidecar_pb2_grpc

from bench.costs import Meter, Spent, kept
from bench.installation import ALLOTTED, EMBEDDED, FLEETS, MEMBERS, SETTINGS, SYNCHRONOUS, Agent, Fleet, fleets
from bench.load import Figures, figures, median, side_by_side
from bench.rows import Row

AGENTS = (10, 100, 1_000, 10_000)
WORKING = 8
PACE_SECONDS = 0.02
"""Between two decisions of one caller: what is done behind a decision is done meanwhile, as where agents think."""

RUN = (10, 20)
WARM, WARM_BUSY = 40, 10
"""Calls of each caller before it is measured: with one, and with many."""

AGAIN = 50
BUSY_CALLERS, BUSY_AGENTS = 16, 1_000
QUESTION = sidecar_pb2.AuthorizeRequest(
    action="api.call",
    resource=resources_pb2.Resource(type="service", id="model", operation="chat", variant="small"),
    context=resources_pb2.Context(purpose="measure", reason="bench", arguments=b'{"customer":7,"tone":"kind"}'),
    usage=[
        resources_pb2.Usage(unit="input_token", quantity=900),
        resources_pb2.Usage(unit="output_token", quantity=300),
    ],
)
USED = [
    resources_pb2.Usage(unit="input_token", quantity=880),
    resources_pb2.Usage(unit="output_token", quantity=120),
]


@dataclass
class AtWork:
    """Whose turn it is, of so many agents."""

    agents: int
    working: int
    _runs: list[tuple[Agent, int]] = field(default_factory=list)

    def turn(self) -> Agent:
        """The next to ask: one of those at work, and another once its run is over."""
        while len(self._runs) < min(self.working, self.agents):
            one = random.randrange(self.agents)
            self._runs.append((Agent(one % MEMBERS, one // MEMBERS), random.randint(*RUN)))
        place = random.randrange(len(self._runs))
        agent, left = self._runs[place]
        if left > 1:
            self._runs[place] = (agent, left - 1)
        else:
            del self._runs[place]
        return agent


@dataclass
class Taken:
    """Rounds of one fleet with so many agents: how many decisions are in which log, and how many of all (warming up
    included) had to be asked for again, because the store was not available."""

    rounds: list[Figures] = field(default_factory=list)
    logs: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    again: int = 0
    stretches: list[tuple[int, int]] = field(default_factory=list)  # ns since the epoch

    def share(self, logs: Sequence[str]) -> float:
        """Of all decisions, how many are in these logs."""
        return sum(self.logs[each] for each in logs) / max(1, sum(self.logs.values()))


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Start the fleets, let agents work in turns, and compare."""
    server = stack.enter_context(postgres_server(SETTINGS))
    installed = {kind: stack.enter_context(new_installation(server)) for kind in (ALLOTTED, SYNCHRONOUS)}
    started = fleets(stack, directory, installed)
    quiet: dict[tuple[str, int], Taken] = {}
    busy: dict[str, Taken] = {}
    spent = {kind: Spent() for kind in installed}
    for _ in range(rounds):
        # What is compared is measured side by side: a slow minute is slow for all three.
        for agents, kind in _order():
            _work(
                started[kind],
                quiet.setdefault((kind, agents), Taken()),
                agents=agents,
                callers=1,
                calls=calls,
                pace=PACE_SECONDS,
            )
        for kind in random.sample(FLEETS, len(FLEETS)):
            taken, before = busy.setdefault(kind, Taken()), _read(installed.get(kind))
            done = taken.decisions
            _work(started[kind], taken, agents=BUSY_AGENTS, callers=BUSY_CALLERS, calls=calls * 4, pace=0)
            if before is not None:
                spent[kind].add(before, Meter.read(installed[kind]), taken.decisions - done)
    local = [name for (name,) in installed[ALLOTTED].rows("SELECT name FROM remit.log WHERE kind = 'local'")]
    return [
        *(row for agents in AGENTS for row in _quiet_rows(quiet, agents, local)),
        *_busy_rows(busy),
        *_ages(installed[ALLOTTED], local, "", [each for (kind, _), each in quiet.items() if kind == ALLOTTED]),
        *_ages(installed[ALLOTTED], local, "busy_", [busy[ALLOTTED]]),
        *(row for kind, each in spent.items() for row in each.rows(kind)),
        *kept(started, installed, sum(each.decisions for each in _of(EMBEDDED, quiet, busy))),
    ]


def _order() -> Iterator[tuple[int, str]]:
    for agents in random.sample(AGENTS, len(AGENTS)):
        for kind in random.sample(FLEETS, len(FLEETS)):
            yield agents, kind


def _read(installed: Installation | None) -> Meter | None:
    return Meter.read(installed) if installed is not None else None


def _of(kind: str, quiet: Mapping[tuple[str, int], Taken], busy: Mapping[str, Taken]) -> list[Taken]:
    return [*(each for (which, _), each in quiet.items() if which == kind), busy[kind]]


def _work(fleet: Fleet, taken: Taken, *, agents: int, callers: int, calls: int, pace: float) -> None:
    async def work() -> Figures:
        async with AsyncExitStack() as channels:
            clients = [
                sidecar_pb2_grpc.SidecarStub(
                    await channels.enter_async_context(grpc.aio.insecure_channel(each.address))
                )
                for each in fleet.sidecars
            ]
            at_work = AtWork(agents, WORKING * callers)
            latencies: list[float] = []
            logs: Counter[str] = Counter()

            async def asked(method: Any, request: Any, agent: Agent) -> Any:
                for _ in range(AGAIN):
                    try:
                        return await method(request, metadata=agent.credential, timeout=20)
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        taken.again += 1
                        await asyncio.sleep(0.1)
                raise AssertionError(f"the {fleet.kind} store is not available {AGAIN} times on end")

            async def call() -> None:
                agent = at_work.turn()
                client = clients[agent.member]
                started = time.perf_counter()
                decision = (await asked(client.Authorize, QUESTION, agent)).decision
                latencies.append(time.perf_counter() - started)
                assert decision.effect == resources_pb2.EFFECT_ALLOW, decision
                taken.decisions += 1
                logs[decision.log] += 1
                report = sidecar_pb2.ReportRequest(
                    decision=decision.id, outcome=resources_pb2.OUTCOME_SUCCEEDED, usage=USED
                )
                await asked(client.Report, report, agent)
                await asyncio.sleep(max(0.0, pace - (time.perf_counter() - started)))

            await side_by_side(callers, WARM if callers == 1 else WARM_BUSY * callers, call)
            latencies.clear()
            logs.clear()
            began, started = time.time_ns(), time.perf_counter()
            await side_by_side(callers, calls, call)
            taken.logs.update(logs)
            taken.stretches.append((began, time.time_ns()))
            return figures(latencies, time.perf_counter() - started)

    taken.rounds.append(uvloop.run(work()))


def _quiet_rows(quiet: Mapping[tuple[str, int], Taken], agents: int, local: Sequence[str]) -> list[Row]:
    """One caller: the time of a decision, and not of waiting for others."""
    found = {kind: median(quiet[kind, agents].rounds) for kind in FLEETS}
    ours = found[ALLOTTED]
    share = f"{quiet[ALLOTTED, agents].share(local):.0%} decided ahead{_again(quiet[ALLOTTED, agents])}"
    return [
        *(
            Row(f"store_p50_allotted_{agents}", ours.p50, "ms", kind, ours.p50 / found[kind].p50, share)
            for kind in (EMBEDDED, SYNCHRONOUS)
        ),
        Row(f"store_p99_allotted_{agents}", ours.p99, "ms"),
        *(
            Row(f"store_p50_{kind}_{agents}", found[kind].p50, "ms", note=f"p99 {found[kind].p99:.2f} ms")
            for kind in (EMBEDDED, SYNCHRONOUS)
        ),
    ]


def _again(taken: Taken) -> str:
    return f", {taken.again} asked again" if taken.again else ""


def _busy_rows(busy: Mapping[str, Taken]) -> list[Row]:
    """Many callers: a decision and its report, again and again."""
    found = {kind: median(each.rounds) for kind, each in busy.items()}
    ours = found[ALLOTTED]
    callers = f"{BUSY_CALLERS} callers"
    return [
        *(
            Row(f"store_rps_allotted_{BUSY_CALLERS}", ours.rate, "1/s", kind, ours.rate / found[kind].rate)
            for kind in (EMBEDDED, SYNCHRONOUS)
        ),
        *(
            Row(
                f"store_p50_{kind}_busy",
                each.p50,
                "ms",
                note=f"{callers}, p99 {each.p99:.1f} ms, {each.rate:.0f}/s with their reports{_again(busy[kind])}",
            )
            for kind, each in found.items()
        ),
    ]


def _ages(installed: Installation, local: Sequence[str], which: str, works: Sequence[Taken]) -> list[Row]:
    """How old records were when PostgreSQL had them: what a pod that is lost with its disk takes along."""
    began, ended = zip(*(stretch for each in works for stretch in each.stretches), strict=True)
    taken = [
        float(age)
        for (age,) in installed.rows(
            "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - time / 1000000.0 FROM remit.journal "
            "WHERE log = ANY (%s) AND kind IN ('decision', 'report') AND EXISTS ("
            "SELECT FROM unnest(%s::bigint[], %s::bigint[]) AS work (began, ended) WHERE time BETWEEN began AND ended)",
            [list(local), list(began), list(ended)],
        )
    ]
    at = statistics.quantiles(taken, n=100)
    note = f"{len(taken)} records, from when a decision began to its commit in PostgreSQL"
    return [
        Row(f"unshipped_age_{which}p50", at[49], "ms", note=note),
        Row(f"unshipped_age_{which}p99", at[98], "ms"),
        Row(f"unshipped_age_{which}max", max(taken), "ms"),
    ]
