"""A program that runs beside the sidecar: started without environment, tied to its life, and stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")
_LAST_LINES = 20
_LINE_BYTES = 64 * 1024
_STOP_SECONDS = 3.0
NOTHING: Mapping[str, str] = {}


async def launch(
    program: Path, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str] = NOTHING
) -> asyncio.subprocess.Process:
    """Run a program in a session of its own; its stderr is piped. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *_command(program, arguments, environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        env={},
        cwd=directory,
        start_new_session=True,
    )


def _command(program: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
    return [
        *launcher,
        *(f"{name}={value}" for name, value in environment.items()),
        "--",
        str(program.absolute()),
        *arguments,
    ]


class Child:
    """A running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def last_words(self) -> str:
        """The last lines that it logged."""
        return "\n".join(self._lines)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code (negative: the signal that ended it)."""
        code = await self._process.wait()
        await asyncio.shield(self._reading)
        return code

    async def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        with contextlib.suppress(ProcessLookupError):
            if self.running:
                self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self.ended()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        """Keep what it logs from filling the pipe, and its last lines for whoever asks why it ended."""
        stream = self._process.stderr
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the limit: its pieces are of no use
                continue
            if not line:
                return
            self._lines.append(line.decode(errors="replace").rstrip()[:1000])
