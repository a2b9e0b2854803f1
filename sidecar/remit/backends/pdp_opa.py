"""Asking OPA for decisions.

A question goes alone while a connection is free. While all are busy, the questions that wait are sent together
as one `data.remit.batch` query as soon as one is free: that costs OPA a fraction of single queries, and nobody
waits for a batch to fill.

In a batch each question has a key that is made here, and its answer must echo the digest of its input, so that
no answer can reach another question. Whatever is not answered so (a missing key, because the decision is
undefined; a foreign key; another digest; a batch that failed or was slow, because of one question in it) is
asked again, alone, once. An answer alone is final.

A slow question may hold a connection until its deadline. So that honest ones behind it do not wait as long, a
connection that has been held longer than `patience` is not counted: the pool opens another in its place, up to a
bound, and closes one again when the held one is free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from types import MappingProxyType
from typing import TypeVar

from remit.backends.opa_answer import read_result
from remit.backends.opa_http import Channel, Dial, ExchangeFailed
from remit.backends.opa_request import encoded, post
from remit.backends.opa_views import DatasetViews, OpaViews
from remit.core.decision import Verdict
from remit.core.document import read_verdict
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason
from remit.core.view.model import TableView

_DECISION = b"/v1/data/remit/decision?strict-builtin-errors=true&provenance=true"
_BATCH = b"/v1/data/remit/batch?strict-builtin-errors=true&provenance=true"
_LET_GO = "the sidecar let go of this OPA"
_BATCH_ANSWER_KEYS = frozenset({"digest", "decision"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PdpSettings:
    """Bounds of asking; times in seconds, sizes in bytes."""

    connections: int = 2
    most_connections: int = 8
    batch: int = 64
    batch_bytes: int = 1 << 20
    batch_seconds: float = 0.2
    deadline: float = 1.0
    patience: float = 0.1


DEFAULTS = PdpSettings()


@dataclass(eq=False, slots=True)
class _Question:
    key: str
    document: bytes
    deadline: float  # the loop's time
    asked: float
    answer: asyncio.Future[object] = field(repr=False)
    alone: bool = False
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = sha256(self.document).hexdigest()


class OpaPdp:
    """One OPA that serves one bundle revision; `views` are the datasets of which the bundle has a view."""

    def __init__(
        self,
        dial: Dial,
        revision: str,
        settings: PdpSettings = DEFAULTS,
        views: Mapping[str, DatasetViews] = MappingProxyType({}),
    ) -> None:
        self._dial = dial
        self._views = OpaViews(dial, revision, views)
        self._revision = revision
        self._settings = settings
        self._idle = [Channel(dial) for _ in range(settings.connections)]
        self._held: dict[Channel, float] = {}  # busy ones, and since when; the longest held first
        self._waiting: deque[_Question] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keys = count()
        self._impatience: asyncio.TimerHandle | None = None
        self._asking = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._closed = False

    @property
    def revision(self) -> str:
        """The bundle's revision; an answer under another one is a failure."""
        return self._revision

    async def ask(self, document: bytes | Mapping[str, object], *, deadline_s: float | None = None) -> Verdict:
        """Judge one input document. Raises PolicyFailure, whatever went wrong."""
        text = document if isinstance(document, bytes) else encoded(document)
        seconds = deadline_s or self._settings.deadline
        return read_verdict(await self._within(seconds, lambda: self._result(text, seconds)))

    def reads_time(self, dataset: str) -> bool:
        """Whether the dataset's view may depend on the time: then it is of this moment alone."""
        return self._views.reads_time(dataset)

    async def view(self, dataset: str, tables: Sequence[str], document: Mapping[str, object]) -> Sequence[TableView]:
        """What a subject sees of these tables, in their order; see `Pdp.view`.

        Raises PolicyFailure; ViewRefused where no view of the dataset is written; ViewInvalid.
        """
        return await self._within(self._settings.deadline, lambda: self._views.view(dataset, tables, document))

    async def probe(self, document: Mapping[str, object]) -> None:
        """Prove that both entry points give this document the same verdict; PolicyFailure otherwise."""
        verdict = await self.ask(document)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.deadline
        question = _Question(str(next(self._keys)), encoded(document), deadline, loop.time(), loop.create_future())
        channel = Channel(self._dial)
        try:
            async with asyncio.timeout_at(deadline):
                result = read_result(await channel.exchange(_batch_request([question])), self._revision)
        except (ExchangeFailed, TimeoutError) as e:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, f"no batch answer: {e}") from e
        finally:
            channel.close()
        given = _matching(result, [question])
        if read_verdict(given.get(question.key)) != verdict:
            raise PolicyFailure(Reason.POLICY_INVALID, "a batch is judged differently from a single question")

    async def drain(self) -> None:
        """Wait until every question that was asked has its answer."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Drop the connections; questions still open end as pdp_unavailable."""
        self._closed = True
        if self._impatience is not None:
            self._impatience.cancel()
        for channel in (*self._idle, *self._held):
            channel.close()
        self._views.close()
        self._refuse_waiting()
        await asyncio.gather(*self._tasks)

    async def _within(self, seconds: float, asking: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, _LET_GO)
        self._asking += 1
        self._quiet.clear()
        try:
            async with asyncio.timeout(seconds):
                return await asking()
        except TimeoutError as e:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, f"OPA did not answer within {seconds:g} s") from e
        except ExchangeFailed as e:
            raise PolicyFailure(Reason.PDP_UNAVAILABLE, str(e)) from e
        finally:
            self._asking -= 1
            if not self._asking:
                self._quiet.set()

    async def _result(self, text: bytes, seconds: float) -> object:
        if self._idle and not self._waiting:
            channel = self._take()
            try:
                answer = await channel.exchange(_single_request(text))
            finally:
                self._release(channel)
            return read_result(answer, self._revision)
        loop = asyncio.get_running_loop()
        now = loop.time()
        question = _Question(str(next(self._keys)), text, now + seconds, now, loop.create_future())
        self._waiting.append(question)
        self._dispatch()
        return await question.answer

    def _take(self) -> Channel:
        channel = self._idle.pop()
        self._held[channel] = asyncio.get_running_loop().time()
        return channel

    def _release(self, channel: Channel) -> None:
        del self._held[channel]
        if self._counted() < self._settings.connections:
            self._idle.append(channel)
        else:
            channel.close()
        self._dispatch()

    def _dispatch(self) -> None:
        """Give waiting questions to free connections; where none is free, look again when one is held too long."""
        if self._closed:
            self._refuse_waiting()
        while self._waiting and (self._idle or self._grown()):
            group = self._next_group()
            if group:
                self._start(self._take(), group)
        if self._waiting and self._impatience is None:
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_at(self._next_impatience(loop.time()), self._look_again)

    def _look_again(self) -> None:
        self._impatience = None
        self._dispatch()

    def _next_impatience(self, now: float) -> float:
        """When the next connection will have been held too long; later than now in any case."""
        patience = self._settings.patience
        return next((since + patience for since in self._held.values() if since + patience > now), now + patience)

    def _counted(self) -> int:
        """How many connections are free, or not held for too long."""
        since = asyncio.get_running_loop().time() - self._settings.patience
        return len(self._idle) + sum(held > since for held in self._held.values())

    def _grown(self) -> bool:
        """Open another connection in the place of one that is held too long, if there is any."""
        all_open = len(self._idle) + len(self._held)
        if self._counted() >= self._settings.connections or all_open >= self._settings.most_connections:
            return False
        self._idle.append(Channel(self._dial))
        return True

    def _refuse_waiting(self) -> None:
        while self._waiting:
            _fail(self._waiting.popleft(), _LET_GO)

    def _next_group(self) -> list[_Question]:
        """What goes out next: those at the front that may share a query, or one alone."""
        group: list[_Question] = []
        size = 0
        while self._waiting and len(group) < self._settings.batch:
            question = self._waiting[0]
            size += len(question.document)
            if group and (question.alone or size > self._settings.batch_bytes):
                break
            self._waiting.popleft()
            if question.answer.done():
                continue
            group.append(question)
            if question.alone:
                break
        return group

    def _start(self, channel: Channel, group: list[_Question]) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(channel, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, channel: Channel, group: list[_Question]) -> None:
        try:
            if len(group) == 1:
                await self._serve_alone(channel, group[0])
            else:
                await self._serve_together(channel, group)
        finally:
            self._release(channel)

    async def _serve_alone(self, channel: Channel, question: _Question) -> None:
        try:
            async with asyncio.timeout_at(question.deadline):
                answer = await channel.exchange(_single_request(question.document))
            _settle(question, read_result(answer, self._revision))
        except TimeoutError:
            _fail(question, "OPA did not answer in time")
        except ExchangeFailed as e:
            _fail(question, str(e))
        except PolicyFailure as e:
            if not question.answer.done():
                question.answer.set_exception(e)

    async def _serve_together(self, channel: Channel, group: list[_Question]) -> None:
        """Settle what the batch answers beyond doubt; the rest goes back to the front, each alone."""
        given = await self._given(channel, group)
        for question in reversed(group):
            if question.key in given:
                _settle(question, given[question.key])
            else:
                question.alone = True
                self._waiting.appendleft(question)

    async def _given(self, channel: Channel, group: list[_Question]) -> dict[str, object]:
        """The decisions of a batch by key; none where it failed: whose fault it was shows when each is asked alone."""
        now = asyncio.get_running_loop().time()
        half = (min(question.deadline for question in group) - now) / 2
        try:
            async with asyncio.timeout_at(now + min(half, self._settings.batch_seconds)):
                answer = await channel.exchange(_batch_request(group))
            return _matching(read_result(answer, self._revision), group)
        except (TimeoutError, ExchangeFailed, PolicyFailure):
            return {}


def _matching(result: object, group: Sequence[_Question]) -> dict[str, object]:
    """The decisions by key, of those that echo their input's digest; none where a key is nobody's."""
    if not isinstance(result, dict) or not result.keys() <= {question.key for question in group}:
        return {}
    return {
        question.key: entry["decision"]
        for question in group
        if isinstance(entry := result.get(question.key), dict)
        and entry.keys() == _BATCH_ANSWER_KEYS
        and entry["digest"] == question.digest
    }


def _settle(question: _Question, result: object) -> None:
    if not question.answer.done():
        question.answer.set_result(result)


def _fail(question: _Question, detail: str) -> None:
    if not question.answer.done():
        question.answer.set_exception(PolicyFailure(Reason.PDP_UNAVAILABLE, detail))


def _single_request(document: bytes) -> bytes:
    return post(_DECISION, b'{"input":%b}' % document)


def _batch_request(group: Sequence[_Question]) -> bytes:
    entries = (
        b'"%b":{"digest":"%b","input":%b}' % (question.key.encode(), question.digest.encode(), question.document)
        for question in group
    )
    return post(_BATCH, b'{"input":{"batch":{%b}}}' % b",".join(entries))
