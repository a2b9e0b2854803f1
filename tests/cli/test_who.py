"""`remit audit who`: who saw whom, from a sidecar."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.people_fake import OPERATOR, STRANGER, PeopleFake, people_sidecar, record
from remit.v1 import audit_pb2

from .conftest import Remit


@pytest.fixture(name="sidecar")
def _sidecar(monkeypatch: pytest.MonkeyPatch) -> Iterator[PeopleFake]:
    with people_sidecar() as fake:
        monkeypatch.setenv("REMIT_ADDRESS", fake.address)
        monkeypatch.setenv("REMIT_TOKEN", OPERATOR)
        fake.sightings = [
            audit_pb2.Sighting(
                decision=record(9, subject="support", body=b'{"context":{"purpose":"refunds"}}'),
                sight=audit_pb2.SIGHT_RETURNED,
            ),
            audit_pb2.Sighting(decision=record(5, subject="report", erased=True), sight=audit_pb2.SIGHT_REACHED),
            audit_pb2.Sighting(decision=record(3, subject="ev\x1b[31mil"), sight=audit_pb2.SIGHT_MANY),
        ]
        yield fake


@pytest.mark.parametrize(
    ("subject", "parts"),
    [
        ("customers:4711", ("", "customers", "4711")),
        ("crm.customers:4711", ("crm", "customers", "4711")),
        ("my.crm.customers:a.b:c d", ("my.crm", "customers", "a.b:c d")),
    ],
)
def test_a_subject_is_named_by_table_and_key(
    remit: Remit, sidecar: PeopleFake, subject: str, parts: tuple[str, str, str]
) -> None:
    """With the dataset or without; the key is all that comes after the first colon."""
    ended = remit("audit", "who", "--subject", subject)

    assert (ended.code, ended.err) == (0, "")
    (asked,) = sidecar.asked
    assert (asked.dataset, asked.table, asked.key) == parts


def test_who_saw_it_is_told_in_a_line_each(remit: Remit, sidecar: PeopleFake) -> None:
    """Agent, purpose, certainty and the decision, the newest first; names cannot colour the screen."""
    ended = remit("audit", "who", "--subject", "customers:4711")
    lines = [line.split() for line in ended.out.splitlines()]

    assert [line[-4:] for line in lines[1:]] == [
        ["refunds", "returned", "w1", "d9"],
        ["erased)", "reached", "w1", "d5"],
        ["-", "many", "w1", "d3"],
    ]
    assert "support" in lines[1] and r"ev\x1b[31mil" in lines[3]


def test_json_has_the_decisions_whole(remit: Remit, sidecar: PeopleFake) -> None:
    """And whether there are more than were asked for."""
    ended = remit("audit", "who", "--subject", "customers:4711", "--limit", "2", "--json")

    assert [each["sight"] for each in ended.document["sightings"]] == ["returned", "reached"]
    assert ended.document["sightings"][0]["decision"]["body"] == {"context": {"purpose": "refunds"}}
    assert ended.document["truncated"] is True
    assert "only the newest 2" in ended.err


def test_nobody_is_an_answer(remit: Remit, sidecar: PeopleFake) -> None:
    """It is said, and is no failure."""
    sidecar.sightings = []
    ended = remit("audit", "who", "--subject", "customers:4711")

    assert (ended.code, ended.out) == (0, "no recorded answer told of it\n")


@pytest.mark.parametrize("subject", ["4711", "customers:", ":4711", "customers", "a.:1"])
def test_what_names_no_subject_is_refused(remit: Remit, sidecar: PeopleFake, subject: str) -> None:
    """Before anybody is asked, and without repeating what may be somebody's key."""
    ended = remit("audit", "who", "--subject", subject)

    assert ended.code == 2
    assert "expected TABLE:KEY or DATASET.TABLE:KEY" in ended.err
    assert (sidecar.asked, subject in ended.err.replace("customers:4711", "")) == ([], False)


def test_a_table_that_is_not_recorded_is_exit_code_2(remit: Remit, sidecar: PeopleFake) -> None:
    """With the one that was probably meant."""
    ended = remit("audit", "who", "--subject", "customer:4711")

    assert (ended.code, "did you mean customers?" in ended.err) == (2, True)


def test_who_may_not_ask_is_exit_code_1(remit: Remit, sidecar: PeopleFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is no."""
    monkeypatch.setenv("REMIT_TOKEN", STRANGER)
    ended = remit("audit", "who", "--subject", "customers:4711")

    assert (ended.code, "only auditors" in ended.err) == (1, True)
