"""`remit lockdown`: beyond loopback only the sidecar's user gets through, shown on a host of its own.

A port that needs no decision is no reason to trust an agent: what it may ask on loopback is the sidecar's business.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.two_hosts import BEYOND, LOOPBACK, Host, two_hosts, why_not
from remit.backends import lockdown_tables

WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

SIDECAR, AGENT, OTHER = 7450, 1000, 1001
AT_ONCE_MS = 100
REFUSED = {"ECONNREFUSED", "EPERM", "EACCES"}
REMIT = str(Path(sys.executable).with_name("remit"))


@pytest.fixture(params=["nft", "iptables"])
def tool(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def host() -> Iterator[Host]:
    with two_hosts() as made:
        yield made


def lockdown(host: Host, tool: str, *more: str) -> tuple[int, str]:
    ended = host.run(REMIT, "lockdown", "--sidecar", str(SIDECAR), "--with", tool, *more, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def assert_refused(host: Host, uid: int) -> None:
    for kind in ("tcp", "udp"):
        for address in BEYOND:
            dialled = host.dial(uid, kind, address)
            assert dialled.ended in REFUSED, (uid, kind, address, dialled)
            assert dialled.ms < AT_ONCE_MS, (uid, kind, address, dialled)


def assert_through(host: Host, uid: int, *addresses: str) -> None:
    for kind in ("tcp", "udp"):
        for address in addresses:
            assert host.dial(uid, kind, address).ended == "through", (uid, kind, address)


def test_without_the_rules_an_agent_dials_whom_it_likes(host: Host) -> None:
    """The planted bug: no lock-down. These hosts show it, so that a refusal below is the rules' work."""
    assert_through(host, AGENT, *BEYOND, *LOOPBACK)
    with pytest.raises(AssertionError):
        assert_refused(host, AGENT)


def test_only_the_sidecar_dials_beyond_loopback(host: Host, tool: str) -> None:
    """TCP and UDP, IPv4 and IPv6, root too; refused at once, not after a time-out. Loopback is everyone's."""
    assert lockdown(host, tool)[0] == 0

    for uid in (AGENT, 0):
        assert_refused(host, uid)
    assert_through(host, SIDECAR, *BEYOND, *LOOPBACK)
    assert_through(host, AGENT, *LOOPBACK)


def test_names_are_the_sidecars_business(host: Host, tool: str) -> None:
    """A resolver, also one on loopback, would carry anything out in the names that it is asked for."""
    lockdown(host, tool)

    for kind in ("tcp", "udp"):
        assert host.dial(AGENT, kind, BEYOND[0], 53).ended in REFUSED
        assert host.dial(AGENT, kind, LOOPBACK[0], 53).ended in REFUSED
        assert host.dial(SIDECAR, kind, LOOPBACK[0], 53).ended == "through"


def test_an_agent_still_serves(host: Host, tool: str) -> None:
    """Who dials in is answered: probes, and callers that the network lets in."""
    lockdown(host, tool)

    for kind in ("tcp", "udp"):
        for address in ("10.77.0.1", "fd00:77::1"):
            assert host.dial_in(kind, address).ended == "through"


# Listens as one user, and dials it as another; prints what comes of that.
_ANSWERED = """
import os, signal, socket, sys, time
def become(uid):
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
server, client, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
if os.fork() == 0:
    become(server)
    signal.alarm(3)
    own = socket.socket(listening.family)
    own.bind((host, port)); own.listen()
    own.accept()[0].sendall(b"hello")
    os._exit(0)
become(client)
end = time.monotonic() + 2
while True:
    call = socket.socket(listening.family); call.settimeout(1.5)
    try:
        call.connect((host, port)); print(call.recv(9).decode()); break
    except ConnectionRefusedError:
        time.sleep(0.05)
    except OSError:
        print("nothing"); break
    if time.monotonic() > end:
        print("nobody"); break
"""


