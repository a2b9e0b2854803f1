"""`remit check`, and what it advises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from remit.backends.opa_binary import find
from remit.backends.opa_bundle import build, read_views
from remit.backends.policy_files import sources
from remit.cli.advice import advise
from remit.cli.rehearsal import rehearsed
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
            "roles: [finance]}}}}",
            "roles: [finance], quorum: 2}}}}",
            ["services.openai.variants.large: its quorum of 2 is never reached: at most 1 may approve it"],
        ),
        (
            "approval: {roles: [finance]}",
            "approval: {supervisor: true}",
            [
                "services.openai.variants.large: nobody may approve it for support: "
                "no supervisor, and nobody has a role (none named)"
            ],
        ),
        ("approval: {roles: [finance]}", "approval: {supervisor: true, roles: [finance]}", []),
        (
            "approval: {roles: [finance]}}}",
            "}}, overrides: [{when: {team: cx}, variants: {large: {approval: {roles: [cfo]}}}}]",
            ["services.openai.overrides[0].variants.large: nobody has a role that may approve it (cfo)"],
        ),
        (
            "purposes: [support], identity",
            "purposes: [support], review: [decision.make], identity",
            ["agents.support.review: no supervisor, and nobody has the role approver to review it"],
        ),
        (
            "purposes: [support], identity",
            "purposes: [support], review: [decision.make], supervisor: ana, identity",
            [],
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


def test_priorities_that_decide_nothing_are_told(place: Path) -> None:
    """A service whose conflicts go by priority, and agents of which none has more than another."""
    text = """\
currency: EUR
teams: {cx: {}}
agents: {a: {team: cx, roles: [x], priority: 5}, b: {team: cx, roles: [x], priority: 5}, c: {team: cx}}
services:
  one: {owner: cx, roles: [x], conflicts: {between: [[a, b]], policy: priority}}
  two: {owner: cx, conflicts: {between: [[a, b]], policy: priority}}
  three: {owner: cx, roles: [x], conflicts: {between: [[a, b]]}}
"""
    (place / "remit.yaml").write_text(text)
    advice = [each for each in advise(load([place], {}, {})[1], 1) if "priority" in each]

    assert advice == [
        "services.one.conflicts: all who may use it have the same priority, so the first always has its way"
    ]


SUPERVISED = """\
currency: EUR
teams: {cx: {}}
people: {ana: {roles: [finance]}, bob: {}}
agents:
  chief: {team: cx, supervisor: bob}
  lead: {team: cx, supervisor: chief}
  worker: {team: cx, supervisor: lead}
  other: {team: cx}
  fifth: {team: cx}
services:
  api:
    owner: cx
    variants: {large: {approval: {roles: [finance], supervisor: true, quorum: 3}}}
    overrides:
      - {when: {agent: worker}, variants: {large: {approval: {supervisor: true, quorum: 4}}}}
      - {when: {agent: "o*"}, variants: {large: {approval: {supervisor: true}}}}
