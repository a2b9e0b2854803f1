"""Held questions: waited for, through whatever happens to the sidecar, and what was offered instead."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop, until
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.sdk.reading import read_decision, read_report
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s

HELD = "a-support-service:openai"


def connect(fake: SidecarFake, token: str = "token-support", **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, token, **{"retry": remit.Retry(delay=lambda: 0), **options})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are over at once."""
    monkeypatch.setattr("remit.sdk.agent.FIRST_PAUSE", 0.01)


def asking(agent: remit.Agent, wait: float = 60, **ask: Any) -> asyncio.Task[remit.Decision]:
    return asyncio.ensure_future(agent.authorize("api.call", "service:openai", wait=wait, **ask))


@in_loop
async def test_a_held_question_is_waited_for() -> None:
    """It is asked without waiting first, then with, under the same key; and its answer is the approval's."""
    async with sidecar() as fake, connect(fake, timeout=2) as agent:
        fake.hold("service:openai")
        call = asking(agent, usage={"call": 1})
        await until(lambda: len(fake.waits) == 1)
        assert not call.done()
        await fake.move(HELD, "approved")
        decision = await call

    assert decision.permitted
    assert decision.reserved is not None
    assert fake.calls == ["Authorize", "Authorize"]
    assert 55 < fake.waits[0] <= 60
    assert fake.seconds[1] > 60, "the call may take as long as it waits"
    assert fake.asked(0).key == fake.asked(1).key != ""


@in_loop
async def test_what_is_not_held_does_not_wait() -> None:
    """An answer that is final comes at once, by a call that never waits."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("service:images")
        assert (await asking(agent)).permitted
        with pytest.raises(remit.Denied):
            await agent.authorize("api.call", "service:images", wait=60)

    assert fake.waits == []
    assert fake.calls == ["Authorize", "Authorize"]


@in_loop
async def test_what_is_not_approved_in_time_is_held() -> None:
    """With the approvals that it waits for; the same key asks on."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        with pytest.raises(remit.Held) as held:
            await asking(agent, 0.05, key="k")
        (approval,) = held.value.approvals
        returned = await agent.authorize("api.call", "service:openai", wait=0.05, key="j", check=False)
        await fake.move(HELD, "approved")
        decision = await agent.authorize("api.call", "service:openai", key="k")

    assert approval == remit.PendingApproval(HELD, "fake", "approval_required", "pending", "lead", ("approver",), 0)
    assert returned.effect is remit.Effect.HOLD
    assert decision.permitted
    for twin in (copy.copy(held.value), pickle.loads(pickle.dumps(held.value))):
        assert twin.approvals == held.value.approvals


@in_loop
async def test_a_refusal_ends_the_wait() -> None:
    """By whoever was asked."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        call = asking(agent)
        await until(lambda: fake.waiting == 1)
        await fake.move(HELD, "denied")
        with pytest.raises(remit.Denied) as denied:
            await call

    assert type(denied.value) is remit.Denied
    assert denied.value.codes == ("approval_denied",)
    assert denied.value.approvals[0].state == "denied"


@in_loop
async def test_a_sidecar_that_restarts_is_waited_for_as_well() -> None:
    """Whoever waits goes on with the one that comes back, under the same key."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        call = asking(agent)
        await until(lambda: fake.waiting == 1)
        await fake.kill()
        await asyncio.sleep(0.05)
        await fake.start(fake.address)
        await until(lambda: fake.waiting == 1)
        await fake.move(HELD, "approved")

        assert (await call).permitted
        assert len({fake.asked(number).key for number in range(3)}) == 1


@in_loop
async def test_a_sidecar_that_stays_away_leaves_it_held() -> None:
    """Until the wait is over; an absent one is told at once."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        call = asking(agent, 0.3)
        await until(lambda: fake.waiting == 1)
        await fake.kill()
        with pytest.raises(remit.Held):
            await call
        with pytest.raises(remit.Unavailable):
            await asking(agent)


@in_loop
async def test_a_wait_that_is_cut_short_is_gone_on_with() -> None:
    """A sidecar with too many who wait answers HOLD early: it is asked again, with pauses."""
    async with sidecar() as fake, connect(fake) as agent:
        held = s.AuthorizeResponse(
            decision=r.Decision(id="d", effect=r.EFFECT_HOLD, enforced=True, reasons=[r.PolicyReason(code="c")])
        )
        fake.say("Authorize", held)
        call = asking(agent)
        await until(lambda: len(fake.calls) > 3)
        fake._raw.clear()
        assert (await call).permitted


@in_loop
async def test_who_leaves_waits_no_longer() -> None:
    """The sidecar learns it, and the agent can be closed at once."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        call = asking(agent)
        await until(lambda: len(fake.waits) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: fake.waiting == 0)

    assert fake.outcomes == []


