"""Arguments: what the sidecar reads is exactly what the caller meant, or nothing is sent."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.canonical import parse
from remit.sdk.arguments import MAX_BYTES, arguments_text
from remit.sdk.errors import InvalidRequest

KEYS = st.text(max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=9)
BRANCHES = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3), max_leaves=8
)
TREES = st.dictionaries(KEYS, BRANCHES, max_size=3)


def _nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return {"a": value}


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_the_sidecar_reads_what_was_meant(arguments: dict[str, Any]) -> None:
    """Whatever is accepted here, the sidecar's strict reader gives back unchanged."""
    assert parse(arguments_text(arguments), MAX_BYTES) == arguments


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        ({"a": math.nan}, "arguments/a", "a finite number, not nan"),
        ({"a": [1, {"b": math.inf}]}, "arguments/a/1/b", "a finite number, not inf"),
        ({"a/b": {"~": -math.inf}}, "arguments/a~1b/~0", "a finite number"),
        ({"a": {1: 2}}, "arguments/a", "string keys, not int"),
        ({None: 2}, "arguments", "string keys, not NoneType"),
        ({"a": Decimal("1.5")}, "arguments/a", "not Decimal"),
        ({"a": b"x"}, "arguments/a", "not bytes"),
        ({"a": {1, 2}}, "arguments/a", "not set"),
        ({"a": 10**18 + 1}, "arguments/a", "10**18"),
        ({"a": "\ud800"}, "arguments/a", "lone surrogates"),
        ({"\udfff": 1}, "arguments", "lone surrogates"),
        (_nested(32), "arguments" + "/a" * 32, "at most 32 levels"),
        ({"a": "x" * MAX_BYTES}, "arguments", "at most 262144 bytes"),
        ([1], "arguments", "a mapping, not list"),
    ],
)
def test_what_has_no_exact_text_is_refused_by_path(arguments: Any, path: str, expected: str) -> None:
    """The error names the path of the first thing that cannot be sent, and what was expected there."""
    with pytest.raises(InvalidRequest) as refused:
        arguments_text(arguments)

    assert refused.value.violations[0].field == path
    assert expected in refused.value.violations[0].expected


def test_what_contains_itself_is_refused() -> None:
    """A cycle ends in an error, not in the stack."""
    cycle: dict[str, Any] = {}
    cycle["again"] = cycle

    with pytest.raises(InvalidRequest, match="at most 32 levels"):
        arguments_text(cycle)


def test_the_deepest_and_the_largest_still_go() -> None:
    """The bounds themselves are accepted."""
    assert json.loads(arguments_text(_nested(31))) == _nested(31)
    assert len(arguments_text({"a": "x" * (MAX_BYTES - 8)})) == MAX_BYTES


def test_other_mappings_and_tuples_are_json_too() -> None:
    """Any mapping is an object, a tuple is a list."""
    assert arguments_text(OrderedDict(b=(1, 2.5, None), a=True)) == b'{"b":[1,2.5,null],"a":true}'
