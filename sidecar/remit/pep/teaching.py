"""What would change an answer, told to whoever asked, and no more than it may know.

An agent may know what it holds and has spent itself. What others have left of a budget that they share, who holds a
claim, and which roles would admit it are not its to know: people see them in the decision's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from remit.core.answer import Change, Turning
from remit.core.catalogue import Catalogue
from remit.core.decision import Effect, PolicyReason
from remit.core.label import exceeding
from remit.core.model import ActionName, BudgetRoom, Facts, Request
from remit.core.money import NANOS
from remit.core.reason import Reason, known
from remit.core.ruling import Ruling

MOST = 16
"""Changes that are told for one reason."""

_APPROVALS = frozenset(
    {
        Reason.APPROVAL_REQUIRED,
        Reason.APPROVAL_DENIED,
        Reason.APPROVAL_EXPIRED,
        Reason.APPROVALS_EXHAUSTED,
        Reason.REVIEW_REQUIRED,
        Reason.CONFLICT_DETECTED,
    }
)


def teach(
    catalogue: Catalogue,
    request: Request,
    facts: Facts | None,
    ruling: Ruling,
    reason: PolicyReason,
    *,
    turning: Sequence[Turning] = (),
    cheaper: str = "",
) -> tuple[Change, ...]:
    """What would change this reason, for the one who asked; nothing where it is allowed."""
    if ruling.effect is Effect.ALLOW:
        return ()
    found = [*_told(catalogue, request, facts, ruling, reason), *_turning(ruling, reason, turning)]
    if cheaper and known(reason.code) in {Reason.BUDGET_EXHAUSTED, Reason.APPROVAL_REQUIRED, Reason.VARIANT_NOT_LISTED}:
        found.append(Change("variant", cheaper))
    return tuple(found[:MOST])


def _told(
    catalogue: Catalogue, request: Request, facts: Facts | None, ruling: Ruling, reason: PolicyReason
) -> Iterator[Change]:
    code = known(reason.code)
    if ruling.retryable:
        yield Change("wait", "")
    elif code is Reason.BUDGET_EXHAUSTED and facts is not None:
        yield from _budgets(request, facts)
    elif code is Reason.FLOW_LABEL_EXCEEDS_CLEARANCE and facts is not None:
        yield from (Change("clearance", label) for label in _withheld(catalogue, request, facts))
    elif code is Reason.ROLE_NOT_GRANTED:
        yield Change("role", "")
    elif code is Reason.PURPOSE_NOT_GRANTED:
        yield Change("purpose", "")
    elif code is Reason.CLAIM_HELD:
        others = [each["expires"] for each in facts.claims if not each["own"]] if facts is not None else []
        yield Change("claim", "", time=max(others, default=0) * NANOS)
    elif code is Reason.ALTERNATIVE_OFFERED:
        yield Change("alternative", "")


def _turning(ruling: Ruling, reason: PolicyReason, turning: Sequence[Turning]) -> Iterator[Change]:
    """The approvals that the reason turns on: those of its rule, or all where the sidecar itself speaks of them."""
    own = {(each.policy, each.code) for each in turning}
    for each in turning:
        if (reason.policy, reason.code) == (each.policy, each.code):
            yield Change("approval", each.id, time=each.deadline if ruling.effect is Effect.HOLD else 0)
        elif (reason.policy, reason.code) not in own and known(reason.code) in _APPROVALS:
            yield Change("approval", each.id)


def _budgets(request: Request, facts: Facts) -> Iterator[Change]:
    """The rows without room for it; how much they have left where they count nobody else."""
    wanted = facts.estimate.amount or 0
    for room in facts.budgets:
        left = max(0, room.limit - room.spent - room.reserved)
        if left < wanted:
            yield Change("budget", room.row.budget, left if _own(request, room) else None, room.row.end)


def _own(request: Request, room: BudgetRoom) -> bool:
    """Whether it counts this agent alone. A workflow's counts all who act in it."""
    return request.subject.type == "agent" and room.row.scope == request.subject.id


def _withheld(catalogue: Catalogue, request: Request, facts: Facts) -> tuple[str, ...]:
    """The labels that whoever would receive it is not cleared for."""
    if request.action == ActionName.DATA_READ:
        agent = catalogue.agents.get(request.subject.id)
        return exceeding(facts.resource.labels, agent.clearance if agent else ())
    return exceeding(facts.labels, facts.resource.clearance)
