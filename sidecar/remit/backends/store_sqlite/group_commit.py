"""Group commit: whatever queued while the last commit ran is the next one, each caller in its own savepoint.

Who does what. The statements run on the event loop (about 20 µs a caller); only COMMIT, which waits for the
disk, runs on a thread of its own. So one thread at a time touches the connection and nothing needs a lock; a
slow or hanging disk does not stop the loop; and the thread has to get hold of the interpreter once a batch,
not at every statement. That matters: under uvloop a loop that is never idle hands the interpreter over and
takes it back too fast for a waiting thread to get it (measured: never, for as long as the load lasts). So
while a commit is under way for longer than usual, the loop sleeps for a moment every other millisecond.

What a caller gets. Its job's result or exception, once the whole batch is on the disk. A job that raises is
rolled back to its savepoint and harms nobody. If the transaction itself fails, everybody in it gets
StoreUnavailable; and unless it was the disk's being full, or a stranger's lock, the store has failed for good.
After a failed fsync the kernel may have dropped the pages and report success the next time
(https://lwn.net/Articles/752063/), so that only a new start, which reads what is on the disk, can go on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import apsw

from remit.backends.store_sqlite.database import Database
from remit.core.errors import StoreUnavailable

T = TypeVar("T")

CAP = 64
"""Callers in one transaction: what keeps the loop busy for about a millisecond."""

PATIENCE_SECONDS = 0.002
GIVE_WAY_SECONDS = 0.0002

_TRANSACTION = (
    apsw.IOError,
    apsw.FullError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.ProtocolError,
    apsw.InternalError,
    apsw.NoMemError,
    apsw.BusyError,
)
"""What breaks the whole transaction, where other errors are one caller's."""

_PASSING = (apsw.FullError, apsw.NoMemError, apsw.BusyError)
"""What may be better the next time: nothing was lost, because nothing was believed to be written."""


@dataclass(slots=True)
class _Caller:
    job: Callable[[], Any]
    answer: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class GroupCommit:
    """Runs jobs in transactions of a connection that is its alone. To be used from one event loop at a time.

    `last` runs at the end of each transaction, `after` on the thread when it is durable, `undone` on the loop
    when it was rolled back. `failure` says why no more is accepted ("" while all is well).
    """

    def __init__(
        self,
        db: Database,
        *,
        last: Callable[[], None],
        after: Callable[[], None],
        undone: Callable[[], None],
        synced: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._db = db
        self._synced = synced
        self._last, self._after, self._undone = last, after, undone
        self._waiting: deque[_Caller] = deque()
        self._busy = False
        self._idle: asyncio.Future[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._inbox: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Caller]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="remit-store", daemon=True)
        self._thread.start()
        self.failure = ""

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Queue a job; the future has its outcome once that is durable. Raises StoreUnavailable."""
        if self.failure:
            raise StoreUnavailable(self.failure)
        loop = asyncio.get_running_loop()
        caller = _Caller(job, loop.create_future())
        self._waiting.append(caller)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin)
        return caller.answer

    async def stop(self, reason: str) -> None:
        """Accept no more, finish what is under way, and let the thread end."""
        self.failure = self.failure or reason
        if self._busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._inbox.put(None)
        self._thread.join()

    def _begin(self) -> None:
        batch = self._take()
        try:
            self._db.do("BEGIN IMMEDIATE")
            for caller in batch:
                self._perform(caller)
            self._last()
        except Exception as error:
            asyncio.get_running_loop().call_soon(self._finish, batch, error)
            return
        self._hand_over(batch)

    def _hand_over(self, batch: list[_Caller]) -> None:
        """To the thread, which alone touches the connection from here until `_finish`."""
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(PATIENCE_SECONDS, self._give_way)
        self._inbox.put((loop, batch))

    def _take(self) -> list[_Caller]:
        """The next batch; a caller that has gone by now is not begun."""
        batch: list[_Caller] = []
        while self._waiting and len(batch) < CAP:
            caller = self._waiting.popleft()
            if not caller.answer.done():
                batch.append(caller)
        return batch

    def _perform(self, caller: _Caller) -> None:
        self._db.do("SAVEPOINT caller")
        try:
            caller.result = caller.job()
        except _TRANSACTION:
            raise
        except apsw.Error as error:
            self._take_back(caller, StoreUnavailable(f"the store's own check refused it: {error}"))
        except Exception as error:
            self._take_back(caller, error)
        self._db.do("RELEASE caller")

    def _take_back(self, caller: _Caller, error: Exception) -> None:
        caller.error = error
        self._db.do("ROLLBACK TO caller")

    def _work(self) -> None:
        """The thread: commit, tell the loop, wait for the next batch."""
        while (work := self._inbox.get()) is not None:
            loop, batch = work
            error = self._commit()
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(self._finish, batch, error)

    def _commit(self) -> Exception | None:
        began = time.perf_counter()
        try:
            self._db.do("COMMIT")
        except Exception as error:
            return error
        try:
            self._synced(time.perf_counter() - began)
            self._after()
        except Exception as error:  # the batch is durable all the same; but there shall be no other
            self.failure = f"the store's disk failed: {error}"
        return None

    def _give_way(self) -> None:
        time.sleep(GIVE_WAY_SECONDS)
        self._watch = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._give_way)

    def _finish(self, batch: list[_Caller], error: Exception | None) -> None:
        """Back on the loop: answer everybody of the batch, and begin the next."""
        if self._watch is not None:
            self._watch.cancel()
        if error is not None:
            self._roll_back(batch, error)
        for caller in batch:
            _answer(caller)
        if self._waiting and self.failure:
            self._turn_away()
        if self._waiting:
            self._begin()
        else:
            self._rest()

    def _roll_back(self, batch: list[_Caller], error: Exception) -> None:
        unavailable = f"the transaction failed: {error}"
        for caller in batch:
            caller.error = StoreUnavailable(unavailable)
        if not isinstance(error, _PASSING):
            self.failure = f"the store has failed, and must be started anew: {error}"
        try:
            if self._db.connection.in_transaction:
                self._db.do("ROLLBACK")
            self._undone()
        except apsw.Error as another:
            self.failure = f"the store has failed, and must be started anew: {another}"

    def _turn_away(self) -> None:
        for caller in self._waiting:
            caller.error = StoreUnavailable(self.failure)
            _answer(caller)
        self._waiting.clear()

    def _rest(self) -> None:
        self._busy = False
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def _answer(caller: _Caller) -> None:
    if caller.answer.done():  # cancelled meanwhile: the batch does not mind
        return
    if caller.error is not None:
        caller.answer.set_exception(caller.error)
    else:
        caller.answer.set_result(caller.result)
