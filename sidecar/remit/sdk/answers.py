"""What the sidecar answers, as an agent sees it: frozen values, no wire format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypedDict

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
class Change:
    """Something that would change an answer. `kind` is budget, clearance, approval, variant, alternative, role,
    purpose, claim or wait, `name` what of it. `left` is told of the agent's own budgets; `time` (ns since the epoch) is
    when it changes by itself, 0 where it does not or nobody knows."""

    kind: str
    name: str
    left: Money | None = None
    time: int = 0


@dataclass(frozen=True, slots=True)
class PolicyReason:
    """One ground: the rule that gave it ("remit" for the sidecar itself), its code, and what would change it."""

    policy: str
    code: str
    message: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Obligation:
    """What the caller must do for the decision to hold."""

    id: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """An approval that a decision turns on. `state` is pending, approved, denied, expired or revoked; `supervisor` is
    the agent or person who is asked now, "" where people with one of the `roles` are, until `expires` (ns)."""

    id: str
    policy: str
    code: str
    state: str
    supervisor: str = ""
    roles: tuple[str, ...] = ()
    expires: int = 0


class Changed(TypedDict):
    """The keywords of a changed question."""

    operation: str
    variant: str
    fields: Sequence[str]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A changed question that would be allowed; asking it accepts it, for who asks for the same purpose in the same
    workflow: `await agent.authorize(action, alternative.resource, **alternative.ask)`."""

    resource: str  # "type:id"
    operation: str = ""
    variant: str = ""
    fields: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ask(self) -> Changed:
        """Its keywords."""
        return Changed(operation=self.operation, variant=self.variant, fields=self.fields, arguments=self.arguments)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a question, durable in the journal before it arrived here.

    `reserved` is set aside until `reserved_until` (ns since the epoch, 0 for nothing reserved). `retryable` says
    whether the same question may be answered otherwise later; `cheaper` names a variant that may be allowed.
    `approvals` are those that it waits for, or that refused it; `alternative` what would be allowed instead.
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
    approvals: tuple[PendingApproval, ...] = ()
    alternative: Alternative | None = None

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
    agent's word, and charged as reserved. `advice` on what failed is "", retry, compensate (by the operation
    `compensation`), escalate or halt.
    """

    record: str
    state: str
    cost: Money | None = None
    overrun: Money | None = None
    replayed: bool = False
    claimed: bool = False
    advice: str = ""
    compensation: str = ""


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
