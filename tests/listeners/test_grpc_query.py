"""Query and Execute over a real connection: exact values, answers in parts, callers that are slow, leave or lie."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import grpc
import pytest
import remit
from counts import COUNTS
from fakes.loop import in_loop, until
from fakes.pep_fake import FakeTable
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listeners.raw_http2 import SETTINGS, connect, frame, message, request
from listeners.serving import SUPPORT, Caller, Served, details, fields, reason, serving
from remit.core.errors import BadRequest, StoreUnavailable
from remit.core.query import FAILURE_TEXTS
from remit.listeners import grpc_read as read
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_query import ONE_MESSAGE_BYTES
from remit.listeners.grpc_stream import Flow
from remit.listeners.grpc_values import query_rows
from remit.v1 import resources_pb2
from remit.v1 import sidecar_pb2 as pb

WIDE = FakeTable(columns=(("t", "text"),), rows=[("x" * 50_000,)], batches=10_000)
"""Half a gigabyte: more than any buffer between here and there."""


def wide(**changed: Any) -> FakeTable:
    return FakeTable(columns=WIDE.columns, rows=WIDE.rows, **{"batches": WIDE.batches, **changed})


def ask(caller: Caller, **changed: Any) -> Any:
    """A query under way."""
    asked = {"dataset": "crm", "statement": "SELECT id, name FROM customers", **changed}
    return caller.sidecar.Query(pb.QueryRequest(**asked), metadata=caller.metadata)


def kind(part: pb.QueryResponse) -> str:
    """Which part of an answer a message has."""
    return "+".join(field.name for field, _ in part.ListFields())


async def all_parts(call: Any) -> list[pb.QueryResponse]:
    parts = []
    while (part := await call.read()) is not grpc.aio.EOF:
        parts.append(part)
    return parts


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await all_parts(call)
    return caught.value


@in_loop
async def test_an_answer_is_the_decision_then_rows_then_the_end() -> None:
    """Each once and in this order, with labels, masks and types."""
    async with serving() as served, served.caller() as caller:
        start, rows, end = await all_parts(ask(caller, rows=7, parameters={"x": pb.Value(text="y")}))

        assert start.start.decision.effect == resources_pb2.EFFECT_ALLOW
        assert [(each.name, each.type) for each in start.start.columns] == [("id", "integer"), ("name", "text")]
        assert list(start.start.labels) == ["pii"]
        assert start.start.masked[0] == pb.MaskedColumn(table="customers", column="email", mask="partial")
        ana, nobody = rows.rows.rows
        assert list(ana.values) == [pb.Value(integer=1), pb.Value(text="ana")]
        assert list(nobody.values) == [pb.Value(integer=2), pb.Value()]
        assert (end.end.rows, end.end.bytes, end.end.truncated, end.end.failure) == (2, 16, False, 0)
        subject, call = served.pipeline.queries[0]
        assert (subject.id, call.dataset, call.rows, call.parameters) == ("support", "crm", 7, {"x": "y"})


@in_loop
async def test_a_short_answer_that_is_all_there_is_one_message() -> None:
    """Decision, rows and end together; one without rows, too; a larger one comes in its parts."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.table = FakeTable(whole=True)
        (message,) = await all_parts(ask(caller))
        served.pipeline.table = FakeTable(whole=True, batches=0)
        (bare,) = await all_parts(ask(caller))
        served.pipeline.table = FakeTable(whole=True, rows=[(1, "x" * ONE_MESSAGE_BYTES)])
        parts = await all_parts(ask(caller))

    assert kind(message) == "start+rows+end"
    assert [row.values[0].integer for row in message.rows.rows] == [1, 2]
    assert (message.start.decision.effect, message.end.rows) == (resources_pb2.EFFECT_ALLOW, 2)
    assert kind(bare) == "start+end"
    assert [kind(part) for part in parts] == ["start", "rows", "end"]


@in_loop
async def test_a_refused_query_has_its_decision_alone() -> None:
    """No columns, no rows, no end: and it is no error."""
    async with serving() as served, served.caller() as caller:
        (start,) = await all_parts(ask(caller, dataset="hr"))

        assert start.start.decision.effect == resources_pb2.EFFECT_DENY
        assert (list(start.start.columns), list(start.start.labels)) == ([], [])
        assert served.pipeline.table.closed == 0


