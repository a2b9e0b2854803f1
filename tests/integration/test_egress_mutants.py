"""The reckoning finds what it is there for: a sidecar with planted bugs does not pass it."""

from __future__ import annotations

from pathlib import Path

import pytest
from counts import dice
from fakes.budget_cuts import WAYS, cuts, perform_all
from fakes.budget_rush import Caller, rush
from fakes.budget_stage import FLAT, MUTANT, stage
from fakes.loop import in_loop

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

BUDGETS = {"two": {"when": {"service": ["plain"]}, "limit": 2 * FLAT / 10**9}}


@in_loop
async def test_a_sidecar_that_forgets_cut_calls_and_guards_no_budget_is_found_out(tmp_path: Path) -> None:
    """Calls that stay held, that are paid by what was seen, and that found no room."""
    services = {"openai": "openai", "anthropic": "anthropic", "gemini": "gemini", "plain": "http"}
    with stage(tmp_path, services, BUDGETS, program=MUTANT) as made:
        async with made.upstream.serving():
            # Policy sees what is spent: only those who ask before the first has spent find the gap, so many ask.
            crowd = await rush(made, [Caller("plain", "http")] * 32, budget=("two", ""))
            found = await perform_all(made, cuts(len(WAYS), dice("planted")))
    assert len(crowd.reached) > 2, "a budget without a guard was not found"
    for sign in ("still held", "is held, with 0 endings", "booked for certain", "is booked"):
        assert any(sign in each for each in found), f"{sign!r} was not found"
