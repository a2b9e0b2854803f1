"""Envoy, OPA, the sidecar or the disk fail: calls fail closed, with a status where somebody is left to say it, nothing
reaches an upstream without a decision, and all is well again within five seconds."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.egress_book import busy, idle
from fakes.egress_stage import Heard, Stage, reason, request, stage, stopped, talk, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SECONDS = 5.0
GOOD = request("/api/v1/items/3")


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as made:
        made.api.answers.update(idle=idle, busy=busy)
        yield made


def asked(on: Stage, what: bytes = GOOD) -> Heard:
    """A call, whoever may not be there to take it."""
    try:
        return talk(on.egress, what, whole=3)
    except OSError:
        return Heard(b"", closed=True)


def recovers(on: Stage, since: float, codes: set[str]) -> bool:
    """Whether calls go through again in time; until then each is refused with one of these reasons, or not taken."""
    while (heard := asked(on)).status != 200:
        assert heard.raw == b"" or reason(heard) in codes or heard.status in (503, 504), heard
        if time.monotonic() - since > SECONDS:
            return False
    return True


@contextmanager
def callers(on: Stage, count: int = 4) -> Iterator[list[Heard]]:
    """Agents that call again and again until the end of the block; what they heard."""
    heard: list[Heard] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            heard.append(asked(on))

    threads = [threading.Thread(target=call) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        yield heard
    finally:
        done.set()
        for each in threads:
            each.join()


@contextmanager
def streams(on: Stage) -> Iterator[list[socket.socket]]:
    """An idle and a busy stream of events, begun."""
    opened = []
    try:
        for what in ("idle", "busy"):
            sock = socket.create_connection(("127.0.0.1", on.egress), timeout=SECONDS)
            opened.append(sock)
            sock.sendall(request(f"/events/v1/{what}"))
            assert b"200 OK" in sock.recv(4096)
        yield opened
    finally:
        for sock in opened:
            sock.close()


def is_cut(sock: socket.socket) -> bool:
    """Whether the other side hangs up, without the end of the chunks."""
    heard = b""
    try:
        while read := sock.recv(1 << 16):
            heard += read
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return not heard.endswith(b"0\r\n\r\n")


def settled(on: Stage) -> bool:
    """Whether every permitted call has its end in the journal."""
    records = on.records()
    sent = {each.id for each in records if each.kind == "decision" and each.body.get("sent")}
    return sent <= {each.ref for each in records if each.kind in ("report", "lapse")}


def test_envoy_killed_fails_closed_and_is_back(on: Stage) -> None:
    """Streams are cut, callers are refused, and what was under way is settled."""
    on.page()
    with streams(on) as opened, callers(on) as heard:
        assert until(lambda: len(heard) > 8)
        os.kill(on.child("envoy"), signal.SIGKILL)
        since = time.monotonic()
        assert [is_cut(each) for each in opened] == [True, True]
        assert recovers(on, since, set())
    assert until(lambda: on.api.answering == 0)
    assert all(each.status in (0, 200, 503) for each in heard)
    assert until(lambda: settled(on))
    assert on.reckon() == []


def test_opa_killed_denies_and_is_back(on: Stage) -> None:
    """Each call meanwhile is refused as what can be cured by asking again."""
    on.page()
    with callers(on) as heard:
        os.kill(on.child("opa"), signal.SIGKILL)
        assert recovers(on, time.monotonic(), {"pdp_unavailable"})
    assert {each.status for each in heard} <= {200, 503}
    assert on.reckon() == []


def test_opa_that_stands_still_denies_in_time_and_goes_on(on: Stage) -> None:
    """A policy engine that does not answer is none."""
    on.page()
    with stopped(on.child("opa")):
        before = time.monotonic()
        heard = asked(on)
        assert (heard.status, reason(heard)) == (503, "pdp_unavailable")
        assert time.monotonic() - before < 3
    assert recovers(on, time.monotonic(), {"pdp_unavailable"})
    assert on.reckon() == []


def test_a_sidecar_that_stands_still_lets_nothing_through(on: Stage) -> None:
    """Envoy asks, and waits; whoever leaves meanwhile was never sent on."""
    on.page()
    with stopped(on.pid):
        heard = [talk(on.egress, GOOD, whole=0.5) for _ in range(3)]
        assert [each.raw for each in heard] == [b"", b"", b""]
        assert on.api.got == []
    assert recovers(on, time.monotonic(), set())
    assert until(lambda: settled(on))
    assert on.reckon() == []


def test_a_full_disk_refuses_what_cannot_be_recorded(on: Stage) -> None:
    """The journal cannot grow: no call goes out, whether or not the sidecar lives; with space again all is well."""
    log = on.state / "state.db-wal"
    on.page()
    asked(on)
    size = log.stat().st_size
    resource.prlimit(on.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        assert until(lambda: asked(on).status != 200)
        arrived = len(on.api.got)
        refused = [asked(on) for _ in range(3)]
    finally:
        resource.prlimit(on.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(on.api.got) == arrived
    assert {reason(each) for each in refused if each.status == 503} <= {"store_unavailable", ""}
    # A failed write may have been half made: the sidecar ends, and whoever supervises it starts it anew.
    assert until(lambda: on.ended or asked(on).status == 200, 20)
    since = time.monotonic()
    if on.ended:
        on.up()
    assert recovers(on, since, {"store_unavailable"})
    assert on.reckon() == []


def test_the_sidecar_killed_takes_envoy_and_every_stream_with_it(on: Stage) -> None:
    """Nobody is left to be asked, so nobody is left to answer; a new one serves in time and owes nothing."""
    on.page()
    children = [on.child("envoy"), on.child("opa")]
    with streams(on) as opened, callers(on) as heard:
        assert until(lambda: len(heard) > 8)
        on.kill()
        assert [is_cut(each) for each in opened] == [True, True]
        assert until(lambda: not any(is_alive(pid) for pid in children), 2)
        assert until(lambda: on.api.answering == 0)
        arrived = len(on.api.got)
        assert all(asked(on).status in (0, 503) for _ in range(20))
        assert len(on.api.got) == arrived
        since = time.monotonic()
        on.up()
        assert recovers(on, since, set())
    assert all(each.status in (0, 200, 503, 502) for each in heard)
    assert on.reckon() == []


def test_the_harness_notices_a_call_that_goes_through_meanwhile(on: Stage) -> None:
    """The planted weakness: an upstream that answers past Envoy, while OPA stands still."""
    on.page()
    with stopped(on.child("opa")):
        assert talk(on.api.port, GOOD.replace(b"/api", b"/base")).status == 200
    assert len(on.reckon()) == 1


def is_alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
