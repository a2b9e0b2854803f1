"""What OPA gets and what it gives back.

The input is *total*: every field is there, because an absent one silently deletes a Rego rule, denials too.
The result is believed only if all of it has the shape of a verdict; anything else is a `PolicyFailure`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, TypeGuard

from remit.core.approval import Bind, Hold, Terms
from remit.core.canonical import MalformedJson, encode
from remit.core.decision import Effect, PolicyReason, Verdict
from remit.core.errors import PolicyFailure
from remit.core.model import (
    BudgetRoom,
    Context,
    Estimate,
    Facts,
    Halt,
    Link,
    Request,
    Resource,
    ResourceFacts,
    Subject,
)
from remit.core.money import NANOS, decimal_text
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.core.reservation import MAX_NANOS

MAX_REASONS = 64
MAX_OBLIGATIONS = 16
MAX_RECORD_PATHS = 256
MAX_FREE_BYTES = 16 * 1024
"""Bound, as JSON text, of what policy may write freely: an obligation's properties, an approval."""

CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
POLICY = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,15}", re.ASCII)
RECORD_PATH = re.compile(r"/[^\x00-\x1f\x7f]{1,255}")

_RESULT_KEYS = frozenset({"effect", "reasons", "obligations", "approval", "record"})
_REASON_KEYS = frozenset({"policy", "code"})
_OBLIGATION_KEYS = frozenset({"id", "properties"})
_HOLD_KEYS = frozenset({"policy", "code", "approval"})
_TERMS = frozenset(each.name for each in fields(Terms))
MAX_HOLDS = 16
MAX_ROLES = 32
ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def read_verdict(raw: object) -> Verdict:
    """The verdict that OPA's result is, or PolicyFailure(policy_invalid) naming what is wrong first."""
    result = _object(raw, "result", _RESULT_KEYS)
    effect = _effect(result["effect"])
    reasons = tuple(_reason(each) for each in _list(result["reasons"], "reasons", MAX_REASONS))
    if not reasons:
        raise _invalid("reasons", "an empty list", "at least one reason")
    holds = _holds(_free(result["approval"], "approval"))
    if bool(holds) is not (effect is Effect.HOLD):
        raise _invalid("approval", "one" if holds else "none", f"{'one' if not holds else 'none'} with {effect}")
    return Verdict(
        effect=effect,
        reasons=reasons,
        obligations=tuple(_obligation(each) for each in _list(result["obligations"], "obligations", MAX_OBLIGATIONS)),
        holds=holds,
        record=tuple(
            _text(each, "record", RECORD_PATH) for each in _list(result["record"], "record", MAX_RECORD_PATHS)
        ),
    )


def _effect(value: object) -> Effect:
    # Compared as text: an unhashable value must not reach a lookup.
    for effect in Effect:
        if isinstance(value, str) and value == effect.value:
            return effect
    raise _invalid("effect", _shown(value), "ALLOW, DENY or HOLD")


def _reason(raw: object) -> PolicyReason:
    reason = _object(raw, "reasons", _REASON_KEYS)
    return PolicyReason(
        policy=_text(reason["policy"], "reasons.policy", POLICY),
        code=_text(reason["code"], "reasons.code", CODE),
    )


def _obligation(raw: object) -> Obligation:
    obligation = _object(raw, "obligations", _OBLIGATION_KEYS)
    return Obligation(
        id=_text(obligation["id"], "obligations.id", CODE),
        properties=_free(obligation["properties"], "obligations.properties"),
    )


def _holds(approval: Mapping[str, Any]) -> tuple[Hold, ...]:
    if not approval:
        return ()
    listed = _object(approval, "approval", frozenset({"holds"}))["holds"]
    return tuple(_hold(each) for each in _list(listed, "approval.holds", MAX_HOLDS))


def _hold(raw: object) -> Hold:
    hold = _object(raw, "approval.holds", _HOLD_KEYS)
    return Hold(
        policy=_text(hold["policy"], "approval.holds.policy", POLICY),
        code=_text(hold["code"], "approval.holds.code", CODE),
        terms=_terms(hold["approval"]),
    )


def _terms(raw: object) -> Terms:
    """What a rule's author may say of an approval, each part of it bounded; what is not said has its default."""
    where = "approval.holds.approval"
    if not isinstance(raw, dict) or not raw.keys() <= _TERMS:
        found = sorted(map(str, raw)) if isinstance(raw, dict) else raw
        raise _invalid(where, _shown(found), f"some of {sorted(_TERMS)}")
    default = Terms()
    bind = raw.get("bind", default.bind.value)
    if bind not in tuple(Bind):
        raise _invalid(f"{where}.bind", _shown(bind), ", ".join(Bind))
    supervisor = raw.get("supervisor", default.supervisor)
    if not isinstance(supervisor, bool):
        raise _invalid(f"{where}.supervisor", _shown(supervisor), "true or false")
    return Terms(
        roles=tuple(_text(each, f"{where}.roles", ROLE) for each in _list(raw.get("roles", []), where, MAX_ROLES)),
        supervisor=supervisor,
        quorum=_whole(raw.get("quorum", default.quorum), f"{where}.quorum", 1, 16),
        bind=Bind(bind),
        uses=_whole(raw.get("uses", default.uses), f"{where}.uses", 1, 1_000_000),
        cost=_cost(raw.get("cost"), f"{where}.cost"),
        ttl=_whole(raw.get("ttl", default.ttl), f"{where}.ttl", 1, 90 * 86_400),
        wait=_whole(raw.get("wait", default.wait), f"{where}.wait", 1, 7 * 86_400),
        alternative=_free(raw.get("alternative", {}), f"{where}.alternative"),
    )


