"""The same sidecar without waiting for the disk: only to measure what durability costs. Never a setting of Remit."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import apsw
import remit.app.sidecar
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.schema import connect
from remit.cli.main import main


def _careless(file: Path) -> apsw.Connection:
    connection = connect(file)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


if __name__ == "__main__":
    remit.app.sidecar.SqliteStore = functools.partial(SqliteStore, connect=_careless)  # type: ignore[assignment,misc]
    remit.app.sidecar.App.__init__.__kwdefaults__["store_type"] = remit.app.sidecar.SqliteStore
    sys.argv[0] = "remit"
    main()
