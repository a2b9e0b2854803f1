"""The port's questions, each one statement: an answer of one moment in one round trip.

Text is compared and sorted by its bytes (the columns are collated "C"). What is asked for page by page stands in an
index in that order, so that the size of the journal makes no page slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import orjson

from remit.backends.store_postgres.read_pool import Query, ReadPool
from remit.backends.store_postgres.rows import (
    APPROVALS,
    BUDGETS,
    CHECKPOINTS,
    CLAIMS,
    HALTS,
    JOURNAL,
    RESERVATIONS,
    WORKFLOWS,
    Row,
    approval,
    checkpoint_row,
    journal_row,
    room_of,
    workflow,
)
from remit.backends.store_rows import budget_room, halt, reservation
from remit.core.approval import Approval
from remit.core.claim import Act, Claim
from remit.core.effect import Kept
from remit.core.label import isolated_version, join
from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.core.view.subjects import hash_bytes
from remit.ports import (
    ApprovalsQuery,
    Burn,
    CheckpointRow,
    FactsQuery,
    JournalRow,
    Reservation,
    Sight,
    Sighting,
    SpendRow,
    StoredFacts,
    WorkflowState,
)

T = TypeVar("T")

SIGHTS = (Sight.RETURNED, Sight.REACHED, Sight.MANY)
"""By their number in the table; the more certain is the lower one."""

_LAST = (1 << 63) - 1
"""After every time."""

_FACTS = Query(
    "SELECT remit.facts($1::text, $2::text, $3::text, $4::text, $5::text[], $6::text[], $7::bigint[], $8::bigint[],"
    " $9::text[], $10::text)"
)
_KEPT = Query(
    "SELECT digest, answer, provisional FROM remit.kept WHERE (subject, rpc, key) = ($1::text, $2::text, $3::text)"
)
_WORKFLOW = Query(f"{WORKFLOWS} WHERE id = $1::text")
_TRACED = Query("SELECT workflow FROM remit.trace WHERE (subject, trace) = ($1::text, $2::text)")
_RESERVATION = Query(f"{RESERVATIONS} WHERE decision = $1::text")
# What a writer decided by its slices is its own to end while its lease lasts.
_DUE = Query(f"""
    {RESERVATIONS}
    WHERE state = 'held' AND deadline <= $1::bigint AND (allotted = '' OR NOT EXISTS (
        SELECT FROM remit.log WHERE log.name = reservation.allotted AND log.lease > clock_timestamp()))
    ORDER BY deadline, decision LIMIT $2::bigint
""")
_UNRESOLVED = Query(f"""
    ({RESERVATIONS} WHERE state = 'held' ORDER BY deadline, decision LIMIT $2::bigint)
    UNION ALL
    ({RESERVATIONS} WHERE state = 'lapsed' AND deadline >= $1::bigint ORDER BY deadline, decision LIMIT $2::bigint)
    ORDER BY deadline, decision LIMIT $2::bigint
""")
_PENDING_APPROVALS = Query("SELECT id, version FROM remit.approval WHERE state = 'pending' ORDER BY id")
_APPROVALS_VERSION = Query("SELECT approvals FROM remit.shared")
_DUE_APPROVALS = Query(
    f"{APPROVALS} WHERE a.state = 'pending' AND a.deadline <= $1::bigint ORDER BY a.deadline, a.id LIMIT $2::bigint"
)
_CLAIM = Query("""
    SELECT $1::text, coalesce(subject, ''), coalesce(workflow, ''), coalesce(token, claim_floor), coalesce(expires, 0),
           coalesce(claim.time, 0)
    FROM remit.shared LEFT JOIN remit.claim ON key = $1::text
