"""Named writes in the pipeline: judged, paid for, and performed once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fakes.database_memory import FakeDatabase, FakeDatabases
from fakes.loop import in_loop
from fakes.store_memory import MemoryStore
from fakes.world import EUR, FakeClock, allow_all, subject, verdict, world
from remit.core.call import Claimed, WorkflowCall
from remit.core.catalogue import Budget
from remit.core.dataset import Dataset, DataSource, NamedStatement
from remit.core.decision import PolicyReason
from remit.core.model import Mode
from remit.core.query import ExecuteCall, Executed
from remit.pep.pipeline import Pipeline
from remit.pep.world import SECOND
from remit.ports import DatabaseFailed, FactsQuery, Failure, ResultColumn, Written

CRM = Dataset(
    owner="cx",
    reader=DataSource("sqlite:///crm.db"),
    writer=DataSource("sqlite:///crm.db"),
    clearance=("pii",),
    statements={
        "close": NamedStatement("UPDATE cases SET open = 0 WHERE id = :id", parameters={"id": "integer"}, cost=EUR),
        "mail": NamedStatement("INSERT INTO mail VALUES (:to)", parameters={"to": "token"}),
        "add": NamedStatement(
            "INSERT INTO cases VALUES (:id) RETURNING id", parameters={"id": "integer"}, labels=("pii",)
        ),
    },
)
WORKER = subject("worker")


class Tokens:
    """Tokens that say what they stand for."""

    def token(self, value: str, domain: str, labels: Any) -> str:
        return f"tok:{value}:{','.join(labels)}"

    def value(self, token: str) -> tuple[str, str, tuple[str, ...]] | None:
        kind, _, rest = token.partition(":")
        value, _, labels = rest.partition(":")
        return (value, "d", tuple(labels.split(","))) if kind == "tok" else None

    def pad(self, domain: str, which: str) -> bytes:
        return b""


class Stage:
    """A pipeline over a store in memory and a database that remembers its writes."""

    def __init__(self, policy: Callable[[Mapping[str, Any]], Any] = allow_all, limit: int = 10 * EUR) -> None:
        self.store = MemoryStore()
        self.store.activate("r1")
        budgets = {"month": Budget(limit=limit, window="month")}
        self.world = world(self.store, policy, datasets={"crm": CRM}, budgets=budgets)
        self.database = FakeDatabase()
        self.world.databases = FakeDatabases(crm=self.database)
        self.world.tokenizer = Tokens()
        self.pipeline = Pipeline(self.world)

    async def execute(self, statement: str = "close", *, key: str = "", **parameters: Any) -> Executed:
        digest = repr((statement, parameters))
        call = ExecuteCall("crm", statement, parameters or {"id": 7}, Claimed(purpose="work"), key, digest)
        return await self.pipeline.execute(WORKER, call)

    async def spent(self) -> int:
        return sum(each.cost for each in await self.store.spending())

    async def held(self) -> int:
        return sum(each.held for each in await self.store.used_rows(self.world.clock.now()))

    async def bodies(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.store.journal(0, 1000)
        return [orjson.loads(row.record.body) for row in rows if row.record.kind == kind]


@in_loop
async def test_a_write_is_performed_and_paid() -> None:
    """Its decision is the database's name for it, and its cost is settled."""
    stage = Stage()

    done = await stage.execute()

    assert (done.affected, done.failure, done.replayed) == (1, "", False)
    assert [each.execution for each in stage.database.writes] == [done.answer.id]
    assert (await stage.spent(), await stage.held()) == (EUR, 0)
    assert (await stage.bodies("write"))[0]["affected"] == 1


@in_loop
async def test_a_write_is_part_of_its_workflow() -> None:
    """Whoever looks at the workflow finds what became of it, each time that it was asked for."""
    stage = Stage()
    opened = await stage.pipeline.open_workflow(WORKER, WorkflowCall(("work",), (), 3600 * SECOND))
    claimed = Claimed(workflow=opened.context, purpose="work")

    for _ in range(2):
        await stage.pipeline.execute(WORKER, ExecuteCall("crm", "close", {"id": 7}, claimed, "key", "digest"))

    kinds = [row.record.kind for row in await stage.store.trace(opened.id, 10)]
    assert kinds[-2:] == ["write", "write"]


