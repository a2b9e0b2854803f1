"""A node leaves nothing on the machine, however its test ends; and what is left would be found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import leftovers
from cluster.images import PROBE, write_image
from cluster.leftovers import Namespaces
from cluster.node import Node, why_not
from cluster.node import node as started_node
from cluster.processes import wait

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
TESTS = Path(__file__).parents[1]
_STARTED = """
import sys
from pathlib import Path
from cluster.node import node
from cluster.test_leftovers import run_a_pod
with node(Path(sys.argv[1])) as made:
    run_a_pod(made)
    print(made.name, flush=True)
    sys.stdin.read()
"""


def run_a_pod(made: Node) -> None:
    """One that does not end when told to, with what a node mounts into it."""
    cluster = made.cluster
    archive = write_image(cluster.folder / "probe.tar", PROBE, {"/probe": cluster.tools / "bin" / "probe"}, "/probe")
    made.load(archive)
    main = {"name": "main", "image": PROBE, "args": ["eternal"]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": {"containers": [main]}})
    cluster.pod_ready("one")


def test_after_a_test_that_failed_nothing_of_the_node_is_left(tools: Path) -> None:
    before = leftovers.machine()
    with pytest.raises(RuntimeError, match="the test fails"), started_node(tools) as made:
        run_a_pod(made)
        assert {each.split()[0] for each in leftovers.found(made.name, made.namespaces)} == {
            "process",
            "control",
            "folder",
        }
        raise RuntimeError("the test fails")
    assert leftovers.found(made.name, made.namespaces) == []
    assert leftovers.machine() == before


def test_after_the_test_process_is_killed_the_next_one_takes_away_what_is_left(tools: Path) -> None:
    before = leftovers.machine()
    running = subprocess.Popen(
        [sys.executable, "-c", _STARTED, str(tools)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout and running.stdin
    with running:
        name = running.stdout.readline().strip()
        assert name.startswith(leftovers.PREFIX)
        assert name not in leftovers.sweep()  # its test process lives
        running.send_signal(signal.SIGKILL)
    wait("all its processes have ended with it", lambda: not has(name, "process"), 20)
    assert has(name, "control group") and has(name, "folder")

    assert name in leftovers.sweep()
    assert leftovers.found(name) == []
    assert leftovers.machine() == before


def has(name: str, kind: str, namespaces: Namespaces = leftovers.NONE) -> bool:
    """Whether something of this kind is found."""
    return any(each.startswith(f"{kind} ") for each in leftovers.found(name, namespaces))


@pytest.fixture
def planted() -> Iterator[str]:
    """The name of a node that is only its leftovers."""
    name = leftovers.name_of("planted")
    yield name
    leftovers.remove(name)


def test_each_kind_of_leftover_is_found_and_goes(planted: str) -> None:
    """The planted bugs: one of each."""
    folder = leftovers.FOLDERS / planted
    assert leftovers.found(planted) == []
    folder.mkdir()
    assert has(planted, "folder")

    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    assert has(planted, "mount")

    subprocess.run(["ip", "netns", "add", planted], check=True)
    assert has(planted, "network namespace")

    group = leftovers.hierarchies()[0] / planted
    (group / "within").mkdir(parents=True)
    assert has(planted, "control group")

    wait_for_ever = [sys.executable, "-c", "import signal; signal.pause()"]
    for command, grouped in ((wait_for_ever, True), ([*wait_for_ever, f"{folder}/x"], False)):
        with subprocess.Popen(command) as running:
            if grouped:
                (group / "within" / "cgroup.procs").write_text(str(running.pid))
            wait("it is found", lambda: has(planted, "process"), 10)
            leftovers.remove(planted)
        assert running.returncode == -signal.SIGKILL
        assert leftovers.found(planted) == []


def test_who_is_still_in_a_node_s_namespaces_is_found_and_ended(planted: str) -> None:
    """The planted bug: a process that nothing else tells of."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as running:
        ours = Path("/proc/self/ns/net").readlink()
        wait("it is in there", lambda: Path(f"/proc/{running.pid}/ns/net").readlink() != ours, 10)
        namespaces = Namespaces(running.pid)
        assert not has(planted, "process")
        assert has(planted, "process", namespaces)

        kept = leftovers.FOLDERS / f"{planted}-network"
        kept.touch()
        subprocess.run(["mount", "--bind", f"/proc/{running.pid}/ns/net", str(kept)], check=True)
        leftovers.remove(planted)
        running.kill()
    assert has(planted, "namespace", namespaces)
    subprocess.run(["umount", str(kept)], check=True)
    kept.unlink()
    assert not has(planted, "namespace", namespaces)
    namespaces.close()


def test_what_has_the_number_of_a_process_that_began_at_another_time_is_nobody_s() -> None:
    folder = leftovers.FOLDERS / f"{leftovers.PREFIX}{os.getpid()}-1-planted"
    folder.mkdir()
    assert folder.name in leftovers.sweep()
    assert not folder.exists()
