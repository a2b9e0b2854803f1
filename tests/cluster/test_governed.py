"""Agents in pods of a real node, governed by nothing but a label: what they can do, and what becomes of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cluster.node import Node
from cluster.processes import wait
from cluster.scraping import prometheus
from cluster.team import AGENTS, HOME, Team, pod_address, said, team

Json = Any
pytestmark = pytest.mark.timeout(900)
MONITORING = {"podMonitor": {"enabled": True}, "rules": {"enabled": True}}


@pytest.fixture(scope="module", name="crew")
def crew_fixture(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(node, tmp_path_factory.mktemp("team"), {}) as made:
        yield made


@pytest.fixture(scope="module", name="pod")
def pod_fixture(crew: Team) -> Json:
    """Of an agent at work: it asks both models, and the provider itself, again and again."""
    crew.agent("support", PAUSE="0.3", DIRECT=f"http://{crew.provider}:8080/v1")
    return crew.ready("support")[0]


def _container(pod: Json, name: str) -> Json:
    statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"]["containerStatuses"]]
    return next(each for each in statuses if each["name"] == name)


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])


def test_the_agent_starts_when_remit_decides(crew: Team, pod: Json) -> None:
    sidecar, agent = _container(pod, "remit"), _container(pod, "agent")
    begun = [datetime.fromisoformat(each["state"]["running"]["startedAt"]) for each in (sidecar, agent)]
    assert begun[0] <= begun[1] and sidecar["started"] and sidecar["ready"]
    assert _container(pod, "remit-lockdown")["state"]["terminated"]["exitCode"] == 0
    first = wait("the agent's first word", lambda: crew.lines(_name(pod)), 30)
    assert isinstance(first, list)
    assert first[0]["status"] == 200, "its very first call was answered"


def test_it_makes_an_allowed_and_a_denied_call(crew: Team, pod: Json) -> None:
    assert crew.heard(_name(pod), "small", 200)["said"] == "Hello yourself"
    assert "variant" in crew.heard(_name(pod), "large", 403)["said"]


def test_it_cannot_dial_out_past_remit(crew: Team, pod: Json) -> None:
    assert crew.heard(_name(pod), "direct", 0)["said"] == "ConnectionRefusedError"
    assert not [each for each in crew.lines(_name(pod)) if each["what"] == "direct" and each["status"]]


def test_it_is_metered_and_recorded_as_who_it_is(crew: Team, pod: Json) -> None:
    crew.heard(_name(pod), "large", 403)
    shown = crew.metrics(pod_address(pod))
    allowed = r'remit_decisions_total\{action="api.call",agent="support",effect="ALLOW",[^}]*\} [1-9]'
    denied = r'remit_decisions_total\{action="api.call",agent="support",effect="DENY",[^}]*\} [1-9]'
    assert re.search(allowed, shown) and re.search(denied, shown), shown
    desk = crew.cluster.all("pod", namespace=HOME, labels="app.kubernetes.io/component=desk")[0]

    def spent() -> float:
        found = re.search(r'remit_budget_spent\{budget="cx-month",[^}]*\} ([0-9.e+]+)', crew.metrics(pod_address(desk)))
        return float(found[1]) if found else 0.0

    wait("what it spent is at the desk", lambda: spent() >= 1, 30)


def test_it_outlives_its_sidecar(crew: Team, pod: Json) -> None:
    """kill -9: the kubelet starts the sidecar anew, the agent is not restarted and goes on."""
    before = _container(pod, "remit")
    crew.node.run(
        "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "KILL", before["containerID"].split("//")[1]
    )

    def again() -> Json:
        found = _container(crew.pods("support")[0], "remit")
        return found if found["restartCount"] == before["restartCount"] + 1 and found["ready"] else None

    wait("the sidecar is there again", again, 60)
    now = time.time()
    wait("a call is answered", lambda: any(e["at"] > now and e["status"] == 200 for e in crew.lines(_name(pod))), 30)
    found = crew.pods("support")[0]
    assert _name(found) == _name(pod) and _container(found, "agent")["restartCount"] == 0


def test_without_the_lock_down_the_same_call_gets_through(crew: Team) -> None:
    """The control of the test above: what refuses is the lock-down, not the test's network."""
    crew.helm("upgrade", lockdown={"mode": "none"})
    try:
        crew.agent("open", MODELS="small", DIRECT=f"http://{crew.provider}:8080/v1")
        crew.heard(_name(crew.ready("open")[0]), "direct", 200)
    finally:
        crew.cluster.kubectl("delete", "deployment", "open", "-n", AGENTS)
        crew.helm("upgrade")


