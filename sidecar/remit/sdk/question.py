"""From keyword arguments and surroundings to the messages that go over the wire."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import index
from typing import Any, SupportsIndex, TypedDict, TypeVar, cast

from google.protobuf.message import Message

from remit.sdk.ambient import Ambient, token_of, trace_id
from remit.sdk.answers import Decision
from remit.sdk.arguments import arguments_text
from remit.sdk.errors import InvalidRequest, Violation
from remit.v1 import resources_pb2, sidecar_pb2

MAX_QUANTITY = 10**15

M = TypeVar("M", bound=Message)


class Standing(TypedDict, total=False):
    """What may hold for many calls: operation and variant of a service, columns of a dataset (`table.column`), the
    most that will be used per unit, obligations that the caller fulfils, and why; timeout: seconds for each call;
    wait: how many seconds more where it is held until somebody has approved it."""

    operation: str
    variant: str
    fields: Sequence[str]
    usage: Mapping[str, int]
    fulfils: Collection[str]
    purpose: str
    reason: str
    timeout: float
    wait: float


class Grounds(TypedDict, total=False):
    """Why it is asked for, and how. What is left out comes from the surroundings (`remit.workflow`, `remit.actor`).

    purpose, reason, workflow (signed context), actor; parent: the decision that led here ("" for none);
    arguments: a JSON object; inputs: decisions whose results were known; attempt: from 1; claim: the claim that it is
    done under, or its token (left out: that on the whole resource, if there is one; 0: none); timeout: seconds for
    everything.
    """

    purpose: str
    reason: str
    workflow: str
    actor: str
    parent: str | Decision
    arguments: Mapping[str, Any]
    inputs: Sequence[str | Decision]
    attempt: int
    claim: SupportsIndex
    timeout: float


class Why(Grounds, total=False):
    """The same with an idempotency key (left out: a new one for each call; "": none, and no retry)."""

    key: str


class Ask(Standing, Why, total=False):
    """A whole question."""


def build(kind: type[M], **fields: object) -> M:
    """A message of that kind; InvalidRequest where a field does not fit it."""
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(Violation(kind.DESCRIPTOR.name, f"fields of the documented types ({error})")) from error


def refuse_unknown(given: Mapping[str, object], known: type) -> None:
    """A misspelt keyword must not be a question asked otherwise than it was meant."""
    if unknown := sorted(given.keys() - known.__annotations__.keys()):
        raise TypeError(f"unknown keyword {unknown[0]!r}; known are {', '.join(sorted(known.__annotations__))}")


def authorize_request(
    action: str, resource: str, ask: Ask, *, around: Ambient, key: str, agent: str
) -> sidecar_pb2.AuthorizeRequest:
    """The question as a message."""
    refuse_unknown(ask, Ask)
    return build(
        sidecar_pb2.AuthorizeRequest,
        action=action,
        resource=_resource(resource, ask),
        context=context_message(cast(Why, ask), around, resource),
        usage=usage_messages(ask.get("usage", {})),
        fulfils=sorted(ask.get("fulfils", ())),
        key=key,
        agent=agent,
    )


def context_message(why: Grounds, around: Ambient, resource: str = "") -> resources_pb2.Context:
    """Why, completed from the surroundings; `resource` is what is acted on, where a claim may be on it."""
    workflow = why.get("workflow", around.workflow)
    if workflow != around.workflow:
        # Purpose and parent belong to the workflow that surrounds the caller, not to another one.
        around = replace(around, purpose="", parent="")
    return build(
        resources_pb2.Context,
        workflow=workflow,
        purpose=why.get("purpose", around.purpose),
        reason=why.get("reason", around.reason),
        parent=decision_id(why.get("parent", around.parent)),
        actor=why.get("actor", around.actor),
        arguments=arguments_text(why["arguments"]) if "arguments" in why else b"",
        inputs=[decision_id(each) for each in why.get("inputs", ())],
        trace=trace_id(),
        attempt=why.get("attempt", 1),
        claim=_token(why.get("claim", token_of(around.claims, workflow, resource))),
    )


def _token(claim: SupportsIndex) -> int:
    try:
        return index(claim)
    except TypeError as error:
        raise InvalidRequest(Violation("claim", f"a claim or its token, not {type(claim).__name__}")) from error


def type_and_id(resource: str) -> tuple[str, str]:
    """The two parts of "service:openai"."""
    kind, _, id = resource.partition(":")
    if not (kind and id):
        raise InvalidRequest(Violation("resource", f'"type:id" such as "service:openai", not {resource[:64]!r}'))
    return kind, id


def wait_seconds(wait: float) -> float:
    """A wait, in seconds: a number, and not negative."""
    number = isinstance(wait, int | float) and not isinstance(wait, bool)
    if not number or not 0 <= wait < math.inf:
        raise InvalidRequest(Violation("wait", f"seconds, not {wait!r}"))
    return wait


def thing(resource: str) -> resources_pb2.Resource:
    """A resource by its name alone."""
    kind, id = type_and_id(resource)
    return build(resources_pb2.Resource, type=kind, id=id)


def _resource(resource: str, ask: Ask) -> resources_pb2.Resource:
    kind, id = type_and_id(resource)
    return build(
        resources_pb2.Resource,
        type=kind,
        id=id,
        operation=ask.get("operation", ""),
        variant=ask.get("variant", ""),
        fields=ask.get("fields", ()),
    )


def usage_messages(usage: Mapping[str, int]) -> list[resources_pb2.Usage]:
    """Quantities per unit; whole, never negative."""
    for unit, quantity in usage.items():
        whole = isinstance(quantity, int) and not isinstance(quantity, bool)
        if not whole or not 0 <= quantity <= MAX_QUANTITY:
            raise InvalidRequest(Violation(f"usage.{unit}", f"an int from 0 to 10**15, not {quantity!r}"))
    return [build(resources_pb2.Usage, unit=unit, quantity=quantity) for unit, quantity in usage.items()]


def decision_id(named: str | Decision) -> str:
    """The id of a decision given either way."""
    return named.id if isinstance(named, Decision) else named
