"""SIGTERM while calls leave: they have `limits.drain_seconds` to end, all together, and are settled in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
from fakes.egress_book import Answer, Book, Got, Line, serving
from fakes.egress_up import TOKEN, EgressUp, egress_up, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

AFTER = 5.0
"""Seconds beyond the time that calls have: for Envoy, OPA and the store to end. The chart leaves as many."""


def slowly(release: Event) -> Answer:
    """An answer that is not over until it is released."""

    async def answer(got: Got, line: Line) -> None:
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nfirst")
        await asyncio.to_thread(release.wait)
        await line.say(b"last")

    return answer


@contextmanager
def streaming(place: Path, release: Event) -> Iterator[tuple[EgressUp, HTTPConnection]]:
    """A sidecar that carries one answer, of which the end is held back."""
    book = Book()
    book.answers["slow"] = slowly(release)
    with serving(book):
        services = f"""\
api:
  owner: cx
  endpoints: {{here: {{url: "http://localhost:{book.port}", region: eu, addresses: [127.0.0.0/8]}}}}
  routes: [{{path: "/{{what}}", operation: get, methods: [GET]}}]
"""
        with egress_up(place, services) as up:
            agent = HTTPConnection("127.0.0.1", up.port, timeout=60)
            agent.request("GET", "/api/slow", headers={"remit-token": TOKEN})
            try:
                yield up, agent
            finally:
                release.set()
                agent.close()


def stopped(up: EgressUp) -> float:
    """Ask it to end; how long that took."""
    began = monotonic()
    up.stop()
    return monotonic() - began


def test_a_call_that_never_ends_does_not_keep_the_sidecar_longer_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many listeners there are to stop: the time is one for all of them. What it used is recorded."""
    monkeypatch.setenv("REMIT_LIMITS_DRAIN_SECONDS", "2")
    with streaming(tmp_path, Event()) as (up, agent):
        answer = agent.getresponse()
        assert answer.read(5) == b"first"
        took = stopped(up)
        print(f"stopped after {took:.1f} s")
        assert 2 <= took < 2 + AFTER
        with pytest.raises((HTTPException, OSError)):
            answer.read()
        kinds = [each.kind for each in up.records()]
        assert kinds[-1] == "sidecar.stopped"
        assert "report" in kinds


def test_a_call_that_ends_in_its_time_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody waits longer than for that."""
    monkeypatch.setenv("REMIT_LIMITS_DRAIN_SECONDS", "60")
    release, took = Event(), list[float]()
    with streaming(tmp_path, release) as (up, agent):
        answer = agent.getresponse()
        assert answer.read(5) == b"first"
        stopping = Thread(target=lambda: took.append(stopped(up)))
        stopping.start()
        until(lambda: refused(up))
        release.set()
        assert answer.read() == b"last"
        stopping.join()
        assert took[0] < 30


def refused(up: EgressUp) -> bool:
    """Whether a new call does not go out any more."""
    with_it = HTTPConnection("127.0.0.1", up.port, timeout=20)
    try:
        with_it.request("GET", "/api/more", headers={"remit-token": TOKEN})
        return with_it.getresponse().status == 503
    except (HTTPException, OSError):
        return True
    finally:
        with_it.close()
