"""One time for all listeners to end in."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from fakes.loop import in_loop
from remit.app.draining import LEAST_SECONDS, Draining


async def whole(seconds: float) -> None:
    """A listener that takes all the time there is."""
    await asyncio.sleep(seconds)


@in_loop
async def test_who_is_slow_does_not_cost_others_their_time_nor_adds_to_it() -> None:
    """Those beside each other end together; those after them have what is left, and something in any case."""
    draining, had = Draining(0.4), list[float]()

    async def last(seconds: float) -> None:
        had.append(seconds)

    began = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(draining.alone, last)
        draining.add(stack, whole)
        draining.add(stack, whole)
        draining.begin()
    assert 0.4 <= time.monotonic() - began < 0.4 + LEAST_SECONDS + 0.4
    assert had == [LEAST_SECONDS]


@in_loop
async def test_one_that_fails_keeps_no_other_from_ending() -> None:
    draining, ended = Draining(0.2), list[str]()

    async def fails(seconds: float) -> None:
        raise OSError("broken")

    async def ends(seconds: float) -> None:
        await asyncio.sleep(0.05)
        ended.append("well")

    with pytest.raises(OSError, match="broken"):
        async with AsyncExitStack() as stack:
            draining.add(stack, fails)
            draining.add(stack, ends)
    assert ended == ["well"]
