"""Keeping a held call open until its approvals have been answered, its time is up, or its caller has left.

A decision that is under way as the caller leaves is waited for, and is the answer: whoever withdraws knows what of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from remit.core.answer import Answer
from remit.pep.waiting import Waits, decide_waiting

T = TypeVar("T")


class Patience(Protocol):
    """A caller, as far as waiting goes."""

    async def stays(self, wait: int) -> bool:
        """Whether the call may be kept open for `wait` ns; asked once, before it is."""
        ...

    async def left(self) -> None:
        """Return once the caller waits no more."""
        ...


async def outwait(
    first: T,
    decide: Callable[[], Awaitable[T]],
    answer_of: Callable[[T], Answer],
    *,
    world: Waits,
    wait: int,
    patience: Patience,
) -> T:
    """What `first` has become after at most `wait` ns. Raises what `decide` raises."""
    held = [first]
    last: asyncio.Future[T] | None = None

    async def again() -> T:
        nonlocal last
        if held:
            return held.pop()
        last = asyncio.ensure_future(decide())
        return await asyncio.shield(last)

    waiting = asyncio.ensure_future(decide_waiting(again, answer_of, world, wait))
    leaving = asyncio.ensure_future(patience.left())
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        await asyncio.wait({waiting})
        return first if last is None else await last
    finally:
        waiting.cancel()
        leaving.cancel()
