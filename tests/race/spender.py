"""One member's store at work in a process of its own, until it is killed; told what to do on its standard input.

It says what it was answered, a line each, once it was: `+ ID AMOUNT LOG` for a decision, `- ID COST` for an end. It
holds money, settles, voids, lets lapse, and sweeps as a member does. SIGTERM ends it in good order.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import SECOND, row
from race.mutants import MUTANTS, TERMS
from race.reaching import server_of
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.opening import open_shared
from remit.core.effect import Commit, Committed, EndReservation, Record, Refused, Reserve
from remit.core.errors import IllegalTransition, NotFound, StoreUnavailable
from remit.core.model import BudgetRow, Versions
from remit.core.reason import Reason
from remit.ports import FactsQuery, Reservation, Store

ACTIONS = frozenset({"api.call"})
CALLERS = 3
SWEEP_SECONDS = 0.3
CLOCK = SystemClock()
IDS = RandomIds(CLOCK)


def say(line: str) -> None:
    """At once, and whole: a line is shorter than what a pipe takes in one piece."""
    os.write(1, f"{line}\n".encode())


class Spender:
    """An agent of a member."""

    def __init__(self, store: Store, subject: str, spec: Mapping[str, Any]) -> None:
        self.store, self.subject, self.spec = store, subject, spec
        self.rows: tuple[BudgetRow, ...] = (
            row(spec["limit"], "all"),
            row(spec["limit"], "each", subject),
        )
        self._dice = random.Random(f"{spec['seed']} {subject}")

    async def spend(self) -> None:
        """Call after call, for ever."""
        while True:
            try:
                await self._turn()
            except (StoreUnavailable, IllegalTransition, NotFound):
                await asyncio.sleep(0.05)
            await asyncio.sleep(self._dice.random() * self.spec["pause"])

    async def _turn(self) -> None:
        amount = self._dice.randrange(1, self.spec["most"])
        id, outcome = await self._decide(amount)
        if not isinstance(outcome, Committed):
            await asyncio.sleep(0.05)
            return
        say(f"+ {id} {amount} {outcome.log}")
        how = self._dice.choice(["settled", "settled", "voided", ""])
        if how:
            cost = self._dice.randrange(amount + 1) if how == "settled" else 0
            await self.end(id, how, cost)
            say(f"- {id} {cost}")

    async def _decide(self, amount: int) -> tuple[str, Committed | Refused]:
        for _ in range(2):
            id, now = IDS.new("d"), CLOCK.now()
            facts = await self.store.facts(FactsQuery(self.subject, "process", "", "model", self.rows))
            seen = Versions(facts.labels_version, 0, facts.halts_version, "r1")
            reserve = Reserve(
                id, self.subject, "", "model", "large", "ml", self.rows, amount, now + self.spec["hold"] * SECOND
            )
            record = Record("decision", id, now, self.subject, "", "", "", b'{"n":"1"}', IDS.salt())
            outcome = await self.store.commit(Commit(record, (reserve,), seen, self.subject, "", "api.call"))
            if isinstance(outcome, Committed) or outcome.reason is not Reason.FACTS_CHANGED:
                break
        return id, outcome

    async def end(self, id: str, how: str, cost: int) -> None:
        """A report, or a lapse."""
        record = Record("report", IDS.new("e"), CLOCK.now(), self.subject, "", "", id, b"{}", IDS.salt())
        usage = {} if how == "lapsed" else {"call": 1}
        await self.store.commit(Commit(record, (EndReservation(id, how, cost, usage, how),)))

    async def sweep(self) -> None:
        """End what is over, for ever."""
        while True:
            with suppress(StoreUnavailable):
                while due := await self.store.due(CLOCK.now(), 64):
                    if not any(await asyncio.gather(*map(self._lapse, due))):
                        break
            await asyncio.sleep(SWEEP_SECONDS)

    async def _lapse(self, held: Reservation) -> bool:
        try:
            await self.end(held.decision, "lapsed", held.amount)
        except (IllegalTransition, NotFound):
            return False  # its report came in between
        return True


async def opened(spec: Mapping[str, Any]) -> Store:
    """The member's store."""
    server, directory = server_of(spec), Path(spec["directory"])
    key = await asyncio.to_thread(_key, directory)
    remote_type = MUTANTS.get(spec["mutant"], PostgresStore)

    async def remote(own: str = "", recall: Recall | None = None) -> PostgresStore:
        return await remote_type.open(
            server,
            log=f"log_{spec['name']}",
            kind="sidecar",
            key=key,
            clock=CLOCK,
            ids=IDS,
            own=own,
            recall=recall,
            checkpoint_records=64,
            careless=True,
        )

    if not spec["allotments"]:
        return await remote()
    return await open_shared(remote, server, directory, clock=CLOCK, ids=IDS, key=key, actions=ACTIONS, careless=True)


def _key(directory: Path) -> Ed25519PrivateKey:
    """The member's own key, which is on its disk."""
    file = directory / "key"
    if not file.exists():
        file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(file.read_bytes())


async def main() -> None:
    spec = json.loads(sys.stdin.readline())
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    if spec["mutant"] in TERMS:
        TERMS[spec["mutant"]]()
    while True:
        try:
            store = await opened(spec)
            break
        except StoreUnavailable as error:
            print(error, file=sys.stderr)
            await asyncio.sleep(0.2)
    store.activate("r1")
    say("ready")
    agents = [Spender(store, subject, spec) for subject in spec["subjects"]]
    tasks = [asyncio.ensure_future(each.spend()) for each in agents for _ in range(CALLERS)]
    tasks.append(asyncio.ensure_future(agents[0].sweep()))
    waiting = asyncio.ensure_future(stopping.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for each in done - {waiting}:
        each.result()  # what nobody expected
    await store.close()


if __name__ == "__main__":
    uvloop.run(main())
