"""kill -9 at any line or moment: what was answered is there, nothing is half, and the money adds up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from counts import COUNTS, dice

pytestmark = pytest.mark.crash
HARNESS = Path(__file__).with_name("forkkill.py")


def _attack(rounds: int, mutant: str = "") -> subprocess.CompletedProcess[str]:
    seed = dice(f"forkkill {mutant}").getrandbits(32)
    command = [sys.executable, str(HARNESS), str(rounds), str(seed), *([mutant] if mutant else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_half_wherever_it_is_killed() -> None:
    """Every answered record is in a journal that verifies, and budgets hold what reservations say."""
    done = _attack(COUNTS.store_kills)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("mutant", "sign"), [("AckBeforeCommit", "lost"), ("TwoTransactions", "without a record")])
def test_planted_bugs_are_found(mutant: str, sign: str) -> None:
    """An answer before its commit, and a ledger that is committed apart from its journal."""
    done = _attack(2_000, mutant)

    assert done.returncode == 1, done.stdout + done.stderr
    assert sign in done.stdout
