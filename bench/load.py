"""Load: so many callers, each asking again as soon as it is answered; latencies and throughput."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Latency in milliseconds, throughput in calls a second."""

    p50: float
    p99: float
    rate: float


def median(rounds: list[Figures]) -> Figures:
    """The median of each figure over interleaved rounds: one noisy moment moves nothing."""
    return Figures(*(statistics.median(getattr(each, name) for each in rounds) for name in ("p50", "p99", "rate")))


def figures(latencies: list[float], seconds: float) -> Figures:
    """Of latencies in seconds, taken in so many seconds."""
    ordered = sorted(latencies)
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000  # noqa: E731 - one line each
    return Figures(at(0.5), at(0.99), len(ordered) / seconds)


async def run_async(callers: int, calls: int, ask: Callable[[], Awaitable[object]]) -> Figures:
    """`calls` in all, from `callers` tasks."""
    latencies: list[float] = []

    async def call() -> None:
        started = time.perf_counter()
        await ask()
        latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await side_by_side(callers, calls, call)
    return figures(latencies, time.perf_counter() - started)


async def side_by_side(callers: int, calls: int, call: Callable[[], Awaitable[object]]) -> None:
    """`calls` in all, from `callers` tasks; times are the caller's to take."""

    async def caller() -> None:
        for _ in range(calls // callers):
            await call()

    await asyncio.gather(*(caller() for _ in range(callers)))


def run_threads(callers: int, calls: int, make: Callable[[], Callable[[], object]]) -> Figures:
    """`calls` in all, from `callers` threads, each with a client of its own (`make`)."""
    latencies: list[float] = []
    barrier = threading.Barrier(callers + 1)

    def caller() -> None:
        ask = make()
        ask()
        barrier.wait()
        mine = []
        for _ in range(calls // callers):
            started = time.perf_counter()
            ask()
            mine.append(time.perf_counter() - started)
        latencies.extend(mine)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for each in threads:
        each.start()
    barrier.wait()
    started = time.perf_counter()
    for each in threads:
        each.join()
    return figures(latencies, time.perf_counter() - started)
