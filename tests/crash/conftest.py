"""The harnesses run real sidecars; what they start stands beside them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_sidecar_is_left() -> Iterator[None]:
    yield
    running = sys.modules.get("running")
    for process in running.STARTED if running else ():
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    if running:
        running.STARTED.clear()
