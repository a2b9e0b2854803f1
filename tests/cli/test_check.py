"""`remit check`, and what it advises."""

from __future__ import annotations

from pathlib import Path

import pytest
from remit.cli.advice import advise
from remit.config.loading import load

from .conftest import Remit

GOOD = """\
currency: EUR
teams: {cx: {}}
people: {ana: {roles: [finance], identity: {token_hash: "sha256:ONE"}}}
agents:
  support: {team: cx, roles: [support], purposes: [support], identity: {token_hash: "sha256:TWO"}}
services:
  openai: {owner: cx, roles: [support], variants: {small: {}, large: {approval: {roles: [finance]}}}}
prices: [{match: "openai/*", unit: call, amount: 0.01, currency: EUR}]
datasets: {crm: {owner: cx, url: "sqlite:///srv/crm.db", tables: {customers: {columns: {email: [pii]}}}}}
budgets: {month: {when: {team: cx}, limit: 100, window: month}}
""".replace("ONE", "a" * 64).replace("TWO", "b" * 64)


@pytest.fixture
def good(place: Path) -> Path:
    """A remit.yaml without a fault."""
    (place / "remit.yaml").write_text(GOOD)
    return place / "remit.yaml"


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        ("", "", []),
        ("owner: cx, roles: [support], ", "roles: [support], ", ["services.openai: no owner, so every use is denied"]),
        (
            "owner: cx, roles: [support]",
            "owner: cx, roles: [boss]",
            ["services.openai: no agent has one of its roles and one of its purposes, so every use is denied"],
        ),
        (
            "owner: cx, url",
            "owner: cx, purposes: [sales], url",
            ["datasets.crm: no agent has one of its roles and one of its purposes, so every use is denied"],
        ),
        (
            'url: "sqlite:///srv/crm.db", ',
            "",
            ["datasets.crm: no url, so it is decided about and cannot be queried"],
        ),
        (
            "tables: {",
            "statements: {forget: {sql: DELETE FROM customers}, touch: {sql: DELETE FROM x, roles: [boss]}}, tables: {",
            [
                "datasets.crm: statements and no writer, so none of them can be performed",
                "datasets.crm.statements.touch: no agent that the dataset admits may ask for it",
            ],
        ),
        (
            'url: "sqlite:///srv/crm.db", tables: {',
            "url: postgresql://u@h/db, writer: {url: postgresql://u@h/db}, statements: {s: {sql: DELETE FROM t}}, "
            "tables: {empty: {}, ",
            [
                "datasets.crm: read and written as one user; the reader needs no right to write",
                "datasets.crm.tables.empty: no columns, so nothing of it can be seen",
            ],
        ),
        (
            "openai/*",
            "openai/small",
            [
                "services.openai.variants.large: no price, so every call is denied (price_unknown); "
                "what is free says amount: 0"
            ],
        ),
        (
            "amount: 0.01, currency: EUR",
            "amount: 0.01, currency: USD",
            [
                "services.openai.variants.small: priced in USD, of which no rate into EUR is known: denied",
                "services.openai.variants.large: priced in USD, of which no rate into EUR is known: denied",
            ],
        ),
        (
            "roles: [finance]}}}}",
            "roles: [boss]}}}}",
            ["services.openai.variants.large: nobody has a role that may approve it (boss)"],
        ),
        (
            ', identity: {token_hash: "sha256:' + "b" * 64 + '"}}',
            "}",
            ["agents.support: no identity, so nobody can prove to be it"],
        ),
        (
            "when: {team: cx}",
            "when: {service: openai, agent: support}",
            [],
        ),
        (
            "budgets: {month: {when: {team: cx}, limit: 100, window: month}}",
            "",
            ["agents.support: no budget selects it, so what it spends is not bounded"],
        ),
        (
            'prices: [{match: "openai/*"',
            'prices: [{match: "openai/tiny*", unit: call, amount: 1, currency: EUR}, {match: "openai/*"',
            ["prices: 'openai/tiny*' matches no service's variant"],
        ),
    ],
)
def test_each_useless_entry_is_told(good: Path, old: str, new: str, advice: list[str]) -> None:
    """What is well-formed and yet of no use is named; what is fine is not."""
    good.write_text(GOOD.replace(old, new, 1) if old else GOOD)

    assert advise(load([good], {}, {})[1], 1_900_000_000 * 10**9) == advice


