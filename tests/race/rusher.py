"""One process of a rush: several connections, each a writer with a log of its own, all after the same budgets.

Told on its standard input; answers with one line of JSON: `granted` [begun, amount, agent], `refused` [ended, amount,
agent, budget], each moment in seconds of the machine's monotonic clock, and `longest`, the longest wait.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import START, row
from race.reaching import server_of
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.store import PostgresStore
from remit.core.effect import Commit, Committed, Record, Reserve

CALLERS = 4
FAR = START * 2


class Rusher:
    """One connection's callers."""

    def __init__(self, store: PostgresStore, spec: Mapping[str, Any], seed: str) -> None:
        self.store, self.spec = store, spec
        self.granted: list[tuple[float, int, int]] = []
        self.refused: list[tuple[float, int, int, str]] = []
        self.longest = 0.0
        self._dice = random.Random(seed)
        self._ids = RandomIds(SystemClock())

    async def run(self, count: int) -> None:
        """So many calls, some at a time."""
        turns = iter(range(count))
        await asyncio.gather(*(self._caller(turns) for _ in range(CALLERS)))

    async def _caller(self, turns: Iterator[int]) -> None:
        for _ in turns:
            agent = self._dice.randrange(self.spec["agents"])
            await self._call(agent, self._dice.randrange(1, self.spec["most"]))

    async def _call(self, agent: int, amount: int) -> None:
        id, name = self._ids.new("d"), f"agent{agent}"
        rows = (row(self.spec["limit"], "all"), row(self.spec["each"], "each", name))
        reserve = Reserve(id, name, "", "model", "large", "ml", rows, amount, FAR)
        record = Record("decision", id, START, name, "", "", "", b'{"n":"1"}', bytes(16))
        begun = time.monotonic()
        outcome = await self.store.commit(Commit(record, (reserve,)))
        ended = time.monotonic()
        self.longest = max(self.longest, ended - begun)
        if isinstance(outcome, Committed):
            self.granted.append((begun, amount, agent))
        else:
            self.refused.append((ended, amount, agent, outcome.name))


async def main() -> None:
    spec = json.loads(sys.stdin.readline())
    rushers = []
    for log in spec["logs"]:
        key = Ed25519PrivateKey.generate()
        store = await PostgresStore.open(
            server_of(spec),
            log=log,
            kind="sidecar",
            key=key,
            clock=SystemClock(),
            ids=RandomIds(SystemClock()),
            careless=True,
        )
        rushers.append(Rusher(store, spec, f"{spec['seed']} {log}"))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(each.run(spec["count"]) for each in rushers))
    told = {
        "granted": [each for rusher in rushers for each in rusher.granted],
        "refused": [each for rusher in rushers for each in rusher.refused],
        "longest": max(each.longest for each in rushers),
    }
    print(json.dumps(told), flush=True)
    for each in rushers:
        await each.store.close()


if __name__ == "__main__":
    uvloop.run(main())
