"""How much of a shared budget one writer takes to spend by itself, and when it gives some back.

A slice is as large as the writer will want soon, and never more than its share of half of what is left: so slices
shrink as the room does, and where a share is only a few calls' worth there are none, and the ledger itself is asked
each time. What is taken and not needed goes back. Amounts are nanos.
"""

from __future__ import annotations

FEWEST = 4
"""Calls' worth below which a slice is not worth its round trip, and others would wait for money that lies idle."""

AHEAD = 16
"""Calls' worth that is taken where nothing is known of the pace yet."""

PACE_SECONDS = 2
"""How far ahead is taken: what a lost writer may leave presumed spent."""


def slice_of(room: int, *, amount: int, pace: int, members: int, left: int = 0) -> int:
    """How much to take of a row that has `room`, for calls of about `amount`; 0 where none is to be taken.

    `pace` is what was reserved in the last PACE_SECONDS, `members` who may all take slices, `left` what the writer
    still has of an earlier slice.
    """
    if amount <= 0:
        return 0
    share = room // (2 * max(1, members))
    wanted = max(pace, AHEAD * amount) - left
    taken = min(share, wanted)
    return taken if taken + left >= FEWEST * amount and taken > 0 else 0


def runs_low(left: int, *, amount: int, pace: int) -> bool:
    """Whether it is time to take more: so early that nobody waits for it."""
    return left < max(pace // 2, AHEAD // 2 * amount)


def too_much(left: int, *, amount: int, pace: int) -> int:
    """How much of what is left is to be given back, while the writer goes on: what it will not want soon."""
    wanted = 2 * max(pace, AHEAD * amount)
    return left - wanted if left > 2 * wanted else 0
