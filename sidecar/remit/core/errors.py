"""What can go wrong, split by whose fault it is. A refusal is not here: it is a decision.

RemitError
├── CallerError            theirs: nothing could be recorded as a decision, except in aggregate
│   ├── BadRequest         a field is missing, ill-typed or out of bounds
│   ├── Unauthenticated    no identity was proved, or another one than is claimed
│   ├── BadToken           a token that this installation did not sign, or of another kind
│   ├── NotFound           the named thing does not exist, or is not the caller's to see
│   ├── Forbidden          the caller is known, and this is not for it (reading what others did)
│   └── IllegalTransition  the named thing's state does not allow it (and nothing changed)
└── ServiceError           ours: each carries the Reason that a closed answer gives
    ├── PolicyFailure      OPA did not answer with a decision
    └── StoreUnavailable   the store could not record durably
"""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.reason import Reason


class RemitError(Exception):
    """Root of all errors that Remit raises on purpose."""


class CallerError(RemitError):
    """The caller's fault."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is not as it must be: `field` in dotted form, `expected` for people."""

    field: str
    expected: str


class BadRequest(CallerError):
    """A request that cannot be read; names each field and what was expected."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{each.field}: expected {each.expected}" for each in violations))
        self.violations = violations


class Unauthenticated(CallerError):
    """No identity was proved; `cause` is a short closed code for metrics and the journal's counts."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class BadToken(CallerError):
    """A token that this installation did not sign, or one of another kind."""


class NotFound(CallerError):
    """The named thing does not exist, or is not the caller's to see."""


class Forbidden(CallerError):
    """The caller is known, and this is not for it."""


class IllegalTransition(CallerError):
    """A life cycle does not allow the step; nothing has changed."""


class ServiceError(RemitError):
    """Our own failure; closed by default, and told apart from a refusal by its reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PolicyFailure(ServiceError):
    """OPA did not answer with a decision: policy_undefined, _invalid, _error or pdp_unavailable."""


class StoreUnavailable(ServiceError):
    """The store could not record; nothing that was asked has happened, as far as is known."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.STORE_UNAVAILABLE, detail)
