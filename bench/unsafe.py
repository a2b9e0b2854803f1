"""The same sidecar without waiting for the disk: only to measure what durability costs. Never a setting of Remit."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import apsw
from remit.app.sidecar import App
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.schema import connect
from remit.cli.main import main


def _careless(file: Path) -> apsw.Connection:
    connection = connect(file)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


if __name__ == "__main__":
    App.__init__.__kwdefaults__["store_type"] = functools.partial(SqliteStore, connect=_careless)
    sys.argv[0] = "remit"
    main()
