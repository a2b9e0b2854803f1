"""Holds, grants and those who are asked: what waits, what is used, and what nobody can use."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import orjson
import pytest
from fakes.approving import CODE, POLICY, Holding
from fakes.store_memory import MemoryStore
from fakes.world import EUR, OPERATOR, FakeClock, subject
from fakes.world import world as make_world
from remit.core.answer import Answer, Shown
from remit.core.approval import MOST_PENDING, Bind, Hold, State, Terms, Verdict
from remit.core.call import Call, Claimed, Resolution, WorkflowCall
from remit.core.catalogue import Agent, Person
from remit.core.decision import Effect
from remit.core.effect import Commit, Committed, Refused
from remit.core.errors import BadRequest, IllegalTransition, NotFound
from remit.core.model import ActionName, Identity, Mode, Resource, Subject
from remit.core.reason import Reason
from remit.pep.pipeline import Pipeline
from remit.pep.world import World

T = TypeVar("T")
LARGE = Resource("service", "model", "chat", "large")
WORKER, LEAD, BOSS = subject("worker"), subject("lead"), subject("boss")
BO = Subject("person", "bo", "", ("approver",), Identity("token", "bo"))
CY = Subject("person", "cy", "", ("approver",), Identity("token", "cy"))
EVE = Subject("person", "eve", "", (), Identity("token", "eve"))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(
    resource: Resource = LARGE, action: str = "api.call", *, key: str = "", content: str = "", **claimed: Any
) -> Call:
    context = Claimed(**{"purpose": "onboarding", **claimed})
    digest = repr((resource, context.arguments, content))
    return Call("Authorize", action, resource, context, key=key, digest=digest, content=content)


@pytest.fixture(name="policy")
def _policy() -> Holding:
    return Holding()


@pytest.fixture(name="world")
def _world(policy: Holding) -> World:
    store = MemoryStore()
    store.activate("r1")
    people = {each.id: Person(each.roles) for each in (BO, CY, EVE)} | {
        "ana": Person(("operator",), clearance=("pii",))
    }
    agents = {
        "worker": Agent("cx", ("worker",), ("onboarding",), supervisor="lead", clearance=("pii",)),
        "lead": Agent("cx", supervisor="boss"),
        "boss": Agent("cx", clearance=("pii",)),
        "watched": Agent("cx", ("worker",), ("onboarding",), mode="observe"),
    }
    return make_world(store, policy, people=people, agents=agents)


@pytest.fixture(name="pipeline")
def _pipeline(world: World) -> Pipeline:
    return Pipeline(world)


def codes(answer: Answer) -> list[str]:
    return [each.code for each in answer.reasons]


def pass_seconds(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    world.clock.pass_seconds(seconds)


async def pending(pipeline: Pipeline, who: Subject = BO) -> list[Shown]:
    return list(await pipeline.approvals(who, (), "", "", 100))


async def say(pipeline: Pipeline, who: Subject, id: str, verdict: Verdict = Verdict.APPROVE, **more: Any) -> Answer:
    return (await pipeline.resolve(who, Resolution(id, verdict, "because", **more))).answer


async def state(pipeline: Pipeline, id: str) -> State:
    (shown,) = await pipeline.approvals(OPERATOR, (), id, "", 1)
    return shown.approval.state


def test_what_is_held_waits_until_somebody_approves_it_and_is_allowed_once(pipeline: Pipeline, world: World) -> None:
    """The grant is used in the decision that it permits, and is gone then."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        assert (held.effect, codes(held), held.reserved) == (Effect.HOLD, [CODE], 0)
        (turning,) = held.approvals
        assert (turning.policy, turning.state, turning.roles) == (POLICY, State.PENDING, ("approver",))

        answer = await say(pipeline, BO, turning.id)
        assert answer.effect is Effect.ALLOW

        allowed = await pipeline.authorize(WORKER, call())
        assert (allowed.effect, allowed.reserved) == (Effect.ALLOW, EUR)
        row = await world.store.record(allowed.id)
        assert row is not None
        assert orjson.loads(row.record.body)["grants"] == [turning.id]

        again = await pipeline.authorize(WORKER, call())
        assert again.effect is Effect.HOLD
        assert again.approvals[0].id != turning.id

    run(scene())


