"""As workload.py, for the file of a sidecar that decides ahead of PostgreSQL: what each record did lies beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

import apsw
import orjson
from crash.workload import CHECKPOINT_RECORDS, KEY, UniqueIds
from fakes.commits import EUR, SECOND, START, Desk, row
from fakes.world import FakeClock
from remit.backends.store_shared.effects import shipped
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_sqlite import SqliteStore, open_journal
from remit.core.effect import AdjustBudget, Commit, Committed, EndReservation, KeepAnswer, ProlongReservation
from remit.core.errors import IllegalTransition, NotFound, StoreUnavailable
from remit.core.journal import verify

ROW = row(100 * EUR)
_LEDGER = "SELECT decision, state, amount, spent FROM reservation"
_BUDGET = "SELECT adjusted, spent, held FROM budget"


class OutboxApart(LocalStore):
    """Planted bug: what a record did is written down in a transaction of its own."""

    def _perform(self, commit: Commit) -> Committed:
        committed = SqliteStore._perform(self, replace(commit, versions=None))
        for each in ("RELEASE caller", "COMMIT", "BEGIN IMMEDIATE", "SAVEPOINT caller"):
            self._db.do(each)
        if effects := shipped(commit.effects, commit.record.time):
            self._db.do("INSERT INTO outbox VALUES (?, ?)", committed.sequence, orjson.dumps(effects))
        return committed


def open_store(path: Path, store_type: type[LocalStore] = LocalStore, run: str = "", **parts: object) -> LocalStore:
    """The real file, with checkpoints often enough to be met by a crash."""
    store = store_type(
        path,
        clock=FakeClock(START),
        ids=UniqueIds(run),
        key=KEY,
        checkpoint_records=CHECKPOINT_RECORDS,
        **parts,  # type: ignore[arg-type]
    )
    store.guard = lambda commit: None
    return store


async def live(store: LocalStore, ack: Callable[[str], None], random: Random, callers: int, turns: int) -> None:
    """Slices come and go, and several callers reserve, prolong, end and keep; `ack` is told of what was answered."""
    desk = Desk(store, time=START + 120 * SECOND)
    await _told(desk, ack, "slice", AdjustBudget(ROW, 20 * EUR))
    await asyncio.gather(*(_caller(store, desk, ack, random, turns) for _ in range(callers)))


async def _caller(store: LocalStore, desk: Desk, ack: Callable[[str], None], random: Random, turns: int) -> None:
    for _ in range(turns):
        if random.random() < 0.2:
            desk.count += 1
            await _changed(store, desk, ack, f"slice_{desk.count}", random.choice([3 * EUR, -EUR]))
            continue
        id, reserve = desk.reserving(random.randrange(1, 2 * EUR), ROW, deadline=START)
        kept = KeepAnswer("ann", "Authorize", id, "digest", id.encode(), START + 10**6 * SECOND)
        if not await _told(desk, ack, id, reserve, kept):
            continue
        if random.random() < 0.3:
            await _told(desk, ack, f"p_{id}", ProlongReservation(id, START + 60 * SECOND))
        how = random.choice(["settled", "voided", ""])
        if how:
            cost = random.randrange(reserve.amount + 1) if how == "settled" else 0
            await _told(desk, ack, f"e_{id}", EndReservation(id, how, cost, {"call": 1}, how))


async def _changed(store: LocalStore, desk: Desk, ack: Callable[[str], None], id: str, change: int) -> None:
    """More is taken, or some of what is left given back: never what is held, as no sidecar does."""
    if change > 0:
        await _told(desk, ack, id, AdjustBudget(ROW, change))
        return
    try:
        given = await store.give_back(ROW, max(0, store.left(ROW) + change), lambda amount: desk.record(id=id))
    except StoreUnavailable:
        return
    if given:
        ack(id)


async def _told(desk: Desk, ack: Callable[[str], None], id: str, *effects: object) -> bool:
    try:
        outcome = await desk.commit(*effects, id=id)  # type: ignore[arg-type]
    except (StoreUnavailable, NotFound, IllegalTransition):  # a planted bug may have lost what it acknowledged
        return False
    if isinstance(outcome, Committed):
        ack(id)
    return isinstance(outcome, Committed)


def wrongs(path: Path, acks: Iterable[str]) -> list[str]:
    """Open what the crash left, as a start does, and say which promises it breaks."""
    try:
        asyncio.run(_opened_and_closed(path))
        with open_journal(path) as journal:
            rows = list(journal.rows())
            found = verify(rows, journal.checkpoints(), None, notes=journal.notes)
        ids = {each.sequence: each.record.id for each in rows}
        wrong = [f"journal: {each.sequence}: {each.what}" for each in found.problems]
        wrong += [f"lost: {id}" for id in acks if id not in ids.values()]
        return wrong + _apart(path, ids)
    except (StoreUnavailable, apsw.Error) as error:
        return [f"does not open: {error}"]


async def _opened_and_closed(path: Path) -> None:
    store = open_store(path, run="again")
    await store.settled()
    await store.close()


def _apart(path: Path, ids: dict[int, str]) -> list[str]:
    """What each record did is in the outbox, and in the ledger, exactly where the record is."""
    connection = apsw.Connection(str(path))
    did = {sequence: orjson.loads(raw) for sequence, raw in connection.execute("SELECT sequence, effects FROM outbox")}
    ledger = {decision: rest for decision, *rest in connection.execute(_LEDGER)}
    books = list(connection.execute(_BUDGET))
    kept = {key for (key,) in connection.execute("SELECT key FROM kept")}
    connection.close()
    wrong = [f"{sequence}: what no record did" for sequence in did.keys() - ids.keys()]
    wrong += [f"{id}: without what it did" for sequence, id in ids.items() if _acts(id) and sequence not in did]
    effects = [each for all_of_one in did.values() for each in all_of_one]
    reserved = {each["decision"]: each["amount"] for each in effects if each["do"] == "reserve"}
    ended = {each["decision"]: each["how"] for each in effects if each["do"] == "end"}
    if reserved.keys() != ledger.keys() or reserved.keys() != kept:
        wrong.append("the ledger has other reservations, or answers, than the outbox")
    wrong += [f"{id} is {state}" for id, (state, *_) in ledger.items() if state != ended.get(id, "held")]
    if not books:
        return wrong
    ((adjusted, spent, held),) = books
    sums = Counter({"spent": 0, "held": 0})
    for state, amount, cost in ledger.values():
        sums["held"] += amount if state == "held" else 0
        sums["spent"] += cost
    if (spent, held) != (sums["spent"], sums["held"]) or spent + held > adjusted:
        wrong.append("the books do not add up")
    return wrong


def _acts(id: str) -> bool:
    return id.startswith(("r_", "e_", "p_"))
