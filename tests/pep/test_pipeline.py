"""The pipeline, call by call: what is decided, recorded, reserved and remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson
import pytest
from fakes.world import EUR, OPERATOR, FakeClock, FakePdp, allow_all, subject, verdict
from remit.core.answer import Answer
from remit.core.call import Call, Claimed, HandoffCall, Report, WorkflowCall
from remit.core.decision import Effect, Verdict
from remit.core.errors import BadRequest, Forbidden, IllegalTransition, NotFound, PolicyFailure
from remit.core.model import Mode, Resource
from remit.core.reason import Reason
from remit.pep.pipeline import Pipeline
from remit.pep.world import World

T = TypeVar("T")
SMALL = Resource("service", "model", "chat", "small")
MAIL = Resource("service", "email", "send")
CRM = Resource("dataset", "crm")
ANALYSIS, DECISION, COMMUNICATION = subject("analysis"), subject("decision"), subject("communication")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(
    action: str = "api.call", resource: Resource = SMALL, *, key: str = "", digest: str = "d1", **claimed: Any
) -> Call:
    context = Claimed(**{"purpose": "onboarding", **claimed})
    return Call("Authorize", action, resource, context, key=key, digest=digest)


def codes(answer: Answer) -> list[str]:
    return [each.code for each in answer.reasons]


async def body_of(world: World, id: str) -> Mapping[str, Any]:
    row = await world.store.record(id)
    assert row is not None
    body: Mapping[str, Any] = orjson.loads(row.record.body)
    return body


async def month(pipeline: Pipeline) -> tuple[int, int]:
    """(spent, held) of the monthly budget, nanos."""
    (room,) = await pipeline.budgets(OPERATOR, "month")
    return room.spent, room.held


def set_policy(world: World, policy: Any) -> None:
    pdp = world.installation.pdp
    assert isinstance(pdp, FakePdp)
    pdp.policy = policy


def pass_seconds(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    world.clock.pass_seconds(seconds)


def test_an_allowed_call_is_recorded_and_its_price_is_set_aside(pipeline: Pipeline, world: World) -> None:
    """ALLOW holds one call's price, and the journal says who, what, why and on which facts."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())

        assert (answer.effect, answer.reserved) == (Effect.ALLOW, EUR)
        assert await month(pipeline) == (0, EUR)
        body = await body_of(world, answer.id)
        assert body["subject"]["id"] == "analysis"
        assert body["reasons"] == [{"policy": "access.test", "code": "allowed"}]
        assert body["facts"]["estimate"] == {"amount": str(EUR), "units": {"call": 1}}
        assert body["facts"]["owner"] == "ml"

    run(scene())


def test_arguments_are_sealed_unless_policy_lists_their_path(pipeline: Pipeline, world: World) -> None:
    """Only what `record` allows stands in the journal in clear."""
    set_policy(world, lambda _: verdict("ALLOW", record=["/arguments/customer"]))

    async def scene() -> None:
        arguments = {"customer": 7, "iban": "DE-canary"}
        answer = await pipeline.authorize(ANALYSIS, call(arguments=arguments, reason="canary-why"))

        body = await body_of(world, answer.id)
        assert body["context"]["arguments"]["customer"] == 7
        assert "canary" not in str(body)

    run(scene())


def test_a_full_budget_refuses_and_records_the_refusal(pipeline: Pipeline) -> None:
    """Ten calls of 1 EUR fit a budget of 10; the eleventh is told which budget had no room."""

    async def scene() -> None:
        answers = await asyncio.gather(*(pipeline.authorize(ANALYSIS, call()) for _ in range(64)))

        allowed = [each for each in answers if each.effect is Effect.ALLOW]
        refused = [each for each in answers if each.effect is Effect.DENY]
        assert len(allowed) == 10
        assert all(codes(each) == [Reason.BUDGET_EXHAUSTED] and "month" in each.message for each in refused)
        assert await month(pipeline) == (0, 10 * EUR)

    run(scene())


