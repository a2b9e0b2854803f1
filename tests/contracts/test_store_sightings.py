"""Who saw whom, whatever keeps it: one suite for the stores in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import apsw
import pytest
from counts import COUNTS, SEED, dice
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.commits import START, Desk
from fakes.loop import in_loop
from fakes.world import FakeClock, FakeIds
from remit.backends.store_sqlite import SqliteStore, schema, sightings
from remit.core.effect import SeeSubjects
from remit.core.errors import BadRequest, NotFound
from remit.core.view.subjects import subject_hash
from remit.ports import Sight, Sighting

CUSTOMERS = "crm.customers"
ANN, BOB, CYD = (f"{number:032x}" for number in (1, 2, 3))


async def see(desk: Desk, decision: str, *subjects: str, sight: Sight = Sight.RETURNED, table: str = CUSTOMERS) -> None:
    """A decision is recorded, and then what its answer told of."""
    if await desk.store.record(decision) is None:
        await desk.must(id=decision)
    await desk.must(SeeSubjects(decision, table, sight, subjects), kind="rows", ref=decision)


async def who(desk: Desk, subject: str, *, table: str = CUSTOMERS, limit: int = 100) -> list[tuple[str, str]]:
    """Decision and sight of each."""
    return told(await desk.store.sightings(table, subject, limit))


def told(found: Sequence[Sighting]) -> list[tuple[str, str]]:
    return [(each.decision.record.id, each.sight.value) for each in found]


@in_loop
async def test_the_newest_decision_that_told_of_a_subject_comes_first(desk: Desk) -> None:
    """In the order of the decisions, whenever their rows came, and no more than were asked for."""
    await desk.must(id="d_slow")
    await see(desk, "d_1", ANN, BOB)
    await see(desk, "d_2", ANN)
    await see(desk, "d_slow", ANN)

    assert await who(desk, ANN) == [("d_2", "returned"), ("d_1", "returned"), ("d_slow", "returned")]
    assert await who(desk, ANN, limit=2) == [("d_2", "returned"), ("d_1", "returned")]
    assert await who(desk, BOB) == [("d_1", "returned")]
    assert await who(desk, CYD) == []


@in_loop
async def test_a_sighting_brings_the_decision_s_record(desk: Desk) -> None:
    """Who it was, when and in which workflow: its record as the journal has it."""
    await desk.must(id="d_1", subject="bob")
    await see(desk, "d_1", ANN)

    (found,) = await desk.store.sightings(CUSTOMERS, ANN, 10)
    assert found.decision == await desk.store.record("d_1")


@in_loop
async def test_a_decision_may_be_recorded_with_whom_its_answer_told_of(desk: Desk) -> None:
    """A short answer is there when its decision is: one commit for both."""
    await desk.must(SeeSubjects("d_1", CUSTOMERS, Sight.RETURNED, (ANN,)), id="d_1")

    assert await who(desk, ANN) == [("d_1", "returned")]
    with pytest.raises(NotFound):
        await desk.must(SeeSubjects("d_1 ", CUSTOMERS, Sight.RETURNED, (BOB,)), id="d_2")
    assert await who(desk, BOB) == []


@in_loop
async def test_a_table_s_subjects_are_its_own(desk: Desk) -> None:
    """The same hash in another table is another subject, and so is an answer of many there."""
    await see(desk, "d_1", ANN)
    await see(desk, "d_2", sight=Sight.MANY, table="crm.orders")

    assert await who(desk, ANN) == [("d_1", "returned")]
    assert await who(desk, ANN, table="crm.orders") == [("d_2", "many")]
    assert await who(desk, ANN, table="crm.nothing") == []


@in_loop
async def test_an_answer_of_many_may_have_been_of_anybody(desk: Desk) -> None:
    """It is among every subject's sightings; not twice where it is known of one by name."""
    await see(desk, "d_1", ANN)
    await see(desk, "d_2", ANN, BOB)
    await see(desk, "d_2", sight=Sight.MANY)
    await see(desk, "d_3", sight=Sight.MANY)

    assert await who(desk, ANN) == [("d_3", "many"), ("d_2", "returned"), ("d_1", "returned")]
    assert await who(desk, CYD) == [("d_3", "many"), ("d_2", "many")]
    assert await who(desk, CYD, limit=1) == [("d_3", "many")]


@in_loop
async def test_the_more_certain_sight_stays(desk: Desk) -> None:
    """Whichever of the two is told first, and however often."""
    await see(desk, "d_1", ANN, BOB, sight=Sight.REACHED)
    await see(desk, "d_1", ANN)
    await see(desk, "d_1", ANN, ANN)
    await see(desk, "d_1", ANN, sight=Sight.REACHED)

    assert await who(desk, ANN) == [("d_1", "returned")]
    assert await who(desk, BOB) == [("d_1", "reached")]


