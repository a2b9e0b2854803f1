"""Every metric's name and labels, and wrappers around ports so that the inside never mentions metrics.

Label values are names that an operator wrote: agents, services, datasets, labels and budgets come from the
catalogue, policies and codes from the bundle's rules. Anything else is `other`, and so is what comes after the
200th value of a label; `remit_label_overflow_total` counts both. So no caller can make series.

Money leaves as a float here and nowhere else, because Prometheus has no other number.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from remit.core.answer import Answer
from remit.core.approval import Approval, State
from remit.core.catalogue import Budget, Catalogue
from remit.core.decision import Effect, Verdict
from remit.core.effect import Commit, Committed, Refused
from remit.core.errors import PolicyFailure, StoreUnavailable
from remit.core.model import HALT_SCOPES, ActionName, BudgetRoom, BudgetRow, Halt, Subject
from remit.core.money import NANOS
from remit.core.reason import Reason
from remit.core.view.model import TableView
from remit.core.window import CAP, window_at
from remit.ports import ApprovalsQuery, Clock, Pdp, Reservation, SpendRow, Store

MAX_VALUES = 200
OTHER = "other"
STAGES = ("identify", "facts", "view", "pdp", "store", "total")
MAX_HELD = 10_000
"""Reservations, and as many claims and approvals, that one scrape looks at to count them."""
APPROVALS_AT_ONCE = 500
"""They carry what was asked for: a scrape reads them page by page."""

UNRESOLVED_NANOS = 7 * 86_400 * NANOS
"""How long what lapsed without a report is told of."""

CONFLICTS = (Reason.CLAIM_HELD, Reason.CLAIM_LOST, Reason.CONFLICT_DETECTED)
FAILURES = ("loop", "failed", "denials", "errors", "spending", "vanished")
ANSWERS = ("retry", "compensate", "escalate", "halt")

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_UPSTREAM_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_log = logging.getLogger(__name__)


class Vocabulary:
    """The values that each label may take."""

    def __init__(self, overflow: Counter) -> None:
        self._overflow = overflow
        self._known: dict[str, set[str]] = {}

    def fix(self, label: str, values: Iterable[str]) -> None:
        """These and no others; of too many, the first in order."""
        self._known[label] = set(sorted({*values})[:MAX_VALUES]) | {""}

    def fixed(self, label: str, value: str) -> str:
        """The value if it is known, else `other`."""
        if value in self._known.get(label, ()):
            return value
        self._overflow.inc()
        return OTHER

    def learned(self, label: str, value: str) -> str:
        """The value if it is among the first 200 that came: for what only an operator's rules can say."""
        known = self._known.setdefault(label, set())
        if value not in known:
            if len(known) >= MAX_VALUES:
                self._overflow.inc()
                return OTHER
            known.add(value)
        return value


