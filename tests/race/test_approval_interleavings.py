"""Whatever agents, those who are asked, operators and the clock do to approvals at a time: no grant is ever used beyond
what as many as were asked for have approved, who saw what it is for (P12). One seed is one interleaving."""

from __future__ import annotations

import pytest
from counts import COUNTS, SEED
from fakes.approval_interleavings import history, interleaving
from fakes.approval_mutants import IN_INTERLEAVINGS, Plant

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

HUNTED = 600
"""Interleavings in which a planted bug is to be found."""


def test_no_interleaving_lets_a_grant_be_used_beyond_its_bounds() -> None:
    """Nor leaves anything waiting for ever, nor a key with two answers, nor a journal that does not verify."""
    wrong = {
        seed: found for seed in (f"{SEED} {n}" for n in range(COUNTS.interleavings)) if (found := interleaving(seed))
    }
    assert wrong == {}


def test_one_seed_is_one_interleaving() -> None:
    """So that what was found once is found again."""
    first, second = (history(f"{SEED} again") for _ in range(2))
    assert first == second
    assert first != history(f"{SEED} other")


@pytest.mark.parametrize("plant", IN_INTERLEAVINGS, ids=lambda plant: plant.__name__)
def test_planted_bugs_are_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in few of them."""
    plant(monkeypatch)
    assert any(interleaving(f"{SEED} {plant.__name__} {n}") for n in range(HUNTED))
