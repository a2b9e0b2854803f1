"""A busy little life for a store that is going to crash, and what must hold when it is opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from random import Random

import apsw
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import EUR, SECOND, START, Desk, row
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore, open_journal
from remit.core.effect import Committed, EndReservation, JoinLabels, Refused, SeeSubjects
from remit.core.errors import NotFound, StoreUnavailable
from remit.core.journal import verify
from remit.core.view.subjects import HASH_BYTES
from remit.ports import Sight

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LIMIT = row(25 * EUR)
EACH = {name: row(20 * EUR, "each", name) for name in ("ann", "bob")}
CHECKPOINT_RECORDS = 7


class UniqueIds(FakeIds):
    """Of one run; another run has another prefix."""

    def __init__(self, run: str = "") -> None:
        super().__init__()
        self._run = run

    def new(self, prefix: str) -> str:
        return super().new(f"{prefix}{self._run}")


def open_store(path: Path, store_type: type[SqliteStore] = SqliteStore, run: str = "", **parts: object) -> SqliteStore:
    """The real store, with checkpoints often enough to be met by a crash."""
    return store_type(
        path,
        clock=FakeClock(START),
        ids=UniqueIds(run),
        key=KEY,
        checkpoint_records=CHECKPOINT_RECORDS,
        **parts,  # type: ignore[arg-type]
    )


async def live(store: SqliteStore, ack: Callable[[str], None], random: Random, callers: int, turns: int) -> None:
    """Several callers reserve, settle, void, read and see at once; `ack` is told of each record that was answered."""
    desk = Desk(store, time=START + 120 * SECOND)
    await asyncio.gather(*(_caller(desk, ack, random, turns) for _ in range(callers)))


async def _caller(desk: Desk, ack: Callable[[str], None], random: Random, turns: int) -> None:
    for _ in range(turns):
        subject = random.choice(sorted(EACH))
        amount = random.randrange(1, 4) * EUR
        id, reserve = desk.reserving(amount, LIMIT, EACH[subject], subject=subject, deadline=START)
        brings = JoinLabels(subject, "", {f"label{random.randrange(5)}": id})
        if not await _told(desk.commit(reserve, brings, id=id), id, ack):
            continue
        how = random.choice(["settled", "settled", "voided", "lapsed", ""])
        if how:
            cost = random.randrange(0, amount + 1) if how == "settled" else 0
            end = f"e_{id}"
            seen = SeeSubjects(id, "crm.customers", Sight.RETURNED, (_subject(id),))
            ended = EndReservation(id, how, cost, {"call": 1}, end)
            await _told(desk.commit(ended, seen, id=end, ref=id), end, ack)


def _subject(decision: str) -> str:
    return blake2b(decision.encode(), digest_size=HASH_BYTES).hexdigest()


async def _told(commit: asyncio.Future[object] | object, id: str, ack: Callable[[str], None]) -> bool:
    try:
        outcome: Committed | Refused = await commit  # type: ignore[misc]
    except (StoreUnavailable, NotFound):  # a store with a planted bug may have lost what it acknowledged
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
        ids = {each.record.id for each in rows}
        wrong = [f"journal: {each.sequence}: {each.what}" for each in found.problems]
        wrong += [f"lost: {id}" for id in acks if id not in ids]
        return wrong + _wrong_money(path, ids) + _wrong_sightings(path, ids)
    except (StoreUnavailable, apsw.Error) as error:
        return [f"does not open: {error}"]


async def _opened_and_closed(path: Path) -> None:
    store = open_store(path, run="again")
    await Desk(store, count=10**6).must()
    await store.close()


def _wrong_sightings(path: Path, ids: set[str]) -> list[str]:
    """What was recorded with an end is there exactly where the end is."""
    connection = apsw.Connection(str(path))
    found = {
        decision: subject.hex()
        for decision, subject in connection.execute(
            "SELECT id, seen.subject FROM seen LEFT JOIN journal ON seen.decision = journal.sequence"
        )
    }
    connection.close()
    recorded = {id.removeprefix("e_") for id in ids if id.startswith("e_")}
    wrong = [f"{id}: who was seen is not what is recorded" for id in sorted(recorded ^ found.keys(), key=str)]
    return wrong + [f"{id}: another subject" for id, subject in found.items() if id and subject != _subject(id)]


def _wrong_money(path: Path, ids: set[str]) -> list[str]:
    wrong = []
    connection = apsw.Connection(str(path))
    held: dict[int, int] = {}
    spent: dict[int, int] = {}
    for decision, state, amount, cost, budgets in connection.execute(
        "SELECT decision, state, amount, spent, budgets FROM reservation"
    ):
        if decision not in ids or (state != "held" and f"e_{decision}" not in ids):
            wrong.append(f"{decision} is {state} without a record")
        for budget in orjson.loads(budgets):
            held[budget] = held.get(budget, 0) + (amount if state == "held" else 0)
            spent[budget] = spent.get(budget, 0) + cost
    for budget, limit, is_spent, is_held in connection.execute("SELECT id, limit_nanos, spent, held FROM budget"):
        if is_spent + is_held > limit:
            wrong.append(f"budget {budget} is exceeded")
        if (is_spent, is_held) != (spent.get(budget, 0), held.get(budget, 0)):
            wrong.append(f"budget {budget} does not add up")
    if connection.pragma("integrity_check") != "ok":
        wrong.append("the file is corrupt")
    connection.close()
    return wrong