"""


def test_who_may_approve_is_counted_for_each_who_asks(place: Path) -> None:
    """Whoever is above them all the way up, and people with the roles; those who can never get it are named."""
    (place / "remit.yaml").write_text(SUPERVISED)
    advice = [each for each in advise(load([place], {}, {})[1], 1) if "approve it" in each]

    assert advice == [
        "services.api.variants.large: its quorum of 3 is never reached: "
        "at most 2 may approve it for chief, other, fifth",
        "services.api.overrides[0].variants.large: its quorum of 4 is never reached: "
        "at most 3 may approve it for worker",
        "services.api.overrides[1].variants.large: nobody may approve it for other: "
        "no supervisor, and nobody has a role (none named)",
    ]


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


def view_with(remit: Remit, place: Path, rules: str) -> None:
    """The view of crm that is written to begin with, and these rules after it, from line 20 on."""
    remit("policy", "new", "views/crm")
    view = place / "policies/views/crm/crm.rego"
    view.write_text(view.read_text().replace("\nmasks.customers.email.hash := {}\n", "\n\n\n") + rules)


@pytest.mark.opa
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "masks.customers.emial.hash := {}",
            "masks.customers.emial is no column of the catalogue: did you mean email?",
        ),
        ("masks.customer.email.hash := {}", "masks.customer is no table of crm: did you mean customers?"),
        ("masks.customers.email.tokenise := {}", "customers.email: the mask 'tokenise', expected replace, hash"),
    ],
)
def test_a_mask_that_cannot_be_is_exit_code_1(remit: Remit, good: Path, place: Path, rule: str, told: str) -> None:
    """It is told at its line, before anybody asks."""
    view_with(remit, place, rule + "\n")

    ended = remit("check", "--policy", "policies")

    assert ended.code == 1
    assert f"error: policies/views/crm/crm.rego:20: {told}" in ended.out


@pytest.mark.opa
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            'masks.customers.email.partial.last := 4 if input.subject.team == "other"',
            "customers.email: partial without a setting: probably no rule for the setting holds for who asks; put the "
            'condition on the whole mask, as in {"partial": {"last": …}} if …',
        ),
        (
            'masks.customers[c].hash := {} if c := concat("", ["emi", "al"])',
            "customers: a mask of 'emial', expected a column of the catalogue",
        ),
        ('masks.customers contains "email"', "masks.customers: list, expected an object"),
    ],
)
def test_a_view_that_would_be_refused_is_exit_code_1(
    remit: Remit, good: Path, place: Path, rule: str, told: str
) -> None:
    """Each view is asked for; what is refused is told with the rule that it comes of, and to whom it is refused."""
    view_with(remit, place, rule + "\n")

    ended = remit("check", "--policy", "policies", "--json")

    assert ended.code == 1
    denied = "so queries of crm are denied: support for support"
    assert ended.document["errors"] == [f"policies/views/crm/crm.rego:20: {told}; {denied}"]


@pytest.mark.opa
def test_a_view_whose_rule_fails_is_told_with_its_file(remit: Remit, good: Path, place: Path) -> None:
    """Which rule it was is not known then."""
    view_with(remit, place, "masks.customers.email.hash := {} if to_number(input.subject.team) > 3\n")

    (error,) = remit("check", "--policy", "policies", "--json").document["errors"]

    assert error.startswith("policies/views/crm/crm.rego: policy_error: ")


@pytest.mark.opa
def test_a_mask_that_is_incomplete_for_nobody_who_is_admitted_is_good(remit: Remit, good: Path, place: Path) -> None:
    """It is asked for those whom the catalogue admits, as they are."""
    view_with(remit, place, 'masks.customers.email.partial.last := 4 if input.subject.team == "cx"\n')

    assert remit("check", "--policy", "policies").code == 0


@pytest.mark.opa
def test_a_comparison_with_a_table_that_is_none_is_a_warning(remit: Remit, good: Path, place: Path) -> None:
    """It compiles, and never holds."""
    rules = 'include if input.resource.operation == "customer"\n\ninclude if "orders" == input.resource.operation\n'
    view_with(remit, place, rules)

    ended = remit("check", "--policy", "policies", "--json")

    assert ended.code == 0
    never = "policies/views/crm/crm.rego:{}: input.resource.operation is never '{}', which is no table of crm{}"
    assert ended.document["warnings"] == [
        never.format(20, "customer", ": did you mean customers?"),
        never.format(22, "orders", ", expected one of customers"),
    ]


@pytest.mark.opa
def test_what_was_not_asked_for_is_told(good: Path, place: Path) -> None:
    """A bound holds for large catalogues, and says so."""
    good.write_text(GOOD.replace("purposes: [support]", "purposes: [support, billing, sales]"))
    catalogue = load([good], {}, {})[1]
    directory = place / "policies"
    directory.mkdir()
    (directory / "crm.rego").write_text("package remit.views.crm\n\ninclude if true\n")
    made = sources(catalogue, (directory,))
    opa = find(os.environ).path

    found = rehearsed(catalogue, build(made, opa, place), opa, place, read_views(made, opa), most=2)

    assert found.errors == ()
    how = "remit views explain AGENT DATASET asks for one"
    assert found.advice == (f"views: 1 of 3 combinations of agent, dataset and purpose were not asked for: {how}",)
