"""The processes that are measured: the sidecar, an OPA of its own as peers use it, and an empty gRPC server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import requests

HERE = Path(__file__).parent
TOKEN = "sk-bench-token-that-guards-nothing"
REMIT = Path(sys.executable).with_name("remit")
READY_SECONDS = 60.0


class NotStarted(Exception):
    """A process ended, or did not answer in time; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running `remit up`; `ready_s` from its start to the first 200 of /readyz."""

    address: str
    http: str
    state: Path
    pid: int
    ready_s: float


def until(answered: object, deadline: float) -> None:
    """Poll until a callable is true."""
    while not answered():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("it did not get ready")
        time.sleep(0.01)


def started_up(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    """Return when a process answers. Raises NotStarted where it has ended or takes too long."""
    try:
        until(lambda: process.poll() is not None or answers(), time.monotonic() + READY_SECONDS)
    except TimeoutError as e:
        raise NotStarted(f"{process.args!r} does not answer: {log.read_text(errors='replace')[-800:]}") from e
    if process.poll() is not None:
        raise NotStarted(f"{process.args!r} has ended: {log.read_text(errors='replace')[-800:]}")


def free_port() -> int:
    """A loopback port that nobody holds, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready(url: str) -> bool:
    """Whether a GET is answered 200."""
    try:
        return requests.get(url, timeout=1).status_code == 200
    except requests.RequestException:
        return False


@contextmanager
def sidecar(
    directory: Path,
    *,
    durable: bool = True,
    template: Path = HERE / "remit.yaml",
    values: Mapping[str, str] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Sidecar]:
    """`remit up` on a directory of its own; not durable, only to see what that costs.

    The catalogue is the template with TOKEN_HASH and each of `values` put in; `environment` is added to our own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = template.read_text(encoding="utf-8")
    for name, value in {"TOKEN_HASH": sha256(TOKEN.encode()).hexdigest(), **values}.items():
        text = text.replace(name, value)
    catalogue = directory / "remit.yaml"
    catalogue.write_text(text, encoding="utf-8")
    http = f"127.0.0.1:{free_port()}"
    program = [REMIT] if durable else [Path(sys.executable), HERE / "unsafe.py"]
    given = ["--catalogue", catalogue, "--state", directory / "state", "--socket", directory / "s"]
    command = [*program, "up", *given, "--grpc", "off", "--http", http]
    started = time.monotonic()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        started_up(process, lambda: ready(f"http://{http}/readyz"), directory / "log")
        ready_s = time.monotonic() - started
        yield Sidecar(f"unix:{directory / 's'}", http, directory / "state", process.pid, ready_s)
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


@contextmanager
def opa(binary: Path, bundle: Path) -> Iterator[str]:
    """A bare OPA on loopback TCP with the same bundle, as a team without Remit would ask it; its URL."""
    address = f"127.0.0.1:{free_port()}"
    command = [binary, "run", "--server", "--addr", address, "--log-level", "error", "--bundle", bundle]
    process = subprocess.Popen([*command, "--disable-telemetry"], env={}, stderr=subprocess.DEVNULL)
    try:
        until(lambda: ready(f"http://{address}/health"), time.monotonic() + READY_SECONDS)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(READY_SECONDS)


@contextmanager
def echo(directory: Path) -> Iterator[str]:
    """An empty grpc.aio server; its address."""
    address = f"unix:{directory / 'echo'}"
    process = subprocess.Popen([sys.executable, HERE / "echo.py", address], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield address
    finally:
        process.terminate()
        process.wait(READY_SECONDS)
