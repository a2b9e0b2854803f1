"""The pipeline under test stands on a store in memory, which passes the same contract suite as SQLite."""

from __future__ import annotations

import pytest
from fakes.store_memory import MemoryStore
from fakes.world import clearance_policy
from fakes.world import world as make_world
from remit.pep.pipeline import Pipeline
from remit.pep.world import World


@pytest.fixture(name="world")
def _world() -> World:
    store = MemoryStore()
    store.activate("r1")
    return make_world(store, clearance_policy)


@pytest.fixture(name="pipeline")
def _pipeline(world: World) -> Pipeline:
    return Pipeline(world)