def _whole(value: object, where: str, least: int, most: int) -> int:
    if _is_number(value) and least <= value <= most and value == int(value):
        return int(value)
    raise _invalid(where, _shown(str(value)), f"a whole number from {least} to {most}")


def _cost(value: object, where: str) -> int | None:
    """Currency units as nanos."""
    if value is None:
        return None
    if _is_number(value) and 0 <= value <= MAX_NANOS // NANOS:
        amount = Decimal(value) * NANOS
        if amount == int(amount):
            return int(amount)
    raise _invalid(where, _shown(str(value)), "an amount in the ledger's currency, of nine decimals at the most")


def _is_number(value: object) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _object(value: object, where: str, keys: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(where, type(value).__name__, "an object")
    if value.keys() != keys:
        raise _invalid(where, f"the keys {_shown(sorted(map(str, value)))}", f"{sorted(keys)}")
    return value


def _list(value: object, where: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise _invalid(where, type(value).__name__, "a list")
    if len(value) > most:
        raise _invalid(where, f"{len(value)} entries", f"at most {most}")
    return value


def _text(value: object, where: str, grammar: re.Pattern[str]) -> str:
    if isinstance(value, str) and grammar.fullmatch(value):
        return value
    raise _invalid(where, _shown(value), f"text like {grammar.pattern}")


def _free(value: object, where: str) -> dict[str, Any]:
    """An object whose inside is the policy author's: bounded, and JSON."""
    if not isinstance(value, dict):
        raise _invalid(where, type(value).__name__, "an object")
    try:
        size = len(encode(value))
    except MalformedJson as e:
        raise _invalid(where, e.found, "JSON") from e
    if size > MAX_FREE_BYTES:
        raise _invalid(where, f"{size} bytes", f"at most {MAX_FREE_BYTES}")
    return value


def _invalid(where: str, found: str, expected: str) -> PolicyFailure:
    return PolicyFailure(Reason.POLICY_INVALID, f"{where}: found {found}, expected {expected}")


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | list) or value is None else type(value).__name__
    return text if len(text) <= 80 else text[:80] + "…"


def input_document(request: Request, facts: Facts) -> dict[str, Any]:
    """OPA's input for one request: total; money in currency units, exactly; time in epoch seconds."""
    return {
        "subject": _subject(request.subject),
        "action": {"name": request.action},
        "resource": _resource(request.resource, facts.resource),
        "context": _context(request.context, facts.time),
        "facts": {
            "labels": {label: list(sources) for label, sources in facts.labels.items()},
            "arguments": dict(facts.arguments),
            "estimate": _estimate(facts.estimate),
            "budgets": [_budget(room, facts.time) for room in facts.budgets],
            "grants": list(facts.grants),
            "claims": list(facts.claims),
            "acts": list(facts.acts),
            "history": {
                "repeats": facts.history.repeats,
                "failures": facts.history.failures,
                "denials": facts.history.denials,
            },
            "halts": [_halt(halt) for halt in facts.halts],
            "chain": [_link(link) for link in facts.resource.chain],
        },
    }


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "type": subject.type,
        "id": subject.id,
        "team": subject.team,
        "roles": list(subject.roles),
        "actor": subject.actor,
        "mode": subject.mode.value,
        "isolation": subject.isolation,
        "identity": {"method": subject.identity.method, "subject": subject.identity.subject},
    }


def _resource(resource: Resource, facts: ResourceFacts) -> dict[str, Any]:
    return {
        "type": resource.type,
        "id": resource.id,
        "operation": resource.operation,
        "variant": resource.variant,
        "ref": f"{resource.id}/{resource.operation}" if resource.operation else resource.id,
        "owner": facts.owner,
        "external": facts.external,
        "labels": list(facts.labels),
        "clearance": list(facts.clearance),
        "properties": dict(resource.properties),
    }


def _context(context: Context, now: int) -> dict[str, Any]:
    return {
        "workflow": context.workflow,
        "purpose": context.purpose,
        "reason": context.reason,
        "parent": context.parent,
        "time": _seconds(now),
        "attempt": context.attempt,
        "arguments": dict(context.arguments),
        "inputs": list(context.inputs),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"amount": money(estimate.amount or 0), "known": estimate.known, "units": dict(estimate.units)}


def _budget(room: BudgetRoom, now: int) -> dict[str, Any]:
    return {
        "id": room.row.budget,
        "window": "",
        "limit": money(room.limit),
        "spent": money(room.spent),
        "held": money(room.reserved),
        "elapsed": _elapsed(room.row.start, room.row.end, now),
    }


def _halt(halt: Halt) -> dict[str, Any]:
    return {
        "id": halt.id,
        "scope": halt.scope,
        "value": halt.value,
        "by": halt.by,
        "reason": halt.reason,
        "time": _seconds(halt.time),
    }


def _link(link: Link) -> dict[str, Any]:
    return {"service": link.service, "owner": link.owner, "region": link.region, "external": link.external}


def money(nanos: int) -> Decimal:
    """Nanos as currency units, exactly: 12_500_000_000 is 12.5."""
    return Decimal(decimal_text(nanos))


def _seconds(nanoseconds: int) -> int:
    return nanoseconds // NANOS


def _elapsed(start: int, end: int, now: int) -> Decimal:
    """The share of a window that has passed, 0 to 1 in millionths; 0 for a window that never ends."""
    if end <= start:
        return Decimal(0)
    passed = min(max(now - start, 0), end - start)
    return Decimal(passed * 1_000_000 // (end - start)).scaleb(-6)
