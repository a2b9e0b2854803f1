"""Work that the end of a call does not cancel: what was begun is recorded, whoever still waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

RECORD_SECONDS = 1.0
"""What is left for recording a call that took all the time there was."""


class Working:
    """The tasks of one listener, until they are done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, grace: float) -> None:
        """Wait until all of it is done, at most `grace` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
