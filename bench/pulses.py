"""Sidecars that do nothing but keep their terms: what their pulses cost the server, and how soon all of them hear."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

import orjson
import psycopg
import uvloop
from fakes.store_postgres import SIDECAR, Installation
from remit.backends.store_shared.term import LEASE_SECONDS, PULSE_SECONDS

from bench.costs import server_of
from bench.processes import cpu_ms, private_mb
from bench.rows import Row

SECONDS = 5.0
IN_USE = 5
"""Rows of budgets that each of them compares."""

Connection = psycopg.AsyncConnection[tuple[str]]


def pulsed(installed: Installation, sidecars: int) -> list[Row]:
    """So many light clients, each with a lease of its own."""
    return uvloop.run(_pulsed(installed, sidecars))


async def _pulsed(installed: Installation, sidecars: int) -> list[Row]:
    clients = [_Client(f"pulse-{sidecars}-{number}") for number in range(sidecars)]
    for each in clients:
        await each.begin(installed)
    server = server_of(installed)
    before, wal, started = sum(cpu_ms(server).values()), _wal(installed), time.perf_counter()
    beating = [asyncio.create_task(each.beat(started + SECONDS)) for each in clients]
    await asyncio.gather(*beating)
    passed = time.perf_counter() - started
    busy = (sum(cpu_ms(server).values()) - before) / 1000 / passed
    pulses = sum(len(each.taken) for each in clients)
    taken = [each for client in clients for each in client.taken]
    wal = _wal(installed) - wal
    heard = await _heard(installed, clients)
    memory = statistics.median(private_mb(each.pid) for each in clients)
    for each in clients:
        await each.connection.close()
    p50 = statistics.median(taken) * 1000
    often = f"{pulses / passed:.0f} pulses/s, each {p50:.1f} ms (p50) and {wal / pulses:.0f} bytes of WAL"
    last = f"until the last of {sidecars} has heard; p50 {statistics.median(heard) * 1000:.1f} ms"
    return [
        Row(f"store_pulses_{sidecars}", busy, "cores", note=often),
        Row(f"store_heard_{sidecars}", max(heard) * 1000, "ms", note=last),
        Row(f"store_listener_mb_{sidecars}", memory, "MB", note="private memory of a connection that listens"),
    ]


class _Client:
    """A sidecar's listening connection, and nothing else of it."""

    connection: Connection

    def __init__(self, log: str) -> None:
        self._log = log
        self.taken: list[float] = []

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self.connection.info.backend_pid

    async def begin(self, installed: Installation) -> None:
        """Take a log and begin a term."""
        password = installed.passwords[SIDECAR]
        self.connection = await Connection.connect(installed.url(SIDECAR), password=password, autocommit=True)
        await self._call("take_log", log=self._log, kind="local", key="00" * 32, time=0)
        await self._call("begin_term", log=self._log, lease_ms=60_000, now=0, flows=[], rooms=[])
        await self.connection.execute("LISTEN remit")

    async def beat(self, end: float) -> None:
        """Pulse until then, as often as a sidecar does."""
        rooms = [{"budget": f"b{each}", "scope": "", "start": 0, "end": 0, "limit": 0} for each in range(IN_USE)]
        await asyncio.sleep(PULSE_SECONDS * (hash(self._log) % 100) / 100)
        while time.perf_counter() < end:
            started = time.perf_counter()
            await self._call("pulse", log=self._log, lease_ms=int(LEASE_SECONDS * 1000), flows=[], rooms=rooms)
            self.taken.append(time.perf_counter() - started)
            await asyncio.sleep(max(0.0, PULSE_SECONDS - (time.perf_counter() - started)))

    async def hear(self) -> float:
        """When something was told."""
        async for _ in self.connection.notifies(timeout=10, stop_after=1):
            pass
        return time.perf_counter()

    async def _call(self, function: str, **payload: object) -> None:
        text = orjson.dumps(payload).decode()
        await self.connection.execute(f"SELECT remit.{function}(%s::jsonb)::text".encode(), [text])


async def _heard(installed: Installation, clients: Sequence[_Client]) -> list[float]:
    """How long each takes to hear of what is told to all."""
    listening = [asyncio.create_task(each.hear()) for each in clients]
    await asyncio.sleep(0.2)
    started = time.perf_counter()
    await asyncio.to_thread(installed.run, "SELECT pg_notify('remit', 'halts')")
    return [each - started for each in await asyncio.gather(*listening)]


def _wal(installed: Installation) -> int:
    return int(installed.rows("SELECT pg_current_wal_lsn() - '0/0'")[0][0])
