"""`remit trace`: what led to what, from a sidecar or from its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.people_fake import OPERATOR, PeopleFake, people_sidecar, record
from hypothesis import example, given
from hypothesis import strategies as st
from remit.cli.records import DEPTH, from_wire, grow, summary
from remit.cli.tracing import Names, node_text

from .conftest import Remit
from .state import write_state


def decision(effect: str = "ALLOW", **more: Any) -> bytes:
    """A decision's body."""
    body = {
        "action": "api.call",
        "resource": {"type": "service", "id": "openai", "operation": "chat", "variant": "small", "fields": []},
        "context": {"purpose": "support", "inputs": [], "reason": "", "arguments": {}},
        "facts": {"labels": {}},
        "effect": effect,
        "enforced": True,
        "reasons": [{"policy": "access.service", "code": "allowed"}],
        "currency": "EUR",
        "reserved": "0",
    }
    return json.dumps({**body, **more}).encode()


REPORT = b'{"outcome":"succeeded","state":"settled","cost":"15000000"}'
SEALED = {"hmac": "ab", "type": "string", "size": 4}
ARGUMENTS = {"risk": 38, "outcome": "approve", "letter": SEALED}
STORY = [
    record(1, subject="analysis", body=decision(action="data.read", resource={"type": "dataset", "id": "crm"})),
    record(
        2,
        subject="analysis",
        parent="d1",
        body=decision(
            reserved="20000000",
            facts={"labels": {"pii": ["d1"]}},
            context={"purpose": "support", "inputs": ["d1"], "reason": "to answer \x1b[31m", "arguments": ARGUMENTS},
        ),
    ),
    record(
        3,
        kind="report",
        ref="d2",
        subject="analysis",
        body=b'{"outcome":"succeeded","state":"settled","cost":"15000000"}',
    ),
    record(
        4,
        subject="mailer",
        parent="d2",
        body=decision("DENY", reasons=[{"policy": "flow.clearance", "code": "flow_label_exceeds_clearance"}]),
    ),
    record(5, subject="mailer", parent="d4", erased=True),
    record(
        6,
        subject="analysis",
        parent="d1",
        body=decision(reserved="1000000000", context={"purpose": "support", "inputs": [], "arguments": SEALED}),
    ),
]


@pytest.fixture
def sidecar(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PeopleFake]:
    with people_sidecar() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        fake.records["w1"] = STORY
        yield fake


def test_the_tree_says_who_did_what_why_and_at_what_cost(remit: Remit, sidecar: PeopleFake) -> None:
    """Children stand below what led to them; labels, inputs, cost and reasons are told; escapes are written out."""
    ended = remit("trace", "w1")

    assert ended.code == 0
    assert "\x1b" not in ended.out
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0] == "workflow w1  1970-01-01  for support"
    assert [line for line in lines if "#" in line or "decisions" in line] == [
        "└── #1 00:00:00.000Z analysis  data.read  dataset crm  ALLOW",
        "    ├── #2 00:00:00.000Z analysis  api.call  service openai/chat/small  ALLOW",
        "    │     labels held pii (from #1)",
        "    │     knew #1",
        "    │     #3 00:00:00.000Z report succeeded settled",
        "    │   └── #4 00:00:00.000Z mailer  api.call  service openai/chat/small  DENY",
        "    │       └── #5 00:00:00.000Z mailer  decision (body erased)",
        "    └── #6 00:00:00.000Z analysis  api.call  service openai/chat/small  ALLOW",
        "decisions: 3 ALLOW, 1 DENY, 1 erased; spent 0.015 EUR, set aside 1 EUR",
    ]
    assert "    │     cost 0.015 EUR settled, of 0.02 EUR reserved" in lines
    assert "    │     with risk=38, outcome=approve" in lines
    assert not any("hmac" in line or "type=" in line for line in lines)
    assert "    │     said to answer \\x1b[31m" in lines
    assert "    │         because flow.clearance: flow_label_exceeds_clearance" in lines


def test_a_query_says_what_was_asked_and_how_many_rows_it_had(remit: Remit, sidecar: PeopleFake) -> None:
    """With the decision where the answer was short, below it where it was long."""
    asked = {"query": {"statement": "SELECT id FROM customers WHERE id = ?"}}
    short = {"rows": 1, "truncated": False, "failure": ""}
    sidecar.records["w3"] = [
        record(1, subject="analysis", body=decision(action="data.read", sent={**asked, "answer": short})),
        record(2, subject="analysis", body=decision(action="data.read", sent=asked)),
        record(3, kind="answer", ref="d2", body=b'{"rows":2000,"truncated":true,"failure":""}'),
        record(4, kind="answer", ref="d2", body=b'{"rows":0,"truncated":false,"failure":"timed_out"}'),
    ]

    lines = [line.strip("│├└─ ") for line in remit("trace", "w3").out.splitlines()]

    assert "asked SELECT id FROM customers WHERE id = ?" in lines
    assert "told 1 row" in lines
    assert "#3 00:00:00.000Z answer 2000 rows, truncated" in lines
    assert "#4 00:00:00.000Z answer 0 rows, timed_out" in lines


def test_a_write_stands_with_its_decision(remit: Remit, sidecar: PeopleFake) -> None:
    """Each time that it was asked for, and why it failed where it did."""
    sidecar.records["w2"] = [
        record(1, subject="analysis", body=decision(action="data.write")),
        record(2, kind="write", ref="d1", subject="analysis", body=b'{"affected":1,"replayed":true,"failure":""}'),
        record(3, kind="write", ref="d1", subject="analysis", body=b'{"failure":"conflict"}'),
    ]

    lines = [line.strip() for line in remit("trace", "w2").out.splitlines()]

    assert "#2 00:00:00.000Z write replayed" in lines
    assert "#3 00:00:00.000Z write: conflict" in lines