def test_however_many_replay_one_grant_one_is_allowed(pipeline: Pipeline) -> None:
    """All of them at a time: a use is a use."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id)

        answers = await asyncio.gather(*(pipeline.authorize(WORKER, call()) for _ in range(100)))

        assert sum(each.effect is Effect.ALLOW for each in answers) == 1
        assert len(await pending(pipeline)) == 1

    run(scene())


def test_like_holds_become_one_request(pipeline: Pipeline) -> None:
    """Five of them, and the same whoever comes first."""

    async def scene() -> None:
        answers = await asyncio.gather(*(pipeline.authorize(WORKER, call()) for _ in range(5)))

        assert {each.effect for each in answers} == {Effect.HOLD}
        (shown,) = await pending(pipeline)
        assert [item.asked for item in shown.approval.items] == [5]
        assert {each.approvals[0].id for each in answers} == {shown.approval.id}

    run(scene())


def test_holds_that_differ_in_their_arguments_are_items_of_one_request(pipeline: Pipeline, policy: Holding) -> None:
    """An exact grant is for each of them by itself, and for nothing that was not shown."""
    policy.terms = replace(policy.terms, bind=Bind.EXACT)

    async def scene() -> None:
        for number in range(3):
            await pipeline.authorize(WORKER, call(arguments={"n": number}))
        (shown,) = await pending(pipeline)
        assert len(shown.approval.items) == 3

        with pytest.raises(BadRequest):  # of several, one says what one has seen
            await say(pipeline, BO, shown.approval.id)
        await say(pipeline, BO, shown.approval.id, version=shown.approval.version)
        answers = [await pipeline.authorize(WORKER, call(arguments={"n": number})) for number in (0, 1, 2, 3, 0)]

        assert [each.effect for each in answers] == [Effect.ALLOW] * 3 + [Effect.HOLD] * 2

    run(scene())


def test_what_joined_after_somebody_looked_is_not_approved_with_it(pipeline: Pipeline, policy: Holding) -> None:
    """Who resolves names what they saw; a request that has changed since is shown anew."""
    policy.terms = replace(policy.terms, bind=Bind.EXACT)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(arguments={"n": 1}))
        (seen,) = await pending(pipeline)
        await pipeline.authorize(WORKER, call(arguments={"n": 2}))

        answer = await say(pipeline, BO, held.approvals[0].id, version=seen.approval.version)

        assert (answer.effect, codes(answer), answer.retryable) == (Effect.DENY, [Reason.FACTS_CHANGED], True)
        assert await state(pipeline, held.approvals[0].id) is State.PENDING

    run(scene())


@pytest.mark.parametrize(
    "changed",
    [
        call(arguments={"n": 2}),
        call(content="other"),
        call(replace(LARGE, operation="images")),
        call(action="tool.call"),
        replace(call(), resource=replace(LARGE, fields=("a.b",))),
        call(actor="summarise"),
    ],
)
def test_an_exact_grant_is_for_nothing_else(pipeline: Pipeline, policy: Holding, changed: Call) -> None:
    """Whatever is changed after it was approved is held again."""
    policy.terms = replace(policy.terms, bind=Bind.EXACT)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id)

        assert (await pipeline.authorize(WORKER, changed)).effect is Effect.HOLD
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.ALLOW

    run(scene())


def test_a_grant_by_variant_takes_other_arguments_until_its_uses_or_its_cost_are_gone(
    pipeline: Pipeline, policy: Holding
) -> None:
    """Uses, total cost and time are bounds, each by itself."""
    policy.terms = Terms(roles=("approver",), bind=Bind.VARIANT, uses=5, cost=3 * EUR, ttl=600)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(arguments={"n": 0}))
        await say(pipeline, BO, held.approvals[0].id)

        answers = [await pipeline.authorize(WORKER, call(arguments={"n": number})) for number in range(4)]

        assert [each.effect for each in answers] == [Effect.ALLOW] * 3 + [Effect.HOLD]

    run(scene())


def test_a_grant_ends_with_its_time(pipeline: Pipeline, policy: Holding, world: World) -> None:
    """Not a nanosecond later."""
    policy.terms = replace(policy.terms, ttl=60)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id)
        pass_seconds(world, 60)

        assert (await pipeline.authorize(WORKER, call())).effect is Effect.HOLD

    run(scene())


def test_a_grant_is_not_for_a_session_that_has_read_more_since(pipeline: Pipeline, policy: Holding) -> None:
    """Labels held must be among those that were approved; the new request is for these."""
    policy.terms = replace(policy.terms, bind=Bind.VARIANT, uses=9)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id)
        await pipeline.authorize(WORKER, call(Resource("dataset", "crm"), "data.read"))

        again = await pipeline.authorize(WORKER, call())

        assert again.effect is Effect.HOLD
        (shown,) = await pending(pipeline)
        assert shown.approval.labels == ("pii",)

    run(scene())


def test_a_denial_counts_whatever_was_approved(pipeline: Pipeline, policy: Holding) -> None:
    """A grant takes away holds, never a denial, and is not used up by one."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id)
        policy.denies = True
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.DENY
        policy.denies = False
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.ALLOW

    run(scene())


