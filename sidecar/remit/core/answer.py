"""What the sidecar answers: a decision as the caller sees it, and what comes with some of them."""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.model import BudgetRoom
from remit.core.obligation import Obligation


@dataclass(frozen=True, slots=True)
class GivenReason:
    """A ground with its message for people; `policy` is "remit" where the sidecar itself gave it."""

    policy: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, durable before it is seen. `reserved` in nanos of the ledger's currency; `deadline` in ns."""

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
    """Where the reservation stands: `state` is "" (none), held, settled, voided or lapsed; nanos."""

    record: str
    state: str
    cost: int = 0
    overrun: int = 0
    replayed: bool = False
    claimed: bool = False


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