@pytest.mark.parametrize("failure", sorted(FAILURE_TEXTS))
def test_each_failure_is_one_fixed_text(failure: str) -> None:
    """In the end of an answer that had rows before, and in a write's answer."""

    @in_loop
    async def run() -> None:
        async with serving() as served, served.caller() as caller:
            served.pipeline.table = FakeTable(batches=3, failure=failure, fails_after=1)
            *_, end = await all_parts(ask(caller))
            written = await execute(caller)

            for told in (end.end, written):
                assert pb.DataFailure.Name(told.failure) == f"DATA_FAILURE_{failure.upper()}"
                assert told.message == FAILURE_TEXTS[failure]
            assert end.end.rows == 2
            assert written.affected == 0

    run()


async def execute(caller: Caller, **changed: Any) -> pb.ExecuteResponse:
    asked = {"dataset": "crm", "statement": "set_region", **changed}
    response: pb.ExecuteResponse = await caller.sidecar.Execute(pb.ExecuteRequest(**asked), metadata=caller.metadata)
    return response


@in_loop
async def test_a_write_tells_what_it_did_and_does_it_once_for_a_key() -> None:
    """Rows as a query's; the second time it is marked; order of parameters is no part of the request's digest."""
    async with serving() as served, served.caller() as caller:
        pairs = {f"p{number}": pb.Value(integer=number) for number in range(9)}
        first = await execute(caller, key="k", parameters=pairs)
        again = await execute(caller, key="k", parameters=dict(reversed(pairs.items())))
        other = await execute(caller, parameters=pairs)

        assert (first.affected, len(first.rows), list(first.labels), first.replayed) == (3, 2, ["pii"], False)
        assert again.replayed
        assert again.decision.id == first.decision.id
        assert not other.replayed
        one, two, three = (call for _, call in served.pipeline.writes)
        assert one.digest == two.digest != ""
        assert three.digest == ""
        assert (await execute(caller, dataset="hr")).decision.effect == resources_pb2.EFFECT_DENY


ZONES = st.one_of(st.none(), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone), st.just(UTC))
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal("1.10"), Decimal("-0")]),
    st.text(),
    st.binary(),
    st.dates(),
    st.times(timezones=ZONES),
    st.datetimes(timezones=ZONES),
    st.timedeltas(),
    st.sampled_from([timedelta.min, timedelta.max, date.min, date.max, datetime.max, time.max]),
)


def told(cell: Any) -> tuple[str, str]:
    """A cell as text that keeps what counts: its type, sign, digits and zone."""
    if type(cell) is int and not -(2**63) <= cell < 2**63:
        cell = Decimal(cell)  # as it travels
    if isinstance(cell, float):
        return "float", struct.pack("<d", cell).hex() if cell == cell else "NaN"
    if isinstance(cell, datetime | date | time):
        return type(cell).__name__, cell.isoformat()
    return type(cell).__name__, repr(cell)


def test_any_value_comes_through_as_it_is_both_ways() -> None:
    """From an agent's parameter to the pipeline, and from there in a row to the agent: same type, same value."""
    with asyncio.Runner() as runner:
        stack = serving()
        served = runner.run(stack.__aenter__())
        agent = remit.Agent.connect(served.targets[0], SUPPORT)
        runner.run(agent.open())

        @settings(max_examples=COUNTS.examples, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(CELLS, min_size=1, max_size=40))
        def each(cells: list[Any]) -> None:
            names = [f"c{number}" for number in range(len(cells))]
            served.pipeline.table = FakeTable(tuple((name, "any") for name in names), [tuple(cells)])

            async def there_and_back() -> remit.Rows:
                given = dict(zip(names, cells, strict=True))
                return await agent.query("SELECT 1", dataset="crm", parameters=given)

            rows = runner.run(there_and_back())

            want = [told(cell) for cell in cells]
            assert [told(cell) for cell in served.pipeline.queries[-1][1].parameters.values()] == [
                told(cells[int(name[1:])]) for name in sorted(names)
            ]
            assert [told(rows[0][name]) for name in names] == want

        try:
            each()
        finally:
            runner.run(agent.close())
            runner.run(stack.__aexit__(None, None, None))


