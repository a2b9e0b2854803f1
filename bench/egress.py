"""What it costs to leave through Remit: beside no proxy, the same Envoy alone, and LiteLLM's proxy, interleaved."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from remit.backends.program_install import InstallFailed

from bench.places import TOKEN, NotStarted
from bench.processes import cpu_ms, resident_mb
from bench.programs import go_program
from bench.rows import Row
from bench.ways import MODEL, Way, envoy_only, litellm_proxy, remit_egress, upstream

CALLERS = (1, 32)
PEERS = ("envoy_only", "litellm")
QUESTION = {
    "model": MODEL,
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "Summarise what the customer wrote, kindly. " * 20}],
}
EVENTS = {**QUESTION, "stream": True}


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one round, or the medians of all: milliseconds, requests a second, and processor ms a request by program."""

    p50: float
    p99: float
    rate: float
    first: float
    cpu: Mapping[str, float]


Kind = tuple[str, int]
"""What is asked for ("whole" or "events"), and how many callers ask."""

Figures = Mapping[tuple[str, Kind], Taken]
"""By the way out and the kind of load."""

KINDS: tuple[Kind, ...] = (*(("whole", callers) for callers in CALLERS), ("events", 1))


def measure(stack: ExitStack, directory: Path, *, rounds: int, seconds: float) -> list[Row]:
    """Start every way out, measure them in turns, and compare. Without LiteLLM the rows say why."""
    program = go_program()
    before = stack.enter_context(upstream(program))
    ways = {
        "direct": Way(f"http://{before}/v1/chat/completions"),
        "envoy_only": stack.enter_context(envoy_only(directory / "envoy", before)),
        "egress": stack.enter_context(remit_egress(directory / "remit", before)),
    }
    missing = ""
    try:
        ways["litellm"] = stack.enter_context(litellm_proxy(directory / "litellm", before))
    except (InstallFailed, NotStarted) as e:
        print(f"bench: {e}", file=sys.stderr)
        last = str(e).strip().splitlines()[-1].replace(str(Path.home()), "~")
        missing = f"LiteLLM could not be measured: {last[:200]}"
    time.sleep(2)
    resident = {name: resident_mb(way.pid) for name, way in ways.items() if way.pid}
    load = lambda name, kind: _load(program, ways[name], kind, seconds)  # noqa: E731 - one line each
    return rows(_interleaved(tuple(ways), load, rounds), resident, missing)


def _interleaved(names: tuple[str, ...], load: Callable[[str, Kind], Taken], rounds: int) -> Figures:
    taken: dict[tuple[str, Kind], list[Taken]] = {}
    order = [(name, kind) for name in names for kind in KINDS]
    for _ in range(rounds):
        random.shuffle(order)
        for name, kind in order:
            taken.setdefault((name, kind), []).append(load(name, kind))
    return {key: _median(each) for key, each in taken.items()}


def _median(taken: list[Taken]) -> Taken:
    middle = lambda key: statistics.median(getattr(each, key) for each in taken)  # noqa: E731 - one line each
    programs = sorted({program for each in taken for program in each.cpu})
    cpu = {name: statistics.median(each.cpu.get(name, 0.0) for each in taken) for name in programs}
    return Taken(middle("p50"), middle("p99"), middle("rate"), middle("first"), cpu)


def _load(program: Path, way: Way, kind: Kind, seconds: float) -> Taken:
    asked, callers = kind
    command = [program, "load", "-url", way.url, "-callers", str(callers), "-for", f"{seconds}s"]
    command += ["-header", f"Authorization: Bearer {TOKEN}", "-want", "[DONE]" if asked == "events" else "usage"]
    body = json.dumps(EVENTS if asked == "events" else QUESTION)
    before = cpu_ms(way.pid) if way.pid else Counter()
    ran = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{way.url}: {ran.stderr.strip()[-600:]}")
    told = json.loads(ran.stdout)
    used = cpu_ms(way.pid) - before if way.pid else Counter[str]()
    number = told.pop("asked")
    return Taken(**told, cpu={name: ms / number for name, ms in used.items()})


def rows(figures: Figures, resident: Mapping[str, Mapping[str, float]], missing: str) -> list[Row]:
    """Each figure of ours against each of the peers'; `missing` says why LiteLLM has none."""
    most = max(CALLERS)
    one, many, events = ("whole", 1), ("whole", most), ("events", 1)

    def added(way: str) -> float:
        return figures[way, one].p50 - figures["direct", one].p50

    def first(way: str) -> float:
        return figures[way, events].first - figures["direct", events].first

    def rate(way: str) -> float:
        return figures[way, many].rate

    def cpu(way: str) -> float:
        return sum(figures[way, many].cpu.values())

    def idle(way: str) -> float:
        return sum(resident[way].values())

    ours = figures["egress", many].cpu
    compared = [
        *_against(added, "egress_added_p50_1", "ms", missing, "p50 above that without a proxy"),
        *_against(rate, f"egress_rps_{most}", "1/s", missing, ""),
        *_against(first, "sse_first_byte_added", "ms", missing, "p50 above that without a proxy"),
        *_against(cpu, f"egress_cpu_ms_{most}", "ms", missing, f"a request: {_listed(ours, '.2f')}"),
        *_against(idle, "egress_rss_idle_mb", "MB", missing, _listed(resident["egress"], ".0f")),
    ]
    return compared + [_alone(name, kind, each) for (name, kind), each in sorted(figures.items())]


def _against(measured: Callable[[str], float], name: str, unit: str, missing: str, note: str) -> list[Row]:
    ours = measured("egress")
    peers = [peer for peer in PEERS if not (missing and peer == "litellm")]
    told = [Row(name, ours, unit, peer, ours / measured(peer), note) for peer in peers]
    return told + ([Row(name, ours, unit, "litellm", None, missing)] if missing else [])


def _alone(name: str, kind: Kind, taken: Taken) -> Row:
    asked, callers = kind
    way = name if name == "egress" else f"egress_{name}"
    if asked == "events":
        return Row(f"{way}_sse_first_byte", taken.first, "ms", note=f"whole stream {taken.p50:.0f} ms")
    cpu = f", processor ms a request: {_listed(taken.cpu, '.2f')}" if taken.cpu else ""
    return Row(f"{way}_p50_{callers}", taken.p50, "ms", note=f"p99 {taken.p99:.2f} ms, {taken.rate:.0f}/s{cpu}")


def _listed(each: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in each.items())
