"""What the sidecar answers, as an agent sees it: frozen values, no wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

NANOS = 1_000_000_000

Outcome = Literal["succeeded", "failed", "not_sent", "progress"]
"""How an allowed action ended; `progress` ends nothing and prolongs its reservation."""


class Effect(StrEnum):
    """What was decided: do it, do not, or wait for an approval."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    HOLD = "HOLD"


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount: `nanos` billionths of one unit of `currency` (ISO 4217)."""

    currency: str
    nanos: int

    def __str__(self) -> str:
        units, rest = divmod(abs(self.nanos), NANOS)
        fraction = f"{rest:09d}".rstrip("0").ljust(2, "0")
        return f"{self.currency} {'-' if self.nanos < 0 else ''}{units}.{fraction}"


@dataclass(frozen=True, slots=True)
class PolicyReason:
    """One ground: the rule that gave it ("remit" for the sidecar itself), its code, and what would change it."""

    policy: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Obligation:
    """What the caller must do for the decision to hold."""

    id: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a question, durable in the journal before it arrived here.

    `reserved` is set aside until `reserved_until` (ns since the epoch, 0 for nothing reserved). `retryable` says
    whether the same question may be answered otherwise later; `cheaper` names a variant that may be allowed.
    """

    id: str
    effect: Effect
    reasons: tuple[PolicyReason, ...]
    message: str
    enforced: bool
    retryable: bool = False
    replayed: bool = False
    reserved: Money | None = None
    reserved_until: int = 0
    obligations: tuple[Obligation, ...] = ()
    cheaper: str = ""
    policy_revision: str = ""
    log: str = ""
    sequence: int = 0

    @property
    def permitted(self) -> bool:
        """Whether the caller may act: it was allowed, or the agent is observed only."""
        return self.effect is Effect.ALLOW or not self.enforced

    @property
    def codes(self) -> tuple[str, ...]:
        """The reasons' codes."""
        return tuple(reason.code for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Reported:
    """Where a reservation stands: `state` is "" (there was none), held, settled, voided or lapsed.

    `overrun` is the part of `cost` above what was reserved. `claimed` means that the report was recorded as the
    agent's word, and charged as reserved.
    """

    record: str
    state: str
    cost: Money | None = None
    overrun: Money | None = None
    replayed: bool = False
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class Workflow:
    """An open workflow: `context` (compact JWS) names it to every agent in it; `expires` in ns since the epoch."""

    id: str
    context: str
    expires: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came with a message: its labels have joined the session. `workflow` is a signed context, "" for none."""

    sender: str
    labels: tuple[str, ...]
    workflow: str
    decision: Decision
