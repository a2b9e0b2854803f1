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
    Decision,
    Effect,
    Money,
    Obligation,
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
        reasons=tuple(PolicyReason(each.policy, each.code, each.message) for each in wire.reasons),
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
    )


def _properties(wire: resources_pb2.Obligation) -> dict[str, Any]:
    try:
        properties = json.loads(wire.properties or b"{}")
    except ValueError as error:
        raise Unavailable(f"the sidecar's obligation {wire.id!r} cannot be read: {error}") from error
    if not isinstance(properties, dict):
        raise Unavailable(f"the sidecar's obligation {wire.id!r} cannot be read: expected a JSON object")
    return properties


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
    )


def read_workflow(wire: sidecar_pb2.OpenWorkflowResponse, decision: Decision) -> Workflow:
    """The workflow of a decision that permits."""
    if not (wire.workflow and wire.context):
        raise Unavailable(f"the sidecar's answer names no workflow (decision {decision.id})")
    return Workflow(wire.workflow, wire.context, wire.expire_time.ToNanoseconds(), decision)


def read_accepted(wire: sidecar_pb2.AcceptResponse, decision: Decision) -> Accepted:
    """What came with a message that may be read."""
    return Accepted(wire.agent, tuple(wire.labels), wire.workflow, decision)
