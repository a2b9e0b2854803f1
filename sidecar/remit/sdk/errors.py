"""What can go wrong for an agent, split by what it can do about it.

    RemitError
    ├── Denied           the answer is no: do not act; `decision` says why, and what would change it
    │   └── Held         the answer is "not yet": somebody must approve first
    ├── ClaimLost        a claim that the code acts under is not held any more: what it is about may have changed
    ├── Unauthenticated  the sidecar does not know this credential, or its bearer may not ask this at all
    ├── InvalidRequest   the question cannot be read; `violations` name each field and what was expected
    ├── Unavailable      no answer: the sidecar is gone, too slow, or its answer is no decision. Never act on it
    ├── IllegalState     the named thing's life does not allow the step (closed, unknown, reported otherwise)
    └── DataFailed       it was permitted, and the database did not do it: a write has changed nothing
        └── QueryFailed  rows that came before are not all

All of them fail closed: but for DataFailed, nothing was permitted, whatever is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from remit.sdk.answers import Alternative, Decision, PendingApproval, PolicyReason


class RemitError(Exception):
    """Root of all errors that Remit raises on purpose."""


class Denied(RemitError):
    """The sidecar refused; the refusal is recorded."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision

    def __str__(self) -> str:
        return f"{self.message} (decision {self.decision.id})"

    @property
    def reasons(self) -> tuple[PolicyReason, ...]:
        """Why, one for each rule that spoke."""
        return self.decision.reasons

    @property
    def codes(self) -> tuple[str, ...]:
        """The reasons' codes, e.g. ("budget_exhausted",)."""
        return self.decision.codes

    @property
    def message(self) -> str:
        """For people: the reasons in one line, and what would change them."""
        return self.decision.message or ", ".join(self.codes)

    @property
    def cheaper(self) -> str:
        """A cheaper variant that the catalogue names; "" for none."""
        return self.decision.cheaper

    @property
    def retryable(self) -> bool:
        """Whether the same question may be answered otherwise later."""
        return self.decision.retryable

    @property
    def approvals(self) -> tuple[PendingApproval, ...]:
        """The approvals that it turns on."""
        return self.decision.approvals

    @property
    def alternative(self) -> Alternative | None:
        """What would be allowed instead."""
        return self.decision.alternative


class Held(Denied):
    """The action waits for an approval; asking again with the same key tells where it stands."""


class ClaimLost(RemitError):
    """The claim is not held any more: somebody else may act on the thing, or has."""


class Unauthenticated(RemitError):
    """No identity was proved, another one than was claimed, or one that may not ask this at all."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is not as it must be, and what was expected instead."""

    field: str
    expected: str


class InvalidRequest(RemitError):
    """The question cannot be read; nothing was decided."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__(*violations)
        self.violations = violations

    def __str__(self) -> str:
        return "; ".join(f"{each.field}: expected {each.expected}" for each in self.violations)


class Unavailable(RemitError):
    """There is no decision, so there is no permission."""


class IllegalState(RemitError):
    """The step does not fit the state of the thing it is about; nothing has changed."""


class DataFailed(RemitError):
    """The database failed. `failure` is unavailable, timed_out, too_costly, bad_statement, bad_value, conflict,
    too_many_tokens, not_fit or internal; `message` is one fixed text for each."""

    def __init__(self, failure: str, message: str, decision: Decision, *more: int) -> None:
        super().__init__(failure, message, decision, *more)
        self.failure = failure
        self.message = message
        self.decision = decision

    def __str__(self) -> str:
        return f"{self.message or self.failure} (decision {self.decision.id})"

    @property
    def retryable(self) -> bool:
        """Whether the same may be done later."""
        return self.failure in {"unavailable", "timed_out"}


class QueryFailed(DataFailed):
    """The database failed after `count` rows; `rows` has them where the whole answer was awaited."""

    def __init__(self, failure: str, message: str, decision: Decision, count: int) -> None:
        super().__init__(failure, message, decision, count)
        self.count = count
        self.rows: Sequence[dict[str, Any]] = ()

    def __str__(self) -> str:
        return f"{self.message or self.failure}, after {self.count} rows (decision {self.decision.id})"


def refusal(decision: Decision) -> Denied:
    """The error for a decision that does not permit."""
    return Held(decision) if decision.effect == "HOLD" else Denied(decision)
