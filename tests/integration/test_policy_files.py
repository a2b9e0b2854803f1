"""A policy directory's `config.json`: levels of rules, and what is done when agents fail."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from integration.policy_asking import ask, decide, opa, request, said
from remit.backends.opa_bundle import BundleInvalid, Sources, build, library_path
from remit.backends.opa_sources import read_stated
from remit.backends.policy_files import prepare, sources
from remit.core.catalogue import Catalogue
from remit.core.failing import DEFAULT, Answer, FailurePolicy, Reply, SpendRate

pytestmark = pytest.mark.opa

STATED = {"loop": {"limit": 3}, "spending": {"amount": 1.5, "answer": "halt"}}
READ = FailurePolicy(loop=Answer(3, Reply.DENY), spending=SpendRate(1_500_000_000, Reply.HALT))
LIMIT = {"loop": {"limit": 3}}
OFF = {"flow.clearance": {"level": "off"}}


def policies(directory: Path, *configs: Any) -> tuple[Path, ...]:
    """Directories of policies, each with its `config.json`."""
    made = []
    for number, config in enumerate(configs):
        path = directory / f"policies{number}"
        path.mkdir()
        (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
        made.append(path)
    return tuple(made)


def served(directory: Path, *configs: Any) -> Any:
    """`data.remit` of the bundle."""
    stated = read_stated(policies(directory, *configs), library_path())
    bundle = build(Sources(library_path(), config=stated.config, failure=stated.failure), opa(), directory)
    return ask(bundle.path, '{"config": data.remit.config.rules, "failure": data.remit.failure}')


def test_without_a_config_json_everything_is_as_delivered(tmp_path: Path) -> None:
    stated = read_stated((tmp_path,), library_path())
    assert (stated.config, stated.failure, stated.failures) == ({}, {}, DEFAULT)


def test_policy_and_sidecar_are_given_the_same(tmp_path: Path) -> None:
    own = policies(tmp_path, {"failure": STATED, "rules": OFF})
    policy = prepare(Catalogue("EUR"), own, opa=opa(), directory=tmp_path)
    assert policy.failure == READ
    found = ask(policy.bundle.path, "data.remit.failure")
    delivered = json.loads((library_path() / "failure" / "data.json").read_text(encoding="utf-8"))
    assert found == delivered | {"loop": {"limit": 3, "answer": "deny"}, "spending": {"amount": 1.5, "answer": "halt"}}
    assert ask(policy.bundle.path, "data.remit.config.rules")["flow.clearance"] == {"level": "off"}
    assert ("failures.loop", "loop_detected") in policy.messages


def test_of_several_directories_the_later_has_the_last_word(tmp_path: Path) -> None:
    first = {"failure": {"loop": {"limit": 3, "answer": "halt"}, "vanished": {"answer": "escalate"}}, "rules": OFF}
    second = {"failure": {"loop": {"limit": 9}}}
    found = served(tmp_path, first, second)
    assert found["failure"]["loop"] == {"limit": 9, "answer": "halt"}
    assert found["failure"]["vanished"] == {"answer": "escalate"}
    assert found["config"]["flow.clearance"] == {"level": "off"}


def test_money_stays_exact(tmp_path: Path) -> None:
    own = policies(tmp_path, '{"failure": {"spending": {"amount": 0.000000001, "answer": "halt"}}}')
    assert sources(Catalogue("EUR"), own).failure["spending"]["amount"] == Decimal("0.000000001")


def test_the_policy_revision_is_another_where_failures_are_answered_otherwise(tmp_path: Path) -> None:
    plain = build(Sources(library_path()), opa(), tmp_path).revision
    assert build(Sources(library_path(), failure=LIMIT), opa(), tmp_path).revision != plain


def test_a_loop_ends_at_the_limit_that_is_stated(tmp_path: Path) -> None:
    from_limit = Sources(library_path(), catalogue=catalogue(), failure=LIMIT)
    root = build(from_limit, opa(), tmp_path).path
    again = {
        str(times): request("call", context={"workflow": "w-1"}, facts={"history": {"repeats": times}})
        for times in (2, 3)
    }
    decided = decide(root, again)
    assert said(decided["2"]) == {"ALLOW": ["access.service allowed"]}
    assert said(decided["3"]) == {"DENY": ["failures.loop loop_detected"]}


def catalogue() -> Any:
    return ask(library_path().parent, "data.remit.testing.catalogue")


@pytest.mark.parametrize(
    "config, problem",
    [
        ("{", "expected JSON"),
        ([], "or one of the two"),
        ({}, "or one of the two"),
        ({"failures": {}}, "or one of the two"),
        ({"rules": []}, "rules: expected"),
        (
            {"rules": {"flow.clearence": {"level": "off"}}},
            "rules: found 'flow.clearence', expected one of access.agent",
        ),
        ({"rules": {"flow.clearance": "off"}}, 'rules.flow.clearance: expected {"level": "on"} or "off"'),
        ({"failure": []}, "failure: found list, expected an object of loop, failed"),
        ({"failure": {"lop": {}}}, "failure: found 'lop', expected one of loop, failed"),
        ({"failure": {"loop": {"limit": -1}}}, "failure.loop.limit: found -1, expected a whole number from 0"),
        (
            {"failure": {"denials": {"answer": "deny"}}},
            "failure.denials.answer: found 'deny', expected none or escalate",
        ),
    ],
)
def test_a_mistake_is_told_with_its_file_and_path(config: Any, problem: str, tmp_path: Path) -> None:
    (own,) = policies(tmp_path, config)
    with pytest.raises(BundleInvalid) as caught:
        sources(Catalogue("EUR"), (own,))
    (told,) = map(str, caught.value.problems)
    assert told.startswith(f"{own / 'config.json'}: ")
    assert problem in told


def test_all_mistakes_of_all_directories_are_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "rules": {"no.such": {"level": "on"}},
        "failure": {"loop": {"limit": "3"}, "vanished": {"answer": "retry"}},
    }
    own = policies(tmp_path, wrong, {"failure": {"lop": {}}})
    with pytest.raises(BundleInvalid) as caught:
        sources(Catalogue("EUR"), own)
    assert [Path(each.file).parent.name for each in caught.value.problems] == ["policies0"] * 3 + ["policies1"]