@pytest.mark.parametrize(
    ("failure", "cost", "total"),
    [
        ("", "0.01 EUR settled, of 0.01 EUR reserved", "spent 0.01 EUR, set aside 0 EUR"),
        ("conflict", "0 EUR voided, of 0.01 EUR reserved", "spent 0 EUR, set aside 0 EUR"),
        ("unavailable", "0.01 EUR reserved", "spent 0 EUR, set aside 0.01 EUR"),
    ],
)
def test_a_write_spends_what_it_reserved_where_it_was_done(
    remit: Remit, sidecar: PeopleFake, failure: str, cost: str, total: str
) -> None:
    """Nothing where it failed; where nobody knows, it is still set aside."""
    body = json.dumps({"affected": 1, "failure": failure}).encode()
    sidecar.records["w2"] = [
        record(1, subject="analysis", body=decision(action="data.write", reserved="10000000")),
        record(2, kind="write", ref="d1", subject="analysis", body=body),
    ]

    lines = [line.strip(" │") for line in remit("trace", "w2").out.splitlines()]

    assert f"cost {cost}" in lines
    assert lines[-1].endswith(total)


def test_json_has_every_record_in_order(remit: Remit, sidecar: PeopleFake) -> None:
    """--json prints the records as they stand in the journal."""
    document = remit("trace", "w1", "--json").document

    assert [each["sequence"] for each in document["records"]] == [1, 2, 3, 4, 5, 6]
    assert document["records"][2]["body"] == {"outcome": "succeeded", "state": "settled", "cost": "15000000"}
    assert document["records"][4]["erased"] is True
    assert document["truncated"] is False


def test_a_limit_is_told(remit: Remit, sidecar: PeopleFake) -> None:
    """Where there is more than was asked for, that is said."""
    ended = remit("trace", "w1", "--limit", "2")

    assert "only the first 2 records" in ended.err


def test_an_unknown_workflow_is_exit_code_2(remit: Remit, sidecar: PeopleFake) -> None:
    """Nobody's workflow is bad input."""
    assert remit("trace", "w9").code == 2


def test_the_files_tell_the_same(remit: Remit, place: Path) -> None:
    """--state reads the journal of a state directory, without a sidecar and without writing to it."""
    write_state(place / "kept", [("d1", "", decision()), ("d2", "d1", decision("DENY"))])
    before = {path: path.stat().st_mtime_ns for path in (place / "kept").iterdir()}

    ended = remit("trace", "w1", "--state", "kept")

    assert ended.code == 0
    assert "decisions: 1 ALLOW, 1 DENY" in ended.out
    assert {path: path.stat().st_mtime_ns for path in (place / "kept").iterdir()} == before
    assert remit("trace", "w9", "--state", "kept").code == 2
    assert remit("trace", "w1", "--state", "elsewhere").code == 3


def test_a_long_chain_stays_readable() -> None:
    """A chain of thousands is drawn at a bounded depth, whole and in time; what was moved says what it follows."""
    entries = [from_wire(record(n, parent=f"d{n - 1}", body=decision())) for n in range(1, 5001)]

    roots = grow(entries)
    seen, waiting = 0, list(roots)
    while waiting:
        node = waiting.pop()
        seen += 1
        assert node.depth <= DEPTH
        assert node.moved == (node.entry.sequence > DEPTH + 1)
        waiting += node.children

    assert (len(roots), seen) == (1, 5000)


def test_a_circle_of_parents_has_a_root() -> None:
    """Parents in a circle, or a record that is its own, make no loop: the first that is met is a root."""
    entries = [from_wire(each) for each in (record(1, parent="d2"), record(2, parent="d1"), record(3, parent="d3"))]

    assert [root.entry.id for root in grow(entries)] == ["d1", "d3"]


def test_a_parent_is_found_behind_the_clock_of_another_log() -> None:
    """A record hangs on what led to it, and reports on what they are about, wherever a clock has put them."""
    records = [record(1, kind="report", ref="d3", body=REPORT), record(2, parent="d3"), record(3, parent="d9")]
    (root,) = grow([from_wire(each) for each in records])

    assert root.entry.id == "d3"
    assert [each.entry.id for each in root.children] == ["d2"]
    assert [each.sequence for each in root.about] == [1]


def test_records_of_several_logs_are_named_with_them() -> None:
    """#1 alone could be two records."""
    one, two = from_wire(record(1)), from_wire(record(1))
    names = Names.of([one, replace(two, log="other", id="x1")])

    assert (names.name("d1"), names.name("x1")) == (f"{one.log} #1", "other #1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
PARTS = [
    "action",
    "resource",
    "context",
    "facts",
    "reasons",
    "effect",
    "enforced",
    "reserved",
    "currency",
    "cost",
    "state",
]


@given(st.dictionaries(st.sampled_from(PARTS), JSON) | JSON, st.binary(max_size=9), st.booleans())
@example(dict.fromkeys(PARTS, "\x1b[2J"), b"", True)
def test_no_body_breaks_the_tree(body: Any, raw: bytes, whole: bool) -> None:
    """Whatever a body holds, the tree is drawn, and nothing in it acts on a terminal."""
    text = json.dumps(body).encode() if whole else raw
    entries = [from_wire(record(1, body=text)), from_wire(record(2, kind="report", ref="d1", body=text))]

    drawn = node_text(grow(entries)[0], Names.of(entries)).plain + summary(entries)

    assert drawn.replace("\n", "").isprintable()
