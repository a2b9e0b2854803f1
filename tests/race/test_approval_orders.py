"""Whatever is done to a request for approval, in every order, by two processes in turns: a grant is used as often as
somebody who saw what it is for has approved, and never once it is over, taken back or for something else (P12)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from counts import COUNTS, SEED, dice
from fakes.approval_mutants import IN_ORDERS, Plant
from fakes.approval_orders import FLAVOURS, ORDERS, Played, played
from fakes.approval_stage import on_postgres, on_sqlite, play
from fakes.store_postgres import Installation

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

STORES = ("sqlite", "postgres")


def every_order(store: str) -> list[Played]:
    """All orders on each store, in a soak of every flavour; else each order on one of the stores, of one flavour."""
    random = dice("orders")
    numbers = random.sample(range(len(ORDERS)), len(ORDERS))
    if not COUNTS.both_stores:
        numbers = numbers[STORES.index(store) :: len(STORES)]
    return [played(order, flavour) for order in numbers for flavour in random.sample(FLAVOURS, COUNTS.flavours)]


def few_orders() -> list[Played]:
    """Enough for what is planted: in which something is approved, each of every flavour."""
    approved = [n for n, order in enumerate(ORDERS) if order[0] == "approve"][::9]
    changed = [n for n, order in enumerate(ORDERS) if order[:2] == ("change", "approve")][::9]
    return [played(order, flavour) for order in approved + changed for flavour in FLAVOURS]


def orders_on_sqlite(directory: Path, orders: Sequence[Played]) -> list[str]:
    """What is wrong after these orders on SQLite."""

    async def scene() -> list[str]:
        async with on_sqlite(directory) as stage:
            return await play(stage, orders)

    return asyncio.run(scene())


def orders_on_postgres(installation: Installation, orders: Sequence[Played]) -> list[str]:
    """What is wrong after these orders on PostgreSQL."""

    async def scene() -> list[str]:
        async with on_postgres(installation) as stage:
            return await play(stage, orders)

    return asyncio.run(scene())


def test_every_order_on_sqlite(tmp_path: Path) -> None:
    """Two clients of one sidecar."""
    assert orders_on_sqlite(tmp_path, every_order("sqlite")) == [], SEED


def test_every_order_on_postgres(installation: Installation) -> None:
    """Two members."""
    assert orders_on_postgres(installation, every_order("postgres")) == [], SEED


@pytest.mark.parametrize("plant", IN_ORDERS, ids=lambda plant: plant.__name__)
def test_planted_bugs_are_found(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sidecar that both are clients of."""
    plant(monkeypatch)
    assert orders_on_sqlite(tmp_path, few_orders()) != []


def test_planted_bugs_are_found_on_postgres(installation: Installation) -> None:
    """In the database that both are members of."""
    with installation.planted("use_grant", "SET used = used + 1", "SET used = used"):
        found = orders_on_postgres(installation, few_orders())
    assert any("at a time are allowed" in each for each in found)
    assert any("uses are recorded" in each for each in found)
