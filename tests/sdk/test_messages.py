"""Messages between agents carry their labels; decisions of an agent's own are recorded."""

from __future__ import annotations

from hashlib import sha256

import grpc
import pytest
import remit
from fakes.loop import in_loop
from fakes.sidecar_fake import SidecarFake, sidecar
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s


def connect(fake: SidecarFake, token: str = "token-support") -> remit.Agent:
    return remit.Agent.connect(fake.address, token, retry=remit.Retry(delay=lambda: 0))


@in_loop
async def test_labels_follow_a_message() -> None:
    """What the sender has read, the receiver holds after accepting; its block acts in the message's workflow."""
    async with sidecar() as fake, connect(fake) as support, connect(fake, "token-writer") as writer:
        fake.reads["dataset:crm"] = {"pii"}
        async with remit.workflow(support, purposes=["support"]) as run:
            await support.authorize("data.read", "dataset:crm")
            passport = await support.handoff("writer", message="Dear Ana…", reason="to be sent")
        fake.runs[run.id].state = "open"
        async with writer.accept(passport, message=b"Dear Ana\xe2\x80\xa6") as accepted:
            await writer.authorize("api.call", "service:email")
        await writer.authorize("api.call", "service:email")

    assert (accepted.sender, accepted.labels, accepted.workflow) == ("support", ("pii",), run.context)
    assert fake.labels["writer"] == {"pii"}
    assert fake.passports[passport].digest == sha256("Dear Ana…".encode()).hexdigest()
    assert fake.passports[passport].context.reason == "to be sent"
    inside, outside = fake.asked(1).context, fake.asked(2).context
    assert (inside.workflow, inside.parent) == (run.context, accepted.decision.id)
    assert (outside.workflow, outside.parent) == ("", "")


@in_loop
async def test_accepting_alone_enters_nothing() -> None:
    """`await` accepts; `remit.workflow(context=accepted)` enters later."""
    async with sidecar() as fake, connect(fake) as support, connect(fake, "token-writer") as writer:
        workflow = await support.open_workflow(["support"])
        with remit.workflow(context=workflow.context):
            passport = await support.handoff("writer")
        accepted = await writer.accept(passport)
        await writer.authorize("api.call", "service:email")
        with remit.workflow(context=accepted):
            await writer.authorize("api.call", "service:email")

    assert accepted.labels == ()
    assert fake.asked(0).context.workflow == ""
    assert fake.asked(1).context.workflow == workflow.context
    assert fake.asked(1).context.parent == accepted.decision.id


@pytest.mark.parametrize(
    ("message", "code"), [("another", "passport_invalid"), (None, "passport_invalid"), ("hello", "passport_used")]
)
@in_loop
async def test_a_passport_is_for_one_message_once(message: str | None, code: str) -> None:
    """Another message, none, or a second time: Denied, and nothing joins."""
    async with sidecar() as fake, connect(fake) as support, connect(fake, "token-writer") as writer:
        passport = await support.handoff("writer", message="hello")
        fake.passports[passport].used = message == "hello"
        with pytest.raises(remit.Denied) as denied:
            await writer.accept(passport, message=message)

    assert denied.value.codes == (code,)
    assert "writer" not in fake.labels


@in_loop
async def test_accept_is_never_repeated() -> None:
    """When the answer was lost, a second attempt would be told "used": whether by us, nobody could say."""
    async with sidecar() as fake, connect(fake) as support, connect(fake, "token-writer") as writer:
        passport = await support.handoff("writer")
        fake.drop("Accept")
        with pytest.raises(remit.Unavailable):
            await writer.accept(passport)

    assert fake.calls.count("Accept") == 1


@in_loop
async def test_a_handoff_that_is_refused_gives_no_passport() -> None:
    """Neither does an ALLOW without one."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.deny("agent:writer", "flow_label_exceeds_clearance")
        with pytest.raises(remit.Denied, match="flow_label_exceeds_clearance"):
            await agent.handoff("writer")
        allowed = r.Decision(
            id="d1", effect=r.EFFECT_ALLOW, reasons=[r.PolicyReason(policy="p", code="allowed")], enforced=True
        )
        fake.say("Handoff", s.HandoffResponse(decision=allowed))
        with pytest.raises(remit.Unavailable, match="carries no passport"):
            await agent.handoff("writer")


@in_loop
async def test_an_own_decision_is_recorded_with_what_it_rests_on() -> None:
    """Inputs, arguments and the surroundings go along; the record is a decision."""
    async with sidecar() as fake, connect(fake) as agent:
        read = await agent.authorize("data.read", "dataset:crm")
        with remit.workflow(purpose="support", reason="ticket 7"):
            recorded = await agent.record(
                "approve customer 7", inputs=[read], arguments={"customer": 7, "limit": "500.00"}
            )

    request = fake.records[0]
    assert recorded.permitted
    assert (request.summary, list(request.context.inputs)) == ("approve customer 7", [read.id])
    assert request.context.arguments == b'{"customer":7,"limit":"500.00"}'
    assert (request.context.purpose, request.context.reason) == ("support", "ticket 7")


@in_loop
async def test_a_record_whose_answer_is_lost_is_made_once() -> None:
    """The retry carries the same key."""
    async with sidecar() as fake, connect(fake) as agent:
        fake.fail("Record", grpc.StatusCode.UNAVAILABLE, after=True)
        recorded = await agent.record("approve customer 7")

    assert recorded.replayed
    assert len(fake.records) == 1


@in_loop
async def test_misspelt_keywords_are_refused() -> None:
    """As in questions."""
    async with sidecar() as fake, connect(fake) as agent:
        for call in (agent.handoff("writer", reson="x"), agent.record("x", reson="x")):  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="unknown keyword 'reson'"):
                await call
