"""The size of a journal makes no page slow: what is asked for comes by an index, whatever else there is.

A few thousand records in every run, a million in a soak; the bound is the product's own, 50 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

import orjson
from counts import PROFILE
from fakes.approvals import asked
from fakes.loop import in_loop
from fakes.postgres_server import PostgresServer
from fakes.store_grown import CUSTOMER, DAY, NOW, TABLE, grow
from fakes.store_postgres import Installation, new_installation, open_store
from remit.core.approval import State, to_document
from remit.core.model import BudgetRow
from remit.ports import ApprovalsQuery, FactsQuery, Store

RECORDS = 1_000_000 if PROFILE == "soak" else 8_000
PAGE = 50
BOUND_SECONDS = 0.05
TURNS = 20

MIDDLE = f"w_{RECORDS // 40:012d}"
DECISION = f"d_{RECORDS // 8 * 4:012d}"
APPROVAL = f"a_{RECORDS // 8:012d}"
TODAY = BudgetRow("day1", "", NOW, NOW + DAY, 1)

Ask = Callable[[Store], Awaitable[object]]
PAGES: dict[str, Ask] = {
    "trace": lambda store: store.trace(MIDDLE, 100),
    "budgets": lambda store: store.used_rows(NOW + 1),
    "latest": lambda store: store.latest(0, PAGE),
    "latest, half a year ago": lambda store: store.latest(NOW - 180 * DAY, PAGE),
    "workflows": lambda store: store.workflows("", PAGE),
    "workflows, from the middle": lambda store: store.workflows(MIDDLE, PAGE),
    "who saw": lambda store: store.sightings(TABLE, f"{CUSTOMER:032x}", PAGE),
    "burned": lambda store: store.burned(TODAY),
    "record": lambda store: store.record(DECISION),
    "about": lambda store: store.about(DECISION),
    "reservation": lambda store: store.reservation(DECISION),
    "due": lambda store: store.due(NOW, 100),
    "unresolved": lambda store: store.unresolved(NOW - DAY, PAGE),
    "what waits": lambda store: store.approvals(ApprovalsQuery(states=(State.PENDING,), limit=PAGE)),
    "approvals": lambda store: store.approvals(ApprovalsQuery(limit=PAGE)),
    "approvals, from the middle": lambda store: store.approvals(ApprovalsQuery(before=APPROVAL, limit=PAGE)),
    "approvals of an agent": lambda store: store.approvals(ApprovalsQuery(subject="agent7", limit=PAGE)),
    "approvals alike": lambda store: store.approvals(ApprovalsQuery(likes=("like_7", "like_8"), limit=PAGE)),
    "approvals of a request": lambda store: store.approvals(ApprovalsQuery(bindings=("b_7", "b_8"), limit=PAGE)),
    "an approval": lambda store: store.approvals(ApprovalsQuery(ids=(APPROVAL,))),
    "approvals due": lambda store: store.due_approvals(NOW, PAGE),
    "claims": lambda store: store.claims(NOW, PAGE),
    "claims due": lambda store: store.due_claims(NOW, PAGE),
    "claims and acts": lambda store: store.facts(FactsQuery("ann", "process", "w", "s", (), ("thing 7",), "object 7")),
}
# One in a hundred waits, or is held; the others have ended, or are free.
_OVERSIGHT = """
INSERT INTO remit.approval (id, subject, like_key, state, version, time, deadline, expires, ended, document)
    SELECT 'a_' || lpad(n::text, 12, '0'), 'agent' || n % 300, 'like_' || n, CASE n % 100 WHEN 0 THEN 'pending' ELSE
           'denied' END, 1, n, n, 0, n, '{document}'
    FROM generate_series(0, {approvals} - 1) n;
INSERT INTO remit.approval_item
    SELECT id, 'b_' || ltrim(substr(id, 3), '0'), 0, 'd_' || id, 1, '{{pii}}', '{{}}', 1 FROM remit.approval;
INSERT INTO remit.claim
    SELECT 'thing ' || n, CASE n % 100 WHEN 0 THEN 'ann' ELSE '' END, '', 1, {now} + (n % 200 - 50) * {day}, n
    FROM generate_series(0, {approvals} - 1) n;
INSERT INTO remit.act
    SELECT 'w', 'object ' || n, 'bob', 'write', 'd', n, {now} + n FROM generate_series(0, {approvals} - 1) n;
ANALYZE
"""
# Where the planner may read a whole table only if no index serves: what it read so.
_READ_WHOLE = """
SELECT relname::text, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = 'remit' AND seq_tup_read > 0
AND (relname ~ '^(journal|seen)_[0-9]' OR relname IN (
    'workflow', 'reservation', 'budget', 'burn', 'approval', 'approval_item', 'claim', 'act'))
"""


@in_loop
async def test_every_page_comes_by_an_index(postgres: PostgresServer) -> None:
    """In 50 ms each, the median of some; and each of them has its index."""
    with new_installation(postgres) as installation:
        grow(installation, RECORDS)
        oversight(installation, RECORDS // 4)
        slow = {}
        store = await open_store(installation, "reader")
        for name, ask in PAGES.items():
            assert await ask(store), name  # and is planned
            took = [await _timed(ask, store) for _ in range(TURNS)]
            if statistics.median(took) > BOUND_SECONDS:
                slow[name] = sorted(took)
        await store.close()
        assert slow == {}

        installation.run(f"ALTER DATABASE {installation.name} SET enable_seqscan = off")
        store = await open_store(installation, "reader")
        installation.run("SELECT pg_stat_reset()")
        for ask in PAGES.values():
            await ask(store)
        await store.close()
        installation.cut()  # who leaves tells what it has read
        assert installation.rows(_READ_WHOLE) == []


def oversight(installation: Installation, approvals: int) -> None:
    """Write so many approvals, and as many claims and acts."""
    document = orjson.dumps(to_document(asked())).decode()
    for statement in _OVERSIGHT.format(document=document, approvals=approvals, now=NOW, day=DAY).split(";\n"):
        installation.run(statement)


async def _timed(ask: Ask, store: Store) -> float:
    """Seconds."""
    began = time.perf_counter()
    await ask(store)
    return time.perf_counter() - began
