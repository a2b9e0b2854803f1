"""Metrics: the contract's names, labels that no caller can make, and money that adds up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from fakes.commits import EUR, SECOND, START, Desk, row
from fakes.loop import in_loop
from fakes.metric_names import CONTRACT
from fakes.store_memory import MemoryStore
from fakes.world import OPERATOR, FakeClock, FakePdp, allow_all, catalogue, subject
from prometheus_client.parser import text_string_to_metric_families
from remit.core.answer import Answer, GivenReason
from remit.core.approval import Approval, Item, Terms, Vote, voted
from remit.core.approval import Verdict as Said
from remit.core.catalogue import Agent, Budget, Person, Service, Team
from remit.core.claim import Claim
from remit.core.dataset import Dataset, Table
from remit.core.decision import Effect, Verdict
from remit.core.effect import Commit, Committed, MoveApproval, OpenApproval, PlaceHalt, TakeClaim
from remit.core.errors import PolicyFailure, StoreUnavailable
from remit.core.model import Halt, Mode
from remit.core.reason import Reason
from remit.core.selector import Selector
from remit.core.view.model import EVERY_ROW, TableView
from remit.core.window import window_at
from remit.metrics import APPROVALS_AT_ONCE, MAX_VALUES, STAGES, MeteredPdp, Metrics, metered_store
from remit.metrics.wrappers import Unsigned
from remit.ports import ApprovalsQuery

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def metered(**changes: Any) -> Metrics:
    """Metrics that know the catalogue of the tests' world."""
    metrics = Metrics("1.2.3")
    metrics.know(catalogue(**changes))
    return metrics


async def samples(metrics: Metrics) -> Samples:
    """Every sample by name and labels."""
    text, _ = await metrics.exposition("")
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def answer(effect: Effect = Effect.ALLOW, policy: str = "access.resource", code: str = "allowed") -> Answer:
    return Answer("d_1", effect, (GivenReason(policy, code, "m"),), True, False, Committed("l", 1))


def waiting(id: str, subject: str = "analysis", *, time: int = START, **parts: Any) -> Approval:
    """An approval that waits for people."""
    item = Item(binding=f"b{id}", decision="d_1", amount=EUR, labels=(), shown="")
    return Approval(
        **{
            "id": id,
            "like": f"like {id}",
            "subject": subject,
            "team": "cx",
            "workflow": "",
            "purpose": "",
            "policy": "access.variant",
            "code": "approval_required",
            "action": "api.call",
            "resource": {"type": "service", "id": "model", "operation": "", "variant": "large"},
            "reason": "",
            "terms": Terms(roles=("finance",)),
            "time": time,
            "deadline": time + 3600 * SECOND,
            "items": (item,),
            **parts,
        }
    )


@in_loop
async def test_every_metric_of_the_contract_is_there_with_its_labels() -> None:
    """Names and labels are what dashboards are built on."""
    desk = Desk(MemoryStore(checkpoint_records=1))
    metrics = metered(budgets={"month": Budget(limit=10 * EUR, window="month")})
    metrics.expose(desk.store, FakeClock())
    metrics.started(START)
    metrics.envoy(up=True)
    metered_store(desk.store, metrics, lambda: 0.0)
    metrics.decided(subject("analysis"), "api.call", "model", answer())
    metrics.flow_denied("analysis", "email", ["pii"])
    metrics.view_answered("analysis", "crm", 2)
    metrics.view_masked("analysis", "crm", ["customers.email"])
    metrics.identity_failed("missing")
    metrics.fsynced(0.001)
    metrics.certificate("grpc", 1.0)
    metrics.egress_refused("no_route")
    metrics.upstream("model", "large", 200, 0.1)
    metrics.failed("loop", "halt")
    metrics.policy("r1")
    await desk.must(OpenApproval(waiting("a_1")))
    budget = row(10 * EUR, start=START, end=START + SECOND)
    await desk.end(await desk.reserve(EUR, budget, subject="analysis"), "settled", 2 * EUR, {"call": 1})
    await desk.reserve(EUR, budget, subject="analysis")

    found = await samples(metrics)

    for name, keys in CONTRACT.items():
        assert {tuple(key for key, _ in labels) for each, labels in found if each == name} == {tuple(sorted(keys))}, (
            name
        )


