"""Queries through views: what governing one adds to the same query through the bare driver, and what a long one holds.

The database has a million customers. The short query is a point look-up by key; the long one reads every row.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psycopg
import requests
import uvloop
from fakes.postgres_server import PostgresDatabase, fresh_database, postgres_server
from remit.v1 import resources_pb2, sidecar_pb2, sidecar_pb2_grpc

from bench.load import Figures, median, run_async
from bench.places import TOKEN, Sidecar, sidecar
from bench.processes import resident_mb
from bench.rows import Row

HERE = Path(__file__).parent / "views"
METADATA = (("authorization", f"Bearer {TOKEN}"),)
CUSTOMERS = 1_000_000
SETTINGS = {"fsync": "on", "shared_buffers": "512MB", "max_connections": "40"}
SQL = "SELECT id, name, email, score FROM customers WHERE id = {}"
CONTEXT = resources_pb2.Context(purpose="measure", reason="bench")
DECISION = sidecar_pb2.AuthorizeRequest(
    action="api.call",
    resource=resources_pb2.Resource(type="service", id="model", operation="chat", variant="small"),
    context=CONTEXT,
    usage=[
        resources_pb2.Usage(unit="input_token", quantity=900),
        resources_pb2.Usage(unit="output_token", quantity=300),
    ],
)
STAGES = ("identify", "facts", "view", "pdp", "store", "total")


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Start a database and a sidecar, measure in turns, and compare."""
    server = stack.enter_context(postgres_server(SETTINGS))
    database = stack.enter_context(fresh_database(server))
    _fill(database)
    directory.mkdir(parents=True, exist_ok=True)
    policy = directory / "policy"
    policy.mkdir()
    (policy / "crm.rego").write_text((HERE / "crm.rego").read_text(encoding="utf-8"), encoding="utf-8")
    values = {"DATABASE_URL": database.reader, "POLICIES": str(policy)}
    environment = {"BENCH_PASSWORD": database.reader_password}
    remit = stack.enter_context(
        sidecar(directory / "remit", template=HERE / "remit.yaml", values=values, environment=environment)
    )
    figures, stages = _in_turns(remit, database, rounds=rounds, calls=calls)
    return [*_rows(figures, stages), _streamed(remit)]


def _fill(database: PostgresDatabase) -> None:
    database.run(
        f"""
        CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL, name text NOT NULL, email text NOT NULL,
                                joined date NOT NULL, score numeric(8, 2) NOT NULL);
        INSERT INTO customers
            SELECT n, CASE n % 4 WHEN 0 THEN 'us' ELSE 'eu' END, 'Customer ' || n, 'c' || n || '@example.com',
                   date '2020-01-01' + n % 2000, (n % 10000) / 7.0
            FROM generate_series(1, {CUSTOMERS}) AS n;
        ANALYZE customers;
        """
    )


def _in_turns(
    remit: Sidecar, database: PostgresDatabase, *, rounds: int, calls: int
) -> tuple[dict[str, Figures], Mapping[str, float]]:
    subjects: dict[str, Callable[[], Figures]] = {
        "decision": lambda: _with_stub(remit, calls, _decide),
        "query": lambda: _with_stub(remit, calls, _query),
        "driver": lambda: uvloop.run(_driver(database, calls)),
    }
    taken: dict[str, list[Figures]] = {}
    stages: dict[str, list[float]] = {}
    for _ in range(rounds):
        order = list(subjects)
        random.shuffle(order)
        for name in order:
            before = _stages(remit)
            taken.setdefault(name, []).append(subjects[name]())
            if name == "query":
                for stage, each in _between(before, _stages(remit)).items():
                    stages.setdefault(stage, []).append(each)
    return {name: median(each) for name, each in taken.items()}, {
        stage: statistics.median(each) for stage, each in stages.items()
    }


def _with_stub(remit: Sidecar, calls: int, ask: Callable[[Any], Any]) -> Figures:
    async def work() -> Figures:
        async with grpc.aio.insecure_channel(remit.address) as channel:
            client = sidecar_pb2_grpc.SidecarStub(channel)
            await run_async(1, 50, lambda: ask(client))
            return await run_async(1, calls, lambda: ask(client))

    return uvloop.run(work())


