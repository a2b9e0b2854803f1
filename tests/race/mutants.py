"""Planted bugs of the shared store, which the harnesses must find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fakes.store_postgres import Installation
from remit.backends.store_postgres.store import PostgresStore
from remit.backends.store_shared.shipping import Shipping
from remit.backends.store_shared.term import Term
from remit.core.effect import Commit, Committed, Refused


class AnswersFirst(PostgresStore):
    """The answer leaves, and the commit follows."""

    async def commit(self, commit: Commit) -> Committed | Refused:
        task = asyncio.ensure_future(super().commit(commit))
        self.later = getattr(self, "later", set()) | {task}
        task.add_done_callback(self.later.discard)
        return Committed(self.log, 1)


def ships_twice() -> None:
    """What was shipped is shipped once more, as if its outcome were unknown; for the rest of this process."""
    send = Shipping._send

    async def twice(self: Shipping, parcel: Any) -> None:
        before = self.shipped
        await send(self, parcel)
        if parcel.records:
            await self._calls.call("ship", self._payload(before + 1, parcel))

    Shipping._send = twice  # type: ignore[method-assign]


def never_ends() -> None:
    """A sidecar that believes in its lease for ever; for the rest of this process."""
    Term.live = property(lambda self: self.begun)  # type: ignore[method-assign, assignment]


@contextmanager
def unguarded_shipments(installation: Installation) -> Iterator[None]:
    """`ship` performs whatever comes, as often as it comes; only the records themselves are there once."""
    with ExitStack() as stack:
        for old, new in (
            ("IF mine.sequence + 1 <> (p->>'first')::bigint THEN", "IF (p->>'first')::bigint < 0 THEN"),
            (
                "PERFORM append_linked(mine, p->'records');",
                "IF mine.sequence + 1 = (p->>'first')::bigint THEN PERFORM append_linked(mine, p->'records'); END IF;",
            ),
            (
                "'held', '', rows,\n                    mine.name);",
                "'held', '', rows, mine.name) ON CONFLICT DO NOTHING;",
            ),
        ):
            stack.enter_context(installation.planted("ship", old, new))
        yield


MUTANTS: dict[str, type[PostgresStore]] = {"AnswersFirst": AnswersFirst}
TERMS: dict[str, Callable[[], None]] = {"ships_twice": ships_twice, "never_ends": never_ends}
