"""Processes of the demo: started with a log of their own, stopped whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from time import monotonic
from typing import Any

from remit.demo.seam import Envelope, Job, Result

PLAIN = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
PATIENCE = 20.0
"""Seconds for a process to be ready, or to do one job."""


class ChildFailed(Exception):
    """A process of the demo did not do its part; the message names its log."""


class Children:
    """All processes of one run. `async with Children(logs) as children:`; none outlives the block, unless kept.

    Each has a session of its own, so that it can be stopped with all that it starts itself.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._servers: list[Popen[bytes]] = []
        self._talkers: list[Process] = []
        self._kept: set[int] = set()

    def start(self, name: str, command: Sequence[str]) -> Popen[bytes]:
        """Start a process that serves."""
        # Not asyncio's: that one kills its process when the loop ends, and this may be one to keep.
        with self.log(name).open("ab") as log:
            started = Popen(command, stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 (ours)
        self._servers.append(started)
        return started

    async def talk(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        """Start a process that is spoken to over its stdin and stdout."""
        with self.log(name).open("ab") as log:
            started = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env={**_plain(os.environ), **environment},
                start_new_session=True,
                limit=1 << 20,
            )
        self._talkers.append(started)
        return started

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self._logs / f"{name}.log"

    def keep(self, process: Popen[bytes]) -> None:
        """Leave it running."""
        self._kept.add(process.pid)

    async def stop(self, server: Popen[bytes], *, seconds: float = 10.0) -> int:
        """Ask it to end, and end it where it does not. Returns its exit code."""
        server.terminate()
        with suppress(TimeoutExpired):
            await asyncio.to_thread(server.wait, seconds)
        _end_group(server.pid)
        return await asyncio.to_thread(server.wait)

    async def __aenter__(self) -> Children:
        return self

    async def __aexit__(self, *_: object) -> None:
        for talker in self._talkers:
            _end_group(talker.pid)
        left = [each for each in self._servers if each.pid not in self._kept]
        await asyncio.shield(asyncio.gather(*(self.stop(each, seconds=5.0) for each in left)))
        await asyncio.gather(*(talker.wait() for talker in self._talkers))


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """What any program needs to run: no keys, addresses or proxies of whoever plays the demo."""
    return {name: environment[name] for name in PLAIN if name in environment}


def _end_group(pid: int) -> None:
    """Whatever is left of a process and of what it had started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float, pause: float = 0.03) -> bool:
    """Wait until something holds that others bring about; false where it does not within so many seconds."""
    deadline = monotonic() + seconds
    while not (held := await holds()) and monotonic() < deadline:  # noqa: ASYNC110 (it happens in other processes)
        await asyncio.sleep(pause)
    return held


class Worker:
    """One agent's process: takes a job at a time, and tells of every decision that it was answered."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.noted: deque[tuple[str, str]] = deque()
        """(decision, effect) in the order of their answers."""
        self.told: list[str] = []
        """What calls were refused with: the client's exception and its message."""
        self._process = process
        self._log = log
        self._results: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._enough = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def ready(self) -> None:
        """Wait until it takes jobs."""
        await self._next()

    async def do(self, job: Job, *, seconds: float = PATIENCE) -> Result:
        """What came of a job. Raises ChildFailed, also where it takes longer than that."""
        if self._process.stdin is None:
            raise ChildFailed(f"{self.name} has no stdin")
        self._process.stdin.write(json.dumps(job.document()).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._next(seconds)
        if "failed" in answer:
            raise ChildFailed(f"{self.name} could not {job.kind} {job.customer}: {answer['failed']} (log: {self._log})")
        envelope = answer["result"]["envelope"]
        return Result(Envelope(**envelope) if envelope else None, answer["result"]["end"])

    async def leave(self) -> None:
        """Let it end: it has no more work."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._listening

    async def answered(self, count: int) -> None:
        """Wait until it was answered so many decisions, and the last one a moment ago with ALLOW."""

        def acts() -> bool:
            return len(self.noted) >= count and self.noted[-1][1] == "ALLOW"

        async with self._enough:
            await asyncio.wait_for(self._enough.wait_for(acts), PATIENCE)

    async def _next(self, seconds: float = PATIENCE) -> dict[str, Any]:
        try:
            answer = await asyncio.wait_for(self._results.get(), seconds)
        except TimeoutError as late:
            raise ChildFailed(f"{self.name} said nothing for {seconds:.0f} s (log: {self._log})") from late
        if not answer:
            raise ChildFailed(f"{self.name} ended too early (log: {self._log})")
        return answer

    async def _listen(self) -> None:
        if self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "noted" not in said:
                self._results.put_nowait(said)
                continue
            async with self._enough:
                self.noted.append((said["noted"]["id"], said["noted"]["effect"]))
                self.told.extend([said["noted"]["said"]] if said["noted"]["said"] else [])
                self._enough.notify_all()
        self._results.put_nowait({})
