"""Writing answers: nothing is lost, and nothing is told that is not so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.answer import Adjusted, Answer, Change, GivenReason, OpenedWorkflow, Reported, Shown, Taken, Turning
from remit.core.approval import Approval, Bind, Item, State, Terms, Verdict, Vote
from remit.core.decision import Effect
from remit.core.effect import Committed, Record
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.listeners import grpc_write as write
from remit.ports import JournalRow, Reservation
from remit.v1 import oversight_pb2, reason_pb2, resources_pb2

ANSWER = Answer("d_1", Effect.DENY, (GivenReason("remit", "halted", "h"),), True, False, Committed("local", 7))


@given(st.integers(-(2**63), 2**63 - 1))
def test_money_is_written_exactly(nanos: int) -> None:
    """Units and billionths give the amount back, both of its sign."""
    written = write.money(nanos, "EUR")

    assert written.units * 10**9 + written.nanos == nanos
    assert written.units * written.nanos >= 0
    assert abs(written.nanos) < 10**9


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_place_on_the_wire(reason: Reason) -> None:
    """The code and the enum say the same."""
    answer = replace(ANSWER, reasons=(GivenReason("remit", reason.value, "m"),))

    found = write.decision(answer, "EUR").reasons[0]

    assert reason_pb2.Reason.Name(found.reason) == f"REASON_{reason.name}"


def test_a_custom_rules_code_is_text_alone() -> None:
    """Even where it is one of the library's words: its meaning is the rule's."""
    answer = replace(ANSWER, reasons=(GivenReason("custom.cx.hours", "halted", "m"), GivenReason("x", "closed", "m")))

    found = write.decision(answer, "EUR").reasons

    assert [each.reason for each in found] == [reason_pb2.REASON_UNSPECIFIED] * 2
    assert [each.code for each in found] == ["halted", "closed"]


@pytest.mark.parametrize("effect", Effect)
def test_every_effect_has_its_place_on_the_wire(effect: Effect) -> None:
    """ALLOW is ALLOW, and nothing else is."""
    written = write.decision(replace(ANSWER, effect=effect), "EUR")

    assert resources_pb2.Effect.Name(written.effect) == f"EFFECT_{effect}"


def test_an_answer_says_what_would_change_it_and_what_it_turns_on() -> None:
    """Changes with what is left and when, where there is such; approvals in each state; the changed request exactly."""
    changes = (Change("budget", "cx-month", -1_500_000_000, 7), Change("wait", ""))
    turning = Turning("a_1", "access.approval", "approval_required", State.PENDING, "lead", ("finance",), 9)
    answer = replace(
        ANSWER,
        reasons=(GivenReason("remit", "halted", "h", changes),),
        approvals=(turning, replace(turning, supervisor="", state=State.REVOKED)),
        alternative={"resource": {"type": "service"}, "arguments": {"n": 2**53 + 1, "x": Decimal("1.10")}},
    )

    written = write.decision(answer, "EUR")

    budget, wait = written.reasons[0].changes
    assert (budget.kind, budget.name, budget.left.units, budget.left.nanos) == ("budget", "cx-month", -1, -500_000_000)
    assert (budget.time.ToNanoseconds(), wait.kind) == (7, "wait")
    assert not wait.HasField("left")
    assert not wait.HasField("time")
    pending, revoked = written.approvals
    assert (pending.id, pending.policy, pending.code) == ("a_1", "access.approval", "approval_required")
    assert (pending.supervisor, list(pending.roles), pending.expire_time.ToNanoseconds()) == ("lead", ["finance"], 9)
    assert (pending.state, revoked.state) == (
        resources_pb2.APPROVAL_STATE_PENDING,
        resources_pb2.APPROVAL_STATE_REVOKED,
    )
    assert written.alternative == b'{"resource":{"type":"service"},"arguments":{"n":9007199254740993,"x":1.10}}'
    assert write.decision(ANSWER, "EUR").alternative == b""


def test_nothing_left_is_not_the_same_as_nothing_said() -> None:
    """A budget that is used up has 0 left."""
    reason = GivenReason("remit", "halted", "h", (Change("budget", "b", 0),))

    assert write.decision(replace(ANSWER, reasons=(reason,)), "EUR").reasons[0].changes[0].HasField("left")


APPROVAL = Approval(
    id="a_1",
    like="ab",
    subject="support",
    team="cx",
    workflow="w_1",
    purpose="refunds",
    policy="supervision.review",
    code="review_required",
    action="tool.call",
    resource={"type": "service", "id": "mail", "operation": "send", "variant": "v"},
    reason="she asked for it \u202e",
    terms=Terms(("finance", "approver"), True, 2, Bind.VARIANT, 3, 2_000_000_000, 60, 90),
    time=5,
    deadline=6,
    chain=("lead", "head"),
    level=1,
    state=State.APPROVED,
    version=4,
    votes=(Vote("agent", "lead", Verdict.HOLD, "above me", 7, "d_2", 0),),
    expires=8,
    alternative={"arguments": {"n": 1}},
    items=(
        Item("cd", "d_1", 1_500_000_000, ("pii", "eu"), '{"arguments":{"to":"é"}}', 2, 1, 7),
        Item("ef", "d_3", 0, ("finance",), ""),
    ),
)


def test_an_approval_is_written_whole() -> None:
    """All that whoever resolves it may see; what was left out of it stays away."""
    written = write.approval(Shown(APPROVAL, True), "EUR")

    assert (written.id, written.version, written.subject, written.team) == ("a_1", 4, "support", "cx")
    assert (written.workflow, written.purpose, written.action) == ("w_1", "refunds", "tool.call")
    assert (written.why.policy, written.why.reason) == ("supervision.review", reason_pb2.REASON_REVIEW_REQUIRED)
    assert written.why.message == "The agent's supervisor must review the action before it is done."
    assert written.resource == resources_pb2.Resource(type="service", id="mail", operation="send", variant="v")
    assert (written.reason, written.bind, written.uses, written.ttl, written.quorum) == (
        "she asked for it \u202e",
        "variant",
        3,
        60,
        2,
    )
    assert written.cost == resources_pb2.Money(currency="EUR", units=2)
    assert (list(written.roles), list(written.chain), written.supervisor) == (
        ["finance", "approver"],
        ["lead", "head"],
        "head",
    )
    times = (written.create_time, written.expire_time, written.grant_expire_time)
    assert [each.ToNanoseconds() for each in times] == [5, 6, 8]
    first, second = written.items
    assert (first.binding, first.decision, first.amount.units, first.spent.nanos) == ("cd", "d_1", 1, 7)
    assert (first.shown, first.asked, first.used) == ('{"arguments":{"to":"é"}}'.encode(), 2, 1)
    assert (list(first.labels), second.shown) == (["pii", "eu"], b"")
    (vote,) = written.votes
    assert (vote.kind, vote.by, vote.verdict) == ("agent", "lead", resources_pb2.APPROVAL_VERDICT_HOLD)
    assert (vote.reason, vote.time.ToNanoseconds(), vote.decision) == ("above me", 7, "d_2")
    assert list(written.labels) == ["eu", "finance", "pii"]
    assert (written.alternative, written.resolvable) == (b'{"arguments":{"n":1}}', True)


def test_what_an_approval_has_not_is_not_written() -> None:
    """No cost is no bound, not a bound of 0; a rule's own code explains itself; nobody is asked where people are."""
    bare = replace(APPROVAL, policy="custom.x", terms=Terms(), expires=0, alternative={}, level=2)

    written = write.approval(Shown(bare, False), "EUR")

    assert not written.HasField("cost")
    assert not written.HasField("grant_expire_time")
    assert (written.why.reason, written.why.message) == (reason_pb2.REASON_UNSPECIFIED, "")
    assert (written.alternative, written.supervisor, written.resolvable) == (b"", "", False)
    assert write.approval(Shown(replace(bare, terms=Terms(cost=0)), False), "EUR").HasField("cost")