@in_loop
async def test_decisions_are_counted_by_who_what_and_why() -> None:
    """Each reason of a decision is a hit of its rule; the first names the decision's reason."""
    metrics = metered()
    two = replace(
        answer(Effect.DENY, "flow.clearance", "flow_label_exceeds_clearance"),
        reasons=(
            GivenReason("flow.clearance", "flow_label_exceeds_clearance", ""),
            GivenReason("custom.x", "late", ""),
        ),
    )
    metrics.decided(subject("analysis", mode=Mode.OBSERVE), "api.call", "model", two)
    metrics.decided(subject("analysis", mode=Mode.OBSERVE), "api.call", "model", two)

    found = await samples(metrics)

    who = {"agent": "analysis", "action": "api.call", "effect": "DENY", "mode": "observe"}
    assert value(found, "remit_decisions_total", **who, reason="flow_label_exceeds_clearance") == 2
    assert value(found, "remit_rule_hits_total", policy="custom.x", code="late", effect="DENY") == 2


@in_loop
async def test_rows_and_masks_of_views_are_counted_by_the_catalogue_s_names() -> None:
    """Rows add up, each masked column is one for its query, and what is in no catalogue is another."""
    crm = Dataset(tables={"customers": Table(columns={"id": (), "email": ("pii",)})})
    metrics = metered(datasets={"crm": crm})
    for rows in (3, 0, 4):
        metrics.view_answered("analysis", "crm", rows)
        metrics.view_masked("analysis", "crm", ("customers.email",))
    metrics.view_masked("analysis", "crm", ("customers.made_up", "email"))
    metrics.view_answered("made-up", "made-up", 1)

    found = await samples(metrics)

    assert value(found, "remit_view_rows_total", agent="analysis", dataset="crm") == 7
    assert value(found, "remit_view_rows_total", agent="other", dataset="other") == 1
    masked = {labels: count for (name, labels), count in found.items() if name == "remit_view_masked_total"}
    assert sorted((dict(labels)["column"], count) for labels, count in masked.items()) == [
        ("customers.email", 3),
        ("other", 2),
    ]


@in_loop
async def test_people_are_counted_together() -> None:
    """Who of them did what is in the journal, not in a time series."""
    metrics = metered()
    metrics.decided(OPERATOR, "control.halt", "support", answer())

    found = await samples(metrics)

    labels = {"action": "control.halt", "effect": "ALLOW", "reason": "allowed", "mode": "enforce"}
    assert value(found, "remit_decisions_total", agent="other", **labels) == 1
    assert value(found, "remit_label_overflow_total") == 0


@in_loop
async def test_no_caller_can_make_series() -> None:
    """100 000 invented names are one series and a count."""
    metrics = metered()
    for number in range(100_000):
        metrics.decided(subject(f"agent-{number}"), f"action-{number}", f"sink-{number}", answer())
    metrics.flow_denied("nobody", "nowhere", [f"label-{number}" for number in range(1000)])

    found = await samples(metrics)

    assert len(found) < 150
    other = {"agent": "other", "action": "other", "effect": "ALLOW", "reason": "allowed", "mode": "enforce"}
    assert value(found, "remit_decisions_total", **other) == 100_000
    assert value(found, "remit_flow_denials_total", agent="other", sink="other", label="other") == 1000
    assert value(found, "remit_label_overflow_total") == 203_000


@in_loop
async def test_rules_that_make_up_codes_are_bounded() -> None:
    """Codes come from an operator's rules; one that builds them from input meets the limit."""
    metrics = metered()
    for number in range(1000):
        metrics.decided(subject("analysis"), "api.call", "model", answer(policy="custom.x", code=f"c{number}"))

    hits = [labels for name, labels in await samples(metrics) if name == "remit_rule_hits_total"]

    assert len(hits) == MAX_VALUES + 1
    assert dict(hits[-1])["code"] == "other"


@in_loop
async def test_a_catalogue_of_too_many_agents_is_bounded_too() -> None:
    """200 of them are told apart; the overflow says that some are not."""
    agents = {f"a{number:04d}": Agent("cx") for number in range(1000)}
    metrics = metered(agents=agents)
    for name in agents:
        metrics.decided(subject(name), "api.call", "model", answer())

    found = await samples(metrics)

    decisions = [dict(labels)["agent"] for name, labels in found if name == "remit_decisions_total"]
    assert len(decisions) == MAX_VALUES + 1
    assert "other" in decisions
    assert value(found, "remit_label_overflow_total") == 800