@pytest.mark.parametrize("address", LOOPBACK)
def test_at_the_sidecars_ports_nobody_else_answers(host: Host, tool: str, address: str) -> None:
    """Who takes one, while the sidecar is away, is neither Remit for others nor its metrics."""

    def answered(uid: int, port: int) -> str:
        ended = host.run("timeout", "10", sys.executable, "-c", _ANSWERED, str(uid), str(AGENT), address, str(port))
        return ended.stdout.strip()

    assert lockdown(host, tool)[0] == 0
    assert answered(AGENT, 7458) == "hello", "planted: without the ports it does"
    assert lockdown(host, tool, "--port", "7459", "--port", "7450")[0] == 0
    assert answered(AGENT, 7459) == "nothing"
    assert answered(0, 7450) == "nothing"
    assert answered(SIDECAR, 7459) == "hello"
    assert answered(AGENT, 7457) == "hello"
    assert lockdown(host, tool, "--check")[0] == 1, "without the ports it is another lock-down"
    assert lockdown(host, tool, "--check", "--port", "7450", "--port", "7459")[0] == 0


def test_named_agents_alone_are_locked_in(host: Host, tool: str) -> None:
    """On a host with other users."""
    assert lockdown(host, tool, "--agent", str(AGENT))[0] == 0

    assert_refused(host, AGENT)
    assert_through(host, OTHER, *BEYOND)
    assert_through(host, SIDECAR, *BEYOND)


def test_applied_twice_is_applied_once(host: Host, tool: str) -> None:
    """A restarted init container replaces its own rules, and another sidecar's user replaces the first one's."""
    lockdown(host, tool, "--agent", str(OTHER))
    lockdown(host, tool)
    once = rules(host)
    lockdown(host, tool)

    assert rules(host) == once
    assert_refused(host, AGENT)


def test_check_sees_what_was_changed(host: Host, tool: str) -> None:
    """Not applied, applied for other users, one rule removed or put before, lifted: each is no lock-down."""
    assert lockdown(host, tool, "--check")[0] == 1
    assert lockdown(host, tool)[0] == 0
    assert lockdown(host, tool, "--check")[0] == 0
    assert lockdown(host, tool, "--check", "--agent", str(AGENT))[0] == 1
    tampered = {
        "nft": ["nft", "insert", "rule", "inet", "remit_lockdown", "output", "meta", "skuid", str(AGENT), "accept"],
        "iptables": ["iptables", "-I", "OUTPUT", "1", "-m", "owner", "--uid-owner", str(AGENT), "-j", "ACCEPT"],
    }
    host.run(*tampered[tool])
    assert lockdown(host, tool, "--check")[0] == 1
    assert host.dial(AGENT, "tcp", BEYOND[0]).ended == "through"
    assert lockdown(host, tool)[0] == 0
    assert_refused(host, AGENT)
    assert lockdown(host, tool, "--remove")[0] == 0
    assert lockdown(host, tool, "--check")[0] == 1
    assert_through(host, AGENT, *BEYOND)


def test_what_is_missing_is_told(host: Host, tmp_path: Path) -> None:
    """Without the right to, and for users who are no boundary: exit code 2 and one line that says what to do."""
    without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    ended = host.run(*without, REMIT, "lockdown", "--sidecar", "7450", "--with", "nft", check=False)
    assert (ended.returncode, "CAP_NET_ADMIN" in ended.stderr) == (2, True), ended.stderr
    assert lockdown(host, "nft", "--agent", str(SIDECAR))[0] == 2
    root = host.run(REMIT, "lockdown", "--sidecar", "0", check=False)
    assert (root.returncode, "root" in root.stderr) == (2, True)


def rules(host: Host) -> str:
    """All rules, without what packets they have seen."""
    return host.run("nft", "--stateless", "list", "ruleset").stdout


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named, with the package that has them."""
    monkeypatch.setattr(lockdown_tables, "_SBIN", ())
    with pytest.raises(lockdown_tables.LockdownFailed, match=r"nftables(.|\n)*iptables"):
        lockdown_tables.find_tables("auto", {"PATH": os.devnull})
