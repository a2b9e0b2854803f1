"""Agents and their supervisor through the SDK, on a whole sidecar: held, reviewed, offered otherwise, claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import remit
from remit.app.sidecar import App
from remit.config import load

pytestmark = pytest.mark.opa
TOKENS = {name: f"token-of-{name}" for name in ("worker", "other", "lead", "ana")}
HASH = {name: sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
CATALOGUE = f"""
currency: EUR
teams: {{cx: {{}}}}
people:
  ana: {{roles: [approver, operator], clearance: [], identity: {{token_hash: "sha256:{HASH["ana"]}"}}}}
agents:
  worker: {{team: cx, roles: [clerk], purposes: [refunds], supervisor: lead, review: [tool.call],
           identity: {{token_hash: "sha256:{HASH["worker"]}"}}}}
  other: {{team: cx, roles: [clerk], purposes: [refunds], identity: {{token_hash: "sha256:{HASH["other"]}"}}}}
  lead: {{team: cx, roles: [lead], purposes: [refunds], identity: {{token_hash: "sha256:{HASH["lead"]}"}}}}
services:
  bank: {{owner: cx, operations: [pay]}}
prices:
  - {{match: "bank/*", unit: call, amount: 0.01, currency: EUR}}
budgets:
  month: {{limit: 100, window: month}}
"""
Scene = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A sidecar in this process, and agents of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._app: App | None = None

    async def start(self) -> None:
        """Start it; again after `stop`, on the same state."""
        flags = {"state": self._directory / "state", "socket": self._directory / "s", "grpc": "off", "http": "off"}
        settings, catalogue = load([self._directory / "remit.yaml"], {}, {**flags, "watch": False})
        self._app = App(settings, catalogue, load=lambda: (settings, catalogue))
        await self._app.start()

    async def stop(self) -> None:
        """Stop it."""
        if self._app is not None:
            await self._app.stop()

    @asynccontextmanager
    async def agent(self, name: str) -> AsyncIterator[remit.Agent]:
        """An agent, connected."""
        async with remit.Agent.connect(f"unix:{self._directory / 's'}", TOKENS[name], timeout=20) as agent:
            yield agent


def played(directory: Path, scene: Scene) -> None:
    """Run a scene on a sidecar of its own."""
    (directory / "remit.yaml").write_text(CATALOGUE, encoding="utf-8")

    async def play() -> None:
        stage = Stage(directory)
        await stage.start()
        try:
            async with asyncio.timeout(90):
                await scene(stage)
        finally:
            await stage.stop()

    asyncio.run(play())


async def pay(agent: remit.Agent, euros: int, **more: object) -> remit.Decision:
    """What the worker's supervisor reviews."""
    asked = {"operation": "pay", "arguments": {"euros": euros}, "purpose": "refunds", "reason": "she asked", **more}
    return await agent.authorize("tool.call", "tool:bank", **asked)  # type: ignore[arg-type]


async def next_of(reviews: object) -> remit.Review:
    found: remit.Review = await asyncio.wait_for(anext(reviews), 20)  # type: ignore[call-overload]
    return found


def test_a_supervisor_lets_its_worker_go_on(tmp_path: Path) -> None:
    """The worker waits, the supervisor sees what it wants to do, and both learn what came of it."""

    async def scene(stage: Stage) -> None:
        async with stage.agent("worker") as worker, stage.agent("lead") as lead, aclosing(lead.reviews()) as reviews:
            waiting = asyncio.ensure_future(pay(worker, 40, wait=60))
            request = await next_of(reviews)
            assert (request.subject, request.action, request.resource) == ("worker", "tool.call", "tool:bank")
            assert (request.why.code, request.supervisor, request.reason) == ("review_required", "lead", "she asked")
            assert request.items[0].arguments == {"euros": 40}
            after = await request.approve("he asked before")
            assert (after.state, after.votes[0].by) == ("approved", "lead")
            assert (await waiting).permitted

            refused = asyncio.ensure_future(pay(worker, 4000, wait=60))
            await (await next_of(reviews)).deny("far too much")
            with pytest.raises(remit.Denied) as denied:
                await refused
            assert denied.value.codes == ("approval_denied",)

    played(tmp_path, scene)


def test_what_is_offered_instead_may_be_done_once(tmp_path: Path) -> None:
    """Sent as it was offered it is allowed; a second time, or otherwise, it is held again."""

    async def scene(stage: Stage) -> None:
        async with stage.agent("worker") as worker, stage.agent("lead") as lead, aclosing(lead.reviews()) as reviews:
            waiting = asyncio.ensure_future(pay(worker, 4000, wait=60))
            await (await next_of(reviews)).offer({"arguments": {"euros": 400}}, "a tenth of it")
            with pytest.raises(remit.Denied) as denied:
                await waiting
            offered = denied.value.alternative
            assert denied.value.codes == ("alternative_offered",)
            assert offered is not None
            assert offered.arguments == {"euros": 400}
            assert (await worker.authorize("tool.call", offered.resource, purpose="refunds", **offered.ask)).permitted
            with pytest.raises(remit.Held):
                await worker.authorize("tool.call", offered.resource, purpose="refunds", **offered.ask)
            with pytest.raises(remit.Held):
                await pay(worker, 401)

    played(tmp_path, scene)


def test_both_wait_through_a_restart(tmp_path: Path) -> None:
    """The worker under its key, the supervisor without hearing twice of what it knows."""

    async def scene(stage: Stage) -> None:
        async with stage.agent("worker") as worker, stage.agent("lead") as lead, aclosing(lead.reviews()) as reviews:
            waiting = asyncio.ensure_future(pay(worker, 40, wait=60))
            request = await next_of(reviews)
            following = asyncio.ensure_future(next_of(reviews))
            began = asyncio.get_running_loop().time()
            await stage.stop()
            assert asyncio.get_running_loop().time() - began < 8, "it does not spend its grace on who waits"
            await stage.start()
            while True:
                try:
                    assert (await request.approve("fine")).state == "approved"
                    break
                except remit.Unavailable:
                    await asyncio.sleep(0.05)
            assert (await waiting).permitted
            assert not following.done()
            following.cancel()
            await asyncio.wait({following})

    played(tmp_path, scene)


def test_a_claim_keeps_others_away(tmp_path: Path) -> None:
    """While it is held, and renewed; afterwards they may, with a higher token."""

    async def scene(stage: Stage) -> None:
        async with stage.agent("lead") as one, stage.agent("other") as other:
            async with one.claim("tool:bank", ttl=timedelta(seconds=1), purpose="refunds") as claim:
                with pytest.raises(remit.Denied) as denied:
                    await pay(other, 1)
                assert denied.value.codes == ("claim_held",)
                with pytest.raises(remit.Denied):
                    async with other.claim("service:bank", purpose="refunds"):
                        pytest.fail("both hold it")
                await asyncio.sleep(1.5)
                claim.check()
                assert (await pay(one, 1)).permitted
            async with other.claim("service:bank", purpose="refunds") as second:
                assert second.token > claim.token
                assert (await pay(other, 1)).permitted
            with pytest.raises(remit.Denied) as lost:
                await pay(other, 1, claim=second)
            assert lost.value.codes == ("claim_lost",)

    played(tmp_path, scene)