async def _decide(client: sidecar_pb2_grpc.SidecarStub) -> None:
    answer = await client.Authorize(DECISION, metadata=METADATA)
    assert answer.decision.effect == resources_pb2.EFFECT_ALLOW, answer


async def _query(client: sidecar_pb2_grpc.SidecarStub) -> None:
    request = sidecar_pb2.QueryRequest(
        dataset="crm",
        statement=SQL.format(":id"),
        parameters={"id": sidecar_pb2.Value(integer=_someone())},
        context=CONTEXT,
    )
    rows = 0
    async for part in client.Query(request, metadata=METADATA):
        if part.HasField("rows"):
            rows += len(part.rows.rows)
        assert not part.HasField("end") or not part.end.failure, part
    assert rows == 1, "the look-up found nobody"


async def _driver(database: PostgresDatabase, calls: int) -> Figures:
    url = f"{database.reader}&password={database.reader_password}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=1) as connection:

        async def ask() -> None:
            found = await (await connection.execute(SQL.format("%s"), (_someone(),))).fetchall()
            assert len(found) == 1

        await run_async(1, 50, ask)
        return await run_async(1, calls, ask)


def _someone() -> int:
    """A customer of the region that the view shows."""
    return random.randrange(1, CUSTOMERS // 4) * 4 + 1


def _stages(remit: Sidecar) -> dict[str, tuple[float, float]]:
    """Stage -> (seconds, decisions) so far."""
    text = requests.get(f"http://{remit.http}/metrics", timeout=5).text
    pattern = r'remit_decision_duration_seconds_{}{{stage="(\w+)"}} (\S+)'
    sums = dict(re.findall(pattern.format("sum"), text))
    counts = dict(re.findall(pattern.format("count"), text))
    return {stage: (float(sums[stage]), float(counts[stage])) for stage in STAGES if stage in sums}


def _between(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The mean of each stage in between, in ms."""
    means: dict[str, float] = {}
    for stage, (seconds, number) in after.items():
        passed, counted = before.get(stage, (0.0, 0.0))
        if number > counted:
            means[stage] = (seconds - passed) / (number - counted) * 1000
    return means


def _streamed(remit: Sidecar) -> Row:
    """What reading every row adds to the sidecar's memory at the most."""

    async def work() -> tuple[int, float, float]:
        before = peak = resident_mb(remit.pid)["remit"]
        async with grpc.aio.insecure_channel(remit.address) as channel:
            client = sidecar_pb2_grpc.SidecarStub(channel)
            request = sidecar_pb2.QueryRequest(dataset="crm", statement="SELECT * FROM customers", context=CONTEXT)
            rows, looked, started = 0, 0.0, time.monotonic()
            async for part in client.Query(request, metadata=METADATA, timeout=600):
                rows += len(part.rows.rows)
                assert not part.end.failure, part
                if time.monotonic() - looked > 0.2:
                    looked = time.monotonic()
                    peak = max(peak, await asyncio.to_thread(lambda: resident_mb(remit.pid)["remit"]))
            return rows, peak - before, rows / (time.monotonic() - started)

    rows, grown, rate = uvloop.run(work())
    return Row("view_stream_mb", grown, "MB", note=f"{rows} rows streamed, {rate:.0f} rows/s; the aim is 64 MiB")


def _rows(figures: dict[str, Figures], stages: Mapping[str, float]) -> list[Row]:
    query, driver, decision = figures["query"].p50, figures["driver"].p50, figures["decision"].p50
    allowed = decision + 1
    told = ", ".join(f"{stage} {stages[stage]:.2f}" for stage in STAGES if stage in stages)
    return [
        Row("view_added_p50", query - driver, "ms", "decision_p50_plus_1ms", (query - driver) / allowed, told),
        Row("view_query_p50", query, "ms", note=f"p99 {figures['query'].p99:.2f} ms"),
        Row("view_driver_p50", driver, "ms", note="the same query through psycopg, prepared"),
        Row("view_decision_p50", decision, "ms", note="one governed decision of the same run"),
    ]
