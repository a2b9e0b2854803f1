"""From messages to answers. What is not a whole decision is no answer at all: Unavailable, never a permission.

In proto3 an empty Decision reads as `enforced: false`, which would permit; so its effect, id and reasons are
looked at first.
"""

from __future__ import annotations

import json
from typing import Any

from remit.sdk.answers import (
    NANOS,
    Accepted,
    Alternative,
    Change,
    Decision,
    Effect,
    Money,
    Obligation,
    PendingApproval,
    PolicyReason,
    Reported,
    Workflow,
)
from remit.sdk.errors import Unavailable
from remit.v1 import resources_pb2, sidecar_pb2

_EFFECTS: dict[int, Effect] = {
    resources_pb2.EFFECT_ALLOW: Effect.ALLOW,
    resources_pb2.EFFECT_DENY: Effect.DENY,
    resources_pb2.EFFECT_HOLD: Effect.HOLD,
}
_STATES: dict[int, str] = {
    resources_pb2.RESERVATION_STATE_UNSPECIFIED: "",
    resources_pb2.RESERVATION_STATE_HELD: "held",
    resources_pb2.RESERVATION_STATE_SETTLED: "settled",
    resources_pb2.RESERVATION_STATE_VOIDED: "voided",
    resources_pb2.RESERVATION_STATE_LAPSED: "lapsed",
}


def read_decision(wire: resources_pb2.Decision) -> Decision:
    """The decision; Unavailable where it is not one."""
    effect = _EFFECTS.get(wire.effect)
    if effect is None or not wire.id or not wire.reasons:
        raise Unavailable("the sidecar's answer is not a decision: it needs an id, a known effect and a reason")
    reserved = wire.HasField("reservation")
    return Decision(
        id=wire.id,
        effect=effect,
        reasons=tuple(read_reason(each) for each in wire.reasons),
        message=wire.message,
        enforced=wire.enforced,
        retryable=wire.retryable,
        replayed=wire.replayed,
        reserved=read_money(wire.reservation.amount) if reserved else None,
        reserved_until=wire.reservation.expire_time.ToNanoseconds() if reserved else 0,
        obligations=tuple(Obligation(each.id, _properties(each)) for each in wire.obligations),
        cheaper=wire.cheaper,
        policy_revision=wire.policy_revision,
        log=wire.log,
        sequence=wire.sequence,
        approvals=tuple(_approval(each) for each in wire.approvals),
        alternative=_alternative(wire.alternative) if wire.alternative else None,
    )


def read_reason(wire: resources_pb2.PolicyReason) -> PolicyReason:
    """A ground, and what would change it."""
    return PolicyReason(wire.policy, wire.code, wire.message, tuple(_change(each) for each in wire.changes))


def _change(wire: resources_pb2.Change) -> Change:
    return Change(
        kind=wire.kind,
        name=wire.name,
        left=read_money(wire.left) if wire.HasField("left") else None,
        time=wire.time.ToNanoseconds(),
    )


def _approval(wire: resources_pb2.PendingApproval) -> PendingApproval:
    return PendingApproval(
        id=wire.id,
        policy=wire.policy,
        code=wire.code,
        state=state_name(wire.state),
        supervisor=wire.supervisor,
        roles=tuple(wire.roles),
        expires=wire.expire_time.ToNanoseconds(),
    )


def state_name(state: int) -> str:
    """Where an approval stands; one that this version does not know is none that it could act on."""
    names = resources_pb2.ApprovalState
    return names.Name(state).removeprefix("APPROVAL_STATE_").lower() if state in names.values() else "unspecified"


def _alternative(raw: bytes) -> Alternative:
    found = read_object(raw, "alternative")
    resource, arguments = found.get("resource"), found.get("arguments", {})
    if not isinstance(resource, dict) or not isinstance(arguments, dict):
        raise Unavailable("the sidecar's alternative cannot be read: expected resource and arguments")
    return Alternative(
        resource=f"{resource.get('type', '')}:{resource.get('id', '')}",
        operation=str(resource.get("operation", "")),
        variant=str(resource.get("variant", "")),
        fields=tuple(map(str, resource.get("fields", ()))),
        arguments=arguments,
    )


def _properties(wire: resources_pb2.Obligation) -> dict[str, Any]:
    return read_object(wire.properties or b"{}", f"obligation {wire.id!r}")


def read_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object that the text is; Unavailable where it is none."""
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise Unavailable(f"the sidecar's {what} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise Unavailable(f"the sidecar's {what} cannot be read: expected a JSON object")
    return found


def read_money(wire: resources_pb2.Money) -> Money:
    """Exact; units and nanos have the same sign."""
    return Money(wire.currency, wire.units * NANOS + wire.nanos)


def read_report(wire: sidecar_pb2.ReportResponse) -> Reported:
    """Where the reservation stands."""
    return Reported(
        record=wire.record,
        state=_STATES.get(wire.state, ""),
        cost=read_money(wire.cost) if wire.HasField("cost") else None,
        overrun=read_money(wire.overrun) if wire.HasField("overrun") else None,
        replayed=wire.replayed,
        claimed=wire.claimed,
        advice=wire.advice,
        compensation=wire.compensation,
    )


def read_workflow(wire: sidecar_pb2.OpenWorkflowResponse, decision: Decision) -> Workflow:
    """The workflow of a decision that permits."""
    if not (wire.workflow and wire.context):
        raise Unavailable(f"the sidecar's answer names no workflow (decision {decision.id})")
    return Workflow(wire.workflow, wire.context, wire.expire_time.ToNanoseconds(), decision)


def read_accepted(wire: sidecar_pb2.AcceptResponse, decision: Decision) -> Accepted:
    """What came with a message that may be read."""
    return Accepted(wire.agent, tuple(wire.labels), wire.workflow, decision)
