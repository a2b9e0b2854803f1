"""From another thread into an event loop and back. The caller's context variables come along."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from threading import Lock, get_ident
from typing import Any, TypeVar

from remit.sdk.errors import IllegalState, Unavailable

T = TypeVar("T")


class Portal:
    """Runs coroutines on a loop that runs in the thread with the ident `thread`, until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._closed = False
        self._lock = Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result, once it is there. An interrupt (KeyboardInterrupt) cancels the work."""
        with self._lock:
            if problem := self._problem():
                work.close()
                raise IllegalState(problem)
            # call_soon_threadsafe copies the caller's context, and so the coroutine sees its surroundings.
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise Unavailable("the agent was closed during the call") from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Let nothing more in."""
        with self._lock:
            self._closed = True

    def _problem(self) -> str:
        if get_ident() == self._thread:
            return "a blocking call in the event loop's own thread would wait for itself; use `await`"
        return "the agent is closed" if self._closed or self._loop.is_closed() else ""
