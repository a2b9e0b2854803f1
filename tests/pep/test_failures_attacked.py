"""What an agent says of itself counts once for each thing that it did, and nothing that it does keeps that away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from fakes.approving import Holding
from fakes.store_memory import MemoryStore
from fakes.world import subject
from fakes.world import world as make_world
from remit.core.approval import MOST_PENDING
from remit.core.call import Call, Claimed, Report, WorkflowCall
from remit.core.decision import Effect
from remit.core.failing import Answer, FailurePolicy, Reply
from remit.core.model import Context, Request, Resource
from remit.pep.history import MOST_DECISIONS
from remit.pep.pipeline import Pipeline
from remit.pep.world import SECOND, World

T = TypeVar("T")
MODEL, CRM = Resource("service", "model", "chat", "small"), Resource("dataset", "crm")
ROGUE, PEER = subject("analysis"), subject("decision")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(resource: Resource, action: str = "api.call", **claimed: Any) -> Call:
    return Call("Authorize", action, resource, Claimed(**{"purpose": "onboarding", **claimed}))


def under(policy: Holding, failure: FailurePolicy) -> World:
    store = MemoryStore()
    store.activate("r1")
    world: World = make_world(store, policy)
    world.installation = replace(world.installation, failure=failure)
    return world


async def shared(pipeline: Pipeline) -> str:
    opened = await pipeline.open_workflow(PEER, WorkflowCall(("onboarding",), (), 3600 * SECOND))
    return opened.context


def test_an_agent_with_all_its_requests_waiting_is_halted_all_the_same() -> None:
    """Then nobody is asked to lift it."""
    policy = Holding()
    world = under(policy, FailurePolicy(denials=Answer(3, Reply.ESCALATE)))
    pipeline = Pipeline(world)

    async def scene() -> None:
        for n in range(MOST_PENDING):
            held = await pipeline.authorize(ROGUE, call(replace(MODEL, operation=f"o{n}", variant="large")))
            assert held.effect is Effect.HOLD
        policy.denies = True
        for n in range(3):
            assert (await pipeline.authorize(ROGUE, call(MODEL, arguments={"n": n}))).effect is Effect.DENY
        (halt,) = await world.store.halts()
        assert (halt.scope, halt.value) == ("agent", ROGUE.id)

    run(scene())


def test_one_action_fails_once_however_often_that_is_told() -> None:
    """A workflow is others' too: it does not stop for what happened once."""
    world = under(Holding(), FailurePolicy(failed=Answer(3, Reply.HALT)))
    pipeline = Pipeline(world)

    async def scene() -> None:
        workflow = await shared(pipeline)
        for times in (5, 1, 1):
            assert not await world.store.halts()
            read = await pipeline.authorize(ROGUE, call(CRM, "data.read", workflow=workflow))
            for _ in range(times):
                await pipeline.report(ROGUE, Report(read.id, "failed"))
        assert len(await world.store.halts()) == 1

    run(scene())


@pytest.mark.parametrize("denies", [True, False])
def test_what_was_refused_did_not_fail(denies: bool) -> None:
    """And nobody fills a sidecar's memory with names of their own."""
    policy = Holding()
    world = under(policy, FailurePolicy(failed=Answer(1, Reply.HALT)))
    pipeline = Pipeline(world)

    async def scene() -> None:
        workflow = await shared(pipeline)
        policy.denies = denies
        for n in range(50):
            answer = await pipeline.authorize(ROGUE, call(Resource("object", f"x{n}"), "data.read", workflow=workflow))
            await pipeline.report(ROGUE, Report(answer.id, "failed" if denies else "succeeded"))
        assert not await world.store.halts()
        totals = world.history.watched(ROGUE.id).totals
        assert not totals.count(("calls", "x1"), world.clock.now())

    run(scene())


def test_an_agent_that_floods_its_history_loses_sight_of_itself_alone() -> None:
    """Another's failure is still known for what it was."""
    world = under(Holding(), FailurePolicy(failed=Answer(1, Reply.HALT)))
    pipeline = Pipeline(world)

    async def scene() -> None:
        workflow = await shared(pipeline)
        read = await pipeline.authorize(PEER, call(CRM, "data.read", workflow=workflow))
        now = world.clock.now()
        flood = Request(ROGUE, "data.read", CRM, Context("w", "onboarding"))
        for n in range(20 * MOST_DECISIONS + 1):
            world.history.asked(flood, f"d{n}", now)
        assert world.history.failed(PEER.id, read.id, now) == 1

    run(scene())
