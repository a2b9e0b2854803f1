"""A real sidecar of an installation, to be killed: `python member_target.py DIRECTORY [MUTANT]`.

As target.py, but its store is the PostgreSQL of which DIRECTORY/member.json tells: `url`, `password_file` and `keys`,
the directory of what the members share. A mutant is a planted bug that the harness must find.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

import uvloop
from remit.app.sidecar import App
from remit.backends.store_postgres.store import PostgresStore
from remit.config import load
from remit.core.effect import Commit, Committed, Refused
from target import serve

FOLLOWS_SECONDS = 2.0
"""Longer than the life of a sidecar that is to be killed: on a fast machine its budget is spent at once."""


def answers_first() -> None:
    """Planted bug: the answer leaves, and the commit follows."""
    commit, later = PostgresStore.commit, set()

    async def first(self: PostgresStore, wanted: Commit) -> Committed | Refused:
        if wanted.versions is None:
            return await commit(self, wanted)

        async def follow() -> None:
            await asyncio.sleep(FOLLOWS_SECONDS)
            await commit(self, wanted)

        task = asyncio.ensure_future(follow())
        later.add(task)
        task.add_done_callback(later.discard)
        return Committed(self.log, 1)

    PostgresStore.commit = first  # type: ignore[method-assign]


def main() -> None:
    directory = Path(sys.argv[1])
    member = json.loads((directory / "member.json").read_text())
    planted = sys.argv[2:] == ["answers_first"]
    if planted:
        answers_first()
    flags = {
        "state": directory / "state",
        "keys": member["keys"],
        "store_url": member["url"],
        "store_password_file": member["password_file"],
        "store_allotments": "false" if planted else "true",
        "socket": directory / "run" / "s",
        "grpc": "off",
        "http": "off",
    }

    def read() -> tuple[object, object]:
        return load([directory / "remit.yaml"], os.environ, flags)

    logging.basicConfig(level=logging.CRITICAL)
    settings, catalogue = load([directory / "remit.yaml"], os.environ, flags)
    sys.exit(0 if uvloop.run(serve(lambda: App(settings, catalogue, load=read))) else 1)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