class Shouting(str):
    """A subclass of what a row may hold."""


def test_subclasses_are_what_they_are_one_of_and_others_are_nothing() -> None:
    """A cell of another type ends the answer, rather than being shown as something."""
    (message,) = query_rows([(Shouting("x"), True)])
    assert message.rows[0].values[0].text == "x"
    assert message.rows[0].values[1].boolean
    with pytest.raises(TypeError, match="complex is no value"):
        list(query_rows([(1j,)]))  # type: ignore[list-item]


BAD: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"dataset": "", "statement": ""}, ["statement", "dataset"]),
    "blank": ({"statement": " \n"}, ["statement"]),
    "64 KiB and a byte": ({"statement": "x" * 65_537}, ["statement"]),
    "64 KiB and a byte in UTF-8": ({"statement": "é" * 32_769}, ["statement"]),
    "a dataset with a newline": ({"dataset": "crm\n"}, ["dataset"]),
    "257 parameters": ({"parameters": {f"p{n}": pb.Value() for n in range(257)}}, ["parameters"]),
    "a name in capitals": ({"parameters": {"Region": pb.Value()}}, ["parameters"]),
    "a name with a quote": ({"parameters": {'a"; DROP': pb.Value()}}, ["parameters"]),
    "a name that begins with a digit": ({"parameters": {"1": pb.Value()}}, ["parameters"]),
    "an empty name": ({"parameters": {"": pb.Value()}}, ["parameters"]),
    "a name of 64": ({"parameters": {"p" * 64: pb.Value()}}, ["parameters"]),
    "a day that is none": ({"parameters": {"d": pb.Value(date="2026-02-30")}}, ['parameters["d"].date']),
    "a week": ({"parameters": {"d": pb.Value(date="2026-W01-1")}}, ['parameters["d"].date']),
    "a day in other digits": ({"parameters": {"d": pb.Value(date="２０２６-01-01")}}, ['parameters["d"].date']),
    "an hour that is none": ({"parameters": {"t": pb.Value(time="24:01")}}, ['parameters["t"].time']),
    "a zone of 25 h": (
        {"parameters": {"t": pb.Value(timestamp="2026-01-01T00:00:00+25:00")}},
        ['parameters["t"].timestamp'],
    ),
    "a moment without a day": ({"parameters": {"t": pb.Value(timestamp="00:00")}}, ['parameters["t"].timestamp']),
    "a word for a number": ({"parameters": {"n": pb.Value(decimal="many")}}, ['parameters["n"].decimal']),
    "an exponent of a million": ({"parameters": {"n": pb.Value(decimal="1e1000000")}}, ['parameters["n"].decimal']),
    "a signalling NaN": ({"parameters": {"n": pb.Value(decimal="sNaN")}}, ['parameters["n"].decimal']),
    "digits without end": ({"parameters": {"n": pb.Value(decimal="1" * 501)}}, ['parameters["n"].decimal']),
    "an underscore in a number": ({"parameters": {"n": pb.Value(decimal="1_0")}}, ['parameters["n"].decimal']),
    "a span beyond spans": ({"parameters": {"s": pb.Value(interval="99999999999999")}}, ['parameters["s"].interval']),
    "a span in words": ({"parameters": {"s": pb.Value(interval="1 day")}}, ['parameters["s"].interval']),
    "a kind of a later version": ({"parameters": {"v": pb.Value.FromString(b"\x9a\x06\x01x")}}, ['parameters["v"]']),
    "fewer than no rows": ({"rows": -1}, ["rows"]),
    "an agent with a space": ({"agent": "sup port"}, ["agent"]),
    "two faults": ({"rows": -1, "parameters": {"d": pb.Value(date="")}}, ['parameters["d"].date', "rows"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(case: str) -> None:
    """INVALID_ARGUMENT names each field, never what a hostile name says; it is recorded; the pipeline sees none."""

    @in_loop
    async def run() -> None:
        changed, wrong = BAD[case]
        async with serving() as served, served.caller() as caller:
            error = await refused(ask(caller, **changed))

            assert error.code() is StatusCode.INVALID_ARGUMENT
            assert fields(error) == wrong
            assert "DROP" not in str(error.details())
            assert served.pipeline.refusals == [("agent:support", "request", ", ".join(wrong))]
            assert served.pipeline.queries == []
            if not changed.keys() & {"rows", "statement"}:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await execute(caller, **changed)
                assert fields(caught.value) == wrong
            assert len(await all_parts(ask(caller))) == 3

    run()


NEAR = st.from_regex(r"-?[0-9:T.eE+Z_-]{1,40}", fullmatch=True)


@settings(max_examples=10 * COUNTS.examples)
@given(st.sampled_from(["decimal", "date", "time", "timestamp", "interval"]), st.one_of(st.text(), NEAR))
def test_no_text_of_a_value_breaks_its_reading(kind: str, text: str) -> None:
    """It is a value of that kind, or a violation that names it; nothing third."""
    asked = pb.QueryRequest(dataset="crm", statement="SELECT 1", parameters={"x": pb.Value(**{kind: text})})
    try:
        found = read.query(asked).parameters["x"]
    except BadRequest as error:
        assert [each.field for each in error.violations] == [f'parameters["x"].{kind}']
    else:
        assert type(found).__name__ == {"timestamp": "datetime", "interval": "timedelta", "decimal": "Decimal"}.get(
            kind, kind
        )


@in_loop
async def test_a_query_is_the_proved_agents() -> None:
    """Nobody, somebody unknown, and another agent than is believed: refused before anything is decided."""
    async with (
        serving() as served,
        served.caller("") as nobody,
        served.caller("guess") as guess,
        served.caller() as support,
    ):
        errors = [await refused(ask(each)) for each in (nobody, guess)]
        errors.append(await refused(ask(support, agent="writer")))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await execute(support, agent="writer")

        assert {each.code() for each in (*errors, caught.value)} == {StatusCode.UNAUTHENTICATED}
        assert served.pipeline.queries == served.pipeline.writes == []


@in_loop
async def test_no_message_is_larger_than_an_answer_may_be() -> None:
    """Batches are split, in order; a row that no message can hold ends the answer with a status that says so."""
    table = FakeTable((("n", "integer"), ("t", "text")), [(n, "x" * 900) for n in range(3000)])
    async with serving(limits=Limits(answer_bytes=300_000)) as served, served.caller() as caller:
        served.pipeline.table = table
        parts = await all_parts(ask(caller))
        numbers = [row.values[0].integer for part in parts for row in part.rows.rows]

        assert numbers == list(range(3000))
        assert max(part.ByteSize() for part in parts) <= 300_000
        assert len(parts) < 20, "messages are filled"
        served.pipeline.table = FakeTable(table.columns, [(1, "x"), (2, "x" * 400_000)])
        error = await refused(ask(caller))
        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
        assert reason(error) == "ANSWER_TOO_LARGE"
        assert served.pipeline.table.open == 0


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 500))
def test_splitting_keeps_every_row_and_the_bound(sizes: list[int], most: int) -> None:
    """Whatever the rows' sizes, all arrive in order, none is empty, and only a single row may pass the bound."""
    batch = [("x" * size,) for size in sizes]

    messages = list(query_rows(batch, most))

    assert [row.values[0].text for each in messages for row in each.rows] == [text for (text,) in batch]
    assert all(each.ByteSize() <= most or len(each.rows) == 1 for each in messages)
    assert all(each.rows for each in messages)