""")
_CLAIMS = Query(f"{CLAIMS} WHERE subject <> '' AND expires > $1::bigint ORDER BY time, key LIMIT $2::bigint")
_DUE_CLAIMS = Query(f"{CLAIMS} WHERE subject <> '' AND expires <= $1::bigint ORDER BY expires, key LIMIT $2::bigint")
_ROOMS = Query("""
    SELECT (SELECT ARRAY[adjusted, spent, held] FROM remit.budget
            WHERE (budget.budget, budget.scope, budget.start_ns, budget.end_ns)
                = (asked.budget, asked.scope, asked.start_ns, asked.end_ns))
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
        WITH ORDINALITY AS asked (budget, scope, start_ns, end_ns, place)
    ORDER BY place
""")
_USED = Query(f"""
    {BUDGETS}
    WHERE start_ns <= $1::bigint AND (end_ns = 0 OR end_ns > $1::bigint)
      AND (spent <> 0 OR held <> 0 OR adjusted <> 0)
    ORDER BY budget, scope, start_ns
""")
_HALTS = Query(f"{HALTS} ORDER BY time, id")
_SPENDING = Query("""
    SELECT subject, service, variant, owner, cost, overrun, unit, quantity
    FROM remit.spending LEFT JOIN remit.usage USING (subject, service, variant, owner)
    ORDER BY subject, service, variant, owner, unit
""")
_RECORD = Query(f"{JOURNAL} WHERE id = $1::text")
_ABOUT = Query(f"""
    {JOURNAL} WHERE ref = $1::text AND ref <> '' ORDER BY time, log, sequence
""")
_TRACE = Query(f"""
    {JOURNAL} WHERE workflow = $1::text AND workflow <> ''
    ORDER BY time, log, sequence LIMIT $2::bigint
""")
_FLOWS = Query(f"{WORKFLOWS} ORDER BY id DESC LIMIT $1::bigint")
_FLOWS_BEFORE = Query(f"{WORKFLOWS} WHERE id < $1::text ORDER BY id DESC LIMIT $2::bigint")
_LATEST = Query(f"""
    {JOURNAL} WHERE kind = 'decision' AND time < $1::bigint
    ORDER BY time DESC, log DESC, sequence DESC LIMIT $2::bigint
""")
_BURNED = Query("""
    SELECT burn.hour, burn.spent FROM remit.budget JOIN remit.burn ON burn.budget = budget.id
    WHERE (budget.budget, scope, start_ns, end_ns) = ($1::text, $2::text, $3::bigint, $4::bigint) ORDER BY burn.hour
""")
# Answers of many (the empty subject) may have told of anybody; where one is known to have, it is told once.
_NEWEST = """
    (SELECT time, log, decision, sight FROM remit.seen WHERE seen_table = $1::text AND subject = $2::bytea
     ORDER BY time DESC, log DESC, decision DESC LIMIT $3::bigint)
    UNION ALL
    (SELECT time, log, decision, sight FROM remit.seen WHERE seen_table = $1::text AND subject = ''
     ORDER BY time DESC, log DESC, decision DESC LIMIT $3::bigint)
"""
# OFFSET 0: the newest are found first, and only then is each one's record looked up.
_SIGHTINGS = Query(
    f"""
    SELECT record.*, newest.sight FROM (
        SELECT time, log, decision, min(sight) AS sight FROM ({_NEWEST}) AS either
        GROUP BY time, log, decision ORDER BY time DESC, log DESC, decision DESC LIMIT $3::bigint
    ) AS newest CROSS JOIN LATERAL ({JOURNAL}
        WHERE (journal.log, journal.sequence, journal.time) = (newest.log, newest.decision, newest.time) OFFSET 0
    ) AS record
    ORDER BY newest.time DESC, newest.log DESC, newest.decision DESC
"""  # noqa: S608 (constants)
)
_JOURNAL = Query(f"""
    {JOURNAL} WHERE log = $1::text AND sequence > $2::bigint
    ORDER BY sequence LIMIT $3::bigint
