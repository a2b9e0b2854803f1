"""What people look at page by page, and the verification of it all: one suite for every store."""

from __future__ import annotations

from fakes.commits import EUR, NEVER, SECOND, START, Desk, row
from fakes.loop import in_loop
from remit.core.effect import AdjustBudget, OpenWorkflow
from remit.core.journal import together
from remit.core.reservation import hour
from remit.ports import Burn

HOUR = 3600 * SECOND


@in_loop
async def test_workflows_are_told_from_the_newest_page_by_page(desk: Desk) -> None:
    """In falling order of their ids, byte by byte; the last of a page begins the next."""
    ids = ["w_B", "w_a", "w_10", "w_9", "w_é", "w_z"]
    for id in ids:
        await desk.must(OpenWorkflow(id, "ann", ("support",), ("ann",), NEVER, "", {}))
    await desk.close("w_9")
    newest = sorted(ids, key=str.encode, reverse=True)

    first = await desk.store.workflows("", 4)
    rest = await desk.store.workflows(first[-1].id, 4)

    assert [each.id for each in (*first, *rest)] == newest
    assert [each.id for each in await desk.store.workflows("", 100)] == newest
    assert {each.id: each.state for each in (*first, *rest)} == {id: "closed" if id == "w_9" else "open" for id in ids}
    assert await desk.store.workflows("w_10", 4) == await desk.store.workflows("", 0) == ()
    assert first[0] == await desk.store.workflow(newest[0])


@in_loop
async def test_decisions_are_told_from_the_latest_page_by_page(desk: Desk) -> None:
    """Only decisions, of a time before that of the page before; those of one moment the last recorded first."""
    for turn in range(6):
        await desk.must(id=f"d_{turn}")
        await desk.must(kind="report", id=f"r_{turn}", ref=f"d_{turn}")
        desk.time += SECOND
    await desk.must(id="d_6")
    await desk.must(id="d_7")

    first = await desk.store.latest(0, 4)
    second = await desk.store.latest(first[-1].record.time, 3)

    assert [each.record.id for each in first] == ["d_7", "d_6", "d_5", "d_4"]
    assert [each.record.id for each in second] == ["d_3", "d_2", "d_1"]
    assert await desk.store.latest(START, 4) == ()
    assert first[0] == await desk.store.record("d_7")


@in_loop
async def test_what_a_row_spent_is_told_hour_by_hour(desk: Desk) -> None:
    """In each row of a reservation; a late settlement corrects in its own hour; hours without spending are left out."""
    month, other = row(99 * EUR), row(99 * EUR, "other")
    first = await desk.reserve(4 * EUR, month, other)
    second = await desk.reserve(3 * EUR, month)
    free = await desk.reserve(EUR, month)
    await desk.end(second, cost=EUR)
    desk.time += HOUR
    await desk.end(first, "lapsed")
    await desk.end(free, "voided")
    await desk.must(AdjustBudget(month, EUR))
    desk.time += 2 * HOUR
    await desk.end(first, cost=EUR)

    began = hour(START)
    assert await desk.store.burned(month) == (
        Burn(began, EUR),
        Burn(began + HOUR, 4 * EUR),
        Burn(began + 3 * HOUR, -3 * EUR),
    )
    assert [each.spent for each in await desk.store.burned(other)] == [4 * EUR, -3 * EUR]
    assert await desk.store.burned(row(99 * EUR, "nothing")) == ()


@in_loop
async def test_a_store_verifies_itself(desk: Desk) -> None:
    """Up to its last record, which is signed for it, with what was erased; and again after more."""
    for records in (3, 6):
        for _ in range(3):
            await desk.must()
        found = together(await desk.store.verify())
        assert (found.state, found.log, found.problems) == ("authentic", desk.store.log, ())
        assert (found.records, found.covered, found.erased) == (records, records, 0)
    await desk.store.erase("d_000002", by="ana", reason="asked")

    found = together(await desk.store.verify())
    assert (found.state, found.records, found.erased, found.covered) == ("authentic", 7, 1, 7)
