"""A mask is one of the forms, whole; anything else is no view."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from remit.core.view.masks import read_masks
from remit.core.view.model import Mask, ViewInvalid

COLUMNS = {"t": ("a", "b"), "u": ("c",)}


def read(form: Any) -> Mask | None:
    return read_masks({"t": {"a": form}}, "d", "t", COLUMNS).get("a")


@pytest.mark.parametrize(
    ("form", "mask"),
    [
        ({}, None),
        ({"replace": {"value": None}}, Mask("null")),
        ({"replace": {"value": False}}, Mask("constant", {"value": False})),
        ({"replace": {"value": ""}}, Mask("constant", {"value": ""})),
        ({"hash": {}}, Mask("hash")),
        ({"partial": {"first": 1}}, Mask("partial", {"first": 1})),
        ({"partial": {"last": 64}}, Mask("partial", {"last": 64})),
        ({"bucket": {"width": 10}}, Mask("bucket", {"width": 10})),
        ({"bucket": {"width": Decimal("0.5")}}, Mask("bucket", {"width": Decimal("0.5")})),
        ({"bucket": {"unit": "week"}}, Mask("bucket", {"unit": "week"})),
        ({"round": {"places": 2}}, Mask("round", {"places": 2})),
        ({"tokenize": {}}, Mask("tokenize", {"domain": "d.t.a"})),
        ({"tokenize": {"domain": "email"}}, Mask("tokenize", {"domain": "email"})),
    ],
)
def test_each_form_is_read(form: Any, mask: Mask | None) -> None:
    assert read(form) == mask


@pytest.mark.parametrize(
    "form",
    [
        None,
        [],
        "hash",
        {"hash": {}, "replace": {"value": 1}},
        {"hash": None},
        {"hash": {"keyed": True}},
        {"replace": {}},
        {"replace": {"value": [1]}},
        {"replace": {"value": 1, "when": 2}},
        {"replace": {"value": 2**60}},
        {"partial": {}},
        {"partial": {"last": 0}},
        {"partial": {"last": 65}},
        {"partial": {"last": True}},
        {"partial": {"last": 4, "first": 1}},
        {"partial": {"middle": 1}},
        {"bucket": {}},
        {"bucket": {"width": 0}},
        {"bucket": {"width": -1}},
        {"bucket": {"width": True}},
        {"bucket": {"width": "1"}},
        {"bucket": {"unit": "decade"}},
        {"bucket": {"unit": ["day"]}},
        {"round": {}},
        {"round": {"places": -1}},
        {"round": {"places": 16}},
        {"round": {"places": Decimal("1.5")}},
        {"tokenize": {"domain": ""}},
        {"tokenize": {"domain": "x\n"}},
        {"tokenize": {"domain": 1}},
        {"shuffle": {}},
    ],
)
def test_what_is_no_mask_is_refused(form: Any) -> None:
    with pytest.raises(ViewInvalid):
        read(form)


@pytest.mark.parametrize(
    "masks",
    [None, [], {"v": {}}, {"t": []}, {"t": {"z": {"hash": {}}}}, {"u": {"a": {"hash": {}}}}, {"t": {}, "u": None}],
)
def test_names_that_the_catalogue_lacks_are_refused_whichever_table_is_asked_about(masks: Any) -> None:
    with pytest.raises(ViewInvalid):
        read_masks(masks, "d", "t", COLUMNS)


def test_masks_of_other_tables_are_not_this_one_s() -> None:
    assert read_masks({"u": {"c": {"hash": {}}}}, "d", "t", COLUMNS) == {}
