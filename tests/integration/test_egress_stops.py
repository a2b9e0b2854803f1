"""What is under way ends when it must: a halt and a risen label end streams and tunnels within a second, idle or not.

One agent, known as the pod's own, so that a bare TCP connection is somebody's too.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakes.egress_book import busy, flood, idle
from fakes.egress_stage import PROXY_TOKEN, Stage, reason, request, stage, talk, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SOON = 1.0


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage"), pod=True) as made:
        made.api.answers.update(idle=idle, busy=busy, flood=flood)
        yield made


class Open:
    """Something under way, from the agent's side."""

    def __init__(self, name: str, port: int, first: bytes, expected: bytes, *, small: bool = False) -> None:
        self.name = name
        self.sock = socket.socket()
        if small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(5)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(first)
        self.heard = b""
        while expected not in self.heard:
            read = self.sock.recv(4096)
            assert read, (name, self.heard)
            self.heard += read

    def ends(self, at: float) -> bool:
        """Whether it is closed from the other side by then."""
        try:
            while True:
                self.sock.settimeout(max(0.001, at - time.monotonic()))
                read = self.sock.recv(1 << 16)
                if not read:
                    return True
                self.heard += read
        except TimeoutError:
            return False
        except ConnectionError:
            return True


class Agent:
    """Opens things, and leaves none behind."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self.opened: list[Open] = []

    def stream(self, what: str, service: str = "events", *, small: bool = False) -> Open:
        """A stream of events."""
        path = f"/{service}/v1/{'do/' if service == 'api' else ''}{what}"
        return self._open(f"{service} {what}", self._on.egress, request(path, who=""), b"200 OK", small=small)

    def tunnel(self) -> Open:
        """A tunnel through the forward proxy."""
        name = f"localhost:{self._on.wire.port}"
        first = f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n\r\n".encode()
        return self._open("tunnel", self._on.proxy, first, b"200 OK\r\n")

    def wire(self) -> Open:
        """A connection to the tcp service."""
        return self._open("wire", self._on.listen, b"ping", b"ping")

    def direct(self) -> Open:
        """A stream that goes past the sidecar."""
        return self._open("direct", self._on.api.port, b"GET /base/v1/busy HTTP/1.1\r\nhost: x\r\n\r\n", b"200 OK")

    def _open(self, name: str, port: int, first: bytes, expected: bytes, *, small: bool = False) -> Open:
        self.opened.append(Open(name, port, first, expected, small=small))
        return self.opened[-1]

    def close(self) -> None:
        """Hang up everywhere."""
        for each in self.opened:
            each.sock.close()


@pytest.fixture
def agent(on: Stage) -> Iterator[Agent]:
    made = Agent(on)
    yield made
    made.close()


@contextmanager
def halted(on: Stage) -> Iterator[float]:
    """The agent is halted until the end of the block; when that was."""
    assert on.remit("halt", "--agent", "support", "--reason", "a test").returncode == 0
    at = time.monotonic()
    try:
        yield at
    finally:
        assert on.remit("resume", "--agent", "support", "--reason", "a test").returncode == 0


def upstream(on: Stage) -> tuple[int, int]:
    return on.api.answering, on.wire.open


def test_a_halt_ends_streams_and_tunnels_within_a_second_idle_ones_too(on: Stage, agent: Agent) -> None:
    """For the agent and for the upstream; a stream of events says why; nothing new begins until people resume."""
    opened = [agent.stream("idle"), agent.stream("busy"), agent.tunnel(), agent.tunnel(), agent.wire(), agent.wire()]
    opened[2].sock.sendall(b"ping")
    assert opened[2].sock.recv(9) == b"ping"
    with halted(on) as at:
        still = [each.name for each in opened if not each.ends(at + SOON)]
        assert still == []
        assert until(lambda: upstream(on) == (0, 0), 1)
        assert [b'"code":"halted"' in each.heard for each in opened[:2]] == [True, True]
        on.page()
        before = on.wire.connections
        assert reason(talk(on.egress, request("/events/v1/idle", who=""))) == "halted"
        name = f"localhost:{on.wire.port}"
        assert reason(talk(on.proxy, request(name, "CONNECT", host=name, who=""))) == "halted"
        assert talk(on.listen, b"ping", whole=2).raw == b""
        assert (on.api.got, on.wire.connections) == ([], before)
    assert agent.stream("busy").sock.recv(10)


def test_an_agent_that_does_not_read_holds_up_nobodys_end(on: Stage, agent: Agent) -> None:
    """Its own streams end too, at the upstream at least: what it does not read it cannot be told."""
    for _ in range(3):
        agent.stream("flood", small=True)
    time.sleep(0.3)  # until every buffer on the way is full, as far as that can be
    good = [agent.stream("idle"), agent.tunnel(), agent.wire()]
    with halted(on) as at:
        still = [each.name for each in good if not each.ends(at + SOON)]
        assert still == []
        assert until(lambda: upstream(on) == (0, 0), 2)


def test_a_tunnel_needs_a_service_that_says_so(on: Stage) -> None:
    """One that is not `opaque` is refused with its reason, and is not dialled."""
    name = f"localhost:{on.shut.port}"
    heard = talk(on.proxy, request(name, "CONNECT", host=name, who=""))
    assert (heard.status, reason(heard)) == (403, "tunnel_not_allowed")
    assert on.shut.connections == 0


def test_bytes_behind_a_refused_connect_go_nowhere(on: Stage) -> None:
    """Neither into a tunnel that was never opened, nor as a request of its own."""
    on.page()
    name = f"localhost:{on.shut.port}"
    first = f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n{PROXY_TOKEN}\r\n".encode()
    heard = talk(on.proxy, first + b"GET /base/v1/items/9 HTTP/1.1\r\nhost: x\r\n\r\n", whole=2)
    assert heard.status == 403
    assert (on.plain.got, on.shut.connections) == ([], 0)


def test_the_harness_notices_a_stream_that_is_not_ended(on: Stage, agent: Agent) -> None:
    """The planted weakness: a stream that goes past the sidecar is still open a second after the halt."""
    direct = agent.direct()
    with halted(on) as at:
        assert not direct.ends(at + SOON)
        assert on.api.answering == 1
    agent.close()
    assert until(lambda: on.api.answering == 0)


def test_a_risen_label_ends_what_is_not_cleared_for_it_and_nothing_else(on: Stage, agent: Agent) -> None:
    """The agent is given personal data: what goes to services without that clearance ends, what is cleared goes on."""
    cleared = agent.stream("busy", "api")
    opened = [agent.stream("idle"), agent.stream("busy"), agent.tunnel(), agent.wire()]
    assert talk(on.egress, request("/people/v1/people", who="")).status == 200
    at = time.monotonic()
    assert [each.name for each in opened if not each.ends(at + SOON)] == []
    assert b"flow_label_exceeds_clearance" in opened[0].heard
    assert not cleared.ends(at + SOON + 0.2)
    assert upstream(on) == (1, 0)
    assert reason(talk(on.egress, request("/events/v1/idle", who=""))) == "flow_label_exceeds_clearance"
