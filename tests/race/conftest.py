"""What these tests start in processes of its own ends with them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    reaching = sys.modules.get("race.reaching")
    for child in reaching.STARTED if reaching else ():
        if child.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGKILL)
    if reaching:
        reaching.STARTED.clear()