def test_several_holds_need_several_grants(pipeline: Pipeline, policy: Holding) -> None:
    """One of two is not enough, and is kept for when the other is there."""
    policy.more = (Hold("custom.second", "look_twice", Terms(roles=("approver",))),)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        first, second = held.approvals
        await say(pipeline, BO, first.id)

        still = await pipeline.authorize(WORKER, call())
        assert (still.effect, [each.id for each in still.approvals]) == (Effect.HOLD, [second.id])

        await say(pipeline, BO, second.id)
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.ALLOW
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.HOLD

    run(scene())


def test_a_refusal_stands_for_ten_minutes_and_then_may_be_asked_again(pipeline: Pipeline, world: World) -> None:
    """Nobody is nagged."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        await say(pipeline, BO, held.approvals[0].id, Verdict.DENY)

        refused = await pipeline.authorize(WORKER, call())
        assert (refused.effect, codes(refused)) == (Effect.DENY, [Reason.APPROVAL_DENIED])
        assert not await pending(pipeline)

        pass_seconds(world, 600)
        assert (await pipeline.authorize(WORKER, call())).effect is Effect.HOLD

    run(scene())


def test_what_nobody_answers_expires_and_is_told_so(pipeline: Pipeline, policy: Holding, world: World) -> None:
    """By the clock alone nothing is ever approved; late approval is none."""
    policy.terms = replace(policy.terms, wait=60)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        pass_seconds(world, 60)
        with pytest.raises(IllegalTransition):
            await say(pipeline, BO, held.approvals[0].id)
        assert codes(await pipeline.authorize(WORKER, call())) == [Reason.APPROVAL_EXPIRED]
        await pipeline.sweep()

        assert await state(pipeline, held.approvals[0].id) is State.EXPIRED
        assert codes(await pipeline.authorize(WORKER, call())) == [Reason.APPROVAL_EXPIRED]

    run(scene())


def test_supervisors_are_asked_one_after_the_other_and_then_people(
    pipeline: Pipeline, policy: Holding, world: World
) -> None:
    """A supervisor that says hold, or nothing, passes it on; nobody above may speak before their turn."""
    policy.terms = Terms(roles=("approver",), supervisor=True, wait=60)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        id = held.approvals[0].id
        assert held.approvals[0].supervisor == "lead"
        with pytest.raises(NotFound):
            await say(pipeline, BOSS, id)

        await say(pipeline, LEAD, id, Verdict.HOLD)
        (shown,) = await pending(pipeline, BOSS)
        assert (shown.approval.addressee, shown.resolvable) == ("boss", True)

        pass_seconds(world, 60)
        await pipeline.sweep()
        (shown,) = await pending(pipeline)
        assert (shown.approval.addressee, shown.approval.state) == ("", State.PENDING)

        await say(pipeline, BO, id)
        assert await state(pipeline, id) is State.APPROVED

    run(scene())


@pytest.mark.parametrize("by", ["a person", "the clock"])
def test_what_else_changes_is_in_nobodys_way(
    pipeline: Pipeline, policy: Holding, world: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Halts come and go while it is decided on: a verdict counts all the same, and time that is over passes it on."""
    policy.terms = Terms(roles=("approver",), supervisor=True, wait=60)
    commit, left = world.store.commit, list(range(5))

    async def changing(asked: Commit) -> Committed | Refused:
        if asked.action == ActionName.APPROVAL_RESOLVE and asked.versions is not None and left:
            left.pop()
            return Refused(Reason.FACTS_CHANGED, "halts")
        return await commit(asked)

    async def scene() -> None:
        id = (await pipeline.authorize(WORKER, call())).approvals[0].id
        monkeypatch.setattr(world.store, "commit", changing)
        if by == "a person":
            assert (await say(pipeline, BO, id)).effect is Effect.ALLOW
        else:
            pass_seconds(world, 60)
            await pipeline.sweep()
        (shown,) = await pipeline.approvals(OPERATOR, (), id, "", 1)
        after = (shown.approval.state, shown.approval.addressee)
        assert after == ((State.APPROVED, "lead") if by == "a person" else (State.PENDING, "boss"))
        assert not left

    run(scene())


