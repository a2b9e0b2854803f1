"""A sidecar whose clock a test moves: `python budget_clock.py up …`, nanoseconds ahead as the file STAGE_CLOCK says."""

from __future__ import annotations

import os
from pathlib import Path

from remit.app import member
from remit.backends.clock_system import SystemClock
from remit.cli.main import main

FILE = Path(os.environ["STAGE_CLOCK"])


class MovedClock(SystemClock):
    """As far ahead as the file says."""

    def now(self) -> int:
        return super().now() + int(FILE.read_text())


if __name__ == "__main__":
    member.SystemClock = MovedClock  # type: ignore[misc]
    main()
