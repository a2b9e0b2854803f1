"""Starts and ends the sidecar under test, and talks to it as agents do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import grpc
from remit.backends.store_sqlite import open_journal
from remit.core.checkpoint import VerifierKey
from remit.core.journal import Verification, verify
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s
from remit.v1 import sidecar_pb2_grpc as g
from target import CATALOGUE, TOKEN

# NOT_FOUND is a report on a decision that was answered and is not recorded: what is recorded is judged at the end.
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND)
TARGET = Path(__file__).with_name("target.py")
START_SECONDS = 30
STARTED: list[asyncio.subprocess.Process] = []
"""Every sidecar that was started; what a failed test leaves is ended by the fixture in conftest."""
METADATA = (("authorization", f"Bearer {TOKEN}"),)


@dataclass
class Answered:
    """What the client was told: decision id -> effect; which of them it then reported."""

    effects: dict[str, int] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)


def prepare(directory: Path, catalogue: str = CATALOGUE) -> None:
    """A directory for one sidecar."""
    (directory / "run").mkdir()
    (directory / "remit.yaml").write_text(catalogue, encoding="utf-8")


async def start(
    directory: Path, mutant: str = "", under: tuple[str, ...] = (), target: Path = TARGET
) -> asyncio.subprocess.Process:
    """A sidecar that is ready; `under` is a command that it runs below, such as strace."""
    process = await asyncio.create_subprocess_exec(
        *under,
        sys.executable,
        str(target),
        str(directory),
        *([mutant] if mutant else []),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TARGET.parent)},
    )
    STARTED.append(process)
    assert process.stdout
    async with asyncio.timeout(START_SECONDS):
        line = await process.stdout.readline()
    assert line == b"ready\n", "the sidecar did not start"
    return process


async def kill(process: asyncio.subprocess.Process) -> None:
    """kill -9, and wait for the end."""
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def terminate(process: asyncio.subprocess.Process) -> int:
    """SIGTERM, and the exit code."""
    process.terminate()
    async with asyncio.timeout(START_SECONDS):
        return await process.wait()


@asynccontextmanager
async def stub(directory: Path) -> AsyncIterator[g.SidecarStub]:
    """A client of the sidecar's socket."""
    async with grpc.aio.insecure_channel(f"unix:{directory / 'run' / 's'}") as channel:
        yield g.SidecarStub(channel)


def question(key: str = "") -> s.AuthorizeRequest:
    """One call of the model, 0.01 EUR."""
    return s.AuthorizeRequest(
        action="api.call",
        resource=r.Resource(type="service", id="model", operation="chat", variant="small"),
        context=r.Context(purpose="work"),
        key=key,
    )


async def ask_until_dead(
    client: g.SidecarStub, answered: Answered, *, report_every: int, metadata: tuple[tuple[str, str], ...] = METADATA
) -> None:
    """Ask and report, as whoever `metadata` proves, until the sidecar is gone; only what was answered counts."""
    asked = 0
    try:
        while True:
            answer = (await client.Authorize(question(), metadata=metadata, timeout=10)).decision
            answered.effects[answer.id] = answer.effect
            asked += 1
            if answer.effect == r.EFFECT_ALLOW and asked % report_every == 0:
                told = s.ReportRequest(decision=answer.id, outcome=r.OUTCOME_SUCCEEDED)
                await client.Report(told, metadata=metadata, timeout=10)
                answered.reported.add(answer.id)
    except grpc.aio.AioRpcError as error:
        assert error.code() in GONE, error


def verified(directory: Path, key: VerifierKey | None = None) -> Verification:
    """The journal as an auditor reads it."""
    with open_journal(directory / "state" / "state.db") as journal:
        return verify(journal.rows(), journal.checkpoints(), key, notes=journal.notes)


def recorded(directory: Path) -> set[str]:
    """The ids of all records."""
    with open_journal(directory / "state" / "state.db") as journal:
        return {row.record.id for row in journal.rows()}


def select(directory: Path, sql: str) -> list[tuple[object, ...]]:
    """A look into the store."""
    connection = apsw.Connection(str(directory / "state" / "state.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.cursor().execute(sql))
    finally:
        connection.close()
