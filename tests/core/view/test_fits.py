"""Which values a place of a named write takes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from remit.core.view.fits import PARAMETER_TYPES, fits
from remit.core.view.model import Cell

MOMENT = datetime(2026, 11, 26, 12)
# A value, and every type that takes it; the empty text and "7" are JSON or none.
VALUES: list[tuple[Cell, set[str]]] = [
    (True, {"boolean"}),
    (7, {"integer", "real", "decimal"}),
    (7.5, {"real", "decimal"}),
    (Decimal("7.5"), {"real", "decimal"}),
    ("x", {"text", "token"}),
    ('{"a": 1}', {"text", "token", "json"}),
    ("[" * 100_000, {"text", "token"}),
    ("6f2b9c1e-8f5d-4d0a-9d63-0a8d7f0c1b2a", {"text", "token", "uuid"}),
    (b"x", {"bytes"}),
    (date(2026, 11, 26), {"date"}),
    (time(12), {"time"}),
    (MOMENT, {"timestamp"}),
    (MOMENT.replace(tzinfo=UTC), {"timestamptz"}),
    (timedelta(1), {"interval"}),
    (None, set(PARAMETER_TYPES)),
]


@pytest.mark.parametrize(("value", "types"), VALUES, ids=[repr(value)[:30] for value, _ in VALUES])
def test_a_value_fits_its_own_types_alone(value: Cell, types: set[str]) -> None:
    """Nothing is taken for what it is not: no truth value for a number, no moment for a day."""
    assert {each for each in PARAMETER_TYPES if fits(value, each)} == types
