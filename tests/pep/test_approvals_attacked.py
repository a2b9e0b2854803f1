"""Whoever may only say no grants nothing, and nobody learns or uses what they were not shown."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from fakes.approving import Holding
from fakes.store_memory import MemoryStore
from fakes.world import OPERATOR, subject
from fakes.world import world as make_world
from remit.core.answer import Answer
from remit.core.approval import MOST_PENDING, Terms, Verdict
from remit.core.call import Call, Claimed, Resolution
from remit.core.catalogue import Agent, Person
from remit.core.decision import Effect
from remit.core.errors import BadRequest
from remit.core.model import Identity, Resource, Subject
from remit.core.reason import Reason
from remit.pep.pipeline import Pipeline
from remit.pep.world import World
from remit.ports import ApprovalsQuery

T = TypeVar("T")
LARGE = Resource("service", "model", "chat", "large")
CRM = Resource("dataset", "crm")
WORKER, LEAD = subject("worker"), subject("lead")
BO = Subject("person", "bo", "", ("approver",), Identity("token", "bo"))
CY = Subject("person", "cy", "", ("approver",), Identity("token", "cy"))
EVE = Subject("person", "eve", "", (), Identity("token", "eve"))
DI = Subject("person", "di", "", ("approver",), Identity("token", "di"))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(resource: Resource = LARGE, action: str = "api.call", **claimed: Any) -> Call:
    return Call("Authorize", action, resource, Claimed(**{"purpose": "onboarding", **claimed}))


@pytest.fixture(name="policy")
def _policy() -> Holding:
    return Holding()


@pytest.fixture(name="world")
def _world(policy: Holding) -> World:
    store = MemoryStore()
    store.activate("r1")
    people = {each.id: Person(each.roles) for each in (BO, CY, EVE)} | {
        "ana": Person(("operator",), clearance=("pii",)),
        "di": Person(DI.roles, clearance=("pii",)),
    }
    agents = {
        "worker": Agent("cx", ("worker",), ("onboarding", "marketing"), supervisor="lead", clearance=("pii",)),
        "lead": Agent("cx"),
    }
    world: World = make_world(store, policy, people=people, agents=agents)
    return world


@pytest.fixture(name="pipeline")
def _pipeline(world: World) -> Pipeline:
    return Pipeline(world)


async def held(pipeline: Pipeline, resource: Resource = LARGE, **claimed: Any) -> str:
    answer = await pipeline.authorize(WORKER, call(resource, **claimed))
    assert answer.effect is Effect.HOLD
    return answer.approvals[0].id


async def offer(pipeline: Pipeline, who: Subject, id: str, **arguments: Any) -> Answer:
    said = Resolution(id, Verdict.DENY, "rather this", alternative={"arguments": arguments})
    return (await pipeline.resolve(who, said)).answer


def test_one_of_several_who_must_approve_grants_nothing_by_denying(pipeline: Pipeline, policy: Holding) -> None:
    """An offer is a grant: it needs as many as the hold says, and there is no way to ask them about it."""
    policy.terms = Terms(roles=("approver",), quorum=2)

    async def scene() -> None:
        id = await held(pipeline, arguments={"rows": 999})
        await pipeline.resolve(CY, Resolution(id, Verdict.APPROVE, "fine"))
        for arguments in ({}, {"rows": 1}):
            with pytest.raises(BadRequest):
                await offer(pipeline, BO, id, **arguments)
            answer = await pipeline.authorize(WORKER, call(arguments={"rows": 999, **arguments}))
            assert answer.effect is Effect.HOLD

    run(scene())


def test_nobody_offers_what_policy_does_not_let_them_approve(pipeline: Pipeline, policy: Holding) -> None:
    """Not being let to approve is no way round by denying, and another's hold is none either."""

    def only_deny(document: Any) -> Any:
        by, resource = document["subject"]["id"], document["resource"]
        policy.refused = frozenset({"bo"}) if (by, resource["operation"]) == ("bo", "approve") else frozenset()
        return policy(document)

    world = make_world(MemoryStore(), only_deny)
    world.store.activate("r1")
    people = {each.id: Person(each.roles) for each in (BO, CY)}
    agents = {"worker": Agent("cx", ("worker",), ("onboarding",))}
    catalogue = replace(world.catalogue, people=people, agents=agents)
    world.installation = replace(world.installation, catalogue=catalogue)
    pipeline = Pipeline(world)

    async def scene() -> None:
        id = await held(pipeline, arguments={"rows": 999})
        refused = await offer(pipeline, BO, id, rows=1)
        assert [each.code for each in refused.reasons] == [Reason.ROLE_NOT_GRANTED]
        await pipeline.resolve(BO, Resolution(id, Verdict.HOLD, "not sure"))
        refused = await offer(pipeline, CY, id, rows=1)
        assert (refused.effect, [each.code for each in refused.reasons]) == (Effect.DENY, [Reason.ROLE_NOT_GRANTED])
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 1}))).effect is Effect.HOLD

        await pipeline.resolve(BO, Resolution(id, Verdict.DENY, "no"))

    run(scene())


