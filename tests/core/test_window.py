"""Budget windows follow the wall clock without gap or overlap, and rows name who shares a limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.catalogue import Budget
from remit.core.model import BudgetRow
from remit.core.selector import Selector
from remit.core.window import ENDLESS, KINDS, Window, budget_rows, standing_scope, window_at

SECOND = 1_000_000_000
HOUR = 3600 * SECOND

# Clocks that change at midnight, by half an hour, a minute after midnight, by a day, twice around Ramadan.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "America/Toronto",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
]
TRANSITIONS = [
    ("America/St_Johns", datetime(2010, 11, 7, 2, 31, tzinfo=UTC)),  # 00:01 becomes 23:01 of the day before
    ("America/St_Johns", datetime(2010, 3, 14, 3, 31, tzinfo=UTC)),  # 00:01 becomes 01:01
    ("Pacific/Apia", datetime(2011, 12, 30, 10, 0, tzinfo=UTC)),  # 30 December never was
    ("America/Sao_Paulo", datetime(2017, 10, 15, 3, 0, tzinfo=UTC)),  # no midnight
    ("America/Havana", datetime(2026, 11, 1, 5, 0, tzinfo=UTC)),  # midnight twice
    ("Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, 0, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, 0, tzinfo=UTC)),  # half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
]


def ns(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)) * SECOND


anywhere = st.integers(ns(datetime(1900, 1, 1, tzinfo=UTC)), ns(datetime(2199, 1, 1, tzinfo=UTC)))
kinds = st.sampled_from(["hour", "day", "week", "month"])


@settings(max_examples=500)
@given(kinds, st.sampled_from(ZONES), anywhere)
def test_windows_hold_their_time_and_follow_each_other(kind: str, zone: str, time: int) -> None:
    """A time lies in its window; the next window begins where it ends, the former ends where it begins."""
    check_window(kind, ZoneInfo(zone), time)


@pytest.mark.parametrize("kind", ["hour", "day", "week", "month"])
@pytest.mark.parametrize(("zone", "moment"), TRANSITIONS)
def test_windows_follow_each_other_across_every_clock_change(kind: str, zone: str, moment: datetime) -> None:
    """Around a change of the clock, every ten minutes and the nanosecond before belong to one window."""
    clock, change = ZoneInfo(zone), ns(moment)
    for minutes in range(-26 * 60, 26 * 60, 10):
        check_window(kind, clock, change + minutes * 60 * SECOND)
        check_window(kind, clock, change + minutes * 60 * SECOND - 1)


def check_window(kind: str, clock: ZoneInfo, time: int) -> None:
    window = window_at(kind, clock, time)
    assert window.start <= time < window.end
    assert window_at(kind, clock, window.start) == window
    assert window_at(kind, clock, window.end - 1) == window
    assert window_at(kind, clock, window.end).start == window.end
    assert window_at(kind, clock, window.start - 1).end == window.start


@given(kinds, st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]), anywhere)
def test_a_window_is_what_the_wall_clock_shows(kind: str, zone: str, time: int) -> None:
    """Where clocks change on the hour and not at midnight, a window is one hour, day, week or month of theirs."""
    clock = ZoneInfo(zone)
    window = window_at(kind, clock, time)
    shown = {
        "hour": "%Y-%m-%d %H",
        "day": "%Y-%m-%d",
        "week": "%G-%V",
        "month": "%Y-%m",
    }[kind]

    def read(at: int) -> str:
        return datetime.fromtimestamp(at // SECOND, clock).strftime(shown)

    if ns(datetime(1990, 1, 1, tzinfo=UTC)) <= time:
        assert read(window.start) == read(time) == read(window.end - 1)
        assert read(window.start - 1) != read(time) != read(window.end)


@pytest.mark.parametrize(
    ("kind", "at", "hours"),
    [
        ("day", datetime(2026, 3, 29, 12, tzinfo=UTC), 23),
        ("day", datetime(2026, 10, 25, 12, tzinfo=UTC), 25),
        ("week", datetime(2026, 3, 25, tzinfo=UTC), 7 * 24 - 1),
        ("month", datetime(2026, 10, 25, 12, tzinfo=UTC), 31 * 24 + 1),
        ("hour", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), 2),
        ("hour", datetime(2026, 10, 25, 2, 30, tzinfo=UTC), 1),
    ],
)
def test_a_window_is_as_long_as_the_wall_clock_makes_it(kind: str, at: datetime, hours: int) -> None:
    """In Berlin, days have 23 or 25 hours where clocks change, and the hour that passes twice is one window."""
    window = window_at(kind, ZoneInfo("Europe/Berlin"), ns(at))
    assert window.end - window.start == hours * HOUR


def test_a_month_begins_at_midnight_of_its_zone() -> None:
    """A month in Berlin begins an hour before the month of UTC in winter, and two before it in summer."""
    window = window_at("month", ZoneInfo("Europe/Berlin"), ns(datetime(2026, 3, 31, 21, 59, 59, tzinfo=UTC)))
    assert window.start == ns(datetime(2026, 2, 28, 23, tzinfo=UTC))
    assert window.end == ns(datetime(2026, 3, 31, 22, tzinfo=UTC))


def test_a_week_begins_on_monday() -> None:
    """A Sunday belongs to the week that began six days before."""
    window = window_at("week", UTC, ns(datetime(2026, 11, 22, 23, 59, tzinfo=UTC)))
    assert window.start == ns(datetime(2026, 11, 16, tzinfo=UTC))


def test_the_day_that_never_was_is_no_window() -> None:
    """In Apia, 31 December 2011 follows the 29th, and the window does too."""
    clock = ZoneInfo("Pacific/Apia")
    skipped = ns(datetime(2011, 12, 30, 10, tzinfo=UTC))
    before, after = window_at("day", clock, skipped - 1), window_at("day", clock, skipped)
    assert before.end == after.start == skipped
    assert after.end - after.start == 24 * HOUR


@pytest.mark.parametrize("time", [0, 1, 2**63 - 1])
def test_no_window_never_ends(time: int) -> None:
    """`none` is one window for all time, in which nothing ever elapses."""
    assert window_at("none", UTC, time) == ENDLESS == Window(0, 0)
    assert ENDLESS.elapsed(time) == 0


@given(st.integers(0, 10**18), st.integers(1, 10**18), st.integers(-(10**18), 2 * 10**18))
def test_what_has_elapsed_is_exact_and_between_nothing_and_all(start: int, length: int, time: int) -> None:
    """The elapsed share is a fraction from 0 to 1, and its thousandths never overstate it."""
    window = Window(start, start + length)
    elapsed = window.elapsed(time)
    assert 0 <= elapsed <= 1
    assert 0 <= elapsed - Fraction(window.elapsed_milli(time), 1000) < Fraction(1, 1000)
    if start <= time <= start + length:
        assert elapsed * length == time - start


TIME = ns(datetime(2026, 11, 23, 5, tzinfo=UTC))
DAY = (ns(datetime(2026, 11, 23, tzinfo=UTC)), ns(datetime(2026, 11, 24, tzinfo=UTC)))
WHO = {"agent": "support", "team": "cx"}


def rows(budget: Budget, *, workflow: str = "w1", who: dict[str, str] = WHO) -> tuple[BudgetRow, ...]:
    return budget_rows({"b": budget}, who, workflow=workflow, time_ns=TIME)


@pytest.mark.parametrize(
    ("per", "workflow", "scope"),
    [
        ("none", "w1", ""),
        ("agent", "w1", "support"),
        ("workflow", "w1", "w1"),
        ("workflow", "", "standing/support"),
    ],
)
def test_a_row_is_counted_for_all_an_agent_or_a_workflow(per: str, workflow: str, scope: str) -> None:
    """A budget's row has the scope that `per` names; without a workflow, the agent's standing session."""
    assert rows(Budget(limit=7, per=per, window="day"), workflow=workflow) == (
        BudgetRow(budget="b", scope=scope, start=DAY[0], end=DAY[1], limit=7),
    )


def test_a_budget_that_does_not_select_the_request_has_no_row() -> None:
    """Only matching budgets must have room."""
    assert rows(Budget(limit=7, when=Selector((("team", ("ml",)),)))) == ()


@pytest.mark.parametrize(
    ("caps", "limit"),
    [
        ({"*": Fraction(3, 10)}, 3),
        ({"*": Fraction(3, 10), "support": Fraction(1, 2)}, 5),
        ({"support": Fraction(1, 1)}, 11),
        ({"analysis": Fraction(1, 2)}, None),
    ],
)
def test_a_cap_adds_a_row_for_the_agent(caps: dict[str, Fraction], limit: int | None) -> None:
    """An agent's share is rounded down, and its own cap replaces the one for everybody."""
    found = rows(Budget(limit=11, window="day", caps=caps))
    cap = BudgetRow(budget="b#cap", scope="support", start=DAY[0], end=DAY[1], limit=limit or 0)
    assert found[1:] == ((cap,) if limit is not None else ())


@given(st.integers(0, 2**63 - 1), st.integers(1, 10**9))
def test_a_cap_is_exact(limit: int, billionths: int) -> None:
    """The cap is the largest whole number of nanos that is within the share."""
    share = Fraction(billionths, 10**9)
    (_, cap) = rows(Budget(limit=limit, caps={"*": share}))
    assert cap.limit <= limit * share < cap.limit + 1


def test_agents_standing_sessions_are_told_from_workflows() -> None:
    """No two agents share a standing scope."""
    assert len({standing_scope(agent) for agent in ("a", "b")}) == 2


def test_all_kinds_of_windows_are_known() -> None:
    """Each kind that a budget may name gives a window."""
    assert all(window_at(kind, UTC, TIME) for kind in KINDS)
