"""Kills a store at random lines and times, and looks at what is left: `python forkkill.py ROUNDS SEED [MUTANT]`.

Each round forks, so that it costs milliseconds: the child lives a busy life on a real file, tells of each answer
through a pipe, and dies by SIGKILL. The parent opens the file as any start does. Prints the seed and what is wrong.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from crash.mutants import MUTANTS  # noqa: E402
from crash.workload import live, open_store, wrongs  # noqa: E402
from remit.backends.store_sqlite import SqliteStore  # noqa: E402

LINES = 5_000  # of the store's code, in about a whole life
SECONDS = 0.02
FAST_DISK = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def _die_at(line: int) -> None:
    """SIGKILL at the n-th line that the store executes, in whichever thread."""
    left = [line]

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if "store_sqlite" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


def _child(path: Path, answers: int, random: Random, store_type: type[SqliteStore], line: int) -> NoReturn:
    async def run() -> None:
        store = open_store(path, store_type)
        ack = lambda id: os.write(answers, f"{id}\n".encode())  # noqa: E731
        await live(store, ack, random, callers=4, turns=8)
        await store.close()

    try:
        if line:
            _die_at(line)
        asyncio.run(run())
    finally:
        os._exit(0)


def _round(directory: Path, random: Random, store_type: type[SqliteStore]) -> tuple[bool, list[str]]:
    """Whether it was killed, and what is wrong afterwards."""
    path = directory / "state.db"
    line = random.randrange(1, LINES) if random.random() < 0.7 else 0
    answers, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(answers)
        _child(path, told, random, store_type, line)
    os.close(told)
    if not line:
        time.sleep(random.uniform(0, SECONDS))  # not waiting for something: this is when the blow falls
        os.kill(child, signal.SIGKILL)
    with os.fdopen(answers, "rb") as pipe:
        acks = [each.decode() for each in pipe.read().split(b"\n")[:-1]]
    _, state = os.waitpid(child, 0)
    return os.WIFSIGNALED(state), wrongs(path, acks)


def main(rounds: int, seed: int, mutant: str = "") -> int:
    """0 if nothing is wrong after all rounds, 1 at the first that leaves something wrong."""
    random, killed = Random(seed), 0
    for turn in range(rounds):
        with TemporaryDirectory(dir=FAST_DISK) as directory:
            was_killed, wrong = _round(Path(directory), random, MUTANTS.get(mutant, SqliteStore))
        killed += was_killed
        if wrong:
            print(f"seed {seed}, round {turn}: {wrong[:5]}")
            return 1
    print(f"seed {seed}: {killed} of {rounds} killed, nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
