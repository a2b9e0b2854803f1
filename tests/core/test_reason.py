"""One closed list of reasons: the same in Python, proto and docs."""

from __future__ import annotations

from pathlib import Path

from remit.core.reason import EXPLANATIONS, Reason
from remit.v1 import reason_pb2

DOCS = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_every_reason_is_explained() -> None:
    """When it is raised, whether retrying helps, and what would change it."""
    assert set(EXPLANATIONS) == set(Reason)
    assert all(each.raised and each.remedy for each in EXPLANATIONS.values())


def test_the_proto_has_the_same_reasons() -> None:
    """No reason can be answered that the wire cannot name, and none is left over."""
    names = {name.removeprefix("REASON_").lower() for name in list(reason_pb2.Reason.keys())}

    assert names - {"unspecified"} == {each.value for each in Reason}


def test_the_docs_have_the_same_reasons() -> None:
    """docs/reasons.md has one row for each reason, saying what the code says."""
    rows = DOCS.read_text(encoding="utf-8")

    missing = [each for each, told in EXPLANATIONS.items() if f"| `{each}` | {told.raised} |" not in rows]

    assert missing == []
