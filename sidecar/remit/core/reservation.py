"""The life of a reservation: money set aside by an ALLOW, which ends once.

    held ──settled──▶ settled   the real cost is known: it is spent, whole, however large
      ├────voided───▶ voided    the enforcement point knows that nothing was sent: nothing is spent
      └────lapsed───▶ lapsed    the deadline passed in silence: presumed spent as reserved
    lapsed ─settled─▶ settled   the enforcement point reports late: the real cost replaces the presumption, once

A hold is an upper bound, so ending it normally makes room. The real cost wins where it is larger (an overrun):
what was spent was spent, and hiding it would let the next call overspend as well. Every end is booked in the
rows in which the hold was made, even if their window has long passed. A deadline only moves on, so that a
report of progress can never shorten a hold; and a lapse is refused until the deadline has passed, so that a
sweeper that looked before the deadline was moved on does no harm.

Amounts are nanos of the ledger's currency, times nanoseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from remit.core.errors import BadRequest, IllegalTransition, Violation


class State(StrEnum):
    """Where a reservation stands; the names of the ends are those of the steps that lead to them."""

    HELD = "held"
    SETTLED = "settled"
    VOIDED = "voided"
    LAPSED = "lapsed"


MOVES: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.SETTLED, State.VOIDED, State.LAPSED}),
    State.LAPSED: frozenset({State.SETTLED}),
    State.SETTLED: frozenset(),
    State.VOIDED: frozenset(),
}

MAX_NANOS = 2**60
"""Bound of a single amount (about 1.15 thousand million units), so that sums stay within 64 bits."""

MAX_TOTAL = 2**62
"""Where totals stop growing. A budget that has come so far is full whatever is added, and an agent's reports of
absurd usage must not make a sum that the ledger cannot hold: nobody's hold in that budget could end any more."""

HOUR = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Ending:
    """What ending a reservation changes, in each of its rows: `held` and `spent` are differences.

    `total` is what the reservation has spent now; `overrun` the part of it above the reserved amount.
    """

    held: int
    spent: int
    total: int
    overrun: int


def end(state: str, how: str, *, amount: int, cost: int, deadline: int, now: int) -> Ending:
    """What it means to end a reservation of `amount` in `state`. Raises IllegalTransition or BadRequest."""
    before, after = State(state), _end(how)
    if after not in MOVES[before]:
        raise IllegalTransition(f"a {before} reservation cannot be {after}")
    if after is State.LAPSED and not overdue(deadline, now):
        raise IllegalTransition("the reservation's deadline was moved on and has not passed")
    total = _total(after, amount, check_amount("cost", cost))
    return Ending(
        held=-amount if before is State.HELD else 0,
        spent=total - (amount if before is State.LAPSED else 0),
        total=total,
        overrun=max(0, total - amount),
    )


def prolonged(state: str, deadline: int, later: int) -> int:
    """The deadline after progress was reported: never an earlier one. Raises IllegalTransition."""
    if State(state) is not State.HELD:
        raise IllegalTransition(f"a {state} reservation cannot be prolonged")
    return max(deadline, later)


def overdue(deadline: int, now: int) -> bool:
    """Whether a hold with this deadline is to lapse."""
    return deadline <= now


def hour(time: int) -> int:
    """When the hour began in which `time` lies: what is spent is told hour by hour."""
    return time - time % HOUR


def check_amount(field: str, amount: int) -> int:
    """The amount, if it is one. Raises BadRequest."""
    if not 0 <= amount <= MAX_NANOS:
        raise BadRequest(Violation(field, f"0 to {MAX_NANOS} nanos"))
    return amount


def _end(how: str) -> State:
    if how not in frozenset(State) - {State.HELD}:
        raise BadRequest(Violation("how", "settled, voided or lapsed"))
    return State(how)


def _total(after: State, amount: int, cost: int) -> int:
    if after is State.VOIDED and cost:
        raise BadRequest(Violation("cost", "0 where nothing was sent"))
    return {State.SETTLED: cost, State.VOIDED: 0, State.LAPSED: amount}[after]
