"""Labels only go up, flow only where they are accepted, and end only by somebody else's hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.label import MAX_SOURCES, counts, exceeding, isolated_version, join

LABELS = st.sampled_from(["finance", "pii", "secret", "untrusted"])
DECISIONS = st.sampled_from([f"d_{n}" for n in range(20)])
SHARES = st.dictionaries(LABELS, st.lists(DECISIONS, max_size=4).map(tuple))


@given(st.lists(SHARES, max_size=5))
def test_a_join_holds_every_label_and_no_other(shares: list[dict[str, tuple[str, ...]]]) -> None:
    """The labels are the union, in order, whatever the sources."""
    assert list(join(shares)) == sorted(set().union(*shares))


@given(SHARES, SHARES, SHARES)
def test_a_join_does_not_depend_on_the_order(
    one: dict[str, tuple[str, ...]], two: dict[str, tuple[str, ...]], three: dict[str, tuple[str, ...]]
) -> None:
    """Joining is commutative, associative and idempotent, with the sources told."""
    assert join([one, two]) == join([two, one])
    assert join([join([one, two]), three]) == join([one, join([two, three])])
    assert join([join([one]), one]) == join([one])


def test_a_join_tells_the_first_sources() -> None:
    """Sorted, each once, no more than are worth reading, and never an empty one."""
    shares = [{"pii": (f"d_{n:02}", f"d_{n:02}", "")} for n in range(20, 0, -1)]

    assert join(shares) == {"pii": tuple(f"d_{n:02}" for n in range(1, 1 + MAX_SOURCES))}


@given(st.sets(LABELS), st.sets(LABELS))
def test_data_flows_exactly_where_all_labels_are_accepted(labels: set[str], clearance: set[str]) -> None:
    """What exceeds is what the clearance lacks; nothing exceeds if and only if the labels are a subset."""
    over = exceeding(labels, clearance)

    assert set(over) | (labels & clearance) == labels
    assert (not over) == (labels <= clearance)


@pytest.mark.parametrize(
    ("opener", "closed_by", "counted"),
    [
        ("ann", "", True),
        ("lead", "", True),
        ("ann", "ann", True),
        ("ann", "lead", True),
        ("lead", "ann", True),
        ("lead", "lead", False),
        ("lead", "boss", False),
    ],
)
def test_only_a_close_by_somebody_else_ends_a_share(opener: str, closed_by: str, counted: bool) -> None:
    """Seen from ann."""
    assert counts(subject="ann", opener=opener, closed_by=closed_by) is counted


def test_isolated_versions_are_not_those_of_shared_sessions() -> None:
    """They move with every label, and are below zero, where counters never are."""
    versions = [isolated_version(labels) for labels in range(5)]

    assert len(set(versions)) == 5
    assert max(versions) < 0
