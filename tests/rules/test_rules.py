"""Alerts: each fires, stays quiet where it nearly would, and resolves; it tells who is concerned and what to do."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart.tools import ROOT, folder, run
from click import Context, Group
from fakes.metric_names import CONTRACT
from remit.cli.main import root
from rules.promql import Rule, problems, rules_of

RULES = ROOT / "helm" / "remit" / "files" / "rules"
CASES = Path(__file__).parent / "cases"
RUNBOOKS = ROOT / "docs" / "runbooks"
HEADINGS = ("What it means", "Who it concerns", "How to look", "What to do", "If it is ignored")
HEAVIEST = ("RemitBudgetBurningTooFast", "RemitBudgetWillNotLast", "RemitDenialsSurging")


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


@cache
def rules() -> tuple[Rule, ...]:
    return tuple(rule for path in sorted(RULES.glob("*.yaml")) for rule in rules_of(path.name, read(path)["groups"]))


def alerts() -> dict[str, Rule]:
    return {each.name: each for each in rules() if each.alerts}


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """Run it; how it ended, and what it said."""
    done = run([folder() / "bin" / "promtool", *arguments])
    return done.returncode, done.stdout + done.stderr


def seconds(time: str) -> int:
    """A time as promtool takes it, such as 1h30m."""
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhms])", time))


def missing(name: str, file: Mapping[str, Any]) -> list[str]:
    """Which of the three tests of an alert a file does not have."""
    fires, resolves, stays_quiet = False, False, False
    for group in file["tests"]:
        told = [each for each in group["alert_rule_test"] if each["alertname"] == name]
        on = [seconds(each["eval_time"]) for each in told if each["exp_alerts"]]
        off = [seconds(each["eval_time"]) for each in told if not each["exp_alerts"]]
        fires = fires or bool(on)
        resolves = resolves or bool(on and off and max(off) > min(on))
        stays_quiet = stays_quiet or bool(off and not on)
    found = {"fires": fires, "resolves": resolves, "does not fire": stays_quiet}
    return [each for each, there in found.items() if not there]


def lacking(rule: Rule, pages: Mapping[str, str]) -> list[str]:
    """What an alert does not say."""
    page = f"docs/runbooks/{rule.name}.md"
    checks = {
        "severity": rule.labels.get("severity") in {"critical", "warning", "info"},
        "owner": bool(rule.labels.get("owner", "").strip()),
        "summary": 10 < len(rule.annotations.get("summary", "")) < 160,
        "description": len(rule.annotations.get("description", "")) > 60,
        "runbook_url": rule.annotations.get("runbook_url") == page,
        "its page": rule.name in pages,
        **{f"its page's '{each}'": f"\n## {each}\n" in pages.get(rule.name, "") for each in HEADINGS},
    }
    return [each for each, there in checks.items() if not there]


def pages() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in RUNBOOKS.glob("Remit*.md")}


def test_the_rules_are_rules() -> None:
    """promtool takes every file, with nothing to say."""
    code, said = promtool("check", "rules", *sorted(RULES.glob("*.yaml")))

    assert (code, said.count("SUCCESS")) == (0, len(list(RULES.glob("*.yaml")))), said


def test_every_alert_fires_stays_quiet_and_resolves() -> None:
    """As its cases say, in a Prometheus's own evaluation; the heaviest begin."""
    files = sorted(CASES.glob("*.yaml"), key=lambda path: (path.stem not in HEAVIEST, path.name))
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        ended = dict(zip(files, pool.map(lambda path: promtool("test", "rules", path), files), strict=True))

    assert {path.name: said for path, (code, said) in ended.items() if code} == {}


def test_every_alert_has_its_three_tests() -> None:
    """In a file of its name; and no file is of an alert that is not there."""
    assert {path.stem for path in CASES.glob("*.yaml")} == set(alerts())
    assert {name: gaps for name in alerts() if (gaps := missing(name, read(CASES / f"{name}.yaml")))} == {}


def test_every_alert_says_whom_it_wakes_and_why() -> None:
    """Severity, owner, a summary and a description, and a page in docs/runbooks that is there and whole."""
    there = pages()

    assert {name: gaps for name, rule in alerts().items() if (gaps := lacking(rule, there))} == {}
    assert set(there) == set(alerts())


def test_rules_rest_on_what_is_told() -> None:
    """Every metric and label that an expression or a text names is one that a member, or the scrape, really has."""
    assert problems(rules(), CONTRACT) == []


