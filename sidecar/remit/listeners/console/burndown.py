"""A budget's burn-down as a picture: what was spent, hour by hour, against its limit and an even pace. Pure; no floats.

Time runs to the right over `WIDTH` units, money upwards over `HEIGHT`; a picture's y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from remit.core.model import BudgetRoom
from remit.ports import Burn

HOUR = 3600 * 10**9
WIDTH, HEIGHT, HOURLY = 1000, 400, 100
_UNIT, _HUNDREDTH, _MINUTE = 10**9, 10**7, 60 * 10**9
MAX_POINTS = 400
"""Of the line; more hours than that are drawn by their last one in each stretch."""
MAX_HOURS = 744
"""Hours of the table: a long month."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour in which something was spent: nanos in it, until its end, and by an even pace until then."""

    time: int
    spent: int
    total: int
    even: int


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour in the lower picture."""

    x: int
    width: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class BurnDown:
    """The picture. `line` and `area` are SVG points; `pace` too, "" where the window never ends.

    `top` is what the upper edge stands for, `hour_top` that of the lower picture (nanos); `x_now` where now is.
    `even` is what an even pace had spent by now; `used_up` when the limit is reached at the pace so far, 0 for not.
    """

    start: int
    end: int
    now: int
    top: int
    hour_top: int
    y_limit: int
    x_now: int
    line: str
    area: str
    pace: str
    bars: Sequence[Bar]
    hours: Sequence[Hour]  # the newest first, at most MAX_HOURS
    left_out: int
    even: int
    used_up: int
    width: int = WIDTH
    height: int = HEIGHT
    hourly: int = HOURLY


def burn_down(room: BudgetRoom, burns: Sequence[Burn], now: int) -> BurnDown:
    """Draw it. `burns` are oldest first; hours without spending are left out."""
    row, limit = room.row, max(room.limit, 0)
    start = row.start if row.end or not burns else min(burns[0].time, now)
    end = row.end or max(now, start + HOUR)
    length = max(end - start, 1)
    totals = list(accumulate(each.spent for each in burns))
    top = max([limit, *totals, 1])
    hours = [
        Hour(burn.time, burn.spent, total, _even(limit, burn.time + HOUR - start, length) if row.end else 0)
        for burn, total in zip(burns, totals, strict=True)
    ]
    seen = min(max(now, start), end)

    def x(time: int) -> int:
        return min(max((time - start) * WIDTH // length, 0), WIDTH)

    def y(nanos: int) -> int:
        return HEIGHT - min(max(nanos, 0) * HEIGHT // top, HEIGHT)

    points = [(0, y(0))]
    for hour in _thinned(hours):
        points += [(x(hour.time), points[-1][1]), (x(min(hour.time + HOUR, max(seen, hour.time))), y(hour.total))]
    points.append((max(x(seen), points[-1][0]), points[-1][1]))
    hour_top = max([each.spent for each in hours] + [1])
    return BurnDown(
        start=start,
        end=row.end,
        now=now,
        top=top,
        hour_top=hour_top if hours else 0,
        y_limit=y(limit),
        x_now=x(seen),
        line=_points(points),
        area=_points([*points, (points[-1][0], HEIGHT), (0, HEIGHT)]),
        pace=_points([(0, HEIGHT), (WIDTH, y(limit))]) if row.end else "",
        bars=[_bar(x(each.time), x(each.time + HOUR), each.spent, hour_top) for each in hours[-MAX_HOURS:]],
        hours=hours[::-1][:MAX_HOURS],
        left_out=max(len(hours) - MAX_HOURS, 0),
        even=_even(limit, seen - start, length) if row.end else 0,
        used_up=_used_up(room, start, seen) if row.end else 0,
    )


def _even(limit: int, passed: int, length: int) -> int:
    """What an even pace spends in the time that has passed; from a whole unit on in whole hundredths."""
    nanos = limit * min(max(passed, 0), length) // length
    return nanos - nanos % _HUNDREDTH if nanos >= _UNIT else nanos


def _used_up(room: BudgetRoom, start: int, now: int) -> int:
    """When the limit is reached at the pace so far, to the minute, if that is within the window; else 0."""
    if not 0 < room.spent < room.limit or now <= start:
        return 0
    time = start + (now - start) * room.limit // room.spent
    time -= time % _MINUTE
    return time if time < room.row.end else 0


def _thinned(hours: Sequence[Hour]) -> Sequence[Hour]:
    step = -(-len(hours) // MAX_POINTS) or 1
    return [hours[min(at + step, len(hours)) - 1] for at in range(0, len(hours), step)]


def _points(points: Sequence[tuple[int, int]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _bar(left: int, right: int, spent: int, top: int) -> Bar:
    """A little is 2 units high; what is taken back (a correction) has no height."""
    height = max(spent * HOURLY // top, 2) if spent > 0 else 0
    return Bar(left, max(right - left, 1), HOURLY - height, height)
