"""A reservation ends once, and its whole real cost is booked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.errors import BadRequest, IllegalTransition
from remit.core.reservation import MAX_NANOS, MOVES, State, check_amount, end, overdue, prolonged

AMOUNTS = st.integers(0, MAX_NANOS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("how", [each for each in State if each is not State.HELD])
def test_exactly_the_listed_moves_are_legal(state: State, how: State) -> None:
    """held ends in three ways, lapsed is settled late, and nothing else happens."""
    legal = {("held", "settled"), ("held", "voided"), ("held", "lapsed"), ("lapsed", "settled")}

    try:
        end(state, how, amount=5, cost=0, deadline=1, now=1)
        moved = True
    except IllegalTransition:
        moved = False

    assert moved == ((state, how) in legal)


def test_every_state_has_its_moves() -> None:
    """The table is total, and nothing leads back to held."""
    assert set(MOVES) == set(State)
    assert all(State.HELD not in after for after in MOVES.values())


@given(amount=AMOUNTS, cost=AMOUNTS)
def test_settling_books_the_whole_cost(amount: int, cost: int) -> None:
    """Everything that was held is free again, all of the cost is spent, and what is above the hold is overrun."""
    ending = end("held", "settled", amount=amount, cost=cost, deadline=9, now=1)

    assert (ending.held, ending.spent, ending.total) == (-amount, cost, cost)
    assert ending.overrun == max(0, cost - amount)


@given(amount=AMOUNTS, cost=AMOUNTS)
def test_a_late_settlement_ends_where_a_timely_one_does(amount: int, cost: int) -> None:
    """Lapsing and then settling changes the rows, in sum, exactly as settling in time."""
    lapse = end("held", "lapsed", amount=amount, cost=0, deadline=1, now=1)
    late = end("lapsed", "settled", amount=amount, cost=cost, deadline=1, now=2)
    timely = end("held", "settled", amount=amount, cost=cost, deadline=1, now=0)

    assert (lapse.held, lapse.spent, lapse.overrun) == (-amount, amount, 0)
    assert (lapse.held + late.held, lapse.spent + late.spent) == (timely.held, timely.spent)
    assert (lapse.overrun + late.overrun, late.total) == (timely.overrun, timely.total)


def test_voiding_spends_nothing_and_claims_nothing() -> None:
    """What was not sent costs nothing; a cost with it is a contradiction."""
    ending = end("held", "voided", amount=5, cost=0, deadline=9, now=1)

    assert (ending.held, ending.spent, ending.total, ending.overrun) == (-5, 0, 0, 0)
    with pytest.raises(BadRequest):
        end("held", "voided", amount=5, cost=1, deadline=9, now=1)


@given(deadline=st.integers(0, 100), now=st.integers(0, 100))
def test_a_lapse_waits_for_the_deadline(deadline: int, now: int) -> None:
    """Whether a hold is overdue is what allows it to lapse."""
    try:
        end("held", "lapsed", amount=5, cost=0, deadline=deadline, now=now)
        lapsed = True
    except IllegalTransition:
        lapsed = False

    assert lapsed == overdue(deadline, now) == (now >= deadline)


@given(deadline=AMOUNTS, later=AMOUNTS)
def test_progress_never_shortens(deadline: int, later: int) -> None:
    """A deadline only moves on."""
    assert prolonged("held", deadline, later) == max(deadline, later)


@pytest.mark.parametrize("state", [State.SETTLED, State.VOIDED, State.LAPSED])
def test_what_has_ended_is_not_prolonged(state: State) -> None:
    """Progress after the end is illegal."""
    with pytest.raises(IllegalTransition):
        prolonged(state, 1, 2)


@pytest.mark.parametrize("amount", [-1, MAX_NANOS + 1])
def test_amounts_are_bounded(amount: int) -> None:
    """Below 0 and above what sums can hold is a bad request, told with the field's name."""
    with pytest.raises(BadRequest, match="cost"):
        check_amount("cost", amount)


@pytest.mark.parametrize("how", ["held", "", "refunded"])
def test_an_end_has_a_known_name(how: str) -> None:
    """Anything but the three ends is a bad request."""
    with pytest.raises(BadRequest):
        end("held", how, amount=1, cost=0, deadline=9, now=1)
