"""What every store must hold, whatever keeps it: one suite for those in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes.commits import EUR, EVERY, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop
from remit.core.effect import (
    AdjustBudget,
    BindTrace,
    CloseWorkflow,
    Commit,
    Committed,
    EndReservation,
    JoinLabels,
    KeepAnswer,
    Kept,
    LiftHalt,
    OpenWorkflow,
    PlaceHalt,
    ProlongReservation,
    Refused,
    UsePassport,
)
from remit.core.errors import BadRequest, IllegalTransition, NotFound, StoreUnavailable
from remit.core.journal import verify
from remit.core.model import Halt, Versions
from remit.core.reason import Reason
from remit.ports import FactsQuery, Store


@asynccontextmanager
async def nothing_happens(store: Store) -> AsyncIterator[None]:
    """Whatever is done inside leaves the journal as it was."""
    before = len(await store.journal(0, 1000))
    yield
    assert len(await store.journal(0, 1000)) == before


# The journal


@in_loop
async def test_a_committed_record_is_found_in_every_way(desk: Desk) -> None:
    """By its id, by what it speaks of, by its workflow and by its place; records count from 1 without a gap."""
    await desk.open("w1")
    first = await desk.must(id="d_first", workflow="w1")
    second = await desk.must(kind="report", id="d_second", workflow="w1", ref="d_first", parent="d_first")

    found = await desk.store.record("d_first")
    assert found is not None and (found.log, found.sequence) == (first.log, first.sequence)
    assert [each.record.id for each in await desk.store.about("d_first")] == ["d_second"]
    assert [each.record.id for each in await desk.store.trace("w1", 10)] == ["d_first", "d_second"]
    assert [each.record.id for each in await desk.store.trace("w1", 1)] == ["d_first"]
    assert [each.sequence for each in await desk.store.journal(0, 10)] == [1, 2, 3]
    assert [each.sequence for each in await desk.store.journal(second.sequence - 1, 10)] == [second.sequence]
    assert await desk.store.record("d_other") is None
    assert await desk.store.about("") == await desk.store.trace("", 10) == ()


@in_loop
async def test_the_journal_verifies_and_is_signed_as_it_grows(desk: Desk) -> None:
    """The chain holds, a checkpoint comes every so many records and on close, and the pinned key vouches for all."""
    await asyncio.gather(*(desk.must() for _ in range(3 * EVERY)))
    rows, heads = await desk.store.journal(0, 100), await desk.store.checkpoints()

    found = verify(rows, heads, desk.store.verifier)

    assert found.problems == ()
    assert (found.state, found.records) == ("authentic", 3 * EVERY)
    assert found.covered >= 2 * EVERY
    assert all(later.size - sooner.size <= 2 * EVERY for sooner, later in pairwise(heads))


@in_loop
async def test_a_record_is_written_once(desk: Desk) -> None:
    """A second record of the same id is not taken, and changes nothing."""
    await desk.must(id="d_same")
    async with nothing_happens(desk.store):
        with pytest.raises(StoreUnavailable):
            await desk.commit(desk.reserving(EUR, row(EUR))[1], id="d_same")

    assert await desk.room(row(EUR)) == (EUR, 0, 0)


@in_loop
async def test_an_erased_body_leaves_its_hash_and_an_act(desk: Desk) -> None:
    """Body and salt are gone, who erased it and why is on record and signed, and the chain still verifies."""
    await desk.must(id="d_private", body=b'{"name":"Ann"}')
    await desk.must()
    act = await desk.store.erase("d_private", by="ana", reason="asked to be forgotten")

    row_ = await desk.store.record("d_private")
    assert row_ is not None and row_.erased and row_.record.body == row_.record.salt == b""
    (about,) = await desk.store.about("d_private")
    assert (about.sequence, about.record.kind, about.record.subject) == (act.sequence, "erased", "ana")
    assert b"asked to be forgotten" in about.record.body
    found = verify(await desk.store.journal(0, 100), await desk.store.checkpoints(), desk.store.verifier)
    assert (found.state, found.erased, found.covered) == ("authentic", 1, act.sequence)


@in_loop
async def test_only_what_is_there_can_be_erased(desk: Desk) -> None:
    """An unknown record is not found, an erased one cannot be erased again, and neither leaves a trace."""
    await desk.must(id="d_private")
    await desk.store.erase("d_private", by="ana", reason="")
    async with nothing_happens(desk.store):
        with pytest.raises(NotFound):
            await desk.store.erase("d_other", by="ana", reason="")
        with pytest.raises(IllegalTransition):
            await desk.store.erase("d_private", by="ana", reason="")


# All or nothing


@in_loop
async def test_a_refused_commit_leaves_nothing(desk: Desk) -> None:
    """Effects before the one that is refused are undone, and there is no record."""
    await desk.must(UsePassport("p1", "ann", NEVER))
    _, reserve = desk.reserving(EUR, row(EUR))
    async with nothing_happens(desk.store):
        outcome = await desk.commit(reserve, JoinLabels("ann", "", {"pii": "d"}), UsePassport("p1", "bob", NEVER))

    assert outcome == Refused(Reason.PASSPORT_USED, "p1")
    assert await desk.room(row(EUR)) == (EUR, 0, 0)
    assert await desk.labels() == set()
    assert await desk.store.reservation(reserve.decision) is None


@in_loop
async def test_one_caller_s_mistake_harms_no_other(desk: Desk) -> None:
    """Of commits made at the same time, the bad ones raise or are refused, and all the good ones are recorded."""
    full = row(0, "full")
    done = await asyncio.gather(
        desk.commit(id="d_good1"),
        desk.commit(EndReservation("r_nothing", "settled", 1, {}, "")),
        desk.commit(desk.reserving(1, full)[1]),
        desk.commit(desk.reserving(-1, row(EUR))[1]),
        desk.commit(CloseWorkflow("w_nothing", "ann")),
        desk.commit(id="d_good2"),
        return_exceptions=True,
    )

    kinds = [type(each) for each in done]
    assert kinds == [Committed, NotFound, Refused, BadRequest, NotFound, Committed]
    assert [each.record.id for each in await desk.store.journal(0, 10)] == ["d_good1", "d_good2"]


@in_loop
async def test_a_cancelled_caller_commits_whole_or_not_at_all(desk: Desk) -> None:
    """Cancelling some of many callers at any moment leaves the others' commits, and no half of a cancelled one."""
    limit = row(100 * EUR)
    ids = [desk.reserving(EUR, limit) for _ in range(30)]
    tasks = [asyncio.create_task(desk.commit(reserve, id=f"d_{id}")) for id, reserve in ids]
    for turn, task in enumerate(tasks):
        if turn % 3 == 0:
            await asyncio.sleep(0)
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await desk.must()

    whole = 0
    for (id, _), outcome in zip(ids, outcomes, strict=True):
        recorded = await desk.store.record(f"d_{id}") is not None
        assert recorded == (await desk.store.reservation(id) is not None)
        assert recorded or isinstance(outcome, asyncio.CancelledError)
        whole += recorded
    assert await desk.room(limit) == (100 * EUR, 0, whole * EUR)