def test_a_supervisor_that_policy_does_not_let_decide_passes_it_on(pipeline: Pipeline, policy: Holding) -> None:
    """The denial is recorded, and somebody above is asked."""
    policy.terms, policy.refused = Terms(roles=("approver",), supervisor=True), frozenset({"lead"})

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        answer = await say(pipeline, LEAD, held.approvals[0].id)

        assert answer.effect is Effect.DENY
        (shown,) = await pending(pipeline, BOSS)
        assert shown.approval.addressee == "boss"

    run(scene())


def test_a_supervisor_is_not_asked_about_what_it_may_not_see(pipeline: Pipeline, policy: Holding) -> None:
    """`lead` is not cleared for pii: its own supervisor is asked at once."""
    policy.terms = Terms(roles=("approver",), supervisor=True)

    async def scene() -> None:
        await pipeline.authorize(WORKER, call(Resource("dataset", "crm"), "data.read"))
        held = await pipeline.authorize(WORKER, call())

        assert held.approvals[0].supervisor == "boss"

    run(scene())


def test_nobody_resolves_what_they_asked_for_themselves(pipeline: Pipeline, world: World) -> None:
    """Whatever policy says, and whatever roles they have."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        answer = await say(pipeline, WORKER, held.approvals[0].id)

        assert (answer.effect, codes(answer)) == (Effect.DENY, [Reason.APPROVAL_OWN])
        assert await state(pipeline, held.approvals[0].id) is State.PENDING

    run(scene())


def test_as_many_must_approve_as_the_hold_says(pipeline: Pipeline, policy: Holding) -> None:
    """The same person twice is one."""
    policy.terms = Terms(roles=("approver",), quorum=2)

    async def scene() -> None:
        id = (await pipeline.authorize(WORKER, call())).approvals[0].id
        await say(pipeline, BO, id)
        await say(pipeline, BO, id)
        assert await state(pipeline, id) is State.PENDING
        await say(pipeline, CY, id)
        assert await state(pipeline, id) is State.APPROVED

    run(scene())


def test_nothing_joins_what_one_of_several_has_approved(pipeline: Pipeline, policy: Holding) -> None:
    """Else the second would give alone what the first has never seen. It waits, and is asked for afterwards."""
    policy.terms = Terms(roles=("approver",), quorum=2)

    async def scene() -> None:
        id = (await pipeline.authorize(WORKER, call(arguments={"n": 1}))).approvals[0].id
        await say(pipeline, BO, id)
        later = await pipeline.authorize(WORKER, call(arguments={"n": 2}))
        assert (later.effect, [each.id for each in later.approvals]) == (Effect.HOLD, [id])
        await say(pipeline, CY, id)

        again = await pipeline.authorize(WORKER, call(arguments={"n": 2}))
        assert (again.effect, [each.id for each in again.approvals] == [id]) == (Effect.HOLD, False)
        assert (await pipeline.authorize(WORKER, call(arguments={"n": 1}))).effect is Effect.ALLOW

    run(scene())


def test_a_grant_that_is_taken_back_is_none(pipeline: Pipeline) -> None:
    """Denying an approved one revokes it; that stands like a denial."""

    async def scene() -> None:
        id = (await pipeline.authorize(WORKER, call())).approvals[0].id
        await say(pipeline, BO, id)
        await say(pipeline, BO, id, Verdict.DENY)

        assert await state(pipeline, id) is State.REVOKED
        assert codes(await pipeline.authorize(WORKER, call())) == [Reason.APPROVAL_DENIED]

    run(scene())


def test_strangers_do_not_see_approvals(pipeline: Pipeline) -> None:
    """Neither list nor resolve tells whether there is one."""

    async def scene() -> None:
        id = (await pipeline.authorize(WORKER, call())).approvals[0].id

        assert not await pending(pipeline, EVE)
        for stranger in (EVE, BOSS, subject("watched")):
            with pytest.raises(NotFound):
                await say(pipeline, stranger, id)

    run(scene())


def test_what_was_asked_for_is_shown_to_those_who_are_cleared_for_the_session(
    pipeline: Pipeline, policy: Holding
) -> None:
    """Without labels to everybody who is asked; with them to the cleared alone; and to nobody once it has ended."""

    async def scene() -> None:
        await pipeline.authorize(WORKER, call(arguments={"canary": 1}))
        (bo,) = await pending(pipeline)
        assert bo.approval.items[0].shown == ""  # a list has no room for it
        (bo,) = await pipeline.approvals(BO, (), bo.approval.id, "", 1)
        assert "canary" in bo.approval.items[0].shown
        await say(pipeline, BO, bo.approval.id, Verdict.DENY)
        (ended,) = await pipeline.approvals(OPERATOR, (), bo.approval.id, "", 1)
        assert ended.approval.items[0].shown == ""

        await pipeline.authorize(WORKER, call(Resource("dataset", "crm"), "data.read"))
        await pipeline.authorize(WORKER, call(replace(LARGE, operation="b"), arguments={"canary": 1}))
        (waits,) = await pending(pipeline)
        (bo,), (ana,) = [await pipeline.approvals(who, (), waits.approval.id, "", 1) for who in (BO, OPERATOR)]
        assert bo.approval.items[0].shown == ""
        assert "canary" in ana.approval.items[0].shown

    run(scene())


def test_what_is_too_long_to_be_shown_says_so(pipeline: Pipeline, policy: Holding) -> None:
    """Whoever is asked knows that they do not see it, and offers nothing in its place."""
    policy.terms = replace(policy.terms, bind=Bind.EXACT)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(arguments={"text": "x" * 5000}))
        (bo,) = await pipeline.approvals(BO, (), held.approvals[0].id, "", 1)
        told = orjson.loads(bo.approval.items[0].shown)
        assert told["too_long_to_be_shown"]["bytes"] > 5000
        with pytest.raises(BadRequest):
            await say(pipeline, BO, bo.approval.id, Verdict.DENY, alternative={"arguments": {"text": "y"}})

    run(scene())


def test_a_key_tells_where_a_hold_stands_without_asking_anew(pipeline: Pipeline, world: World) -> None:
    """The same decision while it waits; then what has come of it, for good."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(key="k"))
        again = await pipeline.authorize(WORKER, call(key="k"))
        assert (again.id, again.effect, again.replayed) == (held.id, Effect.HOLD, True)

        other = await pipeline.authorize(WORKER, call(key="k", arguments={"n": 1}))
        assert codes(other) == [Reason.IDEMPOTENCY_MISMATCH]

        await say(pipeline, BO, held.approvals[0].id)
        allowed = await pipeline.authorize(WORKER, call(key="k"))
        assert (allowed.effect, allowed.replayed) == (Effect.ALLOW, False)
        replayed = await pipeline.authorize(WORKER, call(key="k"))
        assert (replayed.id, replayed.effect, replayed.replayed) == (allowed.id, Effect.ALLOW, True)

    run(scene())


