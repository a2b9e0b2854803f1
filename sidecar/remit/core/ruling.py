"""From policy's verdict to what the sidecar does: obligations, holds, prices and the agent's mode applied.

A ruling is what the pipeline commits. Nothing but a verdict of ALLOW, whose obligations the enforcement point
fulfils and whose price is known where it costs something, becomes an ALLOW; and nobody is asked to approve (HOLD) what
would be refused for such a reason anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from remit.core import obligation
from remit.core.approval import Hold
from remit.core.decision import Effect, PolicyReason, Verdict
from remit.core.model import ActionName, Estimate, Mode, Request
from remit.core.obligation import Obligation
from remit.core.reason import Reason, retryable

SIDECAR = "remit"  # the policy that is named where the sidecar itself gave the reason

_UNKNOWN = frozenset({Reason.UNKNOWN_ACTION, Reason.UNKNOWN_RESOURCE})

OVERSIGHT = frozenset({ActionName.APPROVAL_RESOLVE, ActionName.BUDGET_ADJUST, ActionName.CONTROL_HALT})
"""What changes what holds for others: a refusal of it binds in every mode."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What comes of one question. `detail` fills the message of the sidecar's own reasons; `holds` are a HOLD's."""

    effect: Effect
    reasons: tuple[PolicyReason, ...]
    enforced: bool
    obligations: tuple[Obligation, ...] = ()
    record: tuple[str, ...] = ()
    retryable: bool = False
    detail: str = ""
    holds: tuple[Hold, ...] = ()

    @property
    def permits(self) -> bool:
        """Whether the caller may act: it is allowed, or it is not bound."""
        return self.effect is Effect.ALLOW or not self.enforced


def rule(verdict: Verdict, request: Request, estimate: Estimate, *, halted: bool, metered: bool) -> Ruling:
    """The ruling on a verdict."""
    enforced = binds(request, halted=halted)
    if verdict.effect is Effect.DENY:
        # What is unknown comes first: that nobody owns it or may use it only follows.
        reasons = sorted(verdict.reasons, key=lambda each: each.code not in _UNKNOWN)
        return Ruling(Effect.DENY, tuple(reasons), enforced, record=verdict.record)
    if halted:  # a halt holds whatever policy says, also where a team has switched the library's rule off
        return _refused(Reason.HALTED, "", verdict, enforced)
    missing = obligation.unsupported(verdict.obligations, request.fulfils)
    if missing:
        return _refused(Reason.OBLIGATION_UNSUPPORTED, ", ".join(missing), verdict, enforced)
    if metered and not estimate.known:
        return _refused(Reason.PRICE_UNKNOWN, "", verdict, enforced)
    return Ruling(verdict.effect, verdict.reasons, enforced, verdict.obligations, verdict.record, holds=verdict.holds)


def refuse(reason: Reason, detail: str, request: Request, *, halted: bool = False) -> Ruling:
    """A ruling that never came from policy: the sidecar itself refuses."""
    reasons = (PolicyReason(SIDECAR, reason.value),)
    enforced = binds(request, halted=halted)
    return Ruling(Effect.DENY, reasons, enforced, retryable=retryable(reason), detail=detail)


def allow(request: Request) -> Ruling:
    """A ruling of the sidecar's own where policy has judged the other half (a passport's issue)."""
    return Ruling(Effect.ALLOW, (PolicyReason(SIDECAR, Reason.ALLOWED.value),), binds(request, halted=False))


def turn(ruling: Ruling, reason: Reason, detail: str) -> Ruling:
    """A ruling that the sidecar or the store's guards refuse after all."""
    reasons = (PolicyReason(SIDECAR, reason.value),)
    return replace(
        ruling,
        effect=Effect.DENY,
        reasons=reasons,
        obligations=(),
        retryable=retryable(reason),
        detail=detail,
        holds=(),
    )


def binds(request: Request, *, halted: bool) -> bool:
    """Whether a decision binds: always, but for what an observed agent that no halt covers does itself."""
    return halted or request.subject.mode is not Mode.OBSERVE or request.action in OVERSIGHT


def _refused(reason: Reason, detail: str, verdict: Verdict, enforced: bool) -> Ruling:
    reasons = (PolicyReason(SIDECAR, reason.value),)
    return Ruling(Effect.DENY, reasons, enforced, record=verdict.record, detail=detail)
