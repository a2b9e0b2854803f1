"""Reading and writing datasets: rows as they arrive or all at once, and every way in which there are not all."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, Table, sidecar, sidecar_in_thread
from remit.sdk import frames
from remit.sdk.answers import Effect
from remit.sdk.rows import Answer
from remit.v1 import sidecar_pb2 as s

SQL = "SELECT id, name FROM customers"
ROWS = [{"id": 1, "name": "ana"}, {"id": 2, "name": None}]
DECISION = remit.Decision("d1", Effect.ALLOW, (), "", True)


def connect(fake: SidecarFake, **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, "token-support", **{"retry": remit.Retry(delay=lambda: 0), **options})


@in_loop
async def test_awaited_a_query_is_all_its_rows() -> None:
    """A sequence of dicts that says what was decided, labelled, masked and left out."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.truncated = True
        rows = await agent.query(SQL, dataset="crm", rows=2)

    assert list(rows) == ROWS
    assert (len(rows), rows[0], rows[-1], rows[1:]) == (2, ROWS[0], ROWS[1], ROWS[1:])
    assert rows.decision.permitted
    assert rows.labels == ("pii",)
    assert rows.masked == (remit.Masked("customers", "email", "partial"),)
    assert rows.columns == (remit.Column("id", "int8"), remit.Column("name", "text"))
    assert rows.truncated
    assert fake.queries[0].rows == 2


@in_loop
async def test_iterated_rows_are_there_before_the_last_is_made() -> None:
    """The first batch arrives while the second is still to come; what is known before rows is known by then."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.batches = 2
        fake.table.flow.clear()
        seen = []
        query = agent.query(SQL, dataset="crm")
        async for row in query:
            assert query.answer.labels == ("pii",)
            seen.append(row)
            if len(seen) == 2:
                fake.table.flow.set()

    assert seen == ROWS * 2
    assert not query.truncated
    assert query.decision.id == "d1"


@in_loop
async def test_everything_that_is_said_arrives() -> None:
    """Parameters by their types, and the surroundings, as they are where the query is made."""
    values = {
        "nothing": (None, s.Value()),
        "yes": (True, s.Value(boolean=True)),
        "small": (-5, s.Value(integer=-5)),
        "large": (2**63, s.Value(decimal=str(2**63))),
        "real": (0.5, s.Value(real=0.5)),
        "exact": (Decimal("1.10"), s.Value(decimal="1.10")),
        "name": ("é", s.Value(text="é")),
        "raw": (b"\0", s.Value(binary=b"\0")),
        "view": (memoryview(b"\1"), s.Value(binary=b"\1")),
        "day": (date(2026, 1, 2), s.Value(date="2026-01-02")),
        "at": (time(1, 2, 3), s.Value(time="01:02:03")),
        "when": (datetime(2026, 1, 2, tzinfo=UTC), s.Value(timestamp="2026-01-02T00:00:00+00:00")),
        "span": (timedelta(days=-1, microseconds=1), s.Value(interval="-86399.999999")),
        "id": (UUID(int=1), s.Value(text="00000000-0000-0000-0000-000000000001")),
    }
    async with sidecar() as fake, connect(fake, name="support") as agent:
        async with remit.workflow(agent, purposes=["support"], reason="ticket 7") as run:
            with remit.actor("summarise"):
                parameters: Any = {name: value for name, (value, _) in values.items()}
                query = agent.query(SQL, dataset="crm", parameters=parameters, purpose="support")
            await query
        await agent.execute("set_region", dataset="crm", parameters=parameters, key="k", reason="why")

    asked, wrote = fake.queries[0], fake.writes[0]
    for message in (asked, wrote):
        assert dict(message.parameters) == {name: wire for name, (_, wire) in values.items()}
        assert (message.dataset, message.agent) == ("crm", "support")
    assert asked.statement == SQL
    context = asked.context
    assert (context.workflow, context.purpose, context.reason) == (run.context, "support", "ticket 7")
    assert context.actor == "summarise"
    assert (wrote.statement, wrote.key, wrote.context.reason) == ("set_region", "k", "why")


@in_loop
async def test_what_cannot_be_sent_is_refused_here() -> None:
    """A type that is no value, text that is none, a misspelt keyword: named, and nothing is asked."""
    async with sidecar() as fake, connect(fake) as agent:
        for value in ([1], {"a": 1}, 1j, "\ud800"):
            with pytest.raises(remit.InvalidRequest, match=r'parameters\["x"\]'):
                agent.query(SQL, dataset="crm", parameters={"x": value})  # type: ignore[dict-item]
        with pytest.raises(remit.InvalidRequest, match="a mapping of names to values, not tuple"):
            agent.query(SQL, dataset="crm", parameters=(1,))  # type: ignore[arg-type]
        with pytest.raises(remit.InvalidRequest):
            agent.query(SQL, dataset="crm", rows="2")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="'purposes'"):
            agent.query(SQL, dataset="crm", purposes="support")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="'key'"):
            agent.query(SQL, dataset="crm", key="k")  # type: ignore[call-arg]

    assert fake.calls == []


@in_loop
async def test_a_refusal_raises_before_any_row() -> None:
    """Awaited, iterated, entered, and of a write: Denied with its reasons."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("dataset:crm", "view_refused")
        with pytest.raises(remit.Denied) as denied:
            await agent.query(SQL, dataset="crm")
        with pytest.raises(remit.Denied):
            async for _ in agent.query(SQL, dataset="crm"):
                pytest.fail("a row")
        with pytest.raises(remit.Denied):
            async with agent.query(SQL, dataset="crm"):
                pytest.fail("entered")
        with pytest.raises(remit.Denied):
            await agent.execute("set_region", dataset="crm")

    assert denied.value.codes == ("view_refused",)


