"""Queries in the pipeline: who is told what, when it is durable, and what the journal holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fakes.database_memory import FakeDatabase, FakeDatabases, FakeReading
from fakes.loop import in_loop
from fakes.store_memory import MemoryStore
from fakes.world import FakeObserver, FakePdp, allow_all, catalogue, subject, verdict, world
from remit.core.call import Claimed, WorkflowCall
from remit.core.dataset import Dataset, DataSource, ReadLimits, Table
from remit.core.decision import Effect
from remit.core.effect import Commit, Committed, PlaceHalt, Refused, SeeSubjects
from remit.core.errors import PolicyFailure
from remit.core.model import Halt, Mode
from remit.core.obligation import Obligation
from remit.core.query import Ended, QueryCall, QueryPart, Rows, Started
from remit.core.reason import Reason
from remit.core.view.model import EVERY_ROW, Cell, Compare, Mask, Plan, TableView, ViewInvalid, ViewRefused
from remit.core.view.subjects import subject_hash
from remit.pep import account, query
from remit.pep.pipeline import Pipeline
from remit.pep.reading import AT_ONCE
from remit.pep.world import World
from remit.pep.write import Entry, must_write
from remit.ports import DatabaseFailed, FactsQuery, Failure, Limits

CRM = Dataset(
    owner="cx",
    reader=DataSource("sqlite:///crm.db"),
    labels=("internal",),
    tables={
        "customers": Table(columns={"id": (), "region": (), "email": ("pii",)}, subject_key="id"),
        "orders": Table(columns={"id": (), "customer": (), "total": ("finance",)}),
    },
    limits=ReadLimits(rows=100, bytes=10_000, seconds=5),
)
SELECT = "SELECT region FROM customers"
WORKER = subject("worker")


class Stage:
    """A pipeline over a store in memory, a policy that is a function, and a database that is told what to say."""

    def __init__(self, database: FakeDatabase, policy: Callable[[Mapping[str, Any]], Any] = allow_all) -> None:
        self.store = MemoryStore()
        self.store.activate("r1")
        self.world: World = world(self.store, policy, datasets={"crm": CRM})
        self.world.databases = FakeDatabases(crm=database)
        self.database = database
        self.pipeline = Pipeline(self.world)

    @property
    def pdp(self) -> FakePdp:
        pdp = self.world.installation.pdp
        assert isinstance(pdp, FakePdp)
        return pdp

    @property
    def observer(self) -> FakeObserver:
        observer = self.world.observer
        assert isinstance(observer, FakeObserver)
        return observer

    async def query(self, sql: str = SELECT, *, who: Any = WORKER, rows: int = 0, **parameters: Any) -> list[QueryPart]:
        call = QueryCall("crm", sql, parameters, Claimed(purpose="work"), rows)
        async with aclosing(self.pipeline.query(who, call)) as parts:
            return [part async for part in parts]

    async def answers(self) -> list[dict[str, Any]]:
        """How each answer ended, by the journal: with its decision, or after it."""
        with_it = [each["sent"]["answer"] for each in await self.bodies("decision") if "answer" in each.get("sent", {})]
        return [*with_it, *(await self.bodies("answer"))]

    async def bodies(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.store.journal(0, 1000)
        return [orjson.loads(row.record.body) for row in rows if row.record.kind == kind]


def started(parts: list[QueryPart]) -> Started:
    first = parts[0]
    assert isinstance(first, Started)
    return first


def ended(parts: list[QueryPart]) -> Ended:
    last = parts[-1]
    assert isinstance(last, Ended)
    return last


def rows(parts: list[QueryPart]) -> list[tuple[Any, ...]]:
    return [tuple(row) for part in parts if isinstance(part, Rows) for row in part.rows]


@in_loop
async def test_an_answer_has_its_decision_its_rows_and_its_end() -> None:
    """The parts come in order, and the end counts them."""
    stage = Stage(FakeDatabase([["eu", "1"], ["us", "2"]], names=["region"]))

    parts = await stage.query()

    assert started(parts).answer.effect is Effect.ALLOW
    assert started(parts).columns == (("region", "text"),)
    assert rows(parts) == [("eu",), ("us",)]
    assert ended(parts) == Ended(2, 20)


@in_loop
async def test_labels_are_those_of_the_columns_that_it_can_see() -> None:
    """The dataset's own labels and the columns', but not of a column whose mask takes them away."""
    stage = Stage(FakeDatabase())

    plain = await stage.query("SELECT region, email FROM customers")
    stage.pdp.look = lambda table, _: TableView(table, EVERY_ROW, {"email": Mask("hash")})
    stage.pdp.timely = True  # so that it is asked anew
    masked = await stage.query("SELECT region, email FROM customers")

    assert started(plain).labels == ("internal", "pii")
    assert started(masked).labels == ("internal",)
    assert [(each.column, each.mask) for each in started(masked).masked] == [("email", "hash")]
    assert stage.observer.masked[-1] == ("worker", "crm", ("customers.email",))


@in_loop
async def test_policy_judges_the_labels_that_are_left() -> None:
    """What a mask takes away is not held against an agent without clearance."""

    def uncleared(document: Mapping[str, Any]) -> Any:
        return verdict("DENY" if "pii" in document["resource"]["labels"] else "ALLOW")

    stage = Stage(FakeDatabase([["x", "1"]]), uncleared)
    stage.pdp.look = lambda table, _: TableView(table, EVERY_ROW, {"email": Mask("null")})

    assert started(await stage.query("SELECT email FROM customers")).answer.effect is Effect.ALLOW
    assert stage.pdp.documents[-1]["resource"]["labels"] == ["internal"]


@in_loop
async def test_labels_join_the_session_before_the_first_row() -> None:
    """When the database is asked, the session holds what will be read."""
    stage = Stage(FakeDatabase([["a@b", "1"]]))
    call = QueryCall("crm", "SELECT email FROM customers", {}, Claimed(purpose="work"))
    async with aclosing(stage.pipeline.query(WORKER, call)) as parts:
        assert isinstance(await anext(parts), Started)
        facts = await stage.store.facts(FactsQuery("worker", "process", "", "", ()))

    assert set(facts.labels) == {"internal", "pii"}


@in_loop
async def test_what_cannot_be_understood_is_refused_and_recorded() -> None:
    """A statement that is none ends in a DENY that says what and where; the database is never asked."""
    stage = Stage(FakeDatabase())

    parts = await stage.query("SELECT nothing FROM customers")

    assert len(parts) == 1
    assert [each.code for each in started(parts).answer.reasons] == ["view_refused"]
    assert started(parts).answer.message.startswith("line 1, column 8: unknown column nothing, expected one of ")
    assert stage.database.plans == []
    assert (await stage.bodies("decision"))[-1]["effect"] == "DENY"


@in_loop
async def test_who_may_not_read_is_not_told_what_there_is() -> None:
    """Policy comes before the statement's faults: columns' names are not for strangers."""
    stage = Stage(FakeDatabase(), lambda _: verdict("DENY", "role_not_granted"))

    parts = await stage.query("SELECT nothing FROM customers")

    assert [each.code for each in started(parts).answer.reasons] == ["role_not_granted"]
    assert "region" not in started(parts).answer.message


@pytest.mark.parametrize("given", [{}, {"wanted": 1, "more": 2}])
@in_loop
async def test_parameters_must_be_those_of_the_statement(given: dict[str, int]) -> None:
    """One too few or too many is refused by name."""
    stage = Stage(FakeDatabase())

    parts = await stage.query("SELECT id FROM customers WHERE id = :wanted", **given)

    assert "wanted" in started(parts).answer.message or "more" in started(parts).answer.message
    assert stage.database.plans == []


@in_loop
async def test_a_long_parameter_is_not_searched_for() -> None:
    """A short one is, by the same statement; what is only compared may be long."""
    stage = Stage(FakeDatabase([["eu", "1"]]))
    searched = "SELECT region FROM customers WHERE region LIKE '%' || :wanted || '%'"

    refused = await stage.query(searched, wanted="a" * 2_000)
    assert started(refused).answer.message.count("searched for") == 1
    assert "a" * 20 not in started(refused).answer.message
    assert stage.database.plans == []

    assert len(await stage.query(searched, wanted="a" * 900)) > 1
    assert len(await stage.query("SELECT region FROM customers WHERE region = :wanted", wanted="a" * 60_000)) > 1
    assert len(stage.database.plans) == 2


@in_loop
async def test_a_denied_query_reads_nothing() -> None:
    """Policy's no is the whole answer."""
    stage = Stage(FakeDatabase([["eu", "1"]]), lambda _: verdict("DENY", "default_deny"))

    parts = await stage.query()

    assert len(parts) == 1
    assert stage.database.plans == []


