"""What a sidecar decides by itself: its own log and the slices of its term, durable on its own disk before the answer.

The file is a store like the embedded one, and the ledger in it too; but a row's limit is what was allotted of it: 0,
adjusted by each slice that is taken or given back. What a record did is put beside it, in the same transaction, until
it has been shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from remit.backends.store_shared.effects import shipped
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.ledger import Ledger
from remit.backends.store_sqlite.rows import CHECKPOINTS, JOURNAL, checkpoint_row
from remit.core.effect import AdjustBudget, Commit, Committed, Record
from remit.core.model import BudgetRow
from remit.ports import CheckpointRow, JournalRow

KEPT_RECORDS = 4096
"""Shipped records that stay, so that what was just decided is found without asking the shared store."""

_OUTBOX = "CREATE TABLE IF NOT EXISTS outbox (sequence INTEGER PRIMARY KEY, effects BLOB NOT NULL) STRICT"
_LEFT = """
    SELECT adjusted - spent - held FROM budget WHERE budget = ? AND scope = ? AND start_ns = ? AND end_ns = ?
"""
_DID = "SELECT effects FROM outbox"
_CLEAR = (
    "DELETE FROM reservation",
    "DELETE FROM budget",
    "DELETE FROM burn",
    "DELETE FROM spending",
    "DELETE FROM usage",
    "DELETE FROM kept",
)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Records that follow each other, with what they did, and the heads signed over them."""

    records: Sequence[JournalRow]
    effects: Sequence[dict[str, Any]]
    checkpoints: Sequence[CheckpointRow]


class AllottedLedger(Ledger):
    """A row's limit is nothing but its slices."""

    def adjust(self, adjustment: AdjustBudget, now: int) -> None:
        """Take a slice, or give some of it back."""
        super().adjust(replace(adjustment, row=replace(adjustment.row, limit=0)), now)

    def _take(self, row: BudgetRow, amount: int) -> int | None:
        return super()._take(replace(row, limit=0), amount)


class LocalStore(SqliteStore):
    """The store of one term. `guard` is asked as each commit is performed, whether it may be decided here."""

    ledger_type = AllottedLedger
    guard: Callable[[Commit], None]

    def _begin(self) -> None:
        super()._begin()
        self._db.do(_OUTBOX)

    def _perform(self, commit: Commit) -> Committed:
        self.guard(commit)
        # What it was judged on is the guard's to compare: nothing of that is in this file.
        committed = super()._perform(replace(commit, versions=None))
        effects = shipped(commit.effects, commit.record.time)
        if effects:
            self._db.do("INSERT INTO outbox VALUES (?, ?)", committed.sequence, orjson.dumps(effects))
        return committed

    async def settled(self) -> None:
        """Everything that was asked for before is durable, or was refused, when this returns."""
        await self._group.submit(lambda: None)

    def parcel(self, after: int, head: int, limit: int) -> Parcel:
        """What comes next to be shipped: records after a sequence, and heads above a size that they reach."""
        with self._snapshot():
            found = self._read.all(f"{JOURNAL} WHERE sequence > ? ORDER BY sequence LIMIT ?", after, limit)
            records = tuple(map(self._journal_row, found))
            upto = records[-1].sequence if records else after
            did = self._read.all(f"{_DID} WHERE sequence > ? AND sequence <= ? ORDER BY sequence", after, upto)
            heads = self._read.all(f"{CHECKPOINTS} WHERE size > ? AND size <= ? ORDER BY size", head, upto)
        effects = [each for (raw,) in did for each in orjson.loads(raw)]
        return Parcel(records, effects, [checkpoint_row(self.log, row) for row in heads])

    @property
    def last(self) -> int:
        """The sequence of the last durable record."""
        return self._read.value("SELECT max(sequence) FROM journal") or 0

    def first_after(self, sequence: int) -> int | None:
        """When the first record after one was made; None where there is none."""
        sql = "SELECT time FROM journal WHERE sequence > ? ORDER BY sequence LIMIT 1"
        found: int | None = self._read.value(sql, sequence)
        return found

    def left(self, row: BudgetRow) -> int:
        """What a slice has left to be reserved, in nanos; below 0 where it was overrun."""
        room = self._room(replace(row, limit=0))
        return room.limit - room.spent - room.held

    def slices(self) -> Sequence[BudgetRow]:
        """Every row of which something is allotted here."""
        sql = "SELECT budget, scope, start_ns, end_ns, 0 FROM budget WHERE adjusted > 0"
        return [BudgetRow(*row) for row in self._read.all(sql)]

    async def give_back(self, row: BudgetRow, keep: int, record: Callable[[int], Record]) -> int:
        """Give back what a slice has left beyond `keep`; how much it was. `record` makes the record of an amount."""
        return await self._group.submit(lambda: self._give_back(row, keep, record))

    def _give_back(self, row: BudgetRow, keep: int, record: Callable[[int], Record]) -> int:
        found = self._db.one(_LEFT, row.budget, row.scope, row.start, row.end)
        amount = (found[0] if found else 0) - keep
        if amount <= 0:
            return 0
        self._perform(Commit(record(amount), (AdjustBudget(row, -amount),)))
        return amount

    async def blank(self, id: str) -> None:
        """Take a record's body away here too, by an act that is journalled elsewhere."""
        await self._group.submit(lambda: self._blank(id))

    async def forget(self, upto: int) -> None:
        """Drop what was shipped, but for the newest records."""
        await self._group.submit(lambda: self._drop(upto))

    async def begin_anew(self) -> None:
        """A term has ended, and everything of it was shipped: nothing is allotted, held or kept here any more."""
        await self._group.submit(self._clear)

    def _blank(self, id: str) -> None:
        self._sign()  # so that an opening does not look for the body
        self._db.do("UPDATE journal SET body = NULL, salt = NULL WHERE id = ?", id)
        self._wal_holds_erased = True

    def _drop(self, upto: int) -> None:
        self._db.do("DELETE FROM outbox WHERE sequence <= ?", upto)
        signed = self._chain.signed.size if self._chain.signed else 0
        # What comes after the last checkpoint is what an opening checks: it stays whole.
        self._db.do("DELETE FROM journal WHERE sequence < ?", min(upto - KEPT_RECORDS, signed))
        self._db.do("DELETE FROM checkpoint WHERE size < ?", signed)

    def _clear(self) -> None:
        for statement in _CLEAR:
            self._db.do(statement)
