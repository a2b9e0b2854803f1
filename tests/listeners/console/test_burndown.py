"""The burn-down: where its lines run, for any spending."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from remit.core.model import BudgetRoom, BudgetRow
from remit.listeners.console.burndown import HEIGHT, HOUR, HOURLY, MAX_HOURS, MAX_POINTS, WIDTH, burn_down
from remit.ports import Burn

EUR = 10**9


def room(limit: int = 100 * EUR, spent: int = 0, *, start: int = 0, end: int = 100 * HOUR) -> BudgetRoom:
    return BudgetRoom(BudgetRow(budget="b", scope="", start=start, end=end, limit=limit), limit, spent, 0)


def points(text: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in (each.split(",") for each in text.split())]


def test_the_line_rises_in_each_hour_to_what_was_spent_by_then() -> None:
    """Half of the limit in the first hour, nothing until the tenth, a quarter then: the line says just that."""
    drawn = burn_down(room(spent=75 * EUR), [Burn(0, 50 * EUR), Burn(10 * HOUR, 25 * EUR)], 20 * HOUR)

    assert points(drawn.line) == [(0, 400), (0, 400), (10, 200), (100, 200), (110, 100), (200, 100)]
    assert drawn.pace == "0,400 1000,0"
    assert (drawn.y_limit, drawn.x_now, drawn.top) == (0, 200, 100 * EUR)
    assert [(each.time, each.spent, each.total, each.even) for each in drawn.hours] == [
        (10 * HOUR, 25 * EUR, 75 * EUR, 11 * EUR),
        (0, 50 * EUR, 50 * EUR, EUR),
    ]
    assert drawn.even == 20 * EUR
    assert drawn.used_up == 20 * HOUR * 100 // 75 // (60 * EUR) * 60 * EUR


def test_a_pace_that_lasts_is_not_told_to_end() -> None:
    """Nothing is used up where it lasts, where nothing is spent, or where all is."""
    for spent in (0, 19 * EUR, 100 * EUR, 120 * EUR):
        assert burn_down(room(spent=spent), [], 20 * HOUR).used_up == 0


def test_what_never_ends_has_no_pace() -> None:
    """It is drawn from its first hour until now."""
    drawn = burn_down(room(spent=EUR, end=0), [Burn(50 * HOUR, EUR)], 60 * HOUR)

    assert (drawn.start, drawn.end, drawn.pace, drawn.even, drawn.used_up) == (50 * HOUR, 0, "", 0, 0)
    assert drawn.x_now == WIDTH


def test_more_than_the_limit_is_drawn_above_it() -> None:
    """The limit's line moves down, and nothing is cut off."""
    drawn = burn_down(room(spent=200 * EUR), [Burn(0, 200 * EUR)], 20 * HOUR)

    assert (drawn.top, drawn.y_limit) == (200 * EUR, HEIGHT // 2)


def test_years_of_hours_stay_small() -> None:
    """The line has as many points as can be seen, the table the latest month; what is left out is counted."""
    burns = [Burn(n * HOUR, EUR) for n in range(30_000)]
    drawn = burn_down(room(spent=30_000 * EUR, end=0), burns, 30_000 * HOUR)

    assert len(points(drawn.line)) <= 2 * MAX_POINTS + 2
    assert (len(drawn.hours), drawn.left_out, len(drawn.bars)) == (MAX_HOURS, 30_000 - MAX_HOURS, MAX_HOURS)
    assert drawn.hours[0].total == 30_000 * EUR
    assert points(drawn.line)[-1] == (WIDTH, 0)


SPENT = st.integers(-(10**18), 10**18)
TIME = st.integers(0, 10**19)


@given(
    limit=SPENT,
    start=TIME,
    length=st.integers(0, 10**17),
    now=TIME,
    burns=st.lists(st.tuples(st.integers(0, 10_000), SPENT), max_size=20, unique_by=lambda each: each[0]),
)
def test_no_spending_leaves_the_picture(
    limit: int, start: int, length: int, now: int, burns: list[tuple[int, int]]
) -> None:
    """Every point is within it and time never runs back, whatever clocks, corrections and adjustments have done."""
    hours = [Burn(start + at * HOUR, spent) for at, spent in sorted(burns)]
    drawn = burn_down(room(limit, sum(each.spent for each in hours), start=start, end=start + length), hours, now)
    line = points(drawn.line)

    for x, y in [*line, *points(drawn.area), *points(drawn.pace), (drawn.x_now, drawn.y_limit)]:
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    for bar in drawn.bars:
        assert 0 <= bar.x <= WIDTH and 0 <= bar.y <= HOURLY and bar.y + bar.height == HOURLY
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert sum(each.spent for each in drawn.hours) == sum(each.spent for each in hours)
