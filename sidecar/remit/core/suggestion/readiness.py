"""What would break if an observed agent were bound from now on: the recorded denials, and those of today's policy.

What the journal keeps sealed, or never had, policy cannot be asked about again: then the recorded word stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.core.approval import Hold, supervisors
from remit.core.catalogue import Catalogue
from remit.core.decision import Effect
from remit.core.model import ActionName, BudgetRow
from remit.core.reason import Reason
from remit.core.records import mapping
from remit.core.ruling import OVERSIGHT, SIDECAR, Ruling
from remit.core.suggestion.observed import Seen, Spent
from remit.core.suggestion.proposal import remedies

ANEW, PARTLY, RECORDED = "asked anew", "asked anew without its arguments", "as recorded"
_SEAL = {"hmac", "type", "size"}
_MOMENT = ("conflicts.", "failures.", "halts.", "budgets.room", "access.hosted")
"""Rules about what held at that moment, or about what the journal has not: their recorded word stands."""
_NOT_AGAIN = OVERSIGHT | {ActionName.WORKFLOW_OPEN, ActionName.CLAIM_TAKE}

Reasons = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What decisions of one kind would come to; `how` says on what that rests, `askable` whom a hold would ask."""

    seen: Seen
    effect: str
    reasons: Reasons
    how: str
    askable: tuple[str, ...] = ()

    @property
    def breaks(self) -> bool:
        """Whether the agent would be refused, or have to wait, where it was let through."""
        return self.effect != "ALLOW" and not self.seen.kind.enforced

    @property
    def changes(self) -> tuple[str, ...]:
        """What would change it."""
        found = remedies(self.reasons)
        nobody = self.effect == "HOLD" and self.how != RECORDED and not self.askable
        return (*found, "Nobody could approve it: name people or a supervisor.") if nobody else found


@dataclass(frozen=True, slots=True)
class Tight:
    """A budget in which the agent alone spent more than fits, in one window of it. Nanos."""

    budget: str
    spent: int
    limit: int
    start: int


def sealed(body: Mapping[str, Any]) -> bool:
    """Whether the arguments that policy was asked with are not all in clear."""
    return _sealed(mapping(body.get("context")).get("arguments"))


def _sealed(value: object) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.keys() == _SEAL:
                return True
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


def askable(seen: Seen) -> bool:
    """Whether what is recorded is enough to ask policy again at all."""
    return bool(seen.body.get("facts")) and seen.access.action not in _NOT_AGAIN


def recorded(seen: Seen) -> Outcome:
    """The outcome where policy is not asked again."""
    return Outcome(seen, seen.kind.effect, seen.kind.reasons, RECORDED)


def outcome(seen: Seen, ruling: Ruling, voters: Sequence[str]) -> Outcome:
    """What today's policy and the record say together: a denial that cannot be asked about again stands."""
    partly = sealed(seen.body)
    stands = tuple(each for each in seen.kind.reasons if _stands(each, partly)) if seen.kind.effect == "DENY" else ()
    now = tuple((each.policy, each.code) for each in ruling.reasons)
    if ruling.effect is Effect.DENY:
        # A limit's argument is only missing because the journal seals it.
        missing = ("variants.limit", Reason.ARGUMENT_MISSING.value)
        now = tuple(each for each in now if not (partly and each == missing))
        if not now and not stands:
            return recorded(seen)
    how = PARTLY if partly else ANEW
    if stands or ruling.effect is Effect.DENY:
        denied = now if ruling.effect is Effect.DENY else ()
        return Outcome(seen, "DENY", tuple(sorted({*denied, *stands})), how)
    if partly and seen.kind.effect == "HOLD" and ruling.effect is Effect.ALLOW:
        own = tuple(each for each in seen.kind.reasons if each[0].startswith("custom."))
        if own:
            return Outcome(seen, "HOLD", own, how)
    return Outcome(seen, ruling.effect.value, () if ruling.effect is Effect.ALLOW else now, how, tuple(voters))


def _stands(reason: tuple[str, str], partly: bool) -> bool:
    policy, code = reason
    if policy == SIDECAR:
        return code not in (Reason.PRICE_UNKNOWN, Reason.POLICY_ERROR, Reason.POLICY_INVALID, Reason.PDP_UNAVAILABLE)
    return policy.startswith(_MOMENT) or (partly and (policy.startswith("custom.") or policy == "variants.limit"))


def voters(holds: Iterable[Hold], agent: str, labels: Collection[str], catalogue: Catalogue) -> tuple[str, ...]:
    """Who would be asked, or may say so unasked: people by role, and supervisors."""
    found: set[str] = set()
    for hold in holds:
        found |= {name for name, person in catalogue.people.items() if {*hold.terms.roles} & {*person.roles}}
        if hold.terms.supervisor:
            found.update(supervisors(catalogue.agents, catalogue.people, agent, labels))
    return tuple(sorted(found))


def tight(spent: Iterable[tuple[Spent, Sequence[BudgetRow]]]) -> list[Tight]:
    """The rows that what was observed would have overdrawn, each with the budgets that selected it."""
    sums: dict[tuple[str, str, int, int], int] = {}
    limits: dict[tuple[str, str, int, int], BudgetRow] = {}
    for each, rows in spent:
        for row in rows:
            sums[row.key] = sums.get(row.key, 0) + each.cost
            limits[row.key] = row
    worst: dict[str, Tight] = {}
    for key, cost in sums.items():
        row = limits[key]
        known = worst.get(row.budget)
        if cost > row.limit and (known is None or cost > known.spent):
            worst[row.budget] = Tight(row.budget, cost, row.limit, row.start)
    return [worst[name] for name in sorted(worst)]
