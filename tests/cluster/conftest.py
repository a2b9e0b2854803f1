"""A real cluster for tests: `make test-cluster` runs them, `make test` does not.

What a machine cannot give is skipped with the reason, unless REMIT_REQUIRE_CLUSTER=1 says that it must be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.cluster import Cluster
from cluster.control_plane import control_plane as started_control_plane
from cluster.images import PROBE, write_image
from cluster.node import Node, why_not
from cluster.node import node as started_node

collect_ignore_glob = [] if os.environ.get("REMIT_CLUSTER") else ["test_*.py"]

INSTALLER = Path(__file__).parent / "tools" / "install.sh"


def skip(reason: str) -> None:
    """If there is a reason."""
    if reason and os.environ.get("REMIT_REQUIRE_CLUSTER"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the tools, which `make test-cluster` has built."""
    told = subprocess.run([INSTALLER, "cluster"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(told.strip())


@pytest.fixture(scope="session")
def control_plane(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server with its controllers and scheduler, on this machine's loopback; no node, so no pod ever runs."""
    skip("" if shutil.which("etcd") else "a control plane needs etcd: tests/cluster/packages.sh installs it on Debian")
    with started_control_plane(tmp_path_factory.mktemp("control-plane"), tools) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def node(tools: Path) -> Iterator[Node]:
    """A node that runs pods, and (`node.cluster`) a control plane of its own. Afterwards nothing of it is left."""
    skip(why_not())
    with started_node(tools) as made:
        yield made


@pytest.fixture(scope="session")
def probe(node: Node, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image, on the node, of nothing but the harness's own small program."""
    archive = tmp_path_factory.mktemp("images") / "probe.tar"
    node.load(write_image(archive, PROBE, {"/probe": tools / "bin" / "probe"}, "/probe"))
    return PROBE
