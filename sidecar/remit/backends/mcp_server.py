"""An MCP server that speaks over its standard streams: started with little around it, and ended with who started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

SURROUNDINGS = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""What a server gets of the environment besides its credential; never the agent's own credential."""

GRACE = 2.0
"""Seconds that a server has to end by itself when its input ends, and again when it is told to."""

_LAUNCHER = Path(__file__).with_name("launch.py")


class NotFound(Exception):
    """There is no such program."""


def surroundings(environment: Mapping[str, str], credential: Mapping[str, str]) -> dict[str, str]:
    """The server's environment."""
    return {**{name: environment[name] for name in SURROUNDINGS if name in environment}, **credential}


async def start(command: Sequence[str], environment: Mapping[str, str], *, line_bytes: int) -> Process:
    """Start a server, its input and output piped, its errors where ours go. Raises NotFound, OSError."""
    program = _program(command[0], environment.get("PATH", os.defpath))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())),
        *(f"{name}={value}" for name, value in environment.items()),
        *("--", program, *command[1:]),
        stdin=PIPE,
        stdout=PIPE,
        env={},
        limit=line_bytes,
        start_new_session=True,
    )


async def stop(process: Process, grace: float = GRACE) -> int:
    """End a server and what it started: by closing its input, then by asking, then by force. Its exit code."""
    if process.stdin is not None:
        process.stdin.close()
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        if step is not None:
            _signal(process, step)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
                break
    code = await process.wait()
    _signal(process, signal.SIGKILL)  # what it left behind in its session
    return code


def _program(name: str, path: str) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise NotFound(name)
    return str(Path(found).absolute())


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