@in_loop
async def test_a_closed_store_refuses(desk: Desk) -> None:
    """After close nothing is recorded any more, and the caller is told so."""
    await desk.must()
    await desk.store.close()

    assert desk.store.failed
    with pytest.raises(StoreUnavailable):
        await desk.commit()


# Versions


async def _read_pii(desk: Desk) -> None:
    await desk.join("pii")


async def _close_the_workflow(desk: Desk) -> None:
    await desk.close("w1", by="lead")


async def _halt(desk: Desk) -> None:
    await desk.must(PlaceHalt(Halt("h1", "service", "other", "ana", "", START)))


async def _reload(desk: Desk) -> None:
    desk.store.activate("r2")


@pytest.mark.parametrize(
    ("change", "name"),
    [(_read_pii, "labels"), (_halt, "halts"), (_reload, "policy")],
)
@in_loop
async def test_stale_facts_are_refused_by_name(
    desk: Desk, change: Callable[[Desk], Awaitable[None]], name: str
) -> None:
    """What changed between the facts and the commit refuses it; with fresh facts it goes through."""
    await desk.open("w1")
    stale = await desk.facts(workflow="w1")
    await change(desk)
    async with nothing_happens(desk.store):
        assert await desk.judged(stale, workflow="w1") == Refused(Reason.FACTS_CHANGED, name)

    fresh = await desk.facts(workflow="w1")
    desk.revision = "r2" if change is _reload else "r1"
    assert isinstance(await desk.judged(fresh, workflow="w1"), Committed)


@in_loop
async def test_a_workflow_s_version_is_checked(desk: Desk) -> None:
    """A version of the workflow that was never its own is stale."""
    await desk.open("w1")
    facts = await desk.facts(workflow="w1")
    assert facts.workflow is not None
    other = replace(facts, workflow=replace(facts.workflow, version=7))

    assert await desk.judged(other, workflow="w1") == Refused(Reason.FACTS_CHANGED, "workflow")


@pytest.mark.parametrize("case", ["closed", "expired", "unknown"])
@in_loop
async def test_a_workflow_must_be_open(desk: Desk, case: str) -> None:
    """A decision in a workflow that is closed, expired or unknown is refused for good."""
    await desk.open("w1", expires=START + 10)
    facts = await desk.facts(workflow="w1")
    if case == "closed":
        await _close_the_workflow(desk)
    if case == "expired":
        desk.time = START + 10
    named = "w2" if case == "unknown" else "w1"

    assert await desk.judged(facts, workflow=named) == Refused(Reason.WORKFLOW_INVALID, named)


