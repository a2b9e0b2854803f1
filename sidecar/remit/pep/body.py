"""What a decision's record holds: ids, codes, labels and costs in clear, the rest redacted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.core.model import Facts, Request
from remit.core.redact import Hmac, redact
from remit.core.ruling import Ruling


def decision_body(
    request: Request,
    facts: Facts | None,
    ruling: Ruling,
    *,
    currency: str,
    revision: str,
    reserved: int,
    deadline: int,
    hmac: Hmac,
    sent: Mapping[str, Any] | None = None,
    approvals: Mapping[str, Any] | None = None,
    done: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Who asked for what, what was known, what was decided and why. Money as decimal strings of nanos.

    `sent` is what Remit itself sends for it, where it is the one who does; `approvals` what it says of these, and
    `done` what an act of oversight did and why, in clear.
    """
    subject, resource = request.subject, request.resource
    return {
        "subject": {
            "type": subject.type,
            "id": subject.id,
            "team": subject.team,
            "roles": subject.roles,
            "actor": subject.actor,
            "mode": subject.mode.value,
            "isolation": subject.isolation,
            "identity": {"method": subject.identity.method, "subject": subject.identity.subject},
        },
        "action": request.action,
        "resource": {
            "type": resource.type,
            "id": resource.id,
            "operation": resource.operation,
            "variant": resource.variant,
            "fields": resource.fields,
        },
        "context": _context(request, ruling, hmac),
        "facts": _facts(facts) if facts else {},
        "effect": ruling.effect.value,
        "enforced": ruling.enforced,
        "reasons": [{"policy": each.policy, "code": each.code} for each in ruling.reasons],
        "detail": ruling.detail,
        "obligations": [{"id": each.id} for each in ruling.obligations],
        "retryable": ruling.retryable,
        "revision": revision,
        "currency": currency,
        "reserved": str(reserved),
        "deadline": str(deadline),
        **({"sent": dict(sent)} if sent else {}),
        **(approvals or {}),
        **({"done": dict(done)} if done else {}),
    }


def _context(request: Request, ruling: Ruling, hmac: Hmac) -> dict[str, Any]:
    context = request.context
    return {
        "purpose": context.purpose,
        "attempt": context.attempt,
        "inputs": context.inputs,
        "reason": redact(context.reason, "/reason", ruling.record, hmac) if context.reason else "",
        "arguments": redact(context.arguments, "/arguments", ruling.record, hmac) if context.arguments else {},
    }


def _facts(facts: Facts) -> dict[str, Any]:
    resource = facts.resource
    estimate = facts.estimate
    return {
        "owner": resource.owner,
        "external": resource.external,
        "region": resource.region,
        "clearance": resource.clearance,
        "resource_labels": resource.labels,
        "chain": [
            {"service": link.service, "owner": link.owner, "region": link.region, "external": link.external}
            for link in resource.chain
        ],
        "labels": {label: list(sources) for label, sources in facts.labels.items()},
        "estimate": {
            "amount": "" if estimate.amount is None else str(estimate.amount),
            "units": dict(estimate.units),
        },
        "budgets": [
            {
                "id": room.row.budget,
                "scope": room.row.scope,
                "limit": str(room.limit),
                "spent": str(room.spent),
                "held": str(room.reserved),
            }
            for room in facts.budgets
        ],
        "halts": [halt.id for halt in facts.halts],
        **({"claims": [dict(each) for each in facts.claims]} if facts.claims else {}),
        **({"acts": [dict(each) for each in facts.acts]} if facts.acts else {}),
    }
