"""Asking: what permits, what does not, and what happens when there is no answer."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
import remit
from fakes.loop import in_loop
from fakes.sidecar_fake import SidecarFake, sidecar
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.sdk.reading import read_decision
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s

AT_ONCE = remit.Retry(delay=lambda: 0)


def connect(fake: SidecarFake, token: str = "token-support", **options: Any) -> remit.Agent:
    return remit.Agent.connect(fake.address, token, **{"retry": AT_ONCE, **options})


@in_loop
async def test_an_allowed_question_returns_the_decision() -> None:
    """The decision says what was set aside, exactly, and that it may be acted on."""
    async with sidecar() as fake, connect(fake) as agent:
        decision = await agent.authorize("api.call", "service:openai", usage={"input_token": 900})

    assert decision.permitted
    assert decision.effect is remit.Effect.ALLOW
    assert decision.reserved == remit.Money("EUR", 900_000)
    assert decision.reserved_until == 1_800_000_000 * 10**9
    assert decision.codes == ("allowed",)
    assert (decision.log, decision.sequence, decision.policy_revision) == ("fake", 1, "fake-1")


@in_loop
async def test_everything_that_is_said_arrives() -> None:
    """Each keyword reaches its field."""
    async with sidecar() as fake, connect(fake, name="support") as agent:
        first = await agent.authorize("data.read", "dataset:crm", fields=["customers.email"])
        await agent.authorize(
            "api.call",
            "service:openai",
            operation="chat",
            variant="small",
            purpose="support",
            reason="because ✓",
            actor="summarise",
            parent=first,
            arguments={"n": 9007199254740993},
            inputs=[first, "d1"],
            attempt=2,
            usage={"call": 1, "input_token": 7},
            fulfils={"b", "a"},
            key="k1",
        )

    assert list(fake.asked(0).resource.fields) == ["customers.email"]
    assert fake.asked() == s.AuthorizeRequest(
        action="api.call",
        resource=r.Resource(type="service", id="openai", operation="chat", variant="small"),
        context=r.Context(
            purpose="support",
            reason="because ✓",
            actor="summarise",
            parent="d1",
            arguments=b'{"n":9007199254740993}',
            inputs=["d1", "d1"],
            attempt=2,
        ),
        usage=[r.Usage(unit="call", quantity=1), r.Usage(unit="input_token", quantity=7)],
        fulfils=["a", "b"],
        key="k1",
        agent="support",
    )


@in_loop
async def test_a_refusal_raises_denied_with_its_reasons() -> None:
    """The error says why and what is cheaper; `check=False` returns the same decision instead."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("service:openai", "budget_exhausted", cheaper="small", retryable=True)
        with pytest.raises(remit.Denied) as denied:
            await agent.authorize("api.call", "service:openai")
        returned = await agent.authorize("api.call", "service:openai", check=False)

    error = denied.value
    assert type(error) is remit.Denied
    assert (error.codes, error.cheaper, error.retryable) == (("budget_exhausted",), "small", True)
    assert error.reasons[0] == remit.PolicyReason("fake", "budget_exhausted", "denied: budget_exhausted")
    assert str(error) == "denied: budget_exhausted (decision d1)"
    assert not returned.permitted
    assert returned.codes == error.decision.codes


@in_loop
async def test_a_hold_raises_held() -> None:
    """Held is a Denied: who only knows the latter does not act either."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        with pytest.raises(remit.Held) as held:
            await agent.authorize("api.call", "service:openai")

    assert isinstance(held.value, remit.Denied)
    assert held.value.decision.effect is remit.Effect.HOLD


@in_loop
async def test_an_observed_agent_is_let_through() -> None:
    """A refusal that does not bind permits, and says what it would have been."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.observed.add("support")
        fake.deny("service:openai")
        decision = await agent.authorize("api.call", "service:openai")

    assert decision.permitted
    assert (decision.effect, decision.enforced) == (remit.Effect.DENY, False)


@settings(deadline=None)
@given(
    effect=st.integers(-2, 7),
    enforced=st.booleans(),
    id=st.sampled_from(["", "d1"]),
    reasons=st.integers(0, 2),
    retryable=st.booleans(),
)
def test_only_allow_or_not_enforced_permits(
    effect: int, enforced: bool, id: str, reasons: int, retryable: bool
) -> None:
    """Whatever arrives: only a whole decision permits, and of those only ALLOW or one that does not bind."""
    wire = r.Decision(
        id=id,
        effect=effect,  # type: ignore[arg-type]
        enforced=enforced,
        reasons=[r.PolicyReason(policy="p", code="c")] * reasons,
        retryable=retryable,
    )
    try:
        permitted = read_decision(wire).permitted
    except remit.Unavailable:
        permitted = False

    whole = effect in (1, 2, 3) and bool(id) and reasons > 0
    assert permitted == (whole and (effect == r.EFFECT_ALLOW or not enforced))