def test_runbooks_show_queries_that_can_be_asked(tmp_path: Path) -> None:
    """Each line of a page's queries is one, of metrics that are told or recorded by a rule, and each page has some."""
    shown = {name: "".join(re.findall(r"```promql\n(.*?)```", text, re.DOTALL)) for name, text in pages().items()}
    known = {*CONTRACT, *(each.name for each in rules()), "up"}
    known |= {name.removesuffix("_count") + "_bucket" for name in CONTRACT if name.endswith("_count")}
    asked = [{"record": f"asked:{name}", "expr": line} for name, lines in shown.items() for line in lines.splitlines()]
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": asked}]}), encoding="utf-8")

    code, said = promtool("check", "rules", "--lint=none", file)

    assert code == 0, said
    assert [name for name, lines in shown.items() if not lines] == []
    named = {each for lines in shown.values() for each in re.findall(r"\bremit[_:][a-z0-9_:]+", lines)}
    assert named - known == set()


def test_runbooks_show_commands_that_exist() -> None:
    """`remit X Y`, where Y is a command of the group X."""
    unknown = []
    for name, text in pages().items():
        for first, second in re.findall(r"(?:^|`|\$ |-- )remit ([a-z]+)(?: ([a-z]+))?", text, re.MULTILINE):
            command = root.get_command(Context(root), first)
            if command is None or (isinstance(command, Group) and not command.get_command(Context(command), second)):
                unknown.append(f"{name}: remit {first} {second}")

    assert unknown == []


def planted(rule: Rule, **changes: Any) -> Rule:
    parts = {each: getattr(rule, each) for each in ("file", "name", "expression", "labels", "annotations", "alerts")}
    return Rule(**(parts | changes))


def test_planted_mistakes_in_rules_are_found() -> None:
    """A metric or a label that is misspelt, a text that names a label that its series do not have."""
    down, denials = alerts()["RemitStoreDown"], alerts()["RemitApprovalWaiting"]
    wrong = [
        planted(down, expression="remit_store_upp == 0"),
        planted(down, expression='remit_store_up{pods="a"} == 0'),
        planted(denials, expression=denials.expression.replace("queue", "queu")),
        planted(down, annotations={"summary": "{{ $labels.agent }}"}),
    ]

    assert [problems([each], CONTRACT)[:1] for each in wrong] == [
        ["RemitStoreDown: nothing tells remit_store_upp"],
        ["RemitStoreDown: remit_store_up has no pods"],
        ["RemitApprovalWaiting: nothing it rests on has queu"],
        ["RemitStoreDown: nothing it rests on has agent"],
    ]


def test_planted_mistakes_in_alerts_are_found() -> None:
    """One without an owner, and one whose page is not there."""
    rule, there = alerts()["RemitStoreDown"], pages()

    assert lacking(planted(rule, labels={"severity": "critical"}), there) == ["owner"]
    assert "its page" in lacking(rule, {})


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """The rules, and cases beside them, to be spoilt."""
    shutil.copytree(RULES, tmp_path / "helm" / "remit" / "files" / "rules")
    shutil.copytree(CASES, tmp_path / "tests" / "rules" / "cases")
    yield tmp_path


@pytest.mark.parametrize(
    ("name", "was", "spoilt"),
    [
        ("RemitStoreDown", "remit_store_up == 0", "remit_store_upp == 0"),
        ("RemitStoreDown", "remit_store_up == 0", "remit_store_up < 2"),
        ("RemitStoreDown", 'summary: "{{ or $labels.pod', 'summary: "{{ or $labels.bod'),
    ],
)
def test_planted_mistakes_are_found_by_the_cases(copied: Path, name: str, was: str, spoilt: str) -> None:
    """An alert that never fires, one that always does, and one that speaks of nobody."""
    platform = copied / "helm" / "remit" / "files" / "rules" / "platform.yaml"
    text = platform.read_text(encoding="utf-8")
    assert was in text
    platform.write_text(text.replace(was, spoilt), encoding="utf-8")

    code, said = promtool("test", "rules", copied / "tests" / "rules" / "cases" / f"{name}.yaml")

    assert code and "FAILED" in said


def test_cases_that_never_fire_are_found() -> None:
    """Nor may one lack its end, or its near miss."""
    quiet: Sequence[Any] = [{"alertname": "A", "eval_time": "1m", "exp_alerts": []}]
    loud: Sequence[Any] = [{"alertname": "A", "eval_time": "1m", "exp_alerts": [{}]}]

    assert missing("A", {"tests": [{"alert_rule_test": quiet}]}) == ["fires", "resolves"]
    assert missing("A", {"tests": [{"alert_rule_test": loud}]}) == ["resolves", "does not fire"]
    assert missing("B", {"tests": [{"alert_rule_test": loud}]}) == ["fires", "resolves", "does not fire"]
