"""Whether a member is ready, as far as its store goes."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.loop import in_loop
from fakes.store_memory import MemoryStore
from remit.core.errors import StoreUnavailable
from remit.metrics import Metrics, metered_store, wrappers


class Away(MemoryStore):
    """A store that does not answer while `away`, and does not record while `full`."""

    away = full = False

    async def due(self, now: int, limit: int) -> Any:
        if self.away:
            raise StoreUnavailable("nobody answers")
        return await super().due(now, limit)

    async def commit(self, commit: Any) -> Any:
        if self.full:
            raise StoreUnavailable("disk full")
        return await super().commit(commit)


@in_loop
async def test_a_store_that_is_away_makes_its_member_unready_until_it_answers() -> None:
    """Though nobody asks for a decision: the sweep asks."""
    metrics, store = Metrics("1"), Away()
    metered = metered_store(store, metrics)
    assert metrics.store_problem() == ""
    store.away = True
    with pytest.raises(StoreUnavailable):
        await metered.due(0, 1)
    assert metrics.store_problem() == "the store does not answer"
    store.away = False
    await metered.due(0, 1)
    assert metrics.store_problem() == ""


@in_loop
async def test_a_store_that_does_not_record_makes_its_member_unready_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is not ready is asked nothing, so no record would ever show that it can again."""
    now = [1000.0]
    monkeypatch.setattr(wrappers, "system_monotonic", lambda: now[0])
    metrics, store = Metrics("1"), Away()
    metered = metered_store(store, metrics)
    store.full = True
    with pytest.raises(StoreUnavailable):
        await metered.commit(None)  # type: ignore[arg-type]
    await metered.due(0, 1)
    assert metrics.store_problem() == "the store does not record"
    now[0] += wrappers.REFUSED_SECONDS
    assert metrics.store_problem() == ""