def test_a_caller_may_wait(pipeline: Pipeline) -> None:
    """It is answered as soon as somebody has approved, or denied, and when its time is up."""

    async def scene() -> None:
        for verdict, effect in ((Verdict.APPROVE, Effect.ALLOW), (Verdict.DENY, Effect.DENY)):
            waiting = asyncio.create_task(pipeline.authorize(WORKER, call(), wait=30_000_000_000))
            await asyncio.sleep(0.3)
            (shown,) = await pending(pipeline)
            await say(pipeline, BO, shown.approval.id, verdict)
            assert (await asyncio.wait_for(waiting, 5)).effect is effect

    run(scene())


def test_a_caller_that_waits_in_vain_is_told_what_it_waits_for(pipeline: Pipeline) -> None:
    """Its one request is still there."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(), wait=300_000_000)

        assert held.effect is Effect.HOLD
        assert [each.approval.id for each in await pending(pipeline)] == [held.approvals[0].id]

    run(scene())


def test_an_agent_cannot_bury_others_under_its_requests(pipeline: Pipeline) -> None:
    """So many wait at a time; more are refused with a reason."""

    async def scene() -> None:
        for number in range(MOST_PENDING):
            held = await pipeline.authorize(WORKER, call(replace(LARGE, operation=f"op{number}")))
            assert held.effect is Effect.HOLD
        refused = await pipeline.authorize(WORKER, call(replace(LARGE, operation="more")))

        assert (refused.effect, codes(refused)) == (Effect.DENY, [Reason.APPROVALS_EXHAUSTED])
        assert len(await pending(pipeline)) == MOST_PENDING

    run(scene())


def test_an_observed_agent_asks_nobody(pipeline: Pipeline) -> None:
    """It is judged and recorded the same, and let through."""

    async def scene() -> None:
        answer = await pipeline.authorize(subject("watched", mode=Mode.OBSERVE), call())

        assert (answer.effect, answer.enforced, answer.permits) == (Effect.HOLD, False, True)
        assert not await pending(pipeline)

    run(scene())


def test_a_rule_may_offer_something_else_and_sending_that_accepts_it(pipeline: Pipeline, policy: Holding) -> None:
    """The changed request and no other, once."""
    policy.terms = Terms(roles=("approver",), alternative={"arguments": {"rows": 10, "bcc": None}})

    async def scene() -> None:
        refused = await pipeline.authorize(WORKER, call(arguments={"rows": 999, "bcc": "x", "to": "y"}))
        assert (refused.effect, codes(refused)) == (Effect.DENY, [Reason.ALTERNATIVE_OFFERED])
        assert refused.alternative is not None
        assert refused.alternative["arguments"] == {"rows": 10, "to": "y"}

        again = await pipeline.authorize(WORKER, call(arguments={"rows": 999, "bcc": "x", "to": "y"}))
        assert again.approvals == refused.approvals  # one offer, however often it is asked for

        policy.terms = replace(policy.terms, alternative={})
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 11, "to": "y"}))).effect is Effect.HOLD
        accepted = await pipeline.authorize(WORKER, call(arguments={"rows": 10, "to": "y"}))
        assert accepted.effect is Effect.ALLOW
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 10, "to": "y"}))).effect is Effect.HOLD

    run(scene())


def test_whoever_denies_may_say_what_would_be_allowed(pipeline: Pipeline, policy: Holding) -> None:
    """The requester is told with the refusal, and its grant is for exactly that."""
    policy.terms = Terms(roles=("approver",), supervisor=True)

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call(arguments={"rows": 999}))
        offered = {"arguments": {"rows": 10}}
        await say(pipeline, LEAD, held.approvals[0].id, Verdict.DENY, alternative=offered)

        refused = await pipeline.authorize(WORKER, call(arguments={"rows": 999}))
        assert codes(refused) == [Reason.ALTERNATIVE_OFFERED]
        assert refused.alternative is not None
        assert refused.alternative["arguments"] == {"rows": 10}
        assert (await pipeline.authorize(WORKER, call(arguments={"rows": 10}))).effect is Effect.ALLOW

    run(scene())


@pytest.mark.parametrize(
    "patch", [{"resource": {"id": "other"}}, {"action": "x"}, {"arguments": 1}, {"resource": {"variant": 7}}]
)
def test_an_alternative_changes_what_can_be_changed(pipeline: Pipeline, patch: dict[str, Any]) -> None:
    """Another resource is another question."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        with pytest.raises(BadRequest):
            await say(pipeline, BO, held.approvals[0].id, Verdict.DENY, alternative=patch)
        assert await state(pipeline, held.approvals[0].id) is State.PENDING

    run(scene())


