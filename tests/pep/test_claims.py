"""Claims, contradictions and failures: who may act on a thing, and what is done when agents fail."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

import orjson
import pytest
from fakes.store_memory import MemoryStore
from fakes.world import EUR, OPERATOR, FakeClock, subject, verdict
from fakes.world import world as make_world
from remit.core.answer import Answer, Taken
from remit.core.approval import State, Verdict
from remit.core.call import Call, ClaimCall, Claimed, ReleaseCall, Report, Resolution, WorkflowCall
from remit.core.catalogue import Agent, Conflicts, Person, Price, Service, Variant
from remit.core.decision import Effect
from remit.core.decision import Verdict as Said
from remit.core.errors import NotFound
from remit.core.failing import Answer as Limit
from remit.core.failing import ErrorRate, FailurePolicy, Gone, Reply, SpendRate
from remit.core.model import Identity, Resource, Subject
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.pep.pipeline import Pipeline
from remit.pep.world import World

T = TypeVar("T")
SECOND = 1_000_000_000
TICKETS = Resource("service", "tickets", "update")
PRICES = (Price(match="tickets/*", unit="call", amount=EUR, currency="EUR"),)
OBJECT = Resource("object", "ticket-7")
ONE, TWO, LEAD = subject("one"), subject("two"), subject("lead")
BO = Subject("person", "bo", "", ("approver",), Identity("token", "bo"))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def policy(document: Mapping[str, Any]) -> Said:
    """Halts, others' claims and contradicting acts deny; supervisors and people may resolve."""
    facts, action = document["facts"], document["action"]["name"]
    if facts["halts"]:
        return verdict("DENY", "halted")
    if any(not each["own"] for each in facts["claims"]):
        return verdict("DENY", "claim_held")
    if any({each["operation"], document["resource"]["operation"]} == {"approve", "reject"} for each in facts["acts"]):
        return verdict("DENY", "conflict_detected")
    if action == "approval.resolve":
        return replace(verdict("ALLOW"), obligations=(Obligation("resolve_approval", {"outcome": "approved"}),))
    return verdict("ALLOW")


@pytest.fixture(name="world")
def _world() -> World:
    store = MemoryStore()
    store.activate("r1")
    agents = {
        name: Agent("cx", ("worker",), ("onboarding",), supervisor="lead", clearance=("pii",))
        for name in ("one", "two")
    } | {"lead": Agent("cx")}
    services = {
        "tickets": Service(
            owner="cx",
            variants={"": Variant()},
            operations=("update", "approve", "reject"),
            conflicts=Conflicts((("approve", "reject"),), "/ticket"),
            compensations={"update": "reject"},
            metering="agent",
        )
    }
    people = {"ana": Person(("operator",)), "bo": Person(("approver",))}
    return make_world(store, policy, agents=agents, services=services, people=people, prices=PRICES, budgets={})


@pytest.fixture(name="pipeline")
def _pipeline(world: World) -> Pipeline:
    return Pipeline(world)


def fail_with(world: World, **answers: Any) -> None:
    """Answer failures so."""
    world.installation = replace(world.installation, failure=FailurePolicy(**answers))