@in_loop
async def test_an_empty_answer_permits_nothing() -> None:
    """In proto3 an empty decision reads as "not enforced"; it is no decision."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.say("Authorize", s.AuthorizeResponse())
        with pytest.raises(remit.Unavailable, match="not a decision"):
            await agent.authorize("api.call", "service:openai")
        with pytest.raises(remit.Unavailable, match="not a decision"):
            await agent.authorize("api.call", "service:openai", check=False)


@in_loop
async def test_an_obligation_that_nobody_fulfils_does_not_permit() -> None:
    """An ALLOW that obliges to more than was offered is given back, not acted on."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.rule("service:openai", obligations=("redact",))
        with pytest.raises(remit.Unavailable, match="obliges to 'redact'"):
            await agent.authorize("api.call", "service:openai", usage={"call": 1})
        decision = await agent.authorize("api.call", "service:openai", usage={"call": 1}, fulfils=["redact"])

    assert decision.obligations == (remit.Obligation("redact", {"of": "fake"}),)
    assert fake.outcomes == ["not_sent"]
    assert fake.held == [decision.id]


@in_loop
async def test_a_wrong_token_is_unauthenticated() -> None:
    """Neither a foreign nor a missing credential permits."""
    async with sidecar() as fake:
        for token in ("token-nobody", ""):
            async with connect(fake, token) as agent:
                with pytest.raises(remit.Unauthenticated):
                    await agent.authorize("api.call", "service:openai")

    assert fake.decisions == []


@in_loop
async def test_who_may_not_ask_at_all_is_told_so() -> None:
    """A credential for something else is no better than none."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Authorize", grpc.StatusCode.PERMISSION_DENIED, "people do not act")
        with pytest.raises(remit.Unauthenticated, match="people do not act"):
            await agent.authorize("api.call", "service:openai")


@pytest.mark.parametrize(
    "ask",
    [
        {"usage": {"call": -1}},
        {"usage": {"call": 1.5}},
        {"usage": {"call": True}},
        {"usage": {"call": 10**15 + 1}},
        {"arguments": {"a": float("nan")}},
        {"reason": "\ud800"},
        {"operation": 5},
    ],
)
@in_loop
async def test_a_question_that_cannot_be_asked_is_not_sent(ask: dict[str, Any]) -> None:
    """Wrong values are the caller's error, found here."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest):
            await agent.authorize("api.call", "service:openai", **ask)

    assert fake.calls == []


@pytest.mark.parametrize("resource", ["openai", ":openai", "service:", ""])
@in_loop
async def test_a_resource_names_type_and_id(resource: str) -> None:
    """A resource without its type is refused, not guessed."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest, match='"type:id" such as'):
            await agent.authorize("api.call", resource)


@in_loop
async def test_a_misspelt_keyword_is_no_other_question() -> None:
    """An unknown keyword raises instead of being left out."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(TypeError, match="unknown keyword 'varient'"):
            await agent.authorize("api.call", "service:openai", varient="small")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unknown keyword 'varient'"):
            agent.action("api.call", "service:openai", varient="small")  # type: ignore[call-arg]


@in_loop
async def test_the_sidecars_violations_are_named() -> None:
    """INVALID_ARGUMENT comes back with the fields that the sidecar named."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(remit.InvalidRequest, match=r"resource\.type: expected one of service, dataset"):
            await agent.authorize("api.call", "servce:openai")
        fake.fail("Authorize", grpc.StatusCode.INVALID_ARGUMENT, "too long")
        with pytest.raises(remit.InvalidRequest) as vague:
            await agent.authorize("api.call", "service:openai")

    assert vague.value.violations == (remit.Violation("Authorize", "too long"),)


@in_loop
async def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    """The answer was lost after the money was set aside: the retry gets the same decision, and nothing twice."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.drop("Authorize")
        decision = await agent.authorize("api.call", "service:openai", usage={"call": 1})

    assert fake.calls == ["Authorize", "Authorize"]
    assert decision.replayed
    assert len(fake.reservations) == 1


@in_loop
async def test_retries_are_bounded_and_need_a_key() -> None:
    """One retry, none without a key; then there is no answer, so no permission."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.drop("Authorize", times=2)
        with pytest.raises(remit.Unavailable, match="connection lost"):
            await agent.authorize("api.call", "service:openai")
        assert len(fake.calls) == 2

        fake.drop("Authorize")
        with pytest.raises(remit.Unavailable):
            await agent.authorize("api.call", "service:openai", key="")
        assert len(fake.calls) == 3


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "DATA_LOSS"])
@in_loop
async def test_no_other_failure_is_retried(code: str) -> None:
    """Only a lost connection is."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Authorize", grpc.StatusCode[code])
        with pytest.raises(remit.Unavailable, match=code):
            await agent.authorize("api.call", "service:openai")

    assert fake.calls == ["Authorize"]


@in_loop
async def test_every_question_has_a_key_of_its_own() -> None:
    """Two equal questions are two decisions."""
    async with sidecar() as fake, connect(fake) as agent:
        one = await agent.authorize("api.call", "service:openai")
        two = await agent.authorize("api.call", "service:openai")

    assert one.id != two.id
    assert len(fake.asked(0).key) == 32
    assert fake.asked(0).key != fake.asked(1).key


