"""What an agent may try from its own place with its own credential, and must not get."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.world import EUR, OPERATOR, FakeClock, FakePdp, clearance_policy, subject, verdict
from fakes.world import world as make_world
from remit.backends.store_sqlite import SqliteStore
from remit.core.answer import Answer
from remit.core.call import Call, Claimed, HandoffCall, Report, WorkflowCall
from remit.core.catalogue import Catalogue, Price
from remit.core.dataset import Table
from remit.core.decision import Effect
from remit.core.errors import BadRequest, Forbidden, IllegalTransition
from remit.core.model import Mode, Resource, Subject
from remit.core.reason import Reason
from remit.core.reservation import MAX_NANOS
from remit.pep.pipeline import Pipeline
from remit.pep.world import SECOND, Installation, World

T = TypeVar("T")
SMALL = Resource("service", "model", "chat", "small")
MAIL = Resource("service", "email", "send")
CRM = Resource("dataset", "crm")
ANALYSIS, DECISION, COMMUNICATION = subject("analysis"), subject("decision"), subject("communication")
OBSERVED = subject("watched", mode=Mode.OBSERVE)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def call(action: str = "api.call", resource: Resource = SMALL, *, key: str = "", **claimed: Any) -> Call:
    return Call("Authorize", action, resource, Claimed(**{"purpose": "onboarding", **claimed}), key=key, digest="d1")


def codes(answer: Answer) -> list[str]:
    return [each.code for each in answer.reasons]


def may(answer: Answer) -> bool:
    """Whether an enforcement point goes on."""
    return answer.effect is Effect.ALLOW or not answer.enforced


def set_policy(world: World, policy: Any) -> None:
    pdp = world.installation.pdp
    assert isinstance(pdp, FakePdp)
    pdp.policy = policy


def reload(world: World, catalogue: Catalogue, policy: Any = clearance_policy) -> None:
    """Take another catalogue, as the sidecar does."""
    revision = f"{world.installation.pdp.revision}+"
    world.installation = Installation(catalogue, FakePdp(policy, revision))
    world.store.activate(revision)


def with_agent(catalogue: Catalogue, name: str, **changes: Any) -> Catalogue:
    return replace(catalogue, agents={**catalogue.agents, name: replace(catalogue.agents[name], **changes)})


def pass_seconds(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    world.clock.pass_seconds(seconds)


def opening(**changes: Any) -> WorkflowCall:
    return replace(WorkflowCall(("onboarding",), (), 3600 * SECOND, digest="w"), **changes)


async def month(pipeline: Pipeline) -> tuple[int, int]:
    """(spent, held) of the monthly budget, nanos."""
    (room,) = await pipeline.budgets(OPERATOR, "month")
    return room.spent, room.held


async def labels(world: World, pipeline: Pipeline, who: Subject = ANALYSIS) -> set[str]:
    """The labels that an agent's next call is judged on."""
    await pipeline.record(who, "look", Call("Record", "decision.make", Resource("decision", who.id), Claimed()))
    pdp = world.installation.pdp
    assert isinstance(pdp, FakePdp)
    return set(pdp.documents[-1]["facts"]["labels"])


# Observe mode: what is let through is the agent's own act, nothing else.


@pytest.mark.parametrize("act", ["halt", "resume", "adjust"])
def test_an_observed_agent_neither_halts_nor_resumes_nor_adjusts(pipeline: Pipeline, world: World, act: str) -> None:
    """A denied act of oversight binds in every mode: it changes what holds for others."""

    def only_people(document: Any) -> Any:
        return verdict("ALLOW" if document["subject"]["type"] == "person" else "DENY", "role_not_granted")

    set_policy(world, only_people)

    async def scene() -> None:
        await pipeline.halt(OPERATOR, "agent", "decision", "why")
        if act == "halt":
            answer = (await pipeline.halt(OBSERVED, "agent", "communication", "why")).answer
        elif act == "resume":
            answer = (await pipeline.resume(OBSERVED, "agent", "decision", "why")).answer
        else:
            answer = (await pipeline.adjust(OBSERVED, "month", "", 100 * EUR, "why")).answer

        assert not may(answer)
        assert [halt.value for halt in await world.store.halts()] == ["decision"]
        assert [room.limit for room in await pipeline.budgets(OPERATOR, "month")] == [10 * EUR]

    run(scene())


