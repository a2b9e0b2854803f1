"""A real cluster for tests: `make test-cluster` runs them, `make test` does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.cluster import Cluster
from cluster.control_plane import control_plane as started_control_plane

collect_ignore_glob = [] if os.environ.get("REMIT_CLUSTER") else ["test_*.py"]

INSTALLER = Path(__file__).parent / "tools" / "install.sh"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the tools, which `make test-cluster` has built."""
    told = subprocess.run([INSTALLER, "cluster"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(told.strip())


@pytest.fixture(scope="session")
def control_plane(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with its controllers and scheduler, on this machine's loopback; no node, so no pod ever runs."""
    with started_control_plane(tmp_path_factory.mktemp("control-plane"), tools) as cluster:
        yield cluster