@pytest.mark.parametrize("state", State)
def test_every_state_of_an_approval_has_its_place_on_the_wire(state: State) -> None:
    """By name."""
    written = write.approval(Shown(replace(APPROVAL, state=state), False), "EUR")

    assert resources_pb2.ApprovalState.Name(written.state) == f"APPROVAL_STATE_{state.name}"


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_its_place_on_the_wire(verdict: Verdict) -> None:
    """By name."""
    vote = replace(APPROVAL.votes[0], verdict=verdict)
    written = write.approval(Shown(replace(APPROVAL, votes=(vote,)), False), "EUR")

    assert resources_pb2.ApprovalVerdict.Name(written.votes[0].verdict) == f"APPROVAL_VERDICT_{verdict.name}"


def test_a_list_of_approvals_stays_below_what_a_client_accepts() -> None:
    """A hundred of the largest are not sent at once; those that are left out are told of."""
    item = Item("cd", "d_1", 0, ("pii",), "x" * 16_000)
    large = Shown(replace(APPROVAL, items=(item,) * 20), True)

    found = write.approvals([large] * 100, 100, "EUR")
    few = write.approvals([large] * 3, 2, "EUR")

    assert found.truncated
    assert 0 < found.ByteSize() < 4 * 1024 * 1024
    assert (len(few.approvals), few.truncated) == (2, True)
    assert not write.approvals([large] * 2, 2, "EUR").truncated