@in_loop
async def test_an_observed_agent_sees_its_view_and_no_more() -> None:
    """What is let through is let through the view; what cannot be looked at is not let through."""
    stage = Stage(FakeDatabase([["eu", "1"]]), lambda _: verdict("DENY", "default_deny"))
    watched = subject("watched", mode=Mode.OBSERVE)

    seen = await stage.query(who=watched)
    stage.pdp.look = failing(PolicyFailure(Reason.PDP_UNAVAILABLE, "gone"))
    blind = await stage.query("SELECT id FROM orders", who=watched)

    assert rows(seen) == [("eu",)]
    assert not started(seen).answer.enforced
    assert started(blind).answer.enforced
    assert len(blind) == 1


def failing(error: Exception) -> Callable[[str, Mapping[str, Any]], TableView]:
    def look(table: str, document: Mapping[str, Any]) -> TableView:
        raise error

    return look


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ViewRefused("no view of crm is written"), "view_refused"),
        (ViewInvalid("no such column", where="customers.emial"), "policy_invalid"),
        (PolicyFailure(Reason.PDP_UNAVAILABLE, "OPA is gone"), "pdp_unavailable"),
        (PolicyFailure(Reason.POLICY_ERROR, "a conflict"), "policy_error"),
    ],
)
@in_loop
async def test_a_view_that_cannot_be_had_closes(error: Exception, code: str) -> None:
    """Whatever keeps policy from saying what is visible, nothing is."""
    stage = Stage(FakeDatabase([["eu", "1"]]))
    stage.pdp.look = failing(error)

    parts = await stage.query()

    assert [each.code for each in started(parts).answer.reasons] == [code]
    assert stage.database.plans == []