def test_reading_labels_and_then_sending_is_refused(pipeline: Pipeline, world: World) -> None:
    """What an agent has read decides where it may send, in the same process and at once."""

    async def scene() -> None:
        before = await pipeline.authorize(ANALYSIS, call(resource=MAIL))
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        after = await pipeline.authorize(ANALYSIS, call(resource=MAIL))

        assert before.effect is Effect.ALLOW
        assert codes(after) == [Reason.FLOW_LABEL_EXCEEDS_CLEARANCE]
        assert "pii" in after.message
        assert world.observer.withheld == [("analysis", "email", ("pii", "untrusted"))]  # type: ignore[attr-defined]

    run(scene())


def test_a_denied_read_brings_no_labels(pipeline: Pipeline, world: World) -> None:
    """Labels join with the read's own commit, and only if it was allowed."""
    set_policy(world, lambda document: verdict("DENY", "default_deny"))

    async def scene() -> None:
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        set_policy(world, allow_all)
        answer = await pipeline.authorize(ANALYSIS, call())

        assert (await body_of(world, answer.id))["facts"]["labels"] == {}

    run(scene())


def test_labels_travel_only_by_passport_and_only_once(pipeline: Pipeline, world: World) -> None:
    """Handoff carries the whole session's labels; accepting joins them; a second use is refused."""

    async def scene() -> None:
        read = await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        handed = await pipeline.handoff(ANALYSIS, HandoffCall("communication", Claimed(purpose="onboarding"), "m1"))
        accepted = await pipeline.accept(COMMUNICATION, handed.passport, "m1")
        again = await pipeline.accept(COMMUNICATION, handed.passport, "m1")
        mail = await pipeline.authorize(COMMUNICATION, call(resource=MAIL))

        assert accepted.answer.effect is Effect.ALLOW
        assert (accepted.labels, accepted.agent) == (("pii",), "analysis")
        assert codes(again.answer) == [Reason.PASSPORT_USED]
        assert codes(mail) == [Reason.FLOW_LABEL_EXCEEDS_CLEARANCE]
        assert read.effect is Effect.ALLOW

    run(scene())


@pytest.mark.parametrize(
    ("receiver", "digest", "seconds", "mangle"),
    [
        (DECISION, "m1", 0, str),
        (COMMUNICATION, "m2", 0, str),
        (COMMUNICATION, "m1", 601, str),
        (COMMUNICATION, "m1", 0, lambda token: token[:-4] + "AAAA"),
        (COMMUNICATION, "m1", 0, lambda token: "not a token"),
    ],
    ids=["another receiver", "another message", "expired", "forged", "garbage"],
)
def test_a_passport_that_does_not_fit_joins_nothing(
    pipeline: Pipeline, world: World, receiver: Any, digest: str, seconds: int, mangle: Any
) -> None:
    """Wrong receiver, wrong message, too late, forged: DENY passport_invalid, recorded, no label joined."""

    async def scene() -> None:
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        handed = await pipeline.handoff(ANALYSIS, HandoffCall("communication", Claimed(purpose="onboarding"), "m1"))
        pass_seconds(world, seconds)

        accepted = await pipeline.accept(receiver, mangle(handed.passport), digest)

        assert codes(accepted.answer) == [Reason.PASSPORT_INVALID]
        assert accepted.labels == ()
        assert await world.store.record(accepted.answer.id) is not None
        mail = await pipeline.authorize(receiver, call(resource=MAIL))
        assert mail.effect is Effect.ALLOW

    run(scene())


def test_a_receiver_without_clearance_refuses_the_passport(pipeline: Pipeline, world: World) -> None:
    """The receiver's clearance is checked when it accepts, whatever policy said when it was issued."""
    agents = dict(world.catalogue.agents)
    agents["communication"] = replace(agents["communication"], clearance=())
    world.installation = replace(world.installation, catalogue=replace(world.catalogue, agents=agents))
    set_policy(world, allow_all)

    async def scene() -> None:
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        handed = await pipeline.handoff(ANALYSIS, HandoffCall("communication", Claimed(purpose="onboarding")))

        accepted = await pipeline.accept(COMMUNICATION, handed.passport, "")

        assert codes(accepted.answer) == [Reason.FLOW_LABEL_EXCEEDS_CLEARANCE]

    run(scene())


