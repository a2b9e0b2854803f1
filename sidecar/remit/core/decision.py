"""What policy says of one request: a verdict. The sidecar's answer is made of it and of the store's word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from remit.core.approval import Hold
from remit.core.obligation import Obligation


class Effect(StrEnum):
    """What a decision comes to; HOLD waits for an approval."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    HOLD = "HOLD"


@dataclass(frozen=True, slots=True)
class PolicyReason:
    """One ground: the policy that gave it (its package below `remit`), and its code."""

    policy: str
    code: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Policy's answer, read strictly (see `document.read_verdict`).

    `holds` are those that no grant covers, none unless the effect is HOLD. `record` lists the
    argument and context paths that the journal may keep in clear.
    """

    effect: Effect
    reasons: tuple[PolicyReason, ...]
    obligations: tuple[Obligation, ...]
    holds: tuple[Hold, ...]
    record: tuple[str, ...]
