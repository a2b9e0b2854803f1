"""The port's questions, answered from a connection of their own: a snapshot as committed, never a wait.

They run on the event loop: reading a few pages takes less than handing the question to a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from remit.backends.store_rows import budget_room, halt, reservation
from remit.backends.store_sqlite.approvals import approvals, due_approvals
from remit.backends.store_sqlite.claims import DUE_CLAIMS, HELD, acts_of_others, claim, known_claims
from remit.backends.store_sqlite.database import Database, Row
from remit.backends.store_sqlite.rows import (
    BUDGETS,
    CHECKPOINTS,
    HALTS,
    JOURNAL,
    RESERVATIONS,
    WORKFLOWS,
    checkpoint_row,
    journal_row,
    workflow,
)
from remit.backends.store_sqlite.sightings import MANY, SIGHTS, seen
from remit.core.approval import Approval
from remit.core.claim import Claim
from remit.core.effect import Kept
from remit.core.label import MAX_SOURCES, Session, isolated_version, join
from remit.core.model import BudgetRoom, BudgetRow, Halt
from remit.core.view.subjects import hash_bytes
from remit.ports import (
    ApprovalsQuery,
    Burn,
    CheckpointRow,
    FactsQuery,
    JournalRow,
    Reservation,
    Sighting,
    SpendRow,
    StoredFacts,
    WorkflowState,
)

T = TypeVar("T")

_COVERING = f"""{HALTS}
    WHERE scope IN ('all', 'policy') OR (scope = 'agent' AND value = ?) OR (scope = 'workflow' AND value = ?)
       OR (scope = 'service' AND value = ?)
    ORDER BY time, id
"""
_VERSIONS = """
    SELECT (SELECT version FROM subject WHERE id = ?), (SELECT value FROM counter WHERE name = 'halts')
"""
_NEXT_LABEL = """
    SELECT label FROM share WHERE subject = ? AND live = 1 AND label > ? ORDER BY label LIMIT 1
"""
_SOURCES = """
    SELECT DISTINCT source FROM share WHERE subject = ? AND label = ? AND live = 1 ORDER BY source LIMIT ?
"""
_SHARE = "SELECT label, source FROM share WHERE workflow = ?1 AND subject IN (?2, '')"
_ROOM = f"{BUDGETS} WHERE budget = ? AND scope = ? AND start_ns = ? AND end_ns = ?"
_USED = f"""{BUDGETS}
    WHERE start_ns <= ?1 AND (end_ns = 0 OR end_ns > ?1) AND (spent <> 0 OR held <> 0 OR adjusted <> 0)
    ORDER BY budget, scope, start_ns
"""
_BURNED = """
    SELECT hour, burn.spent FROM burn JOIN budget ON budget.id = burn.budget
    WHERE budget.budget = ? AND scope = ? AND start_ns = ? AND end_ns = ? ORDER BY hour
