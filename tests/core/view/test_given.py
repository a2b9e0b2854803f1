"""What policy is given for a view is what its rules may read, and the same for all statements."""

from __future__ import annotations

from dataclasses import replace

from remit.core.catalogue import Catalogue
from remit.core.dataset import Dataset, Table
from remit.core.model import Context, Estimate, Facts, Halt, Identity, Mode, Request, Resource, ResourceFacts, Subject
from remit.core.view.given import GIVEN, view_document

CRM = Dataset(
    owner="cx",
    labels=("eu",),
    clearance=("pii",),
    tables={"people": Table({"id": (), "email": ("pii",), "pay": ("hr",)})},
)
CATALOGUE = Catalogue("EUR", datasets={"crm": CRM})
WHO = Subject("agent", "support", "cx", ("reader",), Identity("mtls", "spiffe"), Mode.OBSERVE, "workflow", "triage")
ASKED = Request(WHO, "data.read", Resource("dataset", "crm"), Context(workflow="w_1", purpose="care"))
HALT = Halt("h_1", "agent", "support", "ann", "enough", 3_000_000_000)
KNOWN = Facts(7_000_000_000, ResourceFacts(known=True), labels={"pii": ("d_1",)}, halts=(HALT,))


def test_a_view_is_given_what_its_rules_may_read() -> None:
    """Every value of it, and nothing else; the labels are those of all the dataset."""
    assert view_document(CATALOGUE, ASKED, KNOWN) == {
        "subject": {
            "type": "agent",
            "id": "support",
            "team": "cx",
            "roles": ["reader"],
            "actor": "triage",
            "mode": "observe",
            "isolation": "workflow",
            "identity": {"method": "mtls", "subject": "spiffe"},
        },
        "action": {"name": "data.read"},
        "resource": {
            "type": "dataset",
            "id": "crm",
            "operation": "",
            "variant": "",
            "ref": "crm",
            "owner": "cx",
            "external": False,
            "labels": ["eu", "hr", "pii"],
            "clearance": ["pii"],
        },
        "context": {"workflow": "w_1", "purpose": "care", "time": 7},
        "facts": {
            "labels": {"pii": []},
            "halts": [
                {"id": "h_1", "scope": "agent", "value": "support", "by": "ann", "reason": "enough", "time": 3},
            ],
            "chain": [],
        },
    }
    assert {part: set(names) for part, names in view_document(CATALOGUE, ASKED, KNOWN).items()} == {
        part: set(names) for part, names in GIVEN.items()
    }


def test_one_view_serves_all_statements() -> None:
    """What a call is about, what it costs, and which decisions came before it change nothing."""
    other = replace(
        ASKED,
        resource=replace(ASKED.resource, fields=("people.pay",), properties={"statement": "SELECT pay FROM people"}),
        context=replace(ASKED.context, reason="r", parent="d_0", attempt=2, arguments={"id": 7}, inputs=("d_1", "d_2")),
        usage={"call": 1},
        fulfils=frozenset({"minimum_group"}),
        key="k",
    )
    known = replace(
        KNOWN,
        resource=ResourceFacts(known=True, owner="hr", labels=("hr",)),
        labels={"pii": ("d_2", "d_3")},
        arguments={"id": {"type": "integer"}},
        metered=True,
        estimate=Estimate(5, {"call": 1}),
        grants=({"id": "g_1"},),
        claims=({"id": "c_1"},),
    )

    assert view_document(CATALOGUE, other, known) == view_document(CATALOGUE, ASKED, KNOWN)
