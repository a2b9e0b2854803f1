"""Whatever is done to a request for approval, in every order, by two processes in turns: a grant is used as often as
somebody who saw what it is for has approved, and never once it is over, taken back or for something else (P12)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from counts import COUNTS, SEED, dice
from fakes.approval_orders import FLAVOURS, ORDERS, Played, played
from fakes.approval_stage import on_postgres, on_sqlite, play
from fakes.store_postgres import Installation

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def every_order() -> list[Played]:
    """All orders; in a soak of every flavour, else each of one."""
    random = dice("orders")
    return [
        played(order, flavour) for order in range(len(ORDERS)) for flavour in random.sample(FLAVOURS, COUNTS.flavours)
    ]


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
    assert orders_on_sqlite(tmp_path, every_order()) == [], SEED


def test_every_order_on_postgres(installation: Installation) -> None:
    """Two members."""
    assert orders_on_postgres(installation, every_order()) == [], SEED