async def made_ahead(served: Served, caller: Caller) -> int:
    """How many batches are made for a caller that takes the first part and then nothing."""
    served.pipeline.table = table = wide()
    call = ask(caller)
    await call.read()
    made = -1
    while made != table.made:
        made = table.made
        await asyncio.sleep(0.2)
    call.cancel()
    await until(lambda: table.open == 0 and table.closed == 1, 60)
    return made


@in_loop
async def test_nothing_is_made_ahead_of_what_is_read() -> None:
    """Of half a gigabyte, only what fits between here and there is read from the database."""
    async with serving() as served, served.caller() as caller:
        assert 0 < await made_ahead(served, caller) < 400


@in_loop
async def test_the_check_sees_an_answer_that_is_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: parts are sent without waiting for room."""
    held = set()

    async def sent(flow: Flow, sending: Any) -> None:
        held.add(task := asyncio.ensure_future(_quiet(sending)))
        task.add_done_callback(held.discard)
        await asyncio.sleep(0)

    monkeypatch.setattr(Flow, "_sent", sent)
    monkeypatch.setattr(WIDE, "batches", 1500)
    async with serving() as served, served.caller() as caller:
        assert await made_ahead(served, caller) > 400


async def _quiet(work: Any) -> None:
    with suppress(Exception):
        await work


@in_loop
async def test_a_caller_that_leaves_ends_the_reading() -> None:
    """While the database is waited for, and while there is no room: it ends at once, and the place is free."""
    async with serving(limits=Limits(per_caller=1)) as served, served.caller() as caller:
        waiting, full = FakeTable(batches=3), wide()
        waiting.flow.clear()
        for table, ready in ((waiting, lambda: waiting.open == 1), (full, lambda: full.made > 5)):
            served.pipeline.table = table
            call = ask(caller)
            await call.read()
            await until(ready)
            call.cancel()
            await until(lambda table=table: (table.open, table.closed) == (0, 1))  # type: ignore[misc]
        served.pipeline.table = FakeTable()
        await until(lambda: served.listener.calls == 0)
        assert len(await all_parts(ask(caller))) == 3


@in_loop
async def test_a_caller_that_leaves_before_the_decision_is_decided_all_the_same() -> None:
    """The decision is recorded, nothing is read, and the place is held until then."""
    async with serving(limits=Limits(per_caller=1)) as served, served.caller() as caller:
        served.pipeline.gate.clear()
        call = ask(caller)
        reading = asyncio.ensure_future(_quiet(call.read()))
        await until(lambda: served.pipeline.waiting == 1)
        call.cancel()
        await asyncio.wait([reading])
        assert (await refused(ask(caller))).code() is StatusCode.RESOURCE_EXHAUSTED
        served.pipeline.gate.set()
        await until(lambda: len(served.pipeline.journal) == 1)
        assert served.pipeline.table.closed == 0
        assert len(await all_parts(ask(caller))) == 3


@in_loop
async def test_a_callers_own_deadline_ends_the_reading() -> None:
    """DEADLINE_EXCEEDED at the client, and the database is left."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.table.flow.clear()
        asked = pb.QueryRequest(dataset="crm", statement="SELECT 1")
        error = await refused(caller.sidecar.Query(asked, metadata=caller.metadata, timeout=0.3))

        assert error.code() is StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.pipeline.table.closed == 1)


