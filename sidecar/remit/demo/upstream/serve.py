"""One third party as a process.

    python -m remit.demo.upstream.serve models|mail PORT BOOKS KEY

BOOKS and KEY are files: what it writes down, and the API key of its one customer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web

from remit.demo.upstream import mail, models
from remit.demo.upstream.books import Books

APPLICATIONS: Mapping[str, Callable[[Books], web.Application]] = {
    "models": models.application,
    "mail": mail.application,
}


def main(kind: str, port: str, books: str, key: str) -> None:
    """Serve on loopback until told to stop."""
    application = APPLICATIONS[kind](Books(Path(books), Path(key).read_text(encoding="ascii")))
    web.run_app(application, host="127.0.0.1", port=int(port), access_log=None, print=None, shutdown_timeout=1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
