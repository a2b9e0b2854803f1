"""Group commit: whatever queued while the last call ran is the next batch, one at a time.

Some work is not a commit and has a call to itself; it keeps its place in the queue. Nobody waits longer than
ANSWER_SECONDS: whoever does is told that the store is unavailable, and does not know what came of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from remit.backends.store_postgres.parts import Part
from remit.core.errors import StoreUnavailable

ANSWER_SECONDS = 15.0
"""The longest that anybody waits for an answer."""

CAP = 32
"""Callers in one batch: a transaction with more than 64 subtransactions makes everybody's snapshots slow."""

CAP_BYTES = 4 << 20
"""What one batch sends, unless a single caller's part is larger."""

Act = Callable[[], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class Caller:
    """Who waits: for a commit, or for something else that is done at its turn."""

    work: Part | Act
    answer: asyncio.Future[Any]

    def give(self, outcome: Any) -> None:
        """Answer; whoever has gone meanwhile does not mind."""
        if not self.answer.done():
            self.answer.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Queue:
    """Hands callers to `commit`, a batch at a time. To be used from one event loop at a time.

    `commit` answers each of its callers; what it raises is told to those that it has not answered, and to the others
    that wait if it is a StoreUnavailable: they would have to wait as long to learn the same. `failure` says why
    nothing is accepted any more ("" while all is well).
    """

    def __init__(self, commit: Callable[[Sequence[tuple[Part, Caller]]], Awaitable[None]]) -> None:
        self._commit = commit
        self._waiting: deque[Caller] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.failure = ""

    def submit(self, work: Part | Act) -> asyncio.Future[Any]:
        """Queue it; the future has its outcome. Raises StoreUnavailable."""
        if self.failure:
            raise StoreUnavailable(self.failure)
        loop = asyncio.get_running_loop()
        caller = Caller(work, loop.create_future())
        bound = loop.call_later(ANSWER_SECONDS, self._give_up, caller)
        caller.answer.add_done_callback(lambda _: bound.cancel())
        self._waiting.append(caller)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return caller.answer

    async def stop(self, reason: str) -> None:
        """Accept no more, and finish what is under way."""
        self.failure = self.failure or reason
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self.failure:
                    self._turn_away(StoreUnavailable(self.failure))
                    return
                await self._next()
        finally:
            self._worker = None

    async def _next(self) -> None:
        callers = self._take()
        try:
            if callers and not isinstance(callers[0].work, Part):
                callers[0].give(await callers[0].work())
            elif callers:
                await self._commit([(each.work, each) for each in callers if isinstance(each.work, Part)])
        except StoreUnavailable as error:
            self._tell(callers, error)
            self._turn_away(error)
        except Exception as error:
            self._tell(callers, error)
        except BaseException:
            self._tell(callers, StoreUnavailable("the store's work was broken off"))
            raise

    def _take(self) -> Sequence[Caller]:
        """The next batch of commits, or one act. A caller that has gone by now is not begun."""
        batch: list[Caller] = []
        size = 0
        while self._waiting and len(batch) < CAP:
            caller = self._waiting[0]
            if not caller.answer.done():
                more = len(caller.work.text) if isinstance(caller.work, Part) else CAP_BYTES
                if batch and size + more > CAP_BYTES:
                    break
                batch.append(caller)
                size += more
            self._waiting.popleft()
            if batch and not isinstance(batch[0].work, Part):
                break
        return batch

    def _turn_away(self, error: StoreUnavailable) -> None:
        self._tell(self._waiting, error)
        self._waiting.clear()

    def _give_up(self, caller: Caller) -> None:
        caller.fail(
            StoreUnavailable(f"PostgreSQL did not answer within {ANSWER_SECONDS:.0f} s; it may have recorded it")
        )

    @staticmethod
    def _tell(callers: Sequence[Caller] | deque[Caller], error: Exception) -> None:
        for each in callers:
            each.fail(error)
