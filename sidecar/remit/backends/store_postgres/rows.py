"""From PostgreSQL's rows to ours.

Journal rows may come from a database that was tampered with, constraints and all: text that is not there becomes a
surrogate, which no header that we wrote has. So verification names the record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from remit.core.approval import Approval, Item, from_document
from remit.core.checkpoint import CheckpointRow
from remit.core.effect import Record
from remit.core.journal import JournalRow
from remit.core.model import BudgetRoom, BudgetRow
from remit.ports import WorkflowState

Row = Sequence[Any]

JOURNAL = """
    SELECT log, sequence, time, kind, id, subject, workflow, parent, ref, previous, hash, body_hash, salt, body
    FROM remit.journal
"""
CHECKPOINTS = "SELECT log, size, hash, time, note FROM remit.checkpoint"
BUDGETS = "SELECT budget, scope, start_ns, end_ns, limit_nanos, adjusted, spent, held FROM remit.budget"
RESERVATIONS = """
    SELECT decision, subject, workflow, service, variant, owner, amount, spent, deadline, state, report_digest
    FROM remit.reservation
"""
WORKFLOWS = "SELECT id, opener, purposes, agents, expires, closed_by, version FROM remit.workflow"
APPROVALS = """
    SELECT a.id, a.document::text, (
        SELECT coalesce(json_agg(json_build_array(
            i.binding, i.decision, i.amount, i.labels, i.shown, i.asked, i.used, i.spent) ORDER BY i.place), '[]')
        FROM remit.approval_item i WHERE i.approval = a.id)::text
    FROM remit.approval a
"""
CLAIMS = "SELECT key, subject, workflow, token, expires, time FROM remit.claim"
HALTS = "SELECT id, scope, value, placed_by, reason, time FROM remit.halt"


def journal_row(row: Row) -> JournalRow:
    """A row of JOURNAL."""
    log, sequence, time, kind, id, subject, workflow, parent, ref, previous, hash_, body_hash, salt, body = row
    record = Record(
        kind=_text(kind),
        id=_text(id),
        time=_number(time),
        subject=_text(subject),
        workflow=_text(workflow),
        parent=_text(parent),
        ref=_text(ref),
        body=_bytes(body),
        salt=_bytes(salt),
    )
    previous, hash_, body_hash = map(_bytes, (previous, hash_, body_hash))
    return JournalRow(_text(log), _number(sequence), record, previous, hash_, body_hash, erased=body is None)


def checkpoint_row(row: Row) -> CheckpointRow:
    """A row of CHECKPOINTS."""
    log, size, hash_, time, note = row
    return CheckpointRow(_text(log), _number(size), _bytes(hash_), _number(time), _text(note))


def room_of(row: BudgetRow, found: Row | None) -> BudgetRoom:
    """What is in a row that was asked for: (adjusted, spent, held, maybe idle), None where nothing was written yet."""
    adjusted, *used = found or (0, 0, 0)
    return BudgetRoom(row, row.limit + adjusted, *used)


def workflow(row: Row) -> WorkflowState:
    """A row of WORKFLOWS."""
    id, opener, purposes, agents, expires, closed_by, version = row
    state = "closed" if closed_by else "open"
    return WorkflowState(id, opener, tuple(purposes), tuple(agents), expires, state, version)


def approval(row: Row) -> Approval:
    """A row of APPROVALS."""
    id, document, items = row
    return from_document(id, json.loads(document, parse_float=Decimal), [_item(each) for each in orjson.loads(items)])


def _item(row: Row) -> Item:
    binding, decision, amount, labels, shown, asked, used, spent = row
    return Item(binding, decision, amount, tuple(labels), shown, asked, used, spent)


def _text(stored: object) -> str:
    return stored if isinstance(stored, str) else "\udc00"


def _bytes(stored: object) -> bytes:
    return stored if isinstance(stored, bytes) else b""


def _number(stored: object) -> int:
    return stored if isinstance(stored, int) else -1
