"""A member that decides nothing ahead, beside one that does: it gets what the other holds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fakes.commits import EUR, row
from fakes.loop import in_loop
from fakes.store_postgres import Installation, open_store
from fakes.store_shared import open_sidecar
from integration.test_store_shared import CENT, Agent
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.store import PostgresStore, Recall
from remit.backends.store_shared.opening import open_alone
from remit.backends.store_shared.store import SharedStore
from remit.core.effect import Committed

LONGEST_SECONDS = 2.0
"""A home comes back at the next pulse of who has it."""


@asynccontextmanager
async def beside(installation: Installation, place: Path) -> AsyncIterator[tuple[SharedStore, PostgresStore]]:
    """One that decides ahead, and one that does not."""
    ids = RandomIds(SystemClock())

    async def remote(own: str, recall: Recall) -> PostgresStore:
        return await open_store(installation, "log_alone", own=own, recall=recall, ids=ids)

    ahead, alone = await open_sidecar(installation, place / "a", "a"), await open_alone(remote)
    try:
        yield ahead, alone
    finally:
        await alone.close()
        await ahead.close()


@in_loop
async def test_an_agent_at_home_elsewhere_is_decided_on(installation: Installation, tmp_path: Path) -> None:
    """Its session comes back, and nobody is refused for where it was."""
    async with beside(installation, tmp_path) as (ahead, alone):
        month = row(100 * EUR)
        await Agent(ahead, "ann", month).until_at_home()
        began = time.monotonic()
        await Agent(alone, "ann", month).must(CENT)
        assert time.monotonic() - began < LONGEST_SECONDS


@in_loop
async def test_what_others_slices_hold_is_spent(installation: Installation, tmp_path: Path) -> None:
    """The last cent, too."""
    async with beside(installation, tmp_path) as (ahead, alone):
        month = row(3 * EUR)
        await Agent(ahead, "ann", month).until_at_home()
        assert installation.rows("SELECT sum(allotted - drawn) FROM remit.allotment") > [(0,)]
        bob = Agent(alone, "bob", month)
        while isinstance((await bob.call(CENT))[1], Committed):
            pass
        held = installation.rows("SELECT sum(amount) FROM remit.reservation WHERE state = 'held'")
        assert held == [(3 * EUR,)]
