"""A desk over an installation that is large: no page, and no answer of gRPC, reads more because the journal has grown.

A few thousand records in every run; a million in a soak, which holds the product's own bounds too: 50 ms for an
answer, 200 ms for a page.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from aiohttp import ClientSession, CookieJar
from counts import PROFILE
from fakes.desk_grown import multiply
from fakes.loop import in_loop
from fakes.members_stage import Asks, Stage, bearer, durable_installation
from fakes.store_postgres import DESK, Installation
from remit.app.desk import Desk
from remit.app.sidecar import App
from remit.v1 import audit_pb2, audit_pb2_grpc, oversight_pb2, oversight_pb2_grpc, sidecar_pb2

pytestmark = [pytest.mark.opa, pytest.mark.timeout(900 if PROFILE == "soak" else 60)]
STEPS = 20
BUDGETS_PAGE = 500
COPIES, ROWS = (50_000, 1_000) if PROFILE == "soak" else (250, 300)
TURNS = 15
RECORDS_READ = 800
"""What all pages together read of the journal: the overview 200, most others about fifty. It has thousands at least."""

ANSWER_SECONDS, PAGE_SECONDS = 0.05, 0.2
PAGE_BYTES = 200_000
COPY = f"{COPIES // 2:06x}"
_READ = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_user_tables
WHERE schemaname = 'remit' AND relname LIKE 'journal\\_2%'
"""
Look = Callable[[], Awaitable[None]]


@in_loop
async def test_no_page_of_a_desk_grows_with_the_journal(tmp_path: Path) -> None:
    """What all of them read stays; and is told from what they read where an index is missing."""
    with durable_installation() as installation:
        stage = Stage(tmp_path, installation)
        workflow, decision = await _worked(stage)
        records = multiply(installation, workflow, copies=COPIES, budget="total", rows=ROWS)
        assert records > 6 * RECORDS_READ
        if PROFILE == "soak":
            async with _looking(stage, workflow + COPY, decision + COPY) as looks:
                assert await _slow(looks) == {}

        # A few thousand rows are soon read through: what is compared is whether there is another way.
        installation.run(f"ALTER DATABASE {installation.name} SET enable_seqscan = off")
        async with _looking(stage, workflow + COPY, decision + COPY) as looks:
            whole = await _read(installation, looks)
            installation.run("DROP INDEX remit.journal_workflow")
            lacking = await _read(installation, looks)
        assert whole <= RECORDS_READ < lacking


async def _worked(stage: Stage) -> tuple[str, str]:
    """One workflow with its decisions, as a sidecar makes them; its id, and that of one of them."""
    async with (
        stage.running(App, "one"),
        grpc.aio.insecure_channel(f"unix:{stage.place / 'one.sock'}") as channel,
    ):
        sidecar = Asks(channel)
        request = sidecar_pb2.OpenWorkflowRequest(purposes=["work"], agents=["analysis"])
        opened = await sidecar.stub.OpenWorkflow(request, metadata=bearer("analysis"))
        made = [await sidecar.model(workflow=opened.context) for _ in range(STEPS)]
    return opened.workflow, made[-1].id


async def _read(installation: Installation, looks: Mapping[str, Look]) -> int:
    """How many of the journal's records are read for every page and answer once."""
    installation.cut()
    installation.run("SELECT pg_stat_reset()")
    for look in looks.values():
        await look()
    installation.cut()  # who leaves tells what it has read
    return int(installation.rows(_READ)[0][0])


async def _slow(looks: Mapping[str, Look]) -> Mapping[str, list[float]]:
    """What takes longer than it may, in the middle; its times in order."""
    slow = {}
    for name, look in looks.items():
        took = sorted([await _timed(look) for _ in range(TURNS)])
        if took[TURNS // 2] > (PAGE_SECONDS if name[0] == "/" else ANSWER_SECONDS):
            slow[name] = took
    return slow


async def _timed(look: Look) -> float:
    """Seconds."""
    began = time.perf_counter()
    await look()
    return time.perf_counter() - began


@asynccontextmanager
async def _looking(stage: Stage, workflow: str, decision: str) -> AsyncIterator[Mapping[str, Look]]:
    """A desk that serves, and every way to look at it: for ana by gRPC, for bo in a browser."""
    async with stage.running(Desk, "desk", DESK) as desk:
        rpc, web = desk.addresses[0], desk.addresses[1]
        place = stage.place
        files = [(place / name).read_bytes() for name in ("ca.crt", "ana.key", "ana.crt")]
        trusted = ssl.create_default_context(cafile=place / "ca.crt")
        async with (
            grpc.aio.secure_channel(rpc, grpc.ssl_channel_credentials(*files)) as channel,
            ClientSession(web, cookie_jar=CookieJar(unsafe=True)) as browser,
        ):
            asked = await browser.get("/sign-in", ssl=trusted)
            (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', await asked.text())
            form = {"csrf": csrf, "next": "/", "token": "token-of-bo"}
            await browser.post("/sign-in", data=form, headers={"Origin": web}, ssl=trusted)

            def page(path: str, shown: str) -> Look:
                async def look() -> None:
                    answer = await browser.get(path, ssl=trusted, allow_redirects=False)
                    text = await answer.text()
                    assert (answer.status, shown in text) == (200, True), (path, answer.status)
                    assert len(text) < PAGE_BYTES

                return look

            async def trace() -> None:
                request = audit_pb2.TraceRequest(workflow=workflow, limit=100)
                answer = await audit_pb2_grpc.AuditStub(channel).Trace(request)  # type: ignore[no-untyped-call]
                assert len(answer.records) == STEPS

            async def budgets() -> None:
                oversight = oversight_pb2_grpc.OversightStub(channel)  # type: ignore[no-untyped-call]
                answer = await oversight.ListBudgets(oversight_pb2.ListBudgetsRequest())
                assert len(answer.budgets) > min(ROWS, BUDGETS_PAGE - 1)

            yield {
                "trace": trace,
                "budgets": budgets,
                "/": page("/", f"None of {ROWS + 2} has 80 %"),
                "/budgets": page("/budgets", f"page 1 of {ROWS // 100 + 1}"),
                "/budget": page("/budget?id=total", "total"),
                "/workflows": page("/workflows", "Older"),
                "/workflow": page(f"/workflows/{workflow}", workflow),
                "/decisions": page("/decisions", "Older"),
                "/decision": page(f"/decisions/{decision}", decision),
                "/approvals": page("/approvals", "50 or more wait"),
                "/open-ends": page("/open-ends", "There are more"),
                "/halts": page("/halts", "Nothing is halted."),
            }