@pytest.mark.parametrize("claim", [{"workflow": "a.b.c"}, {"parent": "d_unknown"}], ids=["workflow", "parent"])
def test_a_halted_observed_agent_does_not_slip_through_by_a_bad_context(pipeline: Pipeline, claim: Any) -> None:
    """A halt binds whatever else is wrong with the call."""

    async def scene() -> None:
        await pipeline.halt(OPERATOR, "agent", "watched", "why")
        assert not may(await pipeline.authorize(OBSERVED, call(**claim)))

    run(scene())


@pytest.mark.parametrize("claim", [{"workflow": "a.b.c"}, {"parent": "d_unknown"}], ids=["workflow", "parent"])
def test_what_an_observed_agent_reads_under_a_bad_context_is_remembered(
    pipeline: Pipeline, world: World, claim: Any
) -> None:
    """A read that is let through brings its labels, and a call that is let through is held, as any other."""

    async def scene() -> None:
        read = await pipeline.authorize(OBSERVED, call("data.read", CRM, **claim))
        called = await pipeline.authorize(OBSERVED, call(**claim))

        assert may(read) and read.effect is Effect.DENY
        assert called.reserved == EUR and await month(pipeline) == (0, EUR)
        assert await labels(world, pipeline, OBSERVED) == {"pii"}

    run(scene())


def test_naming_what_is_not_there_reads_no_less(pipeline: Pipeline, world: World) -> None:
    """One unknown field or operation makes a resource unknown; its labels are those of all of it."""
    dataset = replace(world.catalogue.datasets["crm"], labels=(), tables={"t": Table({"iban": ("pii",), "age": ()})})
    email = replace(world.catalogue.services["email"], operations=("send",))
    services = {**world.catalogue.services, "email": email}
    reload(world, replace(world.catalogue, datasets={"crm": dataset}, services=services), lambda _: verdict("DENY"))

    async def scene() -> None:
        await pipeline.authorize(OBSERVED, call("data.read", Resource("dataset", "crm", fields=("t.iban", "t.nope"))))
        await pipeline.authorize(OBSERVED, call(resource=Resource("service", "email", "nope")))
        assert await labels(world, pipeline, OBSERVED) == {"pii", "untrusted"}

    run(scene())


def test_purposes_that_were_not_granted_are_nobody_elses(pipeline: Pipeline, world: World) -> None:
    """A workflow that an observed agent opens against the policy is its own: no enforced agent may use it."""
    set_policy(world, lambda document: verdict("DENY" if document["subject"]["mode"] == "observe" else "ALLOW"))

    async def scene() -> None:
        workflow = await pipeline.open_workflow(OBSERVED, opening(purposes=("payroll",)))
        mine = await pipeline.authorize(OBSERVED, call(workflow=workflow.context, purpose="payroll"))
        other = await pipeline.authorize(DECISION, call(workflow=workflow.context, purpose="payroll"))

        assert may(workflow.answer) and may(mine)
        assert codes(other) == [Reason.WORKFLOW_INVALID]

    run(scene())