@in_loop
async def test_views_are_kept_while_they_hold() -> None:
    """One question serves all statements; another purpose, revision or session asks anew, and a timely view always."""
    stage = Stage(FakeDatabase())

    for _ in range(2):  # what the first brings to the session is part of what is asked
        await stage.query("SELECT region FROM customers")
    asked = len(stage.pdp.viewed)
    await stage.query("SELECT id FROM customers")
    assert len(stage.pdp.viewed) == asked
    await stage.query("SELECT id FROM customers JOIN orders USING (id)")
    assert len(stage.pdp.viewed) == asked + 1
    asked = len(stage.pdp.viewed)

    stage.pdp.timely = True
    await stage.query("SELECT region FROM customers")
    await stage.query("SELECT region FROM customers")
    assert len(stage.pdp.viewed) == asked + 2


@in_loop
async def test_a_view_is_asked_for_without_the_statement() -> None:
    """What policy is given does not depend on the statement, its parameters or its columns."""
    stage = Stage(FakeDatabase())
    stage.pdp.timely = True

    await stage.query("SELECT region FROM customers")
    await stage.query("SELECT email FROM customers WHERE id = :n", n=7)

    first, second = ({**each, "facts": {}} for each in stage.pdp.viewed)
    assert first == second
    assert first["context"].keys() == {"workflow", "purpose", "time"}


@in_loop
async def test_subjects_are_recorded_before_their_rows_go_out() -> None:
    """When a batch reaches the caller, whom it is of can be asked for."""
    stage = Stage(FakeDatabase([["eu", "1"]], [["us", "2"]], [["de", "3"]]))
    call = QueryCall("crm", SELECT, {}, Claimed(purpose="work"))
    seen = []
    async with aclosing(stage.pipeline.query(WORKER, call)) as parts:
        async for part in parts:
            if isinstance(part, Rows):
                found = [len(await sightings(stage, key)) for key in "123"]
                seen.append(found)

    assert seen == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@in_loop
async def test_what_is_told_later_stands_in_the_decision_s_workflow() -> None:
    """The records of a long answer are in the workflow's trace."""
    stage = Stage(FakeDatabase([["eu", "1"]], [["us", "2"]], [["de", "3"]]))
    opened = await stage.pipeline.open_workflow(WORKER, WorkflowCall(("work",), (), 3600 * 10**9))
    call = QueryCall("crm", SELECT, {}, Claimed(purpose="work", workflow=opened.context))
    async with aclosing(stage.pipeline.query(WORKER, call)) as parts:
        assert [type(part) async for part in parts] == [Started, Rows, Rows, Rows, Ended]

    kinds = [row.record.kind for row in await stage.store.trace(opened.id, 100)]
    assert kinds == ["decision", "subjects", "subjects", "answer"]


