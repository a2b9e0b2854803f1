"""Ends what takes longer, or more steps, than it may, or what nobody waits for any more."""

from __future__ import annotations

import time

import apsw

from remit.ports import DatabaseFailed, Failure

STEPS = 10_000  # of SQLite's machine, from one look to the next: some 0.2 ms

_BUSY_WAIT = 0.005  # seconds


class Watch:
    """What one use of a connection may take: until `deadline` (of time.monotonic), and `cost` thousand steps (0: any).

    Its methods are called in the thread of the statement; `stop` and `seconds` in the loop. Steps are looked at every
    STEPS, which is late where each has much to do, as with long texts: so at the deadline a reader is interrupted too,
    which SQLite looks at with each row. Only one long call of a function goes on until it is done.
    """

    def __init__(self, deadline: float, cost: int = 0) -> None:
        self._deadline = deadline
        self._cost = cost
        self._steps = 0
        self._stopped = False
        self._failure: Failure | None = None
        self._reader: apsw.Connection | None = None

    @property
    def seconds(self) -> float:
        """That are left."""
        return max(0.0, self._deadline - time.monotonic())

    def stop(self) -> None:
        """Its time is over, or nobody waits for it any more. Called while its work is under way."""
        self._failure = self._failure or Failure.TIMED_OUT
        self._stopped = True
        if self._reader is not None:
            self._reader.interrupt()

    def put_on(self, connection: apsw.Connection, *, reads: bool = False) -> None:
        """Watch whatever runs on a connection from now on. One that `reads` is closed by the loop alone."""
        self._reader = connection if reads else None
        connection.set_progress_handler(self._is_over, STEPS)
        connection.set_busy_handler(self._waits)

    def check(self) -> None:
        """Raises DatabaseFailed where it is over."""
        self._is_over_now()
        if self._failure is not None:
            raise self.failed()

    def failed(self) -> DatabaseFailed:
        """Why it was ended."""
        return DatabaseFailed(self._failure or Failure.INTERNAL, "it was ended: it took more than it may")

    def _is_over(self) -> bool:
        self._steps += STEPS // 1000
        if self._cost and self._steps > self._cost:
            self._failure = Failure.TOO_COSTLY
            return True
        return self._is_over_now()

    def _is_over_now(self) -> bool:
        if self._stopped or time.monotonic() >= self._deadline:
            self._failure = self._failure or Failure.TIMED_OUT
            return True
        return False

    def _waits(self, _turns: int) -> bool:
        """Another writes: wait while there is time."""
        if self._is_over_now():
            return False
        time.sleep(_BUSY_WAIT)
        return True