@in_loop
async def test_an_erased_decision_is_still_told(desk: Desk) -> None:
    """Its body is gone; that it told of the subject, and whose it was, is not."""
    await see(desk, "d_1", ANN)
    await desk.store.erase("d_1", by="ana", reason="asked")

    (found,) = await desk.store.sightings(CUSTOMERS, ANN, 10)
    assert (found.decision.erased, found.decision.record.subject) == (True, "ann")


@in_loop
async def test_only_a_recorded_decision_has_told_anybody_anything(desk: Desk) -> None:
    """An unknown one is an error, and so is what is no hash; nothing of the commit happens."""
    await desk.must(id="d_1")
    before = len(await desk.store.journal(0, 100))
    with pytest.raises(NotFound):
        await desk.must(SeeSubjects("d_nothing", CUSTOMERS, Sight.RETURNED, (ANN,)))
    for wrong in ("4711", "", ANN + "00", "g" * 32):
        with pytest.raises(BadRequest):
            await desk.must(SeeSubjects("d_1", CUSTOMERS, Sight.RETURNED, (ANN, wrong)))
        with pytest.raises(BadRequest):
            await desk.store.sightings(CUSTOMERS, wrong, 10)

    assert len(await desk.store.journal(0, 100)) == before
    assert await who(desk, ANN) == []


# On SQLite


def opened(path: Path) -> SqliteStore:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    store = SqliteStore(path / "state.db", clock=FakeClock(START), ids=FakeIds(), key=key)
    store.activate("r1")
    return store


@in_loop
async def test_segments_are_one_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows lie in segments, what is told is what a plain list would tell, to any limit."""
    monkeypatch.setattr(sightings, "SEGMENT_ROWS", 7)
    store, random = opened(tmp_path), dice("segments")
    desk = Desk(store)
    book: dict[tuple[str, str], int] = {}
    for number in range(12):
        await desk.must(id=f"d_{number}")
    for _ in range(COUNTS.steps):
        decision, sight = f"d_{random.randrange(12)}", random.choice(sightings.SIGHTS)
        subjects = [f"{random.randrange(5):032x}" for _ in range(random.randrange(1, 9))]
        await see(desk, decision, *subjects, sight=sight)
        for subject in subjects if sight is not Sight.MANY else [f"{each:032x}" for each in range(6)]:
            certain = min(sightings.SIGHTS.index(sight), book.get((subject, decision), 2))
            book[subject, decision] = certain

    for subject in (f"{each:032x}" for each in range(6)):
        seen = [(f"d_{n}", book[subject, f"d_{n}"]) for n in reversed(range(12)) if (subject, f"d_{n}") in book]
        expected = [(decision, sightings.SIGHTS[sight].value) for decision, sight in seen]
        for limit in (1, 3, 100):
            assert await who(desk, subject, limit=limit) == expected[:limit], SEED
    await store.close()


@in_loop
async def test_an_older_file_gets_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the schema before is opened, and what its decisions tell of is recorded and found."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        store = opened(tmp_path)
        await Desk(store).must(id="d_old")
        await store.close()
    store = opened(tmp_path)
    desk = Desk(store, count=100)
    await see(desk, "d_old", ANN)

    assert await who(desk, ANN) == [("d_old", "returned")]
    await store.close()
    versions = apsw.Connection(str(tmp_path / "state.db")).execute("SELECT version FROM migration").fetchall()
    assert versions == [(each,) for each in range(1, len(schema.MIGRATIONS) + 1)]


@in_loop
async def test_ten_thousand_subjects_cost_no_more_beside_many_others(tmp_path: Path) -> None:
    """The size of what is recorded already makes neither recording nor asking slow: bounds are ten times what is
    measured, for a slow machine."""
    store, random = opened(tmp_path), Random(1)
    desk = Desk(store)
    hmac = random.randbytes
    took = []
    for number in range(20):
        subjects = tuple(hmac(16).hex() for _ in range(10_000))
        await desk.must(id=f"d_{number}")
        effect = SeeSubjects(f"d_{number}", CUSTOMERS, Sight.RETURNED, subjects)
        began = time.perf_counter()
        await desk.must(effect, kind="rows")
        took.append(time.perf_counter() - began)
    began = time.perf_counter()
    found = await who(desk, subjects[77])

    assert time.perf_counter() - began < 0.05
    assert found == [("d_19", "returned")]
    assert sorted(took)[len(took) // 2] < 0.3
    await store.close()


def test_a_subject_s_hash_tells_its_parts_apart() -> None:
    """No key, table or dataset can be written so that it passes for another's."""
    seen: list[bytes] = []

    def hmac(text: bytes) -> str:
        seen.append(text)
        return "ab" * 32

    names = [("crm", "a", "b"), ("crm", "ab", ""), ("crm.a", "b", ""), ("crma", "", "b"), ("c", "rma", "b")]
    hashes = {subject_hash(*name, hmac) for name in names}

    assert len(set(seen)) == len(names)
    assert hashes == {"ab" * 16}
    assert subject_hash("crm", "a", "\udc00", hmac)  # text of a database that is no Unicode
