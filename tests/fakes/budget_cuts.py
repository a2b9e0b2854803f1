"""Calls that break off: who leaves, and when. The books of their stage are reckoned afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product

from fakes.budget_stage import Heard, Stage, hear, read, request, say
from fakes.budget_upstream import MODELS, Play, Then, reset, whole_answer
from fakes.loop import until

AT_ONCE = 10
END_SECONDS = 1.0
"""How long after a call's end its reservation may be held."""


class Who(Enum):
    """Who breaks off, and how."""

    CALLER_LEAVES = auto()
    CALLER_RESETS = auto()
    UPSTREAM_CLOSES = auto()
    UPSTREAM_RESETS = auto()


class Where(Enum):
    """At which place of the call."""

    HALF_ASKED = auto()
    """The request is not whole yet."""
    AT_ONCE = auto()
    """As soon as the request is out, whatever has become of it."""
    BEFORE_HEADERS = auto()
    AFTER_HEADERS = auto()
    MIDDLE = auto()
    LAST_CHUNK = auto()
    """Half of the last piece has come."""
    ANYWHERE = auto()
    """After so many bytes of an answer that does not wait."""


CALLERS = (Who.CALLER_LEAVES, Who.CALLER_RESETS)
UPSTREAMS = (Who.UPSTREAM_CLOSES, Who.UPSTREAM_RESETS)
BROKEN = (Where.BEFORE_HEADERS, Where.AFTER_HEADERS, Where.MIDDLE, Where.LAST_CHUNK)
WAYS = (*product(CALLERS, Where), *product(UPSTREAMS, BROKEN))


@dataclass(frozen=True, slots=True)
class Cut:
    """One call and its end. `at` chooses the place where there are several; `chunked`: an event stream has frames."""

    kind: str
    stream: bool
    who: Who
    where: Where
    at: int
    chunked: bool

    def play(self) -> Play:
        """What the upstream plays for it."""
        play = whole_answer(self.kind, self.stream, chunked=self.chunked)
        last = play.writes[-1]
        play.writes = [*play.writes[:-1], last[: len(last) // 2], last[len(last) // 2 :]]
        stops = {
            Where.BEFORE_HEADERS: 0,
            Where.AFTER_HEADERS: 1,
            Where.MIDDLE: 2 + self.at % (len(play.writes) - 3),
            Where.LAST_CHUNK: len(play.writes) - 1,
        }
        play.stop = stops.get(self.where)
        ends = {Who.UPSTREAM_CLOSES: Then.CLOSE, Who.UPSTREAM_RESETS: Then.RESET}
        play.then = ends.get(self.who, Then.HOLD)
        return play


def cuts(count: int, dice: random.Random) -> Iterator[Cut]:
    """So many of them: each way at least once, and then at random."""
    for number in range(count):
        who, where = WAYS[number] if number < len(WAYS) else dice.choice(WAYS)
        kind, stream = dice.choice(MODELS), dice.random() < 0.7
        yield Cut(kind, stream, who, where, dice.randrange(3000), dice.random() < 0.8)


async def perform_all(stage: Stage, some: Iterable[Cut]) -> list[str]:
    """Perform them, some at once; what is wrong afterwards, [] where nothing is."""
    wrong: list[str] = []
    waiting = list(some)
    crossing = stage.crossings() + sum(each.where is Where.AT_ONCE for each in waiting)
    while waiting:
        batch, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        await asyncio.gather(*(perform(stage, each) for each in batch))
        if not await ended(stage):
            wrong.append(f"{stage.held()} of these are still held: {batch}")
    if stage.crossings() > crossing:
        wrong.append(f"{stage.crossings()} calls are charged that never arrived: more than {crossing} left at once")
    return wrong + stage.reckon()


async def ended(stage: Stage, seconds: float = END_SECONDS) -> bool:
    """Whether nothing is held any more within this time."""
    try:
        await until(lambda: stage.held() == 0, seconds)
    except TimeoutError:
        return False
    return True


async def perform(stage: Stage, cut: Cut, to: str = "") -> Heard:
    """One call to its end; what was heard of its answer."""
    play = cut.play()
    sent = request(stage.upstream.add(play), cut.kind, stream=cut.stream, to=to)
    async with asyncio.timeout(30):
        reader, writer = await say(stage, sent[: len(sent) - 20] if cut.where is Where.HALF_ASKED else sent)
        if cut.who in UPSTREAMS:
            heard, whole = await hear(reader)
            writer.close()
            return read(heard, whole)
        heard = await _until_place(cut, play, reader)
        if cut.who is Who.CALLER_RESETS:
            reset(writer)
        else:
            writer.close()
    return read(heard, False)


async def _until_place(cut: Cut, play: Play, reader: asyncio.StreamReader) -> bytes:
    """Hear until the call stands where its caller leaves."""
    if cut.where is Where.HALF_ASKED:
        return b""
    if cut.where is Where.AT_ONCE:
        await asyncio.sleep(cut.at / 250_000)  # not waiting for something: this is when it leaves
        return b""
    if cut.where is not Where.ANYWHERE:
        await play.reached.wait()
    if cut.where is Where.BEFORE_HEADERS:
        return b""
    heard = b""
    while not _come(cut, heard):
        more = await reader.read(64)
        if not more:
            break
        heard += more
    return heard


def _come(cut: Cut, heard: bytes) -> bool:
    if cut.where is Where.ANYWHERE:
        return len(heard) > cut.at
    _, found, body = heard.partition(b"\r\n\r\n")
    return bool(found and (body or cut.where is Where.AFTER_HEADERS))