async def sightings(stage: Stage, key: str) -> list[Any]:
    hashed = subject_hash("crm", "customers", key, stage.world.hmac)
    return list(await stage.store.sightings("crm.customers", hashed, 10))


@in_loop
async def test_what_a_statement_reached_is_recorded_as_such() -> None:
    """Where rows do not say whose they are, whom the statement reached is recorded."""
    stage = Stage(FakeDatabase([[3]], names=["n"]))
    stage.database.reached = ["1", "2"]

    await stage.query("SELECT count(*) AS n FROM customers WHERE id < 3")

    assert [each.sight.value for each in await sightings(stage, "2")] == ["reached"]


@in_loop
async def test_the_journal_holds_statement_view_and_counts_and_no_cells() -> None:
    """What was asked and in force, how many rows there were; neither literals nor parameters nor cells."""
    stage = Stage(FakeDatabase([["cell-canary", "key-canary"]]))
    stage.pdp.look = lambda table, _: TableView(table, Compare("region", "eq", "eu"), {"email": Mask("null")})

    await stage.query("SELECT email FROM customers WHERE region = 'literal-canary' AND id = :n", n="parameter-canary")

    (decision,), (answer,) = await stage.bodies("decision"), await stage.answers()
    query = decision["sent"]["query"]
    assert query["views"]["customers"] == {
        "filter": {"column": "region", "operator": "eq", "value": "eu"},
        "masks": {"email": {"null": {}}},
    }
    assert decision["resource"]["fields"] == ["customers.email", "customers.id", "customers.region"]
    assert answer["rows"] == 1
    assert answer["failure"] == ""
    assert answer["subjects"] == {"customers": {"returned": "1"}}
    everything = b"".join(row.record.body for row in await stage.store.journal(0, 100))
    assert b"canary" not in everything


@pytest.mark.parametrize("failure", list(Failure))
@in_loop
async def test_a_failure_is_told_by_its_class_alone(failure: Failure) -> None:
    """What the database says stays with Remit, at the start and in the middle."""
    failed = DatabaseFailed(failure, "division by zero for row cell-canary")
    early, late = Stage(FakeDatabase()), Stage(FakeDatabase([["eu", "1"]], [["us", "2"]], failed))
    early.database.refuses = failed

    for stage in (early, late):
        parts = await stage.query()
        assert ended(parts).failure == failure.value
        assert "canary" not in repr(parts)
        assert [each["failure"] for each in await stage.answers()] == [failure.value]
        assert stage.database.reading == 0


