"""AuthZEN on a port that also serves people's pages: for agents by their credential, for no page and no cookie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fakes.loop import in_loop, until
from fakes.pep_fake import FakePipeline
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.backends.ids_random import RandomIds
from remit.core.authzen import CONFIGURATION, EVALUATION, EVALUATIONS
from remit.listeners.authzen import MAX_BODY_BYTES, Authzen
from remit.listeners.console.app import Console
from remit.listeners.console.security import MAX_BODY_BYTES as MAX_FORM_BYTES
from remit.listeners.console.server import ConsoleListener

from .authzen_stage import Stage, boxcar, of, question
from .console_security.stage import Overviewed
from .serving import CATALOGUE, SUPPORT, Seen


@asynccontextmanager
async def paged(*, besides: bool = True) -> AsyncIterator[Stage]:
    """The console on loopback, with AuthZEN or without."""

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"", "text/plain"

    pipeline, seen = FakePipeline(), Seen()
    known = CatalogueIdentity(CATALOGUE, SystemClock())
    authzen = Authzen(pipeline, known, seen)
    console = Console(
        Overviewed(),  # type: ignore[arg-type]
        known,
        exposition=exposition,
        checks=dict,
        observer=seen,
        clock=SystemClock(),
        ids=RandomIds(SystemClock()),
        besides=authzen if besides else None,
    )
    listener = ConsoleListener(console.app)
    address = await listener.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            port = int(address.rpartition(":")[2])
            yield Stage(
                port,
                pipeline,
                seen,
                authzen,
                session,
                lambda: len(listener._server.server_state.connections) if listener._server else 0,
            )
    finally:
        await listener.stop(1)
        await authzen.finish(5)


@in_loop
async def test_agents_are_answered_beside_pages() -> None:
    """As at the plain listener: a decision, under the request's id, and with what keeps browsers out."""
    async with paged() as stage:
        reply = await stage.send(question(), headers={"X-Request-ID": "r1"})
        assert (reply.status, reply.body["decision"], reply.headers["x-request-id"]) == (200, True, "r1")
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert stage.pipeline.asked[0][0].id == "support"
        large = question(context={"arguments": {"letter": "x" * 2 * MAX_FORM_BYTES}})
        assert (await stage.send(large, EVALUATIONS)).status == 200
        told = await stage.send(b"", CONFIGURATION, method="GET", token="")
        assert told.body["access_evaluation_endpoint"] == f"http://127.0.0.1:{stage.port}{EVALUATION}"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (json.dumps(question()).encode(), {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (json.dumps(question()).encode(), {"Authorization": "Bearer nobody"}, 401),
        (b" " * (MAX_BODY_BYTES + 1), {}, 413),
        (json.dumps(question()).encode(), {"Host": "evil.example"}, 421),
    ],
)
def test_what_is_refused_there_is_refused_here(body: bytes, headers: dict[str, str], status: int) -> None:
    """And decides nothing."""

    @in_loop
    async def run() -> None:
        async with paged() as stage:
            assert (await stage.send(body, headers=headers)).status == status
            assert stage.pipeline.asked == []

    run()


@in_loop
async def test_what_nobody_waits_for_is_not_begun() -> None:
    """As at the plain listener."""
    async with paged() as stage:
        stage.pipeline.gate.clear()
        asking = asyncio.create_task(stage.send(boxcar(*[of("openai")] * 3), EVALUATIONS))
        await until(lambda: stage.pipeline.waiting == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: stage.connections() == 0)
        stage.pipeline.gate.set()
        await stage.authzen.finish(5)
        assert len(stage.pipeline.asked) == 1


@in_loop
async def test_a_cookie_is_no_credential() -> None:
    """Whoever is signed in as a person has to show an agent's token all the same."""
    async with paged() as stage:
        reply = await stage.send(question(), token="", headers={"Cookie": "remit=x", "Sec-Fetch-Site": "same-origin"})
        assert reply.status == 401
        assert stage.pipeline.asked == []


@in_loop
async def test_a_form_is_still_a_pages_own_alone() -> None:
    """What is let past at these paths is let past nowhere else."""
    async with paged() as stage:
        for path in ("/", "/access/v1/search/subject", f"{EVALUATION}/x", "/halts"):
            assert (await stage.send(question(), path)).status == 415
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert (await stage.send(b"a=b", path, headers=form)).status == 403


@in_loop
async def test_a_desk_answers_no_agent() -> None:
    """Where nothing is given to it, the paths are pages that are not there."""
    async with paged(besides=False) as stage:
        assert (await stage.send(question(), token=SUPPORT)).status == 415
        assert stage.pipeline.asked == []
