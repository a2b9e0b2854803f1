"""A million rows, and a row that an agent made large, take a bounded amount of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.databases import PostgresOwner, Site, SqliteOwner
from fakes.databases import site_fixture as site_fixture
from fakes.postgres_server import PostgresDatabase

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured as Linux counts it")

MOST = 64 << 20
TESTS = Path(__file__).parents[1]


def grown(site: Site, *more: str) -> int:
    """By how many bytes a process of its own grew while it read."""
    environment = dict(os.environ, PYTHONPATH=str(TESTS))
    if isinstance(site.owner, PostgresOwner):
        arguments = ["postgres", site.owner.inner.reader]
        environment["PGSECRET"] = site.owner.inner.reader_password
    else:
        assert isinstance(site.owner, SqliteOwner)
        arguments = ["sqlite", str(site.owner.path)]
    ran = subprocess.run(
        [sys.executable, "-m", "fakes.read_million", *arguments, *more],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    rows, bytes_ = map(int, ran.stdout.split())
    assert rows == 10**6
    return bytes_


def test_a_million_rows_take_no_more_than_a_few(site: Site) -> None:
    """No more than 64 MiB above what the process had before."""
    assert grown(site) <= MOST


def test_the_measure_finds_a_reader_that_keeps_them(site: Site) -> None:
    """Planted: all rows are kept, and that is more."""
    assert grown(site, "all") > MOST


@pytest.mark.parametrize("measured", [True, False])
def test_a_value_that_is_made_large_is_not_taken(fresh: PostgresDatabase, measured: bool) -> None:
    """PostgreSQL refuses it before it is sent, 200 MB of some words. Planted: unmeasured, it is read whole."""
    Site(PostgresOwner(fresh))
    ran = subprocess.run(
        [sys.executable, "-m", "fakes.read_grown", fresh.reader, *([] if measured else ["unmeasured"])],
        env=dict(os.environ, PYTHONPATH=str(TESTS), PGSECRET=fresh.reader_password),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ended, bytes_ = ran.stdout.split()
    assert (ended, int(bytes_) <= MOST) == (("too_costly", True) if measured else ("read", False))
