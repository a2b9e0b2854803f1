"""Every panel and variable asks a real Prometheus of what it scraped from a real sidecar, and gets an answer.

Panels are not drawn: Grafana can not be had from package registries. What is drawn are these answers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping

import pytest
from dashboards.asked import NAMES, Asked, all_of, filled, parted, queries, variables
from dashboards.played import AGENTS, INSTALLATION, RARE, Prometheus, missing, watched

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SHOWN = {"installation": [INSTALLATION], "team": ["cx"], "owner": ["cx"]}
MAY_BE_EMPTY = {"variant", "pod", "namespace"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if gone := missing():
        if os.environ.get("REMIT_REQUIRE_PROMETHEUS"):
            pytest.fail(f"not on PATH: {', '.join(gone)}")
        pytest.skip(f"not on PATH: {', '.join(gone)} (Debian's package prometheus has it)")
    with watched(tmp_path_factory.mktemp("watched")) as running:
        yield running


def chosen(prometheus: Prometheus, name: str) -> Mapping[str, str]:
    """The variables of a dashboard as they are when it is opened: all, each of what the ones before leave."""
    found: dict[str, str] = {}
    for variable in variables(name):
        selector, label = parted(variable)
        values = prometheus.asked(f"label/{label}/values", **{"match[]": filled(selector, found)})
        assert set(SHOWN.get(label, ())) <= set(values) and values, (name, label, values)
        found[label] = all_of(values, variable)
    return found


def answer(prometheus: Prometheus, asked: Asked, values: Mapping[str, str]) -> str:
    """What is wrong with what a panel gets; "" where nothing is."""
    over_time = asked.kind == "timeseries"
    series = prometheus.series(filled(asked.expression, values), over_time=over_time)
    if not any(not math.isnan(value) for _, samples in series for value in samples):
        return "empty"
    lacking = {each for labels, _ in series for each in asked.legend if each not in labels} - MAY_BE_EMPTY
    return f"a legend names what its series do not have: {lacking}" if lacking else ""


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_has_an_answer(prometheus: Prometheus, name: str) -> None:
    """Each query but those of panels that are listed as rare, which must not fail either."""
    values = chosen(prometheus, name)
    wrong = {}
    for asked in queries(name):
        found = answer(prometheus, asked, values)
        if found and not (found == "empty" and asked.name in RARE):
            wrong[asked.name] = (found, filled(asked.expression, values))

    assert wrong == {}


def test_a_misspelt_query_is_found(prometheus: Prometheus) -> None:
    """Planted: a metric that nobody tells, a label value that nobody has, a legend of another label."""
    values = chosen(prometheus, "money")
    asked = next(each for each in queries("money") if each.panel == "By service and variant")

    def spoilt(was: str, now: str, legend: tuple[str, ...] = ()) -> str:
        assert was in asked.expression
        text = asked.expression.replace(was, now)
        return answer(prometheus, Asked("money", asked.panel, asked.kind, text, legend), values)

    assert answer(prometheus, asked, values) == ""
    assert spoilt("remit_cost_total", "remit_cost_totl") == "empty"
    assert spoilt("$service", "nothing") == "empty"
    assert "agent" in spoilt("sum by", "sum by", ("agent",))


def test_what_is_shown_is_what_was_done(prometheus: Prometheus) -> None:
    """Counted from nothing: first counts are seen; two calls of 0.50 are one euro, whatever else a cent is spent on."""
    money, denied = chosen(prometheus, "money"), chosen(prometheus, "denied")
    asked = {each.panel: each for name in ("money", "denied") for each in queries(name)}

    def shown(panel: str, values: Mapping[str, str]) -> dict[tuple[str, ...], float]:
        series = prometheus.series(filled(asked[panel].expression, values), over_time=False)
        keys = asked[panel].legend or ("agent", "reason", "mode")
        return {tuple(labels.get(key, "") for key in keys): samples[-1] for labels, samples in series}

    spent = shown("By service and variant", money)
    assert spent["model", "small", "EUR"] == pytest.approx(1.0)
    assert spent["openai", "gpt-small", "EUR"] > 0
    who = shown("Who was denied what, and why", denied)
    assert who["analysis", "flow_label_exceeds_clearance", "enforce"] == pytest.approx(2, abs=0.5)
    assert {agent for agent, _, _ in who} == set(AGENTS)
    assert {mode for agent, _, mode in who if agent == "watcher"} == {"observe"}
