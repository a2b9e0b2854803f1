"""The ways out that are compared, each a running process before the same upstream."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.places import HERE, READY_SECONDS, REMIT, TOKEN, free_port, ready, sidecar, started_up
from bench.programs import litellm

PATH = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
_TYPES = "type.googleapis.com/envoy.extensions.filters"


@dataclass(frozen=True, slots=True)
class Way:
    """Where a chat completion is posted, and the process whose use of the machine it costs (0: none)."""

    url: str
    pid: int = 0


@contextmanager
def upstream(program: Path) -> Iterator[str]:
    """Something that answers as OpenAI does; HOST:PORT."""
    process = subprocess.Popen([program, "upstream"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


@contextmanager
def envoy_only(directory: Path, before: str) -> Iterator[Way]:
    """The same Envoy with the same route, and nothing that looks at what passes."""
    found = subprocess.run([REMIT, "envoy", "path"], capture_output=True, text=True, check=True).stdout.strip()
    port = free_port()
    directory.mkdir()
    file = directory / "envoy.json"
    file.write_text(json.dumps(_bootstrap(port, before)), encoding="utf-8")
    command = [found, "-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]
    with _running(command, {}, lambda: _listens(port), directory / "log") as pid:
        yield Way(f"http://127.0.0.1:{port}/openai{PATH}", pid)


def _bootstrap(port: int, before: str) -> Mapping[str, object]:
    host, _, upstream_port = before.rpartition(":")
    at = lambda host, port: {"socket_address": {"address": host, "port_value": int(port)}}  # noqa: E731 - one line each
    route = {
        "match": {"prefix": "/openai/"},
        "route": {"cluster": "up", "prefix_rewrite": "/", "host_rewrite_literal": before, "timeout": "600s"},
    }
    connections = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": connections}]}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(host, upstream_port)}}]}]
    cluster = {"name": "up", "type": "STATIC", "load_assignment": {"cluster_name": "up", "endpoints": endpoints}}
    listener = {"name": "egress", "address": at("127.0.0.1", port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def remit_egress(directory: Path, before: str) -> Iterator[Way]:
    """`remit up` with its egress: identity, mapping, decision, durable record, credential, metering."""
    http = f"127.0.0.1:{free_port()}"
    environment = {
        "REMIT_EGRESS_ON": "true",
        "REMIT_EGRESS_HTTP": http,
        "REMIT_EGRESS_PROXY": "off",
        "BENCH_KEY": "sk-of-the-upstream",
    }
    with sidecar(
        directory, template=HERE / "egress.yaml", values={"UPSTREAM": before}, environment=environment
    ) as running:
        yield Way(f"http://{http}/openai{PATH}", running.pid)


@contextmanager
def litellm_proxy(directory: Path, before: str) -> Iterator[Way]:
    """LiteLLM's proxy as its documents start it: one worker, a master key, no database.

    Raises InstallFailed or NotStarted.
    """
    command = litellm()
    port = free_port()
    directory.mkdir()
    model = {"model": f"openai/{MODEL}", "api_base": f"http://{before}/v1", "api_key": "sk-of-the-upstream"}
    told = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": TOKEN},
    }
    config = directory / "config.yaml"
    config.write_text(json.dumps(told), encoding="utf-8")
    # Without the second variable it fetches its prices at each start.
    environment = {
        "HOME": str(directory),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "PATH": os.defpath,
    }
    listening = ["--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    alive = f"http://127.0.0.1:{port}/health/liveliness"
    with _running([command, *listening], environment, lambda: ready(alive), directory / "log") as pid:
        yield Way(f"http://127.0.0.1:{port}{PATH}", pid)


@contextmanager
def _running(
    command: Sequence[object], environment: Mapping[str, str], answers: Callable[[], bool], log: Path
) -> Iterator[int]:
    """A process until it is done with, once it answers; what it said goes into the log, and into an error's message."""
    with log.open("wb") as said:
        process = subprocess.Popen(list(map(str, command)), env=dict(environment), stdout=said, stderr=said)
    try:
        started_up(process, answers, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