async def opened(pipeline: Pipeline, **changes: Any) -> tuple[str, str]:
    """A workflow of analysis's: its id and context."""
    asked = WorkflowCall(("onboarding",), ("decision",), 3600 * 1_000_000_000, digest="w")
    workflow = await pipeline.open_workflow(ANALYSIS, replace(asked, **changes))
    assert workflow.answer.effect is Effect.ALLOW
    return workflow.id, workflow.context


def test_a_workflow_is_named_by_its_signed_context(pipeline: Pipeline, world: World) -> None:
    """Calls in it carry its id and its only purpose; its records come back in order, as a tree."""

    async def scene() -> None:
        id, context = await opened(pipeline)
        first = await pipeline.authorize(ANALYSIS, call(workflow=context, purpose=""))
        second = await pipeline.authorize(DECISION, call(workflow=context, parent=first.id))

        rows = await pipeline.trace(ANALYSIS, context, 100)
        assert [(row.record.id, row.record.parent) for row in rows][-2:] == [(first.id, ""), (second.id, first.id)]
        assert {row.record.workflow for row in rows[-2:]} == {id}
        assert (await body_of(world, first.id))["context"]["purpose"] == "onboarding"

    run(scene())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"workflow": "forged.forged.forged"}, Reason.WORKFLOW_INVALID),
        ({"purpose": "marketing"}, Reason.PURPOSE_NOT_GRANTED),
        ({"parent": "d_unheard_of"}, Reason.CONTEXT_INVALID),
    ],
    ids=["forged context", "foreign purpose", "foreign parent"],
)
def test_a_context_that_does_not_hold_is_refused(
    pipeline: Pipeline, change: Mapping[str, str], expected: Reason
) -> None:
    """A forged context is refused, never taken for none; so are a purpose or a parent that are not the workflow's."""

    async def scene() -> None:
        _, context = await opened(pipeline)

        answer = await pipeline.authorize(ANALYSIS, call(**{"workflow": context, **change}))

        assert codes(answer) == [expected]

    run(scene())


def test_a_workflow_is_for_its_agents_until_it_expires_or_closes(pipeline: Pipeline, world: World) -> None:
    """Other agents, later calls and calls after a close are refused as workflow_invalid."""

    async def scene() -> None:
        _, context = await opened(pipeline)
        _, short = await opened(pipeline, ttl=1_000_000_000)
        stranger = await pipeline.authorize(COMMUNICATION, call(workflow=context))
        pass_seconds(world, 2)
        late = await pipeline.authorize(ANALYSIS, call(workflow=short))
        with pytest.raises(NotFound):
            await pipeline.close_workflow(DECISION, context, "not mine to close")
        await pipeline.close_workflow(ANALYSIS, context, "done")
        closed = await pipeline.authorize(DECISION, call(workflow=context))
        with pytest.raises(IllegalTransition):
            await pipeline.close_workflow(ANALYSIS, context, "twice")

        assert [codes(each) for each in (stranger, late, closed)] == [[Reason.WORKFLOW_INVALID]] * 3

    run(scene())


def test_a_trace_id_joins_the_workflow_that_it_was_bound_to(pipeline: Pipeline, world: World) -> None:
    """OpenWorkflow binds (agent, trace); a later call with just that trace id is in the workflow."""

    async def scene() -> None:
        id, _ = await opened(pipeline, trace="ab" * 16)
        mine = await pipeline.authorize(ANALYSIS, call(trace="ab" * 16))
        others = await pipeline.authorize(DECISION, call(trace="ab" * 16))

        rows = [await world.store.record(each.id) for each in (mine, others)]
        assert [row.record.workflow for row in rows if row] == [id, ""]

    run(scene())


def test_the_same_key_gives_the_same_answer_and_holds_once(pipeline: Pipeline) -> None:
    """Three concurrent twins and a later one: one decision, one reservation, the rest replayed."""

    async def scene() -> None:
        twins = await asyncio.gather(*(pipeline.authorize(ANALYSIS, call(key="k1")) for _ in range(3)))
        later = await pipeline.authorize(ANALYSIS, call(key="k1"))

        assert len({each.id for each in (*twins, later)}) == 1
        assert sorted(each.replayed for each in twins) == [False, True, True]
        assert later.replayed
        assert later.committed.sequence == twins[0].committed.sequence
        assert await month(pipeline) == (0, EUR)

    run(scene())


