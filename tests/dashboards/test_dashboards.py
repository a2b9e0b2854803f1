"""Dashboards: generated, laid out, explained, and of what is really told; what is rarely seen is shown to work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.tools import ROOT, folder, run
from click import Context
from dashboards.asked import FOLDER, NAMES, Asked, Json, dashboard, filled, panels, parted, queries, variables
from dashboards.played import RARE
from fakes.metric_names import CONTRACT
from remit.cli.main import root
from rules.promql import Rule, problems, rules_of

from helm.grafana.__main__ import main, written

RULES = ROOT / "helm" / "remit" / "files" / "rules"
PAGE = ROOT / "docs" / "dashboards.md"
CASES = Path(__file__).parent / "cases.yaml"
ALERTS = ("alertname", "alertstate", "severity", "owner", "agent", "service", "budget")
EXPOSED: Mapping[str, Sequence[str]] = {**CONTRACT, "ALERTS": ALERTS}
"""Also what Prometheus tells of alerts."""
CORE = {"timeseries", "stat", "table", "bargauge"}
ANYTHING = {"installation": ".*", "team": ".*", "agent": ".*", "service": ".*", "owner": ".*"}


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


def recorded() -> list[Rule]:
    """The rules of the chart."""
    return [each for path in sorted(RULES.glob("*.yaml")) for each in rules_of(path.name, read(path)["groups"])]


def as_rule(asked: Asked) -> Rule:
    """A query as the rules' checks take it; what its legend names is to be there too."""
    legend = {"legend": " ".join(f"$labels.{each}" for each in asked.legend)}
    return Rule(asked.dashboard, asked.name, filled(asked.expression, ANYTHING), {}, legend, alerts=True)


def of_variable(name: str, variable: Json) -> list[Rule]:
    """What a variable asks, one for each metric that it may be of."""
    selector, label = parted(variable)
    listed = re.search(r'__name__=~"([^"]*)"(?:, )?', selector)
    asked = [f"{each}{selector.replace(listed[0], '')}" for each in listed[1].split("|")] if listed else [selector]
    told = [re.sub(r'team=~"[^"]*"', "", each) if "remit_agent_info" not in each else each for each in asked]
    told = [re.sub(r'owner=~"[^"]*"', "", each) for each in told] if label != "service" else told
    return [
        Rule(name, f"{name}: ${label}", filled(each, ANYTHING).replace(", }", "}"), {}, {"l": f"$labels.{label}"}, True)
        for each in told
    ]


def test_what_is_committed_is_what_the_generator_makes() -> None:
    """`make generate` would change nothing, and a change by hand is found."""
    assert main(["--check"]) == ""
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in written()}


def test_titles_are_those_that_people_look_for() -> None:
    """Each with a uid that links rest on."""
    titles = {"remit-money": "Remit: money", "remit-denied": "Remit: why denied", "remit-health": "Remit: is it us"}

    assert {each["uid"]: each["title"] for each in map(dashboard, NAMES)} == titles


