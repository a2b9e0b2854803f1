"""A policy in Python that holds one variant until somebody approves it, and hears who says what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from remit.core.approval import Hold, Terms
from remit.core.decision import Effect, PolicyReason, Verdict
from remit.core.obligation import Obligation

POLICY, CODE = "variants.approval", "approval_required"


@dataclass
class Holding:
    """Holds what `holds` says, on `terms`; `more` are further holds. Anybody but `refused` may resolve."""

    variant: str = "large"
    terms: Terms = field(default_factory=lambda: Terms(roles=("approver",)))
    more: tuple[Hold, ...] = ()
    denies: bool = False
    refused: frozenset[str] = frozenset()

    def __call__(self, document: Mapping[str, Any]) -> Verdict:
        if document["action"]["name"] == "approval.resolve":
            return self._resolving(document)
        if self.denies or document["facts"]["halts"]:
            return _verdict(Effect.DENY, "denied")
        held = [Hold(POLICY, CODE, self.terms), *self.more] if self._is_held(document) else []
        granted = {(each["policy"], each["code"]) for each in document["facts"]["grants"]}
        left = tuple(each for each in held if (each.policy, each.code) not in granted)
        if left:
            return replace(_verdict(Effect.HOLD, CODE), holds=left)
        return _verdict(Effect.ALLOW, "allowed")

    def _is_held(self, document: Mapping[str, Any]) -> bool:
        return bool(document["resource"]["variant"] == self.variant)

    def _resolving(self, document: Mapping[str, Any]) -> Verdict:
        if document["subject"]["id"] in self.refused:
            return _verdict(Effect.DENY, "role_not_granted")
        outcome = outcome_of(document["resource"]["operation"], document["resource"]["properties"])
        oblige = (Obligation("resolve_approval", {"outcome": outcome}),) if outcome else ()
        return replace(_verdict(Effect.ALLOW, "allowed"), obligations=oblige)


def outcome_of(operation: str, properties: Mapping[str, Any]) -> str:
    """What the library's rule states, said again as plainly as possible."""
    verdicts, level, chain = properties["verdicts"], properties["level"], properties["chain"]
    said = {each["verdict"] for each in verdicts}
    if operation == "timeout":
        return "escalated" if level < len(chain) else "expired"
    if operation == "revoke":
        return ""
    if "deny" in said:
        return "denied"
    if level == len(chain) and any(each["verdict"] == "hold" and each["level"] == level for each in verdicts):
        return "pending"
    if operation == "hold":
        return "escalated" if level < len(chain) else "pending"
    if sum(each["verdict"] == "approve" for each in verdicts) >= properties["quorum"]:
        return "approved"
    return "escalated" if level < len(chain) else "pending"


def _verdict(effect: Effect, code: str) -> Verdict:
    return Verdict(effect, (PolicyReason(POLICY if effect is Effect.HOLD else "access.test", code),), (), (), ())
