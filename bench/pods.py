"""What admission adds to the creation of a pod: a governed one beside a plain one, by a real API server.

Dry runs, in turns on one connection: everything but the write to etcd, which both would have alike.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.admission import AGENTS, Admission, label
from cluster.control_plane import control_plane

from bench.rows import Row

INSTALLER = Path(__file__).parents[1] / "tests" / "cluster" / "tools" / "install.sh"
SPEC = {"containers": [{"name": "agent", "image": "i"}]}


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Medians of all turns; the first round only warms up."""
    told = subprocess.run([INSTALLER, "cluster"], stdout=subprocess.PIPE, text=True, check=True).stdout
    cluster = stack.enter_context(control_plane(directory, Path(told.strip())))
    admission = Admission(cluster, directory)
    pods = {"plain": admission.pod(SPEC, AGENTS), "governed": admission.pod(label(SPEC), AGENTS)}
    taken: dict[str, list[float]] = {name: [] for name in pods}
    for turn in range((rounds + 1) * calls):
        for name, pod in pods.items():
            took = _created(admission, pod)
            if turn >= calls:
                taken[name].append(took)
    plain, governed = (statistics.median(taken[name]) for name in ("plain", "governed"))
    note = f"{plain:.1f} ms plain, {governed:.1f} ms governed, medians of {len(taken['plain'])} dry runs in turns"
    return [Row("pod_created_added_p50", governed - plain, "ms", note=note)]


def _created(admission: Admission, pod: Any) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    status, answer = admission.ask(pod)
    assert status == 201, answer
    return (time.perf_counter() - started) * 1000
