"""The shared store with nothing before it: what a decision costs there beside the embedded one, how many commits one
hot row takes, how much is shipped, and what hundreds of sidecars cost that only listen.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.store_postgres import SIDECAR, Installation

from bench.installation import ALLOTTED, EMBEDDED, FLEETS, SYNCHRONOUS, installation
from bench.load import Figures, median
from bench.pulses import pulsed
from bench.rows import Row

HOT = "hot"
WRITERS = (1, 4, 8)
HOT_CALLERS = 32
SHIPPING = (1, 4)
SHIPPING_CALLERS = 16
SIDECARS = (100, 300)


@dataclass(frozen=True, slots=True)
class Writer:
    """A process of bench.store_writer."""

    process: subprocess.Popen[str]

    def begin(self, seconds: float) -> None:
        """Let it work for so long."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def end(self) -> Mapping[str, Any]:
        """What it says of that: the fields of `Worked`."""
        assert self.process.stdout
        told: Mapping[str, Any] = json.loads(self.process.stdout.readline())
        return told


def measure(stack: ExitStack, directory: Path, *, rounds: int, seconds: float) -> list[Row]:
    """One PostgreSQL, and processes of one kind after the other."""
    installed = stack.enter_context(installation())
    return [
        *_alone(installed, directory, rounds, seconds),
        *_contended(installed, directory, rounds, seconds),
        *_shipped(installed, directory, rounds, seconds),
        *(row for sidecars in SIDECARS for row in pulsed(installed, sidecars)),
    ]


def _alone(installed: Installation, directory: Path, rounds: int, seconds: float) -> list[Row]:
    """One caller: facts and commit of a decision, and no policy and no wire."""
    taken: dict[str, list[Figures]] = {kind: [] for kind in FLEETS}
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(_writers(installed, directory, kind, 1, callers=1, agents=8))[0]
            for kind in FLEETS
        }
        for turn in range(rounds + 1):
            for kind in random.sample(FLEETS, len(FLEETS)):
                writers[kind].begin(seconds)
                told = Figures(**writers[kind].end()["figures"])
                if turn:  # the first makes sessions at home, and slices
                    taken[kind].append(told)
    found = {kind: median(each) for kind, each in taken.items()}
    ours = found[ALLOTTED]
    return [
        *(
            Row("store_alone_p50_allotted", ours.p50, "ms", kind, ours.p50 / found[kind].p50)
            for kind in (EMBEDDED, SYNCHRONOUS)
        ),
        *(
            Row(f"store_alone_p50_{kind}", found[kind].p50, "ms", note=f"p99 {found[kind].p99:.2f} ms")
            for kind in (EMBEDDED, SYNCHRONOUS)
        ),
    ]


def _contended(installed: Installation, directory: Path, rounds: int, seconds: float) -> Iterator[Row]:
    """Every caller reserves in the same row, in PostgreSQL, and waits until that is durable."""
    with _writers(installed, directory, HOT, max(WRITERS), callers=HOT_CALLERS, agents=1) as writers:
        for number in WRITERS:
            told = [_together(writers[:number], seconds) for _ in range(rounds)]
            rate = statistics.median(sum(each["figures"]["rate"] for each in one) for one in told)
            p50 = statistics.median(each["figures"]["p50"] for one in told for each in one)
            yield Row(f"store_commits_{number}", rate, "1/s", note=f"× {HOT_CALLERS} callers, each waits {p50:.1f} ms")


def _shipped(installed: Installation, directory: Path, rounds: int, seconds: float) -> Iterator[Row]:
    """Decisions and reports made ahead as fast as they come: how many of their records PostgreSQL takes meanwhile."""
    with _writers(installed, directory, ALLOTTED, max(SHIPPING), callers=SHIPPING_CALLERS, agents=1) as writers:
        _together(writers, seconds)
        for number in SHIPPING:
            rates, behind, ahead = [], [], []
            for _ in range(rounds):
                before = _local_records(installed)
                told = _together(writers[:number], seconds)
                rates.append((_local_records(installed) - before) / seconds)
                behind.append(sum(each["behind"] for each in told))
                ahead.append(sum(each["ahead"] for each in told) / seconds)
            note = (
                f"{statistics.median(ahead):.0f} decisions/s were made ahead; {max(behind)} records waited at the end"
            )
            yield Row(f"store_shipped_{number}", statistics.median(rates), "1/s", note=note)


def _local_records(installed: Installation) -> int:
    return int(installed.rows("SELECT coalesce(sum(sequence), 0) FROM remit.log WHERE kind = 'local'")[0][0])


def _together(writers: Sequence[Writer], seconds: float) -> list[Mapping[str, Any]]:
    for each in writers:
        each.begin(seconds)
    return [each.end() for each in writers]


@contextmanager
def _writers(
    installed: Installation, directory: Path, kind: str, number: int, *, callers: int, agents: int
) -> Iterator[Sequence[Writer]]:
    """So many processes of a kind that are ready."""
    started: list[Writer] = []
    try:
        for each in range(number):
            place = directory / f"{kind}{callers}-{each}"
            place.mkdir(parents=True)
            environment = {
                **os.environ,
                "REMIT_STORE_URL": installed.url(SIDECAR),
                "BENCH_PASSWORD": installed.passwords[SIDECAR],
                "BENCH_DIRECTORY": str(place),
            }
            command = [sys.executable, "-m", "bench.store_writer", kind, str(callers), str(agents)]
            started.append(
                Writer(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
                )
            )
        for writer in started:
            assert writer.process.stdout
            assert writer.process.stdout.readline() == "ready\n", f"a writer at the {kind} store did not start"
        yield started
    finally:
        for writer in started:
            assert writer.process.stdin
            writer.process.stdin.close()
        for writer in started:
            writer.process.wait(60)
