"""Two network namespaces joined by a cable: a host that agents run on, and what lies beyond it.

The far one answers TCP and UDP, IPv4 and IPv6. Whoever dials does so under a user's number and tells how it ended.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

PORT = 8080
BEYOND = ("10.77.0.2", "fd00:77::2")
LOOPBACK = ("127.0.0.1", "::1")
_NEAR = ("10.77.0.1/24", "fd00:77::1/64")
_FAR = ("10.77.0.2/24", "fd00:77::2/64")

# Echoes on every address, TCP and UDP, on the ports given; says when it listens.
_SERVER = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(socket.AF_INET6, kind)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            one.listen(16)
        chosen.register(one, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.data == socket.SOCK_STREAM:
            with key.fileobj.accept()[0] as call:
                call.sendall(call.recv(64))
        else:
            key.fileobj.sendto(*key.fileobj.recvfrom(64))
"""

# Becomes a user, sends "hi", waits for the echo; the outcome's name and the time that it took, in ms.
_DIAL = """
import errno, json, os, socket, sys, time
uid, kind, host, port = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
os.setgroups([]); os.setgid(uid); os.setuid(uid)
family = socket.AF_INET6 if ":" in host else socket.AF_INET
call = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
call.settimeout(5)
begun = time.monotonic()
try:
    call.connect((host, port))
    call.sendall(b"hi")
    ended = "through" if call.recv(64) == b"hi" else "garbled"
except TimeoutError:
    ended = "timeout"
except OSError as error:
    ended = errno.errorcode[error.errno]
print(json.dumps({"ended": ended, "ms": (time.monotonic() - begun) * 1000}))
"""


@dataclass(frozen=True, slots=True)
class Dialled:
    """How a dial ended: "through", or the error's name; and how many ms that took."""

    ended: str
    ms: float


class Host:
    """The near one."""

    def __init__(self, near: str, far: str) -> None:
        self.near = near
        self.far = far

    def run(
        self, *command: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here, as root."""
        return _run("ip", "netns", "exec", self.near, *command, check=check, env=env)

    def dial(self, uid: int, kind: str, host: str, port: int = PORT) -> Dialled:
        """Dial as a user."""
        return self._dialled(self.near, uid, kind, host, port)

    def dial_in(self, kind: str, host: str, port: int = PORT) -> Dialled:
        """Somebody beyond dials in."""
        return self._dialled(self.far, 4242, kind, host, port)

    def _dialled(self, space: str, uid: int, kind: str, host: str, port: int) -> Dialled:
        text = _run("ip", "netns", "exec", space, sys.executable, "-c", _DIAL, str(uid), kind, host, str(port)).stdout
        return Dialled(**json.loads(text))


def why_not() -> str:
    """Why there can be no such hosts on this machine; "" where there can."""
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"remit-{uuid.uuid4().hex[:8]}"
    made = _run("ip", "netns", "add", name, check=False)
    if made.returncode:
        return f"may make no network namespace: {made.stderr.strip()}"
    _run("ip", "netns", "delete", name)
    return ""


@contextmanager
def two_hosts(ports: Sequence[int] = (PORT, 53)) -> Iterator[Host]:
    """Both, with servers on their loopback and on the cable; gone at the end of the block."""
    mark = uuid.uuid4().hex[:8]
    host = Host(f"remit-near-{mark}", f"remit-far-{mark}")
    servers: list[subprocess.Popen[str]] = []
    try:
        for space in (host.near, host.far):
            _run("ip", "netns", "add", space)
            _run("ip", "-n", space, "link", "set", "lo", "up")
        _run(
            "ip", "link", "add", "cable", "netns", host.near, "type", "veth", "peer", "name", "cable", "netns", host.far
        )
        for space, addresses in ((host.near, _NEAR), (host.far, _FAR)):
            for address in addresses:
                _run(
                    "ip", "-n", space, "address", "add", address, "dev", "cable", *(["nodad"] if ":" in address else [])
                )
            _run("ip", "-n", space, "link", "set", "cable", "up")
        for space in (host.near, host.far):
            servers.append(_serve(space, ports))
        yield host
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        for space in (host.near, host.far):
            _run("ip", "netns", "delete", space, check=False)


def _serve(space: str, ports: Sequence[int]) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", space, sys.executable, "-c", _SERVER, *map(str, ports)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def _run(*command: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    if check and ended.returncode:
        raise AssertionError(f"{' '.join(command[:6])}…: {ended.stderr}")
    return ended
