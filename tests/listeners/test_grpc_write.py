"""Writing answers: nothing is lost, and nothing is told that is not so."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.answer import Adjusted, Answer, GivenReason, OpenedWorkflow, Reported
from remit.core.decision import Effect
from remit.core.effect import Committed, Record
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.listeners import grpc_write as write
from remit.ports import JournalRow
from remit.v1 import reason_pb2, resources_pb2

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
