"""Approvals and the grants that they become (`remit.core.approval`). Inside the caller's savepoint.

What an approval is, and who said what, is one document; its state, version and the rest that guards and questions need
are columns too, written together with it. Its items are rows of their own, so that a use writes its item alone, and so
that no change of the approval can lose a use: a change never writes what was used.

The file has one writer, so a guard may read first and write then. What it guards: `core.approval_guard`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

import apsw
import orjson

from remit.backends.store_sqlite.database import Database, Row
from remit.backends.store_sqlite.refusal import Refusal
from remit.core.approval import MOST_ITEMS, MOST_PENDING, Approval, Item, State, covers, from_document, to_document
from remit.core.approval_guard import check_opened, moved, same
from remit.core.canonical import encode_exact
from remit.core.effect import JoinApproval, MoveApproval, OpenApproval, UseGrant
from remit.core.errors import IllegalTransition
from remit.core.reason import Reason
from remit.core.reservation import MAX_TOTAL, check_amount
from remit.ports import ApprovalsQuery

APPROVALS = "SELECT id, document FROM approval"

# Without being told, SQLite takes the index of all that were ever of that subject, likeness or state.
_WAITING = "SELECT 1 FROM approval INDEXED BY approval_waiting WHERE alike = ? AND state = 'pending'"
_ASKED = "SELECT count(*) FROM approval INDEXED BY approval_asked WHERE subject = ? AND state = 'pending'"
_OPEN = "INSERT INTO approval VALUES (?, ?, ?, ?, ?, ?, ?)"
_MOVE = "UPDATE approval SET state = ?2, version = ?3, until = ?4, document = ?5 WHERE id = ?1"
_JOIN = """
    INSERT INTO approval_item VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, 0, ?)
    ON CONFLICT (approval, binding) DO UPDATE SET
        decision = excluded.decision, amount = excluded.amount, labels = excluded.labels, asked = asked + 1,
        shown = excluded.shown
"""
_ASKED_AGAIN = "UPDATE approval_item SET asked = asked + 1 WHERE approval = ? AND binding = ?"
_USED = """
    UPDATE approval_item SET used = used + 1, spent = min(spent + ?3, ?4) WHERE approval = ?1 AND binding = ?2
"""
_BOUND = "id IN (SELECT approval FROM approval_item WHERE binding = ?)"
_BLANK = "UPDATE approval_item SET shown = '' WHERE approval = ?"
_ERASE = "UPDATE approval_item SET shown = '' WHERE decision = ? AND shown <> ''"
_CHANGED = "UPDATE counter SET value = value + 1 WHERE name = 'approvals'"
_ITEMS = """
    SELECT binding, decision, amount, labels, shown, asked, used, spent FROM approval_item
    WHERE approval = ? ORDER BY number
