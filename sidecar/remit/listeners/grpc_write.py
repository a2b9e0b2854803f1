"""From answers to messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from remit.core.answer import (
    Accepted,
    Adjusted,
    Answer,
    ClosedWorkflow,
    GivenReason,
    Halted,
    HandedOff,
    OpenedWorkflow,
    Reported,
)
from remit.core.canonical import encode
from remit.core.decision import Effect
from remit.core.model import BudgetRoom
from remit.core.money import NANOS
from remit.core.reason import Reason
from remit.listeners.pipeline import Verification
from remit.ports import JournalRow, Sight, Sighting
from remit.v1 import audit_pb2, oversight_pb2, reason_pb2, resources_pb2, sidecar_pb2

MAX_TRACE_BYTES = 3 * 1024 * 1024
"""Records of one answer: stays below the 4 MiB that gRPC clients accept unless told otherwise."""

_EFFECTS = {
    Effect.ALLOW: resources_pb2.EFFECT_ALLOW,
    Effect.DENY: resources_pb2.EFFECT_DENY,
    Effect.HOLD: resources_pb2.EFFECT_HOLD,
}
_SIGHTS = {
    Sight.RETURNED: audit_pb2.SIGHT_RETURNED,
    Sight.REACHED: audit_pb2.SIGHT_REACHED,
    Sight.MANY: audit_pb2.SIGHT_MANY,
}
_REASONS: dict[str, reason_pb2.Reason] = {each.value: getattr(reason_pb2, f"REASON_{each.name}") for each in Reason}
_UNLISTED = reason_pb2.REASON_UNSPECIFIED
_STATES = {
    "": resources_pb2.RESERVATION_STATE_UNSPECIFIED,
    "held": resources_pb2.RESERVATION_STATE_HELD,
    "settled": resources_pb2.RESERVATION_STATE_SETTLED,
    "voided": resources_pb2.RESERVATION_STATE_VOIDED,
    "lapsed": resources_pb2.RESERVATION_STATE_LAPSED,
}
_CUSTOM = "custom."

_M = TypeVar("_M", bound=Message)


def money(nanos: int, currency: str) -> resources_pb2.Money:
    """An amount as units and billionths, both of its sign."""
    units, rest = divmod(abs(nanos), NANOS)
    if nanos < 0:
        units, rest = -units, -rest
    return resources_pb2.Money(currency=currency, units=units, nanos=rest)


def timestamp(time_ns: int) -> Timestamp:
    """A time in ns since the epoch."""
    seconds, nanos = divmod(time_ns, NANOS)
    return Timestamp(seconds=seconds, nanos=nanos)


def decision(answer: Answer, currency: str) -> resources_pb2.Decision:
    """The answer as the caller sees it."""
    written = resources_pb2.Decision(
        id=answer.id,
        effect=_EFFECTS[answer.effect],
        reasons=[_reason(each) for each in answer.reasons],
        enforced=answer.enforced,
        retryable=answer.retryable,
        replayed=answer.replayed,
        policy_revision=answer.revision,
        log=answer.committed.log,
        sequence=answer.committed.sequence,
        message=answer.message,
        cheaper=answer.cheaper,
    )
    for each in answer.obligations:
        written.obligations.add(id=each.id, properties=encode(each.properties))
    if answer.deadline:
        written.reservation.amount.CopyFrom(money(answer.reserved, currency))
        written.reservation.expire_time.CopyFrom(timestamp(answer.deadline))
    return written


def _reason(given: GivenReason) -> resources_pb2.PolicyReason:
    # A custom rule may use one of the library's words for its own code: it is not the library's reason.
    known = _UNLISTED if given.policy.startswith(_CUSTOM) else _REASONS.get(given.code, _UNLISTED)
    return resources_pb2.PolicyReason(policy=given.policy, code=given.code, reason=known, message=given.message)


def opened(found: OpenedWorkflow, currency: str) -> sidecar_pb2.OpenWorkflowResponse:
    """A workflow, or its refusal."""
    return sidecar_pb2.OpenWorkflowResponse(
        decision=decision(found.answer, currency),
        workflow=found.id,
        context=found.context,
        expire_time=timestamp(found.expires) if found.expires else None,
    )


def closed(found: ClosedWorkflow) -> sidecar_pb2.CloseWorkflowResponse:
    """The record of a close."""
    place = found.committed
    return sidecar_pb2.CloseWorkflowResponse(record=found.record, log=place.log, sequence=place.sequence)


def reported(found: Reported, currency: str) -> sidecar_pb2.ReportResponse:
    """Where a reservation stands."""
    return sidecar_pb2.ReportResponse(
        record=found.record,
        state=_STATES[found.state],
        cost=money(found.cost, currency),
        overrun=money(found.overrun, currency),
        replayed=found.replayed,
        claimed=found.claimed,
    )


def handed_off(found: HandedOff, currency: str) -> sidecar_pb2.HandoffResponse:
    """A passport, or its refusal."""
    return sidecar_pb2.HandoffResponse(decision=decision(found.answer, currency), passport=found.passport)


def accepted(found: Accepted, currency: str) -> sidecar_pb2.AcceptResponse:
    """What joined the session."""
    return sidecar_pb2.AcceptResponse(
        decision=decision(found.answer, currency), workflow=found.workflow, labels=found.labels, agent=found.agent
    )


def halted(found: Halted, currency: str) -> oversight_pb2.HaltResponse:
    """The halt that was placed."""
    return oversight_pb2.HaltResponse(
        decision=decision(found.answer, currency), halt=found.halts[0] if found.halts else ""
    )


def resumed(found: Halted, currency: str) -> oversight_pb2.ResumeResponse:
    """The halts that were lifted."""
    return oversight_pb2.ResumeResponse(decision=decision(found.answer, currency), halts=found.halts)


def budget(room: BudgetRoom, currency: str) -> oversight_pb2.Budget:
    """One budget in one scope and window."""
    return oversight_pb2.Budget(
        id=room.row.budget,
        scope=room.row.scope,
        limit=money(room.limit, currency),
        spent=money(room.spent, currency),
        held=money(room.held, currency),
        window_start=timestamp(room.row.start),
        window_end=timestamp(room.row.end) if room.row.end else None,
    )


def adjusted(found: Adjusted, currency: str) -> oversight_pb2.AdjustBudgetResponse:
    """The budget after the adjustment, or its refusal."""
    return oversight_pb2.AdjustBudgetResponse(
        decision=decision(found.answer, currency),
        budget=budget(found.room, currency) if found.room else None,
    )


def journal_record(row: JournalRow) -> resources_pb2.JournalRecord:
    """One record of the journal."""
    record = row.record
    return resources_pb2.JournalRecord(
        log=row.log,
        sequence=row.sequence,
        time=timestamp(record.time),
        kind=record.kind,
        id=record.id,
        subject=record.subject,
        workflow=record.workflow,
        parent=record.parent,
        ref=record.ref,
        body=b"" if row.erased else record.body,
        erased=row.erased,
        hash=row.hash.hex(),
    )


def traced(rows: Iterable[JournalRow], limit: int) -> audit_pb2.TraceResponse:
    """The first records, up to the limit and to what one answer holds."""
    records, truncated = _fitting(map(journal_record, rows), limit)
    return audit_pb2.TraceResponse(records=records, truncated=truncated)


def sighted(found: Iterable[Sighting], limit: int) -> audit_pb2.WhoResponse:
    """The first sightings, up to the limit and to what one answer holds."""
    sightings, truncated = _fitting(map(_sighting, found), limit)
    return audit_pb2.WhoResponse(sightings=sightings, truncated=truncated)


def _sighting(found: Sighting) -> audit_pb2.Sighting:
    return audit_pb2.Sighting(decision=journal_record(found.decision), sight=_SIGHTS[found.sight])


def _fitting(messages: Iterable[_M], limit: int) -> tuple[list[_M], bool]:
    """The first of them, and whether there are more."""
    kept: list[_M] = []
    size = 0
    for message in messages:
        size += message.ByteSize()
        if len(kept) == limit or size > MAX_TRACE_BYTES:
            return kept, True
        kept.append(message)
    return kept, False


def verified(found: Verification) -> audit_pb2.VerifyResponse:
    """What checking the journal found."""
    return audit_pb2.VerifyResponse(
        ok=found.ok,
        authentic=found.authentic,
        records=found.records,
        erased=found.erased,
        checkpoints=found.checkpoints,
        problem=found.problem,
        sequence=found.sequence,
    )