def test_a_halt_is_not_outrun_by_changing_facts(pipeline: Pipeline, world: World) -> None:
    """An observed agent whose facts change twice is stopped all the same if a halt is what changed."""
    decided = 0

    async def scene() -> None:
        pdp = world.installation.pdp
        assert isinstance(pdp, FakePdp)
        ask = pdp.ask

        async def meanwhile(document: Any) -> Any:
            nonlocal decided
            decided += 1
            if decided == 1:
                pdp.ask = ask  # type: ignore[method-assign]
                await pipeline.authorize(OBSERVED, call("data.read", CRM))
                pdp.ask = meanwhile  # type: ignore[method-assign]
            if decided == 2:
                pdp.ask = ask  # type: ignore[method-assign]
                await pipeline.halt(OPERATOR, "agent", "watched", "why")
            return await ask(document)

        pdp.ask = meanwhile  # type: ignore[method-assign]
        answer = await pipeline.authorize(OBSERVED, call())
        assert decided >= 2
        assert not may(answer)

    run(scene())


# Idempotency keys: a kept answer is the same permission, not a way around what changed.


def test_a_kept_permission_is_not_replayed_to_whom_a_halt_covers(pipeline: Pipeline) -> None:
    """Replaying a key while halted is refused; the answer is the same again once it is resumed."""

    async def scene() -> None:
        first = await pipeline.authorize(ANALYSIS, call(key="k"))
        for scope, value in (("agent", "analysis"), ("service", "model"), ("all", "")):
            await pipeline.halt(OPERATOR, scope, value, "why")
            assert codes(await pipeline.authorize(ANALYSIS, call(key="k"))) == [Reason.HALTED]
            await pipeline.resume(OPERATOR, scope, value, "why")
        again = await pipeline.authorize(ANALYSIS, call(key="k"))

        assert (again.id, again.effect, again.replayed) == (first.id, Effect.ALLOW, True)

    run(scene())


def test_what_was_let_through_in_observe_mode_is_refused_in_enforce_mode(pipeline: Pipeline, world: World) -> None:
    """A kept DENY binds as the agent's present mode says, not as the one when it was given."""
    set_policy(world, lambda _: verdict("DENY", "default_deny"))

    async def scene() -> None:
        observed = await pipeline.authorize(OBSERVED, call(key="k"))
        reload(world, with_agent(world.catalogue, "watched", mode="enforce"))
        enforced = await pipeline.authorize(OBSERVED, call(key="k"))

        assert may(observed)
        assert enforced.replayed and not may(enforced)

    run(scene())


def test_a_key_is_one_rpcs_alone(pipeline: Pipeline) -> None:
    """The same key in another RPC neither replays nor collides."""

    async def scene() -> None:
        allowed = await pipeline.authorize(ANALYSIS, call(key="k"))
        recorded = await pipeline.record(
            ANALYSIS, "s", Call("Record", "decision.make", Resource("decision", "analysis"), Claimed(), key="k")
        )
        workflow = await pipeline.open_workflow(ANALYSIS, opening(key="k"))
        handed = await pipeline.handoff(ANALYSIS, HandoffCall("decision", Claimed(), key="k"))

        answers = (allowed, recorded, workflow.answer, handed.answer)
        assert len({each.id for each in answers}) == 4
        assert not any(each.replayed for each in answers)

    run(scene())


# Reloads: a decision is judged with one catalogue's facts, the caller's own included.


@pytest.mark.parametrize("change", ["enforced", "gone"])
def test_who_was_identified_before_a_reload_is_judged_after_it(pipeline: Pipeline, world: World, change: str) -> None:
    """A subject that was read from the old catalogue has the new one's mode; one that is gone is enforced."""
    catalogue = world.catalogue
    set_policy(world, lambda _: verdict("DENY", "default_deny"))

    async def scene() -> None:
        assert may(await pipeline.authorize(OBSERVED, call()))
        if change == "enforced":
            changed = with_agent(catalogue, "watched", mode="enforce")
        else:
            changed = replace(catalogue, agents={"decision": catalogue.agents["decision"]})
        reload(world, changed, lambda _: verdict("DENY", "default_deny"))
        assert not may(await pipeline.authorize(OBSERVED, call()))

    run(scene())