def test_watchers_see_what_waits_then_what_comes_and_what_becomes_of_it(pipeline: Pipeline) -> None:
    """Within a second each."""

    async def scene() -> None:
        first = await pipeline.authorize(WORKER, call())
        watch = pipeline.watch_approvals(BO)
        seen = await asyncio.wait_for(anext(watch), 1)
        assert seen is not None
        assert seen.approval.id == first.approvals[0].id
        assert await asyncio.wait_for(anext(watch), 1) is None

        coming = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        second = await pipeline.authorize(WORKER, call(replace(LARGE, operation="b")))
        seen = await asyncio.wait_for(coming, 1)
        assert seen is not None
        assert seen.approval.id == second.approvals[0].id

        coming = asyncio.ensure_future(anext(watch))
        await say(pipeline, CY, first.approvals[0].id)
        seen = await asyncio.wait_for(coming, 1)
        assert seen is not None
        assert (seen.approval.id, seen.approval.state) == (first.approvals[0].id, State.APPROVED)
        await watch.aclose()

    run(scene())


def test_a_verdict_is_a_decision_that_is_found_with_what_it_is_about(pipeline: Pipeline, world: World) -> None:
    """In the trace of the workflow, with who, what and why in clear."""

    async def scene() -> None:
        opened = await pipeline.open_workflow(WORKER, WorkflowCall(("onboarding",), (), 3_600_000_000_000))
        held = await pipeline.authorize(WORKER, call(workflow=opened.context))
        answer = await say(pipeline, BO, held.approvals[0].id)

        about = await world.store.about(held.id)
        assert [each.record.id for each in about] == [answer.id]
        body = orjson.loads(about[0].record.body)
        assert body["done"]["reason"] == "because"
        assert (body["done"]["outcome"], body["subject"]["id"]) == ("approved", "bo")
        assert answer.id in [each.record.id for each in await pipeline.trace(OPERATOR, opened.id, 50)]

    run(scene())