def test_the_same_key_with_another_request_is_refused(pipeline: Pipeline) -> None:
    """A key belongs to its request; the refusal is recorded and does not touch what the key keeps."""

    async def scene() -> None:
        first = await pipeline.authorize(ANALYSIS, call(key="k1"))
        other = await pipeline.authorize(ANALYSIS, call(key="k1", digest="d2"))
        again = await pipeline.authorize(ANALYSIS, call(key="k1"))

        assert codes(other) == [Reason.IDEMPOTENCY_MISMATCH]
        assert (again.id, again.effect) == (first.id, Effect.ALLOW)

    run(scene())


def test_another_agents_key_is_its_own(pipeline: Pipeline) -> None:
    """Keys are scoped to the subject: no agent can read another's answers."""

    async def scene() -> None:
        mine = await pipeline.authorize(ANALYSIS, call(key="k1"))
        theirs = await pipeline.authorize(DECISION, call(key="k1"))

        assert mine.id != theirs.id
        assert not theirs.replayed

    run(scene())


def test_what_retrying_can_cure_is_not_kept(pipeline: Pipeline, world: World) -> None:
    """OPA away: DENY pdp_unavailable, retryable; the same key asks again once OPA is back."""

    def away(document: Mapping[str, Any]) -> Verdict:
        raise PolicyFailure(Reason.PDP_UNAVAILABLE, "connection refused")

    async def scene() -> None:
        set_policy(world, away)
        refused = await pipeline.authorize(ANALYSIS, call(key="k1"))
        set_policy(world, allow_all)
        answer = await pipeline.authorize(ANALYSIS, call(key="k1"))

        assert (codes(refused), refused.retryable) == ([Reason.PDP_UNAVAILABLE], True)
        assert (answer.effect, answer.replayed) == (Effect.ALLOW, False)

    run(scene())


def test_facts_that_change_while_policy_thinks_are_asked_again(pipeline: Pipeline, world: World) -> None:
    """A read that lands between the question and the commit cannot be overtaken by a send."""
    asked = 0

    async def scene() -> None:
        nonlocal asked
        inner = world.installation.pdp

        class Slow:
            revision = "r1"

            async def ask(self, document: Mapping[str, Any]) -> Verdict:
                nonlocal asked
                asked += 1
                answer = await inner.ask(document)
                if asked == 1:
                    plain = replace(world.installation, pdp=inner)
                    world.installation, mine = plain, world.installation
                    await pipeline.authorize(ANALYSIS, call("data.read", CRM))
                    world.installation = mine
                return answer

        world.installation = replace(world.installation, pdp=Slow())
        answer = await pipeline.authorize(ANALYSIS, call(resource=MAIL))

        assert asked == 2
        assert codes(answer) == [Reason.FLOW_LABEL_EXCEEDS_CLEARANCE]

    run(scene())


def test_facts_that_change_twice_deny_retryably(pipeline: Pipeline, world: World) -> None:
    """A policy revision that moves under both attempts ends as DENY facts_changed."""

    async def scene() -> None:
        world.store.activate("r2")  # type: ignore[attr-defined]

        answer = await pipeline.authorize(ANALYSIS, call())

        assert (codes(answer), answer.retryable) == ([Reason.FACTS_CHANGED], True)
        assert await month(pipeline) == (0, 0)

    run(scene())


