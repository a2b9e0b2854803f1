"""Waiting for an approval ends as soon as nobody waits, and never cuts a decision off."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakes.loop import in_loop, until
from remit.core.decision import Effect
from remit.pep.waiting import Waits, decide_waiting

SECOND = 10**9


class Deciding:
    """Decisions that take until `go`, each HOLD; `begun` and `made` count them."""

    def __init__(self) -> None:
        self.begun = self.made = 0
        self.go = asyncio.Event()

    async def __call__(self) -> Any:
        self.begun += 1
        await self.go.wait()
        self.made += 1
        return SimpleNamespace(effect=Effect.HOLD, enforced=True, approvals=(SimpleNamespace(id="a_1"),))


class World:
    """Approvals of which none is pending: whoever asks is told to decide again."""

    def __init__(self) -> None:
        self.store = self
        self.changes = self

    async def approvals(self, query: object) -> list[Any]:
        return []


@pytest.mark.parametrize("before", [0, 3])
@in_loop
async def test_a_decision_under_way_is_made_whoever_leaves(before: int) -> None:
    """The first, and any that follows; then the wait is over."""
    deciding = Deciding()
    task = asyncio.ensure_future(
        decide_waiting(deciding, lambda answer: answer, cast(Waits, World()), wait=600 * SECOND)
    )
    deciding.go.set()
    await until(lambda: deciding.made >= before)
    deciding.go.clear()
    await until(lambda: deciding.begun > deciding.made)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    deciding.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deciding.made == deciding.begun
