"""Bugs for those to find who try approvals: each would let somebody do what nobody, or too few, have approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from fakes import store_memory_approvals as memory
from pytest import MonkeyPatch
from remit.backends.store_sqlite import approvals as sqlite
from remit.core import approval as core
from remit.core import approval_guard as guard
from remit.core.approval import Approval, Bind, State
from remit.core.call import Objection
from remit.core.effect import JoinApproval, UseGrant
from remit.core.model import Request
from remit.core.reason import Reason
from remit.pep import approvals as consulting
from remit.pep import resolving
from remit.pep.pipeline import Pipeline

Plant = Callable[[MonkeyPatch], None]
_covers, _objection, _binding = core.covers, resolving._Said.objection, core.binding
_use = {memory.Approvals: memory.Approvals._use, sqlite.Approvals: sqlite.Approvals.use}


def _covering(patch: MonkeyPatch, covers: Callable[..., bool]) -> None:
    """Whoever asks whether a grant is one is told by this."""
    patch.setattr(core, "covers", covers)
    patch.setattr(sqlite, "covers", covers)


def uses_are_not_counted(patch: MonkeyPatch) -> None:
    def looked(self: memory.Approvals, use: UseGrant, now: int) -> None:
        known = dict(self.found)
        _use[memory.Approvals](self, use, now)
        self.found = known

    patch.setattr(memory.Approvals, "_use", looked)
    patch.setattr(sqlite, "_USED", "SELECT ?1, ?2, ?3, ?4")


def what_was_taken_back_is_used(patch: MonkeyPatch) -> None:
    def covers(approval: Approval, binding: str, **under: Any) -> bool:
        back = approval.state is State.REVOKED
        return _covers(replace(approval, state=State.APPROVED) if back else approval, binding, **under)

    _covering(patch, covers)


def grants_last_for_ever(patch: MonkeyPatch) -> None:
    """It is the requester's clock that counts, which stands."""
    _covering(
        patch,
        lambda approval, binding, *, labels, amount, now: _covers(
            approval, binding, labels=labels, amount=amount, now=0
        ),
    )


def labels_are_not_compared(patch: MonkeyPatch) -> None:
    _covering(
        patch,
        lambda approval, binding, *, labels, amount, now: _covers(approval, binding, labels=(), amount=amount, now=now),
    )


def costs_are_not_compared(patch: MonkeyPatch) -> None:
    def covers(approval: Approval, binding: str, **under: Any) -> bool:
        return _covers(replace(approval, terms=replace(approval.terms, cost=None)), binding, **under)

    _covering(patch, covers)


def versions_are_not_compared(patch: MonkeyPatch) -> None:
    def objection(self: Any) -> Objection | None:
        found = _objection(self)
        return None if found is not None and found.reason is Reason.FACTS_CHANGED else found

    patch.setattr(resolving._Said, "objection", objection)


def what_joins_moves_no_version(patch: MonkeyPatch) -> None:
    def joins(self: memory.Approvals, joined: JoinApproval, now: int) -> None:
        there = self.found.get(joined.id)
        if there is None or there.state is not State.PENDING or there.version != joined.version:
            raise memory.Refusal(Reason.FACTS_CHANGED, "approval")
        self.found[there.id] = memory._with(there, joined.item)

    def put(self: sqlite.Approvals, joined: JoinApproval, now: int) -> None:
        self._put(joined.id, joined.item)

    patch.setattr(memory.Approvals, "_join", joins)
    patch.setattr(sqlite.Approvals, "join", put)


def arguments_are_not_bound(patch: MonkeyPatch) -> None:
    def binding(bind: Bind, request: Request) -> str:
        return _binding(Bind.VARIANT if bind is Bind.EXACT else bind, request)

    patch.setattr(core, "binding", binding)


def one_person_is_a_quorum(patch: MonkeyPatch) -> None:
    def approving(approval: Approval) -> frozenset[tuple[str, str]]:
        said = [each for each in approval.votes if each.verdict == "approve"]
        return frozenset((each.kind, f"{each.by} {number}") for number, each in enumerate(said))

    def verdicts(votes: Any) -> list[Mapping[str, Any]]:
        return [
            {"kind": each.kind, "by": each.by, "verdict": each.verdict.value, "level": each.level} for each in votes
        ]

    patch.setattr(core, "approving", approving)
    patch.setattr(guard, "approving", approving)
    patch.setattr(resolving, "_verdicts", verdicts)


def whoever_asks_answers(patch: MonkeyPatch) -> None:
    def objection(self: Any) -> Objection | None:
        found = _objection(self)
        return None if found is not None and found.reason is Reason.APPROVAL_OWN else found

    patch.setattr(resolving._Said, "objection", objection)
    patch.setattr(guard, "_new_votes", lambda stored, wanted: wanted.votes[len(stored.votes) :])


def late_answers_count(patch: MonkeyPatch) -> None:
    patch.setattr(core, "_check_open", lambda approval, now: None)
    patch.setattr(guard, "_check_time", lambda stored, wanted, *, answered, now: None)


def what_one_has_approved_is_joined(patch: MonkeyPatch) -> None:
    careless = SimpleNamespace(**{**vars(core), "approving": lambda approval: frozenset()})
    patch.setattr(consulting, "approvals", careless)


def nobody_sweeps(patch: MonkeyPatch) -> None:
    async def sweep(self: Pipeline) -> None:
        """Nothing ends by itself."""

    patch.setattr(Pipeline, "sweep", sweep)


IN_ORDERS: tuple[Plant, ...] = (
    uses_are_not_counted,
    what_was_taken_back_is_used,
    grants_last_for_ever,
    what_joins_moves_no_version,
)
IN_INTERLEAVINGS: tuple[Plant, ...] = (
    *IN_ORDERS,
    labels_are_not_compared,
    versions_are_not_compared,
    arguments_are_not_bound,
    costs_are_not_compared,
    one_person_is_a_quorum,
    whoever_asks_answers,
    late_answers_count,
    what_one_has_approved_is_joined,
    nobody_sweeps,
)
