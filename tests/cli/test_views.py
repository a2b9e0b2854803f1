"""`remit views explain`: the effective filter and masks, and which rule each came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Remit

pytestmark = pytest.mark.opa

CATALOGUE = """\
currency: EUR
teams: {cx: {}}
agents:
  support:
    team: cx
    roles: [support]
    purposes: [support, billing]
    clearance: [pii]
    identity: {token_hash: "sha256:HASH"}
datasets:
  crm:
    owner: cx
    url: sqlite:///tmp/crm.db
    tables:
      customers: {columns: {id: [], region: [], email: [pii], card: [pci], salary: [hr]}}
      orders: {columns: {total: [finance]}}
      notes: {columns: {text: []}}
  web: {owner: cx, tables: {hits: {columns: {path: []}}}}
""".replace("HASH", "a" * 64)

VIEW = """\
package remit.views.crm

# METADATA
# title: The team's own regions
include if {
	input.customers.region in regions
	input.resource.operation == "customers"
}

include if input.customers.email == input.subject.id

include if {
	input.context.purpose == "billing"
	input.resource.operation == "orders"
}

regions := {"eu", "uk"} if input.subject.team == "cx"
"""
MASKS = """\
package remit.views.crm

masks.customers.card.partial.last := 4

# METADATA
# title: Salaries are nobody's business
masks.customers.salary := {"replace": {"value": null}} if not input.context.purpose == "billing"

masks.orders.total.round.places := 0 if input.context.time > 0
"""


WITHOUT_VIEW = (
    "no view of web in the policies, so no agent can query it: "
    "write one (remit policy new views/web), or name the directory where it lies (--policy)"
)


@pytest.fixture
def views(place: Path) -> Path:
    """A catalogue, and the view of one of its datasets in two files."""
    (place / "remit.yaml").write_text(CATALOGUE)
    for name, text in (("rows", VIEW), ("columns", MASKS)):
        path = place / "policies" / f"{name}.rego"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return place / "policies"


def explain(remit: Remit, *arguments: str) -> dict[str, dict[str, object]]:
    """What is told of each table, as JSON."""
    ended = remit("views", "explain", "support", "crm", "--policy", "policies", "--json", *arguments)
    assert ended.code == 0, ended
    return {each["table"]: each for each in ended.document["tables"]}


def test_each_part_is_told_with_the_rule_it_came_from(remit: Remit, views: Path) -> None:
    """Rows and masks, with file, line and title."""
    customers = explain(remit)["customers"]

    assert customers["filter"] == "region IN ('eu', 'uk') OR email = 'support'"
    assert customers["rules"] == [
        {
            "file": "policies/rows.rego",
            "line": 5,
            "title": "The team's own regions",
            "filter": "region IN ('eu', 'uk')",
        },
        {"file": "policies/rows.rego", "line": 10, "title": "", "filter": "email = 'support'"},
    ]
    salary = {"file": "policies/columns.rego", "line": 7, "title": "Salaries are nobody's business"}
    card = {"file": "policies/columns.rego", "line": 3, "title": ""}
    assert customers["columns"] == [
        {"column": "id", "labels": [], "mask": "", "settings": {}, "rules": []},
        {"column": "region", "labels": [], "mask": "", "settings": {}, "rules": []},
        {"column": "email", "labels": ["pii"], "mask": "", "settings": {}, "rules": []},
        {"column": "card", "labels": ["pci"], "mask": "partial", "settings": {"last": "4"}, "rules": [card]},
        {"column": "salary", "labels": ["hr"], "mask": "null", "settings": {}, "rules": [salary]},
    ]
    assert (customers["labels"], customers["not_cleared"]) == (["pci", "pii"], ["pci"])


def test_the_purpose_decides(remit: Remit, views: Path) -> None:
    """What is shown for one purpose is not for another, and a table that no rule includes shows no row."""
    plain, billing = explain(remit), explain(remit, "--purpose", "billing")

    assert [each["rows"] for each in plain.values()] == ["some", "none", "none"]
    assert [each["rows"] for each in billing.values()] == ["some", "every", "none"]
    assert billing["customers"]["not_cleared"] == ["hr", "pci"]


@pytest.mark.parametrize(
    ("purpose", "told"), [((), "no purpose"), (("--purpose", "sales"), "sales"), (("--purpose", "billing"), "")]
)
def test_a_purpose_that_is_not_the_agents_is_told(
    remit: Remit, views: Path, purpose: tuple[str, ...], told: str
) -> None:
    """What is shown then is what no query will see."""
    ended = remit("views", "explain", "support", "crm", "--policy", "policies", *purpose)

    denied = (
        f"remit: a query for {told} is denied, whatever the view; those of support are: support, billing (--purpose)"
    )
    assert ended.err.splitlines() == ([denied] if told else [])


def test_it_can_be_read(remit: Remit, views: Path) -> None:
    """One table, as text; that it is of this moment is said."""
    ended = remit("views", "explain", "support", "crm", "--policy", "policies", "--table", "customers")

    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0].startswith("support sees of crm (policy revision ")
    assert lines[0].endswith(", now: it reads the time)")
    assert lines[2:] == [
        "customers: region IN ('eu', 'uk') OR email = 'support'",
        "  policies/rows.rego:5 (The team's own regions): region IN ('eu', 'uk')",
        "  policies/rows.rego:10: email = 'support'",
        "  column  labels  shown             by",
        "  id              as it is",
        "  region          as it is",
        "  email   pii     as it is",
        "  card    pci     partial (last 4)  policies/columns.rego:3",
        "  salary  hr      null              policies/columns.rego:7 (Salaries are nobody's business)",
        "  labels: pci, pii; not cleared for pci",
    ]


def test_a_view_that_cannot_be_had_is_exit_code_1(remit: Remit, views: Path) -> None:
    """The table says why; the others are shown."""
    view = views / "columns.rego"
    view.write_text(view.read_text().replace("round.places := 0", "round.places := 0 - 1"))

    ended = remit("views", "explain", "support", "crm", "--policy", "policies")

    assert ended.code == 1
    told = 'orders: orders.total: round with other settings than it takes, expected {"places": 0 to 15}'
    assert f"{told} (policies/columns.rego:9)" in ended.out
    assert "customers: region IN" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("suport", "crm"), 2, "no agent is called 'suport'; did you mean support?"),
        (("support", "cmr"), 2, "no dataset is called 'cmr'; did you mean crm?"),
        (("support", "crm", "--table", "order"), 2, "no table of crm is called 'order'; did you mean orders?"),
        (("support", "web"), 1, WITHOUT_VIEW),
    ],
)
def test_what_is_not_there_is_told(remit: Remit, views: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    """A name that is unknown is wrong use; a view that is not written is an answer: no."""
    ended = remit("views", "explain", *arguments, "--policy", "policies")

    assert (ended.code, ended.err) == (code, f"remit: {told}\n")


def test_a_view_that_does_not_compile_is_exit_code_1_with_its_line(remit: Remit, views: Path) -> None:
    """As in `remit check`."""
    view = views / "rows.rego"
    view.write_text(view.read_text().replace("input.customers.email", "input.customers.mail"))

    ended = remit("views", "explain", "support", "crm", "--policy", "policies")

    assert ended.code == 1
    assert ended.err.startswith("remit: policies/rows.rego:10: input.customers.mail is no column of the catalogue")