def pass_seconds(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    world.clock.pass_seconds(seconds)


def call(action: str = "tool.call", resource: Resource = TICKETS, **claimed: Any) -> Call:
    return Call("Authorize", action, resource, Claimed(**{"purpose": "onboarding", **claimed}))


def claim(resource: Resource = OBJECT, within: str = "", ttl: int = 60, **claimed: Any) -> ClaimCall:
    return ClaimCall(resource, within, ttl * SECOND, Claimed(**{"purpose": "onboarding", **claimed}))


def codes(answer: Answer) -> list[str]:
    return [each.code for each in answer.reasons]


async def opened(pipeline: Pipeline, opener: Subject = ONE) -> str:
    return (await pipeline.open_workflow(opener, WorkflowCall(("onboarding",), (), 3600 * SECOND))).context


def test_one_holds_a_thing_and_the_other_waits(pipeline: Pipeline, world: World) -> None:
    """Until it is let go of, or its time is up; each taking has a higher token."""

    async def scene() -> None:
        first = await pipeline.claim(ONE, claim())
        assert (first.answer.effect, first.token) == (Effect.ALLOW, 1)
        refused = await pipeline.claim(TWO, claim())
        assert (refused.token, codes(refused.answer)) == (0, [Reason.CLAIM_HELD])

        await pipeline.release(ONE, ReleaseCall(OBJECT, "", first.token, Claimed()))
        second = await pipeline.claim(TWO, claim())
        assert second.token == 2
        pass_seconds(world, 60)
        await pipeline.sweep()
        third = await pipeline.claim(ONE, claim())
        assert third.token == 3

    run(scene())


def test_two_who_take_a_thing_at_a_time_are_one_who_has_it(pipeline: Pipeline) -> None:
    """Whatever both saw before."""

    async def scene() -> None:
        taken: list[Taken] = await asyncio.gather(*(pipeline.claim(who, claim()) for who in (ONE, TWO) * 20))

        holders = {each.token for each in taken if each.token}
        assert holders == {1}
        assert sum(codes(each.answer) == [Reason.CLAIM_HELD] for each in taken) >= 20

    run(scene())


def test_renewing_keeps_the_token_and_moves_the_end(pipeline: Pipeline, world: World) -> None:
    """So that what was fenced with it stays valid."""

    async def scene() -> None:
        first = await pipeline.claim(ONE, claim())
        pass_seconds(world, 30)
        again = await pipeline.claim(ONE, claim())

        assert (again.token, again.expires - first.expires) == (first.token, 30 * SECOND)

    run(scene())


def test_nobody_acts_on_what_another_holds(pipeline: Pipeline) -> None:
    """The whole resource, or the one object in it; reading is not acting."""

    async def scene() -> None:
        await pipeline.claim(ONE, claim(TICKETS))
        assert codes(await pipeline.authorize(TWO, call())) == [Reason.CLAIM_HELD]
        assert (await pipeline.authorize(ONE, call())).effect is Effect.ALLOW
        assert (await pipeline.authorize(TWO, call("api.call"))).effect is Effect.ALLOW

    run(scene())


def test_a_claim_on_an_object_keeps_others_from_that_object_alone(pipeline: Pipeline) -> None:
    """It is named by the pointer that the catalogue gives."""

    async def scene() -> None:
        approve = replace(TICKETS, operation="approve")
        await pipeline.claim(ONE, claim(TICKETS, "7"))
        held = await pipeline.authorize(TWO, call(resource=approve, arguments={"ticket": 7}))
        free = await pipeline.authorize(TWO, call(resource=approve, arguments={"ticket": 8}))

        assert (codes(held), free.effect) == ([Reason.CLAIM_HELD], Effect.ALLOW)

    run(scene())


def test_whoever_comes_late_with_an_old_token_is_told(pipeline: Pipeline, world: World) -> None:
    """Also where nobody else holds the thing by now."""

    async def scene() -> None:
        first = await pipeline.claim(ONE, claim(TICKETS))
        assert (await pipeline.authorize(ONE, call(claim=first.token))).effect is Effect.ALLOW
        pass_seconds(world, 61)
        assert codes(await pipeline.authorize(ONE, call(claim=first.token))) == [Reason.CLAIM_LOST]

    run(scene())


def test_only_the_holder_lets_go(pipeline: Pipeline) -> None:
    """By the token that it holds it by."""

    async def scene() -> None:
        taken = await pipeline.claim(ONE, claim())
        for who, token in ((TWO, taken.token), (ONE, taken.token + 1)):
            with pytest.raises(NotFound):
                await pipeline.release(who, ReleaseCall(OBJECT, "", token, Claimed()))
        await pipeline.release(ONE, ReleaseCall(OBJECT, "", taken.token, Claimed()))

    run(scene())


@pytest.mark.parametrize("order", [("approve", "reject"), ("reject", "approve")])
def test_of_two_that_contradict_each_other_on_one_object_the_first_has_its_way(
    pipeline: Pipeline, order: tuple[str, str]
) -> None:
    """In one workflow, and on that object; of the same agent it is a change of mind."""

    async def scene() -> None:
        context = await opened(pipeline)
        first, second = (replace(TICKETS, operation=each) for each in order)
        asked = {"workflow": context, "arguments": {"ticket": 7}}
        assert (await pipeline.authorize(ONE, call(resource=first, **asked))).effect is Effect.ALLOW
        assert codes(await pipeline.authorize(TWO, call(resource=second, **asked))) == [Reason.CONFLICT_DETECTED]
        assert (await pipeline.authorize(ONE, call(resource=second, **asked))).effect is Effect.ALLOW
        other = {"workflow": context, "arguments": {"ticket": 8}}
        assert (await pipeline.authorize(TWO, call(resource=second, **other))).effect is Effect.ALLOW

    run(scene())


def test_two_that_contradict_each_other_at_a_time_do_not_both_act(pipeline: Pipeline) -> None:
    """The commit compares what each saw of the other."""

    async def scene() -> None:
        context = await opened(pipeline)
        calls = [
            pipeline.authorize(
                who, call(resource=replace(TICKETS, operation=what), workflow=context, arguments={"ticket": 7})
            )
            for who, what in ((ONE, "approve"), (TWO, "reject"))
        ]
        answers = await asyncio.gather(*calls)

        assert sorted(each.effect for each in answers) == [Effect.ALLOW, Effect.DENY]

    run(scene())


async def failing(pipeline: Pipeline, who: Subject, times: int, **claimed: Any) -> list[tuple[str, str]]:
    """What is advised on each of so many failures."""
    told = []
    for _ in range(times):
        answer = await pipeline.authorize(who, call(**claimed))
        reported = await pipeline.report(who, Report(answer.id, "failed", error="boom"))
        told.append((reported.advice, reported.compensation))
    return told


def test_a_failed_action_may_be_tried_again_so_often(pipeline: Pipeline, world: World) -> None:
    """The count is the facts' for policy to deny by, in that workflow alone."""

    async def scene() -> None:
        fail_with(world, failed=Limit(3, Reply.RETRY))
        context = await opened(pipeline)
        assert await failing(pipeline, ONE, 3, workflow=context) == [("retry", ""), ("retry", ""), ("", "")]
        await pipeline.authorize(ONE, call(workflow=context))
        observer: Any = world.observer
        assert observer.failures == [("failed", "retry")] * 2

        pdp: Any = world.installation.pdp
        assert pdp.documents[-1]["facts"]["history"] == {"repeats": 3, "failures": 3, "denials": 0}

    run(scene())


def test_what_undoes_a_failed_action_is_named(pipeline: Pipeline, world: World) -> None:
    """Where the catalogue names it."""

    async def scene() -> None:
        fail_with(world, failed=Limit(3, Reply.COMPENSATE))
        assert await failing(pipeline, ONE, 1) == [("compensate", "tickets/reject")]

    run(scene())


async def halts(pipeline: Pipeline) -> list[tuple[str, str, str]]:
    return [(each.scope, each.value, each.by) for each in await pipeline.halts(OPERATOR)]


@pytest.mark.parametrize("kind", ["loop", "denials", "failed", "errors", "spending", "vanished"])
def test_what_fails_too_often_is_halted_once(pipeline: Pipeline, world: World, kind: str) -> None:
    """Its workflow, by a record that says why; everything else goes on."""
    answers = {
        "loop": Limit(5, Reply.HALT),
        "denials": Limit(3, Reply.HALT),
        "failed": Limit(3, Reply.HALT),
        "errors": ErrorRate(Fraction(1, 2), 4, Reply.HALT),
        "spending": SpendRate(3 * EUR, Reply.HALT),
        "vanished": Gone(Reply.HALT),
    }

    async def scene() -> None:
        fail_with(world, **{"loop": Limit(0, Reply.NONE), "failed": Limit(0, Reply.NONE), kind: answers[kind]})
        context = await opened(pipeline)
        await provoke(pipeline, world, kind, context)

        (halted,) = await halts(pipeline)
        assert (halted[0], halted[2]) == ("workflow", "remit")
        assert codes(await pipeline.authorize(ONE, call(workflow=context))) == [Reason.HALTED]
        assert (await pipeline.authorize(TWO, call())).effect is Effect.ALLOW
        records = [each.record for each in await pipeline.trace(OPERATOR, halted[1], 100)]
        (failure,) = [orjson.loads(each.body) for each in records if each.kind == "failure"]
        assert (failure["failure"], failure["answer"]) == (kind, "halt")

    run(scene())


async def provoke(pipeline: Pipeline, world: World, kind: str, context: str) -> None:
    """Fail in that way."""
    match kind:
        case "loop":
            for _ in range(5):
                await pipeline.authorize(ONE, call(workflow=context))
        case "denials":
            await pipeline.claim(TWO, claim(TICKETS))
            for number in range(3):
                await pipeline.authorize(ONE, call(workflow=context, arguments={"n": number}))
            await pipeline.release(TWO, ReleaseCall(TICKETS, "", 1, Claimed()))
        case "failed":
            await failing(pipeline, ONE, 3, workflow=context)
        case "errors":
            for number in range(4):
                answer = await pipeline.authorize(ONE, call(workflow=context, arguments={"n": number}))
                await pipeline.report(ONE, Report(answer.id, "failed" if number % 2 else "succeeded"))
        case "spending":
            for number in range(3):
                await pipeline.authorize(ONE, call(workflow=context, arguments={"n": number}))
        case "vanished":
            await pipeline.claim(ONE, claim(ttl=5, workflow=context))
            pass_seconds(world, 6)
            await pipeline.sweep()


def test_whoever_was_only_let_into_a_workflow_has_it_halted_for_nobody_else(pipeline: Pipeline, world: World) -> None:
    """Its own failures halt itself."""

    async def scene() -> None:
        fail_with(world, failed=Limit(2, Reply.HALT))
        context = await opened(pipeline, TWO)
        await failing(pipeline, ONE, 2, workflow=context)

        assert await halts(pipeline) == [("agent", "one", "remit")]
        assert (await pipeline.authorize(TWO, call(workflow=context))).effect is Effect.ALLOW

    run(scene())


def test_what_a_halted_agent_holds_is_free(pipeline: Pipeline) -> None:
    """So that whoever stops an agent gives others what it kept from them."""

    async def scene() -> None:
        await pipeline.claim(ONE, claim())
        await pipeline.halt(OPERATOR, "agent", "one", "stop")
        await pipeline.sweep()

        assert (await pipeline.claim(TWO, claim())).token == 2

    run(scene())


def test_to_escalate_is_a_halt_that_somebody_is_asked_to_lift(pipeline: Pipeline, world: World) -> None:
    """The supervisor first; approving lifts it; the agent itself is not asked."""

    async def scene() -> None:
        fail_with(world, failed=Limit(2, Reply.ESCALATE))
        context = await opened(pipeline)
        assert (await failing(pipeline, ONE, 2, workflow=context))[-1] == ("escalate", "")
        assert codes(await pipeline.authorize(ONE, call(workflow=context))) == [Reason.HALTED]
        (shown,) = await pipeline.approvals(LEAD, (), "", "", 10)
        assert (shown.resolvable, shown.approval.policy) == (True, "failures.failed")

        own = await pipeline.resolve(ONE, Resolution(shown.approval.id, Verdict.APPROVE, "me"))
        assert codes(own.answer) == [Reason.APPROVAL_OWN]
        resolved = await pipeline.resolve(LEAD, Resolution(shown.approval.id, Verdict.APPROVE, "go on"))
        assert resolved.shown.approval.state is State.APPROVED
        assert not await halts(pipeline)
        assert (await pipeline.authorize(ONE, call(workflow=context))).effect is Effect.ALLOW

    run(scene())


def test_what_was_never_reported_is_listed(pipeline: Pipeline, world: World) -> None:
    """While it is held, and after it has lapsed; not once it was reported."""

    async def scene() -> None:
        first = await pipeline.authorize(ONE, call())
        second = await pipeline.authorize(ONE, call())
        await pipeline.report(ONE, Report(second.id, "succeeded"))
        assert [each.decision for each in await pipeline.unresolved(OPERATOR, 10)] == [first.id]
        pass_seconds(world, 3600)
        await pipeline.sweep()
        (lapsed,) = await pipeline.unresolved(OPERATOR, 10)
        assert (lapsed.decision, lapsed.state) == (first.id, "lapsed")

    run(scene())