@pytest.mark.opa
def test_a_good_catalogue_passes_with_all_codes(remit: Remit, good: Path) -> None:
    """Everything compiles and every test passes; the codes of the library and of custom rules are listed, and views."""
    remit("policy", "new", "cx/hours")
    remit("policy", "new", "views/crm")

    ended = remit("check", "--policy", "policies", "--json")

    assert ended.code == 0, ended
    assert ended.document["warnings"] == []
    assert ended.document["views"] == ["crm"]
    codes = {(each["policy"], each["code"]) for each in ended.document["codes"]}
    assert {("custom.cx.hours", "reason_missing"), ("flow.clearance", "flow_label_exceeds_clearance")} <= codes
    told = remit("check", "--policy", "policies").out
    assert "custom.cx.hours" in told
    assert "\nviews: crm\n" in told
    assert f"good: policy revision {ended.document['revision']}" in told


@pytest.mark.opa
def test_a_dataset_without_a_view_is_told(remit: Remit, good: Path) -> None:
    """No agent can query it; that is a warning, for it may be meant."""
    ended = remit("check", "--json")

    assert ended.code == 0
    how = "write one (remit policy new views/crm), or name the directory where it lies (--policy)"
    expected = f"datasets.crm: no view of crm in the policies, so no agent can query it: {how}"
    assert ended.document["warnings"] == [expected]


@pytest.mark.opa
def test_a_misspelt_column_of_a_view_is_exit_code_1(remit: Remit, good: Path, place: Path) -> None:
    """It is told at its line, with what was meant."""
    remit("policy", "new", "views/crm")
    view = place / "policies/views/crm/crm.rego"
    view.write_text(view.read_text() + '\ninclude if input.customers.emial == "x"\n')

    ended = remit("check", "--policy", "policies")

    assert ended.code == 1
    assert "crm.rego:20: input.customers.emial is no column of the catalogue: did you mean email?" in ended.out


@pytest.mark.opa
def test_a_misspelt_field_of_the_input_in_a_view_is_exit_code_1(remit: Remit, good: Path, place: Path) -> None:
    """So is a comparison that cannot hold, by the schema that its metadata names."""
    remit("policy", "new", "views/crm")
    view = place / "policies/views/crm/crm.rego"
    text = view.read_text()

    view.write_text(text.replace('"support" in input.subject.roles', "input.subject.tema == input.subject.id"))
    assert "input.subject.tema is not given to a view: did you mean team?" in remit("check", "--policy", "policies").out
    view.write_text(text.replace('"support" in input.subject.roles', 'input.subject.roles == "support"'))
    assert "rego_type_error: match error" in remit("check", "--policy", "policies").out


@pytest.mark.opa
def test_a_failing_test_is_exit_code_1(remit: Remit, good: Path, place: Path) -> None:
    """A test of one's own that fails is told with its file and line."""
    remit("policy", "new", "cx/hours")
    test = place / "policies/cx/hours/hours_test.rego"
    test.write_text(test.read_text().replace('{"reason_missing"}', "set()"))

    ended = remit("check", "--policy", "policies")

    assert ended.code == 1
    assert ended.out.startswith("error: policies/cx/hours/hours_test.rego:7: ")


@pytest.mark.opa
def test_a_misspelt_input_field_is_exit_code_1(remit: Remit, good: Path, place: Path) -> None:
    """A field that the input does not have is found by its type, before anything runs."""
    remit("policy", "new", "cx/hours")
    rule = place / "policies/cx/hours/hours.rego"
    rule.write_text(rule.read_text().replace("input.context.reason", "input.context.raison"))

    ended = remit("check", "--policy", "policies")

    assert ended.code == 1
    assert "policies/cx/hours/hours.rego:16: rego_type_error" in ended.out


def test_a_bad_catalogue_is_exit_code_2_with_every_mistake(remit: Remit, good: Path) -> None:
    """All mistakes are told at once, each at its line."""
    good.write_text(GOOD.replace("team: cx, roles", "team: nobody, roles").replace("limit: 100", "limit: lots"))

    ended = remit("check")

    assert ended.code == 2
    assert ended.err.startswith("remit: remit.yaml:5:")
    assert "\nremit.yaml:10:" in ended.err


def test_no_catalogue_is_exit_code_2(remit: Remit) -> None:
    """A catalogue that is not there is told by its name."""
    ended = remit("check", "--catalogue", "elsewhere.yaml")

    assert ended.code == 2
    assert "elsewhere.yaml" in ended.err
