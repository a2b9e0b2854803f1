"""Two members that add to one session at once: neither waits for the other to be found deadlocked."""

from __future__ import annotations

import asyncio
import time

from fakes.commits import Desk
from fakes.loop import in_loop
from fakes.store_postgres import Installation, open_store

LABELS = [f"label{n}" for n in range(12)]
ROUNDS = 8
DEADLOCK_SECONDS = 1.0  # PostgreSQL's deadlock_timeout


@in_loop
async def test_labels_are_joined_in_any_order_without_a_deadlock(installation: Installation) -> None:
    """Forwards here and backwards there, many times."""
    assert await longest_round(installation) < DEADLOCK_SECONDS
    held = installation.rows("SELECT count(DISTINCT label) FROM remit.share WHERE subject = 'ann'")
    assert held == [(ROUNDS * len(LABELS) + 1,)]


@in_loop
async def test_the_rounds_find_members_that_join_at_once(installation: Installation) -> None:
    """Planted bug: whoever adds to a session does not do so alone."""
    alone = "pg_advisory_xact_lock(1, one.hash)"
    with installation.planted("lock_homes", alone, "pg_advisory_xact_lock_shared(1, one.hash)"):
        assert await longest_round(installation) >= DEADLOCK_SECONDS


async def longest_round(installation: Installation) -> float:
    """Seconds of the longest of the rounds in which two members join the same labels in opposite order."""
    here, there = [
        Desk(await open_store(installation, log), count=n * 10**6) for n, log in enumerate(("log_a", "log_b"))
    ]
    longest = 0.0
    for turn in range(ROUNDS):
        names = [f"{label}-{turn}" for label in LABELS]
        began = time.monotonic()
        await asyncio.gather(
            *(here.join(each, "z") for each in names), *(there.join("z", each) for each in names[::-1])
        )
        longest = max(longest, time.monotonic() - began)
    await here.store.close()
    await there.store.close()
    return longest