@in_loop
async def test_a_reload_brings_its_names() -> None:
    """What the new catalogue names is known from then on, and the old revision is no longer told."""
    metrics = metered()
    metrics.policy("r1")
    metrics.know(catalogue(agents={"newcomer": Agent("cx")}))
    metrics.policy("r2")
    metrics.reloaded(well=False)
    metrics.decided(subject("newcomer"), "api.call", "model", answer())

    found = await samples(metrics)

    assert "newcomer" in {dict(labels).get("agent") for _, labels in found}
    assert [labels for name, labels in found if name == "remit_policy_info"] == [(("revision", "r2"),)]
    assert value(found, "remit_reload_success") == 0


@in_loop
async def test_stages_are_timed_and_no_others() -> None:
    """The five of the contract; another name is not a series."""
    metrics = metered()
    for stage in (*STAGES, "made-up"):
        metrics.stage(stage, 0.002)

    found = await samples(metrics)

    timed = {dict(labels)["stage"] for name, labels in found if name == "remit_decision_duration_seconds_count"}
    assert timed == set(STAGES)
    assert value(found, "remit_decision_duration_seconds_bucket", stage="pdp", le="0.0025") == 1
    assert value(found, "remit_decision_duration_seconds_bucket", stage="pdp", le="0.001") == 0


@in_loop
async def test_no_series_tells_its_birthday() -> None:
    """They would double the number."""
    metrics = metered()
    metrics.identity_failed("missing")

    assert not [name for name, _ in await samples(metrics) if name.endswith("_created")]


