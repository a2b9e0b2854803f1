"""The journal of a store that members share, read by whoever may read it: every member's log in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from remit.backends.store_postgres.administration import NotReached, connected
from remit.backends.store_postgres.journal_logs import open_logs, verify_logs
from remit.cli.failure import Failure, Unreachable
from remit.core.checkpoint import VerifierKey
from remit.core.database_url import PostgresPlace
from remit.core.errors import StoreUnavailable
from remit.core.journal import Verification


def verify_store(
    place: PostgresPlace, password: bytes, pinned: Sequence[VerifierKey], notes: Sequence[str]
) -> Sequence[Verification]:
    """What is found in each log. Without a pinned key a log is consistent at best: its registered key is the database's
    own word. Raises Failure, Unreachable."""
    unnamed = [key for key in pinned if not key.log]
    if unnamed:
        raise Failure("--key: found a key without a log's name; expected remit/LOG+ID+KEY, for there are many logs")
    try:
        with connected(place, password) as connection, open_logs(connection) as journal:
            found = verify_logs(journal, pinned, notes)
    except NotReached as error:
        raise Unreachable(error.detail) from error
    except StoreUnavailable as error:
        raise Failure(error.detail) from error
    vouched = {key.log for key in pinned}
    return [each if each.log in vouched or not each.authentic else replace(each, state="consistent") for each in found]
