"""AuthZEN Authorization API 1.0 (OpenID, final): what its messages say, read and written as JSON values.

Section numbers are those of https://openid.net/specs/authorization-api-1_0.html. A request is one evaluation, or
several ("boxcarred") that inherit what they do not say themselves. What is wrong with the whole is raised; what is
wrong with one of several is kept with it, for it has an answer of its own. Fields that are not known are ignored
(10.1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from remit.core.answer import Answer, Change, GivenReason, Turning
from remit.core.decision import Effect
from remit.core.errors import BadRequest, Violation
from remit.core.money import decimal_text

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
CONFIGURATION = "/.well-known/authzen-configuration"

MAX_EVALUATIONS = 100

_OBJECT = "a JSON object"
_ENTITIES: Mapping[str, tuple[str, ...]] = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}
"""The entities that an evaluation must have, with what each must say (5)."""

_SECOND = 1_000_000_000


class Semantic(StrEnum):
    """When several evaluations end (7.1.2.1)."""

    ALL = "execute_all"
    FIRST_DENY = "deny_on_first_deny"
    FIRST_PERMIT = "permit_on_first_permit"

    def ends(self, *, decision: bool) -> bool:
        """Whether nothing more is evaluated after this decision."""
        return self is (Semantic.FIRST_PERMIT if decision else Semantic.FIRST_DENY)


@dataclass(frozen=True, slots=True)
class Entity:
    """A subject, a resource or an action: `type` is "" of an action, `id` its name. The caller's word."""

    type: str
    id: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One question. `where` is its place in the request, such as "evaluations[2].", "" for the only one."""

    subject: Entity
    action: Entity
    resource: Entity
    context: Mapping[str, Any]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Boxcar:
    """Several questions: what cannot be read of one stands in its place."""

    evaluations: tuple[Evaluation | BadRequest, ...]
    semantic: Semantic


def read_evaluation(body: object) -> Evaluation:
    """The one question of a body (6.1). Raises BadRequest."""
    stated = _object(body, "message")
    return _evaluation(stated, {}, "")


def read_evaluations(body: object) -> Evaluation | Boxcar:
    """The question, or the questions, of a body (7.1). Raises BadRequest for what is wrong with the whole."""
    stated = _object(body, "message")
    listed = stated.get("evaluations", [])
    if not isinstance(listed, list):
        raise BadRequest(Violation("evaluations", "a list of evaluations"))
    semantic = _semantic(stated)
    if not listed:
        return read_evaluation(stated)
    if len(listed) > MAX_EVALUATIONS:
        raise BadRequest(Violation("evaluations", f"at most {MAX_EVALUATIONS} evaluations"))
    for name in (*_ENTITIES, "context"):
        if name in stated:
            _read(stated, name, "")
    return Boxcar(tuple(_one(each, stated, f"evaluations[{place}].") for place, each in enumerate(listed)), semantic)


def _semantic(stated: Mapping[str, Any]) -> Semantic:
    options = _object(stated.get("options", {}), "options")
    said = options.get("evaluations_semantic", Semantic.ALL.value)
    for semantic in Semantic:
        if isinstance(said, str) and said == semantic:
            return semantic
    raise BadRequest(Violation("options.evaluations_semantic", f"one of {', '.join(Semantic)}"))


def _one(raw: object, defaults: Mapping[str, Any], where: str) -> Evaluation | BadRequest:
    try:
        return _evaluation(_object(raw, where.rstrip(".")), defaults, where)
    except BadRequest as wrong:
        return wrong


def _evaluation(own: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> Evaluation:
    """What it says itself is taken whole, never merged with a default (7.1.1)."""
    violations: list[Violation] = []
    found: dict[str, Any] = {"context": {}}
    for name in (*_ENTITIES, "context"):
        source = own if name in own else defaults
        if name not in source and name == "context":
            continue
        try:
            found[name] = _read(source, name, where)
        except BadRequest as wrong:
            violations += wrong.violations
    if violations:
        raise BadRequest(*violations)
    return Evaluation(**found, where=where)


def _read(source: Mapping[str, Any], name: str, where: str) -> Any:
    stated = _object(source.get(name), where + name)
    if name == "context":
        return stated
    wrong = [each for each in _ENTITIES[name] if not isinstance(stated.get(each), str)]
    if wrong:
        raise BadRequest(*(Violation(f"{where}{name}.{each}", "a string") for each in wrong))
    properties = _object(stated.get("properties", {}), f"{where}{name}.properties")
    id = stated["name"] if name == "action" else stated["id"]
    return Entity("" if name == "action" else stated["type"], id, properties)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(Violation(where, _OBJECT))
    return value


def write_answer(answer: Answer, currency: str) -> dict[str, Any]:
    """A decision (5.5): true for what the caller may do, and for nothing else. What is empty is left out."""
    context: dict[str, Any] = {
        "id": answer.id,
        "effect": answer.effect.value,
        "reason": answer.message,
        "reasons": [_reason(each, currency) for each in answer.reasons],
        "approvals": [_approval(each) for each in answer.approvals],
        "alternative": dict(answer.alternative or {}),
        "cheaper": answer.cheaper,
        "obligations": [{"id": each.id, "properties": dict(each.properties)} for each in answer.obligations],
        "reservation": _reservation(answer, currency),
        "retryable": answer.retryable,
        "replayed": answer.replayed,
        "policy_revision": answer.revision,
        "log": answer.committed.log,
        "sequence": answer.committed.sequence,
    }
    said = {name: value for name, value in context.items() if value}
    if not answer.enforced:
        said["enforced"] = False
    return {"decision": answer.effect is Effect.ALLOW or not answer.enforced, "context": said}


def write_error(status: int, message: str) -> dict[str, Any]:
    """Why one of several evaluations was not answered (7.2.1)."""
    return {"decision": False, "context": {"error": {"status": status, "message": message}}}


def write_configuration(base: str) -> dict[str, Any]:
    """Where the API is (9.1). There are no searches, and so no endpoints for them."""
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
    }


def _reason(given: GivenReason, currency: str) -> dict[str, Any]:
    told: dict[str, Any] = {"policy": given.policy, "code": given.code, "message": given.message}
    if given.changes:
        told["changes"] = [_change(each, currency) for each in given.changes]
    return told


def _change(change: Change, currency: str) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": change.kind, "name": change.name}
    if change.left is not None:
        told["left"] = _money(change.left, currency)
    if change.time:
        told["time"] = _time(change.time)
    return told


def _approval(turning: Turning) -> dict[str, Any]:
    return {
        "id": turning.id,
        "policy": turning.policy,
        "code": turning.code,
        "state": turning.state.value,
        "supervisor": turning.supervisor,
        "roles": list(turning.roles),
        "expires": _time(turning.deadline),
    }


def _reservation(answer: Answer, currency: str) -> dict[str, Any]:
    if not answer.deadline:
        return {}
    return {**_money(answer.reserved, currency), "expires": _time(answer.deadline)}


def _money(nanos: int, currency: str) -> dict[str, str]:
    """Exact decimal text: a JSON number would become a float somewhere."""
    return {"amount": decimal_text(nanos), "currency": currency}


def _time(time_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    seconds, nanos = divmod(time_ns, _SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos // 1_000_000:03d}Z"