@in_loop
async def test_a_caller_that_takes_nothing_is_ended() -> None:
    """Its reading ends at our deadline; it alone is short of a place until it takes its status, or leaves."""
    limits = Limits(write_seconds=0.2, per_caller=1)
    async with serving(limits=limits) as served, served.caller() as slow, served.caller("token-of-writer") as other:
        served.pipeline.table = table = wide()
        call = ask(slow)
        await call.read()
        await until(lambda: table.closed == 1)

        served.pipeline.table = FakeTable()
        async with served.caller() as again:
            assert (await refused(ask(again))).code() is StatusCode.RESOURCE_EXHAUSTED
        assert len(await all_parts(ask(other))) == 3
        error = await refused(call)
        assert error.code() is StatusCode.DEADLINE_EXCEEDED
        assert reason(error) == "TOO_SLOW"
        await until(lambda: served.listener.calls == 0)
        assert len(await all_parts(ask(slow))) == 3


@in_loop
async def test_an_answer_has_a_deadline_as_a_whole() -> None:
    """A reading without end, and a decision that does not come: TOO_SLOW; the decision is recorded when it is made."""
    async with serving(limits=Limits(stream_seconds=0.3)) as served, served.caller() as caller:
        served.pipeline.table.flow.clear()
        error = await refused(ask(caller))
        assert (error.code(), reason(error)) == (StatusCode.DEADLINE_EXCEEDED, "TOO_SLOW")
        await until(lambda: served.pipeline.table.closed == 1)
        served.pipeline.gate.clear()
        error = await refused(ask(caller))
        assert reason(error) == "TOO_SLOW"
        served.pipeline.gate.set()
        await until(lambda: len(served.pipeline.journal) == 2)


