"""LiteLLM #35569: where settling a call failed, its reservation stayed and its whole cost was added besides.

Here a settlement is tried again until it is in the books, and is in them once, whatever the store says meanwhile.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.leaving import Leaving, chat, leaving, run
from fakes.world import OPERATOR, subject
from remit.backends.store_sqlite import SqliteStore
from remit.backends.store_sqlite.ledger import Ledger
from remit.core.effect import Commit, Committed, EndReservation, Refused
from remit.core.errors import StoreUnavailable
from remit.listeners import egress_desk
from remit.listeners.egress_desk import EgressDesk
from remit.pep.egress import Passage
from remit.pep.meter import End, How
from remit.pep.oversight import budgets
from remit.pep.report import lapse_due

ANALYSIS = subject("analysis")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COST = 15_000_000
ENDS = {
    How.SUCCEEDED: (End(How.SUCCEEDED, {"input_token": 5, "output_token": 1}, complete=True), COST),
    How.NOT_SENT: (End(How.NOT_SENT), 0),
    How.FAILED: (End(How.FAILED), 0),
}
TRIES = 4


class Stumbling(SqliteStore):
    """A store that says of each end, some times, that it could not be recorded; `said_after` it was all the same."""

    said_after = False
    left = TRIES

    async def commit(self, commit: Commit) -> Committed | Refused:
        ends = any(isinstance(each, EndReservation) for each in commit.effects)
        if not ends or not self.left:
            return await super().commit(commit)
        self.left -= 1
        if self.said_after:
            await super().commit(commit)
        raise StoreUnavailable("planted")


class KnowsNoEnd(Ledger):
    """Planted bug: an end is booked each time that it is told."""

    def end(self, ended: EndReservation, now: int) -> None:
        self._db.do("UPDATE reservation SET state = 'held' WHERE decision = ?", ended.decision)
        (amount,) = self._db.one("SELECT amount FROM reservation WHERE decision = ?", ended.decision) or (0,)
        self._db.do("UPDATE budget SET held = max(held, ?)", amount)
        super().end(ended, now)


class Forgetful(Stumbling):
    """A store with it."""

    ledger_type = KnowsNoEnd


class Nobody:
    """The desk's other parts, which a settlement has nothing to do with."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


async def settled(path: Path, how: How, *, said_after: bool, store_type: type[Stumbling] = Stumbling) -> None:
    """One call, whose settlement stumbles; then the books."""
    site = leaving()
    store = store_type(path, clock=site.world.clock, ids=site.world.ids, key=KEY)
    store.said_after = said_after
    store.activate("r1")
    site.world.store = store
    try:
        passage = await site.passage(ANALYSIS, chat())
        end, cost = ENDS[how]
        await desk_of(site).settle(passage, end)
        assert await month(site) == (cost, 0)
        await desk_of(site).settle(passage, end)
        assert await month(site) == (cost, 0)
        assert len(await store.about(passage.held.decision)) == 1
        assert sum(each.cost for each in await store.spending()) == cost
        site.pass_seconds(301)
        assert await lapse_due(site.world) == 0
    finally:
        await store.close()


def desk_of(site: Leaving) -> EgressDesk:
    other: Any = Nobody()
    return EgressDesk(site.egress, other, other, other, catalogue=lambda: site.world.catalogue, nonce="n")


async def month(site: Leaving) -> tuple[int, int]:
    (found,) = await budgets(site.world, OPERATOR, "month")
    return found.spent, found.held


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_desk, "RETRY_SECONDS", 0)


@pytest.mark.parametrize("said_after", [False, True], ids=["not recorded", "recorded all the same"])
@pytest.mark.parametrize("how", ENDS)
def test_litellm_35569_a_settlement_that_stumbles_is_booked_once(tmp_path: Path, how: How, said_after: bool) -> None:
    """The store is away before or after it has written: four times, and then not."""
    run(settled(tmp_path / "state.db", how, said_after=said_after))


def test_a_ledger_that_books_an_end_twice_is_found_out(tmp_path: Path) -> None:
    """The planted bug does not pass."""
    with pytest.raises(AssertionError):
        run(settled(tmp_path / "state.db", How.SUCCEEDED, said_after=True, store_type=Forgetful))


def test_a_lapse_and_a_settlement_at_once_are_booked_once(tmp_path: Path) -> None:
    """Whichever comes first: the real cost stands in the end."""

    async def scene() -> None:
        site = leaving()
        store = Stumbling(tmp_path / "state.db", clock=site.world.clock, ids=site.world.ids, key=KEY)
        store.left = 0
        store.activate("r1")
        site.world.store = store
        try:
            held: list[Passage] = [await site.passage(ANALYSIS, chat()) for _ in range(4)]
            site.pass_seconds(301)
            ends = [desk_of(site).settle(each, ENDS[How.SUCCEEDED][0]) for each in held]
            await asyncio.gather(*ends[:2], lapse_due(site.world), *ends[2:])
            assert await month(site) == (4 * COST, 0)
        finally:
            await store.close()

    run(scene())