# Labels: only by Handoff and Accept, and never fewer than the sender held when it wrote.


def test_a_passport_without_a_message_covers_what_the_sender_read_since(pipeline: Pipeline, world: World) -> None:
    """A passport that was fetched early, for no message in particular, does not pass on a later read unlabelled."""

    async def scene() -> None:
        handed = await pipeline.handoff(ANALYSIS, HandoffCall("communication", Claimed(purpose="onboarding")))
        bound = await pipeline.handoff(ANALYSIS, HandoffCall("decision", Claimed(purpose="onboarding"), "m1"))
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))

        accepted = await pipeline.accept(COMMUNICATION, handed.passport, "")
        written_before = await pipeline.accept(DECISION, bound.passport, "m1")

        assert accepted.labels == ("pii",)
        assert await labels(world, pipeline, COMMUNICATION) == {"pii"}
        assert written_before.labels == ()

    run(scene())


def test_a_message_to_an_agent_needs_a_passport(pipeline: Pipeline) -> None:
    """Authorize does not allow a message to an agent: nothing would carry the labels."""

    async def scene() -> None:
        await pipeline.authorize(ANALYSIS, call("data.read", CRM))
        with pytest.raises(BadRequest, match="Handoff"):
            await pipeline.authorize(ANALYSIS, call("message.send", Resource("agent", "communication")))

    run(scene())


def test_no_close_of_its_own_washes_an_agent(pipeline: Pipeline, world: World) -> None:
    """Reading in a workflow of one's own, closing it, opening another, calling without one: the labels stay."""

    async def scene() -> None:
        first = await pipeline.open_workflow(ANALYSIS, opening())
        await pipeline.authorize(ANALYSIS, call("data.read", CRM, workflow=first.context))
        await pipeline.close_workflow(ANALYSIS, first.id, "")
        assert await labels(world, pipeline) == {"pii"}
        second = await pipeline.open_workflow(ANALYSIS, opening())
        mail = await pipeline.authorize(ANALYSIS, call(resource=MAIL, workflow=second.context))
        assert codes(mail) == [Reason.FLOW_LABEL_EXCEEDS_CLEARANCE]

    run(scene())


def test_a_halted_agent_closes_nothing(pipeline: Pipeline, world: World) -> None:
    """A close ends what others hold in a workflow: who is halted, or whose workflow is, does not bring it about."""

    async def scene() -> None:
        flow = await pipeline.open_workflow(ANALYSIS, opening())
        await pipeline.authorize(DECISION, call("data.read", CRM, workflow=flow.context))
        for scope, value in (("agent", "analysis"), ("workflow", flow.id), ("all", "")):
            await pipeline.halt(OPERATOR, scope, value, "why")
            with pytest.raises(Forbidden, match="halt"):
                await pipeline.close_workflow(ANALYSIS, flow.id, "")
            await pipeline.resume(OPERATOR, scope, value, "why")
        assert await labels(world, pipeline, DECISION) == {"pii"}
        await pipeline.halt(OPERATOR, "all", "", "why")
        await pipeline.close_workflow(OPERATOR, flow.id, "people still may")

    run(scene())


def test_a_workflow_whose_context_nobody_could_send_is_not_opened(pipeline: Pipeline) -> None:
    """As many agents and purposes as the message takes do not fit into a context: malformed, not ALLOW."""

    async def scene() -> None:
        with pytest.raises(BadRequest, match="agents"):
            await pipeline.open_workflow(ANALYSIS, opening(agents=tuple(f"agent-{n:050}" for n in range(64))))
        fits = await pipeline.open_workflow(ANALYSIS, opening(agents=tuple(f"agent-{n:02}" for n in range(32))))
        assert len(fits.context) <= 1024

    run(scene())


# Money: one agent's word never stops the ledger.