def test_a_report_settles_the_real_cost_and_a_second_one_replays(pipeline: Pipeline) -> None:
    """Where the catalogue trusts the agent's metering, the whole real cost is settled, more or less."""

    async def scene() -> None:
        less = await pipeline.authorize(ANALYSIS, call())
        more = await pipeline.authorize(ANALYSIS, call())
        voided = await pipeline.report(ANALYSIS, Report(less.id, "not_sent"))
        told = Report(more.id, "succeeded", {"call": 3})
        settled = await pipeline.report(ANALYSIS, told)
        again = await pipeline.report(ANALYSIS, told)
        with pytest.raises(IllegalTransition):
            await pipeline.report(ANALYSIS, Report(more.id, "failed"))

        assert (voided.state, voided.cost) == ("voided", 0)
        assert (settled.state, settled.cost, settled.overrun) == ("settled", 3 * EUR, 2 * EUR)
        assert (again.replayed, again.cost, again.overrun) == (True, 3 * EUR, 2 * EUR)
        assert await month(pipeline) == (3 * EUR, 0)

    run(scene())


def test_an_agents_word_does_not_lower_what_remit_was_to_meter(pipeline: Pipeline) -> None:
    """Without `metering: agent`, not_sent and a smaller usage are recorded as claimed, and charged in full."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call(resource=MAIL))

        told = await pipeline.report(ANALYSIS, Report(answer.id, "not_sent"))

        assert (told.state, told.cost, told.claimed) == ("settled", EUR // 10, True)

    run(scene())


def test_nobody_reports_for_another(pipeline: Pipeline) -> None:
    """A decision of another agent is not found, and stays held."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        with pytest.raises(NotFound):
            await pipeline.report(DECISION, Report(answer.id, "not_sent"))

        assert await month(pipeline) == (0, EUR)

    run(scene())


def test_what_is_never_reported_lapses_and_a_late_report_replaces_the_presumption(
    pipeline: Pipeline, world: World
) -> None:
    """Past its deadline a hold is charged as reserved; the truth may come later, once."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        pass_seconds(world, 301)
        await pipeline.sweep()
        presumed = await month(pipeline)
        late = await pipeline.report(ANALYSIS, Report(answer.id, "succeeded", {"call": 2}))

        assert presumed == (EUR, 0)
        assert late.state == "settled"
        assert await month(pipeline) == (2 * EUR, 0)

    run(scene())


def test_progress_prolongs_a_hold(pipeline: Pipeline, world: World) -> None:
    """A long stream keeps its money set aside as long as it reports progress."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        pass_seconds(world, 200)
        await pipeline.report(ANALYSIS, Report(answer.id, "progress"))
        pass_seconds(world, 200)
        await pipeline.sweep()

        assert await month(pipeline) == (0, EUR)

    run(scene())


