"""What is told of an approval to whoever is told outside of Remit: who asks for what, by which rule, who is asked.

An event is a function of the approval as it is, so that the same version of it is told the same each time it is told.
Nothing of what was asked for is in it: no arguments, no values, no words of agents or of those who answered. Names that
an agent has chosen (a resource may be its own) are bounded, and in `text` stand within backticks, where no chat tool
makes a link or calls anybody.
"""

from __future__ import annotations

import re
from typing import Any

from remit.core.approval import Approval, State, Verdict
from remit.core.reason import EXPLANATIONS, known
from remit.core.text import amount, clean, moment

MOST_LISTED = 64
"""Of labels and of roles."""

_MOST_TEXT = 256
_UNTOLD = re.compile(r"[^\w .:/+-]")
_VERDICTS = {State.APPROVED: Verdict.APPROVE, State.DENIED: Verdict.DENY, State.REVOKED: Verdict.DENY}


def event(approval: Approval, *, currency: str, page: str) -> dict[str, Any]:
    """The event that a version of an approval is, as JSON values; `page` is the desk's page about it, or ""."""
    resource = {key: clean(value)[:_MOST_TEXT] for key, value in sorted(approval.resource.items())}
    return {
        "event": f"approval.{kind(approval)}",
        "id": f"{approval.id}:{approval.version}",
        "approval": approval.id,
        "version": approval.version,
        "subject": approval.subject,
        "team": approval.team,
        "workflow": approval.workflow,
        "action": approval.action,
        "resource": {**resource, "ref": _ref(approval)},
        "policy": approval.policy,
        "code": approval.code,
        "why": _why(approval),
        "labels": list(approval.labels[:MOST_LISTED]),
        "amount": {"value": amount(_amount(approval)), "currency": currency},
        "bind": approval.terms.bind.value,
        "uses": approval.terms.uses,
        "cost": "" if approval.terms.cost is None else amount(approval.terms.cost),
        "asked": {"supervisor": approval.addressee, "roles": list(approval.terms.roles[:MOST_LISTED])},
        "quorum": approval.terms.quorum,
        "by": _by(approval),
        "deadline": _deadline(approval).replace(" ", "T"),
        "link": page,
        "text": text(approval, currency=currency, page=page),
    }


def kind(approval: Approval) -> str:
    """What has become of it: pending, passed_on, approved, denied, expired or revoked."""
    if approval.state is State.PENDING:
        return "passed_on" if approval.level else "pending"
    return approval.state.value


def text(approval: Approval, *, currency: str, page: str) -> str:
    """One plain line for people."""
    what = f"{approval.subject}: {approval.action} on `{_untold(' '.join([_ref(approval), _variant(approval)]))}`"
    because = f"{approval.code} ({approval.policy})"
    parts = [f"{_happened(approval)} {what}, {because}"]
    if approval.state is State.PENDING:
        asked = approval.addressee or ", ".join(approval.terms.roles[:MOST_LISTED]) or "nobody"
        parts += [_costs(approval, currency), _labels(approval), f"Asked: {asked}, until {_deadline(approval)}"]
    return " ".join([*(f"{part}." for part in parts if part), *filter(None, [page])])


def _happened(approval: Approval) -> str:
    by = f" by {_untold(name)}" if (name := _by(approval)) else ""
    return {
        "pending": "Waits for approval:",
        "passed_on": "Passed on, waits for approval:",
        "approved": f"Approved{by}:",
        "denied": f"Denied{by}:",
        "expired": "Not answered in time:",
        "revoked": f"Taken back{by}:",
    }[kind(approval)]


def _by(approval: Approval) -> str:
    """Whose word ended it; "" where the clock did."""
    last = approval.votes[-1] if approval.votes else None
    return last.by if last and last.verdict is _VERDICTS.get(approval.state) else ""


def _why(approval: Approval) -> str:
    """What the code means, where it is one of Remit's own."""
    reason = known(approval.code)
    return EXPLANATIONS[reason].raised if reason else ""


def _costs(approval: Approval, currency: str) -> str:
    terms = approval.terms
    each = f"Costs up to {amount(_amount(approval), currency)}" if _amount(approval) else ""
    times = f"{terms.uses} times" if terms.uses > 1 else ""
    most = "" if terms.cost is None else f"together at most {amount(terms.cost, currency)}"
    return ", ".join(filter(None, [each, times, most]))


def _amount(approval: Approval) -> int:
    """What its items may cost, once each."""
    return sum(item.amount for item in approval.items)


def _labels(approval: Approval) -> str:
    labels = approval.labels
    more = f" and {len(labels) - MOST_LISTED} more" if len(labels) > MOST_LISTED else ""
    return f"Labels: {', '.join(labels[:MOST_LISTED])}{more}" if labels else ""


def _deadline(approval: Approval) -> str:
    return moment(approval.deadline) if approval.state is State.PENDING else ""


def _ref(approval: Approval) -> str:
    named = (approval.resource.get("id", ""), approval.resource.get("operation", ""))
    return clean("/".join(filter(None, named)))[:_MOST_TEXT]


def _variant(approval: Approval) -> str:
    return approval.resource.get("variant", "")[:_MOST_TEXT]


def _untold(name: str) -> str:
    """A name without what chat tools read: markup, mentions, links in brackets."""
    return _UNTOLD.sub("?", clean(name)).strip()
