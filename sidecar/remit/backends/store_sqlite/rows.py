"""From the file's rows to ours.

Journal rows may come from a file that was tampered with, in which any column may hold anything. Text is read as
bytes, and what is not UTF-8, or not there, becomes surrogates, which no header that we wrote has. So verification
names the record.
"""

from __future__ import annotations

import orjson

from remit.backends.store_sqlite.database import Row
from remit.core.checkpoint import CheckpointRow
from remit.core.effect import Record
from remit.core.journal import JournalRow
from remit.ports import WorkflowState

JOURNAL = """
    SELECT sequence, time, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(subject AS BLOB), CAST(workflow AS BLOB),
           CAST(parent AS BLOB), CAST(ref AS BLOB), CAST(previous AS BLOB), CAST(hash AS BLOB),
           CAST(body_hash AS BLOB), CAST(salt AS BLOB), CAST(body AS BLOB)
    FROM journal
"""
CHECKPOINTS = "SELECT size, CAST(hash AS BLOB), time, CAST(note AS BLOB) FROM checkpoint"
BUDGETS = "SELECT budget, scope, start_ns, end_ns, limit_nanos, adjusted, spent, held FROM budget"
RESERVATIONS = """
    SELECT decision, subject, workflow, service, variant, owner, amount, spent, deadline, state, report_digest
    FROM reservation
"""
WORKFLOWS = "SELECT id, opener, purposes, agents, expires, closed_by, version FROM workflow"
HALTS = "SELECT id, scope, value, placed_by, reason, time FROM halt"


def journal_row(log: str, row: Row) -> JournalRow:
    """A row of JOURNAL."""
    sequence, time, kind, id, subject, workflow, parent, ref, previous, hash_, body_hash, salt, body = row
    record = Record(
        kind=_text(kind),
        id=_text(id),
        time=time,
        subject=_text(subject),
        workflow=_text(workflow),
        parent=_text(parent),
        ref=_text(ref),
        body=_bytes(body),
        salt=_bytes(salt),
    )
    previous, hash_, body_hash = map(_bytes, (previous, hash_, body_hash))
    return JournalRow(log, sequence, record, previous, hash_, body_hash, erased=body is None)


def checkpoint_row(log: str, row: Row) -> CheckpointRow:
    """A row of CHECKPOINTS."""
    size, hash_, time, note = row
    return CheckpointRow(log, size, hash_, time, _text(note))


def workflow(row: Row) -> WorkflowState:
    """A row of WORKFLOWS."""
    id, opener, purposes, agents, expires, closed_by, version = row
    state = "closed" if closed_by else "open"
    return WorkflowState(id, opener, _list(purposes), _list(agents), expires, state, version)


def _text(raw: object) -> str:
    return raw.decode(errors="surrogateescape") if isinstance(raw, bytes) else "\udc00"


def _bytes(raw: object) -> bytes:
    return raw if isinstance(raw, bytes) else b""


def _list(text: str) -> tuple[str, ...]:
    return tuple(orjson.loads(text))