@in_loop
async def test_another_subject_s_labels_make_nothing_stale(desk: Desk) -> None:
    """Versions of labels are each subject's own."""
    facts = await desk.facts("ann")
    await desk.join("pii", subject="bob")

    assert isinstance(await desk.judged(facts), Committed)


@in_loop
async def test_a_commit_without_versions_is_not_checked(desk: Desk) -> None:
    """Settling and lapsing rest on no facts."""
    await desk.open("w1")
    await desk.close("w1")

    assert isinstance(await desk.commit(workflow="w1"), Committed)


# Money


@in_loop
async def test_every_row_has_room_or_none_is_touched(desk: Desk) -> None:
    """A reservation is made in all its rows or, naming the first without room, in none."""
    wide, narrow = row(10 * EUR, "wide"), row(2 * EUR, "narrow")
    await desk.reserve(2 * EUR, wide, narrow)
    _, reserve = desk.reserving(1, wide, narrow)

    assert await desk.commit(reserve) == Refused(Reason.BUDGET_EXHAUSTED, "narrow")
    assert await desk.room(wide) == (10 * EUR, 0, 2 * EUR)
    assert await desk.room(narrow) == (2 * EUR, 0, 2 * EUR)


@in_loop
async def test_many_reservations_at_once_land_exactly_at_the_limit(desk: Desk) -> None:
    """64 callers at the same moment get what there is, to the last nano, and not one nano more."""
    limit = row(40 * EUR)
    outcomes = await asyncio.gather(*(desk.commit(desk.reserving(EUR, limit)[1]) for _ in range(64)))

    assert sum(isinstance(each, Committed) for each in outcomes) == 40
    assert {each for each in outcomes if isinstance(each, Refused)} == {Refused(Reason.BUDGET_EXHAUSTED, "month")}
    assert await desk.room(limit) == (40 * EUR, 0, 40 * EUR)


@in_loop
async def test_scopes_and_windows_are_rows_of_their_own(desk: Desk) -> None:
    """What is held for one agent or window leaves room for another."""
    rows = [row(EUR, scope="ann"), row(EUR, scope="bob"), row(EUR, start=1, end=9), row(EUR, start=1, end=10)]
    for each in rows:
        await desk.reserve(EUR, each)

    assert [await desk.room(each) for each in rows] == [(EUR, 0, EUR)] * 4


@in_loop
async def test_a_limit_is_the_catalogue_s_of_the_moment(desk: Desk) -> None:
    """A lowered limit refuses what it no longer has room for, a raised one makes room at once."""
    await desk.reserve(2 * EUR, row(3 * EUR))

    assert isinstance(await desk.commit(desk.reserving(EUR, row(2 * EUR))[1]), Refused)
    assert isinstance(await desk.commit(desk.reserving(5 * EUR, row(7 * EUR))[1]), Committed)
    assert await desk.room(row(7 * EUR)) == (7 * EUR, 0, 7 * EUR)


@in_loop
async def test_adjustments_add_up_and_may_leave_less_than_is_spent(desk: Desk) -> None:
    """Room is measured against the limit and all its adjustments, also where they take away."""
    limit = row(EUR)
    await desk.must(AdjustBudget(limit, 3 * EUR))
    await desk.reserve(3 * EUR, limit)
    await desk.must(AdjustBudget(limit, -2 * EUR))

    assert await desk.room(limit) == (2 * EUR, 0, 3 * EUR)
    assert isinstance(await desk.commit(desk.reserving(1, limit)[1]), Refused)


@in_loop
async def test_nothing_needs_no_room(desk: Desk) -> None:
    """A reservation of 0 is made even where a budget is overrun, and its real cost is booked there."""
    limit = row(EUR)
    await desk.end(await desk.reserve(EUR, limit), cost=5 * EUR)
    id = await desk.reserve(0, limit)
    await desk.end(id, cost=EUR)
    assert await desk.reserve(0)

    assert await desk.room(limit) == (EUR, 6 * EUR, 0)


@in_loop
async def test_what_was_never_reported_is_told(desk: Desk) -> None:
    """Held, or lapsed since a moment; the oldest first, and nothing that was settled or voided."""
    made = {name: await desk.reserve(1, deadline=START + n) for n, name in enumerate("badcef")}
    desk.time = START + 9
    for name, how in (("a", "lapsed"), ("d", "settled"), ("c", "lapsed"), ("f", "voided")):
        await desk.end(made[name], how)

    async def told(since: int, limit: int = 10) -> str:
        names = {id: name for name, id in made.items()}
        return "".join(names[each.decision] for each in await desk.store.unresolved(since, limit))

    assert [await told(START + n) for n in range(5)] == ["bace", "bace", "bce", "bce", "be"]
    assert await told(START, 3) == "bac"
    await desk.end(made["a"])
    assert await told(START) == "bce"