@pytest.fixture(name="ledger")
def _ledger(tmp_path: Path) -> World:
    """The world on the real ledger, with a price at which one report reaches the largest amount."""
    clock, made = FakeClock(), Ed25519PrivateKey.generate()
    prices = (
        Price(match="model/*", unit="call", amount=EUR, currency="EUR"),
        Price(match="model/*", unit="token", amount=MAX_NANOS // 10**6, currency="EUR"),
    )
    world = make_world(None, clearance_policy, prices=prices)  # type: ignore[arg-type]
    world.store = SqliteStore(tmp_path / "state.db", clock=clock, ids=world.ids, key=made)
    world.store.activate("r1")
    world.clock = clock
    return world


def test_reports_of_huge_usage_do_not_stop_the_ledger(ledger: World) -> None:
    """Each report is booked, others' holds still end, and the budget is simply full."""
    pipeline = Pipeline(ledger)

    async def scene() -> None:
        asked = replace(call(), usage={"token": 0})
        mine = [await pipeline.authorize(ANALYSIS, asked) for _ in range(9)]
        other = await pipeline.authorize(DECISION, asked)
        for each in mine:
            await pipeline.report(ANALYSIS, Report(each.id, "succeeded", {"token": 10**6 - 1, "odd": 10**15}))
        pass_seconds(ledger, 3600)
        await pipeline.sweep()
        ended = await ledger.store.reservation(other.id)

        assert ended is not None and ended.state == "lapsed"
        assert (await month(pipeline))[1] == 0
        assert codes(await pipeline.authorize(DECISION, asked)) == [Reason.BUDGET_EXHAUSTED]
        await ledger.store.close()

    run(scene())


@pytest.mark.parametrize("quantity", [2 * 10**6, 10**9, 10**15])
def test_what_the_ledger_cannot_hold_is_refused_on_the_record(ledger: World, quantity: int) -> None:
    """An estimate beyond the largest amount is a DENY with a record; such a report is recorded as claimed."""
    ledger.installation = replace(ledger.installation, catalogue=replace(ledger.catalogue, budgets={}))
    set_policy(ledger, lambda _: verdict("ALLOW"))
    pipeline = Pipeline(ledger)

    async def scene() -> None:
        asked = await pipeline.authorize(ANALYSIS, replace(call(), usage={"token": quantity}))
        small = await pipeline.authorize(ANALYSIS, replace(call(), usage={"token": 0}))
        told = await pipeline.report(ANALYSIS, Report(small.id, "succeeded", {"token": quantity}))
        assert codes(asked) == [Reason.PRICE_UNKNOWN]
        assert (told.state, told.claimed) == ("settled", True)
        await ledger.store.close()

    run(scene())


def test_one_sweep_ends_every_hold_that_is_overdue(pipeline: Pipeline, world: World) -> None:
    """However many an agent left behind: none outlives its deadline by more than a sweep."""
    reload(world, replace(world.catalogue, budgets={}))

    async def scene() -> None:
        await asyncio.gather(*(pipeline.authorize(ANALYSIS, call()) for _ in range(1000)))
        pass_seconds(world, 3600)
        await pipeline.sweep()
        assert await world.store.due(world.clock.now(), 1) == ()

    run(scene())


def test_the_same_report_twice_at_once_is_booked_once(pipeline: Pipeline) -> None:
    """Twins get the same state and cost; another report is refused."""

    async def scene() -> None:
        answer = await pipeline.authorize(ANALYSIS, call())
        told = Report(answer.id, "succeeded", {"call": 3})
        twins = await asyncio.gather(*(pipeline.report(ANALYSIS, told) for _ in range(4)))
        assert {(each.state, each.cost) for each in twins} == {("settled", 3 * EUR)}
        assert [each.replayed for each in twins].count(False) == 1
        with pytest.raises(IllegalTransition):
            await pipeline.report(ANALYSIS, replace(told, usage={"call": 1}))
        assert await month(pipeline) == (3 * EUR, 0)

    run(scene())