@in_loop
async def test_money_adds_up() -> None:
    """Cost, usage and overruns by who and what, in whole currency units."""
    desk = Desk(MemoryStore())
    metrics = metered()
    metrics.expose(desk.store, FakeClock())
    for cost in (EUR // 4, 2 * EUR):
        decision = await desk.reserve(EUR, row(100 * EUR), subject="analysis")
        await desk.end(decision, "settled", cost, {"call": 1})

    found = await samples(metrics)

    who = {"agent": "analysis", "service": "model", "variant": "large", "owner": "ml", "currency": "EUR"}
    assert value(found, "remit_cost_total", **who) == 2.25
    assert value(found, "remit_usage_total", **who, unit="call") == 2
    assert value(found, "remit_overruns_total") == 1


@in_loop
async def test_a_total_never_falls() -> None:
    """A late settlement below the presumption waits until the true total has caught up: no false reset."""
    desk = Desk(MemoryStore())
    metrics = metered()
    metrics.expose(desk.store, FakeClock())
    who = {"agent": "analysis", "service": "model", "variant": "large", "owner": "ml", "currency": "EUR"}
    shown = []
    decision = await desk.reserve(4 * EUR, row(100 * EUR), subject="analysis")
    desk.time += 61 * SECOND
    for how, cost in (("lapsed", 4 * EUR), ("settled", EUR)):
        await desk.end(decision, how, cost)
        shown.append(value(await samples(metrics), "remit_cost_total", **who))
    for _ in range(2):
        await desk.end(await desk.reserve(2 * EUR, row(100 * EUR), subject="analysis"), "settled", 2 * EUR)
        shown.append(value(await samples(metrics), "remit_cost_total", **who))

    assert shown == [4, 4, 4, 5]


@in_loop
async def test_budgets_tell_their_limits_before_anybody_uses_them() -> None:
    """A budget in all is there at once; one that is counted per agent is summed over those that used it."""
    desk, clock = Desk(MemoryStore()), FakeClock()
    budgets = {
        "month": Budget(limit=10 * EUR, window="month"),
        "each": Budget(limit=3 * EUR, per="agent"),
        "ever": Budget(limit=7 * EUR),
    }
    metrics = metered(budgets=budgets)
    metrics.expose(desk.store, clock)
    for agent, spent in (("analysis", EUR), ("decision", 2 * EUR)):
        await desk.end(await desk.reserve(spent, row(3 * EUR, "each", agent)), "settled", spent)
    await desk.reserve(EUR, row(3 * EUR, "each", "analysis"))

    found = await samples(metrics)

    window = window_at("month", budgets["month"].zone, clock.now())
    assert value(found, "remit_budget_limit", budget="month", currency="EUR") == 10
    assert value(found, "remit_budget_window_start_seconds", budget="month", currency="EUR") == window.start / 1e9
    assert value(found, "remit_budget_window_end_seconds", budget="month", currency="EUR") == window.end / 1e9
    assert value(found, "remit_budget_limit", budget="each", currency="EUR") == 6
    assert value(found, "remit_budget_spent", budget="each", currency="EUR") == 3
    assert value(found, "remit_budget_held", budget="each", currency="EUR") == 1
    assert ("remit_budget_window_end_seconds", (("budget", "ever"), ("currency", "EUR"))) not in found


@in_loop
async def test_what_nobody_reported_is_counted_by_agent() -> None:
    """Held reservations, until their end is reported."""
    desk = Desk(MemoryStore())
    metrics = metered()
    metrics.expose(desk.store, FakeClock())
    first = await desk.reserve(EUR, row(9 * EUR), subject="analysis")
    await desk.reserve(EUR, row(9 * EUR), subject="analysis")
    assert value(await samples(metrics), "remit_unreported_effects", agent="analysis") == 2
    await desk.end(first, "settled", EUR)
    assert value(await samples(metrics), "remit_unreported_effects", agent="analysis") == 1


@in_loop
async def test_what_nobody_reported_in_time_is_counted_for_a_week() -> None:
    """Lapsing, or being late, takes nothing away; being reported at last does, and so does a week."""
    desk, clock = Desk(MemoryStore()), FakeClock()
    metrics = metered()
    metrics.expose(desk.store, clock)
    unpriced = await desk.reserve(0, subject="analysis")
    late = await desk.reserve(EUR, row(9 * EUR), subject="analysis")

    async def told() -> tuple[float, float]:
        found = await samples(metrics)
        return (
            found.get(("remit_unreported_effects", (("agent", "analysis"),)), 0),
            value(found, "remit_unreported_effect_oldest_age_seconds"),
        )

    assert await told() == (2, 0)
    clock.pass_seconds(60 + 90)
    desk.time = clock.now()
    for each in (unpriced, late):
        await desk.end(each, "lapsed", 0 if each is unpriced else EUR)
    assert await told() == (2, 90)
    await desk.end(unpriced, "settled", 0)
    assert await told() == (1, 90)
    clock.pass_seconds(7 * 86_400)
    assert await told() == (0, 0)


@in_loop
async def test_approvals_are_counted_by_who_is_asked() -> None:
    """A supervisor or a role by name; a person, and what no catalogue names, together; what is resolved not at all."""
    desk, clock = Desk(MemoryStore()), FakeClock()
    metrics = metered(people={"ana": Person(("finance",))})
    metrics.expose(desk.store, clock)
    assert value(await samples(metrics), "remit_approval_oldest_age_seconds") == 0
    for each in (
        waiting("a_1"),
        waiting("a_2", time=START - 40 * SECOND),
        waiting("a_3", chain=("decision",)),
        waiting("a_4", chain=("ana",)),
        waiting("a_5", terms=Terms(roles=("made-up",))),
        waiting("a_6", terms=Terms()),
    ):
        await desk.must(OpenApproval(each))
    clock.pass_seconds(20)

    found = await samples(metrics)

    queues = {dict(labels)["queue"]: number for (name, labels), number in found.items() if name.endswith("_pending")}
    assert queues == {"finance": 2, "decision": 1, "other": 2, "": 1}
    assert value(found, "remit_approval_oldest_age_seconds") == 60
    assert value(found, "remit_label_overflow_total") == 1
    opened = (await desk.store.approvals(ApprovalsQuery(ids=("a_2",))))[0]
    await desk.must(MoveApproval(voted(opened, Vote("person", "ana", Said.DENY, "no", START, "d_2"), "denied", START)))
    assert value(await samples(metrics), "remit_approval_oldest_age_seconds") == 20


@in_loop
async def test_more_approvals_than_one_page_are_counted() -> None:
    """Page by page, each once; the oldest is on the last."""
    desk = Desk(MemoryStore())
    metrics = metered(people={"ana": Person(("finance",))})
    metrics.expose(desk.store, FakeClock())
    for number in range(APPROVALS_AT_ONCE + 3):
        await desk.must(OpenApproval(waiting(f"a_{number:04}", f"agent-{number}", time=START + number - 5 * SECOND)))

    found = await samples(metrics)

    assert value(found, "remit_approvals_pending", queue="finance") == APPROVALS_AT_ONCE + 3
    assert value(found, "remit_approval_oldest_age_seconds") == 5


@in_loop
async def test_claims_are_counted_while_they_are_held() -> None:
    """What has expired is nobody's."""
    desk, clock = Desk(MemoryStore()), FakeClock()
    metrics = metered()
    metrics.expose(desk.store, clock)
    for number in (1, 2):
        claim = Claim(f"thing {number}", "analysis", "", 1, START + number * 60 * SECOND, START)
        await desk.must(TakeClaim(claim, (await desk.store.claim(claim.key)).token))
    assert value(await samples(metrics), "remit_claims_held") == 2
    clock.pass_seconds(90)
    assert value(await samples(metrics), "remit_claims_held") == 1


@in_loop
async def test_conflicts_are_counted_by_their_reason() -> None:
    """Each decision that was refused for one, once; those that there might be are told with 0."""
    metrics = metered()
    twice = answer(Effect.DENY, "conflict.acts", "conflict_detected")
    metrics.decided(subject("analysis"), "tool.call", "model", replace(twice, reasons=twice.reasons * 2))
    metrics.decided(
        subject("analysis"), "tool.call", "model", answer(Effect.HOLD, "conflict.acts", "conflict_detected")
    )
    metrics.decided(subject("analysis"), "tool.call", "model", answer(Effect.ALLOW, "custom.x", "claim_held"))
    metrics.decided(subject("analysis"), "tool.call", "model", answer(Effect.DENY, "remit", "claim_lost"))

    found = await samples(metrics)

    counted = {
        dict(labels)["reason"]: count for (name, labels), count in found.items() if name == "remit_conflicts_total"
    }
    assert counted == {"claim_held": 0, "claim_lost": 1, "conflict_detected": 2}


@in_loop
async def test_failures_are_counted_by_what_was_answered() -> None:
    """Kinds and answers are closed lists."""
    metrics = metered()
    for kind, answered in (("failed", "retry"), ("failed", "retry"), ("made-up", "explode")):
        metrics.failed(kind, answered)

    found = await samples(metrics)

    assert value(found, "remit_failures_total", kind="failed", answer="retry") == 2
    assert value(found, "remit_failures_total", kind="other", answer="other") == 1


@in_loop
async def test_halts_are_counted_by_scope() -> None:
    """Every scope is told, zero too, so that an alert has something to look at."""
    desk = Desk(MemoryStore())
    metrics = metered()
    metrics.expose(desk.store, FakeClock())
    await desk.must(PlaceHalt(Halt("h_1", "agent", "analysis", "ana", "odd", START)))

    found = await samples(metrics)

    assert {scope: value(found, "remit_halted", scope=scope) for scope in ("agent", "workflow", "service", "all")} == {
        "agent": 1,
        "workflow": 0,
        "service": 0,
        "all": 0,
    }


class DiskFull(MemoryStore):
    """A store that cannot record, and of which little can be read, while `full`; that answers nothing while `away`."""

    full = True
    away = False

    async def commit(self, commit: Commit) -> Any:
        if self.full:
            raise StoreUnavailable("disk full")
        return await super().commit(commit)

    async def spending(self) -> Any:
        if self.full:
            raise StoreUnavailable("disk full")
        return await super().spending()

    async def due(self, now: int, limit: int) -> Any:
        if self.away:
            raise StoreUnavailable("nobody answers")
        return await super().due(now, limit)


@in_loop
async def test_a_store_that_fails_is_down_until_it_records_again() -> None:
    """The error goes on to whoever asked; everything else of the store is as before; scrapes go on."""
    inner = DiskFull()
    metrics = metered()
    store = metered_store(inner, metrics)
    metrics.expose(store, FakeClock())
    assert value(await samples(metrics), "remit_store_up") == 0
    with pytest.raises(StoreUnavailable):
        await Desk(store).commit()
    inner.full = False
    await Desk(store).must()
    found = await samples(metrics)

    assert value(found, "remit_store_up") == 1
    assert value(found, "remit_halted", scope="all") == 0
    assert store.failed is False


@in_loop
async def test_a_store_that_is_away_is_down_though_nobody_decides_anything() -> None:
    """The sweep asks it; an answer shows that it is back, and not that it can record."""
    inner = DiskFull()
    metrics = metered()
    store = metered_store(inner, metrics)

    async def up() -> object:
        return value(await samples(metrics), "remit_store_up")

    inner.full, inner.away = False, True
    with pytest.raises(StoreUnavailable):
        await store.due(0, 1)
    assert await up() == 0
    inner.away = False
    await store.due(0, 1)
    assert await up() == 1
    inner.full = True
    with pytest.raises(StoreUnavailable):
        await Desk(store).commit()
    await store.due(0, 1)
    assert await up() == 0


class Failing(FakePdp):
    """An OPA that fails for a reason."""

    def __init__(self, reason: Reason | None) -> None:
        super().__init__(allow_all)
        self.reason = reason

    async def ask(self, document: Any) -> Verdict:
        if self.reason:
            raise PolicyFailure(self.reason, "no")
        return await super().ask({})

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, Any]) -> Sequence[TableView]:
        if self.reason:
            raise PolicyFailure(self.reason, "no")
        return await super().view(dataset, tables, document)


