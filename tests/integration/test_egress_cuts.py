"""Calls that are cancelled, broken or answered with rubbish: no reservation stays, and no cost goes unrecorded.

Real OPA, Envoy and store, and an upstream that bills every call that reached it, however little of its answer went out.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from counts import COUNTS, dice
from fakes.budget_cuts import Cut, Where, Who, cuts, ended, perform, perform_all
from fakes.budget_stage import FLAT, Heard, Stage, call, question, request, reservation, say, stage
from fakes.budget_upstream import (
    COST,
    EVENTS,
    MODELS,
    Play,
    Then,
    framed,
    head,
    reset,
    sized,
    whole_answer,
)
from fakes.loop import in_loop

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SERVICES: dict[str, str | dict[str, Any]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "plain": "http",
    "brief": {"kind": "openai", "timeout": 1},
}
BACK_SECONDS = 5.0
"""How long after a crash of Envoy's calls may be refused."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("cuts"), SERVICES) as made:
        yield made


@in_loop
async def test_whoever_breaks_off_a_call_and_wherever_nothing_is_held_and_every_bill_is_booked(running: Stage) -> None:
    """Caller and upstream, by FIN and RST, at each place of the call; nothing is held a second later."""
    async with running.upstream.serving():
        assert await perform_all(running, cuts(COUNTS.cuts, dice("cuts"))) == []
    assert len(running.upstream.arrivals) > COUNTS.cuts // 2


@in_loop
async def test_a_request_that_is_not_whole_reserves_nothing(running: Stage) -> None:
    """Its caller leaves in the middle of it: there is no decision."""
    before = len(running.records())
    async with running.upstream.serving():
        for who in (Who.CALLER_LEAVES, Who.CALLER_RESETS):
            await perform(running, Cut("openai", True, who, Where.HALF_ASKED, 0, True))
        await whole_call(running)
    assert [each.kind for each in running.records()[before:] if each.kind == "decision"] == ["decision"]


ERROR = json.dumps({"error": {"message": "no", "type": "x"}}).encode()
NO_USAGE = json.dumps({"id": "x", "object": "chat.completion", "choices": [], "model": "small"}).encode()
WHOLE = json.dumps({"usage": {"prompt_tokens": 20, "completion_tokens": 50}, "object": "chat.completion"}).encode()


def answers(status: int, body: bytes, **more: str) -> Callable[[], Play]:
    return lambda: Play(sized(body, status=status, **more), bill=COST if status < 400 else 0, exact=status >= 400)


def events(*said: str) -> Callable[[], Play]:
    return lambda: Play(framed([f"data: {each}\n\n".encode() for each in said]))


