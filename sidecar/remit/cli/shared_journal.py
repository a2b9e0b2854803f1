"""The journal of a store that members share, read by whoever may read it: every member's log in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from remit.backends.store_postgres.administration import NotReached, connected
from remit.backends.store_postgres.journal_logs import JournalLogs, open_logs, verify_logs
from remit.cli.failure import Failure, Refused, Unreachable
from remit.core.checkpoint import VerifierKey
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable
from remit.core.journal import Verification


def verify_store(
    place: PostgresPlace, password: bytes, pinned: Sequence[VerifierKey], notes: Sequence[str]
) -> Sequence[Verification]:
    """What is found in each log. One that no pinned key signs is consistent at best: that it is registered with another
    key is the database's own word. A key without a log's name is that of every log that is registered with it.

    Raises Refused, Failure, Unreachable.
    """
    try:
        with connected(place, password) as connection, open_logs(connection) as journal:
            keys = [named for key in pinned for named in _named(key, journal)]
            found = verify_logs(journal, keys, notes)
            public = {log.name: log.public for log in journal.logs}
    except NotReached as error:
        raise Unreachable(error.detail) from error
    except StoreUnavailable as error:
        raise Failure(error.detail) from error
    # A member signs all logs that it writes with one key, each checkpoint with its log's name.
    vouched = {key.public for key in keys}
    return [
        replace(each, state="consistent") if each.authentic and public.get(each.log) not in vouched else each
        for each in found
    ]


def _named(key: VerifierKey, journal: JournalLogs) -> Sequence[VerifierKey]:
    if key.log:
        return [key]
    found = [log.key for log in journal.logs if log.public == key.public]
    if not found:
        raise Refused(f"--key: no log of the store is registered with the key {key.public.hex()[:16]}…")
    return found
