"""The catalogue describes what is asked for, shows policy what it may see, and nothing that it may not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.canonical import encode
from remit.core.catalogue import (
    UNKNOWN,
    Agent,
    Approval,
    Budget,
    Catalogue,
    Conflicts,
    Credential,
    Endpoint,
    Identity,
    Override,
    Person,
    Price,
    Rate,
    Service,
    Team,
    Terms,
    Variant,
)
from remit.core.dataset import Dataset, DataSource, NamedStatement, Table
from remit.core.model import Link, Resource, ResourceFacts
from remit.core.selector import Selector

LINK = Link("connector", "integrations", "eu", False)
OPENAI = Link("openai", "cx", "eu", True)
SECRET = "canary-7f3a"
APPROVAL = {"bind": "variant", "uses": 1, "ttl": 3600, "supervisor": False, "quorum": 1, "wait": 3600}

FULL = Catalogue(
    currency="EUR",
    exchange=(Rate("USD", "EUR", 920_000_000, since=86_400_000_000_000),),
    teams={"cx": Team(contact="#cx")},
    people={"ana": Person(roles=("finance",), identity=Identity(token_hashes=(SECRET,)))},
    agents={
        "support": Agent(
            team="cx", clearance=("pii",), identity=Identity(uris=(SECRET,), dns=(SECRET,), fingerprints=(SECRET,))
        )
    },
    services={
        "openai": Service(
            owner="cx",
            endpoints={
                "eu": Endpoint("https://eu/", region="eu", when=Selector((("team", ("cx",)),))),
                "us": Endpoint("https://us/", region="us", when=Selector((("team", ("ml",)),))),
            },
            credentials=(Credential(file=SECRET), Credential(environment=SECRET)),
            via=(LINK,),
            clearance=("pii",),
            returns=("untrusted",),
            operations=("chat",),
            variants={"small": Variant(), "large": Variant(approval=Approval(roles=("finance",)), max={"n": 4})},
            overrides=(
                Override(
                    variants={"large": Terms(max={"token": 9}, cheaper="small")},
                    when=Selector((("agent", ("a*",)),)),
                ),
                Override(
                    variants={"large": Terms(approval=Approval(roles=("cfo",)))},
                    when=Selector((("agent", ("ab",)),)),
                ),
            ),
        ),
        "mail": Service(external=False),
    },
    prices=(Price("openai/*", "call", 4_100_000_000, "EUR", per=1000),),
    datasets={
        "crm": Dataset(
            owner="cx",
            reader=DataSource(SECRET),
            labels=("internal",),
            clearance=("pii",),
            tables={
                "customers": Table(columns={"id": (), "email": ("pii",), "name": ("pii", "name")}),
                "orders": Table(columns={"total": ("finance",)}),
            },
        ),
        "empty": Dataset(),
    },
    budgets={"month": Budget(limit=2_500_000_000, warn=(Fraction(4, 5),), caps={"*": Fraction(3, 10)})},
)
WHO = {"agent": "support", "team": "cx"}


def describe(type: str, id: str, operation: str = "", *fields: str, who: Mapping[str, str] = WHO) -> ResourceFacts:
    return FULL.describe(Resource(type, id, operation, fields=fields), who)


def test_a_service_is_described_by_the_first_endpoint_that_selects_the_request() -> None:
    """Region follows from the caller; the chain begins with the service itself, in that region."""
    facts = ResourceFacts(True, "cx", True, "eu", ("untrusted",), ("pii",), (OPENAI, LINK))
    elsewhere = replace(facts, region="us", chain=(replace(OPENAI, region="us"), LINK))
    assert describe("service", "openai", "chat") == facts
    assert describe("service", "openai", "chat", who={"team": "ml"}) == elsewhere


def test_a_service_without_endpoints_has_no_region() -> None:
    """Endpoints are optional; without them anybody may be described the service."""
    itself = Link("mail", "", "", False)
    assert describe("service", "mail", who={}) == ResourceFacts(known=True, chain=(itself,))


@pytest.mark.parametrize(
    ("type", "id", "operation", "who"),
    [
        ("service", "opnai", "", WHO),
        ("service", "crm", "", WHO),
        ("dataset", "openai", "", WHO),
        ("agent", "ana", "", WHO),
        ("budget", "week", "", WHO),
        ("planet", "openai", "chat", WHO),
        ("", "", "", WHO),
    ],
)
def test_what_the_catalogue_does_not_list_is_unknown(
    type: str, id: str, operation: str, who: Mapping[str, str]
) -> None:
    """Another type or id: nothing is known of it."""
    assert describe(type, id, operation, who=who) == UNKNOWN


@pytest.mark.parametrize(("operation", "who"), [("embeddings", WHO), ("", WHO), ("chat", {"team": "hr"})])
def test_an_unknown_use_of_a_service_is_as_labelled_as_any(operation: str, who: Mapping[str, str]) -> None:
    """Another operation, or a caller without an endpoint: nothing is known but what its answers carry."""
    assert describe("service", "openai", operation, who=who) == replace(UNKNOWN, labels=("untrusted",))


def test_a_tool_is_its_service_and_an_agent_its_team_s() -> None:
    """A tool has its server's facts; an agent is answered for by its team and takes what it is cleared for."""
    assert describe("tool", "openai", "chat") == describe("service", "openai", "chat")
    assert describe("agent", "support") == ResourceFacts(known=True, owner="cx", clearance=("pii",))


