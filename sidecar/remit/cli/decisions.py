"""A decision for people and for pipes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.text import Text

from remit.cli.failure import NO, Unreachable
from remit.cli.screen import emit, show
from remit.cli.text import amount, clean, moment
from remit.sdk.answers import Alternative, Change, Decision, Money, PendingApproval, PolicyReason
from remit.sdk.errors import Unavailable
from remit.sdk.reading import read_decision
from remit.v1 import resources_pb2

COLOURS = {"ALLOW": "bold green", "DENY": "bold red", "HOLD": "bold yellow"}

RESOLVE = "resolve_approval"
"""How policy states what comes of a verdict: Remit fulfils that itself, and whoever gave the verdict owes nothing."""


def read(wire: resources_pb2.Decision) -> Decision:
    """The decision in an answer. Raises Unreachable where it is none."""
    try:
        return read_decision(wire)
    except Unavailable as error:
        raise Unreachable(str(error)) from error


def tell(decision: Decision, more: dict[str, Any], *, as_json: bool) -> None:
    """Print a decision, and what came with it."""
    if as_json:
        emit(decision_document(decision) | more)
        return
    show(decision_text(decision))


def end(decision: Decision) -> None:
    """End the command with the exit code for "no" where the decision permits nothing."""
    if not decision.permitted:
        raise click.exceptions.Exit(NO)


def decision_text(decision: Decision) -> Text:
    """Effect and id, then a line for each reason, the cost, the cheaper variant."""
    effect = decision.effect.value
    text = Text(effect, style=COLOURS[effect])
    text.append(f"  {clean(decision.id)}", "dim")
    if not decision.enforced:
        text.append("  observed only: let through", "yellow")
    if decision.replayed:
        text.append("  as answered before", "dim")
    for reason in decision.reasons:
        text.append(f"\n  {clean(reason.policy)}  ", "dim").append(clean(reason.code), "bold")
        text.append(f"  {clean(reason.message)}")
        for change in reason.changes:
            # A kind alone (another role, something else) says no more than the message.
            if said := change_text(change):
                text.append(f"\n    {clean(change.kind)}  ", "dim").append(said)
    for label, said in _rest(decision):
        text.append(f"\n  {label}  ", "dim").append(said)
    return text


def _rest(decision: Decision) -> list[tuple[str, str]]:
    lines = []
    if decision.reserved is not None:
        until = f"until {moment(decision.reserved_until)}; then charged, unless it is reported"
        lines.append(("cost", f"{money_text(decision.reserved)} set aside {until}"))
    owed = [clean(each.id) for each in decision.obligations if each.id != RESOLVE]
    if owed:
        lines.append(("obliges to", ", ".join(owed)))
    for each in decision.approvals:
        lines.append(("approval", turning_text(each)))
    if decision.alternative is not None:
        lines.append(("instead", alternative_text(decision.alternative)))
    if decision.cheaper:
        lines.append(("cheaper", clean(decision.cheaper)))
    if decision.retryable:
        lines.append(("retry", "the same question may be answered otherwise later"))
    lines.append(("record", f"{clean(decision.log)} #{decision.sequence}"))
    return lines


def change_text(change: Change) -> str:
    """What would change an answer, and by how much or when."""
    words = [clean(change.name)]
    if change.left is not None:
        words.append(f"{money_text(change.left)} left")
    if change.time:
        words.append(f"{'until' if change.kind == 'approval' else 'at'} {moment(change.time)}")
    return ", ".join(filter(None, words))


def people_text(roles: Iterable[str]) -> str:
    """Those who have one of these roles; "" where none is named."""
    named = " or ".join(map(clean, roles))
    return f"people with {named}" if named else ""


def turning_text(approval: PendingApproval) -> str:
    """Where it stands, and who may say something until when."""
    words = f"{clean(approval.id)} {clean(approval.state)}"
    if approval.state != "pending":
        return words
    people = people_text(approval.roles)
    asked = " or ".join(filter(None, [clean(approval.supervisor), people]))
    return f"{words}: {asked or 'nobody'} may answer until {moment(approval.expires)}"


def alternative_text(alternative: Alternative) -> str:
    """The changed question that would be allowed."""
    parts = [alternative.resource, alternative.operation, alternative.variant]
    arguments = json.dumps(dict(alternative.arguments)) if alternative.arguments else ""
    return " with ".join(filter(None, ["/".join(clean(each) for each in parts if each), clean(arguments)]))


def money_text(money: Money) -> str:
    """Such as "12.5 EUR"."""
    return amount(money.nanos, money.currency)


def money_document(money: Money | None) -> dict[str, str] | None:
    """An exact amount for JSON: a decimal string, for a JSON number would become a float somewhere."""
    return None if money is None else {"amount": amount(money.nanos), "currency": money.currency}


def decision_document(decision: Decision) -> dict[str, Any]:
    """All of a decision, for JSON."""
    return {
        "decision": decision.id,
        "effect": decision.effect.value,
        "permitted": decision.permitted,
        "enforced": decision.enforced,
        "reasons": [_reason_document(each) for each in decision.reasons],
        "message": decision.message,
        "cost": money_document(decision.reserved),
        "reserved_until_ns": decision.reserved_until,
        "obligations": [{"id": each.id, "properties": dict(each.properties)} for each in decision.obligations],
        "approvals": [_turning_document(each) for each in decision.approvals],
        "alternative": None if decision.alternative is None else _alternative_document(decision.alternative),
        "cheaper": decision.cheaper,
        "retryable": decision.retryable,
        "replayed": decision.replayed,
        "policy_revision": decision.policy_revision,
        "log": decision.log,
        "sequence": decision.sequence,
    }


def _reason_document(reason: PolicyReason) -> dict[str, Any]:
    changes = [
        {"kind": each.kind, "name": each.name, "left": money_document(each.left), "time_ns": each.time}
        for each in reason.changes
    ]
    return {"policy": reason.policy, "code": reason.code, "message": reason.message, "changes": changes}


def _turning_document(approval: PendingApproval) -> dict[str, Any]:
    return {
        "approval": approval.id,
        "policy": approval.policy,
        "code": approval.code,
        "state": approval.state,
        "supervisor": approval.supervisor,
        "roles": list(approval.roles),
        "answer_until_ns": approval.expires,
    }


def _alternative_document(alternative: Alternative) -> dict[str, Any]:
    return {
        "resource": alternative.resource,
        "operation": alternative.operation,
        "variant": alternative.variant,
        "fields": list(alternative.fields),
        "arguments": dict(alternative.arguments),
    }