"""


class Reader:
    """Reads committed state. Each answer is of one moment; raises StoreUnavailable where the file cannot be read."""

    _read: Database
    _log: str

    async def facts(self, query: FactsQuery) -> StoredFacts:
        """What a decision is made on."""
        with self._snapshot():
            version, halts_version = self._read.all(_VERSIONS, query.subject)[0]
            labels = self._labels(query)
            return StoredFacts(
                labels=labels,
                labels_version=isolated_version(len(labels)) if query.isolation == "workflow" else version or 0,
                workflow=self._workflow(query.workflow) if query.workflow else None,
                halts=self._found(halt, _COVERING, query.subject, query.workflow, query.service),
                halts_version=halts_version,
                budgets=tuple(map(self._room, query.rows)),
                claims=known_claims(self._read, query.things),
                acts=acts_of_others(self._read, query.workflow, query.object, query.subject) if query.object else (),
            )

    async def kept(self, subject: str, rpc: str, key: str) -> Kept | None:
        """The answer kept for an idempotency key."""
        row = self._read.one(
            "SELECT digest, answer, provisional FROM kept WHERE subject = ? AND rpc = ? AND key = ?", subject, rpc, key
        )
        return Kept(row[0], row[1], bool(row[2])) if row else None

    async def workflow(self, id: str) -> WorkflowState | None:
        """A workflow by id."""
        return self._workflow(id)

    async def traced(self, subject: str, trace: str) -> str:
        """The workflow that a trace id is bound to, or ""."""
        return self._read.value("SELECT workflow FROM trace WHERE subject = ? AND trace = ?", subject, trace) or ""

    async def reservation(self, decision: str) -> Reservation | None:
        """The reservation that a decision made."""
        return self._first(reservation, f"{RESERVATIONS} WHERE decision = ?", decision)

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Held reservations whose deadline has passed, oldest first."""
        sql = f"{RESERVATIONS} WHERE state = 'held' AND deadline <= ? ORDER BY deadline, decision LIMIT ?"
        return self._found(reservation, sql, now, limit)

    async def unresolved(self, since: int, limit: int) -> Sequence[Reservation]:
        """What was allowed and never reported, oldest first."""
        order = "ORDER BY deadline, decision LIMIT"
        with self._snapshot():
            held = self._found(reservation, f"{RESERVATIONS} WHERE state = 'held' {order} ?", limit)
            over = f"{RESERVATIONS} WHERE state = 'lapsed' AND deadline >= ? {order} ?"
            lapsed = self._found(reservation, over, since, limit)
        return sorted((*held, *lapsed), key=lambda each: (each.deadline, each.decision))[:limit]

    async def approvals(self, query: ApprovalsQuery) -> Sequence[Approval]:
        """Approvals, the newest first."""
        with self._snapshot():
            return approvals(self._read, query)

    async def pending_approvals(self) -> Mapping[str, int]:
        """The versions of all that are pending, the oldest first."""
        return dict(self._read.all("SELECT id, version FROM approval WHERE state = 'pending' ORDER BY id"))

    async def approvals_version(self) -> int:
        """Moves whenever an approval is opened, joined or moved."""
        version: int = self._read.value("SELECT value FROM counter WHERE name = 'approvals'")
        return version

    async def due_approvals(self, now: int, limit: int) -> Sequence[Approval]:
        """Pending ones whose deadline has passed, oldest first."""
        with self._snapshot():
            return due_approvals(self._read, now, limit)

    async def claim(self, key: str) -> Claim:
        """The claim on a thing."""
        with self._snapshot():
            return claim(self._read, key)

    async def claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What is held now, the oldest first."""
        return self._found(lambda row: Claim(*row), HELD, now, limit)

    async def due_claims(self, now: int, limit: int) -> Sequence[Claim]:
        """What was held and has expired, oldest first."""
        return self._found(lambda row: Claim(*row), DUE_CLAIMS, now, limit)

    async def rooms(self, rows: Sequence[BudgetRow]) -> Sequence[BudgetRoom]:
        """What is spent and held in each row."""
        with self._snapshot():
            return tuple(map(self._room, rows))

    async def used_rows(self, now: int) -> Sequence[BudgetRoom]:
        """Rows of current windows in which something is spent, held or adjusted."""
        return self._found(budget_room, _USED, now)

    async def halts(self) -> Sequence[Halt]:
        """The halts in force."""
        return self._found(halt, f"{HALTS} ORDER BY time, id")

    async def spending(self) -> Sequence[SpendRow]:
        """Totals since the store began."""
        with self._snapshot():
            usage: dict[Row, dict[str, int]] = {}
            for *whose, unit, quantity in self._read.all("SELECT * FROM usage ORDER BY unit"):
                usage.setdefault(tuple(whose), {})[unit] = quantity
            totals = self._read.all("SELECT * FROM spending ORDER BY subject, service, variant, owner")
        return tuple(replace(SpendRow(*row), usage=usage.get(row[:4], {})) for row in totals)

    async def record(self, id: str) -> JournalRow | None:
        """A record by its id."""
        return self._first(self._journal_row, f"{JOURNAL} WHERE id = ?", id)

    async def about(self, ref: str) -> Sequence[JournalRow]:
        """Records that speak of another one, oldest first."""
        return self._found(self._journal_row, f"{JOURNAL} WHERE ref = ? AND ref <> '' ORDER BY sequence", ref)

    async def trace(self, workflow: str, limit: int) -> Sequence[JournalRow]:
        """A workflow's records in order."""
        sql = f"{JOURNAL} WHERE workflow = ? AND workflow <> '' ORDER BY sequence LIMIT ?"
        return self._found(self._journal_row, sql, workflow, limit)

    async def sightings(self, table: str, subject: str, limit: int) -> Sequence[Sighting]:
        """Who saw a subject, the newest first. Raises BadRequest for what is no subject's hash."""
        raw = hash_bytes(subject)
        with self._snapshot():
            # Where an answer is known to have told of it, it is not told again as one of many.
            found = seen(self._read, table, MANY, limit) | seen(self._read, table, raw, limit)
            return tuple(
                Sighting(self._journal_row(row), SIGHTS[sight])
                for decision, sight in sorted(found.items(), reverse=True)[:limit]
                for row in self._read.all(f"{JOURNAL} WHERE sequence = ?", decision)
            )

    async def workflows(self, before: str, limit: int) -> Sequence[WorkflowState]:
        """Workflows with a lower id, the newest first."""
        sql = f"{WORKFLOWS} WHERE ?1 = '' OR id < ?1 ORDER BY id DESC LIMIT ?2"
        return self._found(workflow, sql, before, limit)

    async def latest(self, before: int, limit: int) -> Sequence[JournalRow]:
        """Decisions of an earlier time, the newest first."""
        sql = f"{JOURNAL} WHERE kind = 'decision' AND (?1 = 0 OR time < ?1) ORDER BY sequence DESC LIMIT ?2"
        return self._found(self._journal_row, sql, before, limit)

    async def burned(self, row: BudgetRow) -> Sequence[Burn]:
        """What was spent in a row, hour by hour."""
        return self._found(lambda burn: Burn(*burn), _BURNED, row.budget, row.scope, row.start, row.end)

    async def journal(self, after: int, limit: int) -> Sequence[JournalRow]:
        """Records with a later sequence, in order."""
        return self._found(self._journal_row, f"{JOURNAL} WHERE sequence > ? ORDER BY sequence LIMIT ?", after, limit)

    async def checkpoints(self) -> Sequence[CheckpointRow]:
        """All signed heads, oldest first."""
        return self._found(lambda row: checkpoint_row(self._log, row), f"{CHECKPOINTS} ORDER BY size")

    def _workflow(self, id: str) -> WorkflowState | None:
        return self._first(workflow, f"{WORKFLOWS} WHERE id = ?", id)

    def _labels(self, query: FactsQuery) -> Session:
        shares = [{label: (source,)} for label, source in self._read.all(_SHARE, query.workflow, query.subject)]
        if query.isolation == "workflow":
            return join(shares)
        return join([self._session(query.subject), *shares])

    def _session(self, subject: str) -> dict[str, tuple[str, ...]]:
        """Hops from one label to the next in the index, so that it costs the labels, not the runs behind them."""
        session: dict[str, tuple[str, ...]] = {}
        label: str | None = ""
        while (label := self._read.value(_NEXT_LABEL, subject, label)) is not None:
            # One more than are told: a share may begin with a label that came without a source.
            session[label] = tuple(source for (source,) in self._read.all(_SOURCES, subject, label, MAX_SOURCES + 1))
        return session

    def _room(self, row: BudgetRow) -> BudgetRoom:
        found = self._read.one(_ROOM, row.budget, row.scope, row.start, row.end)
        if found is None:
            return BudgetRoom(row, row.limit, 0, 0)
        adjusted, spent, held = found[5:]
        return BudgetRoom(row, row.limit + adjusted, spent, held)

    def _journal_row(self, row: Row) -> JournalRow:
        return journal_row(self._log, row)

    def _first(self, read: Callable[[Row], T], sql: str, *values: object) -> T | None:
        row = self._read.one(sql, *values)
        return read(row) if row else None

    def _found(self, read: Callable[[Row], T], sql: str, *values: object) -> tuple[T, ...]:
        return tuple(map(read, self._read.all(sql, *values)))

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._read.all("BEGIN")
        try:
            yield
        finally:
            self._read.all("COMMIT")