def test_it_drains_in_order(crew: Team) -> None:
    """The agent ends first, and is answered to its last call; then the sidecar ends, of itself and well."""
    crew.agent("leaving", PAUSE="0.3", LAST="5", MODELS="small")
    name = _name(crew.ready("leaving")[0])
    crew.heard(name, "small", 200)
    agent, sidecar = (crew.cluster.follow(name, each, namespace=AGENTS) for each in ("agent", "remit"))
    crew.cluster.kubectl("delete", "deployment", "leaving", "-n", AGENTS)
    crew.cluster.pod_gone(name, namespace=AGENTS, seconds=60)
    lines = said(agent.read_text())
    after = [each for each in lines if each["what"].startswith("after SIGTERM")]
    assert len(after) == 5 and {each["status"] for each in after} == {200}, after
    assert lines[-1]["what"] == "ended"
    told = sidecar.read_text()
    assert "Traceback" not in told and "CRITICAL" not in told, told[-2000:]


def test_three_replicas_of_one_budget_rolled_out_in_the_middle_stay_within_it(crew: Team, pod: Json) -> None:
    crew.agent("spender", account="spender", replicas=3, PAUSE="0.2", MODELS="small")
    pods = crew.ready("spender", 3)
    addresses = {each["status"]["podIP"] for each in pods}
    for each in pods:
        crew.heard(_name(each), "small", 200)
    crew.cluster.kubectl("rollout", "restart", "deployment/spender", "-n", AGENTS)
    crew.cluster.kubectl("rollout", "status", "deployment/spender", "-n", AGENTS, "--timeout=120s", seconds=150)
    pods = crew.ready("spender", 3)
    addresses |= {each["status"]["podIP"] for each in pods}
    for each in pods:
        assert "budget" in crew.heard(_name(each), "small", 403, seconds=120)["said"]
    ((spent, held),) = crew.sql("SELECT sum(spent), sum(held) FROM remit.budget WHERE budget = 'ml-month'")
    assert held == 0 and spent == 60 * 10**9, "all of it is spent, and no more"
    delivered = crew.delivered(addresses)
    assert len(addresses) == 6 and 0 < delivered <= 60, (addresses, delivered)


def test_a_real_prometheus_has_the_chart_s_alerts_fire_of_what_it_scrapes(
    crew: Team, pod: Json, tmp_path: Path
) -> None:
    """Pods are found as the PodMonitors say; a labelled one without a sidecar is a target that is down."""
    with prometheus(crew.cluster, crew.rendered(monitoring=MONITORING), tmp_path) as server:
        spent = server.firing("RemitBudgetExhausted", 120)
        assert (spent["labels"]["budget"], spent["labels"]["owner"]) == ("ml-month", "ml")
        assert spent["labels"]["severity"] == "critical"
        targets = server.targets()
        assert {each.split()[0] for each in targets} == {"remit-sidecar", "remit-desk"}, targets
        assert f"remit-sidecar http://{pod_address(pod)}/metrics" in targets
        query = quote('sum(remit_decisions_total{agent="support",effect="DENY"})')
        found = server.ask(f"query?query={query}")["result"]
        assert float(found[0]["value"][1]) > 0
