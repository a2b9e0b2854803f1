"""One process of a rush for approvals: several connections, each a writer with a log of its own.

Told on its standard input what each call does; answers with one line of JSON: `granted` and `refused` (by reason), how
many, and `longest`, the longest wait in seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import NEVER, SECOND, START
from race.reaching import server_of
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.store import PostgresStore
from remit.core.approval import Approval, Bind, Item, Terms
from remit.core.effect import (
    Commit,
    Committed,
    Effect,
    NoteAct,
    OpenApproval,
    Record,
    RespectClaims,
    UseGrant,
)
from remit.core.errors import StoreUnavailable

CALLERS = 4


def asked(id: str, like: str = "", *bindings: str, subject: str = "ann", **parts: Any) -> Approval:
    """A request of an agent's, which waits."""
    items = tuple(Item(each, f"d_{id}", 10**9, ("pii",), '{"arguments":{}}') for each in bindings or ("b",))
    given: dict[str, Any] = {
        "terms": Terms(roles=("finance",), bind=Bind.OPERATION),
        "time": START,
        "deadline": START + 3600 * SECOND,
        "items": items,
    }
    known = Approval(
        id=id,
        like=like or id,
        subject=subject,
        team="cx",
        workflow="w1",
        purpose="support",
        policy="spend",
        code="large",
        action="api.call",
        resource={"type": "service", "id": "model", "operation": "chat", "variant": "large"},
        reason="a long text",
        **given,
    )
    return replace(known, **parts)


class Grantee:
    """One connection's callers."""

    def __init__(self, store: PostgresStore, spec: Mapping[str, Any], log: str) -> None:
        self.store, self.spec, self.log = store, spec, log
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self._dice = random.Random(f"{spec['seed']} {log}")
        self._ids = RandomIds(SystemClock())

    async def run(self, count: int) -> None:
        """So many calls, some at a time."""
        effects: Callable[[], Sequence[Effect]] = getattr(self, self.spec["does"])
        turns = iter(range(count))
        await asyncio.gather(*(self._caller(turns, effects) for _ in range(CALLERS)))

    def use(self) -> Sequence[Effect]:
        """One of a grant's items, once."""
        return [UseGrant(self.spec["grants"][0], self._dice.choice(self.spec["bindings"]), 1)]

    def cross(self) -> Sequence[Effect]:
        """Several grants and things, in whatever order; some of it is undone by what comes last."""
        grants, things = self._shuffled("grants"), self._shuffled("things")
        objects = self._shuffled("things")[:2]
        uses = [UseGrant(each, self.spec["bindings"][0], 1) for each in grants]
        acts = [NoteAct("w1", each, self.log, "write", self.log, 1, NEVER) for each in objects]
        return [*uses, RespectClaims(tuple(things), "ann", "w1"), *acts]

    def open(self) -> Sequence[Effect]:
        """Two requests of an agent's, like others or not."""
        subject, likes = self._dice.choice(self.spec["subjects"]), self._shuffled("likes")[:2]
        return [OpenApproval(asked(self._ids.new("a"), f"{subject} {each}", subject=subject)) for each in likes]

    def _shuffled(self, name: str) -> list[str]:
        return self._dice.sample(self.spec[name], len(self.spec[name]))

    async def _caller(self, turns: Iterator[int], effects: Callable[[], Sequence[Effect]]) -> None:
        for _ in turns:
            record = Record("decision", self._ids.new("d"), START, "ann", "", "", "", b'{"n":"1"}', bytes(16))
            begun = time.monotonic()
            try:
                outcome = await self.store.commit(Commit(record, tuple(effects())))
                self.outcomes["granted" if isinstance(outcome, Committed) else outcome.reason.value] += 1
            except StoreUnavailable:
                self.outcomes["unavailable"] += 1
            self.longest = max(self.longest, time.monotonic() - begun)


async def main() -> None:
    spec = json.loads(sys.stdin.readline())
    grantees = []
    for log in spec["logs"]:
        store = await PostgresStore.open(
            server_of(spec),
            log=log,
            kind="sidecar",
            key=Ed25519PrivateKey.generate(),
            clock=SystemClock(),
            ids=RandomIds(SystemClock()),
            careless=True,
        )
        grantees.append(Grantee(store, spec, log))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(each.run(spec["count"]) for each in grantees))
    outcomes: Counter[str] = Counter()
    for each in grantees:
        outcomes.update(each.outcomes)
    print(json.dumps({"outcomes": outcomes, "longest": max(each.longest for each in grantees)}), flush=True)
    for each in grantees:
        await each.store.close()


if __name__ == "__main__":
    uvloop.run(main())