@in_loop
async def test_a_decision_reserves_once(desk: Desk) -> None:
    """A second reservation of the same decision is illegal, and holds nothing."""
    id, reserve = desk.reserving(EUR, row(9 * EUR))
    await desk.must(reserve)
    with pytest.raises(IllegalTransition):
        await desk.commit(reserve)

    assert await desk.room(row(9 * EUR)) == (9 * EUR, 0, EUR)
    assert (await desk.store.reservation(id)) is not None


@pytest.mark.parametrize(
    ("how", "cost", "spent", "overrun"),
    [
        ("settled", 3 * EUR, 3 * EUR, 0),
        ("settled", 4 * EUR, 4 * EUR, 0),
        ("settled", 9 * EUR, 9 * EUR, 5 * EUR),
        ("settled", 0, 0, 0),
        ("voided", 0, 0, 0),
        ("lapsed", 0, 4 * EUR, 0),
    ],
)
@in_loop
async def test_an_end_books_the_whole_cost_in_every_row(
    desk: Desk, how: str, cost: int, spent: int, overrun: int
) -> None:
    """Settling books what it cost, however much; voiding nothing; lapsing what was reserved. Nothing stays held."""
    month, run = row(100 * EUR), row(100 * EUR, "run", "w1")
    id = await desk.reserve(4 * EUR, month, run)
    desk.time += 60 * SECOND
    await desk.end(id, how, cost)

    assert await desk.room(month) == await desk.room(run) == (100 * EUR, spent, 0)
    reservation = await desk.store.reservation(id)
    assert reservation is not None
    assert (reservation.state, reservation.spent, reservation.amount) == (how, spent, 4 * EUR)
    totals = await desk.store.spending()
    assert [(each.cost, each.overrun) for each in totals] == ([] if how == "voided" else [(spent, overrun)])


@pytest.mark.parametrize("cost", [EUR, 4 * EUR, 9 * EUR])
@in_loop
async def test_a_late_settlement_replaces_a_presumption_once(desk: Desk, cost: int) -> None:
    """After a lapse the real cost stands in its place, once; a second report finds the reservation settled."""
    month = row(100 * EUR)
    id = await desk.reserve(4 * EUR, month)
    desk.time += 60 * SECOND
    await desk.end(id, "lapsed")
    await desk.end(id, "settled", cost, {"call": 1})

    assert await desk.room(month) == (100 * EUR, cost, 0)
    (total,) = await desk.store.spending()
    assert (total.cost, total.overrun, dict(total.usage)) == (cost, max(0, cost - 4 * EUR), {"call": 1})
    with pytest.raises(IllegalTransition):
        await desk.end(id, "settled", EUR)


@pytest.mark.parametrize("first", ["settled", "voided"])
@pytest.mark.parametrize("second", ["settled", "voided", "lapsed"])
@in_loop
async def test_what_has_ended_does_not_end_again(desk: Desk, first: str, second: str) -> None:
    """Every further end is illegal, and changes neither rows nor totals."""
    id = await desk.reserve(EUR, row(9 * EUR))
    desk.time += 60 * SECOND
    await desk.end(id, first, EUR if first == "settled" else 0)
    before = (await desk.room(row(9 * EUR)), await desk.store.spending(), await desk.store.reservation(id))
    async with nothing_happens(desk.store):
        with pytest.raises(IllegalTransition):
            await desk.end(id, second, EUR if second == "settled" else 0)

    assert (await desk.room(row(9 * EUR)), await desk.store.spending(), await desk.store.reservation(id)) == before


@in_loop
async def test_an_end_in_another_window_is_booked_where_it_was_held(desk: Desk) -> None:
    """A reservation belongs to the window in which it was made, however late it ends."""
    january, february = row(9 * EUR, start=START, end=START + SECOND), row(9 * EUR, start=START + SECOND, end=NEVER)
    id = await desk.reserve(EUR, january)
    desk.time += 5 * SECOND
    await desk.end(id, cost=2 * EUR)

    assert (await desk.room(january), await desk.room(february)) == ((9 * EUR, 2 * EUR, 0), (9 * EUR, 0, 0))


