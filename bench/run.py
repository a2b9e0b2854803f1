"""`make bench`: one governed decision beside bare OPA and an empty gRPC call, and ways out beside each other.

Prints a table and writes bench/latest.json. Medians over rounds; on a shared machine read ratios, not absolutes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import requests
import uvloop
from opa_client.opa import OpaClient
from remit.core.canonical import encode, parse
from remit.v1 import resources_pb2, sidecar_pb2, sidecar_pb2_grpc

from bench import approvals, egress, footprint, pages, pods, queries, scale, store
from bench.load import Figures, median, run_async, run_threads
from bench.places import REMIT, TOKEN, echo, opa, sidecar
from bench.processes import resident_mb
from bench.rows import Row, merged, read, show, write

HERE = Path(__file__).parent
METADATA = (("authorization", f"Bearer {TOKEN}"),)
CALLERS = (1, 32)
QUESTION = sidecar_pb2.AuthorizeRequest(
    action="api.call",
    resource=resources_pb2.Resource(type="service", id="model", operation="chat", variant="small"),
    context=resources_pb2.Context(purpose="measure", reason="bench", arguments=b'{"customer":7,"tone":"kind"}'),
    usage=[
        resources_pb2.Usage(unit="input_token", quantity=900),
        resources_pb2.Usage(unit="output_token", quantity=300),
    ],
)
INPUT = {
    "subject": {
        "type": "agent", "id": "bench", "team": "cx", "roles": ["worker"], "actor": "", "mode": "enforce",
        "isolation": "process", "identity": {"method": "token", "subject": "bench"},
    },
    "action": {"name": "api.call"},
    "resource": {
        "type": "service", "id": "model", "operation": "chat", "variant": "small", "ref": "model/chat",
        "owner": "cx", "external": True, "labels": [], "clearance": ["pii"], "properties": {},
    },
    "context": {
        "workflow": "", "purpose": "measure", "reason": "bench", "parent": "", "time": 1, "attempt": 1,
        "arguments": {"customer": 7, "tone": "kind"}, "inputs": [],
    },
    "facts": {
        "labels": {}, "arguments": {}, "estimate": {"amount": 1, "known": True, "units": {"input_token": 900}},
        "budgets": [
            {"id": id, "window": "", "limit": 1000000, "spent": 5, "held": 5, "elapsed": 0}
            for id in ("month", "each-agent")
        ],
        "grants": [], "claims": [], "acts": [], "history": {"repeats": 0, "failures": 0, "denials": 0}, "halts": [],
        "chain": [{"service": "model", "owner": "cx", "region": "", "external": True}],
    },
}  # fmt: skip

Part = Callable[[ExitStack, Path], list[Row]]
SCALE = ("store", "agents", "pages")
"""The parts of `--only scale`, each of which can be had alone."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=3000, help="calls at 32 callers; a sixth of it at one")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load on each way out, in each round")
    parser.add_argument(
        "--only",
        choices=("decisions", "egress", "views", "approvals", "footprint", "pods", "scale", *SCALE),
        help="keep the other rows as they are",
    )
    options = parser.parse_args()
    parts: dict[str, Part] = {
        "decisions": lambda stack, place: measure(stack, place, rounds=options.rounds, calls=options.calls),
        "egress": lambda stack, place: egress.measure(stack, place, rounds=options.rounds, seconds=options.seconds),
        "views": lambda stack, place: queries.measure(
            stack, place, rounds=options.rounds, calls=max(100, options.calls // 6)
        ),
        "approvals": lambda stack, place: approvals.measure(stack, place, rounds=options.rounds, calls=20),
        "footprint": lambda stack, place: footprint.measure(stack, place, rounds=options.rounds),
        "pods": lambda stack, place: pods.measure(stack, place, rounds=options.rounds, calls=30),
        **_scale(rounds=max(1, options.rounds // 2), calls=options.calls // 25),
    }
    chosen = {None: tuple(parts), "scale": SCALE}.get(options.only, (options.only,))
    rows: list[Row] = []
    for name, part in parts.items():
        if name in chosen:
            with _directory() as directory, ExitStack() as stack:
                rows += part(stack, directory)
    write(HERE / "latest.json", merged(read(HERE / "latest.json"), rows) if options.only else rows)
    show(rows)


def _scale(*, rounds: int, calls: int) -> dict[str, Part]:
    """An installation of many, part by part: each has a PostgreSQL of its own, which is gone before the next."""
    return {
        "store": lambda stack, place: store.measure(stack, place, rounds=rounds, seconds=2.0),
        "agents": lambda stack, place: scale.measure(stack, place, rounds=rounds, calls=calls),
        "pages": lambda stack, place: pages.measure(stack, place, rounds=rounds, calls=10),
    }


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="remit-bench-", dir=HERE.parent) as name:
        yield Path(name)


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Start everything, measure in turns, and compare."""
    remit = stack.enter_context(sidecar(directory / "remit"))
    time.sleep(2)
    idle = sum(resident_mb(remit.pid).values())
    ready = remit.ready_s
    fast = stack.enter_context(sidecar(directory / "unsafe", durable=False))
    binary = Path(subprocess.run([REMIT, "opa", "path"], capture_output=True, text=True, check=True).stdout.strip())
    bundle = next((remit.state / "bundles").glob("*.tar.gz"))
    bare = stack.enter_context(opa(binary, bundle))
    empty = stack.enter_context(echo(directory))
    _check(bare)
    subjects = {
        "decision": lambda callers, n: _grpc(remit.address, callers, n),
        "decision_not_durable": lambda callers, n: _grpc(fast.address, callers, n),
        "grpc_echo": lambda callers, n: _grpc(empty, callers, n),
        "requests_opa": lambda callers, n: run_threads(callers, n, lambda: _requests(bare)),
        "opa_python_client": lambda callers, n: run_threads(callers, n, lambda: _opa_client(bare)),
    }
    figures, sync = _interleaved(subjects, directory, rounds=rounds, calls=calls)
    rego = _rego_eval(binary, bundle, directory)
    return _rows(figures, sync, rego=rego, idle=idle, ready=ready)


def _interleaved(
    subjects: dict[str, Callable[[int, int], Figures]], directory: Path, *, rounds: int, calls: int
) -> tuple[dict[tuple[str, int], Figures], float]:
    taken: dict[tuple[str, int], list[Figures]] = {}
    syncs: list[float] = []
    order = [(name, callers) for name in subjects for callers in CALLERS]
    for _ in range(rounds):
        random.shuffle(order)
        syncs.append(_fdatasync(directory))
        for name, callers in order:
            number = calls if callers > 1 else max(100, calls // 6)
            taken.setdefault((name, callers), []).append(subjects[name](callers, number))
    return {key: median(each) for key, each in taken.items()}, statistics.median(syncs)


def _grpc(address: str, callers: int, calls: int) -> Figures:
    async def work() -> Figures:
        async with grpc.aio.insecure_channel(address) as channel:
            client = sidecar_pb2_grpc.SidecarStub(channel)

            async def ask() -> None:
                answer = await client.Authorize(QUESTION, metadata=METADATA)
                assert answer.decision.effect in (0, resources_pb2.EFFECT_ALLOW), answer

            await run_async(callers, callers * 5, ask)
            return await run_async(callers, calls, ask)

    return uvloop.run(work())


def _requests(url: str) -> Callable[[], object]:
    session = requests.Session()
    return lambda: session.post(f"{url}/v1/data/remit/decision", json={"input": INPUT}, timeout=10).json()["result"]


def _opa_client(url: str) -> Callable[[], object]:
    client = OpaClient(host="127.0.0.1", port=int(url.rpartition(":")[2]))
    return lambda: client.query_rule(input_data=INPUT, package_path="remit", rule_name="decision")["result"]


def _check(url: str) -> None:
    """What is compared is the same decision."""
    for make in (_requests, _opa_client):
        result = make(url)()
        assert isinstance(result, dict), result
        assert result["effect"] == "ALLOW", result


def _fdatasync(directory: Path, times: int = 200) -> float:
    """The median of a 4 KiB append and fdatasync, in ms."""
    taken = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def _rego_eval(binary: Path, bundle: Path, directory: Path) -> float:
    """`opa bench` of the library on the same input, in ms."""
    question = directory / "input.json"
    question.write_bytes(encode(INPUT))
    command = [binary, "bench", "--bundle", bundle, "--input", question, "--format", "json", "data.remit.decision"]
    ran = subprocess.run(command, capture_output=True, check=True, env={"HOME": str(directory)})
    told = parse(ran.stdout, 1 << 20)
    return float(told["Extra"]["histogram_timer_rego_query_eval_ns_median"]) / 1e6


def _rows(figures: dict[tuple[str, int], Figures], sync: float, *, rego: float, idle: float, ready: float) -> list[Row]:
    rows: list[Row] = []
    for callers in CALLERS:
        ours = figures["decision", callers]
        rows += [
            Row(f"decision_p50_{callers}", ours.p50, "ms", name, ours.p50 / figures[name, callers].p50)
            for name in ("requests_opa", "opa_python_client", "grpc_echo", "decision_not_durable")
        ]
        rows.append(Row(f"decision_p99_{callers}", ours.p99, "ms"))
    most = max(CALLERS)
    rate = figures["decision", most].rate
    rows += [
        Row(f"decision_rps_{most}", rate, "1/s", name, rate / figures[name, most].rate)
        for name in ("requests_opa", "opa_python_client", "grpc_echo", "decision_not_durable")
    ]
    for (name, callers), each in sorted(figures.items()):
        if name != "decision":
            rows.append(Row(f"{name}_p50_{callers}", each.p50, "ms", note=f"p99 {each.p99:.2f} ms, {each.rate:.0f}/s"))
    rows += [
        Row("fdatasync_p50", sync, "ms", note="4 KiB append on the same disk"),
        Row("rego_eval_p50", rego, "ms", note="opa bench, library and catalogue"),
        Row("rss_idle_mb", idle, "MB", note="sidecar and its OPA"),
        Row("ready_s", ready, "s", note="from start to /readyz"),
    ]
    return rows


if __name__ == "__main__":
    main()
