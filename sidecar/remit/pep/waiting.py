"""Waiting for approvals: a HOLD may be waited out, by the call itself.

One look at the store's version serves all who wait, and only while somebody does. What has changed is decided anew,
the whole way: nothing is allowed because it was waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from remit.core.answer import Answer
from remit.core.approval import State
from remit.core.decision import Effect
from remit.core.errors import StoreUnavailable
from remit.ports import ApprovalsQuery, Store

LOOK_SECONDS = 0.2
SECOND = 1_000_000_000

T = TypeVar("T")


class Changes:
    """Tells when approvals have changed, by the store that `store` gives."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._changed = asyncio.Event()
        self._waiting = 0
        self._version = -1
        self._looking: asyncio.Task[None] | None = None

    async def next(self, seconds: float) -> None:
        """Return once something may have changed, or after so many seconds.

        Whoever calls it in a loop misses nothing: what changed since the version that was seen last is told at once.
        """
        changed = self._changed
        self._waiting += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def _look(self) -> None:
        try:
            while self._waiting:
                await self._compare()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._looking = None

    def tell(self) -> None:
        """Something has changed, by this very process: nobody waits for the next look."""
        told, self._changed = self._changed, asyncio.Event()
        told.set()

    async def _compare(self) -> None:
        try:
            version = await self._store().approvals_version()
        except StoreUnavailable:
            return  # whoever waits goes on waiting, and asks again at the latest when time is up
        if version != self._version:
            self._version = version
            self.tell()


class Waits(Protocol):
    """What waiting needs of the pipeline's world."""

    @property
    def store(self) -> Store: ...
    @property
    def changes(self) -> Changes: ...


async def decide_waiting(
    decide: Callable[[], Awaitable[T]], answer_of: Callable[[T], Answer], world: Waits, wait: int
) -> T:
    """Decide; while the answer is a HOLD that binds, decide again whenever its approvals let it come out otherwise, for
    `wait` ns at the most. Raises what `decide` raises.

    Cancelled, it waits no longer; a decision that is under way is made first."""
    if not wait:
        return await decide()
    loop = asyncio.get_running_loop()
    until = loop.time() + wait / SECOND
    decided = await _whole(decide)
    while _waits(answer_of(decided)) and (left := until - loop.time()) > 0:
        ids = tuple(each.id for each in answer_of(decided).approvals)
        if await _still_pending(world.store, ids):
            await world.changes.next(left)
        else:
            decided = await _whole(decide)
    return decided


async def _whole(decide: Callable[[], Awaitable[T]]) -> T:
    deciding = asyncio.ensure_future(decide())
    try:
        return await asyncio.shield(deciding)
    except asyncio.CancelledError:
        await asyncio.wait({deciding})
        raise


def _waits(answer: Answer) -> bool:
    return answer.effect is Effect.HOLD and answer.enforced and bool(answer.approvals)


async def _still_pending(store: Store, ids: Collection[str]) -> bool:
    """Whether asking again would come to the same: one of them waits, and none was refused."""
    states = {each.state for each in await store.approvals(ApprovalsQuery(ids=tuple(ids), limit=len(ids)))}
    return State.PENDING in states and not states & {State.DENIED, State.EXPIRED, State.REVOKED}
