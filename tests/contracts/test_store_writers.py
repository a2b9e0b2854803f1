"""Many writers on one installation: each has its log, and all have the same budgets, labels, halts and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fakes.commits import EUR, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop, one_loop
from fakes.store_postgres import DESK, Installation, open_store
from remit.core.effect import Committed, JoinLabels, KeepAnswer, Kept, PlaceHalt, Refused, SeeSubjects, UsePassport
from remit.core.errors import IllegalTransition, StoreUnavailable
from remit.core.model import Halt
from remit.core.reason import Reason
from remit.ports import Sight

ANN = f"{1:032x}"


@pytest.fixture(name="desks")
def _desks(installation: Installation) -> Iterator[tuple[Desk, Desk]]:
    """Two members: a sidecar and a desk. Their records' ids differ."""
    with one_loop() as loop:
        stores = [
            loop.run(open_store(installation, "log_a")),
            loop.run(open_store(installation, "log_b", role=DESK)),
        ]
        yield Desk(stores[0]), Desk(stores[1], count=500_000)
        for store in stores:
            if not store.failed:
                loop.run(store.close())


@in_loop
async def test_a_budget_is_one_for_all(desks: tuple[Desk, Desk]) -> None:
    """64 callers of two members at once get what there is, to the last nano; one ends what the other made."""
    limit = row(40 * EUR)
    asked = [(desk, desk.reserving(EUR, limit)) for _ in range(32) for desk in desks]
    outcomes = await asyncio.gather(*(desk.commit(effect) for desk, (_, effect) in asked))

    granted = [id for (_, (id, _)), each in zip(asked, outcomes, strict=True) if isinstance(each, Committed)]
    assert len(granted) == 40
    assert {each for each in outcomes if isinstance(each, Refused)} == {Refused(Reason.BUDGET_EXHAUSTED, "month")}
    assert await desks[0].room(limit) == await desks[1].room(limit) == (40 * EUR, 0, 40 * EUR)
    for turn, id in enumerate(granted):
        await desks[turn % 2].end(id, cost=EUR)
    with pytest.raises(IllegalTransition):
        await desks[1].end(granted[0], cost=EUR)
    assert await desks[1].room(limit) == (40 * EUR, 40 * EUR, 0)


@in_loop
async def test_what_one_reads_binds_at_the_other(desks: tuple[Desk, Desk]) -> None:
    """Labels, in a workflow and out of it, are seen at once, and what was decided without them is stale."""
    here, there = desks
    await here.open("w1", opener="lead")
    stale = await there.facts(workflow="w1")
    await here.join("pii", workflow="w1")

    assert await there.labels() == {"pii"}
    assert await there.judged(stale, workflow="w1") == Refused(Reason.FACTS_CHANGED, "labels")
    await there.close("w1", by="lead")
    assert await here.labels() == set()
    assert await here.judged(stale, workflow="w1") == Refused(Reason.WORKFLOW_INVALID, "w1")


@in_loop
async def test_labels_joined_at_once_by_many_are_all_held(desks: tuple[Desk, Desk]) -> None:
    """None is lost between two members, nor a version of the session."""
    joins = [
        desks[turn % 2].must(JoinLabels("ann", "", {f"l{turn:02}": "d", f"l{(turn + 7) % 30:02}": "d"}))
        for turn in range(30)
    ]
    before = (await desks[0].facts()).labels_version
    await asyncio.gather(*joins)

    assert await desks[1].labels() == {f"l{turn:02}" for turn in range(30)}
    assert (await desks[0].facts()).labels_version > before


@in_loop
async def test_a_halt_placed_at_one_stops_the_other(desks: tuple[Desk, Desk]) -> None:
    """In its facts at once, and in the commit of what was judged before."""
    here, there = desks
    before = await here.facts()
    await there.must(PlaceHalt(Halt("h1", "agent", "ann", "ana", "stop", START)))

    assert [each.id for each in (await here.facts()).halts] == ["h1"]
    assert await here.judged(before) == Refused(Reason.FACTS_CHANGED, "halts")


