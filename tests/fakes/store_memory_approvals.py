"""Approvals, claims and acts of the store in memory, as plainly as possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from remit.core import approval as approvals
from remit.core.approval import MOST_ITEMS, MOST_PENDING, Approval, State
from remit.core.approval_guard import check_opened, moved, same
from remit.core.claim import MOST_CLAIMS, Act, Claim
from remit.core.effect import (
    JoinApproval,
    MoveApproval,
    NoteAct,
    OpenApproval,
    ReleaseClaim,
    RespectClaims,
    TakeClaim,
    UseGrant,
)
from remit.core.errors import IllegalTransition, NotFound
from remit.core.reason import Reason
from remit.core.reservation import MAX_TOTAL, check_amount
from remit.ports import ApprovalsQuery

MONTH = 30 * 86_400 * approvals.SECOND

ApprovalEffect = (
    OpenApproval | JoinApproval | MoveApproval | UseGrant | TakeClaim | ReleaseClaim | RespectClaims | NoteAct
)


class Refusal(Exception):
    """A guard said no."""


@dataclass
class Approvals:
    """What is stored; the values are never changed in place."""

    found: dict[str, Approval] = field(default_factory=dict)
    version: int = 0
    claims: dict[str, Claim] = field(default_factory=dict)
    floor: int = 0
    acts: dict[tuple[str, str, str, str], tuple[Act, int]] = field(default_factory=dict)

    def copy(self) -> Approvals:
        """Another one with the same values."""
        return replace(self, found=dict(self.found), claims=dict(self.claims), acts=dict(self.acts))

    # What is asked

    def find(self, query: ApprovalsQuery) -> tuple[Approval, ...]:
        found = [
            each
            for each in self.found.values()
            if (not query.ids or each.id in query.ids)
            and (not query.likes or each.like in query.likes)
            and (not query.bindings or any(item.binding in query.bindings for item in each.items))
            and (not query.states or each.state in query.states)
            and query.subject in ("", each.subject)
            and (not query.before or each.id < query.before)
        ]
        return tuple(sorted(found, key=lambda each: each.id, reverse=True)[: query.limit])

    def pending(self) -> dict[str, int]:
        return {each.id: each.version for each in sorted(self._pending(), key=lambda each: each.id)}

    def due(self, now: int, limit: int) -> tuple[Approval, ...]:
        over = [each for each in self._pending() if each.deadline <= now]
        return tuple(sorted(over, key=lambda each: (each.deadline, each.id))[:limit])

    def claim(self, key: str) -> Claim:
        return self.claims.get(key, Claim(key, "", "", self.floor, 0))

    def held(self, now: int, limit: int) -> tuple[Claim, ...]:
        held = [each for each in self.claims.values() if each.held(now)]
        return tuple(sorted(held, key=lambda each: (each.time, each.key))[:limit])

    def due_claims(self, now: int, limit: int) -> tuple[Claim, ...]:
        over = [each for each in self.claims.values() if each.subject and each.expires <= now]
        return tuple(sorted(over, key=lambda each: (each.expires, each.key))[:limit])

    def acts_of_others(self, workflow: str, thing: str, subject: str) -> tuple[Act, ...]:
        there = [act for (flow, what, _, _), (act, _) in self.acts.items() if (flow, what) == (workflow, thing)]
        others = [act for act in there if act.subject != subject]
        return tuple(sorted(others, key=lambda act: (act.time, act.subject, act.operation)))

    # What is done

    def perform(self, effect: ApprovalEffect, now: int) -> None:
        match effect:
            case OpenApproval():
                self._open(effect.approval, now)
            case JoinApproval():
                self._join(effect, now)
            case MoveApproval():
                self._move(effect.approval, now)
            case UseGrant():
                self._use(effect, now)
            case TakeClaim():
                self._take(effect.claim, effect.before, now)
            case ReleaseClaim():
                self._release(effect, now)
            case RespectClaims():
                self._respect(effect, now)
            case NoteAct():
                self._note(effect, now)

    def _open(self, asked: Approval, now: int) -> None:
        check_opened(asked, now)
        if asked.id in self.found:
            raise IllegalTransition("opened before")
        if asked.state is State.PENDING:
            if any(each.like == asked.like for each in self._pending()):
                raise Refusal(Reason.FACTS_CHANGED, "approval")
            if sum(each.subject == asked.subject for each in self._pending()) >= MOST_PENDING:
                raise Refusal(Reason.APPROVALS_EXHAUSTED, asked.subject)
        self._changed(asked)

    def _join(self, joined: JoinApproval, now: int) -> None:
        there = self.found.get(joined.id)
        if there is None or there.state is not State.PENDING or there.deadline <= now:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        known = there.item(joined.item.binding)
        if joined.same:
            if known is None or not same(known, joined.item):
                raise Refusal(Reason.FACTS_CHANGED, "approval")
            self.found[there.id] = _with(there, replace(known, asked=known.asked + 1))
            return
        if there.version != joined.version:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        if known is None and len(there.items) >= MOST_ITEMS:
            raise Refusal(Reason.APPROVALS_EXHAUSTED, there.id)
        item = replace(joined.item, asked=known.asked + 1 if known else joined.item.asked, used=0, spent=0)
        self._changed(replace(_with(there, item), version=there.version + 1))

    def _move(self, wanted: Approval, now: int) -> None:
        there = self.found.get(wanted.id)
        if there is None or there.version + 1 != wanted.version:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        self._changed(moved(there, wanted, now))

    def _use(self, use: UseGrant, now: int) -> None:
        amount = check_amount("amount", use.amount)
        there = self.found.get(use.id)
        item = there.item(use.binding) if there else None
        if not there or not item or not approvals.covers(there, use.binding, labels=(), amount=amount, now=now):
            raise Refusal(Reason.FACTS_CHANGED, "grant")
        used = replace(item, used=item.used + 1, spent=min(item.spent + amount, MAX_TOTAL))
        self.found[there.id] = _with(there, used)

    def _take(self, wanted: Claim, before: int, now: int) -> None:
        there = self.claim(wanted.key)
        if there.held_by_another(wanted.subject, wanted.workflow, now):
            raise Refusal(Reason.CLAIM_HELD, wanted.key)
        if not wanted.subject or wanted.expires <= now:
            raise IllegalTransition("a claim is somebody's, for some time")
        renews = there.held(now) and wanted.token == there.token
        if (wanted.key in self.claims and there.token != before) or not (renews or wanted.token > there.token):
            raise Refusal(Reason.FACTS_CHANGED, "claim")
        others = [each for each in self.claims.values() if each.subject == wanted.subject and each.key != wanted.key]
        if sum(each.held(now) for each in others) >= MOST_CLAIMS:
            raise Refusal(Reason.CLAIMS_EXHAUSTED, wanted.subject)
        self.claims[wanted.key] = wanted

    def _release(self, released: ReleaseClaim, now: int) -> None:
        there = self.claim(released.key)
        held_so = (there.subject, there.workflow, there.token) == (released.subject, released.workflow, released.token)
        if not there.subject or not held_so:
            raise NotFound(f"{released.subject} does not hold {released.key}")
        if released.lapsed and there.expires > now:
            raise IllegalTransition("it has not lapsed")
        self.claims[released.key] = replace(there, subject="", workflow="", expires=0, time=now)

    def _respect(self, wanted: RespectClaims, now: int) -> None:
        claims = [self.claim(key) for key in wanted.keys]
        for each in claims:
            if each.held_by_another(wanted.subject, wanted.workflow, now):
                raise Refusal(Reason.CLAIM_HELD, each.key)
        if wanted.token and not any(each.held(now) and each.token == wanted.token for each in claims):
            raise Refusal(Reason.CLAIM_LOST, wanted.keys[-1])

    def _note(self, noted: NoteAct, now: int) -> None:
        if len(self.acts_of_others(noted.workflow, noted.object, noted.subject)) != noted.seen:
            raise Refusal(Reason.FACTS_CHANGED, "acts")
        key = (noted.workflow, noted.object, noted.subject, noted.operation)
        act = Act(noted.subject, noted.operation, noted.decision, now)
        first, expires = self.acts.get(key, (act, 0))
        self.acts[key] = replace(first, time=now), max(expires, noted.expires)

    # What is forgotten

    def prune(self, now: int) -> int:
        ended = [each for each in self.found.values() if each.state is not State.PENDING]
        over = {each.id for each in ended if (each.ended or each.expires) <= now - MONTH}
        free = {each.key for each in self.claims.values() if not each.subject and each.time <= now - MONTH}
        acts = {key for key, (_, expires) in self.acts.items() if expires <= now}
        self.floor = max([self.floor, *(self.claims[key].token for key in free)])
        self.found = {id: each for id, each in self.found.items() if id not in over}
        self.claims = {key: each for key, each in self.claims.items() if key not in free}
        self.acts = {key: each for key, each in self.acts.items() if key not in acts}
        return len(over) + len(free) + len(acts)

    def erase(self, decision: str) -> None:
        """Nothing is left to read of what a decision asked for."""
        for there in self.found.values():
            items = tuple(replace(each, shown="") if each.decision == decision else each for each in there.items)
            self.found[there.id] = replace(there, items=items)

    def _pending(self) -> Iterable[Approval]:
        return [each for each in self.found.values() if each.state is State.PENDING]

    def _changed(self, approval: Approval) -> None:
        self.found[approval.id] = approval
        self.version += 1


def _with(approval: Approval, item: approvals.Item) -> Approval:
    """With the item in the place of the one with its binding, or at the end."""
    if approval.item(item.binding) is None:
        return replace(approval, items=(*approval.items, item))
    items = tuple(item if each.binding == item.binding else each for each in approval.items)
    return replace(approval, items=items)
