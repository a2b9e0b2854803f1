"""Nobody goes round a claim, or a contradiction, by another way to call or by another form of a name."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any, TypeVar

import orjson
import pytest
from fakes.store_memory import MemoryStore
from fakes.world import EUR, OPERATOR, subject
from fakes.world import world as make_world
from remit.core.call import Call, ClaimCall, Claimed, WorkflowCall
from remit.core.catalogue import Agent, Budget, Conflicts, Price, Service, Variant
from remit.core.decision import Effect
from remit.core.model import Resource
from remit.core.reason import Reason
from remit.pep.pipeline import Pipeline
from remit.pep.world import SECOND

T = TypeVar("T")
ONE, TWO = subject("one"), subject("two")
TICKETS = Resource("service", "tickets", "update")
BUDGETS = {"month": Budget(limit=10 * EUR, window="month")}
PRICES = (Price(match="tickets/*", unit="call", amount=0, currency="EUR"),)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(action: str = "tool.call", **arguments: Any) -> Call:
    return Call("Authorize", action, TICKETS, Claimed(purpose="onboarding", arguments=arguments))


@pytest.fixture(name="pipeline")
def _pipeline() -> Pipeline:
    """Under a policy that allows everything."""
    store = MemoryStore()
    store.activate("r1")
    agents = {each.id: Agent("cx", ("worker",), ("onboarding",)) for each in (ONE, TWO)}
    services = {
        "tickets": Service(
            owner="cx",
            variants={"": Variant()},
            operations=("update", "look"),
            conflicts=Conflicts((("update", "update"),), "/ticket/number"),
        )
    }
    return Pipeline(make_world(store, agents=agents, services=services, prices=PRICES, budgets=BUDGETS))


@pytest.mark.parametrize("action", ["tool.call", "api.call", "message.send"])
def test_a_claim_keeps_others_out_by_whatever_way_they_call(pipeline: Pipeline, action: str) -> None:
    """What can contradict something changes something."""

    async def scene() -> None:
        taken = await pipeline.claim(
            TWO, ClaimCall(Resource("service", "tickets"), "7", 60 * SECOND, Claimed(purpose="onboarding"))
        )
        assert taken.token == 1
        for number in (7, "7", Decimal("7.0")):
            answer = await pipeline.authorize(ONE, call(action, ticket={"number": number}))
            assert [each.code for each in answer.reasons] == [Reason.CLAIM_HELD]

    run(scene())


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"number": 7},
        {"ticket": None},
        {"ticket": 7},
        {"ticket": [7]},
        *({"ticket": {"number": each}} for each in ("", None, True, [7], {"id": 7})),
    ],
)
def test_what_can_contradict_others_names_its_object(pipeline: Pipeline, arguments: dict[str, Any]) -> None:
    """Else it would be compared with nothing. What contradicts nothing needs no name."""

    async def scene() -> None:
        answer = await pipeline.authorize(ONE, call(**arguments))
        assert [each.code for each in answer.reasons] == [Reason.ARGUMENT_MISSING]
        look = Call("Authorize", "tool.call", Resource("service", "tickets", "look"), Claimed(purpose="onboarding"))
        answer = await pipeline.authorize(ONE, look)
        assert answer.effect is Effect.ALLOW

    run(scene())


def test_a_name_is_a_name(pipeline: Pipeline) -> None:
    """A text or a number."""

    async def scene() -> None:
        for number in (7, "T-7", Decimal("7.5"), 0):
            answer = await pipeline.authorize(ONE, call(ticket={"number": number}))
            assert answer.effect is Effect.ALLOW

    run(scene())


def test_an_agent_learns_nothing_of_others_from_its_own_records(pipeline: Pipeline) -> None:
    """Neither who holds what, nor who did what, nor what a shared budget has left. Readers see all of it."""

    async def scene() -> None:
        opened = await pipeline.open_workflow(TWO, WorkflowCall(("onboarding",), (ONE.id,), 3600 * SECOND))
        within = Claimed(opened.context, "onboarding", arguments={"ticket": {"number": 7}})
        await pipeline.authorize(TWO, Call("Authorize", "tool.call", TICKETS, within))
        await pipeline.claim(
            TWO, ClaimCall(Resource("service", "tickets"), "7", 60 * SECOND, Claimed(purpose="onboarding"))
        )
        refused = await pipeline.authorize(ONE, Call("Authorize", "tool.call", TICKETS, within))
        assert [each.code for each in refused.reasons] == [Reason.CLAIM_HELD]

        mine, _ = await pipeline.decision(ONE, refused.id)
        (traced,) = [row for row in await pipeline.trace(ONE, opened.context, 9) if row.record.id == refused.id]
        all_of_it, _ = await pipeline.decision(OPERATOR, refused.id)
        told = orjson.loads(all_of_it.record.body)["facts"]
        assert (told["claims"][0]["holder"], told["acts"][0]["agent"], len(told["budgets"])) == (TWO.id, TWO.id, 1)
        for row in (mine, traced):
            facts = orjson.loads(row.record.body)["facts"]
            assert (facts["budgets"], "claims" in facts, "acts" in facts) == ([], False, False)

    run(scene())
