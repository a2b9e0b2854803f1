"""The Clock and Ids ports on the real system."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds


class SetClock:
    """Time as it is set."""

    def __init__(self) -> None:
        self.time = 1_800_000_000 * 10**9

    def now(self) -> int:
        return self.time


def test_time_is_the_systems() -> None:
    """Nanoseconds since the epoch."""
    before = time.time_ns()

    assert before <= SystemClock().now() <= time.time_ns()


def test_time_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system's clock is set back, ours stands still until it has caught up."""
    times: Iterator[int] = iter([100, 40, 99, 101])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    clock = SystemClock()

    assert [clock.now() for _ in range(4)] == [100, 100, 100, 101]


def test_ids_sort_by_time_and_fit_every_grammar() -> None:
    """prefix_ and hex digits, at most 64 characters, later ones after earlier ones."""
    clock = SetClock()
    ids = RandomIds(clock)
    made = []
    for _ in range(100):
        made.append(ids.new("d"))
        clock.time += 1000

    assert made == sorted(made)
    assert all(re.fullmatch(r"d_[0-9a-f]{38}", each) for each in made)


def test_ids_of_one_moment_differ() -> None:
    """96 random bits; none of them is the time's."""
    ids = RandomIds(SetClock())
    made = {ids.new("d") for _ in range(10_000)}

    assert len(made) == 10_000
    assert len({each[-24:] for each in made}) == 10_000


def test_salts_are_sixteen_bytes_and_differ() -> None:
    """Random each time."""
    ids = RandomIds(SetClock())
    salts = {ids.salt() for _ in range(1000)}

    assert {len(each) for each in salts} == {16}
    assert len(salts) == 1000