""")
_CHECKPOINTS = Query(f"{CHECKPOINTS} WHERE log = $1::text ORDER BY size")


class PostgresReader:
    """Reads committed state. Raises StoreUnavailable where PostgreSQL cannot be asked.

    A subclass sets `_reads`, and `_log`, the name of its writer's log.
    """

    _reads: ReadPool
    _log: str

    async def facts(self, query: FactsQuery) -> StoredFacts:
        """What a decision is made on."""
        asked = (query.subject, query.isolation, query.workflow, query.service, *_keys(query.rows))
        ((text,),) = await self._reads.rows(_FACTS, *asked, list(query.things), query.object)
        found = orjson.loads(text)
        labels = join(
            [
                dict(found["session"] or ()),
                *({label: (source,)} for label, source in found["shares"] or ()),
            ]
        )
        isolated = query.isolation == "workflow"
        rooms = found["budgets"] or ()
        return StoredFacts(
            labels=labels,
            labels_version=isolated_version(len(labels)) if isolated else found["version"],
            workflow=workflow(found["workflow"]) if found["workflow"] else None,
            halts=tuple(map(halt, found["halts"] or ())),
            halts_version=found["halts_version"],
            budgets=tuple(map(room_of, query.rows, rooms)),
            claims=tuple(Claim(*row) for row in found["claims"] or ()),
            acts=tuple(Act(*row) for row in found["acts"] or ()),
        )

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        """The answer kept for an idempotency key."""
        return await self._first(lambda row: Kept(*row), _KEPT, subject, rpc, key)

    async def workflow(self, id: str) -> WorkflowState | None:
        """A workflow by id."""
        return await self._first(workflow, _WORKFLOW, id)

    async def traced(self, subject: str, trace: str) -> str:
        """The workflow that a trace id is bound to, or ""."""
        return await self._first(lambda row: str(row[0]), _TRACED, subject, trace) or ""

    async def reservation(self, decision: str) -> Reservation | None:
        """The reservation that a decision made."""
        return await self._first(reservation, _RESERVATION, decision)

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Held reservations whose deadline has passed, oldest first, but those that another may still end alone."""
        return await self._found(reservation, _DUE, now, limit)

    async def unresolved(self, since: int, limit: int) -> Sequence[Reservation]:
        """What was allowed and never reported, by the deadline."""
        return await self._found(reservation, _UNRESOLVED, since, limit)

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        """Approvals, the newest first."""
        asked = {
            "a.id = ANY (${}::text[])": list(query.ids),
            "a.like_key = ANY (${}::text[])": list(query.likes),
            _BOUND: list(query.bindings),
            "a.state = ANY (${}::text[])": list(query.states),
            "a.subject = ${}::text": query.subject,
            "a.id < ${}::text": query.before,
        }
        given = {condition: value for condition, value in asked.items() if value}
        return await self._found(approval, _approvals(tuple(given)), *given.values(), query.limit)

    async def pending_approvals(self) -> Mapping[str, int]:
        """The versions of all that are pending, the oldest first."""
        return {str(id): int(version) for id, version in await self._reads.rows(_PENDING_APPROVALS)}

    async def approvals_version(self) -> int:
        """Moves whenever an approval does."""
        ((version,),) = await self._reads.rows(_APPROVALS_VERSION)
        return int(version)

    async def due_approvals(self, now: int, limit: int) -> Sequence[Approval]:
        """Pending ones whose deadline has passed, oldest first."""
        return await self._found(approval, _DUE_APPROVALS, now, limit)

    async def claim(self, key: str) -> Claim:
        """The claim on a thing."""
        (found,) = await self._reads.rows(_CLAIM, key)
        return Claim(*found)

    async def claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What is held now, the oldest first."""
        return await self._found(lambda row: Claim(*row), _CLAIMS, now, limit)

    async def due_claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What was held and has expired, oldest first."""
        return await self._found(lambda row: Claim(*row), _DUE_CLAIMS, now, limit)

    async def rooms(self, rows: Sequence[BudgetRow]) -> Sequence[BudgetRoom]:
        """What is spent and held in each row."""
        if not rows:
            return ()
        found = await self._reads.rows(_ROOMS, *_keys(rows))
        return tuple(room_of(row, room) for row, (room,) in zip(rows, found, strict=True))

    async def used_rows(self, now: int) -> Sequence[BudgetRoom]:
        """Rows of current windows in which something is spent, held or adjusted."""
        return await self._found(budget_room, _USED, now)

    async def halts(self) -> Sequence[Halt]:
        """The halts in force."""
        return await self._found(halt, _HALTS)

    async def spending(self) -> Sequence[SpendRow]:
        """Totals since the store began."""
        totals: dict[tuple[Any, ...], dict[str, int]] = {}
        for *total, unit, quantity in await self._reads.rows(_SPENDING):
            usage = totals.setdefault(tuple(total), {})
            if unit is not None:
                usage[unit] = quantity
        return tuple(replace(SpendRow(*total), usage=usage) for total, usage in totals.items())

    async def record(self, id: str) -> JournalRow | None:
        """A record by its id."""
        return await self._first(journal_row, _RECORD, id)

    async def about(self, ref: str) -> Sequence[JournalRow]:
        """Records that speak of another one, oldest first."""
        return await self._found(journal_row, _ABOUT, ref)

    async def trace(self, workflow: str, limit: int) -> Sequence[JournalRow]:
        """A workflow's records of all logs, in the order of time, then of their logs."""
        return await self._found(journal_row, _TRACE, workflow, limit)

    async def workflows(self, before: str, limit: int) -> Sequence[WorkflowState]:
        """Workflows with a lower id, the newest first."""
        if not before:
            return await self._found(workflow, _FLOWS, limit)
        return await self._found(workflow, _FLOWS_BEFORE, before, limit)

    async def latest(self, before: int, limit: int) -> Sequence[JournalRow]:
        """Decisions of an earlier time, the newest first."""
        return await self._found(journal_row, _LATEST, before or _LAST, limit)

    async def burned(self, row: BudgetRow) -> Sequence[Burn]:
        """What was spent in a row, hour by hour."""
        return await self._found(lambda burn: Burn(*burn), _BURNED, row.budget, row.scope, row.start, row.end)

    async def sightings(self, table: str, subject: str, limit: int) -> Sequence[Sighting]:
        """Who saw a subject, the newest first. Raises BadRequest for what is no subject's hash."""
        raw = hash_bytes(subject)
        return await self._found(
            lambda row: Sighting(journal_row(row[:-1]), SIGHTS[row[-1]]), _SIGHTINGS, table, raw, limit
        )

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        """Records of this writer's log with a later sequence, in order."""
        return await self._found(journal_row, _JOURNAL, self._log, after, limit)

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        """All signed heads of this writer's log, oldest first."""
        return await self._found(checkpoint_row, _CHECKPOINTS, self._log)

    async def _first(self, read: Callable[[Row], T], query: Query, *values: object) -> T | None:
        rows = await self._reads.rows(query, *values)
        return read(rows[0]) if rows else None

    async def _found(self, read: Callable[[Row], T], query: Query, *values: object) -> tuple[T, ...]:
        return tuple(map(read, await self._reads.rows(query, *values)))


_BOUND = "a.id = ANY (ARRAY (SELECT approval FROM remit.approval_item WHERE binding = ANY (${}::text[])))"


@cache
def _approvals(conditions: tuple[str, ...]) -> Query:
    """One statement for each set of conditions, so that each finds its index."""
    numbered = [condition.format(place) for place, condition in enumerate(conditions, 1)]
    where = f"WHERE {' AND '.join(numbered)}" if numbered else ""
    return Query(f"{APPROVALS} {where} ORDER BY a.id DESC LIMIT ${len(numbered) + 1}::bigint")


def _keys(rows: Sequence[BudgetRow]) -> tuple[list[Any], ...]:
    """Four arrays: budgets, scopes, starts and ends of windows."""
    return (
        [row.budget for row in rows],
        [row.scope for row in rows],
        [row.start for row in rows],
        [row.end for row in rows],
    )