def test_what_was_never_reported_is_written_whole() -> None:
    """With what was reserved and where it stands."""
    effect = Reservation("d_1", "support", "w_1", "openai", "small", "ml", 1_500_000_000, 0, 9, "lapsed", "")

    found = write.unresolved([effect, effect], 1, "EUR")

    assert found.truncated
    assert found.effects[0] == oversight_pb2.Unresolved(
        decision="d_1",
        agent="support",
        workflow="w_1",
        service="openai",
        variant="small",
        amount=write.money(1_500_000_000, "EUR"),
        state=resources_pb2.RESERVATION_STATE_LAPSED,
        expire_time=write.timestamp(9),
    )


def test_a_claim_that_was_refused_has_no_end() -> None:
    """Nor a token."""
    refused = write.taken(Taken(ANSWER), "EUR")

    assert (refused.token, refused.HasField("expire_time")) == (0, False)
    assert write.taken(Taken(ANSWER, 7, 8), "EUR").expire_time.ToNanoseconds() == 8


def test_a_report_says_what_to_do_about_a_failure() -> None:
    """And the operation that undoes it."""
    written = write.reported(Reported("r_1", "settled", advice="compensate", compensation="mail/recall"), "EUR")

    assert (written.advice, written.compensation) == ("compensate", "mail/recall")


def test_without_money_there_is_no_reservation() -> None:
    """The field is absent, not zero."""
    assert not write.decision(ANSWER, "EUR").HasField("reservation")
    assert write.decision(replace(ANSWER, reserved=1, deadline=2), "EUR").reservation.amount.nanos == 1


def test_obligations_keep_their_exact_numbers() -> None:
    """Properties are JSON text, numbers as they are."""
    obligation = Obligation("cap", {"most": Decimal("1.0000000000000000000001"), "n": 2**60})

    written = write.decision(replace(ANSWER, obligations=(obligation,)), "EUR").obligations[0]

    assert written.properties == b'{"most":1.0000000000000000000001,"n":1152921504606846976}'


def test_a_refused_workflow_has_no_end() -> None:
    """Nor a budget that was not adjusted a row."""
    assert not write.opened(OpenedWorkflow(ANSWER), "EUR").HasField("expire_time")
    assert not write.adjusted(Adjusted(ANSWER), "EUR").HasField("budget")


@pytest.mark.parametrize("state", ["", "held", "settled", "voided", "lapsed"])
def test_every_state_of_a_reservation_has_its_place_on_the_wire(state: str) -> None:
    """By name."""
    written = write.reported(Reported("r_1", state), "EUR")

    name = resources_pb2.ReservationState.Name(written.state)
    assert name == f"RESERVATION_STATE_{state.upper() or 'UNSPECIFIED'}"


def row(sequence: int, body: bytes = b"{}", *, erased: bool = False) -> JournalRow:
    record = Record("decision", f"d_{sequence}", 1_500_000_001, "support", "w", "p", "r", body, b"salt")
    return JournalRow("local", sequence, record, b"", b"\x01\xff", b"", erased)


def test_an_erased_body_is_not_written() -> None:
    """What was erased stays away, whatever the row still holds."""
    written = write.journal_record(row(1, b"secret", erased=True))

    assert (written.body, written.erased, written.hash) == (b"", True, "01ff")
    assert written.time.ToNanoseconds() == 1_500_000_001


def test_a_trace_stops_at_its_limit_and_says_so() -> None:
    """With exactly as many as the limit it is whole."""
    rows = [row(place) for place in range(3)]

    assert not write.traced(rows, 3).truncated
    assert [each.sequence for each in write.traced(rows, 2).records] == [0, 1]
    assert write.traced(rows, 2).truncated


def test_a_trace_stays_below_what_a_client_accepts() -> None:
    """Large records end an answer early, marked."""
    found = write.traced([row(place, b"x" * 500_000) for place in range(20)], 100)

    assert found.truncated
    assert 0 < found.ByteSize() < 4 * 1024 * 1024
