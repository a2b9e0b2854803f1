"""What must still be done after a caller has left: reports of cancelled work, and taking back what it had asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from remit.sdk.errors import RemitError, Unavailable

T = TypeVar("T")

_LOG = logging.getLogger("remit")


class Afterwards:
    """Tasks that outlive the cancellation of who started them; `drain` waits for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it, whatever happens to the caller."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def whole(self, work: Coroutine[Any, Any, T], take_back: Callable[[T], Awaitable[object]]) -> T:
        """The work's result; where the caller is cancelled meanwhile, the result is taken back once it is there."""
        task = self.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not is_cancelled():
                raise Unavailable("the agent was closed during the call") from None
            self.start(_taken_back(task, take_back))
            raise

    async def drain(self, seconds: float) -> None:
        """Wait for all tasks, at most so long; the rest is cancelled, and what it held lapses by itself."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        # What ends may start more: a question that was answered too late is then reported as not sent.
        while self._tasks and (left := deadline - loop.time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        if late:
            _LOG.warning(
                "%d calls did not end in time before the agent was closed; what they reserved lapses", len(late)
            )
            await asyncio.wait(late)


def is_cancelled() -> bool:
    """Whether it is the running task that was cancelled, not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _taken_back(task: asyncio.Task[T], take_back: Callable[[T], Awaitable[object]]) -> None:
    try:
        await take_back(await task)
    except RemitError as error:
        _LOG.warning("a cancelled request could not be taken back; what it reserved lapses: %s", error)