@in_loop
async def test_an_observed_agent_s_write_is_paid_though_there_is_no_room() -> None:
    """It goes through, and what it costs is spent: an overrun."""
    stage = Stage(limit=EUR // 2)
    watched = subject("watched", mode=Mode.OBSERVE)

    done = await stage.pipeline.execute(watched, ExecuteCall("crm", "close", {"id": 7}, Claimed(purpose="work")))

    assert (done.answer.enforced, done.affected) == (False, 1)
    assert (await stage.spent(), await stage.held()) == (EUR, 0)


@in_loop
async def test_a_denied_write_is_not_performed() -> None:
    """Policy's no, or a budget's, is the whole answer."""
    for stage in (Stage(lambda _: verdict("DENY", "default_deny")), Stage(limit=EUR // 2)):
        done = await stage.execute()
        assert done.answer.effect.value == "DENY"
        assert stage.database.writes == []


@in_loop
async def test_a_statement_that_is_not_there_is_named_as_one() -> None:
    """Beside its dataset, and before what follows from it."""
    found = [("access.owned", "no_owner"), ("access.known", "unknown_resource")]
    stage = Stage(lambda _: replace(verdict("DENY"), reasons=tuple(PolicyReason(*each) for each in found)))

    done = await stage.execute()

    assert [each.code for each in done.answer.reasons] == ["unknown_resource", "no_owner"]
    assert " of dataset crm." in done.answer.reasons[0].message
    assert done.answer.reasons[0].message.startswith("The catalogue lists no statement ")


@pytest.mark.parametrize("given", [{"id": 1, "more": 2}, {"other": 1}, {"id": "7"}, {"id": True}])
@in_loop
async def test_parameters_must_be_those_that_it_declares(given: dict[str, Any]) -> None:
    """Others are refused by name."""
    stage = Stage()

    done = await stage.execute(**given)

    assert [each.code for each in done.answer.reasons] == ["view_refused"]
    assert "parameters" in done.answer.message
    assert stage.database.writes == []


@in_loop
async def test_the_same_key_is_the_same_write() -> None:
    """Asked again, it is told what was done; another request under the key is refused."""
    stage = Stage()

    first = await stage.execute(key="k")
    again = await stage.execute(key="k")
    other = await stage.execute(key="k", id=8)

    assert first.answer.id == again.answer.id
    assert (again.affected, again.replayed) == (1, True)
    assert [each.code for each in other.answer.reasons] == ["idempotency_mismatch"]
    assert len(stage.database.done) == 1
    assert await stage.spent() == EUR


@in_loop
async def test_together_under_one_key_it_is_done_once() -> None:
    """Sixteen at once perform one write."""
    stage = Stage()

    done = await asyncio.gather(*(stage.execute(key="k") for _ in range(16)))

    assert len({each.answer.id for each in done}) == 1
    assert len(stage.database.done) == 1
    assert await stage.spent() == EUR


@pytest.mark.parametrize("failure", [Failure.CONFLICT, Failure.BAD_VALUE, Failure.TIMED_OUT, Failure.NOT_FIT])
@in_loop
async def test_what_was_not_done_costs_nothing_and_stays_so(failure: Failure) -> None:
    """A failure that changed nothing is void; the same key gets the same failure, though it might work now."""
    stage = Stage()
    stage.database.refuses = DatabaseFailed(failure, "canary")

    first = await stage.execute(key="k")
    stage.database.refuses = None
    again = await stage.execute(key="k")
    fresh = await stage.execute(key="k2")

    assert (first.failure, again.failure) == (failure.value, failure.value)
    assert again.replayed
    assert fresh.failure == ""
    assert await stage.spent() == EUR
    assert "canary" not in repr((first, again))


@pytest.mark.parametrize("failure", [Failure.UNAVAILABLE, Failure.INTERNAL])
@in_loop
async def test_what_nobody_knows_stays_held_and_is_looked_up(failure: Failure) -> None:
    """The money stays set aside; asked again with the key, it is done or told, and then paid."""
    stage = Stage()
    stage.database.refuses = DatabaseFailed(failure)

    first = await stage.execute(key="k")
    held = await stage.held()
    stage.database.refuses = None
    again = await stage.execute(key="k")

    assert first.failure == failure.value
    assert held == EUR
    assert again.failure == ""
    assert (await stage.spent(), await stage.held()) == (EUR, 0)


@in_loop
async def test_what_was_not_done_is_done_later_only_where_it_would_be_permitted_then() -> None:
    """A permission that nothing came of cannot be kept for when policy says no; what was done is told all the same."""
    said = verdict("ALLOW")
    stage = Stage(lambda _: said)
    done = await stage.execute(key="done")
    stage.database.refuses = DatabaseFailed(Failure.UNAVAILABLE)
    await stage.execute(key="k", id=8)
    stage.database.refuses = None
    said = verdict("DENY", "default_deny")

    denied = await stage.execute(key="k", id=8)
    told = await stage.execute(key="done")
    said = verdict("ALLOW")
    allowed = await stage.execute(key="k", id=8)

    assert [each.code for each in denied.answer.reasons] == ["default_deny"]
    assert (told.answer.id, told.affected, told.replayed) == (done.answer.id, 1, True)
    assert (allowed.failure, allowed.affected) == ("", 1)
    assert len(stage.database.done) == 2
    assert (await stage.spent(), await stage.held()) == (2 * EUR, 0)


@in_loop
async def test_money_that_is_set_aside_is_enough_to_do_it_later() -> None:
    """The last cent is held for the write that nobody knows the end of; it is not asked for twice."""
    stage = Stage(limit=EUR)
    stage.database.refuses = DatabaseFailed(Failure.UNAVAILABLE)
    await stage.execute(key="k")
    stage.database.refuses = None

    again = await stage.execute(key="k")

    assert (again.failure, again.affected) == ("", 1)
    assert (await stage.spent(), await stage.held()) == (EUR, 0)


@in_loop
async def test_a_token_is_turned_back_for_who_is_cleared() -> None:
    """The database gets the value, where it is cleared for its labels; the journal and the agent never do."""
    stage = Stage()

    good = await stage.execute("mail", to="tok:ada@example.com:pii")
    uncleared = await stage.execute("mail", to="tok:secret-canary:finance")
    forged = await stage.execute("mail", to="ada@example.com")

    assert stage.database.writes[0].parameters == {"to": "ada@example.com"}
    assert good.failure == ""
    assert [each.code for each in uncleared.answer.reasons] == ["view_refused"]
    assert "finance" in uncleared.answer.message
    assert "canary" not in uncleared.answer.message
    assert [each.code for each in forged.answer.reasons] == ["view_refused"]
    assert len(stage.database.writes) == 1
    everything = b"".join(row.record.body for row in await stage.store.journal(0, 100))
    assert b"ada@example.com" not in everything


@in_loop
async def test_what_it_returns_has_the_statement_s_labels() -> None:
    """They join the session with the decision, and come with the rows."""
    stage = Stage()
    stage.database.returns = Written(1, [ResultColumn("id", "integer")], [[7]])

    done = await stage.execute("add")

    assert done.rows == [[7]]
    assert done.labels == ("pii",)
    assert done.columns == (("id", "integer"),)
    facts = await stage.store.facts(FactsQuery("worker", "process", "", "", ()))
    assert set(facts.labels) == {"pii"}


@pytest.mark.parametrize("failure", [Failure.TIMED_OUT, Failure.NOT_FIT])
@in_loop
async def test_a_failure_that_comes_before_the_database_has_looked_says_nothing_of_an_earlier_try(
    failure: Failure,
) -> None:
    """What was done and never told is not taken for undone, however the database fails when it is asked for again."""
    stage = Stage()
    stage.database.refuses = DatabaseFailed(Failure.UNAVAILABLE)
    await stage.execute(key="k")
    stage.database.refuses = DatabaseFailed(failure)

    again = await stage.execute(key="k")
    held = await stage.held()
    stage.database.refuses = None
    at_last = await stage.execute(key="k")

    assert again.failure == "unavailable"
    assert held == EUR
    assert at_last.failure == ""
    assert (await stage.spent(), await stage.held()) == (EUR, 0)


@in_loop
async def test_what_nobody_knew_and_then_failed_stays_failed() -> None:
    """The last word counts, not the first one."""
    stage = Stage()
    stage.database.refuses = DatabaseFailed(Failure.UNAVAILABLE)
    await stage.execute(key="k")
    stage.database.refuses = DatabaseFailed(Failure.CONFLICT)
    await stage.execute(key="k")
    stage.database.refuses = None

    assert (await stage.execute(key="k")).failure == "conflict"
    assert await stage.spent() == 0


@in_loop
async def test_what_lapsed_and_then_failed_costs_nothing_and_stays_failed() -> None:
    """Its money had gone as spent, and comes back."""
    stage = Stage()
    stage.database.refuses = DatabaseFailed(Failure.UNAVAILABLE)
    await stage.execute(key="k")
    clock = stage.world.clock
    assert isinstance(clock, FakeClock)
    clock.pass_seconds(301)
    await stage.pipeline.sweep()
    lapsed = await stage.spent()
    stage.database.refuses = DatabaseFailed(Failure.CONFLICT)
    await stage.execute(key="k")
    stage.database.refuses = None
    again = await stage.execute(key="k")

    assert lapsed == EUR
    assert (again.failure, again.replayed) == ("conflict", True)
    assert (await stage.spent(), await stage.held()) == (0, 0)