@pytest.mark.parametrize(
    ("reason", "up"), [(None, 1), (Reason.PDP_UNAVAILABLE, 0), (Reason.POLICY_ERROR, 1), (Reason.POLICY_UNDEFINED, 1)]
)
def test_opa_is_down_only_when_it_does_not_answer(reason: Reason | None, up: int) -> None:
    """A policy that is wrong is another alarm; the failure goes on to whoever asked."""

    @in_loop
    async def run() -> None:
        metrics = metered()
        pdp = MeteredPdp(Failing(reason), metrics)
        try:
            assert (await pdp.ask({})).effect is Effect.ALLOW
        except PolicyFailure as failure:
            assert failure.reason is reason
        assert pdp.revision == "r1"
        assert value(await samples(metrics), "remit_pdp_up") == up

    @in_loop
    async def look() -> None:
        metrics = metered()
        pdp = MeteredPdp(Failing(reason), metrics)
        assert pdp.reads_time("crm") is False
        try:
            assert await pdp.view("crm", ["customers"], {}) == [TableView("customers", EVERY_ROW)]
        except PolicyFailure as failure:
            assert failure.reason is reason
        assert value(await samples(metrics), "remit_pdp_up") == up

    run()
    look()


@in_loop
async def test_the_form_is_what_the_scraper_accepts() -> None:
    """OpenMetrics for those who ask, the classic text for all others."""
    metrics = metered()

    text, kind = await metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert (await metrics.exposition("*/*"))[1].startswith("text/plain")