def test_cheaper_variants_and_approvals_are_named_as_what_would_change_the_answer(pipeline: Pipeline) -> None:
    """A hold teaches: which approval it waits for, and what needs none."""

    async def scene() -> None:
        held = await pipeline.authorize(WORKER, call())
        (reason,) = held.reasons

        assert ("approval", held.approvals[0].id) in [(each.kind, each.name) for each in reason.changes]
        assert ("variant", "small") in [(each.kind, each.name) for each in reason.changes]

    run(scene())


def test_an_agents_like_holds_in_several_workflows_are_one_request_with_a_grant_for_each(pipeline: Pipeline) -> None:
    """One answer for all that was shown; a workflow that was not among them is asked about by itself."""

    async def scene() -> None:
        contexts = [
            (await pipeline.open_workflow(WORKER, WorkflowCall(("onboarding",), (), 3_600_000_000_000))).context
            for _ in range(6)
        ]
        held = [await pipeline.authorize(WORKER, call(workflow=each)) for each in contexts[:5]]
        (shown,) = await pending(pipeline)
        assert {each.approvals[0].id for each in held} == {shown.approval.id}
        assert len(shown.approval.items) == 5

        await say(pipeline, BO, shown.approval.id, version=shown.approval.version)
        for each in contexts[:5]:
            assert (await pipeline.authorize(WORKER, call(workflow=each))).effect is Effect.ALLOW
            assert (await pipeline.authorize(WORKER, call(workflow=each))).effect is Effect.HOLD
        assert (await pipeline.authorize(WORKER, call(workflow=contexts[5]))).effect is Effect.HOLD

    run(scene())