"""
_DUE = f"{APPROVALS} INDEXED BY approval_due WHERE state = 'pending' AND until <= ? ORDER BY until, id LIMIT ?"
_OVER = (
    "SELECT id FROM approval INDEXED BY approval_over WHERE state <> 'pending' AND until <= ? ORDER BY until LIMIT ?"
)


class Approvals:
    """Performs the effects. `now` is the record's time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open(self, opened: OpenApproval, now: int) -> None:
        """A new request, or a grant that is offered. Raises Refusal, IllegalTransition."""
        approval = opened.approval
        check_opened(approval, now)
        if approval.state is State.PENDING:
            if self._db.one(_WAITING, approval.like):
                raise Refusal(Reason.FACTS_CHANGED, "approval")
            if self._db.value(_ASKED, approval.subject) >= MOST_PENDING:
                raise Refusal(Reason.APPROVALS_EXHAUSTED, approval.subject)
        try:
            self._db.do(_OPEN, approval.id, approval.like, approval.subject, *_standing(approval))
        except apsw.ConstraintError as error:
            raise IllegalTransition(f"approval {approval.id} was opened before") from error
        self._put(approval.id, approval.items[0])
        self._db.do(_CHANGED)

    def join(self, joined: JoinApproval, now: int) -> None:
        """A like hold. Raises Refusal."""
        approval = self._find(joined.id)
        if approval is None or approval.state is not State.PENDING or approval.deadline <= now:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        there = approval.item(joined.item.binding)
        if joined.same:
            if not same(there, joined.item):
                raise Refusal(Reason.FACTS_CHANGED, "approval")
            self._db.do(_ASKED_AGAIN, approval.id, joined.item.binding)
            return
        if approval.version != joined.version:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        if there is None and len(approval.items) >= MOST_ITEMS:
            raise Refusal(Reason.APPROVALS_EXHAUSTED, approval.id)
        self._put(approval.id, joined.item)
        self._write(replace(approval, version=approval.version + 1))

    def move(self, move: MoveApproval, now: int) -> None:
        """Somebody was heard, or time is over. Raises Refusal, IllegalTransition."""
        stored = self._find(move.approval.id)
        if stored is None or stored.version + 1 != move.approval.version:
            raise Refusal(Reason.FACTS_CHANGED, "approval")
        after = moved(stored, move.approval, now)
        if after.items != stored.items:
            self._db.do(_BLANK, after.id)
        self._write(after)

    def use(self, use: UseGrant, now: int) -> None:
        """One use of a grant. Raises Refusal, BadRequest."""
        amount = check_amount("amount", use.amount)
        grant = self._find(use.id)
        # Under which labels it is used is a version of the commit's.
        if grant is None or not covers(grant, use.binding, labels=(), amount=amount, now=now):
            raise Refusal(Reason.FACTS_CHANGED, "grant")
        self._db.do(_USED, use.id, use.binding, amount, MAX_TOTAL)

    def erase(self, decision: str) -> None:
        """Nothing is left to read of what a decision asked for."""
        self._db.do(_ERASE, decision)

    def prune(self, before: int, limit: int) -> int:
        """Forget grants that have expired, and what has ended, since; how many. What waits is told to be over first."""
        ids = [id for (id,) in self._db.all(_OVER, before, limit)]
        for id in ids:
            self._db.do("DELETE FROM approval_item WHERE approval = ?", id)
            self._db.do("DELETE FROM approval WHERE id = ?", id)
        return len(ids)

    def _find(self, id: str) -> Approval | None:
        return next(iter(approvals(self._db, ApprovalsQuery(ids=(id,)))), None)

    def _put(self, id: str, item: Item) -> None:
        labels = orjson.dumps(item.labels).decode()
        self._db.do(_JOIN, id, item.binding, item.decision, item.amount, labels, item.asked, item.shown)

    def _write(self, approval: Approval) -> None:
        self._db.do(_MOVE, approval.id, *_standing(approval))
        self._db.do(_CHANGED)


def approvals(db: Database, query: ApprovalsQuery) -> Sequence[Approval]:
    """Those that are asked for, the newest first. The caller has a snapshot."""
    found: dict[str, str] = {}
    for where, values in _walks(query):
        found.update(db.all(f"{APPROVALS} WHERE {where} ORDER BY id DESC LIMIT ?", *values, query.limit))
    newest = sorted(found.items(), reverse=True)[: query.limit]
    return tuple(_approval(db, row) for row in newest)


def due_approvals(db: Database, now: int, limit: int) -> Sequence[Approval]:
    """Pending ones whose deadline has passed, oldest first. The caller has a snapshot."""
    return tuple(_approval(db, row) for row in db.all(_DUE, now, limit))


def _walks(query: ApprovalsQuery) -> Iterator[tuple[str, Sequence[object]]]:
    """One walk through an index for each id, binding, likeness or state: together they have the newest.

    What else is asked for is looked at on the way; the `+` keeps SQLite from choosing its index instead.
    """
    parts: list[tuple[str, Sequence[object]]] = [
        ("id", query.ids),
        ("alike", query.likes),
        ("subject", (query.subject,) if query.subject else ()),
        ("state", [each.value for each in query.states]),
    ]
    said = [each for each in parts if each[1]]
    walked, *others = [("", query.bindings), *said] if query.bindings else said or [("", ())]
    rest = [(f"+{column} IN ({_places(values)})", values) for column, values in others]
    if query.before:
        rest.append(("id < ?", (query.before,)))
    key = f"{walked[0]} = ?" if walked[0] else _BOUND
    keys: list[tuple[str, Sequence[object]]] = [(key, (value,)) for value in walked[1]]
    for each in keys or [("true", ())]:
        conditions = [each, *rest]
        yield " AND ".join(sql for sql, _ in conditions), [each for _, values in conditions for each in values]


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _approval(db: Database, row: Row) -> Approval:
    id, document = row
    items = (
        Item(binding, decision, amount, tuple(orjson.loads(labels)), *rest)
        for binding, decision, amount, labels, *rest in db.all(_ITEMS, id)
    )
    return from_document(id, json.loads(document, parse_float=Decimal), tuple(items))


def _standing(approval: Approval) -> tuple[object, ...]:
    """state, version, until and document, which says the same."""
    until = {State.PENDING: approval.deadline, State.APPROVED: approval.expires}.get(approval.state, approval.ended)
    return approval.state.value, approval.version, until, encode_exact(to_document(approval)).decode()