REFUSALS: dict[str, Callable[[], Play]] = {
    "400": answers(400, ERROR),
    "401": answers(401, ERROR),
    "404 without a body": answers(404, b""),
    "429": answers(429, ERROR, more="retry-after: 7\r\n"),
    "500": answers(500, ERROR),
    "503 without a body": answers(503, b""),
    "529 of text": answers(529, b"overloaded", kind="text/plain"),
}
RUBBISH: dict[str, Callable[[], Play]] = {
    "empty": answers(200, b""),
    "204": lambda: Play([b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n"]),
    "a redirect": answers(302, b"", more="location: http://127.0.0.1:1/\r\n"),
    "HTML": answers(200, b"<html>It works!</html>", kind="text/html"),
    "JSON that ends too early": answers(200, WHOLE[:-20]),
    "JSON of another kind": answers(200, b"[1, 2, 3]"),
    "no usage": answers(200, NO_USAGE),
    "a negative usage": answers(200, WHOLE.replace(b"50", b"-5")),
    "a usage that is no number": answers(200, WHOLE.replace(b"50", b"NaN")),
    "usage twice": answers(200, WHOLE.replace(b'"usage"', b'"usage": {}, "usage"', 1)),
    "no usage in events": events('{"object": "chat.completion.chunk", "choices": []}', "[DONE]"),
    "events that are no JSON": events("{", "}", "[DONE]"),
    "no events": lambda: Play(sized(b"", kind=EVENTS)),
    "a body shorter than its length": lambda: Play([head(200, "application/json", "content-length: 9999\r\n"), WHOLE]),
    "compressed": answers(200, gzip.compress(WHOLE), more="content-encoding: gzip\r\n"),
}


@pytest.mark.parametrize("name", REFUSALS)
@in_loop
async def test_what_an_upstream_refuses_costs_nothing_and_passes_through(running: Stage, name: str) -> None:
    """Its status and its words are the caller's."""
    play = REFUSALS[name]()
    async with running.upstream.serving():
        told = running.upstream.add(play)
        heard = await call(running, request(told))
    assert heard.status == int(name[:3])
    assert heard.body == b"".join(play.writes[1:])
    assert await ended(running)
    (booked,) = running.of(told)
    assert (booked.state, booked.spent, booked.presumed) == ("settled", 0, False)
    assert running.reckon() == []


@pytest.mark.parametrize("name", RUBBISH)
@in_loop
async def test_an_answer_that_does_not_tell_its_usage_costs_what_was_reserved(running: Stage, name: str) -> None:
    """Never nothing; and the books say that it is presumed."""
    async with running.upstream.serving():
        told = running.upstream.add(RUBBISH[name]())
        await call(running, request(told, stream="event" in name))
    assert await ended(running)
    (booked,) = running.of(told)
    assert booked.spent == booked.reserved == reservation(question(told, stream="event" in name))
    assert booked.presumed
    assert running.reckon() == []


@in_loop
async def test_what_cannot_be_sent_costs_nothing(tmp_path: Path, running: Stage) -> None:
    """The upstream listens no more: each call is answered, and its reservation voided."""
    running.upstream.pause()
    try:
        heard = [await call(running, request(f"p{number:05}", kind)) for number, kind in enumerate(MODELS)]
        assert await ended(running)
    finally:
        running.upstream.resume()
    assert [(each.status, each.code) for each in heard] == [(503, "endpoint_unavailable")] * len(MODELS)
    assert [(each.state, each.spent) for each in running.booked()[-len(MODELS) :]] == [("voided", 0)] * len(MODELS)
    assert running.reckon() == []


@in_loop
async def test_a_call_of_an_api_that_counts_nothing_costs_its_call_however_it_ends(running: Stage) -> None:
    """Cut or whole: the price of a call; refused: that as well, since a call is what is paid for."""
    async with running.upstream.serving():
        names = []
        for stop, then in ((None, Then.HOLD), (0, Then.RESET), (1, Then.CLOSE)):
            play = whole_answer("http", False)
            play.bill, play.stop, play.then = FLAT, stop, then
            names.append(running.upstream.add(play))
            await call(running, request(names[-1], "http", model="flat", to="plain"))
    assert await ended(running)
    assert [running.of(each)[0].spent for each in names] == [FLAT] * 3
    assert running.reckon() == []


@in_loop
async def test_an_upstream_that_falls_silent_is_cut_and_charged(running: Stage) -> None:
    """Before its headers, after them and in the middle: the service's timeout ends the call, as reserved."""
    async with running.upstream.serving():
        names = []
        for stop in (0, 1, 3):
            play = whole_answer("openai", True)
            play.stop = stop
            names.append(running.upstream.add(play))
        heard = await asyncio.gather(*(call(running, request(each, to="brief", stream=True)) for each in names))
        assert await ended(running)
    assert [(each.status, each.whole) for each in heard] == [(502, True), (200, False), (200, False)]
    for name in names:
        (booked,) = running.of(name)
        assert booked.spent == booked.reserved and booked.presumed
    assert running.reckon() == []


@in_loop
async def test_envoy_killed_under_calls_leaves_nothing_held_and_is_back_in_five_seconds(running: Stage) -> None:
    """Calls at every place are cut; each that reached the upstream is charged."""
    async with running.upstream.serving(), standing(running) as names:
        os.kill(running.envoy(), signal.SIGKILL)
        killed = time.monotonic()
        assert await ended(running)
        while (await tried(running)).status != 200:
            assert time.monotonic() < killed + BACK_SECONDS
        assert await ended(running)
    assert [running.of(each)[0].presumed for each in names] == [True] * len(names)
    assert running.reckon() == []


@in_loop
async def test_a_sidecar_that_is_told_to_stop_settles_all_that_is_under_way(tmp_path: Path) -> None:
    """What ends within its grace has its real cost; the rest is cut and charged."""
    with stage(tmp_path, SERVICES, environment={"REMIT_LIMITS_DRAIN_SECONDS": "1"}) as made:
        async with made.upstream.serving(), standing(made) as names, standing(made) as slow:
            made.process.send_signal(signal.SIGTERM)
            for each in names:
                made.upstream.plays[each][0].go_on.set()
            code = await asyncio.to_thread(made.end)
        assert (code, made.held()) == (0, 0)
        assert [(made.of(each)[0].spent, made.of(each)[0].presumed) for each in names] == [(COST, False)] * len(names)
        assert all(made.of(each)[0].presumed for each in slow)
        assert made.reckon() == []


@in_loop
async def test_what_a_killed_sidecar_had_reserved_lapses_by_its_deadline_and_is_charged(tmp_path: Path) -> None:
    """At most a second after it, or after the sidecar that comes next is there; as much as was reserved."""
    brief = {name: {"kind": name, "hold_seconds": seconds} for name, seconds in (("openai", 6), ("anthropic", 1))}
    with stage(tmp_path, brief) as made:
        async with made.upstream.serving(), standing(made) as names:
            made.end(signal.SIGKILL)
            await asyncio.to_thread(made.up)
            ready = time.time_ns()
            assert await ended(made, 8)
            calls = [each for name in names for each in made.of(name)]
            assert [each.state for each in calls] == ["lapsed"] * len(names)
            for each in calls:
                assert each.spent == each.reserved
                assert each.endings[0].time <= max(each.deadline, ready) + 10**9
            await whole_call(made)
        assert made.reckon() == []


@asynccontextmanager
async def standing(made: Stage) -> AsyncIterator[list[str]]:
    """Calls of each API that stand at different places, and whose callers stay."""
    names: list[str] = []
    writers: list[asyncio.StreamWriter] = []
    for number, kind in enumerate(("openai", "anthropic", "openai", "anthropic")):
        play = whole_answer(kind, stream=number > 0)
        play.stop = number
        names.append(made.upstream.add(play))
        _, writer = await say(made, request(names[-1], kind, stream=number > 0))
        writers.append(writer)
        await asyncio.wait_for(play.reached.wait(), 10)
    try:
        yield names
    finally:
        for writer in writers:
            reset(writer)


async def tried(made: Stage) -> Heard:
    """A call that may find nobody."""
    name = made.upstream.add(whole_answer("openai", True))
    try:
        return await call(made, request(name, stream=True), 5)
    except OSError:
        return Heard(0, {}, b"", False)


async def whole_call(made: Stage) -> None:
    """One that goes well, and costs exactly what it should."""
    name = made.upstream.add(whole_answer("openai", True))
    heard = await call(made, request(name, stream=True))
    assert (heard.status, heard.whole) == (200, True)
    assert await ended(made)
    (booked,) = made.of(name)
    assert (booked.spent, booked.presumed) == (COST, False)
