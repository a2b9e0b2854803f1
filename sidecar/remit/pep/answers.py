"""Answers for people and for keeping: messages filled in from templates, and a form that can be stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from remit.core.answer import Answer, GivenReason
from remit.core.canonical import canonical
from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.label import exceeding
from remit.core.model import Facts, Request
from remit.core.obligation import Obligation
from remit.core.reason import EXPLANATIONS, Reason
from remit.core.ruling import Ruling
from remit.pep.world import Installation


def explain(
    installation: Installation, request: Request, facts: Facts | None, ruling: Ruling
) -> tuple[GivenReason, ...]:
    """Each reason with its message: what was asked, what stood against it, and what would change it."""
    places = _places(request, facts, ruling)
    return tuple(
        GivenReason(each.policy, each.code, _message(installation, each.policy, each.code, places))
        for each in ruling.reasons
    )


def _message(installation: Installation, policy: str, code: str, places: Mapping[str, str]) -> str:
    template = installation.messages.get((policy, code))
    if template is not None:
        return _fill(template, places)
    if code not in Reason:
        return f"{policy} says {code}."
    explanation = EXPLANATIONS[Reason(code)]
    if code == Reason.ALLOWED:
        return explanation.raised
    about = places["detail"] or _about(Reason(code), places)
    return f"{explanation.raised}{f' ({about})' if about else ''} {explanation.remedy}"


def _about(reason: Reason, places: Mapping[str, str]) -> str:
    asked = f"{places['action']} on {places['resource']}"
    if reason is Reason.FLOW_LABEL_EXCEEDS_CLEARANCE:
        return f"{asked}: {places['resource.id']} is not cleared for {places['withheld']}"
    return asked


def _places(request: Request, facts: Facts | None, ruling: Ruling) -> dict[str, str]:
    resource, subject = request.resource, request.subject
    name = "/".join(part for part in (resource.id, resource.operation, resource.variant) if part)
    withheld = exceeding(facts.labels, facts.resource.clearance) if facts else ()
    return {
        "action": request.action,
        "subject.id": subject.id,
        "subject.team": subject.team,
        "resource": f"{resource.type} {name}",
        "resource.type": resource.type,
        "resource.id": resource.id,
        "resource.operation": resource.operation,
        "resource.variant": resource.variant,
        "resource.owner": facts.resource.owner if facts else "",
        "context.purpose": request.context.purpose,
        "context.workflow": request.context.workflow,
        "withheld": ", ".join(withheld),
        "detail": ruling.detail,
    }


def _fill(template: str, places: Mapping[str, str]) -> str:
    # Not str.format: a template comes from a policy author, who must not reach attributes of our objects.
    for place, text in places.items():
        template = template.replace("{" + place + "}", text)
    return template


def pack(answer: Answer, extra: Mapping[str, Any]) -> bytes:
    """An answer as kept for its idempotency key; its place in the journal is looked up on a replay."""
    return canonical(
        {
            "id": answer.id,
            "effect": answer.effect.value,
            "reasons": [[each.policy, each.code, each.message] for each in answer.reasons],
            "enforced": answer.enforced,
            "retryable": answer.retryable,
            "revision": answer.revision,
            "obligations": [[each.id, dict(each.properties)] for each in answer.obligations],
            "reserved": str(answer.reserved),
            "deadline": str(answer.deadline),
            "cheaper": answer.cheaper,
            "extra": dict(extra),
        }
    )


def unpack(kept: bytes) -> tuple[Answer, Mapping[str, Any]]:
    """The inverse of `pack`."""
    stored = orjson.loads(kept)
    answer = Answer(
        id=stored["id"],
        effect=Effect(stored["effect"]),
        reasons=tuple(GivenReason(*each) for each in stored["reasons"]),
        enforced=stored["enforced"],
        retryable=stored["retryable"],
        committed=Committed("", 0),
        revision=stored["revision"],
        obligations=tuple(Obligation(id, properties) for id, properties in stored["obligations"]),
        reserved=int(stored["reserved"]),
        deadline=int(stored["deadline"]),
        cheaper=stored["cheaper"],
    )
    return answer, stored["extra"]