@in_loop
async def test_nothing_lapses_before_its_deadline(desk: Desk) -> None:
    """What is due is what is held past its deadline, oldest first; a hold that was prolonged is not."""
    ids = [await desk.reserve(EUR, row(99 * EUR), deadline=START + turn) for turn in (3, 1, 2, 5)]
    await desk.must(ProlongReservation(ids[2], START + 4))
    await desk.end(ids[1], cost=1)
    desk.time = START + 3

    assert [each.decision for each in await desk.store.due(START + 3, 10)] == [ids[0]]
    assert [each.decision for each in await desk.store.due(START + 5, 2)] == [ids[0], ids[2]]
    with pytest.raises(IllegalTransition):
        await desk.end(ids[2], "lapsed")


@in_loop
async def test_progress_moves_a_deadline_only_on(desk: Desk) -> None:
    """An earlier deadline changes nothing, and what has ended cannot be prolonged."""
    id = await desk.reserve(EUR, row(EUR), deadline=START + 10)
    await desk.must(ProlongReservation(id, START + 5))
    reservation = await desk.store.reservation(id)
    assert reservation is not None and reservation.deadline == START + 10

    await desk.end(id, "voided")
    with pytest.raises(IllegalTransition):
        await desk.must(ProlongReservation(id, START + 20))
    with pytest.raises(NotFound):
        await desk.must(ProlongReservation("r_nothing", START + 20))


@in_loop
async def test_spending_adds_up_by_who_and_what(desk: Desk) -> None:
    """Cost, overrun and usage are kept for each subject, service, variant and owner."""
    for subject, cost in (("ann", EUR), ("ann", 3 * EUR), ("bob", EUR)):
        id = await desk.reserve(2 * EUR, subject=subject)
        await desk.end(id, cost=cost, usage={"token": 10, "call": 1})

    ann, bob = await desk.store.spending()
    assert (ann.subject, ann.service, ann.variant, ann.owner) == ("ann", "model", "large", "ml")
    assert (ann.cost, ann.overrun, dict(ann.usage)) == (4 * EUR, EUR, {"call": 2, "token": 20})
    assert (bob.subject, bob.cost, bob.overrun, dict(bob.usage)) == ("bob", EUR, 0, {"call": 1, "token": 10})


@in_loop
async def test_rows_in_use_are_those_of_current_windows(desk: Desk) -> None:
    """Past and future windows, and rows in which nothing happened, are not listed."""
    past, current = row(EUR, start=1, end=START), row(EUR, start=START, end=START + 2)
    future, always = row(EUR, start=START + 2, end=START + 3), row(EUR, "always")
    adjusted, unused = row(EUR, "adjusted"), row(EUR, "unused")
    for each in (past, current, future, always):
        await desk.reserve(EUR, each)
    await desk.must(AdjustBudget(adjusted, EUR))
    await desk.reserve(0, unused)

    used = await desk.store.used_rows(START + 1)

    assert [(each.row.budget, each.row.start) for each in used] == [("adjusted", 0), ("always", 0), ("month", START)]
    assert [(each.limit, each.spent, each.held) for each in used] == [(2 * EUR, 0, 0), (EUR, 0, EUR), (EUR, 0, EUR)]


@pytest.mark.parametrize("amount", [-1, 2**60 + 1, 2**63, 2**200])
@in_loop
async def test_an_amount_out_of_bounds_is_a_bad_request(desk: Desk, amount: int) -> None:
    """No sum can overflow: neither what is reserved nor what is settled or adjusted may be that large."""
    id = await desk.reserve(EUR, row(EUR))
    for effect in (
        desk.reserving(amount, row(2**60))[1],
        EndReservation(id, "settled", amount, {}, ""),
        AdjustBudget(row(EUR), abs(amount) + 2**60),
    ):
        with pytest.raises(BadRequest):
            await desk.commit(effect)

    assert await desk.room(row(EUR)) == (EUR, 0, EUR)


# Labels


@in_loop
async def test_labels_are_told_with_the_decisions_that_brought_them(desk: Desk) -> None:
    """A session holds every label that was read, with the first source in each of its workflows."""
    await desk.open("w1")
    await desk.join("pii", source="d_2")
    await desk.join("pii", source="d_9")
    await desk.join("pii", "finance", workflow="w1", source="d_1")

    facts = await desk.facts()

    assert facts.labels == {"finance": ("d_1",), "pii": ("d_1", "d_2")}


@in_loop
async def test_many_sources_are_told_in_part(desk: Desk) -> None:
    """A label that came in a hundred workflows is told with the first few decisions."""
    for turn in range(12):
        await desk.open(f"w{turn}", opener="lead")
        await desk.join("pii", workflow=f"w{turn}", source=f"d_{50 - turn}")

    assert (await desk.facts()).labels == {"pii": tuple(f"d_{turn}" for turn in range(39, 47))}