@in_loop
async def test_every_value_is_a_number() -> None:
    """No NaN and no infinity but the last bucket's name."""
    metrics = metered()
    metrics.expose(Desk(MemoryStore()).store, FakeClock())

    assert all(math.isfinite(each) for each in (await samples(metrics)).values())


@in_loop
async def test_what_is_off_is_not_told_as_down() -> None:
    """A desk has no Envoy, and who decides nothing ahead ships nothing."""
    metrics = metered()
    metered_store(Desk(MemoryStore()).store, metrics)

    names = {name for name, _ in await samples(metrics)}

    assert "remit_unsigned_oldest_age_seconds" in names
    assert not {"remit_egress_up", "remit_unshipped_oldest_age_seconds"} & names


@in_loop
async def test_records_wait_until_they_are_signed() -> None:
    """From the first that no head covers, to within a second; a head ends the waiting of what it covers alone."""
    now = [100.0]
    unsigned = Unsigned(lambda: now[0])
    assert unsigned.seconds(0) == 0
    for number in range(1, 51):
        unsigned.recorded(number, 0)
        now[0] += 0.1
    assert 4.9 <= unsigned.seconds(0) <= 5.1
    assert 1.9 <= unsigned.seconds(30) <= 3.0
    assert unsigned.seconds(50) == 0
    unsigned.recorded(51, 50)
    now[0] += 60
    assert unsigned.seconds(50) == 60

    desk = Desk(MemoryStore())
    metrics = metered()
    desk.store = metered_store(desk.store, metrics)
    desk.time += 1
    await desk.reserve(EUR, row(10 * EUR), subject="analysis")
    assert value(await samples(metrics), "remit_unsigned_oldest_age_seconds") > 0