def misplaced(found: Sequence[Json]) -> list[str]:
    """Panels that lie over each other or outside, or have the same id."""
    wrong = [each["title"] for each in found if each["gridPos"]["x"] + each["gridPos"]["w"] > 24]
    for one, other in combinations(found, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        if not (beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]) or one["id"] == other["id"]:
            wrong.append(f"{one['title']} and {other['title']}")
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_laid_out_and_explained(name: str) -> None:
    """Core panels alone; each has a title, a text that says how to read it, one source, and a place of its own."""
    found = panels(name)

    assert misplaced(dashboard(name)["panels"]) == []
    assert {each["type"] for each in found} <= CORE
    assert [each["title"] for each in found if not (each["title"] and len(each["description"]) > 40)] == []
    assert len({each["title"] for each in found}) == len(found)
    sources = {json.dumps(part["datasource"]) for each in found for part in (each, *each["targets"])}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_each_panel_answers(name: str) -> None:
    """docs/dashboards.md has a row for each, in their order."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {dashboard(name)['title']}\n")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| (.+?) \| .{15,} \|$", section, re.MULTILINE)
    assert [each for each in rows if each not in ("panel", "---")] == [each["title"] for each in panels(name)]


def test_panels_that_lie_over_each_other_are_found() -> None:
    """Planted: one moved onto its neighbour, and one that has its id."""
    found = panels("money")
    over = {**found[1], "gridPos": found[0]["gridPos"]}

    assert misplaced([found[0], over])
    assert misplaced([found[0], {**found[1], "id": found[0]["id"]}])


@pytest.mark.parametrize("name", NAMES)
def test_queries_rest_on_what_is_told(name: str) -> None:
    """Metrics and labels of queries, legends and variables are those that members expose, or that a rule records."""
    asked = [*map(as_rule, queries(name)), *(each for one in variables(name) for each in of_variable(name, one))]

    found = problems([*asked, *recorded()], EXPOSED)

    assert [each for each in found if each.startswith(name)] == []


def test_planted_mistakes_in_queries_are_found() -> None:
    """A misspelt metric, a label that it does not have, a legend of a label that is not there."""
    wrong = [
        Asked("money", "a", "stat", "sum(remit_cost_totl)", ()),
        Asked("money", "b", "stat", 'sum(remit_cost_total{agnet=~"$agent"})', ()),
        Asked("money", "c", "stat", "sum by (agent) (remit_cost_total)", ("budget",)),
        Asked("money", "d", "stat", "sum by (agnt) (remit_cost_total)", ()),
    ]

    assert problems([as_rule(each) for each in wrong], EXPOSED) == [
        "money: a: nothing tells remit_cost_totl",
        "money: b: remit_cost_total has no agnet",
        "money: c: nothing it rests on has budget",
        "money: d: nothing it rests on has agnt",
    ]


def test_links_lead_to_dashboards_and_runbooks_that_are_there() -> None:
    """Between the three by tag and by click, and to docs/runbooks, which the chart makes monitoring.runbooks."""
    texts = {name: (FOLDER / f"{name}.json").read_text(encoding="utf-8") for name in NAMES}
    uids = {dashboard(name)["uid"] for name in NAMES}
    clicked = {each for text in texts.values() for each in re.findall(r'"url": "/d/([\w-]+)', text)}
    others = {each for text in texts.values() for each in re.findall(r'"url": "(?!/d/|docs/runbooks/)[^"]*"', text)}

    assert clicked and clicked <= uids
    assert others == set()
    assert (ROOT / "docs" / "runbooks" / "README.md").is_file()
    for name in NAMES:
        assert {"tags": ["remit"], "keepTime": True, "includeVars": True}.items() <= dashboard(name)["links"][0].items()


def test_descriptions_name_commands_and_pages_that_are_there() -> None:
    """`remit X`, and docs/X.md."""
    said = " ".join(each["description"] for name in NAMES for each in panels(name))
    commands, pages = re.findall(r"`remit ([a-z]+)", said), re.findall(r"docs/[a-z]+\.md", said)

    assert commands and [each for each in commands if root.get_command(Context(root), each) is None] == []
    assert pages and [each for each in pages if not (ROOT / each).is_file()] == []


def test_every_alert_is_on_a_dashboard() -> None:
    """One of the tables of alerts has it, and so leads to its runbook."""
    named = [re.findall(r'alertname=~"([^"]*)"', each.expression) for name in NAMES for each in queries(name)]
    patterns = [each for found in named for each in found]

    missing = [
        each.name for each in recorded() if each.alerts and not any(re.fullmatch(p, each.name) for p in patterns)
    ]
    assert missing == []


def test_every_rare_panel_has_a_case() -> None:
    """What a well installation does not show, or not in its first minutes, is in cases.yaml; and no other panel is."""
    assert {case["panel"] for case in read(CASES)} == set(RARE)


def case_file(case: Json) -> Json:
    """A case as promtool takes it."""
    asked = [each for name in NAMES for each in queries(name) if each.name == case["panel"]]
    tests = [
        {"expr": filled(each.expression, ANYTHING), "eval_time": case["at"], "exp_samples": wanted}
        for each, wanted in zip(asked, case["want"], strict=True)
    ]
    every = case.get("every", "1m")
    series = [{"series": name, "values": values} for name, values in case["series"].items()]
    return {
        "rule_files": [str(RULES / f"{each}.yaml") for each in case.get("rules", ())],
        "evaluation_interval": every,
        "tests": [{"interval": every, "input_series": series, "promql_expr_test": tests}],
    }


def promtool(place: Path, cases: Sequence[Json]) -> tuple[int, str]:
    """How it ends, and what it says."""
    files = [place / f"{number}.yaml" for number in range(len(cases))]
    for file, case in zip(files, cases, strict=True):
        file.write_text(json.dumps(case_file(case)), encoding="utf-8")
    done = run([folder() / "bin" / "promtool", "test", "rules", *files])
    return done.returncode, done.stdout + done.stderr


def test_rare_panels_show_what_there_is(tmp_path: Path) -> None:
    """Of synthetic samples, through the rules of the chart, in Prometheus's own evaluation: exactly these values."""
    code, said = promtool(tmp_path, read(CASES))

    assert code == 0, said


def test_a_rare_panel_that_shows_something_else_is_found(tmp_path: Path) -> None:
    """Planted: one value less in what is wanted."""
    case = next(each for each in read(CASES) if each["panel"] == "denied: Conflicts between agents")

    code, said = promtool(tmp_path, [{**case, "want": [case["want"][0][1:]]}])

    assert code and "FAILED" in said
