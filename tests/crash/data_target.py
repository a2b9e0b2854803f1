"""A real sidecar with datasets, to be killed: `python data_target.py DIRECTORY [MUTANT]`.

DIRECTORY is one of data_place.py. Reservations of writes are held for a second, so that some lapse before they are
asked for again; of writes to SQLite, some are told as lost though they were done, or were not. A mutant is a planted
bug that the harness must find.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import uvloop
from remit.app.sidecar import App
from remit.backends import databases
from remit.backends.database_sqlite import SqliteDatabase, writing
from remit.config import load
from remit.pep import decide, execute, query
from remit.pep.account import Account
from remit.pep.reading import Batch
from remit.ports import DatabaseFailed, Failure, Write, Written
from target import serve

HOLD_SECONDS = 1
LOST = 0.1
"""How many writes are told as lost before, and as many after, they were done."""


class ForgetfulDatabase(SqliteDatabase):
    """Performs writes and does not always know."""

    async def write(self, write: Write) -> Written:
        chance = random.random()
        if chance < LOST:
            raise DatabaseFailed(Failure.UNAVAILABLE, "lost before")
        written = await super().write(write)
        if chance > 1 - LOST:
            raise DatabaseFailed(Failure.UNAVAILABLE, "lost after")
        return written


class LateAccount(Account):
    """Planted bug: rows go out, and of whom they are is recorded afterwards."""

    async def begin(self) -> None:
        return None

    async def told(self) -> AsyncGenerator[Batch, None]:
        self._reached()
        while (batch := await self._reading.next()) is not None:
            yield self._told_of(batch)
            await self._record_subjects()
        self._end()


def writes_twice() -> None:
    """Planted bug: no write claims its execution's id."""
    writing._CLAIM = "INSERT INTO main.remit_executions (id, result) VALUES (? || '-' || hex(randomblob(8)), '')"


def records_late() -> None:
    """Planted bug: see LateAccount."""
    query.Account = LateAccount  # type: ignore[attr-defined]


def voids_unknown() -> None:
    """Planted bug: what nobody knows is taken for what did not happen."""
    execute.UNKNOWN = frozenset()


MUTANTS: dict[str, Callable[[], None]] = {each.__name__: each for each in (writes_twice, records_late, voids_unknown)}


def main() -> None:
    directory = Path(sys.argv[1])
    decide.HOLD_SECONDS = HOLD_SECONDS
    databases.SqliteDatabase = ForgetfulDatabase  # type: ignore[attr-defined]
    if len(sys.argv) > 2:
        MUTANTS[sys.argv[2]]()
    flags = {
        "state": directory / "state",
        "socket": directory / "run" / "s",
        "grpc": "off",
        "http": "off",
        "policies": [directory / "policies"],
    }

    def read() -> tuple[object, object]:
        return load([directory / "remit.yaml"], os.environ, flags)

    # What a database loses is warned of, each time.
    logging.basicConfig(level=logging.ERROR)
    settings, catalogue = load([directory / "remit.yaml"], os.environ, flags)
    sys.exit(0 if uvloop.run(serve(lambda: App(settings, catalogue, load=read))) else 1)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