@pytest.mark.parametrize("failure", list(Failure))
@in_loop
async def test_the_log_says_what_is_wrong_with_the_database_itself(
    failure: Failure, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password or a missing table can be found; what else a database says may hold data, and is not logged."""
    stage = Stage(FakeDatabase())
    stage.database.refuses = DatabaseFailed(failure, "password authentication failed", code="SQLSTATE 42702")

    await stage.query()

    told = "password authentication failed" in caplog.text
    assert told == (failure in {Failure.UNAVAILABLE, Failure.NOT_FIT})
    assert f"dataset crm: {failure.value}, SQLSTATE 42702 (" in caplog.text


@in_loop
async def test_a_database_that_does_not_fit_denies() -> None:
    """Where the columns' types cannot be had, nothing is permitted, and it can be asked again."""
    stage = Stage(FakeDatabase())
    stage.database.unfit = DatabaseFailed(Failure.NOT_FIT, "customers.email is missing")

    answer = started(await stage.query()).answer

    assert [each.code for each in answer.reasons] == ["database_unavailable"]
    assert answer.retryable
    assert "missing" not in answer.message


@in_loop
async def test_who_leaves_ends_the_reading_and_is_recorded() -> None:
    """Rows that were not asked for are not read; what was told before is in the journal."""
    stage = Stage(FakeDatabase([["eu", "1"]], [["us", "2"]], [["de", "3"]], [["fr", "4"]]))
    call = QueryCall("crm", SELECT, {}, Claimed(purpose="work"))
    async with aclosing(stage.pipeline.query(WORKER, call)) as parts:
        async for part in parts:
            if isinstance(part, Rows):
                break

    assert stage.database.reading == 0
    assert (await stage.bodies("answer"))[-1] | {"subjects": {}} == {
        "dataset": "crm",
        "rows": 1,
        "bytes": 0,
        "truncated": False,
        "failure": "left",
        "subjects": {},
    }


@in_loop
async def test_a_halt_ends_an_answer_that_is_under_way() -> None:
    """Within a second no more rows go out."""
    stage = Stage(FakeDatabase([["eu", "1"]], [["us", "2"]], [["de", "3"]]))
    call = QueryCall("crm", SELECT, {}, Claimed(purpose="work"))
    got: list[QueryPart] = []
    async with aclosing(stage.pipeline.query(WORKER, call)) as parts:
        async for part in parts:
            got.append(part)
            if isinstance(part, Rows) and len(got) == 2:
                halt = Halt("h", "agent", "worker", "ana", "", stage.world.clock.now())
                await must_write(stage.world, Entry("halt", "ana", {}), (PlaceHalt(halt),))
                stage.world.clock.pass_seconds(1)  # type: ignore[attr-defined]

    assert rows(got) == [("eu",)]
    assert ended(got).failure == "halted"


class BreakingDatabase(FakeDatabase):
    """Gives a batch, and then breaks in a way that nobody foresaw."""

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[FakeReading]:
        async with super().read(plan, parameters, limits) as reading:
            yield reading
            raise ValueError("a bug")


@in_loop
async def test_what_nobody_foresaw_is_no_end_of_an_answer() -> None:
    """Rows that came before it do not pass for all of them."""
    stage = Stage(BreakingDatabase([["eu", "1"]], names=["region"]))

    with pytest.raises(ValueError, match="a bug"):
        await stage.query()


@in_loop
async def test_a_halt_ends_a_query_that_gives_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is still at work, too."""
    monkeypatch.setattr(account, "LOOK_SECONDS", 0.01)
    stage = Stage(StuckDatabase())
    got: list[QueryPart] = []
    async with aclosing(stage.pipeline.query(WORKER, QueryCall("crm", SELECT, {}, Claimed(purpose="work")))) as parts:
        async for part in parts:
            got.append(part)
            halt = Halt("h", "agent", "worker", "ana", "", stage.world.clock.now())
            if isinstance(part, Started):
                await must_write(stage.world, Entry("halt", "ana", {}), (PlaceHalt(halt),))
                stage.world.clock.pass_seconds(1)  # type: ignore[attr-defined]

    assert ended(got).failure == "halted"
    assert stage.database.reading == 0


class StuckDatabase(FakeDatabase):
    """Opens, and then says nothing."""

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[FakeReading]:
        async with super().read(plan, parameters, limits) as reading:
            reading.batches = forever  # type: ignore[method-assign]
            yield reading


async def forever() -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
    await asyncio.Event().wait()
    yield []


@in_loop
async def test_a_statement_of_no_table_reads_nothing() -> None:
    """It is answered, whatever the views say, and carries what lies on the whole dataset."""
    stage = Stage(FakeDatabase([[1]], names=["one"]))
    stage.pdp.look = failing(ViewRefused("no view of crm is written"))

    parts = await stage.query("SELECT 1 AS one")

    assert rows(parts) == [(1,)]
    assert started(parts).labels == ("internal",)


@in_loop
async def test_an_obligation_of_a_minimum_group_is_fulfilled() -> None:
    """A statement that shows single rows is refused where policy obliges to groups; an obligation without size, too."""

    def grouped(document: Mapping[str, Any]) -> Any:
        return replace(verdict("ALLOW"), obligations=(Obligation("minimum_group", {"size": size}),))

    stage = Stage(FakeDatabase([["eu", 5]], names=["region", "n"]), grouped)
    size: object = 5
    single = await stage.query()
    groups = await stage.query("SELECT region, count(*) AS n FROM customers GROUP BY region")
    size = "five"
    wrong = await stage.query("SELECT region, count(*) AS n FROM customers GROUP BY region")

    assert [each.code for each in started(single).answer.reasons] == ["view_refused"]
    assert rows(groups) == [("eu", 5)]
    assert [each.code for each in started(wrong).answer.reasons] == ["policy_invalid"]


@in_loop
async def test_a_reload_in_between_asks_again() -> None:
    """What was understood by one catalogue is not judged by another."""
    stage = Stage(FakeDatabase())
    changed = replace(CRM, labels=("other",))
    understand = stage.pipeline._queries._understand

    def then_reload(call: QueryCall) -> Any:
        found = understand(call)
        stage.world.installation = replace(stage.world.installation, catalogue=catalogue(datasets={"crm": changed}))
        return found

    stage.pipeline._queries._understand = then_reload  # type: ignore[method-assign]
    answer = started(await stage.query()).answer

    assert [each.code for each in answer.reasons] == ["facts_changed"]
    assert answer.retryable


@in_loop
async def test_no_more_rows_are_asked_for_than_the_dataset_allows() -> None:
    """A caller may ask for fewer, never for more."""
    stage = Stage(FakeDatabase())

    await stage.query(rows=7)
    await stage.query(rows=7_000)
    await stage.query()

    assert [each.rows for each in stage.database.limits] == [7, 100, 100]


@in_loop
async def test_an_observed_agent_whose_facts_go_on_changing_is_recorded_with_whom_it_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answer goes out though the decision became a refusal: so does the record of whom it is of."""
    stage = Stage(FakeDatabase([["eu", "1"]], names=["region"]))
    who, commit, refusals = subject("watched", mode=Mode.OBSERVE), stage.store.commit, [0, 0]
    told: list[SeeSubjects] = []

    async def changing(asked: Commit) -> Committed | Refused:
        if asked.versions is not None and refusals:
            refusals.pop()
            return Refused(Reason.FACTS_CHANGED, "labels")
        told.extend(each for each in asked.effects if isinstance(each, SeeSubjects))
        return await commit(asked)

    monkeypatch.setattr(stage.store, "commit", changing)
    parts = await stage.query(who=who)

    assert started(parts).answer.effect is Effect.DENY
    assert rows(parts) == [("eu",)]
    assert [(each.decision, len(each.subjects)) for each in told] == [(started(parts).answer.id, 1)]


class GatedDatabase(FakeDatabase):
    """Counts readings under way, which last until the gate is open."""

    def __init__(self, *batches: Sequence[Sequence[Cell]], names: Sequence[str]) -> None:
        super().__init__(*batches, names=names)
        self.under_way = 0
        self.changed = asyncio.Event()
        self.gate = asyncio.Event()

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[FakeReading]:
        self.under_way += 1
        self.changed.set()
        await self.gate.wait()
        async with super().read(plan, parameters, limits) as reading:
            yield reading
        self.under_way -= 1

    async def until(self, readings: int) -> None:
        async with asyncio.timeout(10):
            while self.under_way < readings:
                self.changed.clear()
                await self.changed.wait()


@in_loop
async def test_one_caller_does_not_keep_all_others_from_a_dataset() -> None:
    """Of its answers a few are read at once; the next one waits, and another caller's does not."""
    database = GatedDatabase([["eu", "1"]], names=["region"])
    stage = Stage(database)

    greedy = [asyncio.create_task(stage.query()) for _ in range(2 * AT_ONCE)]
    await database.until(AT_ONCE)
    other = asyncio.create_task(stage.query(who=subject("analysis")))
    await database.until(AT_ONCE + 1)
    assert database.under_way == AT_ONCE + 1
    database.gate.set()

    assert rows(await other) == [("eu",)]
    assert [rows(each) for each in await asyncio.gather(*greedy)] == [[("eu",)]] * (2 * AT_ONCE)


@in_loop
async def test_an_answer_whose_turn_does_not_come_in_time_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits as long as its reading might take, and then says so; those before it go on."""
    database = GatedDatabase([["eu", "1"]], names=["region"])
    stage = Stage(database)
    greedy = [asyncio.create_task(stage.query()) for _ in range(AT_ONCE)]
    await database.until(AT_ONCE)

    monkeypatch.setattr(query, "limits_of", lambda *_: Limits(rows=100, bytes=10_000, seconds=0.0))
    late = await stage.query()
    database.gate.set()

    assert ended(late).failure == Failure.TIMED_OUT.value
    assert [rows(each) for each in await asyncio.gather(*greedy)] == [[("eu",)]] * AT_ONCE
