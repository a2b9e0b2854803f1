"""What the sidecar answers: a decision as the caller sees it, and what comes with some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.approval import Approval, State
from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.model import BudgetRoom
from remit.core.obligation import Obligation


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would change an answer, as far as the caller may know.

    `kind` is budget, clearance, approval, variant, alternative, role, purpose, claim or wait; `left` (nanos) is told of
    the caller's own budgets alone; `time` (ns) is when it changes by itself, 0 where it does not.
    """

    kind: str
    name: str
    left: int | None = None
    time: int = 0


@dataclass(frozen=True, slots=True)
class GivenReason:
    """A ground with its message for people; `policy` is "remit" where the sidecar itself gave it."""

    policy: str
    code: str
    message: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Turning:
    """An approval that a decision turns on: `supervisor` is who is asked now, "" where people with the roles are."""

    id: str
    policy: str
    code: str
    state: State
    supervisor: str
    roles: tuple[str, ...]
    deadline: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, durable before it is seen. `reserved` in nanos of the ledger's currency; `deadline` in ns.

    `approvals` are what a HOLD waits for, or what refused it; `alternative` the changed request that is offered:
    `resource` (type, id, operation, variant, fields) and `arguments`.
    """

    id: str
    effect: Effect
    reasons: tuple[GivenReason, ...]
    enforced: bool
    retryable: bool
    committed: Committed
    revision: str = ""
    obligations: tuple[Obligation, ...] = ()
    reserved: int = 0
    deadline: int = 0
    cheaper: str = ""
    replayed: bool = False
    approvals: tuple[Turning, ...] = ()
    alternative: Mapping[str, Any] | None = None

    @property
    def permits(self) -> bool:
        """Whether the caller may act: it is allowed, or it is not bound."""
        return self.effect is Effect.ALLOW or not self.enforced

    @property
    def message(self) -> str:
        """The reasons in one line."""
        return "; ".join(reason.message for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class OpenedWorkflow:
    """`context` is the signed context, "" when refused; `expires` in ns."""

    answer: Answer
    id: str = ""
    context: str = ""
    expires: int = 0


@dataclass(frozen=True, slots=True)
class ClosedWorkflow:
    """The record of a close."""

    record: str
    committed: Committed


@dataclass(frozen=True, slots=True)
class Reported:
    """Where the reservation stands: `state` is "" (none), held, settled, voided or lapsed; nanos.

    `advice` on a failed action is "", retry, compensate, escalate or halt; `compensation` the operation that undoes it.
    """

    record: str
    state: str
    cost: int = 0
    overrun: int = 0
    replayed: bool = False
    claimed: bool = False
    advice: str = ""
    compensation: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim, if it was allowed: its fencing token (0 when refused), and when it ends (ns)."""

    answer: Answer
    token: int = 0
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An approval as one who asks may see it: its items' `shown` is "" where the caller is not cleared for it."""

    approval: Approval
    resolvable: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """An approval after somebody was heard, and the decision on that; as it was where the decision is no."""

    answer: Answer
    shown: Shown


@dataclass(frozen=True, slots=True)
class HandedOff:
    """`passport` is a compact JWS, "" when refused."""

    answer: Answer
    passport: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What joined the receiver's session."""

    answer: Answer
    workflow: str = ""
    labels: tuple[str, ...] = ()
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Halted:
    """The halt placed, or the halts lifted; empty when refused."""

    answer: Answer
    halts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The budget's row after an adjustment; None when refused."""

    answer: Answer
    room: BudgetRoom | None = None