@in_loop
async def test_each_agent_service_and_budget_has_who_answers_for_it() -> None:
    """Once each, by names that the other metrics have too; a budget is the one team's that its `when` names."""
    agents = {"analysis": Agent("ml"), "support": Agent("cx", mode="observe"), "spare": Agent("cx")}
    services = {"model": Service(owner="ml"), "mail": Service(owner="it"), "nobody-s": Service()}
    budgets = {
        "by-team": Budget(limit=EUR, when=where(team=("cx",))),
        "by-pattern": Budget(limit=EUR, when=where(agent=("s*",)), per="agent"),
        "by-service": Budget(limit=EUR, when=where(service=("mail",)), caps={"*": Fraction(1, 2)}),
        "of-two": Budget(limit=EUR, when=where(team=("cx", "ml"))),
        "of-all": Budget(limit=EUR, per="workflow"),
        "mixed": Budget(limit=EUR, when=where(agent=("*",), service=("model",))),
    }
    metrics = metered(
        teams={"cx": Team(), "ml": Team(), "it": Team()},
        agents=agents,
        services=services,
        datasets={"crm": Dataset(owner="cx")},
        budgets=budgets,
    )
    metrics.expose(Desk(MemoryStore()).store, FakeClock())

    found = await samples(metrics)

    def told(name: str, *keys: str) -> set[tuple[str, ...]]:
        each = [dict(labels) for (other, labels), one in found.items() if other == name and one == 1]
        return {tuple(labels[key] for key in keys) for labels in each}

    assert told("remit_agent_info", "agent", "team", "mode") == {
        ("analysis", "ml", "enforce"),
        ("support", "cx", "observe"),
        ("spare", "cx", "enforce"),
    }
    assert told("remit_service_info", "service", "owner") == {
        ("model", "ml"),
        ("mail", "it"),
        ("nobody-s", ""),
        ("crm", "cx"),
    }
    assert told("remit_budget_info", "budget", "team", "per") == {
        ("by-team", "cx", "none"),
        ("by-pattern", "cx", "agent"),
        ("by-service", "it", "none"),
        ("by-service#cap", "it", "agent"),
        ("of-two", "", "none"),
        ("of-all", "", "workflow"),
        ("mixed", "ml", "none"),
    }


def where(**terms: tuple[str, ...]) -> Selector:
    return Selector(tuple(terms.items()))


@in_loop
async def test_a_budget_is_used_up_for_each_that_has_less_than_a_hundredth() -> None:
    """What is set aside counts; of a budget that is counted per agent each by itself, though the sum has room."""
    desk = Desk(MemoryStore())
    metrics = metered(budgets={"each": Budget(limit=100 * EUR, per="agent")})
    metrics.expose(desk.store, FakeClock())
    for agent, amount in (("analysis", 99 * EUR), ("decision", EUR)):
        await desk.reserve(amount, row(100 * EUR, "each", agent), subject=agent)
    assert value(await samples(metrics), "remit_budget_exhausted", budget="each", currency="EUR") == 0
    await desk.reserve(1, row(100 * EUR, "each", "analysis"), subject="analysis")
    assert value(await samples(metrics), "remit_budget_exhausted", budget="each", currency="EUR") == 1


@in_loop
async def test_waiting_and_being_overdue_are_told_of_whose_they_are() -> None:
    """By queue and team, and by agent: one that is late does not speak for another."""
    desk, clock = Desk(MemoryStore()), FakeClock()
    metrics = metered(people={"ana": Person(("finance",))})
    metrics.expose(desk.store, clock)
    for each in (waiting("a_1"), waiting("a_2", time=START - 40 * SECOND), waiting("a_3", chain=("decision",))):
        await desk.must(OpenApproval(each))
    await desk.reserve(EUR, row(9 * EUR), subject="analysis")
    clock.pass_seconds(150)
    desk.time = clock.now()
    await desk.reserve(EUR, row(9 * EUR), subject="decision", deadline=clock.now() + 60 * SECOND)

    found = await samples(metrics)

    assert value(found, "remit_approval_waiting_seconds", queue="finance", team="cx") == 190
    assert value(found, "remit_approval_waiting_seconds", queue="decision", team="cx") == 150
    assert value(found, "remit_unreported_overdue_seconds", agent="analysis") == 90
    assert value(found, "remit_unreported_overdue_seconds", agent="decision") == 0
    assert value(found, "remit_unreported_effect_oldest_age_seconds") == 90