class Metrics:
    """The metrics of one sidecar, in a registry of their own. Telling never fails, and costs microseconds."""

    def __init__(self, version: str) -> None:
        # A series for every series' birthday helps nobody; the library has this switch for the process alone.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.catalogue = Catalogue(currency="")
        self._stored: StoreMetrics | None = None
        self._decisions = self._counter(
            "remit_decisions", "Decisions that were recorded.", "agent", "action", "effect", "reason", "mode"
        )
        self._hits = self._counter("remit_rule_hits", "Reasons that rules gave.", "policy", "code", "effect")
        self._identity = self._counter("remit_identity_failures", "Calls that proved no identity.", "reason")
        self._flow = self._counter("remit_flow_denials", "Labels that were kept from a sink.", "agent", "sink", "label")
        self._view_rows = self._counter("remit_view_rows", "Rows of views that agents got.", "agent", "dataset")
        self._view_masked = self._counter(
            "remit_view_masked", "Answers in which a column was masked.", "agent", "dataset", "column"
        )
        self._refused = self._counter("remit_egress_refused", "Calls that did not go out, or not on.", "reason")
        self._conflicts = self._counter(
            "remit_conflicts", "Decisions that refused what another agent stands against.", "reason"
        )
        self._failures = self._counter("remit_failures", "Failures, by what policy answered.", "kind", "answer")
        self._upstream = self._counter("remit_upstream_requests", "Answers of upstreams.", "service", "variant", "code")
        self._upstream_seconds = Histogram(
            "remit_upstream_duration_seconds",
            "How long an upstream took to begin its answer.",
            ["service"],
            buckets=_UPSTREAM_SECONDS,
            registry=self.registry,
        )
        self._overflow = self._counter("remit_label_overflow", "Label values that were counted as other.")
        self._stages = Histogram(
            "remit_decision_duration_seconds",
            "How long the stages of a decision took.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._fsync = Histogram(
            "remit_journal_fsync_seconds",
            "How long making a batch of records durable took.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._pdp_up = self._gauge("remit_pdp_up", "Whether OPA answered when it was last asked.")
        self._envoy_up = self._gauge("remit_egress_up", "Whether Envoy is running and answers; 0 where it is off.")
        self._store_up = self._gauge(
            "remit_store_up", "Whether the store answered and recorded when it was last asked to."
        )
        self._certificate = self._gauge(
            "remit_certificate_expiry_seconds", "When the certificate in force expires, since 1970.", "use"
        )
        self._policy = self._gauge("remit_policy_info", "The policy revision in force.", "revision")
        self._reload = self._gauge("remit_reload_success", "Whether the last load of catalogue and policy succeeded.")
        self._gauge("remit_build_info", "This build.", "version").labels(version).set(1)
        self._by_stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self._by_conflict = {reason.value: self._conflicts.labels(reason.value) for reason in CONFLICTS}
        self.vocabulary = Vocabulary(self._overflow)
        self.vocabulary.fix("action", ActionName)

    def know(self, catalogue: Catalogue) -> None:
        """Take the names, budgets and currency of a catalogue, from now on."""
        self.catalogue = catalogue
        for label, values in _names(catalogue).items():
            self.vocabulary.fix(label, values)

    def decided(self, subject: Subject, action: str, resource_id: str, answer: Answer) -> None:
        """A decision was made and recorded."""
        words = self.vocabulary
        effect, codes = answer.effect.value, answer.reasons
        # People are counted together: who of them did what is for the journal.
        agent = words.fixed("agent", subject.id) if subject.type == "agent" else OTHER
        reason = words.learned("code", codes[0].code) if codes else ""
        self._decisions.labels(agent, words.fixed("action", action), effect, reason, subject.mode.value).inc()
        for each in codes:
            policy, code = words.learned("policy", each.policy), words.learned("code", each.code)
            self._hits.labels(policy, code, effect).inc()
        if answer.effect is not Effect.ALLOW:
            for code in {each.code for each in codes} & self._by_conflict.keys():
                self._by_conflict[code].inc()

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a decision took so long."""
        if name in self._by_stage:
            self._by_stage[name].observe(seconds)

    def identity_failed(self, cause: str) -> None:
        """A call proved no identity; `cause` is one of a closed list."""
        self._identity.labels(cause).inc()

    def flow_denied(self, agent: str, sink: str, labels: Iterable[str]) -> None:
        """Labels were kept from a sink."""
        words = self.vocabulary
        for label in labels:
            self._flow.labels(words.fixed("agent", agent), words.fixed("sink", sink), words.fixed("label", label)).inc()

    def view_answered(self, agent: str, dataset: str, rows: int) -> None:
        """A query of a dataset was answered with so many rows."""
        words = self.vocabulary
        self._view_rows.labels(words.fixed("agent", agent), words.fixed("dataset", dataset)).inc(rows)

    def view_masked(self, agent: str, dataset: str, columns: Iterable[str]) -> None:
        """An agent does not see these columns (`table.column`), which its query names, as they are."""
        words = self.vocabulary
        who = words.fixed("agent", agent), words.fixed("dataset", dataset)
        for column in columns:
            self._view_masked.labels(*who, words.fixed("column", column)).inc()

    def failed(self, kind: str, answer: str) -> None:
        """Something failed, or went on failing, and policy's answer to that was given."""
        self._failures.labels(kind if kind in FAILURES else OTHER, answer if answer in ANSWERS else OTHER).inc()

    def egress_refused(self, reason: str) -> None:
        """A call did not go out, or its answer not on."""
        self._refused.labels(self.vocabulary.learned("code", reason)).inc()

    def upstream(self, service: str, variant: str, code: int, seconds: float) -> None:
        """An upstream began to answer, after so long."""
        words = self.vocabulary
        name, status = words.fixed("service", service), str(code) if 100 <= code < 600 else OTHER
        self._upstream.labels(name, words.fixed("variant", variant), status).inc()
        self._upstream_seconds.labels(name).observe(seconds)

    def fsynced(self, seconds: float) -> None:
        """A batch of records was made durable."""
        self._fsync.observe(seconds)

    def pdp(self, *, up: bool) -> None:
        """Whether OPA answers."""
        self._pdp_up.set(up)

    def envoy(self, *, up: bool) -> None:
        """Whether Envoy answers."""
        self._envoy_up.set(up)

    def store(self, *, up: bool) -> None:
        """Whether the store answers and records."""
        self._store_up.set(up)

    def certificate(self, use: str, expires: float) -> None:
        """When the certificate that is shown at `use` (grpc, desk, egress) expires, in seconds since 1970."""
        self._certificate.labels(use).set(expires)

    def policy(self, revision: str) -> None:
        """The revision in force; the one before it is no longer told."""
        self._policy.clear()
        self._policy.labels(revision).set(1)

    def reloaded(self, *, well: bool) -> None:
        """How a load of catalogue and policy ended."""
        self._reload.set(well)

    def expose(self, store: Store, clock: Clock) -> None:
        """Tell what lives in the store too. Only one process of an installation may, so that sums are true."""
        self._stored = StoreMetrics(store, clock, self)
        self.registry.register(self._stored)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text in the form that the scraper accepts, and its content type."""
        if self._stored is not None:
            await self._stored.read()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)


def _names(catalogue: Catalogue) -> Mapping[str, Iterable[str]]:
    services, datasets, agents = catalogue.services, catalogue.datasets, catalogue.agents
    approvals = [each.approval for service in services.values() for each in service.variants.values() if each.approval]
    roles = [role for group in (catalogue.people.values(), approvals) for each in group for role in each.roles]
    tables = [table for each in datasets.values() for table in each.tables.values()]
    statements = [statement for each in datasets.values() for statement in each.statements.values()]
    labels = [
        *(each.clearance + each.returns for each in services.values()),
        *(each.clearance + each.labels for each in datasets.values()),
        *(each.clearance for each in agents.values()),
        *(column for table in tables for column in table.columns.values()),
        *(each.labels for each in statements),
    ]
    return {
        "agent": agents,
        "queue": (*agents, *roles),
        "service": (*services, *datasets),  # a named write costs something of its dataset
        "variant": [name for each in services.values() for name in each.variants],
        "owner": [
            *(each.owner for each in services.values()),
            *(each.owner for each in datasets.values()),
            *(each.owner for each in statements),
        ],
        "dataset": datasets,
        "column": [
            f"{name}.{column}"
            for each in datasets.values()
            for name, table in each.tables.items()
            for column in table.columns
        ],
        "sink": (*services, *datasets, *agents),
        "label": [label for group in labels for label in group],
        "budget": [name + suffix for name in catalogue.budgets for suffix in ("", CAP)],
        "unit": [each.unit for each in (*catalogue.prices, *catalogue.table)],
    }


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the store said, at one scrape."""

    spending: Sequence[SpendRow]
    rooms: Sequence[BudgetRoom]
    halts: Sequence[Halt]
    approvals: Mapping[str, int]
    """Pending ones, by who is asked now."""
    approval_age: float
    claims: int
    unreported: Mapping[str, int]
    unreported_age: float
    checkpoint_age: float | None


class StoreMetrics(Collector):
    """What lives in the store, read at each scrape; nothing of it where the store cannot be read."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._snapshot: _Snapshot | None = None
        self._shown: dict[tuple[str, ...], int] = {}

    async def read(self) -> None:
        """Take a new snapshot."""
        self._snapshot = None
        try:
            self._snapshot = await self._read()
        except StoreUnavailable as error:
            self._metrics.store(up=False)
            _log.warning("the store's metrics cannot be read: %s", error)

    async def _read(self) -> _Snapshot:
        store, now = self._store, self._clock.now()
        unreported = await store.unresolved(now - UNRESOLVED_NANOS, MAX_HELD)
        queues, since = await self._pending(now)
        checkpoints = await store.checkpoints()
        return _Snapshot(
            spending=await store.spending(),
            rooms=await self._rooms(now),
            halts=await store.halts(),
            approvals=queues,
            approval_age=(now - since) / NANOS,
            claims=len(await store.claims(now, MAX_HELD)),
            unreported=Tally(each.subject for each in unreported),
            unreported_age=max([0, *(now - each.deadline for each in unreported)]) / NANOS,
            checkpoint_age=(now - checkpoints[-1].time) / NANOS if checkpoints else None,
        )

    async def _pending(self, now: int) -> tuple[Mapping[str, int], int]:
        """How many wait for whom, and since when the oldest of them does; now where none does."""
        queues: Tally[str] = Tally()
        query = ApprovalsQuery(states=(State.PENDING,), limit=APPROVALS_AT_ONCE)
        while queues.total() < MAX_HELD:
            found = await self._store.approvals(query)
            queues.update(self._queue(each) for each in found)
            now = min([now, *(each.time for each in found)])
            if len(found) < query.limit:
                break
            query = replace(query, before=found[-1].id)
        return queues, now

    def _queue(self, approval: Approval) -> str:
        """Who is asked now, as a label; people by their roles alone."""
        if approval.addressee in self._metrics.catalogue.people:
            return OTHER
        return self._metrics.vocabulary.fixed("queue", approval.queue)

    async def _rooms(self, now: int) -> Sequence[BudgetRoom]:
        """What was used, and the budgets in all that nobody has used yet: their limits are worth an alert too."""
        used = await self._store.used_rows(now)
        seen = {room.row.budget for room in used}
        idle = [
            _row(name, budget, now)
            for name, budget in self._metrics.catalogue.budgets.items()
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
        words, currency = self._metrics.vocabulary, self._metrics.catalogue.currency
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
        end = GaugeMetricFamily("remit_budget_window_end_seconds", "When it ends; absent for never.", labels=labels)
        by_budget: dict[str, list[BudgetRoom]] = {}
        for room in rooms:
            by_budget.setdefault(self._metrics.vocabulary.fixed("budget", room.row.budget), []).append(room)
        for name, group in by_budget.items():
            who = [name, self._metrics.catalogue.currency]
            limit.add_metric(who, sum(each.limit for each in group) / NANOS)
            spent.add_metric(who, sum(each.spent for each in group) / NANOS)
            held.add_metric(who, sum(each.held for each in group) / NANOS)
            start.add_metric(who, min(each.row.start for each in group) / NANOS)
            if all(each.row.end for each in group):
                end.add_metric(who, max(each.row.end for each in group) / NANOS)
        yield from (limit, spent, held, start, end)

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
        yield GaugeMetricFamily("remit_approval_oldest_age_seconds", text, value=snapshot.approval_age)
        yield GaugeMetricFamily("remit_claims_held", "Claims that are held.", value=snapshot.claims)

    def _unreported(self, snapshot: _Snapshot) -> Iterator[Any]:
        text = "Calls that were allowed, and whose end nobody has reported: held, or lapsed within seven days."
        family = GaugeMetricFamily("remit_unreported_effects", text, labels=["agent"])
        count: Tally[str] = Tally()
        for subject, number in snapshot.unreported.items():
            count[self._metrics.vocabulary.fixed("agent", subject)] += number
        for agent, number in count.items():
            family.add_metric([agent], number)
        yield family
        text = "For how long the oldest of them has been due; 0 where none is."
        yield GaugeMetricFamily("remit_unreported_effect_oldest_age_seconds", text, value=snapshot.unreported_age)

    def _risen(self, series: tuple[str, ...], value: int) -> int:
        self._shown[series] = value = max(value, self._shown.get(series, 0))
        return value


def _row(name: str, budget: Budget, now: int) -> BudgetRow:
    window = window_at(budget.window, budget.zone, now)
    return BudgetRow(name, "", window.start, window.end, budget.limit)


class MeteredPdp:
    """A Pdp that tells whether it is up. A verdict that cannot be used says nothing of that."""

    def __init__(self, pdp: Pdp, metrics: Metrics) -> None:
        self._pdp = pdp
        self._metrics = metrics

    @property
    def revision(self) -> str:
        """That of the Pdp within."""
        return self._pdp.revision

    async def ask(self, document: Mapping[str, object]) -> Verdict:
        """Ask the Pdp within."""
        with self._told():
            return await self._pdp.ask(document)

    def reads_time(self, dataset: str) -> bool:
        """What the Pdp within says."""
        return self._pdp.reads_time(dataset)

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, object]) -> Sequence[TableView]:
        """Ask the Pdp within."""
        with self._told():
            return await self._pdp.view(dataset, tables, document)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except PolicyFailure as failure:
            self._metrics.pdp(up=failure.reason is not Reason.PDP_UNAVAILABLE)
            raise
        self._metrics.pdp(up=True)


class _MeteredStore:
    """A Store that tells whether it answers and records; everything else goes straight to the one within."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._records = not store.failed
        self._answers = True
        self._tell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, commit: Commit) -> Committed | Refused:
        try:
            done = await self._store.commit(commit)
        except StoreUnavailable:
            self._records = False
            raise
        else:
            self._records = self._answers = True
        finally:
            self._tell()
        return done

    async def due(self, now: int, limit: int) -> Sequence[Reservation]:
        """Asked twice a second, whether or not anybody decides anything: so a store that is away shows at once."""
        try:
            found = await self._store.due(now, limit)
        except StoreUnavailable:
            self._answers = False
            raise
        else:
            self._answers = True  # which does not show that it can record
        finally:
            self._tell()
        return found

    def _tell(self) -> None:
        self._metrics.store(up=self._records and self._answers)


def metered_store(store: Store, metrics: Metrics) -> Store:
    """The store, telling whether it answers and records."""
    return cast(Store, _MeteredStore(store, metrics))
