"""How processes of these tests find an installation: what they are told, as JSON on their standard input."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.store_postgres import SIDECAR, Installation
from remit.backends.store_postgres.session import Server

TESTS = Path(__file__).parents[1]
START_SECONDS = 60
STARTED: list[Child] = []
"""Every process that was started; what a failed test leaves is ended by the fixture in conftest."""


def told(installation: Installation, **more: object) -> dict[str, object]:
    """What a process needs to know."""
    where = installation.server
    return {
        "host": where.host,
        "port": where.port,
        "user": SIDECAR,
        "dbname": installation.name,
        "password": installation.passwords[SIDECAR],
        **more,
    }


def server_of(spec: Mapping[str, Any]) -> Server:
    """The server that a process was told of."""

    async def password() -> bytes:
        return str(spec["password"]).encode()

    settings = {name: str(spec[name]) for name in ("host", "port", "user", "dbname")}
    return Server({**settings, "sslmode": "disable"}, password, f"{spec['host']}:{spec['port']}")


@dataclass(eq=False)
class Child:
    """A process of ours. `lines` are what it has said since it was ready."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await self.process.stdout.readline()
        assert line == b"ready\n", f"it did not start: {line!r}"
        self._reading = asyncio.create_task(self._read())

    def tell(self, line: str) -> None:
        """Say a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def kill(self) -> None:
        """kill -9; all that it had said is in `lines` afterwards."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.ended()

    async def terminate(self) -> None:
        """SIGTERM, and wait for an end in good order."""
        self.process.terminate()
        await self.ended()
        assert self.process.returncode == 0, self.process.returncode

    async def ended(self) -> None:
        """Wait for its end."""
        async with asyncio.timeout(START_SECONDS):
            await self.process.wait()
            if self._reading is not None:
                await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        # A line without its end is one that the blow has cut: it was not said.
        while (line := await self.process.stdout.readline()).endswith(b"\n"):
            self.lines.append(line.decode().rstrip("\n"))


async def start(script: str, spec: Mapping[str, object]) -> Child:
    """A process that has begun; wait for `ready`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name(script)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        },
    )
    child = Child(process)
    STARTED.append(child)
    child.tell(json.dumps(spec))
    return child
