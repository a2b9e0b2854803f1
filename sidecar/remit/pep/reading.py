"""Reads an answer in a task of its own, a little ahead of whoever takes it.

The reading begins before the decision is recorded, and nothing of it is given away before it is: so a short answer,
which is there by then, is recorded whole in the same commit as its decision. A long one goes on after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from remit.core.view.model import Cell, Plan
from remit.ports import Database, DatabaseFailed, Failure, Limits, ResultColumn

AHEAD = 2  # batches, or one batch and the end
HEAD_START = 0.05  # seconds that a decision waits for its answer
AT_ONCE = 3
"""Answers of one dataset that are read for one caller at once: fewer than a database has connections or threads, so
that nobody can keep all others from it. Whoever asks for more waits."""

Batch = Sequence[Sequence[Cell]]


class ReadAhead:
    """One reading; what it found is known once it has opened or ended. `failure` is how the database failed, if so."""

    def __init__(
        self,
        database: Database,
        plan: Plan,
        parameters: Mapping[str, Cell],
        limits: Limits,
        *,
        turn: asyncio.Semaphore,
    ) -> None:
        self._turn = turn
        self.columns: Sequence[ResultColumn] = ()
        self.subjects: Mapping[str, Sequence[str]] = {}
        self.failure: Failure | None = None
        self.told = ""  # of the failure, and may be logged whatever it is
        self.detail = ""
        self.truncated = False
        self.bytes = 0
        self._fault: Exception | None = None
        self._opened = asyncio.Event()
        self._batches: asyncio.Queue[Batch | None] = asyncio.Queue(AHEAD)
        self._task = asyncio.get_running_loop().create_task(self._run(database, plan, parameters, limits))

    async def head_start(self) -> bool:
        """Give it a moment; whether it has ended, and so all that it will tell is here."""
        await asyncio.wait({self._task}, timeout=HEAD_START)
        return self._task.done()

    async def opened(self) -> None:
        """Wait until the columns are known, or it has ended."""
        await self._opened.wait()

    async def next(self) -> Batch | None:
        """The next rows; None at the end, however it ended. Raises what nobody foresaw."""
        batch = await self._batches.get()
        if batch is None and self._fault is not None:
            raise self._fault
        return batch

    async def close(self) -> None:
        """End it, whether all was read or not."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, database: Database, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> None:
        try:
            await self._take_turn(limits.seconds)
            try:
                await self._read(database, plan, parameters, limits)
            finally:
                self._turn.release()
        except DatabaseFailed as failed:
            self.failure, self.detail, self.told = failed.failure, failed.detail, failed.told
        except Exception as fault:
            self._fault = fault
        self._opened.set()
        await self._batches.put(None)

    async def _take_turn(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseFailed(Failure.TIMED_OUT, f"the caller's other {AT_ONCE} answers took too long") from None

    async def _read(self, database: Database, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> None:
        async with database.read(plan, parameters, limits) as reading:
            self.columns, self.subjects = reading.columns, reading.subjects
            self._opened.set()
            async with aclosing(reading.batches()) as batches:
                async for batch in batches:
                    self.bytes = reading.bytes
                    await self._batches.put(batch)
            self.truncated, self.bytes = reading.truncated, reading.bytes