@pytest.mark.parametrize("type", ["workflow", "decision", "scope"])
def test_what_remit_keeps_itself_belongs_to_who_asks(type: str) -> None:
    """Workflows, decisions and scopes are not listed, and their asker's team answers for them."""
    assert describe(type, "anything") == ResourceFacts(known=True, owner="cx")


def test_a_listed_budget_is_known() -> None:
    """A budget can be acted on where it exists."""
    assert describe("budget", "month").known


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ((), ("finance", "internal", "name", "pii")),
        (("customers.id",), ("internal",)),
        (("customers.id", "customers.email"), ("internal", "pii")),
        (("customers",), ("internal", "name", "pii")),
        (("customers.id", "orders"), ("finance", "internal")),
    ],
)
def test_a_read_has_the_labels_of_the_fields_that_it_names(fields: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Named columns or tables bring their own labels and the dataset's; naming none brings all."""
    assert describe("dataset", "crm", "", *fields) == ResourceFacts(
        known=True, owner="cx", labels=labels, clearance=("pii",)
    )


@pytest.mark.parametrize("field", ["customers.phone", "clients.id", "customers.", ".id", "", "*", "customers.*"])
def test_an_unknown_field_makes_the_dataset_unknown(field: str) -> None:
    """One field that is not listed, beside others that are: nothing is known but all that it may carry."""
    unknown = describe("dataset", "crm", "", "customers.id", field)
    assert unknown == replace(UNKNOWN, labels=describe("dataset", "crm").labels)


@given(st.sets(st.sampled_from(["customers", "customers.id", "customers.email", "customers.name", "orders.total"])))
def test_naming_fields_never_adds_labels(fields: set[str]) -> None:
    """Whatever fields are named, their labels are among the dataset's own."""
    whole = set(describe("dataset", "crm").labels)
    assert set(describe("dataset", "crm", "", *sorted(fields)).labels) <= whole


WRITING = replace(
    FULL,
    datasets={
        "crm": replace(
            FULL.datasets["crm"],
            statements={
                "rename": NamedStatement("UPDATE … returning id", owner="ml", labels=("pii",)),
                "forget": NamedStatement("DELETE …"),
            },
        ),
        "open": FULL.datasets["crm"],
    },
)


def written(dataset: str, operation: str, *fields: str, action: str = "data.write") -> ResourceFacts:
    return WRITING.describe(Resource("dataset", dataset, operation, fields=fields), WHO, action=action)


def test_a_write_to_a_dataset_with_statements_is_one_of_them() -> None:
    """It is described by its own owner, else the dataset's, what it returns, and the dataset's clearance."""
    rename = ResourceFacts(known=True, owner="ml", labels=("internal", "pii"), clearance=("pii",))
    assert written("crm", "rename") == rename
    assert written("crm", "rename", "customers.email") == rename
    assert written("crm", "forget") == replace(rename, owner="cx", labels=())


@pytest.mark.parametrize("operation", ["", "renme", "read"])
def test_a_write_that_is_no_statement_of_the_dataset_is_unknown(operation: str) -> None:
    """And brings the labels of all of it, where nobody is stopped."""
    whole = FULL.describe(Resource("dataset", "crm"), WHO)
    assert written("crm", operation) == replace(UNKNOWN, labels=whole.labels)
    assert written("open", operation) == whole
    assert written("crm", operation, action="data.read") == whole


def test_a_dataset_without_tables_is_known_as_a_whole_alone() -> None:
    """Where no columns are listed, none can be named."""
    assert describe("dataset", "empty").known
    assert not describe("dataset", "empty", "", "customers.id").known


@pytest.mark.parametrize(
    ("agent", "roles", "maxima", "cheaper"),
    [
        ("support", ("finance",), {"n": 4}, ""),
        ("analysis", ("finance",), {"token": 9}, "small"),
        ("ab", ("cfo",), {"token": 9}, "small"),
    ],
)
def test_overrides_change_the_terms_of_those_whom_they_select(
    agent: str, roles: tuple[str, ...], maxima: dict[str, int], cheaper: str
) -> None:
    """Each matching override replaces what it names, in order, and leaves the rest."""
    variant = FULL.services["openai"].variant("large", {"agent": agent})
    assert variant is not None
    assert variant.approval is not None
    assert (variant.approval.roles, variant.max, variant.cheaper) == (roles, maxima, cheaper)


def test_a_variant_that_is_not_listed_is_none() -> None:
    """Overrides cannot list a variant."""
    assert FULL.services["openai"].variant("huge", {"agent": "ab"}) is None
    assert FULL.services["mail"].variant("", {}) is None


def test_policy_sees_the_catalogue_in_the_shape_of_the_file() -> None:
    """Every field is there with its default, money and shares in whole units, durations and times in seconds."""
    document = FULL.document()
    assert document["budgets"]["month"] == {
        "limit": Decimal("2.5"),
        "when": {},
        "per": "none",
        "window": "none",
        "zone": "UTC",
        "warn": [Decimal("0.8")],
        "caps": {"*": Decimal("0.3")},
    }
    assert document["exchange"] == [{"source": "USD", "target": "EUR", "amount": Decimal("0.92"), "from": 86_400}]
    assert document["prices"][0]["amount"] == Decimal("4.1")
    assert document["people"] == {"ana": {"roles": ["finance"], "clearance": []}}
    assert document["services"]["openai"]["via"] == [
        {"service": "connector", "owner": "integrations", "region": "eu", "external": False}
    ]
    assert document["services"]["openai"]["endpoints"]["eu"]["when"] == {"team": ["cx"]}
    assert document["services"]["openai"]["variants"] == {
        "small": {"max": {}, "cheaper": ""},
        "large": {
            "approval": APPROVAL | {"roles": ["finance"]},
            "max": {"n": 4},
            "cheaper": "",
        },
    }


def test_policy_sees_of_an_override_what_it_names() -> None:
    """A default in an override would replace the variant's own property, and lift its limit."""
    assert [each["variants"]["large"] for each in FULL.document()["services"]["openai"]["overrides"]] == [
        {"max": {"token": 9}, "cheaper": "small"},
        {"approval": APPROVAL | {"roles": ["cfo"]}},
    ]


def test_policy_sees_what_contradicts_and_what_undoes() -> None:
    """Pairs are lists of two; a service without conflicts has no such key."""
    service = Service(
        conflicts=Conflicts((("approve", "reject"), ("update", "update")), "/id"), compensations={"a": "b"}
    )
    document = Catalogue("EUR", services={"tickets": service, "mail": Service()}).document()["services"]
    assert document["tickets"]["conflicts"] == {
        "between": [["approve", "reject"], ["update", "update"]],
        "object": "/id",
        "policy": "first-wins",
    }
    assert document["tickets"]["compensations"] == {"a": "b"}
    assert "conflicts" not in document["mail"]


def test_policy_sees_no_secret() -> None:
    """Identities, credentials and datasets' addresses are not in the document."""
    text = encode(FULL.document()).decode()
    assert SECRET not in text
    assert SECRET in repr(FULL)
    assert not {"identity", "credentials"} & set(json.loads(text)["services"]["openai"])


def changes() -> dict[str, Catalogue]:
    service = FULL.services["openai"]
    month = FULL.budgets["month"]
    return {
        "currency": replace(FULL, currency="USD"),
        "a team": replace(FULL, teams={}),
        "an identity": replace(FULL, people={"ana": replace(FULL.people["ana"], identity=Identity())}),
        "a credential": replace(FULL, services=FULL.services | {"openai": replace(service, credentials=())}),  # type: ignore[operator]
        "a share": replace(FULL, budgets={"month": replace(month, warn=(Fraction(3, 4),))}),
        "a limit by a nano": replace(FULL, budgets={"month": replace(month, limit=month.limit + 1)}),
        "an address": replace(FULL, datasets=FULL.datasets | {"crm": Dataset(owner="cx", reader=DataSource("x"))}),  # type: ignore[operator]
    }


def test_the_digest_changes_with_anything() -> None:
    """What policy sees and what it does not see both count; the same catalogue has the same digest."""
    digests = [FULL.digest, *(each.digest for each in changes().values())]
    assert len(set(digests)) == len(digests)
    assert replace(FULL).digest == FULL.digest
    assert len(FULL.digest) == 64


def test_the_digest_does_not_depend_on_the_order_of_ids() -> None:
    """Sections are mappings: only the order of lists means something."""
    shuffled = {name: FULL.services[name] for name in reversed(list(FULL.services))}
    assert replace(FULL, services=shuffled).digest == FULL.digest


def test_identities_are_told_by_type_and_id() -> None:
    """Agents and people prove themselves in the same ways, and are told apart."""
    assert [(kind, name) for kind, name, _ in FULL.identities()] == [("agent", "support"), ("person", "ana")]
