"""What a whole sidecar takes beside an agent: its memory when it idles, and how long it takes to be ready.

As in a cluster: Remit with its OPA and its Envoy, PostgreSQL as the store, the egress on, and no dataset, console or
MCP server in use.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fakes.store_postgres import Installation

from bench.installation import environment, installation
from bench.places import HERE, Sidecar, free_port, sidecar
from bench.processes import cpu_ms, ended_cpu_ms, proportional_mb, resident_mb
from bench.rows import Row

IDLE_SECONDS = 5.0
"""After it got ready, before its memory is read: what only starting took is given back by then."""


def measure(stack: ExitStack, directory: Path, *, rounds: int) -> list[Row]:
    """So many starts, one after the other, on one PostgreSQL."""
    installed = stack.enter_context(installation({}))
    ready, used, shares = list[float](), list[float](), list[float]()
    memory = list[Mapping[str, float]]()
    for turn in range(rounds):
        with whole_sidecar(directory / str(turn), installed, keys=directory) as running:
            ready.append(running.ready_s)
            used.append((sum(cpu_ms(running.pid).values()) + ended_cpu_ms(running.pid)) / 1000)
            time.sleep(IDLE_SECONDS)
            memory.append(resident_mb(running.pid))
            shares.append(sum(proportional_mb(running.pid).values()))
    middle = sorted(memory, key=lambda each: sum(each.values()))[len(memory) // 2]
    parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(middle.items(), key=lambda each: -each[1]))
    shared = f"{parts}; {statistics.median(shares):.0f} MB without what they share (PSS)"
    starts = (
        f"the best of {rounds} starts, median {statistics.median(ready):.1f} s; {min(used):.1f} s of processor time"
    )
    return [
        Row("sidecar_rss_mb", sum(middle.values()), "MB", note=shared),
        Row("sidecar_ready_s", min(ready), "s", note=starts),
    ]


@contextmanager
def whole_sidecar(directory: Path, installed: Installation, *, keys: Path) -> Iterator[Sidecar]:
    """`remit up --egress` on PostgreSQL. Those of one installation have the keys below one directory."""
    directory.mkdir(parents=True)
    settings = {
        "REMIT_EGRESS_ON": "true",
        "REMIT_EGRESS_HTTP": f"127.0.0.1:{free_port()}",
        "REMIT_EGRESS_PROXY": f"127.0.0.1:{free_port()}",
        "BENCH_KEY": "sk-of-the-upstream",
    }
    with sidecar(
        directory / "remit",
        template=HERE / "egress.yaml",
        values={"UPSTREAM": "127.0.0.1:9"},
        environment={**environment(keys, installed, allotments=True), **settings},
    ) as running:
        yield running