@in_loop
async def test_a_session_s_version_moves_exactly_with_its_labels(desk: Desk) -> None:
    """A label that is held already, from wherever, makes no decision stale; a new one does."""
    await desk.open("w1")
    await desk.join("pii")
    before = (await desk.facts()).labels_version
    await desk.join("pii", source="d_again")
    await desk.join("pii", workflow="w1")
    await desk.join()
    assert (await desk.facts()).labels_version == before

    await desk.join("finance", workflow="w1")
    assert (await desk.facts()).labels_version != before


@in_loop
async def test_workflows_opened_at_once_by_one_agent_do_not_make_each_other_stale(desk: Desk) -> None:
    """Many runs of one agent that read the same kind of data at the same time go through."""
    await desk.join("pii")
    for turn in range(16):
        await desk.open(f"w{turn}", labels={"pii": ("d_source",)})
    facts = [await desk.facts(workflow=f"w{turn}") for turn in range(16)]

    outcomes = await asyncio.gather(
        *(
            desk.judged(each, JoinLabels("ann", f"w{turn}", {"pii": f"d_{turn}"}), workflow=f"w{turn}")
            for turn, each in enumerate(facts)
        )
    )

    assert all(isinstance(each, Committed) for each in outcomes)


@pytest.mark.parametrize(
    ("opener", "closer", "kept"),
    [("ann", "ann", True), ("ann", "lead", True), ("lead", "ann", True), ("lead", "lead", False), ("lead", "", True)],
)
@in_loop
async def test_only_a_close_by_somebody_else_ends_a_share(desk: Desk, opener: str, closer: str, kept: bool) -> None:
    """What an agent read counts while the workflow is open, and on if it opened or closed it itself."""
    await desk.open("w1", opener=opener)
    await desk.join("pii", workflow="w1")
    assert await desk.labels() == {"pii"}
    if closer:
        await desk.close("w1", by=closer)

    assert await desk.labels() == ({"pii"} if kept else set())
    assert await desk.labels(workflow="w1") == {"pii"}


@in_loop
async def test_the_clock_ends_no_share(desk: Desk) -> None:
    """A workflow that has expired and was not closed still counts."""
    await desk.open("w1", opener="lead", expires=START + 1)
    await desk.join("pii", workflow="w1")
    desk.time = START + 10
    await desk.must()

    assert await desk.labels() == {"pii"}


@in_loop
async def test_labels_that_come_after_the_end_belong_to_the_standing_session(desk: Desk) -> None:
    """What is learnt in a workflow after somebody else closed it is not lost."""
    await desk.open("w1", opener="lead")
    await desk.close("w1", by="lead")
    await desk.join("pii", workflow="w1")

    assert await desk.labels() == {"pii"}
    assert await desk.labels(isolation="workflow") == {"pii"}


@in_loop
async def test_a_workflow_starts_with_its_opener_s_labels(desk: Desk) -> None:
    """They bind whoever asks in it, and stay with whoever has a share in it, and with its opener."""
    await desk.open("w1", opener="lead", labels={"pii": ("d_2", "d_1")})

    assert (await desk.facts("ann", "w1")).labels == {"pii": ("d_1",)}
    assert await desk.labels("ann", "w1", "workflow") == {"pii"}
    assert await desk.labels("ann") == set()
    assert await desk.labels("lead") == {"pii"}
    await desk.join("finance", workflow="w1")
    assert await desk.labels("ann") == {"finance", "pii"}
    await desk.close("w1", by="boss")
    assert (await desk.labels("ann"), await desk.labels("lead")) == (set(), {"pii"})


@in_loop
async def test_ending_a_share_takes_only_what_it_alone_held(desk: Desk) -> None:
    """Labels that another share holds as well stay, and a session that lost none is as it was."""
    await desk.open("w1", opener="lead")
    await desk.open("w2", opener="lead")
    await desk.join("pii", "finance", workflow="w1")
    await desk.join("pii", workflow="w2")
    before = (await desk.facts()).labels_version
    await desk.close("w2", by="lead")
    assert (await desk.facts()).labels_version == before

    await desk.close("w1", by="lead")
    assert (await desk.labels(), (await desk.facts()).labels_version != before) == (set(), True)


@in_loop
async def test_isolated_workflows_see_only_themselves(desk: Desk) -> None:
    """Where memory is not shared between runs, a run holds what was read in it and what it started with."""
    await desk.open("w1", labels={"start": ("d_1",)})
    await desk.open("w2")
    await desk.join("pii", workflow="w1")
    await desk.join("finance", workflow="w2")
    await desk.join("standing")

    assert await desk.labels("ann", "w1", "workflow") == {"start", "pii"}
    assert await desk.labels("ann", "w2", "workflow") == {"finance"}
    assert await desk.labels("ann", "", "workflow") == {"standing"}
    assert await desk.labels("ann", "w2") == {"start", "pii", "finance", "standing"}


