"""What an action touches: things that somebody may have claimed, and the object that others may have acted on.

Policy sees both as facts. Whatever it saw, the commit compares them: nobody acts on what another holds by then, and of
two who act on one object at a time, one is decided again with what the other did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from remit.core.canonical import canonical
from remit.core.catalogue import Catalogue, Conflicts
from remit.core.claim import Act, Claim, thing, things
from remit.core.effect import Effect, NoteAct, RespectClaims
from remit.core.model import ActionName, Facts, Request
from remit.core.money import NANOS

RESPECTING = frozenset(
    {
        ActionName.DATA_WRITE,
        ActionName.TOOL_CALL,
        ActionName.MESSAGE_SEND,
        ActionName.DECISION_MAKE,
        ActionName.CLAIM_TAKE,
    }
)
"""Actions that a claim of somebody else's keeps from its thing: what changes something. Reading, and asking a model,
change nothing."""

ACTING = frozenset({ActionName.TOOL_CALL, ActionName.API_CALL, ActionName.MESSAGE_SEND})
"""Actions that can contradict each other, where the service's entry says which."""

OBJECT = "object"
"""The argument of claim.take that names the object."""

ACTS_LAST = 7 * 86_400 * NANOS
"""How long what was done to an object is remembered: as long as a workflow may run."""


def touched(catalogue: Catalogue, request: Request) -> tuple[tuple[str, ...], str]:
    """The things whose claims matter, and the object of a possible conflict in this workflow ("" for none)."""
    resource = request.resource
    conflicts = conflicts_of(catalogue, request)
    within = _object(request, conflicts)
    claimed = things(resource.type, resource.id, within) if respects(catalogue, request) else ()
    acted = thing(resource.type, resource.id, within) if conflicts is not None and request.context.workflow else ""
    return claimed, acted


def respects(catalogue: Catalogue, request: Request) -> bool:
    """Whether claims matter to it: it changes something, or says which claim it is done under. What can contradict
    something changes something, by whatever way it is called."""
    if request.action in RESPECTING or request.context.claim != 0:
        return True
    return conflicts_of(catalogue, request) is not None


def nameless(catalogue: Catalogue, request: Request) -> str:
    """The pointer to the object that an operation which can contradict others must name, where it does not; else "".
    A text, or a number, is a name: what names nothing, or several things, would be compared with nothing."""
    conflicts = conflicts_of(catalogue, request)
    if conflicts is None or not conflicts.object:
        return ""
    found = _pointed(request.context.arguments, conflicts.object)
    named = isinstance(found, str | int | Decimal) and not isinstance(found, bool) and found != ""
    return "" if named else conflicts.object


def conflicts_of(catalogue: Catalogue, request: Request) -> Conflicts | None:
    """What the service says of contradictions, where this operation can be part of one."""
    service = catalogue.services.get(request.resource.id) if request.action in ACTING else None
    if service is None or service.conflicts is None:
        return None
    operations = {operation for pair in service.conflicts.between for operation in pair}
    return service.conflicts if request.resource.operation in operations else None


def _object(request: Request, conflicts: Conflicts | None) -> str:
    if request.action == ActionName.CLAIM_TAKE:
        return str(request.context.arguments.get(OBJECT, ""))
    if conflicts is None or not conflicts.object:
        return ""
    return _text(_pointed(request.context.arguments, conflicts.object))


def _pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; None where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, Sequence) and not isinstance(value, str) and name.isascii() and name.isdigit():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


def _text(value: Any) -> str:
    """The name of an object: a text as it is, else its canonical JSON. "" where none is named: all of it is meant."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical(value).decode()


def claims_fact(found: Sequence[Claim], request: Request, now: int) -> tuple[Mapping[str, Any], ...]:
    """The claims that are held, as policy sees them."""
    subject, workflow = request.subject.id, request.context.workflow
    return tuple(
        {
            "object": each.key,
            "holder": each.subject,
            "workflow": each.workflow,
            "own": not each.held_by_another(subject, workflow, now),
            "expires": each.expires // NANOS,
        }
        for each in found
        if each.held(now)
    )


def acts_fact(found: Sequence[Act]) -> tuple[Mapping[str, Any], ...]:
    """What others did to the object, as policy sees it."""
    return tuple(
        {"agent": each.subject, "operation": each.operation, "decision": each.decision, "time": each.time // NANOS}
        for each in found
    )


def claim_effects(decision: str, request: Request, facts: Facts, catalogue: Catalogue) -> tuple[Effect, ...]:
    """What a permitted action does about claims and contradictions besides."""
    effects: list[Effect] = []
    keys, acted = touched(catalogue, request)
    subject, workflow = request.subject.id, request.context.workflow
    if respects(catalogue, request) and request.action != ActionName.CLAIM_TAKE:
        effects.append(RespectClaims(keys, subject, workflow, request.context.claim))
    if acted:
        expires = facts.time + ACTS_LAST
        effects.append(
            NoteAct(workflow, acted, subject, request.resource.operation, decision, len(facts.acts), expires)
        )
    return tuple(effects)
