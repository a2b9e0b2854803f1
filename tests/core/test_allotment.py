"""How large slices are: enough to be worth it, never more than a share, nothing where money is scarce."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.allotment import AHEAD, FEWEST, runs_low, slice_of, too_much

CENT = 10_000_000
NANOS = st.integers(0, 10**15)


@given(room=st.integers(-(10**12), 10**15), amount=NANOS, pace=NANOS, members=st.integers(0, 1000), left=NANOS)
def test_a_slice_is_at_most_its_share_of_half_of_what_is_left(
    room: int, amount: int, pace: int, members: int, left: int
) -> None:
    """Whatever is wanted; and all members together leave half of it to whoever asks the ledger."""
    taken = slice_of(room, amount=amount, pace=pace, members=members, left=left)

    assert 0 <= taken <= max(0, room) // 2
    assert taken * max(1, members) <= max(0, room) // 2


@given(room=NANOS, amount=st.integers(1, 10**12), members=st.integers(1, 100))
def test_a_slice_is_worth_a_few_calls_or_nothing(room: int, amount: int, members: int) -> None:
    """Where a share is less, no money lies idle in slices."""
    taken = slice_of(room, amount=amount, pace=0, members=members)

    assert taken == 0 or taken >= FEWEST * amount


@pytest.mark.parametrize(
    ("room", "members", "taken"),
    [
        (100 * CENT, 1, AHEAD * CENT),  # what is wanted
        (24 * CENT, 1, 12 * CENT),  # its share of half
        (24 * CENT, 3, 4 * CENT),
        (24 * CENT, 4, 0),  # three calls' worth: the ledger is asked
        (7 * CENT, 1, 0),
        (0, 1, 0),
        (-CENT, 1, 0),  # overrun
    ],
)
def test_slices_shrink_as_the_room_does(room: int, members: int, taken: int) -> None:
    """Down to nothing, so that the last cent is there for whoever asks."""
    assert slice_of(room, amount=CENT, pace=0, members=members) == taken


def test_more_is_taken_before_it_runs_out_and_given_back_when_it_lies_idle() -> None:
    """At half of what is wanted more is taken; what is four times too much goes back."""
    assert not runs_low(AHEAD * CENT, amount=CENT, pace=0)
    assert runs_low(AHEAD // 2 * CENT - 1, amount=CENT, pace=0)
    assert runs_low(49 * CENT, amount=CENT, pace=100 * CENT)

    assert too_much(4 * AHEAD * CENT, amount=CENT, pace=0) == 0
    assert too_much(4 * AHEAD * CENT + 1, amount=CENT, pace=0) == 2 * AHEAD * CENT + 1


@given(room=NANOS, amount=st.integers(1, 10**10), pace=NANOS)
def test_what_was_just_taken_is_not_given_back(room: int, amount: int, pace: int) -> None:
    """Or slices would go to and fro."""
    taken = slice_of(room, amount=amount, pace=pace, members=1)

    assert too_much(taken, amount=amount, pace=pace) == 0
