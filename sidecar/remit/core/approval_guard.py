"""What a store demands of every change of an approval, whatever policy stated: it is compared with what is stored.

Beyond `approval.MOVES`:

    what it is for          stays, as do its terms; its items and what was used of them are not a change's to say
    who has said what       only grows, and never by the requester
    with a new vote         it is an answer: only while the stored deadline has not passed, or to take a grant back
    without one             it is the clock: only once the stored deadline has passed, and it approves nothing
    approved                only with as many who approve as the stored terms ask for
    who is asked            moves on along the chain, never back; by the clock only to whoever is next

So whoever looked before somebody else did changes nothing, and neither rules nor a sweeper that is early or late give
a grant. Times are nanoseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from remit.core.approval import MOVES, Approval, Bind, Item, State, Vote, approving, blanked, holds_all, to_document
from remit.core.errors import IllegalTransition

_MOVING = frozenset({"state", "version", "votes", "level", "deadline", "expires", "ended", "alternative"})
"""What of an approval's document a change may be of."""


def check_opened(approval: Approval, now: int) -> None:
    """Raise IllegalTransition for what no approval begins as: a request that waits, or a grant for one exact use, which
    is offered in the place of what was asked for."""
    if approval.version != 1 or len(approval.items) != 1 or approval.items[0].used or approval.items[0].spent:
        raise IllegalTransition(f"approval {approval.id} does not begin")
    if any(each.by == approval.subject for each in approval.votes):
        raise IllegalTransition(f"{approval.subject} asks for approval {approval.id}, and has no voice in it")
    if approval.state is State.APPROVED:
        terms = approval.terms
        if terms.bind is not Bind.EXACT or terms.uses != 1 or approval.expires <= now:
            raise IllegalTransition(f"approval {approval.id} cannot begin as a grant")
    elif approval.state is not State.PENDING:
        raise IllegalTransition(f"approval {approval.id} begins as {approval.state}")


def same(there: Item | None, asked: Item) -> bool:
    """Whether an item is there that holds all of what is asked: the same labels or more, the same amount or more."""
    return there is not None and holds_all(there, labels=asked.labels, amount=asked.amount)


def moved(stored: Approval, wanted: Approval, now: int) -> Approval:
    """The stored approval after the change. Raises IllegalTransition."""
    new = _new_votes(stored, wanted)
    if wanted.state not in MOVES[stored.state]:
        raise IllegalTransition(f"approval {stored.id} is {stored.state}, and cannot be {wanted.state}")
    if _what(wanted) != _what(stored):
        raise IllegalTransition(f"approval {stored.id} would be of something else")
    if stored.state is State.PENDING:
        _check_time(stored, wanted, answered=bool(new), now=now)
    elif not new:
        raise IllegalTransition(f"nobody has taken approval {stored.id} back")
    after = replace(
        stored,
        state=wanted.state,
        version=stored.version + 1,
        votes=wanted.votes,
        level=wanted.level,
        deadline=wanted.deadline,
        expires=wanted.expires,
        ended=wanted.ended,
        alternative=wanted.alternative,
    )
    if after.state is State.APPROVED and (not new or len(approving(after)) < stored.terms.quorum):
        raise IllegalTransition(f"approval {stored.id} needs {stored.terms.quorum} who approve")
    return after if after.state in (State.PENDING, State.APPROVED) else blanked(after)


def _what(approval: Approval) -> dict[str, Any]:
    return {name: value for name, value in to_document(approval).items() if name not in _MOVING}


def _new_votes(stored: Approval, wanted: Approval) -> tuple[Vote, ...]:
    known = len(stored.votes)
    if wanted.votes[:known] != stored.votes:
        raise IllegalTransition(f"what was said of approval {stored.id} stays said")
    new = wanted.votes[known:]
    if any(each.by == stored.subject for each in new):
        raise IllegalTransition(f"{stored.subject} asks for approval {stored.id}, and has no voice in it")
    return new


def _check_time(stored: Approval, wanted: Approval, *, answered: bool, now: int) -> None:
    over = stored.deadline <= now
    if answered and over:
        raise IllegalTransition(f"approval {stored.id} was not answered in time")
    if not answered and not over:
        raise IllegalTransition(f"approval {stored.id} still waits")
    least = stored.level if answered or wanted.state is not State.PENDING else stored.level + 1
    if not least <= wanted.level <= len(stored.chain):
        raise IllegalTransition(f"approval {stored.id} does not pass from level {stored.level} to {wanted.level}")
