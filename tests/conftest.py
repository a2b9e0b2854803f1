"""What all tests share: how much is tried, and how a random run is replayed."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from counts import COUNTS, PROFILE, SEED
from fakes.postgres_server import fresh_fixture as fresh_fixture
from fakes.postgres_server import postgres_fixture as postgres_fixture
from fakes.store_postgres import installation_fixture as installation_fixture
from fakes.store_postgres import shared_installation_fixture as shared_installation_fixture
from hypothesis import HealthCheck, settings
from slowest import order

# Readline, loaded by whoever starts us, leaves the width of its terminal there; what we run writes into pipes.
os.environ.pop("COLUMNS", None)
# Read when gRPC is loaded: its fork handlers end a PostgreSQL that is started beside calls before it has begun.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

settings.register_profile(
    PROFILE,
    max_examples=COUNTS.examples,
    stateful_step_count=COUNTS.steps,
    deadline=None,  # the machine's other work is not the test's fault
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One seed for everything random, Hypothesis too."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(SEED)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collecting makes millions of objects that all stay: looking through them again and again finds nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to run the same again."""
    return f"replay with REMIT_PROFILE={PROFILE} REMIT_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files go first. A soak takes as long as it takes: a test's own time limit is for its small counts."""
    root = Path(__file__).parent
    items.sort(key=lambda item: order(item.path.relative_to(root).as_posix()))
    if PROFILE == "soak":
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a good part of a test is waiting for a process that starts."""
    return len(os.sched_getaffinity(0)) + 1