@in_loop
async def test_an_answer_is_kept_and_a_passport_used_once_for_all(desks: tuple[Desk, Desk]) -> None:
    """Whichever of the members was asked."""
    kept = [desk.commit(KeepAnswer("ann", "Authorize", "k", "d", b"\x00\xff", NEVER)) for desk in desks for _ in "12"]
    used = [desk.commit(UsePassport("p1", "ann", NEVER)) for desk in desks for _ in "12"]
    outcomes = await asyncio.gather(*kept, *used)

    assert [sum(isinstance(each, Committed) for each in part) for part in (outcomes[:4], outcomes[4:])] == [1, 1]
    for desk in desks:
        assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"\x00\xff")


@in_loop
async def test_each_writes_a_log_of_its_own_and_a_trace_has_all(desks: tuple[Desk, Desk]) -> None:
    """Records count from 1 in each; a workflow's come together in the order of time, then of the logs' names."""
    here, there = desks
    await here.open("w1")
    for turn in range(3):
        for desk in (there, here):
            desk.time = START + turn * SECOND
            await desk.must(workflow="w1")

    trace = await here.store.trace("w1", 100)
    places = [(each.log, each.sequence) for each in trace]
    assert places == [place for turn in range(1, 4) for place in (("log_a", turn + 1), ("log_b", turn))]
    assert list(await there.store.trace("w1", 100)) == list(trace)
    assert [each.sequence for each in await there.store.journal(0, 10)] == [1, 2, 3]
    assert {each.log for each in await there.store.journal(0, 10)} == {"log_b"}
    assert [each.record.id for each in await there.store.latest(0, 2)] == [trace[-1].record.id, trace[-2].record.id]
    assert await there.store.record(trace[0].record.id) == trace[0]


@in_loop
async def test_reports_and_sightings_may_come_from_another_log(desks: tuple[Desk, Desk]) -> None:
    """What speaks of a decision is found, whoever recorded it; and whom its answer told of."""
    here, there = desks
    await here.must(id="d_1")
    there.time = START + SECOND
    await there.must(SeeSubjects("d_1", "crm.customers", Sight.RETURNED, (ANN,)), kind="rows", ref="d_1")
    await there.must(SeeSubjects("d_2", "crm.customers", Sight.MANY, ()), id="d_2")

    assert [each.log for each in await here.store.about("d_1")] == ["log_b"]
    found = await here.store.sightings("crm.customers", ANN, 10)
    assert [(each.decision.log, each.decision.record.id, each.sight) for each in found] == [
        ("log_b", "d_2", Sight.MANY),
        ("log_a", "d_1", Sight.RETURNED),
    ]


@in_loop
async def test_every_log_is_verified_and_signed_by_its_writer(desks: tuple[Desk, Desk]) -> None:
    """Asked of one: its own head is signed for it, the other's as far as that one has signed."""
    for desk in desks:
        await asyncio.gather(*(desk.must() for _ in range(10)))
    await desks[1].store.erase("d_500003", by="ana", reason="asked")

    found = {each.log: each for each in await desks[0].store.verify()}

    assert {log: (each.state, each.records, each.erased) for log, each in found.items()} == {
        "log_a": ("authentic", 10, 0),
        "log_b": ("consistent", 11, 1),  # by a key that only the database names
    }
    assert (found["log_a"].covered, found["log_b"].covered) == (10, 11)
    assert {each.log for each in await desks[0].store.checkpoints()} == {"log_a"}


@in_loop
async def test_a_log_has_one_writer(installation: Installation, desks: tuple[Desk, Desk]) -> None:
    """A second one of the same name is refused while the first is there."""
    with pytest.raises(StoreUnavailable, match="another process writes the log log_a"):
        await open_store(installation, "log_a", patience=0.1)

    assert isinstance(await desks[0].commit(), Committed)
