"""From an AuthZEN evaluation to a call: the same bounds as gRPC's Authorize has, and the same forms.

    action.name              the action
    resource.type, .id       the resource; `operation`, `variant` and `fields` of its properties belong to it
    other properties         arguments: those of the resource and of the action
    context                  workflow purpose reason parent actor inputs trace attempt claim arguments usage fulfils key

Everything else in the context is ignored, neither shown to policy nor recorded: whoever means policy to see it sends it
as a property. A subject's properties are nobody's proof, and ignored as well. The digest that binds an idempotency key
is over what was understood, without the key and the attempt, so that a clock in the context makes no other request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from remit.core.authzen import Evaluation
from remit.core.call import Call, Claimed, Objection
from remit.core.canonical import MAX_DEPTH, digest, encode_exact
from remit.core.model import Resource
from remit.core.reason import Reason
from remit.listeners.grpc_fields import (
    ACTION,
    COLUMN,
    ID,
    KEY,
    MAX_ARGUMENT_BYTES,
    MAX_ATTEMPT,
    MAX_QUANTITY,
    MAX_REASON_BYTES,
    MAX_UNITS,
    NAME,
    TRACE,
    UNIT,
    WORD,
    WORKFLOW,
    Fields,
    Form,
)
from remit.listeners.grpc_read import RESOURCE_TYPES

RPC = "Evaluation"
MAX_CLAIM = 2**63 - 1
TYPE = Form(r"[A-Za-z][A-Za-z0-9._:/-]{0,63}", "a type of letters, digits and . _ : / -, up to 64 characters")

_OWN = ("operation", "variant", "fields")


def call(evaluation: Evaluation) -> Call:
    """The question of an evaluation. Raises BadRequest, which names every field that is wrong."""
    said = _Said(evaluation.where)
    resource = _resource(said, evaluation)
    claimed = _claimed(said, evaluation)
    context = evaluation.context
    asked = Call(
        rpc=RPC,
        action=said.fields.required(f"{evaluation.where}action.name", evaluation.action.id, ACTION),
        resource=resource,
        claimed=claimed,
        usage=said.usage("context.usage", context.get("usage", {})),
        fulfils=frozenset(said.texts("context.fulfils", context.get("fulfils", []), NAME)),
        key=said.text("context.key", context.get("key", ""), KEY),
        objection=_unknown(resource),
    )
    said.fields.check()
    return replace(asked, digest=_digest(asked)) if asked.key else asked


def _resource(said: _Said, evaluation: Evaluation) -> Resource:
    stated, properties = evaluation.resource, evaluation.resource.properties
    return Resource(
        type=said.fields.required(f"{evaluation.where}resource.type", stated.type, TYPE),
        id=said.fields.required(f"{evaluation.where}resource.id", stated.id, NAME),
        operation=said.text("resource.properties.operation", properties.get("operation", ""), NAME),
        variant=said.text("resource.properties.variant", properties.get("variant", ""), NAME),
        fields=said.texts("resource.properties.fields", properties.get("fields", []), COLUMN),
    )


def _unknown(resource: Resource) -> Objection | None:
    """AuthZEN's types are anybody's, and those that rules speak of are Remit's: what is of another one is recorded as
    a denial, and no rule is asked about it."""
    if resource.type in RESOURCE_TYPES:
        return None
    return Objection(Reason.UNKNOWN_RESOURCE, f"of a type that is none of {', '.join(RESOURCE_TYPES)}")


def _claimed(said: _Said, evaluation: Evaluation) -> Claimed:
    context = evaluation.context
    return Claimed(
        workflow=said.text("context.workflow", context.get("workflow", ""), WORKFLOW),
        purpose=said.text("context.purpose", context.get("purpose", ""), WORD),
        reason=said.free("context.reason", context.get("reason", "")),
        parent=said.text("context.parent", context.get("parent", ""), ID),
        actor=said.text("context.actor", context.get("actor", ""), WORD),
        arguments=_arguments(said, evaluation),
        inputs=said.texts("context.inputs", context.get("inputs", []), ID),
        trace=said.text("context.trace", context.get("trace", ""), TRACE),
        attempt=said.number("context.attempt", context.get("attempt", 1), least=1, most=MAX_ATTEMPT),
        claim=said.number("context.claim", context.get("claim", 0), least=0, most=MAX_CLAIM),
    )


def _arguments(said: _Said, evaluation: Evaluation) -> Mapping[str, Any]:
    """Of all three places; a name that is in two of them would be read by one reader so and by another one so."""
    own = {name: value for name, value in evaluation.resource.properties.items() if name not in _OWN}
    stated = said.members("context.arguments", evaluation.context.get("arguments", {}))
    found: dict[str, Any] = {}
    places = (
        ("resource.properties", own),
        ("action.properties", evaluation.action.properties),
        ("context.arguments", stated),
    )
    for place, arguments in places:
        for name, value in arguments.items():
            if name in found:
                said.refuse(f"{place}.{name[:64]}", "each argument in one place")
            found[name] = value
    if len(encode_exact(found)) > MAX_ARGUMENT_BYTES:
        said.refuse("context.arguments", f"arguments of at most {MAX_ARGUMENT_BYTES} bytes and {MAX_DEPTH} levels")
    return found


def _digest(asked: Call) -> str:
    resource, claimed = asked.resource, asked.claimed
    what = [resource.type, resource.id, resource.operation, resource.variant, list(resource.fields)]
    why = [claimed.workflow, claimed.purpose, claimed.reason, claimed.parent, claimed.actor, list(claimed.inputs)]
    how = [dict(claimed.arguments), dict(asked.usage), sorted(asked.fulfils), claimed.trace, claimed.claim]
    return digest([RPC, asked.action, what, why, how])


class _Said:
    """Reads JSON values as `Fields` reads those of messages: what is of another type is refused, and read as none."""

    def __init__(self, where: str) -> None:
        self.fields = Fields()
        self._where = where

    def refuse(self, field: str, expected: str) -> None:
        self.fields.refuse(self._where + field, expected)

    def text(self, field: str, value: object, form: Form) -> str:
        if isinstance(value, str):
            return self.fields.text(self._where + field, value, form)
        self.refuse(field, form.expected)
        return ""

    def free(self, field: str, value: object) -> str:
        if isinstance(value, str):
            return self.fields.free(self._where + field, value)
        self.refuse(field, f"text of at most {MAX_REASON_BYTES} bytes")
        return ""

    def texts(self, field: str, value: object, form: Form) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            strings: Sequence[str] = value
            return self.fields.texts(self._where + field, strings, form)
        self.refuse(field, f"a list of texts, each {form.expected}")
        return ()

    def number(self, field: str, value: object, *, least: int, most: int) -> int:
        # True is an int as well, for Python alone.
        if isinstance(value, int) and not isinstance(value, bool):
            return self.fields.between(self._where + field, value, least=least, most=most)
        self.refuse(field, f"a number from {least} to {most}")
        return least

    def members(self, field: str, value: object) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.refuse(field, "a JSON object")
        return {}

    def usage(self, field: str, value: object) -> dict[str, int]:
        """Quantities by unit."""
        stated = self.members(field, value)
        if len(stated) > MAX_UNITS:
            self.refuse(field, f"at most {MAX_UNITS} units")
            return {}
        found = {}
        for unit, quantity in stated.items():
            if not UNIT.matches(unit):
                self.refuse(field, UNIT.expected)
            found[unit] = self.number(f"{field}.{unit[:64]}", quantity, least=0, most=MAX_QUANTITY)
        return found