def test_whoever_is_not_shown_a_request_learns_nothing_of_it_by_offering(pipeline: Pipeline, policy: Holding) -> None:
    """Neither from the answer to an offer of their own, nor by what somebody else has offered; a supervisor neither."""
    policy.terms = Terms(roles=("approver",), supervisor=True)

    async def scene() -> None:
        id = await held(
            pipeline, arguments={"iban": "CANARY"}, reason="for CANARY"
        )  # the supervisor is asked, as there are no labels yet
        await pipeline.authorize(WORKER, call(CRM, "data.read"))
        assert await held(pipeline, arguments={"iban": "CANARY"}) == id
        for who in (BO, LEAD):
            with pytest.raises(BadRequest):
                await offer(pipeline, who, id, more=1)
        (shown,) = [each for each in await pipeline.approvals(BO, (), "", "", 9) if each.approval.id == id]
        assert "CANARY" not in repr(shown.approval)

        await offer(pipeline, DI, id, more=1)
        seen = {}
        for who in (BO, LEAD, DI, OPERATOR, WORKER):
            (shown,) = await pipeline.approvals(who, (), id, "", 1)
            seen[who.id] = "CANARY" in repr(shown.approval)
        assert seen == {"bo": False, "lead": False, "di": True, "ana": True, "worker": True}

    run(scene())


@pytest.mark.parametrize("other", [{"purpose": "marketing"}, {"actor": "rogue"}])
def test_an_offer_is_for_the_purpose_and_the_actor_that_were_shown(pipeline: Pipeline, other: dict[str, Any]) -> None:
    """What was denied was theirs."""

    async def scene() -> None:
        id = await held(pipeline, arguments={"rows": 999})
        await offer(pipeline, BO, id, rows=1)
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 1}, **other))).effect is Effect.HOLD
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 1}))).effect is Effect.ALLOW

    run(scene())


def test_all_that_an_exact_item_is_for_is_shown(pipeline: Pipeline) -> None:
    """Items of one request may differ in it."""

    async def scene() -> None:
        id = await held(pipeline, arguments={"n": 1})
        to = replace(LARGE, properties={"to": "elsewhere", "traceparent": "00-1"})
        again = await held(pipeline, resource=to, arguments={"n": 1}, purpose="marketing", actor="rogue")
        assert again == id
        (shown,) = await pipeline.approvals(BO, (), id, "", 1)
        first, second = (each.shown for each in shown.approval.items)
        for told in ("marketing", "rogue", "elsewhere"):
            assert told in second
            assert told not in first

    run(scene())


def test_the_journal_has_no_arguments_of_an_offer_in_clear(pipeline: Pipeline, world: World) -> None:
    """Nor those of the request, which they mostly are."""

    async def scene() -> None:
        id = await held(pipeline, arguments={"iban": "CANARY", "rows": 999})
        await offer(pipeline, BO, id, rows=1, why="PARROT")
        refused = await pipeline.authorize(WORKER, call(arguments={"iban": "CANARY", "rows": 999}))
        assert refused.alternative is not None
        assert refused.alternative["arguments"]["iban"] == "CANARY"
        bodies = b"".join([row.record.body for row in await world.store.journal(0, 100)])
        assert b"alternative" in bodies
        assert b"CANARY" not in bodies
        assert b"PARROT" not in bodies

    run(scene())


def test_a_watch_reads_what_changes_however_much_waits(pipeline: Pipeline, world: World, policy: Holding) -> None:
    """Else each change of one agent's request would have everybody's read again by each who watches."""
    read: list[int] = []
    approvals = world.store.approvals

    async def counted(query: ApprovalsQuery) -> Any:
        found = await approvals(query)
        read.append(len(found))
        return found

    async def scene() -> None:
        for n in range(MOST_PENDING):
            await held(pipeline, replace(LARGE, operation=f"o{n}"))
        world.store.approvals = counted  # type: ignore[method-assign]
        watch = pipeline.watch_approvals(BO)
        first = [await anext(watch) for _ in range(MOST_PENDING + 1)]
        assert first[-1] is None
        assert len({shown.approval.id for shown in first[:-1] if shown}) == MOST_PENDING
        assert sum(read) == MOST_PENDING

        await held(pipeline, replace(LARGE, operation="o3"), arguments={"n": 2})
        read.clear()
        shown = await anext(watch)
        assert shown is not None
        assert (shown.approval.resource["operation"], shown.approval.version) == ("o3", 2)
        assert sum(read) == 1
        await watch.aclose()

    run(scene())


def test_whoever_is_given_a_role_is_told_of_what_waits(pipeline: Pipeline, world: World) -> None:
    """Once, by the watch that they have."""

    async def scene() -> None:
        await held(pipeline)
        watch = pipeline.watch_approvals(EVE)
        assert await anext(watch) is None
        people = {**world.catalogue.people, "eve": Person(("approver",))}
        catalogue = replace(world.catalogue, people=people)
        world.installation = replace(world.installation, catalogue=catalogue)
        for n in (1, 2):
            await held(pipeline, arguments={"n": n})
            shown = await asyncio.wait_for(anext(watch), 5)
            assert shown is not None
            assert shown.approval.version == n + 1
        await watch.aclose()

    run(scene())
