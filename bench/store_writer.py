"""One process at a store, with nothing before it: callers that decide and report again and again. Run as a script:

    python -m bench.store_writer KIND CALLERS AGENTS     KIND: embedded, allotted, synchronous, hot

It prints `ready`, waits for a line with a number of seconds, works for so long, prints its figures as JSON, and waits
for the next line; the end of its input ends it. The store's place is in REMIT_STORE_URL, its password in
BENCH_PASSWORD, its own file in BENCH_DIRECTORY. `hot` reserves in one row of all, and reports nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.session import Server
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.opening import open_shared
from remit.backends.store_shared.store import SharedStore
from remit.backends.store_sqlite import SqliteStore
from remit.core.database_url import PostgresPlace, parse_url
from remit.core.effect import Commit, Committed, EndReservation, Record, Reserve
from remit.core.model import BudgetRow, Versions
from remit.ports import FactsQuery, Store

from bench.installation import ALLOTTED, EMBEDDED
from bench.load import Figures, figures

MONTH = BudgetRow("month", "", 0, 0, 10**18)
AMOUNT, COST = 840_000, 544_000
HOLD = 300 * 10**9
BODY = b'{"action":"api.call","reasons":[{"code":"allowed"}],"resource":"model/chat"}'.ljust(1200)
"""As large as a decision's is."""

REVISION = "bench"


@dataclass(frozen=True, slots=True)
class Worked:
    """One stretch of work. `ahead` says how many decisions were made ahead, `behind` how many records were not shipped
    when it ended."""

    figures: Figures
    ahead: int
    behind: int


class Writer:
    """Callers at one store."""

    def __init__(self, store: Store, prefix: str, agents: int, *, hot: bool) -> None:
        self._store, self._prefix, self._agents, self._hot = store, prefix, agents, hot
        self._clock, self._ids = SystemClock(), RandomIds(SystemClock())
        self._latencies: list[float] = []
        self._logs: dict[str, int] = {}

    async def work(self, callers: int, seconds: float) -> Worked:
        """Decide for so long."""
        self._latencies.clear()
        self._logs.clear()
        started = time.perf_counter()
        end = started + seconds
        await asyncio.gather(*(self._caller(f"{self._prefix}-{each}", end) for each in range(callers)))
        taken = time.perf_counter() - started
        ahead = sum(count for log, count in self._logs.items() if log != self._store.log)
        return Worked(figures(self._latencies, taken), ahead, _behind(self._store))

    async def _caller(self, name: str, end: float) -> None:
        while time.perf_counter() < end:
            subject = f"{name}-{random.randrange(self._agents)}"
            for _ in range(random.randint(10, 20)):
                started = time.perf_counter()
                decision = await self._decide(subject)
                self._latencies.append(time.perf_counter() - started)
                if not self._hot:
                    await self._report(decision, subject)
                if time.perf_counter() > end:
                    break

    async def _decide(self, subject: str) -> str:
        own = BudgetRow("each-agent", subject, 0, 0, 10**15)
        rows = (MONTH,) if self._hot else (MONTH, own)
        facts = await self._store.facts(FactsQuery(subject, "process", "", "model", rows))
        versions = Versions(facts.labels_version, 0, facts.halts_version, REVISION)
        record = self._record("decision", subject, "", BODY)
        reserve = Reserve(record.id, subject, "", "model", "small", "cx", rows, AMOUNT, record.time + HOLD)
        outcome = await self._store.commit(Commit(record, (reserve,), versions, subject, "", "api.call"))
        assert isinstance(outcome, Committed), outcome
        self._logs[outcome.log] = self._logs.get(outcome.log, 0) + 1
        return record.id

    async def _report(self, decision: str, subject: str) -> None:
        end = EndReservation(decision, "settled", COST, {"input_token": 880, "output_token": 120}, decision)
        outcome = await self._store.commit(Commit(self._record("report", subject, decision, BODY[:300]), (end,)))
        assert isinstance(outcome, Committed), outcome

    def _record(self, kind: str, subject: str, ref: str, body: bytes) -> Record:
        id = self._ids.new("d" if kind == "decision" else "r")
        return Record(kind, id, self._clock.now(), subject, "", "", ref, body, self._ids.salt())


def _behind(store: Store) -> int:
    """Records that are on this disk alone."""
    if not isinstance(store, SharedStore):
        return 0
    return store._local.last - store._keeper._shipping.shipped


async def opened(kind: str) -> Store:
    """The store of that kind. Raises StoreUnavailable."""
    clock, key = SystemClock(), Ed25519PrivateKey.generate()
    ids = RandomIds(clock)
    directory = Path(os.environ["BENCH_DIRECTORY"])
    if kind == EMBEDDED:
        return SqliteStore(directory / "state.db", clock=clock, ids=ids, key=key)
    place = parse_url(os.environ["REMIT_STORE_URL"])
    assert isinstance(place, PostgresPlace)
    server = Server.of(place, _password)

    async def remote(own: str = "", recall: Recall | None = None) -> PostgresStore:
        parts: dict[str, Any] = {"clock": clock, "ids": ids, "own": own, "recall": recall}
        return await PostgresStore.open(server, log=f"bench-{os.getpid()}", kind="sidecar", key=key, **parts)

    if kind != ALLOTTED:
        return await remote()
    return await open_shared(remote, server, directory, clock=clock, ids=ids, key=key, actions=frozenset({"api.call"}))


async def _password() -> bytes:
    return os.environ["BENCH_PASSWORD"].encode()


async def main(kind: str, callers: int, agents: int) -> None:
    store = await opened(kind)
    store.activate(REVISION)
    writer = Writer(store, f"w{os.getpid()}", agents, hot=kind == "hot")
    print("ready", flush=True)
    read: Callable[[], Awaitable[str]] = lambda: asyncio.to_thread(sys.stdin.readline)  # noqa: E731 - one line
    while line := await read():
        print(json.dumps(asdict(await writer.work(callers, float(line)))), flush=True)
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
