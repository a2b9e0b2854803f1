"""One OPA process: started on one bundle and one Unix socket, without environment, and stopped for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("opa_launch.py")
_LAST_LINES = 20
_LINE_BYTES = 64 * 1024
# OPA's own grace for requests in flight; the supervisor drains before it stops one.
_GRACE_SECONDS = 1
_STOP_SECONDS = 3.0
# The longest path that a Unix socket can have on Linux and macOS, with the ending zero.
_SOCKET_BYTES = 104


class OpaFailed(Exception):
    """An OPA could not be started, or does not serve what it should; the message has its last words."""


class OpaProcess:
    """A running OPA. `start` gives one as soon as it runs, which is before it answers."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path) -> None:
        self._process = process
        self._socket = socket
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._reading = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, binary: Path, bundle: Path, socket: Path) -> OpaProcess:
        """Run OPA on a bundle; only this user can open the socket. Raises OpaFailed."""
        _make_way(socket)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(binary)),
                *_arguments(bundle, socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=_LINE_BYTES,
                env={},
                cwd=socket.parent,
                start_new_session=True,
            )
        except OSError as e:
            raise OpaFailed(f"{binary} could not be started: {e}") from e
        return cls(process, socket)

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
        """Ask it to end, insist after a while, and take its socket away."""
        with contextlib.suppress(ProcessLookupError):
            if self.running:
                self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self.ended()
        self._socket.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        """Keep what OPA logs from filling the pipe, and its last lines for whoever asks why it ended."""
        stream = self._process.stderr
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the limit: its pieces are of no use
                continue
            if not line:
                return
            self._lines.append(line.decode(errors="replace").rstrip()[:1000])


def _make_way(socket: Path) -> None:
    if len(os.fsencode(socket)) >= _SOCKET_BYTES:
        raise OpaFailed(f"{socket} is too long for a Unix socket: choose a state directory with a shorter path")
    socket.unlink(missing_ok=True)


def _arguments(bundle: Path, socket: Path) -> list[str]:
    return [
        "run",
        "--server",
        f"--addr=unix://{socket}",
        "--unix-socket-perm=0600",
        "--skip-version-check",
        "--log-level=error",
        f"--shutdown-grace-period={_GRACE_SECONDS}",
        "--set=server.decoding.max_length=4194304",
        "--set=server.decoding.gzip.max_length=4194304",
        "--bundle",
        str(bundle),
    ]