@in_loop
async def test_an_obligation_that_nobody_fulfils_does_not_permit_after_a_wait_either() -> None:
    """It is given back, and not asked for again."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai", obligations=("redact",))
        call = asking(agent, usage={"call": 1})
        await until(lambda: fake.waiting == 1)
        await fake.move(HELD, "approved")
        with pytest.raises(remit.Unavailable, match="obliges to 'redact'"):
            await call

    assert fake.outcomes == ["not_sent"]
    assert fake.calls.count("Authorize") == 2


@in_loop
async def test_an_observed_agent_waits_for_nobody() -> None:
    """A hold that does not bind permits."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.observed.add("support")
        fake.hold("service:openai")
        assert (await asking(agent)).permitted

    assert fake.waits == []


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), True, "5", None])
@in_loop
async def test_a_wait_that_is_none_is_not_sent(wait: Any) -> None:
    """Seconds, and not negative."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest, match="wait"):
            await agent.authorize("api.call", "service:openai", wait=wait)

    assert fake.calls == []


@in_loop
async def test_who_waits_needs_a_key() -> None:
    """Without one each attempt would be a question of its own."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest, match="key"):
            await asking(agent, key="")


@in_loop
async def test_an_act_and_a_governed_function_wait_too() -> None:
    """What goes through the question takes its words."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        ran = []

        @agent.governed("api.call", "service:openai", wait=60)
        async def act() -> None:
            ran.append("governed")

        async def block() -> None:
            async with agent.action("api.call", "service:openai", wait=60):
                ran.append("block")

        both = asyncio.gather(act(), block())
        await until(lambda: fake.waiting == 2)
        assert ran == []
        await fake.move(HELD, "approved")
        await both

    assert sorted(ran) == ["block", "governed"]
    assert fake.outcomes == ["succeeded"] * 2


@in_loop
async def test_what_is_offered_instead_can_be_sent() -> None:
    """Exactly as it was offered: its arguments, and what it is about."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        arguments = {"to": "ana", "n": 9007199254740993, "all": True}
        call = asking(agent, operation="chat", variant="large", arguments=arguments)
        await until(lambda: fake.waiting == 1)
        changes = {"resource": {"variant": "small"}, "arguments": {"n": 10, "all": None}}
        await fake.move(HELD, "denied", alternative=json.dumps(changes).encode())
        with pytest.raises(remit.Denied) as denied:
            await call
        alternative = denied.value.alternative
        fake.rulings.clear()
        assert alternative is not None
        await agent.authorize("api.call", alternative.resource, **alternative.ask)

    assert denied.value.codes == ("alternative_offered",)
    assert alternative == remit.Alternative("service:openai", "chat", "small", (), {"to": "ana", "n": 10})
    sent = fake.asked()
    assert (sent.resource.id, sent.resource.operation, sent.resource.variant) == ("openai", "chat", "small")
    assert json.loads(sent.context.arguments) == {"to": "ana", "n": 10}


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"resource":1}', b'{"resource":{},"arguments":[]}'])
def test_an_alternative_that_cannot_be_read_is_no_answer(text: bytes) -> None:
    """Rather than another question than was offered."""
    wire = r.Decision(id="d", effect=r.EFFECT_DENY, enforced=True, reasons=[r.PolicyReason(code="c")])
    wire.alternative = text
    with pytest.raises(remit.Unavailable, match="alternative cannot be read"):
        read_decision(wire)


def test_a_reason_says_what_would_change_it() -> None:
    """What is left is told where it is told; a state of a later version is none of the known."""
    left = r.Money(currency="EUR", units=1)
    budget = r.Change(kind="budget", name="cx-month", left=left)
    budget.time.FromNanoseconds(7)
    reason = r.PolicyReason(policy="p", code="c", message="m", changes=[budget, r.Change(kind="role", name="finance")])
    pending = r.PendingApproval(id="a", state=99)  # type: ignore[arg-type]
    wire = r.Decision(id="d", effect=r.EFFECT_HOLD, enforced=True, reasons=[reason], approvals=[pending])

    decision = read_decision(wire)

    assert decision.reasons[0].changes == (
        remit.Change("budget", "cx-month", remit.Money("EUR", 10**9), 7),
        remit.Change("role", "finance"),
    )
    assert decision.approvals[0].state == "unspecified"
    assert decision.alternative is None


def test_a_report_says_what_to_do_about_a_failure() -> None:
    """And by what it is undone."""
    reported = read_report(s.ReportResponse(record="r", advice="compensate", compensation="mail/recall"))

    assert (reported.advice, reported.compensation) == ("compensate", "mail/recall")


@in_loop
async def test_an_error_that_waiting_cannot_cure_ends_it() -> None:
    """A credential that is not known any more."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        gate = fake.hang("Authorize")
        call = asking(agent)
        await gate.reached.wait()
        fake.fail("Authorize", grpc.StatusCode.UNAUTHENTICATED, "revoked")
        gate.release.set()
        with pytest.raises(remit.Unauthenticated):
            await call
