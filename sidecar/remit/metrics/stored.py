"""What lives in the store: told by one kind of member alone, so that sums are true."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from remit.core.approval import Approval, State
from remit.core.catalogue import Budget, Catalogue
from remit.core.errors import StoreUnavailable
from remit.core.model import HALT_SCOPES, BudgetRoom, BudgetRow, Halt
from remit.core.money import NANOS
from remit.core.window import window_at
from remit.metrics.vocabulary import OTHER, Vocabulary
from remit.ports import ApprovalsQuery, Clock, SpendRow, Store

MAX_HELD = 10_000
"""Reservations, and as many claims and approvals, that one scrape looks at to count them."""
APPROVALS_AT_ONCE = 500
"""They carry what was asked for: a scrape reads them page by page."""

UNRESOLVED_NANOS = 7 * 86_400 * NANOS
"""How long what lapsed without a report is told of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the store said, at one scrape."""

    spending: Sequence[SpendRow]
    rooms: Sequence[BudgetRoom]
    halts: Sequence[Halt]
    approvals: Mapping[str, int]
    """Pending ones, by who is asked now."""
    waiting: Mapping[tuple[str, str], float]
    """For how long the oldest of them has waited, by who is asked now and the team of whoever asks."""
    claims: int
    unreported: Mapping[str, int]
    overdue: Mapping[str, float]
    """For how long the oldest of them has been due, by agent."""
    checkpoint_age: float | None


class StoreMetrics(Collector):
    """What lives in the store, read at each scrape; nothing of it where the store cannot be read."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        words: Vocabulary,
        *,
        catalogue: Callable[[], Catalogue],
        down: Callable[[], None],
    ) -> None:
        self._store, self._clock, self._words = store, clock, words
        self._catalogue, self._down = catalogue, down
        self._snapshot: _Snapshot | None = None
        self._shown: dict[tuple[str, ...], int] = {}

    async def read(self) -> None:
        """Take a new snapshot."""
        self._snapshot = None
        try:
            self._snapshot = await self._read()
        except StoreUnavailable as error:
            self._down()
            _log.warning("the store's metrics cannot be read: %s", error)

    async def _read(self) -> _Snapshot:
        store, now = self._store, self._clock.now()
        unreported = await store.unresolved(now - UNRESOLVED_NANOS, MAX_HELD)
        pending = await self._pending()
        waiting: dict[tuple[str, str], float] = {}
        for queue, team, since in pending:
            waiting[queue, team] = max(waiting.get((queue, team), 0), (now - since) / NANOS)
        overdue: dict[str, float] = {}
        for each in unreported:
            agent = self._words.fixed("agent", each.subject)
            overdue[agent] = max(overdue.get(agent, 0), (now - each.deadline) / NANOS)
        signed = store.checkpoint
        return _Snapshot(
            spending=await store.spending(),
            rooms=await self._rooms(now),
            halts=await store.halts(),
            approvals=Tally(queue for queue, *_ in pending),
            waiting=waiting,
            claims=len(await store.claims(now, MAX_HELD)),
            unreported=Tally(each.subject for each in unreported),
            overdue=overdue,
            checkpoint_age=(now - signed.time) / NANOS if signed else None,
        )

    async def _pending(self) -> Sequence[tuple[str, str, int]]:
        """Of each that waits: who is asked, the team of whoever asks, since when."""
        found: list[tuple[str, str, int]] = []
        query = ApprovalsQuery(states=(State.PENDING,), limit=APPROVALS_AT_ONCE)
        while len(found) < MAX_HELD:
            page = await self._store.approvals(query)
            found += ((self._queue(each), self._words.fixed("team", each.team), each.time) for each in page)
            if len(page) < query.limit:
                break
            query = replace(query, before=page[-1].id)
        return found

    def _queue(self, approval: Approval) -> str:
        """Who is asked now, as a label; people by their roles alone."""
        if approval.addressee in self._catalogue().people:
            return OTHER
        return self._words.fixed("queue", approval.queue)

    async def _rooms(self, now: int) -> Sequence[BudgetRoom]:
        """What was used, and the budgets in all that nobody has used yet: their limits are worth an alert too."""
        used = await self._store.used_rows(now)
        seen = {room.row.budget for room in used}
        idle = [
            _row(name, budget, now)
            for name, budget in self._catalogue().budgets.items()
            if budget.per == "none" and name not in seen
        ]
        return [*used, *await self._store.rooms(idle)]

    def collect(self) -> Iterator[Any]:
        """The snapshot as metrics."""
        if self._snapshot is None:
            return
        yield from self._spent(self._snapshot.spending)
        yield from self._budgets(self._snapshot.rooms)
        yield self._halted(self._snapshot.halts)
        yield from self._waiting(self._snapshot)
        yield from self._unreported(self._snapshot)
        if self._snapshot.checkpoint_age is not None:
            text = "How old the journal's last signed checkpoint is."
            yield GaugeMetricFamily("remit_checkpoint_age_seconds", text, value=self._snapshot.checkpoint_age)

    def _spent(self, rows: Sequence[SpendRow]) -> Iterator[Any]:
        """Totals since the store began.

        A late settlement below what was presumed lowers a total, and a counter that falls would be taken for one
        that began anew: what was shown stays until the true total has caught up.
        """
        words, currency = self._words, self._catalogue().currency
        cost: Tally[tuple[str, ...]] = Tally()
        usage: Tally[tuple[str, ...]] = Tally()
        overruns = 0
        for row in rows:
            who: tuple[str, ...] = (
                words.fixed("agent", row.subject),
                words.fixed("service", row.service),
                words.fixed("variant", row.variant),
                words.fixed("owner", row.owner),
                currency,
            )
            cost[who] += row.cost
            overruns += row.overrun
            for unit, quantity in row.usage.items():
                usage[(*who, words.fixed("unit", unit))] += quantity
        labels = ["agent", "service", "variant", "owner", "currency"]
        costs = CounterMetricFamily("remit_cost", "What was spent for good, in the currency's units.", labels=labels)
        for whose, nanos in cost.items():
            costs.add_metric(whose, self._risen(("cost", *whose), nanos) / NANOS)
        used = CounterMetricFamily("remit_usage", "What was used, per unit.", labels=[*labels, "unit"])
        for what, quantity in usage.items():
            used.add_metric(what, self._risen(("usage", *what), quantity))
        yield costs
        yield used
        text = "What real costs were above what was reserved for them, in the currency's units."
        yield CounterMetricFamily("remit_overruns", text, value=self._risen(("overruns",), overruns) / NANOS)

    def _budgets(self, rooms: Sequence[BudgetRoom]) -> Iterator[Any]:
        """Budgets that are counted per agent or workflow are summed over those that used them."""
        labels = ["budget", "currency"]
        limit = GaugeMetricFamily("remit_budget_limit", "The limits, adjustments included.", labels=labels)
        spent = GaugeMetricFamily("remit_budget_spent", "What was spent for good in the window.", labels=labels)
        held = GaugeMetricFamily("remit_budget_held", "What is set aside.", labels=labels)
        start = GaugeMetricFamily("remit_budget_window_start_seconds", "When the window began.", labels=labels)
        full = GaugeMetricFamily(
            "remit_budget_exhausted", "How many of its rows have less than 1 % left.", labels=labels
        )
        end = GaugeMetricFamily("remit_budget_window_end_seconds", "When it ends; absent for never.", labels=labels)
        by_budget: dict[str, list[BudgetRoom]] = {}
        for room in rooms:
            by_budget.setdefault(self._words.fixed("budget", room.row.budget), []).append(room)
        for name, group in by_budget.items():
            who = [name, self._catalogue().currency]
            limit.add_metric(who, sum(each.limit for each in group) / NANOS)
            spent.add_metric(who, sum(each.spent for each in group) / NANOS)
            held.add_metric(who, sum(each.held for each in group) / NANOS)
            full.add_metric(who, sum(_exhausted(each) for each in group))
            start.add_metric(who, min(each.row.start for each in group) / NANOS)
            if all(each.row.end for each in group):
                end.add_metric(who, max(each.row.end for each in group) / NANOS)
        yield from (limit, spent, held, full, start, end)

    def _halted(self, halts: Sequence[Halt]) -> Any:
        family = GaugeMetricFamily("remit_halted", "Halts in force.", labels=["scope"])
        count = Tally(each.scope for each in halts)
        for scope in HALT_SCOPES:
            family.add_metric([scope], count[scope])
        return family

    def _waiting(self, snapshot: _Snapshot) -> Iterator[Any]:
        family = GaugeMetricFamily("remit_approvals_pending", "Approvals that wait, by who is asked.", labels=["queue"])
        for queue, number in snapshot.approvals.items():
            family.add_metric([queue], number)
        yield family
        text = "How long the oldest approval that waits has waited; 0 where none does."
        yield GaugeMetricFamily(
            "remit_approval_oldest_age_seconds", text, value=max(snapshot.waiting.values(), default=0)
        )
        text = "The same by who is asked, and the team of the agent that asks."
        family = GaugeMetricFamily("remit_approval_waiting_seconds", text, labels=["queue", "team"])
        for who, seconds in snapshot.waiting.items():
            family.add_metric(who, seconds)
        yield family
        yield GaugeMetricFamily("remit_claims_held", "Claims that are held.", value=snapshot.claims)

    def _unreported(self, snapshot: _Snapshot) -> Iterator[Any]:
        text = "Calls that were allowed, and whose end nobody has reported: held, or lapsed within seven days."
        family = GaugeMetricFamily("remit_unreported_effects", text, labels=["agent"])
        count: Tally[str] = Tally()
        for subject, number in snapshot.unreported.items():
            count[self._words.fixed("agent", subject)] += number
        for agent, number in count.items():
            family.add_metric([agent], number)
        yield family
        text = "For how long the oldest of them has been due; 0 where none is."
        oldest = max(snapshot.overdue.values(), default=0)
        yield GaugeMetricFamily("remit_unreported_effect_oldest_age_seconds", text, value=oldest)
        text = "The same by agent."
        family = GaugeMetricFamily("remit_unreported_overdue_seconds", text, labels=["agent"])
        for agent, seconds in snapshot.overdue.items():
            family.add_metric([agent], seconds)
        yield family

    def _risen(self, series: tuple[str, ...], value: int) -> int:
        self._shown[series] = value = max(value, self._shown.get(series, 0))
        return value


def _exhausted(room: BudgetRoom) -> bool:
    return (room.limit - room.spent - room.held) * 100 < room.limit


def _row(name: str, budget: Budget, now: int) -> BudgetRow:
    window = window_at(budget.window, budget.zone, now)
    return BudgetRow(name, "", window.start, window.end, budget.limit)