@pytest.mark.parametrize(("window", "read"), [(0, 0), (1000, 1)], ids=["nothing fits", "the decision fits"])
def test_a_window_that_stays_shut_holds_nothing_of_others(
    window: int, read: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A client whose HTTP/2 window stays small: nothing more is read for it, and its leaving frees the rest."""

    @in_loop
    async def run() -> None:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack("!HI", 4, window))
        asked = pb.QueryRequest(dataset="crm", statement="SELECT 1").SerializeToString()
        async with serving(limits=Limits(write_seconds=0.2)) as served, served.caller() as caller:
            served.pipeline.table = table = FakeTable((("t", "text"),), [("x" * 200_000,)], batches=50)
            async with connect(served.targets[0], preface=preface) as connection:
                await connection.ask(request(SUPPORT, path=b"/remit.v1.Sidecar/Query"), [message(asked)])
                await until(lambda: len(served.pipeline.journal) == 1 and table.closed == read)
                assert (table.open, table.made) == (0, read)
                served.pipeline.table = FakeTable()
                assert len(await all_parts(ask(caller))) == 3
                await until(lambda: served.listener.calls == 1)
            await until(lambda: served.listener.calls == 0)

    with caplog.at_level(logging.WARNING):
        run()
    assert [each.message for each in caplog.records] == []


BREAKS: list[tuple[Exception, StatusCode]] = [
    (StoreUnavailable("/secret: disk full"), StatusCode.UNAVAILABLE),
    (ValueError("secret-canary"), StatusCode.INTERNAL),
]


@pytest.mark.parametrize(("failure", "code"), BREAKS, ids=["ours", "unexpected"])
def test_a_break_in_the_middle_is_a_status(
    failure: Exception, code: StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    """After rows, what is wrong inside ends the answer without its end, and is told by its kind alone."""

    @in_loop
    async def run() -> None:
        async with serving() as served, served.caller() as caller:
            served.pipeline.table = FakeTable(batches=3, breaks=failure, fails_after=2)
            call = ask(caller)
            parts = [await call.read() for _ in range(3)]
            error = await refused(call)

            assert [kind(part) for part in parts] == ["start", "rows", "rows"]
            assert error.code() is code
            assert "secret" not in f"{error.details()} {details(error, pb.Value)}"
            served.pipeline.table = FakeTable()
            assert len(await all_parts(ask(caller))) == 3

    with caplog.at_level(logging.ERROR):
        run()
    assert caplog.records


@in_loop
async def test_answers_under_way_are_drained_when_the_server_stops() -> None:
    """A caller that reads gets all of it, end included, within the grace; no new query is taken."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.table = table = FakeTable(batches=3)
        table.flow.clear()
        call = ask(caller)
        await call.read()
        stopping = asyncio.ensure_future(served.listener.stop(grace=5))
        async with served.caller() as late:
            assert (await refused(ask(late))).code() is StatusCode.UNAVAILABLE
        table.flow.set()
        parts = await all_parts(call)

        assert [kind(part) for part in parts] == ["rows", "rows", "rows", "end"]
        await stopping


@in_loop
async def test_answers_that_are_not_read_are_ended_when_the_server_stops() -> None:
    """When the grace is over, so is the reading, before `stop` returns."""
    async with serving() as served, served.caller() as caller:
        served.pipeline.table = table = wide()
        call = ask(caller)
        await call.read()
        await until(lambda: table.made > 5)
        await served.listener.stop(grace=0.3)

        assert (table.open, table.closed) == (0, 1)
        assert served.listener.calls == 0


@asynccontextmanager
async def reading(caller: Caller) -> AsyncIterator[Any]:
    call = ask(caller)
    await call.read()
    try:
        yield call
    finally:
        call.cancel()


@in_loop
async def test_answers_take_their_callers_places() -> None:
    """A caller with as many answers as places is told to come later, and not served by other methods either."""
    async with serving(limits=Limits(per_caller=2)) as served, served.caller() as caller, served.caller() as same:
        served.pipeline.table.flow.clear()
        async with reading(caller), reading(caller):
            assert reason(await refused(ask(same))) == "OVERLOADED"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await same.authorize()
            assert reason(caught.value) == "OVERLOADED"
        await until(lambda: served.listener.calls == 0)
        assert (await same.authorize()).id
