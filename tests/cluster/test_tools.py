"""The tools appear whole or not at all, from what is pinned and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster.processes import wait

ROOT = Path(__file__).parents[2]
REQUIREMENTS = "sidecar/remit/backends/go_requirements.txt"
TOOLS = "tests/cluster/tools"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The tools' folder, to be changed."""
    (tmp_path / REQUIREMENTS).parent.mkdir(parents=True)
    shutil.copy(ROOT / REQUIREMENTS, tmp_path / REQUIREMENTS)
    return Path(shutil.copytree(ROOT / TOOLS, tmp_path / TOOLS))


def start(tools: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [tools / "install.sh", "static"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left(cache: Path) -> set[str]:
    """Names of what is in the tools' folder."""
    (folder,) = (cache / "remit").glob("tools-*")
    return {each.name for each in folder.iterdir()}


def pinned(module: str) -> str:
    """The version of a module that the cluster is made of."""
    lines = (ROOT / TOOLS / "kubernetes" / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.split()[:1] == [module])


def other_hash(line: str) -> str:
    """One that nothing has."""
    return line.partition(" h1:")[0] + " h1:" + "A" * 43 + "="


def test_each_program_says_which_it_is(tools: Path) -> None:
    """A server without a version calls itself v0.0.0, and its clients complain."""
    for program, flags in {"kube-apiserver": ["--version"], "kubelet": ["--version"], "helm": ["version"]}.items():
        told = subprocess.run([tools / "bin" / program, *flags], capture_output=True, text=True, check=True).stdout
        assert pinned("helm.sh/helm/v4" if program == "helm" else "k8s.io/kubernetes") in told


@pytest.mark.parametrize(
    ("file", "begins", "message"),
    [
        ("kubernetes/go.sum", "k8s.io/kubernetes ", "checksum mismatch"),
        ("crds.sum", "github.com/prometheus-operator/prometheus-operator ", f"expected h1:{'A' * 43}="),
        ("crds.sum", "github.com/cert-manager/cert-manager ", f"expected h1:{'A' * 43}="),
    ],
)
def test_a_module_that_hashes_to_something_else_is_refused_and_nothing_is_left(
    copied: Path, tmp_path: Path, file: str, begins: str, message: str
) -> None:
    lines = (copied / file).read_text().splitlines()
    changed = [other_hash(line) if line.startswith(begins) else line for line in lines]
    assert changed != lines
    (copied / file).write_text("\n".join(changed) + "\n")

    ended = start(copied, tmp_path / "cache")
    _, told = ended.communicate(timeout=100)

    assert ended.returncode and message in told
    assert left(tmp_path / "cache") == {"lock"}


def test_an_installer_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    running = start(ROOT / TOOLS, tmp_path)

    def works() -> bool:
        return any((tmp_path / "remit").glob("tools-*/work.*/tools"))

    wait("it is at work", works, 30)
    os.killpg(running.pid, signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode
    assert left(tmp_path) == {"lock"}


def held(tmp_path: Path, then: Callable[[Path], object]) -> tuple[subprocess.Popen[str], str, str]:
    """Start an installer while another is at work, of which `then` is the end."""
    tried = start(ROOT / TOOLS, tmp_path)
    wait("it has a folder", lambda: list((tmp_path / "remit").glob("tools-*/lock")), 30)
    os.killpg(tried.pid, signal.SIGKILL)
    tried.communicate()
    (folder,) = (tmp_path / "remit").glob("tools-*")
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = start(ROOT / TOOLS, tmp_path)
        assert second.stderr
        first_line = second.stderr.readline()
        then(folder)
    answer, _ = second.communicate(timeout=30)
    return second, first_line, answer


def test_a_second_installer_waits_and_builds_nothing_again(tmp_path: Path) -> None:
    second, told, answer = held(tmp_path, lambda folder: (folder / "static").mkdir())
    assert "waiting" in told
    assert second.returncode == 0
    assert answer.strip().endswith("/static")
