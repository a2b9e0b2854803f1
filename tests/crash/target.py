"""A real sidecar to be killed, traced or sabotaged: `python target.py DIRECTORY [MUTANT]`.

DIRECTORY has the catalogue (remit.yaml) and gets the state and the agents' socket. A mutant is a planted bug that
the harness must find.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import uvloop
from remit.app.sidecar import App
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.ledger import Ledger
from remit.backends.store_sqlite.schema import connect
from remit.config import load
from remit.core.effect import Commit, Committed, Refused, Reserve

TOKEN = "tok-worker"
CATALOGUE = """
currency: EUR
teams: {cx: {}}
agents:
  worker: {team: cx, roles: [worker], purposes: [work], clearance: [pii],
           identity: {token_hash: "sha256:cf3c20163883d537b18644b2d944ebc834c20827a3a1f6c56e716a71b5967dbf"}}
services:
  model: {owner: cx, clearance: [pii], metering: agent, hold_seconds: 2, variants: {small: {}}}
prices:
  - {match: "model/*", unit: call, amount: 0.01, currency: EUR}
budgets:
  total: {limit: 3}
  each-agent: {per: agent, limit: 2.5, window: month}
"""


class AnswersFirst(SqliteStore):
    """Planted bug: the answer leaves, and the commit follows."""

    async def commit(self, commit: Commit) -> Committed | Refused:
        task = asyncio.ensure_future(super().commit(commit))
        self.later = getattr(self, "later", set()) | {task}
        task.add_done_callback(self.later.discard)
        return Committed(self.log, 1)


class NeverSyncs(SqliteStore):
    """Planted bug: SQLite is told not to wait for the disk."""

    def __init__(self, path: Path, **options: object) -> None:
        def careless(file: Path) -> apsw.Connection:
            connection = connect(file)
            connection.execute("PRAGMA synchronous = OFF")
            return connection

        super().__init__(path, connect=careless, **options)  # type: ignore[arg-type]


class GuardlessLedger(Ledger):
    """Planted bug: money is set aside whether there is room or not."""

    def reserve(self, wanted: Reserve, now: int) -> None:
        rows = tuple(row.__class__(row.budget, row.scope, row.start, row.end, 10**18) for row in wanted.rows)
        super().reserve(wanted.__class__(**{**_fields(wanted), "rows": rows}), now)


class Overspends(SqliteStore):
    """Planted bug: see GuardlessLedger."""

    ledger_type = GuardlessLedger


def _fields(wanted: Reserve) -> dict[str, object]:
    return {name: getattr(wanted, name) for name in wanted.__slots__}


MUTANTS = {each.__name__: each for each in (AnswersFirst, NeverSyncs, Overspends)}


def main() -> None:
    directory, store = Path(sys.argv[1]), SqliteStore
    if len(sys.argv) > 2:
        store = MUTANTS[sys.argv[2]]
    flags = {"state": directory / "state", "socket": directory / "run" / "s", "grpc": "off", "http": "off"}

    def read() -> tuple[object, object]:
        return load([directory / "remit.yaml"], os.environ, flags)

    logging.basicConfig(level=logging.ERROR)
    settings, catalogue = load([directory / "remit.yaml"], os.environ, flags)
    app = lambda: App(settings, catalogue, load=read, store_type=store)  # type: ignore[arg-type]  # noqa: E731
    sys.exit(0 if uvloop.run(serve(app)) else 1)


async def serve(make: Callable[[], App]) -> bool:
    """As `remit up`, without its words."""
    stopping, app = asyncio.Event(), make()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await app.start()
    print("ready", flush=True)
    try:
        return await app.run(stopping)
    finally:
        await app.stop()


if __name__ == "__main__":
    main()
