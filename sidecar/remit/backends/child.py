"""A program that runs beside the sidecar: started without environment, tied to its life, and stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("launch.py")
_LAST_LINES = 20
_LINE_BYTES = 64 * 1024
_STOP_SECONDS = 3.0
NOTHING: Mapping[str, str] = {}


class Process:
    """A process that was started, for the loop that started it. `stderr` is what it logs."""

    def __init__(self, started: subprocess.Popen[bytes], stderr: asyncio.StreamReader) -> None:
        self._started, self.stderr = started, stderr
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._reap, args=(loop,), daemon=True, name=f"child {started.pid}").start()

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        return self._started.returncode

    async def wait(self) -> int:
        """Its exit code (negative: the signal that ended it), once it has ended."""
        await self._over.wait()
        return self._started.returncode

    def terminate(self) -> None:
        self._started.terminate()

    def kill(self) -> None:
        self._started.kill()

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        self._started.wait()
        with contextlib.suppress(RuntimeError):  # the loop was closed before
            loop.call_soon_threadsafe(self._over.set)


async def launch(
    program: Path, arguments: Sequence[str], *, directory: Path, environment: Mapping[str, str] = NOTHING
) -> Process:
    """Run a program in a session of its own; its stderr is piped. Raises OSError.

    By the standard library, which uses vfork: uvloop forks, and then gRPC's handlers run in the child and abort it now
    and then (seen). In this thread, since the kernel ties a child to the thread that has started it.
    """
    started = subprocess.Popen(  # noqa: S603, ASYNC220
        _command(program, arguments, environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},
        cwd=directory,
        start_new_session=True,
    )
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    process = Process(started, reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), started.stderr)
    return process


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

    def __init__(self, process: Process) -> None:
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

    async def unwell(self, name: str, well: Callable[[], Awaitable[bool]], *, check: float, strikes: int) -> str:
        """Wait until it has ended, or was not well at `strikes` looks in a row, every `check` seconds; which it was.

        One that does not answer is killed.
        """
        ended = asyncio.create_task(self.ended())
        failed = 0
        try:
            while failed < strikes:
                await asyncio.wait({ended}, timeout=check)
                if ended.done():
                    return f"{name} ended with {ended.result()}: {self.last_words}"
                failed = 0 if await well() else failed + 1
        finally:
            if not ended.done():
                ended.cancel()
        self.kill()
        return f"{name} did not answer {failed} looks in a row"

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
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line beyond the limit: its pieces are of no use
                continue
            if not line:
                return
            self._lines.append(line.decode(errors="replace").rstrip()[:1000])
