"""Every metric that a member counts itself, and where all of them are told.

Money leaves as a float here and nowhere else, because Prometheus has no other number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from remit.core.answer import Answer
from remit.core.catalogue import Catalogue
from remit.core.decision import Effect
from remit.core.model import ActionName, Subject
from remit.core.money import NANOS
from remit.core.reason import Reason
from remit.metrics.listed import CatalogueMetrics
from remit.metrics.stored import StoreMetrics
from remit.metrics.vocabulary import OTHER, Vocabulary, names_of
from remit.ports import Clock, Store

STAGES = ("identify", "facts", "view", "pdp", "store", "total")
CONFLICTS = (Reason.CLAIM_HELD, Reason.CLAIM_LOST, Reason.CONFLICT_DETECTED)
FAILURES = ("loop", "failed", "denials", "errors", "spending", "vanished")
ANSWERS = ("retry", "compensate", "escalate", "halt")

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_UPSTREAM_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The metrics of one sidecar, in a registry of their own. Telling never fails, and costs microseconds."""

    def __init__(self, version: str) -> None:
        # A series for every series' birthday helps nobody; the library has this switch for the process alone.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.catalogue = Catalogue(currency="")
        self._stored: StoreMetrics | None = None
        self.store_problem: Callable[[], str] = lambda: ""
        """Why calls would end with UNAVAILABLE for the store's sake; "" where they would not, as far as is known."""
        self._envoy_up: Gauge | None = None
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
        self._store_up = self._gauge(
            "remit_store_up", "Whether the store answered and recorded when it was last asked to."
        )
        self._policy = self._gauge("remit_policy_info", "The policy revision in force.", "revision")
        self._reload = self._gauge("remit_reload_success", "Whether the last load of catalogue and policy succeeded.")
        self._certificate = self._gauge(
            "remit_certificate_expiry_seconds", "When the certificate in force expires, since 1970.", "use"
        )
        self._unsigned = self._gauge(
            "remit_unsigned_oldest_age_seconds",
            "How long the oldest record has waited for a signature; 0 where none does.",
        )
        self._started = self._gauge("remit_start_time_seconds", "When this member started, in seconds since 1970.")
        self._gauge("remit_build_info", "This build.", "version").labels(version).set(1)
        self._by_stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self._by_conflict = {reason.value: self._conflicts.labels(reason.value) for reason in CONFLICTS}
        self.vocabulary = Vocabulary(self._overflow)
        self.vocabulary.fix("action", ActionName)

    def know(self, catalogue: Catalogue) -> None:
        """Take the names, budgets and currency of a catalogue, from now on."""
        self.catalogue = catalogue
        for label, values in names_of(catalogue).items():
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
        """Whether Envoy answers. Where there is none nothing is told: an alert on what is down must not find it."""
        if self._envoy_up is None:
            self._envoy_up = self._gauge("remit_egress_up", "Whether Envoy is running and answers.")
        self._envoy_up.set(up)

    def started(self, now: int) -> None:
        """This member starts, at a time in ns since the epoch."""
        self._started.set(now / NANOS)

    def journal(self, unsigned: Callable[[], float], unshipped: Callable[[], float] | None = None) -> None:
        """Tell for how many seconds the oldest records wait to be signed; where decisions are made ahead, shipped."""
        self._unsigned.set_function(unsigned)
        if unshipped is not None:
            text = "How long the oldest record has been on this disk alone; 0 where none is."
            self._gauge("remit_unshipped_oldest_age_seconds", text).set_function(unshipped)

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
        words = self.vocabulary
        self._stored = StoreMetrics(
            store, clock, words, catalogue=lambda: self.catalogue, down=lambda: self.store(up=False)
        )
        self.registry.register(self._stored)
        self.registry.register(CatalogueMetrics(lambda: self.catalogue, words))

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