@in_loop
async def test_a_failure_of_the_database_is_an_error_that_keeps_what_came_before() -> None:
    """Awaited, the error has the rows; iterated, they were handed out; its kind and the sidecar's text are told."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.failure = s.DATA_FAILURE_TIMED_OUT
        with pytest.raises(remit.QueryFailed) as failed:
            await agent.query(SQL, dataset="crm")
        seen = []
        with pytest.raises(remit.QueryFailed):
            async for row in agent.query(SQL, dataset="crm"):
                seen.append(row)

    error = failed.value
    assert (error.failure, error.message, error.count) == ("timed_out", "the database said no", 2)
    assert list(error.rows) == seen == ROWS
    assert error.retryable
    assert str(error) == "the database said no, after 2 rows (decision d1)"
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(again), again.count) == (str(error), 2)


@in_loop
async def test_leaving_early_ends_the_reading() -> None:
    """A broken loop, a left block and a cancelled task: the sidecar is told each time, and the agent goes on."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.batches = 10**6
        async for _ in agent.query(SQL, dataset="crm"):
            break
        await until(lambda: fake.table.left == 1)
        async with agent.query(SQL, dataset="crm") as query:
            assert query.answer.columns[0].name == "id"
        await until(lambda: fake.table.left == 2)
        awaiting = asyncio.ensure_future(agent.query(SQL, dataset="crm").fetch())
        await until(lambda: len(fake.queries) == 3)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        await until(lambda: fake.table.left == 3)
        fake.table = Table()
        assert list(await agent.query(SQL, dataset="crm")) == ROWS


@in_loop
async def test_a_query_is_asked_once_and_no_sooner() -> None:
    """Making one asks nothing; a second use is an error, not a second reading."""
    async with sidecar() as fake, connect(fake) as agent:
        query = agent.query(SQL, dataset="crm")
        with pytest.raises(remit.IllegalState, match="before the query was asked"):
            _ = query.answer
        with pytest.raises(remit.IllegalState, match="at its end"):
            _ = query.truncated
        assert fake.calls == []
        await query
        with pytest.raises(remit.IllegalState, match="once"):
            await query.begin()
        with pytest.raises(remit.IllegalState, match="once"):
            await query
        await query.close()

    assert fake.calls == ["Query"]


def start(**changed: Any) -> s.QueryResponse:
    ok: Any = {"id": "d1", "effect": 1, "reasons": [{"policy": "p", "code": "allowed"}]}
    return s.QueryResponse(start=s.QueryStart(**{"decision": ok, **changed}))


