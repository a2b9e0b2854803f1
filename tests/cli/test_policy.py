"""`remit policy`: a new rule works at once; failures are readable."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from remit.backends.opa_binary import find

from .conftest import Remit

pytestmark = pytest.mark.opa


@pytest.fixture(scope="module")
def opa() -> Path:
    return find(os.environ).path


@pytest.mark.parametrize("name", ["cx/hours", "a/b", "long_category/and_9_digits"])
def test_a_new_rule_is_formatted_strict_and_tested(remit: Remit, place: Path, opa: Path, name: str) -> None:
    """What `policy new` writes passes OPA's formatter, its strict check and its own test, untouched."""
    assert remit("policy", "new", name).code == 0

    for command in (["fmt", "--fail", "--list"], ["check", "--strict"], ["test"]):
        ran = subprocess.run([opa, *command, "policies"], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran
    category, rule = name.split("/")
    assert f"package remit.custom.{category}.{rule}\n" in (place / "policies" / f"{name}/{rule}.rego").read_text()


def test_the_test_of_a_new_rule_can_fail(remit: Remit, place: Path) -> None:
    """A rule that denies nothing any more fails its test: exit code 1, with file, line and name."""
    remit("policy", "new", "cx/hours")
    rule = place / "policies/cx/hours/hours.rego"
    rule.write_text(rule.read_text().replace('"data.write"', '"data.read"'))

    ended = remit("policy", "test")

    assert ended.code == 1
    line = "policies/cx/hours/hours_test.rego:7: data.remit.custom.cx.hours_test.test_denied_without_a_reason failed"
    assert ended.out.splitlines() == [line, "1 failed"]


def test_good_policies_pass(remit: Remit, place: Path) -> None:
    """A new rule beside the library passes; so does the library alone."""
    assert remit("policy", "test").code == 0
    remit("policy", "new", "cx/hours")

    assert remit("policy", "test", "--json").document == {"ok": True, "failed": []}


def test_a_rule_that_does_not_compile_is_told_at_its_line(remit: Remit, place: Path) -> None:
    """A compile error names the author's own file and line."""
    remit("policy", "new", "cx/hours")
    rule = place / "policies/cx/hours/hours.rego"
    rule.write_text(rule.read_text() + "\ndeny contains x if true\n")

    ended = remit("policy", "test")

    assert ended.code == 1
    assert ended.out.startswith("policies/cx/hours/hours.rego:19: rego_unsafe_var_error: ")


def test_nothing_is_overwritten(remit: Remit, place: Path) -> None:
    """A rule that is there stays as it is."""
    remit("policy", "new", "cx/hours")
    rule = place / "policies/cx/hours/hours.rego"
    rule.write_text("mine")

    assert remit("policy", "new", "cx/hours").code == 2
    assert rule.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["hours", "cx/hours/x", "CX/hours", "../x/y", "cx/default", "cx/a_test", "cx/", "cx/é"]
)
def test_a_name_that_is_no_package_is_refused(remit: Remit, place: Path, name: str) -> None:
    """A name must fit a package and a path; nothing is written otherwise."""
    ended = remit("policy", "new", name)

    assert ended.code == 2
    assert "expected two names" in ended.err
    assert list(place.iterdir()) == []


def test_an_owner_cannot_break_the_metadata(remit: Remit, place: Path) -> None:
    """The owner is a plain name."""
    assert remit("policy", "new", "cx/hours", "--owner", "cx\n# x: 1").code == 2
    assert list(place.iterdir()) == []


CATALOGUE = """\
currency: EUR
teams: {cx: {}}
agents: {support: {team: cx, roles: [support], identity: {token_hash: "sha256:HASH"}}}
datasets:
  crm:
    owner: cx
    tables:
      customers: {columns: {id: [], email: [pii], phone: [pii]}}
      orders: {columns: {total: []}}
  empty: {owner: cx}
""".replace("HASH", "a" * 64)


def test_a_new_view_is_formatted_strict_and_tested(remit: Remit, place: Path, opa: Path) -> None:
    """What is written for a dataset passes OPA's formatter, its strict check and its own test, untouched."""
    (place / "remit.yaml").write_text(CATALOGUE)

    made = remit("policy", "new", "views/crm", "--json").document

    assert made["package"] == "remit.views.crm"
    for command in (["fmt", "--fail", "--list"], ["check", "--strict"], ["test"]):
        ran = subprocess.run([opa, *command, "policies"], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran
    text = (place / made["files"][0]).read_text()
    assert [line for line in text.splitlines() if line.startswith("masks")] == [
        "masks.customers.email.hash := {}",
        "masks.customers.phone.hash := {}",
    ]
    assert remit("policy", "test").code == 0


def test_the_test_of_a_new_view_can_fail(remit: Remit, place: Path) -> None:
    """A view that everybody has fails its test."""
    (place / "remit.yaml").write_text(CATALOGUE)
    made = remit("policy", "new", "views/crm", "--json").document
    view = place / made["files"][0]
    view.write_text(view.read_text().replace('"support" in input.subject.roles', 'input.resource.operation != ""'))

    ended = remit("policy", "test")

    assert ended.code == 1
    assert "crm_test.test_not_included_for_others failed" in ended.out


def test_the_test_of_a_new_view_goes_on_with_a_condition_on_rows(remit: Remit, place: Path) -> None:
    """It has a row of every column: a condition is met by giving it the value, and who asks is one of the role."""
    (place / "remit.yaml").write_text(CATALOGUE)
    view, test = (place / each for each in remit("policy", "new", "views/crm", "--json").document["files"])
    condition = '"support" in input.subject.roles\n\tinput.customers.id == 7\n\tinput.subject.team == "cx"'
    view.write_text(view.read_text().replace('"support" in input.subject.roles', condition))

    assert "crm_test.test_included_for_the_role failed" in remit("policy", "test").out
    test.write_text(test.read_text().replace('"id": "",', '"id": 7,'))
    assert remit("policy", "test").code == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("views/cmr", "views/cmr: no such dataset in the catalogue; did you mean crm?"),
        ("views/empty", "views/empty: the dataset has no column in the catalogue; expected tables with columns"),
    ],
)
def test_a_view_is_of_a_dataset_with_columns(remit: Remit, place: Path, name: str, told: str) -> None:
    """Anything else is exit code 2."""
    (place / "remit.yaml").write_text(CATALOGUE)

    ended = remit("policy", "new", name)

    assert (ended.code, ended.err) == (2, f"remit: {told}\n")