@in_loop
async def test_a_silent_sidecar_is_unavailable_in_time() -> None:
    """A deadline ends the wait, and the sidecar learns it too."""
    async with sidecar() as fake, connect(fake) as agent:
        await agent.authorize("api.call", "service:openai")
        gate = fake.hang("Authorize")
        with pytest.raises(remit.Unavailable, match="DEADLINE_EXCEEDED"):
            await agent.authorize("api.call", "service:openai", timeout=0.4)
        gate.release.set()

    assert 1 < fake.seconds[0] <= 5.1
    assert 0 < fake.seconds[1] < 0.5


@in_loop
async def test_an_absent_sidecar_is_unavailable() -> None:
    """Nobody listens: nothing is permitted."""
    async with remit.Agent.connect("unix:/nonexistent/remit.sock", "t", retry=AT_ONCE) as agent:
        with pytest.raises(remit.Unavailable):
            await agent.authorize("api.call", "service:openai")


@in_loop
async def test_a_sidecar_killed_while_deciding_is_unavailable() -> None:
    """The call under way fails closed; when the sidecar is back, so is the agent."""
    async with sidecar() as fake, connect(fake) as agent:
        gate = fake.hang("Authorize")
        asking = asyncio.create_task(agent.authorize("api.call", "service:openai"))
        await gate.reached.wait()
        await fake.kill()
        with pytest.raises(remit.Unavailable):
            await asking

        await fake.start(fake.address)
        async with asyncio.timeout(5):
            while True:
                try:
                    decision = await agent.authorize("api.call", "service:openai")
                    break
                except remit.Unavailable:
                    await asyncio.sleep(0.01)
        assert decision.permitted


def test_an_obligation_that_cannot_be_read_does_not_permit() -> None:
    """Properties that are no JSON object: no decision."""
    for properties in (b"{", b"[]"):
        with pytest.raises(remit.Unavailable, match="obligation 'x' cannot be read"):
            read_decision(
                r.Decision(
                    id="d1",
                    effect=r.EFFECT_ALLOW,
                    reasons=[r.PolicyReason(code="c")],
                    obligations=[r.Obligation(id="x", properties=properties)],
                )
            )


@in_loop
async def test_an_agent_asks_only_while_connected() -> None:
    """Before and after its block there is nothing to ask, and a second block is refused."""
    async with sidecar() as fake:
        agent = connect(fake)
        with pytest.raises(remit.IllegalState, match="not connected"):
            await agent.authorize("api.call", "service:openai")
        async with agent:
            await agent.authorize("api.call", "service:openai")
        with pytest.raises(remit.IllegalState, match="not connected"):
            await agent.authorize("api.call", "service:openai")
        with pytest.raises(remit.IllegalState, match="connected before"):
            async with agent:
                pass


@pytest.mark.parametrize("rpc", ["Authorize", "Report", "Record"])
@in_loop
async def test_closing_ends_calls_under_way_as_unavailable(
    rpc: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits when the agent is closed gets an error, not a cancellation of its own."""
    monkeypatch.setattr("remit.sdk.agent.LAST_WORDS", 0.05)
    async with sidecar() as fake:
        agent = await connect(fake, timeout=30).open()
        gate = fake.hang(rpc)
        calls: dict[str, Coroutine[Any, Any, object]] = {
            "Authorize": agent.authorize("api.call", "service:openai"),
            "Report": agent.report("d1", "succeeded"),
            "Record": agent.record("approve"),
        }
        asking = asyncio.create_task(calls.pop(rpc))
        for unused in calls.values():
            unused.close()
        await gate.reached.wait()
        await agent.close()
        with pytest.raises(remit.Unavailable):
            await asking
        gate.release.set()

    assert ("1 calls did not end in time" in caplog.text) == (rpc == "Authorize")


@in_loop
async def test_another_loop_is_refused() -> None:
    """The async agent stays in its loop; a thread that asks is told what to use."""
    async with sidecar() as fake, connect(fake) as agent:

        def elsewhere() -> None:
            asyncio.run(agent.authorize("api.call", "service:openai"))

        with pytest.raises(remit.IllegalState, match="another event loop"):
            await asyncio.to_thread(elsewhere)


@in_loop
async def test_errors_survive_copying_and_pickling() -> None:
    """Frameworks carry errors between processes."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.hold("service:openai")
        with pytest.raises(remit.Held) as held:
            await agent.authorize("api.call", "service:openai")

    for twin in (copy.copy(held.value), pickle.loads(pickle.dumps(held.value))):
        assert type(twin) is remit.Held
        assert twin.decision == held.value.decision
        assert str(twin) == str(held.value)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "EUR 0.00"), (1, "EUR 0.000000001"), (12_300_000_000, "EUR 12.30"), (-500_000_000, "EUR -0.50")],
)
def test_money_reads_exactly(nanos: int, text: str) -> None:
    """No digit is rounded away."""
    assert str(remit.Money("EUR", nanos)) == text
