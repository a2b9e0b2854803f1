"""From answers to messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from remit.core.answer import (
    Accepted,
    Adjusted,
    Answer,
    Change,
    ClosedWorkflow,
    GivenReason,
    Halted,
    HandedOff,
    OpenedWorkflow,
    Reported,
    Resolved,
    Shown,
    Taken,
    Turning,
)
from remit.core.approval import Item, State, Verdict, Vote
from remit.core.canonical import encode
from remit.core.decision import Effect
from remit.core.model import BudgetRoom
from remit.core.money import NANOS
from remit.core.reason import EXPLANATIONS, Reason
from remit.listeners.pipeline import Verification
from remit.ports import JournalRow, Reservation, Sight, Sighting
from remit.v1 import audit_pb2, oversight_pb2, reason_pb2, resources_pb2, sidecar_pb2

MAX_LIST_BYTES = 3 * 1024 * 1024
"""Entries of one answer: stays below the 4 MiB that gRPC clients accept unless told otherwise."""

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
_APPROVAL_STATES = {each: getattr(resources_pb2, f"APPROVAL_STATE_{each.name}") for each in State}
_VERDICTS = {each: getattr(resources_pb2, f"APPROVAL_VERDICT_{each.name}") for each in Verdict}
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
        reasons=[_reason(each, currency) for each in answer.reasons],
        enforced=answer.enforced,
        retryable=answer.retryable,
        replayed=answer.replayed,
        policy_revision=answer.revision,
        log=answer.committed.log,
        sequence=answer.committed.sequence,
        message=answer.message,
        cheaper=answer.cheaper,
        approvals=[_turning(each) for each in answer.approvals],
        alternative=encode(dict(answer.alternative)) if answer.alternative else b"",
    )
    for each in answer.obligations:
        written.obligations.add(id=each.id, properties=encode(each.properties))
    if answer.deadline:
        written.reservation.amount.CopyFrom(money(answer.reserved, currency))
        written.reservation.expire_time.CopyFrom(timestamp(answer.deadline))
    return written


def _reason(given: GivenReason, currency: str) -> resources_pb2.PolicyReason:
    return resources_pb2.PolicyReason(
        policy=given.policy,
        code=given.code,
        reason=_listed(given.policy, given.code),
        message=given.message,
        changes=[_change(each, currency) for each in given.changes],
    )


def _listed(policy: str, code: str) -> reason_pb2.Reason:
    # A custom rule may use one of the library's words for its own code: it is not the library's reason.
    return _UNLISTED if policy.startswith(_CUSTOM) else _REASONS.get(code, _UNLISTED)


def _change(change: Change, currency: str) -> resources_pb2.Change:
    return resources_pb2.Change(
        kind=change.kind,
        name=change.name,
        left=None if change.left is None else money(change.left, currency),
        time=timestamp(change.time) if change.time else None,
    )


def _turning(approval: Turning) -> resources_pb2.PendingApproval:
    return resources_pb2.PendingApproval(
        id=approval.id,
        policy=approval.policy,
        code=approval.code,
        state=_APPROVAL_STATES[approval.state],
        supervisor=approval.supervisor,
        roles=approval.roles,
        expire_time=timestamp(approval.deadline),
    )


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
        advice=found.advice,
        compensation=found.compensation,
    )


def taken(found: Taken, currency: str) -> sidecar_pb2.ClaimResponse:
    """A claim, or its refusal."""
    return sidecar_pb2.ClaimResponse(
        decision=decision(found.answer, currency),
        token=found.token,
        expire_time=timestamp(found.expires) if found.expires else None,
    )


def approval(shown: Shown, currency: str) -> oversight_pb2.Approval:
    """An approval as the caller may see it."""
    found, terms = shown.approval, shown.approval.terms
    return oversight_pb2.Approval(
        id=found.id,
        state=_APPROVAL_STATES[found.state],
        version=found.version,
        subject=found.subject,
        team=found.team,
        workflow=found.workflow,
        purpose=found.purpose,
        why=_why(found.policy, found.code),
        action=found.action,
        resource=resources_pb2.Resource(**found.resource),
        reason=found.reason,
        items=[_item(each, currency) for each in found.items],
        bind=terms.bind.value,
        uses=terms.uses,
        cost=None if terms.cost is None else money(terms.cost, currency),
        ttl=terms.ttl,
        quorum=terms.quorum,
        roles=terms.roles,
        chain=found.chain,
        supervisor=found.addressee,
        create_time=timestamp(found.time),
        expire_time=timestamp(found.deadline),
        grant_expire_time=timestamp(found.expires) if found.expires else None,
        votes=[_vote(each) for each in found.votes],
        labels=found.labels,
        alternative=encode(dict(found.alternative)) if found.alternative else b"",
        resolvable=shown.resolvable,
    )


def _why(policy: str, code: str) -> resources_pb2.PolicyReason:
    """The rule that held it. What it told the requester is the requester's; here is what the reason means."""
    listed = _listed(policy, code)
    message = EXPLANATIONS[Reason(code)].raised if listed != _UNLISTED else ""
    return resources_pb2.PolicyReason(policy=policy, code=code, reason=listed, message=message)


def _item(item: Item, currency: str) -> oversight_pb2.ApprovalItem:
    return oversight_pb2.ApprovalItem(
        binding=item.binding,
        decision=item.decision,
        amount=money(item.amount, currency),
        shown=item.shown.encode(),
        asked=item.asked,
        used=item.used,
        spent=money(item.spent, currency),
        labels=item.labels,
    )


def _vote(vote: Vote) -> oversight_pb2.ApprovalVote:
    return oversight_pb2.ApprovalVote(
        kind=vote.kind,
        by=vote.by,
        verdict=_VERDICTS[vote.verdict],
        reason=vote.reason,
        time=timestamp(vote.time),
        decision=vote.decision,
    )


def approvals(found: Sequence[Shown], limit: int, currency: str) -> oversight_pb2.ListApprovalsResponse:
    """The first of them, up to the limit and to what one answer holds."""
    told, truncated = _fitting((approval(each, currency) for each in found), limit)
    return oversight_pb2.ListApprovalsResponse(approvals=told, truncated=truncated)


def resolved(found: Resolved, currency: str) -> oversight_pb2.ResolveApprovalResponse:
    """An approval after somebody was heard."""
    return oversight_pb2.ResolveApprovalResponse(
        decision=decision(found.answer, currency), approval=approval(found.shown, currency)
    )


def unresolved(found: Sequence[Reservation], limit: int, currency: str) -> oversight_pb2.ListUnresolvedResponse:
    """The first of them, up to the limit."""
    told, truncated = _fitting((_unresolved(each, currency) for each in found), limit)
    return oversight_pb2.ListUnresolvedResponse(effects=told, truncated=truncated)


def _unresolved(found: Reservation, currency: str) -> oversight_pb2.Unresolved:
    return oversight_pb2.Unresolved(
        decision=found.decision,
        agent=found.subject,
        workflow=found.workflow,
        service=found.service,
        variant=found.variant,
        amount=money(found.amount, currency),
        state=_STATES[found.state],
        expire_time=timestamp(found.deadline),
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
        if len(kept) == limit or size > MAX_LIST_BYTES:
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