BROKEN: dict[str, Callable[[SidecarFake], object]] = {
    "no decision": lambda fake: fake.say("Query", s.QueryResponse(start=s.QueryStart())),
    "rows first": lambda fake: fake.say("Query", s.QueryResponse(rows=s.QueryRows())),
    "nothing at all": lambda fake: fake.say("Query", s.QueryResponse()),
    "a start and nothing else": lambda fake: fake.say("Query", start()),
    "no end": lambda fake: setattr(fake.table, "whole", False),
    "a row that is too short": lambda fake: setattr(fake.table, "rows", ((s.Value(),),)),
    "a day that is none": lambda fake: setattr(fake.table, "rows", ((s.Value(date="x"), s.Value()),)),
    "a number that is none": lambda fake: setattr(fake.table, "rows", ((s.Value(decimal="x"), s.Value()),)),
    "a kind of a later version": lambda fake: setattr(
        fake.table, "rows", ((s.Value.FromString(b"\x9a\x06\x01x"), s.Value()),)
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_that_is_not_whole_is_none(case: str) -> None:
    """Unavailable; never fewer rows than there are, without a word."""

    @in_loop
    async def run() -> None:
        async with sidecar() as fake, connect(fake) as agent:
            BROKEN[case](fake)
            with pytest.raises(remit.Unavailable):
                await agent.query(SQL, dataset="crm")

    run()


@in_loop
async def test_an_answer_in_one_message_is_read_in_its_order() -> None:
    """Decision, rows, end: as if each had come by itself."""
    async with sidecar() as fake, connect(fake) as agent:
        whole = start(columns=[s.ResultColumn(name="id", type="int8")], labels=["pii"])
        whole.rows.rows.add().values.add(integer=7)
        whole.end.rows = 1
        fake.say("Query", whole)

        rows = await agent.query(SQL, dataset="crm")

        assert list(rows) == [{"id": 7}]
        assert (rows.labels, rows.truncated) == (("pii",), False)


@in_loop
async def test_two_columns_of_one_name_are_refused() -> None:
    """In a dict the second would hide the first."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.columns = (("id", "int8"), ("id", "text"))
        with pytest.raises(remit.InvalidRequest, match="more than one 'id'"):
            await agent.query(SQL, dataset="crm")


@in_loop
async def test_a_lost_connection_is_repeated_only_where_nothing_came() -> None:
    """Before the decision arrives a query is asked again, within its retries; after it, it is broken."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.drop("Query")
        assert list(await agent.query(SQL, dataset="crm")) == ROWS
        fake.drop("Query", times=2)
        with pytest.raises(remit.Unavailable):
            await agent.query(SQL, dataset="crm")
        fake.calls.clear()
        fake.table.flow.clear()
        fake.table.batches = 2
        with pytest.raises(remit.Unavailable):
            async for _ in agent.query(SQL, dataset="crm"):
                await fake.kill()

    assert fake.calls == ["Query"]


@in_loop
async def test_other_errors_are_as_elsewhere() -> None:
    """What gRPC says becomes the error that it is for any call, and a query has time of its own."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Query", grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        with pytest.raises(remit.Unavailable, match="busy"):
            await agent.query(SQL, dataset="crm")
        assert fake.seconds[-1] > 200
        fake.hang("Query")
        with pytest.raises(remit.Unavailable):
            await agent.query(SQL, dataset="crm", timeout=0.1)
    stranger = remit.Agent.connect("unix:/nowhere", "token")
    with pytest.raises(remit.IllegalState, match="not connected"):
        await stranger.query(SQL, dataset="crm")


@in_loop
async def test_a_write_is_done_once() -> None:
    """What it did and returned; a lost answer is asked for again under the same key."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.drop("Execute")
        done = await agent.execute("set_region", dataset="crm", parameters={"id": 1})
        again = await agent.execute("set_region", dataset="crm", parameters={"id": 1}, key=fake.writes[0].key)

    assert len(fake.writes) == 1
    assert (done.affected, list(done.rows), done.rows.labels) == (2, ROWS, ("pii",))
    assert done.replayed
    assert again.decision.id == done.decision.id


@in_loop
async def test_a_write_that_the_database_did_not_do_is_an_error() -> None:
    """DataFailed: nothing was changed."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.table.failure = s.DATA_FAILURE_CONFLICT
        with pytest.raises(remit.DataFailed) as failed:
            await agent.execute("set_region", dataset="crm")

    assert (failed.value.failure, failed.value.retryable) == ("conflict", False)
    assert str(pickle.loads(pickle.dumps(failed.value))) == "the database said no (decision d1)"


def test_scripts_and_threads_read_and_write_too() -> None:
    """Iterated while rows arrive, fetched, left early, entered; and writes."""
    with (
        sidecar_in_thread() as fake,
        remit.blocking.Agent.connect(fake.address, "token-support") as agent,
        remit.workflow(purpose="support"),
    ):
        fake.table.batches = 3
        query = agent.query(SQL, dataset="crm")
        assert list(query) == ROWS * 3
        assert (query.truncated, query.decision.id) == (False, "d1")
        assert agent.query(SQL, dataset="crm").fetch()[5] == ROWS[1]
        assert agent.execute("set_region", dataset="crm").affected == 2
        fake.table.batches = 10**6
        for _ in agent.query(SQL, dataset="crm"):
            break
        with agent.query(SQL, dataset="crm") as entered:
            assert entered.answer.labels == ("pii",)
        fake.deny("dataset:crm")
        with pytest.raises(remit.Denied):
            list(agent.query(SQL, dataset="crm"))

    assert {each.context.purpose for each in fake.queries} == {"support"}
    assert fake.table.left == 2


HERE = timezone(timedelta(hours=5, minutes=30))
KINDS: dict[str, tuple[list[Any], str]] = {
    "int8": ([1, None, -(2**62)], "int64"),
    "numeric": ([Decimal("1.10"), None, Decimal("12345678901234567890.5")], "decimal128(22, 2)"),
    "large": ([1, None, Decimal(2**64)], "decimal128(20, 0)"),
    "float8": ([0.1, None, 2.0], "double"),
    "bool": ([True, None, False], "bool"),
    "text": (["é", None, ""], "string"),
    "bytea": ([b"\0\xff", None, b""], "binary"),
    "date": ([date(2026, 1, 2), None, date(1, 1, 1)], "date32[day]"),
    "time": ([time(1, 2, 3, 4), None, time()], "time64[us]"),
    "timestamp": ([datetime(2026, 1, 2, 3, 4, 5, 6), None, datetime(1970, 1, 1)], "timestamp[us]"),
    "timestamptz": (
        [datetime(2026, 1, 2, tzinfo=HERE), None, datetime(2026, 1, 2, tzinfo=UTC)],
        "timestamp[us, tz=UTC]",
    ),
    "interval": ([timedelta(1, 2, 3), None, timedelta(0)], "duration[us]"),
}


def held() -> remit.Rows:
    """Rows with every kind of value, NULL in each."""
    answer = Answer(DECISION, tuple(remit.Column(name, name) for name in KINDS), (), ())
    return remit.Rows(answer, False, list(zip(*(values for values, _ in KINDS.values()), strict=True)))


def test_arrow_keeps_types_values_and_null() -> None:
    """Each column has Arrow's own type; what comes back out is what went in."""
    table = held().arrow()

    assert {name: str(table.schema.field(name).type) for name in KINDS} == {
        name: type for name, (_, type) in KINDS.items()
    }
    for name, (values, _) in KINDS.items():
        assert table.column(name).to_pylist() == values


def test_pandas_keeps_types_values_and_null() -> None:
    """NULL is NA and no NaN, whole numbers stay whole, decimals exact."""
    frame = held().pandas()

    assert list(frame.columns) == list(KINDS)
    assert frame["int8"].tolist()[2] == -(2**62)
    assert frame["numeric"][2] == Decimal("12345678901234567890.50")
    assert frame["bytea"][0] == b"\0\xff"
    assert frame["date"][0] == date(2026, 1, 2)
    assert all(frame[name].isna().tolist() == [False, True, False] for name in KINDS)


def test_columns_without_a_value_have_the_type_that_the_database_names() -> None:
    """An empty answer has the same schema as a full one, as far as the database's word tells."""
    full = held()
    types = [str(each) for each in remit.Rows(full.answer).arrow().schema.types]

    want = [type for _, type in KINDS.values()]
    assert [have for have, expected in zip(types, want, strict=True) if have != expected] == ["null", "null"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, "x"], "int and str"),
        ([True, 1], "bool and int"),
        ([datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)], "with and without a zone"),
        ([Decimal("NaN")], "no Arrow type"),
        ([2**63], "no Arrow type"),
    ],
)
def test_what_arrow_cannot_hold_is_told_and_not_bent(values: list[Any], told: str) -> None:
    """TypeError names the column."""
    rows = remit.Rows(Answer(DECISION, (remit.Column("c", ""),), (), ()), False, [(value,) for value in values])

    with pytest.raises(TypeError, match=f"'c' .*{told}"):
        rows.arrow()


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImportError says what to install."""
    rows = held()
    table = rows.arrow()

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(frames, "import_module", missing)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        rows.arrow()
    with pytest.raises(ImportError, match="pip install pandas pyarrow"):
        frames.data_frame(table)