@in_loop
async def test_an_isolated_session_has_a_version_of_its_own(desk: Desk) -> None:
    """A label in another run makes an isolated decision not stale; one in the same run does."""
    await desk.open("w1")
    await desk.open("w2")
    seen = await desk.facts(workflow="w1", isolation="workflow")
    await desk.join("pii", workflow="w2")
    assert isinstance(await desk.judged(seen, workflow="w1"), Committed)

    await desk.join("pii", workflow="w1")
    assert await desk.judged(seen, workflow="w1") == Refused(Reason.FACTS_CHANGED, "labels")


@in_loop
async def test_labels_need_a_workflow_that_exists(desk: Desk) -> None:
    """Joining labels in an unknown workflow is an error, not a loss."""
    with pytest.raises(NotFound):
        await desk.join("pii", workflow="w_nothing")


# Workflows, traces, passports, kept answers, halts


@in_loop
async def test_a_workflow_is_opened_and_closed_once(desk: Desk) -> None:
    """Its state tells what it was opened with; a second opening or closing is illegal."""
    await desk.open("w1", expires=NEVER)
    state = await desk.store.workflow("w1")
    assert state is not None
    assert (state.opener, state.purposes, state.agents) == ("ann", ("support",), ("ann", "bob"))
    assert (state.expires, state.state) == (NEVER, "open")
    with pytest.raises(IllegalTransition):
        await desk.open("w1")
    await desk.close("w1")
    with pytest.raises(IllegalTransition):
        await desk.close("w1")

    closed = await desk.store.workflow("w1")
    assert closed is not None and (closed.state, closed.version > state.version) == ("closed", True)
    assert await desk.store.workflow("w2") is None


@in_loop
async def test_a_trace_names_the_workflow_it_was_bound_to_last(desk: Desk) -> None:
    """For the subject that bound it alone."""
    await desk.open("w1", trace="t1")
    await desk.open("w2")
    assert await desk.store.traced("ann", "t1") == "w1"
    await desk.must(BindTrace("ann", "t1", "w2"))

    assert await desk.store.traced("ann", "t1") == "w2"
    assert await desk.store.traced("bob", "t1") == await desk.store.traced("ann", "t2") == ""
    with pytest.raises(NotFound):
        await desk.must(BindTrace("ann", "t1", "w_nothing"))


@in_loop
async def test_a_passport_is_used_once(desk: Desk) -> None:
    """Of eight at the same moment, one."""
    outcomes = await asyncio.gather(*(desk.commit(UsePassport("p1", f"agent{n}", NEVER)) for n in range(8)))

    assert sum(isinstance(each, Committed) for each in outcomes) == 1
    assert outcomes.count(Refused(Reason.PASSPORT_USED, "p1")) == 7


@in_loop
async def test_the_first_answer_to_a_key_is_kept(desk: Desk) -> None:
    """For its subject and call alone; another answer to the same key is refused."""
    outcomes = await asyncio.gather(
        *(desk.commit(KeepAnswer("ann", "Authorize", "k", f"digest{n}", b"%d" % n, NEVER)) for n in range(8))
    )
    kept = await desk.store.kept("ann", "Authorize", "k")

    assert outcomes.count(Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")) == 7
    winner = next(n for n, each in enumerate(outcomes) if isinstance(each, Committed))
    assert kept == Kept(f"digest{winner}", b"%d" % winner)
    assert await desk.store.kept("bob", "Authorize", "k") is await desk.store.kept("ann", "Report", "k") is None
    assert isinstance(await desk.commit(KeepAnswer("bob", "Authorize", "k", "d", b"", NEVER)), Committed)


@in_loop
async def test_a_provisional_answer_gives_way_to_the_next(desk: Desk) -> None:
    """To another provisional one, at last to one that stays; its own expiry and all."""

    def keep(answer: bytes, *, provisional: bool, expires: int = NEVER) -> KeepAnswer:
        return KeepAnswer("ann", "Authorize", "k", "d", answer, expires, provisional)

    await desk.must(keep(b"hold", provisional=True, expires=START + 5))
    assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"hold", provisional=True)
    await desk.must(keep(b"still", provisional=True, expires=START + 5))
    assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"still", provisional=True)
    await desk.must(keep(b"allow", provisional=False))
    for late in (True, False):
        refused = await desk.commit(keep(b"late", provisional=late))
        assert refused == Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")

    assert await desk.store.prune(START + 5) == 0
    assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"allow", provisional=False)


