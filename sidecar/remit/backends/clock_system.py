"""The Clock port on the system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall-clock time that never goes back within a process: where the system's does, it stands still meanwhile."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        # Two threads may both see the older value; each still answers no less than what it has seen.
        self._last = now = max(self._last, time.time_ns())
        return now
