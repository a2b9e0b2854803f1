"""What PostgreSQL reports where a row was found too large, or a value was to be larger than it can hold."""

from __future__ import annotations

import psycopg

from remit.core.view.model import ROW_TOO_LARGE

# Where it finds that a value would be of more than 1 GB.
_NO_ROOM = frozenset(["enlargeStringInfo", "palloc", "palloc0", "palloc_extended", "repalloc", "MemoryContextAlloc"])


def is_too_large(error: psycopg.Error) -> bool:
    """Whether an error is of either kind; an agent that writes the first's words into a cast fails as if it were."""
    if error.sqlstate == "22P02":
        return ROW_TOO_LARGE in (error.diag.message_primary or "")
    return error.sqlstate in {"54000", "XX000"} and error.diag.source_function in _NO_ROOM