@in_loop
async def test_a_provisional_answer_stays_with_its_request(desk: Desk) -> None:
    """Another request by the same key is refused; of many that follow at the same moment one is kept."""
    await desk.must(KeepAnswer("ann", "Authorize", "k", "d", b"hold", NEVER, provisional=True))
    other = KeepAnswer("ann", "Authorize", "k", "other", b"allow", NEVER)
    assert await desk.commit(other) == Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")
    assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"hold", provisional=True)
    finals = [replace(other, digest="d", answer=b"%d" % n) for n in range(8)]
    outcomes = await asyncio.gather(*(desk.commit(each) for each in finals))

    assert outcomes.count(Refused(Reason.IDEMPOTENCY_MISMATCH, "kept")) == 7
    winner = next(n for n, each in enumerate(outcomes) if isinstance(each, Committed))
    assert await desk.store.kept("ann", "Authorize", "k") == Kept("d", b"%d" % winner)


@in_loop
async def test_what_has_expired_is_forgotten_when_pruned(desk: Desk) -> None:
    """Answers, passports and traces go at their time, and not before."""
    await desk.open("w1", expires=START + 5, trace="t1")
    await desk.must(KeepAnswer("ann", "Authorize", "k", "d", b"", START + 5), UsePassport("p1", "ann", START + 5))

    assert await desk.store.prune(START + 4) == 0
    assert await desk.store.kept("ann", "Authorize", "k") is not None
    assert await desk.store.prune(START + 5) == 3
    assert await desk.store.kept("ann", "Authorize", "k") is None
    assert await desk.store.traced("ann", "t1") == ""
    assert await desk.store.prune(START + 5) == 0


@in_loop
async def test_halts_cover_their_scope(desk: Desk) -> None:
    """A decision sees the halts of its agent, workflow and service, and of everything; no others."""
    await desk.open("w1")
    for id, scope, value in (
        ("h1", "agent", "ann"),
        ("h2", "workflow", "w1"),
        ("h3", "service", "model"),
        ("h4", "all", ""),
        ("h5", "agent", "w1"),
        ("h6", "service", "ann"),
    ):
        await desk.must(PlaceHalt(Halt(id, scope, value, "ana", "stop", START)))

    query = FactsQuery("ann", "process", "w1", "model", ())
    assert [each.id for each in (await desk.store.facts(query)).halts] == ["h1", "h2", "h3", "h4"]
    assert [each.id for each in (await desk.facts("bob", service="email")).halts] == ["h4"]
    assert [each.id for each in await desk.store.halts()] == ["h1", "h2", "h3", "h4", "h5", "h6"]
    assert (await desk.store.halts())[0] == Halt("h1", "agent", "ann", "ana", "stop", START)


@in_loop
async def test_a_lifted_halt_is_gone(desk: Desk) -> None:
    """Placing and lifting both make older facts stale; each is done once."""
    halt = Halt("h1", "all", "", "ana", "stop", START)
    await desk.must(PlaceHalt(halt))
    with pytest.raises(IllegalTransition):
        await desk.must(PlaceHalt(halt))
    halted = await desk.facts()
    await desk.must(LiftHalt("h1", "ana"))
    with pytest.raises(NotFound):
        await desk.must(LiftHalt("h1", "ana"))

    assert (await desk.facts()).halts == ()
    assert await desk.judged(halted) == Refused(Reason.FACTS_CHANGED, "halts")


@in_loop
async def test_facts_are_of_one_moment(desk: Desk) -> None:
    """All parts of the facts come together: labels, workflow, halts and the rows that were asked for, in order."""
    rows = (row(2 * EUR, "b"), row(EUR, "a"))
    await desk.open("w1")
    await desk.reserve(EUR, rows[0])

    facts = await desk.store.facts(FactsQuery("ann", "process", "w1", "model", rows))

    assert [(each.row, each.limit, each.held) for each in facts.budgets] == [(rows[0], 2 * EUR, EUR), (rows[1], EUR, 0)]
    assert facts.workflow is not None and facts.workflow.id == "w1"
    assert (facts.labels, facts.labels_version, facts.halts_version) == ({}, 0, 0)


@in_loop
async def test_versions_of_nothing_are_zero(desk: Desk) -> None:
    """A first commit needs no facts: the versions of an empty store are the defaults, with the policy's revision."""
    commit = Commit(desk.record(), (), Versions(revision="r1"), "ann", "")

    assert isinstance(await desk.store.commit(commit), Committed)


@in_loop
async def test_an_opened_workflow_is_usable_in_the_next_commit(desk: Desk) -> None:
    """Opening and what follows need nothing in between."""
    await asyncio.gather(
        desk.must(OpenWorkflow("w1", "ann", (), (), NEVER, "", {})),
        desk.must(JoinLabels("bob", "w1", {"pii": "d"})),
    )

    assert await desk.labels("bob") == {"pii"}