def test_progress_does_not_hold_money_for_ever(pipeline: Pipeline, world: World) -> None:
    """After a day of progress the hold is not prolonged any more: it lapses."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        for _ in range(400):
            pass_seconds(world, 250)
            try:
                await pipeline.report(ANALYSIS, Report(answer.id, "progress"))
            except IllegalTransition:
                break
        pass_seconds(world, 400)
        await pipeline.sweep()

        assert await month(pipeline) == (EUR, 0)

    run(scene())


def test_what_others_spend_is_for_people(pipeline: Pipeline) -> None:
    """An agent does not list budgets; nor does an adjustment make a limit that the ledger cannot count."""

    async def scene() -> None:
        with pytest.raises(Forbidden):
            await pipeline.budgets(ANALYSIS, "")
        with pytest.raises(BadRequest):
            for _ in range(4):
                await pipeline.adjust(OPERATOR, "month", "", 4 * 10**18, "more")

    run(scene())


def test_observe_mode_judges_meters_and_lets_through(pipeline: Pipeline, world: World) -> None:
    """An observed agent is told DENY, enforced false; its call is metered although the budget had no room."""
    observed = subject("watched", mode=Mode.OBSERVE)

    async def scene() -> None:
        answers = [await pipeline.authorize(observed, call()) for _ in range(11)]
        last = answers[-1]
        reported = await pipeline.report(observed, Report(last.id, "succeeded"))

        assert [each.effect for each in answers[:10]] == [Effect.ALLOW] * 10
        assert (codes(last), last.enforced) == ([Reason.BUDGET_EXHAUSTED], False)
        assert reported.state == "settled"

    run(scene())


def test_a_halt_stops_the_next_decision_in_every_mode_until_it_is_resumed(pipeline: Pipeline) -> None:
    """halt → DENY halted, enforced, observed agents too; resume → ALLOW."""
    observed = subject("watched", mode=Mode.OBSERVE)

    async def scene() -> None:
        placed = await pipeline.halt(OPERATOR, "agent", "watched", "runs wild")
        stopped = await pipeline.authorize(observed, call())
        other = await pipeline.authorize(DECISION, call())
        lifted = await pipeline.resume(OPERATOR, "agent", "watched", "repaired")
        again = await pipeline.authorize(observed, call())

        assert (codes(stopped), stopped.enforced) == ([Reason.HALTED], True)
        assert other.effect is Effect.ALLOW
        assert lifted.halts == placed.halts
        assert again.effect is Effect.ALLOW

    run(scene())


def test_everything_can_be_halted_and_people_can_still_resume(pipeline: Pipeline) -> None:
    """A halt of all stops every agent, not the person who lifts it."""

    async def scene() -> None:
        await pipeline.halt(OPERATOR, "all", "", "incident")
        stopped = [await pipeline.authorize(each, call()) for each in (ANALYSIS, DECISION)]
        lifted = await pipeline.resume(OPERATOR, "all", "", "over")

        assert [codes(each) for each in stopped] == [[Reason.HALTED]] * 2
        assert len(lifted.halts) == 1

    run(scene())


def test_a_halt_of_policy_lets_the_revision_decide_that_it_names(pipeline: Pipeline, world: World) -> None:
    """So that after a roll-out nobody decides by the old one; the revision in force here is r1."""

    async def scene() -> None:
        await pipeline.halt(OPERATOR, "policy", "r1", "roll-out")
        current = await pipeline.authorize(ANALYSIS, call())
        await pipeline.halt(OPERATOR, "policy", "r2", "roll-out")
        old = await pipeline.authorize(ANALYSIS, call())
        await pipeline.resume(OPERATOR, "policy", "r2", "taken back")
        again = await pipeline.authorize(ANALYSIS, call())

        assert current.effect is Effect.ALLOW
        assert codes(old) == [Reason.HALTED]
        assert again.effect is Effect.ALLOW

    run(scene())


def test_adjusting_a_budget_makes_room_and_lowering_takes_it(pipeline: Pipeline) -> None:
    """Eleven calls fit after one more euro; below what is spent nothing new is granted."""

    async def scene() -> None:
        for _ in range(10):
            await pipeline.authorize(ANALYSIS, call())
        adjusted = await pipeline.adjust(OPERATOR, "month", "", EUR, "more")
        eleventh = await pipeline.authorize(ANALYSIS, call())
        await pipeline.adjust(OPERATOR, "month", "", -5 * EUR, "less")
        twelfth = await pipeline.authorize(ANALYSIS, call())

        assert adjusted.room is not None
        assert adjusted.room.limit == 11 * EUR
        assert eleventh.effect is Effect.ALLOW
        assert codes(twelfth) == [Reason.BUDGET_EXHAUSTED]

    run(scene())


def test_an_agent_sees_its_own_decisions_and_auditors_see_all(pipeline: Pipeline) -> None:
    """Another agent's decision outside a shared workflow is not found; agents do not verify the journal."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        row, _ = await pipeline.decision(ANALYSIS, answer.id)
        seen, _ = await pipeline.decision(OPERATOR, answer.id)
        with pytest.raises(NotFound):
            await pipeline.decision(DECISION, answer.id)
        with pytest.raises(Forbidden):
            await pipeline.verify(ANALYSIS)

        assert row.record.id == seen.record.id == answer.id

    run(scene())


def test_refused_identities_are_recorded_first_and_then_counted(pipeline: Pipeline, world: World) -> None:
    """A thousand bad tokens from one peer make two records a minute, not a thousand."""

    async def scene() -> None:
        for _ in range(1000):
            await pipeline.refused("unix:", "identity", "unknown")
        pass_seconds(world, 61)
        await pipeline.sweep()

        rows = [row for row in await world.store.journal(0, 100) if row.record.kind == "refused.identity"]
        assert [orjson.loads(row.record.body)["count"] for row in rows] == [1, 999]

    run(scene())
