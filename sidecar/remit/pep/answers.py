"""Answers for people and for keeping: messages filled in from templates, and a form that can be stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from remit.core.answer import Answer, Change, GivenReason, Turning
from remit.core.approval import State
from remit.core.canonical import canonical
from remit.core.decision import Effect, PolicyReason
from remit.core.document import input_document
from remit.core.effect import Committed
from remit.core.model import Facts, Request, Resource
from remit.core.obligation import Obligation
from remit.core.reason import EXPLANATIONS, Reason, known
from remit.core.ruling import SIDECAR, Ruling
from remit.pep.teaching import teach
from remit.pep.world import Installation

_PLACE = re.compile(r"\{([a-z_]+(?:\.[a-z_0-9]+)*)\}")
_MAX_SHOWN = 200
_UNKNOWN = PolicyReason("access.known", Reason.UNKNOWN_RESOURCE.value)
_REFUSED_VIEW = PolicyReason(SIDECAR, Reason.VIEW_REFUSED.value)


def explain(
    installation: Installation,
    request: Request,
    facts: Facts | None,
    ruling: Ruling,
    *,
    turning: Sequence[Turning] = (),
    cheaper: str = "",
) -> tuple[GivenReason, ...]:
    """Each reason with its message: what was asked, what stood against it, and what would change it."""
    return tuple(
        GivenReason(
            each.policy,
            each.code,
            _message(installation, request, facts, ruling, each),
            teach(installation.catalogue, request, facts, ruling, each, turning=turning, cheaper=cheaper),
        )
        for each in ruling.reasons
    )


def _message(
    installation: Installation, request: Request, facts: Facts | None, ruling: Ruling, reason: PolicyReason
) -> str:
    if reason.code == Reason.ALLOWED:
        return EXPLANATIONS[Reason.ALLOWED].raised
    if reason == _REFUSED_VIEW and ruling.detail:
        # The detail says all of it, and the general sentence would be wrong of a write's parameters.
        return f"{_sentence(ruling.detail, named=True)} {EXPLANATIONS[Reason.VIEW_REFUSED].remedy}"
    if reason == _UNKNOWN and request.resource.type == "dataset" and request.resource.operation:
        return f"{_no_statement(installation, request.resource)} {EXPLANATIONS[Reason.UNKNOWN_RESOURCE].remedy}"
    template = installation.messages.get((reason.policy, reason.code))
    code = known(reason.code)
    explanation = EXPLANATIONS[code] if code else None
    if template is not None and facts is not None:
        filled = _fill(template, input_document(request, facts))
        happened = _sentence(filled, named=template.startswith("{"))
    elif explanation is not None:
        happened = explanation.raised
    else:
        happened = f"{reason.policy} says {reason.code}."
    about = f"({ruling.detail}) " if ruling.detail else ""
    return f"{happened} {about}{explanation.remedy if explanation else ''}".rstrip()


def _no_statement(installation: Installation, asked: Resource) -> str:
    """What is not there of a dataset's named write: it, or the dataset itself."""
    dataset, statement = _shown(asked.id), _shown(asked.operation)
    if asked.id in installation.catalogue.datasets:
        return f"The catalogue lists no statement {statement} of dataset {dataset}."
    return f"The catalogue lists no dataset {dataset} (statement {statement})."


def _fill(template: str, document: Mapping[str, Any]) -> str:
    """A template with its {input.paths} looked up. Not str.format: its author must not reach into our objects."""
    return _PLACE.sub(lambda found: _shown(_look_up(document, found[1].split("."))), template)


def _look_up(document: Any, names: Sequence[str]) -> Any:
    for name in names:
        document = document.get(name, "") if isinstance(document, Mapping) else ""
    return document


def _shown(value: Any) -> str:
    match value:
        case {"scope": scope, "value": of, "by": by, "reason": reason}:  # a halt
            return f"{scope} {of} by {by}: {reason}"[:_MAX_SHOWN]
        case Mapping() | list() | tuple():
            return ", ".join(_shown(each) for each in value) or "nothing"
        case _:
            return str(value)[:_MAX_SHOWN]


def _sentence(text: str, *, named: bool) -> str:
    """With its full stop, and a capital letter unless it begins with somebody's name, which stays as it is."""
    first = text[:1] if named else text[:1].upper()
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def pack(answer: Answer, extra: Mapping[str, Any]) -> bytes:
    """An answer as kept for its idempotency key; its place in the journal is looked up on a replay."""
    return canonical(
        {
            "id": answer.id,
            "effect": answer.effect.value,
            "reasons": [
                [each.policy, each.code, each.message, [_packed(change) for change in each.changes]]
                for each in answer.reasons
            ],
            "enforced": answer.enforced,
            "retryable": answer.retryable,
            "revision": answer.revision,
            "obligations": [[each.id, dict(each.properties)] for each in answer.obligations],
            "reserved": str(answer.reserved),
            "deadline": str(answer.deadline),
            "cheaper": answer.cheaper,
            "approvals": [
                [
                    each.id,
                    each.policy,
                    each.code,
                    each.state.value,
                    each.supervisor,
                    list(each.roles),
                    str(each.deadline),
                ]
                for each in answer.approvals
            ],
            "alternative": answer.alternative,
            "extra": dict(extra),
        }
    )


def unpack(kept: bytes) -> tuple[Answer, Mapping[str, Any]]:
    """The inverse of `pack`; also of what was packed before there were approvals and changes."""
    stored = orjson.loads(kept)
    answer = Answer(
        id=stored["id"],
        effect=Effect(stored["effect"]),
        reasons=tuple(
            GivenReason(policy, code, message, tuple(_unpacked(*change) for change in told))
            for policy, code, message, *rest in stored["reasons"]
            for told in (rest or [()])
        ),
        enforced=stored["enforced"],
        retryable=stored["retryable"],
        committed=Committed("", 0),
        revision=stored["revision"],
        obligations=tuple(Obligation(id, properties) for id, properties in stored["obligations"]),
        reserved=int(stored["reserved"]),
        deadline=int(stored["deadline"]),
        cheaper=stored["cheaper"],
        approvals=tuple(
            Turning(id, policy, code, State(state), supervisor, tuple(roles), int(deadline))
            for id, policy, code, state, supervisor, roles, deadline in stored.get("approvals", ())
        ),
        alternative=stored.get("alternative"),
    )
    return answer, stored["extra"]


def _packed(change: Change) -> list[str]:
    return [change.kind, change.name, "" if change.left is None else str(change.left), str(change.time)]


def _unpacked(kind: str, name: str, left: str, time: str) -> Change:
    return Change(kind, name, int(left) if left else None, int(time))
