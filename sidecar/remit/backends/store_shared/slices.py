"""Which slices of budgets a sidecar has: taken before they are needed, given back when they are wanted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from remit.backends.store_shared.effects import row_json
from remit.backends.store_shared.local import LocalStore
from remit.backends.store_shared.mirror import Mirror
from remit.backends.store_shared.paces import Paces
from remit.backends.store_shared.shipping import Calls
from remit.backends.store_shared.term import Term
from remit.core.allotment import runs_low, slice_of, too_much
from remit.core.canonical import canonical
from remit.core.effect import AdjustBudget, Commit, Record
from remit.core.model import BudgetRow, RowKey
from remit.core.money import decimal_text
from remit.ports import Clock, Ids

AGAIN_SECONDS = 0.25
"""Before a row is asked for again of which nothing was to be had."""

AWAY_SECONDS = 2.0
"""How long the ledger itself is asked where others wanted a slice back."""

IDLE_SECONDS = 30.0
"""How long a slice waits for an agent that thinks; whoever needs the money has it back at once anyway."""

AT_ONCE = 64
"""Rows in one round trip."""


class Slices:
    """The slices of a term; `begin_anew` where another begins."""

    def __init__(
        self,
        local: LocalStore,
        mirror: Mirror,
        term: Term,
        calls: Calls,
        *,
        clock: Clock,
        ids: Ids,
        monotonic: Callable[[], float],
    ) -> None:
        self._local, self._mirror, self._term, self._calls = local, mirror, term, calls
        self._clock, self._ids, self._monotonic = clock, ids, monotonic
        self._paces = Paces(monotonic)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Nothing is allotted."""
        self._have: dict[RowKey, BudgetRow] = {}
        self._wanted: dict[RowKey, BudgetRow] = {}
        self._not_before: dict[RowKey, float] = {}
        self._recalled: dict[RowKey, BudgetRow] = {}

    def cover(self, rows: Iterable[BudgetRow]) -> bool:
        """Whether there is a slice of each row; whether it has room is the local ledger's to say."""
        return all(row.key in self._have for row in rows)

    def spent(self, rows: Iterable[BudgetRow], amount: int) -> bool:
        """So much was reserved locally; whether more is wanted by now."""
        low = False
        for row in rows:
            self._paces.note(row, amount)
            largest, pace = self._paces.of(row)
            if runs_low(self._local.left(row), amount=largest, pace=pace):
                low |= self.want(row)
        return low

    def missed(self, rows: Iterable[BudgetRow], amount: int) -> bool:
        """So much was reserved in the shared ledger for want of slices; whether some are wanted now."""
        wanted = False
        for row in rows:
            self._paces.note(row, amount)
            wanted |= self.want(row)
        return wanted

    def want(self, row: BudgetRow) -> bool:
        """Take a slice at the next turn, unless it was tried just now."""
        key = row.key
        if self._not_before.get(key, 0.0) > self._monotonic():
            return False
        self._wanted[key] = row
        return True

    async def turn(self) -> None:
        """Give back what others want or nobody needs, and take what is wanted. Raises StoreUnavailable."""
        await self._give_recalled()
        await self._give_idle()
        if self._wanted:
            await self._take()

    async def give_up(self, budget: str) -> bool:
        """Give back every slice of a budget, for one that the shared ledger refused; whether there was anything."""
        given = 0
        for key, row in tuple(self._have.items()):
            if row.budget == budget:
                self._stay_away(key, row)
                given += await self._local.give_back(row, 0, self._recorder(row))
        return given > 0

    def _stay_away(self, key: RowKey, row: BudgetRow) -> None:
        """Leave a row to the shared ledger for a while; what ends meanwhile makes room there too."""
        self._recalled[key] = row
        self._have.pop(key, None)
        self._wanted.pop(key, None)
        self._not_before[key] = self._monotonic() + AWAY_SECONDS

    async def _give_recalled(self) -> None:
        for row in self._term.rows:
            self._stay_away(row.key, row)
        for key, row in tuple(self._recalled.items()):
            if self._not_before.get(key, 0.0) <= self._monotonic():
                del self._recalled[key]
            elif self._local.left(row) > 0:
                await self._local.give_back(row, 0, self._recorder(row))

    async def _give_idle(self) -> None:
        now = self._clock.now()
        for key, row in tuple(self._have.items()):
            over = row.end != 0 and row.end <= now
            largest, pace = self._paces.of(row)
            left = self._local.left(row)
            if over or self._paces.idle_seconds(row) > IDLE_SECONDS:
                if left > 0:
                    await self._local.give_back(row, 0, self._recorder(row))
                del self._have[key]
            elif (spare := too_much(left, amount=largest, pace=pace)) > 0:
                await self._local.give_back(row, left - spare, self._recorder(row))

    async def _take(self) -> None:
        chosen = [self._wanted.pop(key) for key in tuple(self._wanted)[:AT_ONCE]]
        sized = [(row, size) for row in chosen if (size := self._size(row)) > 0]
        for row in chosen:
            self._not_before[row.key] = self._monotonic() + AGAIN_SECONDS
        if not sized or not self._term.live:
            return
        asked = [{**row_json(row), "amount": size} for row, size in sized]
        try:
            answers = await self._calls.call("take_slices", {"log": self._local.log, "rows": asked})
        except BaseException:
            # Perhaps they were taken: only the end of a term gives back what nobody knows of.
            self._term.lose()
            raise
        for (row, _), answer in zip(sized, answers, strict=True):
            granted = int(answer["granted"])
            if granted > 0:
                record = self._record(row, {"taken": decimal_text(granted)})
                await self._local.commit(Commit(record, (AdjustBudget(row, granted),)))
                self._have[row.key] = row
                self._not_before.pop(row.key, None)

    def _size(self, row: BudgetRow) -> int:
        known = self._mirror.room(row)
        if known is None:
            return 0
        room = known.limit - known.row.limit + row.limit - known.spent - known.held
        largest, pace = self._paces.of(row)
        # A row of one agent or workflow is nobody else's but by chance: its whole half may be taken.
        members = 1 if row.scope else self._term.members
        return slice_of(room, amount=largest, pace=pace, members=members, left=self._local.left(row))

    def _recorder(self, row: BudgetRow) -> Callable[[int], Record]:
        return lambda amount: self._record(row, {"given": decimal_text(amount)})

    def _record(self, row: BudgetRow, what: dict[str, str]) -> Record:
        body = {"budget": row.budget, "scope": row.scope, "start": str(row.start), "end": str(row.end), **what}
        return Record(
            kind="allotment",
            id=self._ids.new("r"),
            time=self._clock.now(),
            subject="",
            workflow="",
            parent="",
            ref="",
            body=canonical(body),
            salt=self._ids.salt(),
        )
