"""Servers that a test starts: each has its log, and none outlives the test process, however that ends."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Before a command: the kernel kills it when the thread that started it ends."""


class NotInTime(AssertionError):
    """What was waited for did not come to hold; says what that was and what was seen last."""


def wait(what: str, holds: Callable[[], object], seconds: float, pause: float = 0.05) -> object:
    """What `holds` returned when that was first true. It is asked again and again: nobody tells."""
    end = time.monotonic() + seconds
    while not (seen := holds()):
        if time.monotonic() > end:
            raise NotInTime(f"after {seconds:g} s still not: {what}")
        time.sleep(pause)
    return seen


class Server:
    """One process, from its start."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*WITH_US, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def told(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """AssertionError if it has ended by itself."""
        code = self._process.poll()
        assert code is None, f"{self.name} ended with {code}; its log ends so:\n{self.told()}"

    def ready(self, holds: Callable[[], object], seconds: float) -> None:
        """Wait for it; NotInTime tells the end of its log."""

        def asked() -> object:
            self.check()
            return holds()

        try:
            wait(f"{self.name} is ready", asked, seconds)
        except NotInTime as e:
            raise NotInTime(f"{e}; its log ends so:\n{self.told()}") from None

    def end(self) -> None:
        """At once: what it kept is thrown away."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
