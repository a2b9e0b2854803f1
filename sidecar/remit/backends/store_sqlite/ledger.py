"""Money: budgets' rows, reservations, and what was spent by whom. Inside the caller's savepoint.

A row has room if spent + held + the amount ≤ its limit + its adjustments. The guard stands in the WHERE of the
statement that takes the room, so that no two reservations can both see it.
"""

from __future__ import annotations

import apsw
import orjson

from remit.backends.store_sqlite.database import Database, Row
from remit.backends.store_sqlite.refusal import Refusal
from remit.core.effect import AdjustBudget, EndReservation, LapseSlice, ProlongReservation, Reserve
from remit.core.errors import BadRequest, IllegalTransition, NotFound, Violation
from remit.core.model import BudgetRow
from remit.core.reason import Reason
from remit.core.reservation import MAX_NANOS, MAX_TOTAL, State, check_amount, end, hour, prolonged

_HOLD = """
    UPDATE budget SET held = held + ?5, limit_nanos = ?6
    WHERE budget = ?1 AND scope = ?2 AND start_ns = ?3 AND end_ns = ?4
      AND (?5 = 0 OR spent + held + ?5 <= ?6 + adjusted)
    RETURNING id
"""
_ADD_ROW = """
    INSERT INTO budget (budget, scope, start_ns, end_ns, limit_nanos) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_ADJUST = """
    INSERT INTO budget (budget, scope, start_ns, end_ns, limit_nanos, adjusted) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET adjusted = adjusted + excluded.adjusted, limit_nanos = excluded.limit_nanos
"""
_RESERVE = "INSERT INTO reservation VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, 'held', '', ?)"
_FIND = """
    SELECT state, amount, deadline, budgets, subject, service, variant, owner FROM reservation WHERE decision = ?
"""
_END = "UPDATE reservation SET state = ?, spent = ?, report_digest = ? WHERE decision = ?"
_BOOK = "UPDATE budget SET held = held + ?, spent = max(0, min(spent + ?, ?)) WHERE id = ?"
_BURN = """
    INSERT INTO burn VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET spent = max(-?4, min(spent + excluded.spent, ?4))
"""
_SPEND = """
    INSERT INTO spending VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET cost = min(cost + excluded.cost, ?7), overrun = min(overrun + excluded.overrun, ?7)
"""
_CORRECT = """
    UPDATE spending SET cost = max(0, min(cost + ?5, ?7)), overrun = min(overrun + ?6, ?7)
    WHERE subject = ?1 AND service = ?2 AND variant = ?3 AND owner = ?4
"""
_USE = """
    INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET quantity = min(quantity + excluded.quantity, ?7)
"""


class Ledger:
    """Performs the effects on money. `now` is the record's time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def reserve(self, wanted: Reserve, now: int) -> None:
        """Hold the amount in every row. Raises Refusal naming the first row without room, BadRequest."""
        amount = check_amount("amount", wanted.amount)
        budgets = [self._hold(row, amount) for row in wanted.rows]
        try:
            self._db.do(
                _RESERVE,
                wanted.decision,
                wanted.subject,
                wanted.workflow,
                wanted.service,
                wanted.variant,
                wanted.owner,
                amount,
                wanted.deadline,
                orjson.dumps(budgets).decode(),
            )
        except apsw.ConstraintError as error:
            raise IllegalTransition(f"decision {wanted.decision} has reserved before") from error

    def end(self, ended: EndReservation, now: int) -> None:
        """Settle, void or lapse, in the rows in which it was held. Raises NotFound, IllegalTransition, BadRequest."""
        state, amount, deadline, budgets, *whose = self._find(ended.decision)
        ending = end(state, ended.how, amount=amount, cost=ended.cost, deadline=deadline, now=now)
        for budget in orjson.loads(budgets):
            self._db.do(_BOOK, ending.held, ending.spent, MAX_TOTAL, budget)
            if ending.spent:
                self._db.do(_BURN, budget, hour(now), ending.spent, MAX_TOTAL)
        self._db.do(_END, ended.how, ending.total, ended.digest, ended.decision)
        if ended.how != State.VOIDED:
            correcting = state == State.LAPSED  # its totals exist, and may fall
            self._db.do(_CORRECT if correcting else _SPEND, *whose, ending.spent, ending.overrun, MAX_TOTAL)
            for unit, quantity in ended.usage.items():
                self._db.do(_USE, *whose, unit, quantity, MAX_TOTAL)

    def prolong(self, progress: ProlongReservation, now: int) -> None:
        """Move a deadline on. Raises NotFound, IllegalTransition."""
        state, _, deadline, *_ = self._find(progress.decision)
        later = prolonged(state, deadline, progress.deadline)
        self._db.do("UPDATE reservation SET deadline = ? WHERE decision = ?", later, progress.decision)

    def adjust(self, adjustment: AdjustBudget, now: int) -> None:
        """Move a row's limit. Raises BadRequest."""
        if abs(adjustment.delta) > MAX_NANOS:
            raise BadRequest(Violation("delta", f"at most {MAX_NANOS} nanos"))
        self._db.do(_ADJUST, *adjustment.row.key, adjustment.row.limit, adjustment.delta)

    def lapse_slice(self, lapse: LapseSlice, now: int) -> None:
        """There are none: nobody else writes to this file. Raises IllegalTransition."""
        raise IllegalTransition(f"log {lapse.log} has no slice of {lapse.row.budget} here")

    def _hold(self, row: BudgetRow, amount: int) -> int:
        held = self._take(row, amount)
        if held is None and self._db.do(_ADD_ROW, *row.key, row.limit):
            held = self._take(row, amount)
        if held is None:
            raise Refusal(Reason.BUDGET_EXHAUSTED, row.budget)
        return held

    def _take(self, row: BudgetRow, amount: int) -> int | None:
        id: int | None = self._db.value(_HOLD, *row.key, amount, row.limit)
        return id

    def _find(self, decision: str) -> Row:
        row = self._db.one(_FIND, decision)
        if row is None:
            raise NotFound(f"decision {decision} has reserved nothing")
        return row
