"""One ext_proc stream: ended well only when its exchange is over, aborted otherwise, and settled exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import pytest
from fakes.egress_desk import TOKEN, WAITS, FakeDesk, answers, asks, says, tells
from fakes.loop import in_loop, until
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit.core.errors import StoreUnavailable
from remit.core.reason import Reason
from remit.listeners.envoy_proc import MARGIN_MILLISECONDS, Processor, Stream
from remit.pep.egress import Passage
from remit.pep.meter import How

EVENTS = (("content-type", "text/event-stream"),)
REQUEST = [asks()]
BEGUN = [asks(), answers(headers=EVENTS), tells(b"data: 1\n\n")]
WHOLE = [*BEGUN, tells(b"", over=True)]


class Aborted(Exception):
    """What a real context raises where a stream is aborted."""


class FakeContext:
    """Envoy's side of a stream. `deaf` does not take what is written; `gone` fails it."""

    def __init__(self, *, deaf: bool = False, gone: bool = False) -> None:
        self.incoming: asyncio.Queue[object] = asyncio.Queue()
        self.written: list[pb.ProcessingResponse] = []
        self.deaf, self.gone, self.aborted = deaf, gone, False

    @property
    def refused(self) -> bool:
        return bool(self.written) and self.written[-1].immediate_response.status.code == 403

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("remit-listener", "egress"),)

    def says(self, *messages: pb.ProcessingRequest) -> None:
        for message in messages:
            self.incoming.put_nowait(message.SerializeToString())

    def ends(self) -> None:
        self.incoming.put_nowait(grpc.aio.EOF)

    async def read(self) -> object:
        return await self.incoming.get()

    async def write(self, message: bytes) -> None:
        if self.gone:
            raise grpc.aio.UsageError("the call is over")
        if self.deaf:
            await asyncio.Event().wait()
        self.written.append(pb.ProcessingResponse.FromString(message))

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.aborted = True
        raise Aborted


class Served:
    """A stream that is being served."""

    def __init__(self, desk: FakeDesk, context: FakeContext | None = None) -> None:
        self.desk, self.context = desk, context or FakeContext()
        stream: Any = Stream(desk, self.context)  # type: ignore[arg-type]
        self.stream: Stream = stream
        self.task = asyncio.create_task(self.stream.run())

    async def over(self) -> list[How]:
        """How the call was settled, each time that it was, once the stream and all its work have ended."""
        await asyncio.wait([self.task], timeout=5)
        assert self.task.done()
        if not self.task.cancelled() and self.task.exception() is not None:
            assert self.context.aborted or self.context.gone
        while self.desk.working:
            await asyncio.wait(self.desk.working, timeout=5)
        return [end.how for _, end in self.desk.settled]


@pytest.mark.parametrize(
    ("messages", "well", "how"),
    [
        ([], False, []),
        ([asks("/llm/v1/chat/completions", "POST", over=False)], False, []),
        (REQUEST, False, [How.CUT]),
        (BEGUN, False, [How.CUT]),
        (WHOLE, True, [How.SUCCEEDED]),
        ([asks(headers=())], True, []),
        ([*REQUEST, answers("503", details="no_healthy_upstream")], True, [How.NOT_SENT]),
        ([*REQUEST, says(b"x")], False, [How.CUT]),
    ],
    ids=["nothing", "body awaited", "sent", "answering", "whole", "refused", "unsent", "broken"],
)
@in_loop
async def test_a_stream_ends_well_only_when_its_exchange_is_over(
    messages: list[pb.ProcessingRequest], well: bool, how: list[How]
) -> None:
    """Envoy lets bytes pass unseen after a stream that ended well."""
    served = Served(FakeDesk())
    served.context.says(*messages)
    served.context.ends()

    assert await served.over() == how
    assert served.context.aborted is not well


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x05abc"])
@in_loop
async def test_bytes_that_are_no_message_abort_the_stream(raw: bytes) -> None:
    served = Served(FakeDesk())
    served.context.says(*REQUEST)
    served.context.incoming.put_nowait(raw)
    assert await served.over() == [How.CUT] and served.context.aborted


@in_loop
async def test_a_caller_that_leaves_during_its_decision_has_it_recorded_and_voided() -> None:
    """The decision goes on, whoever waits for it; nothing is sent for it."""
    desk = FakeDesk(gate=asyncio.Event())
    served = Served(desk)
    served.context.says(*REQUEST)
    await until(lambda: bool(desk.attempts))

    served.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await served.task
    assert not desk.settled
    assert desk.gate is not None
    desk.gate.set()

    assert await served.over() == [How.NOT_SENT] and not served.context.written


@in_loop
async def test_a_stop_of_events_tells_why_and_of_all_else_aborts_and_both_are_settled_once() -> None:
    told = Served(FakeDesk())
    told.context.says(*BEGUN)
    await until(lambda: len(told.context.written) == 3)
    await told.stream.stop(Reason.HALTED)
    assert b"halted" in told.context.written[-1].SerializeToString() and told.stream.passage is None
    told.context.says(tells(b"more", over=True))
    told.context.ends()
    assert await told.over() == [How.CUT] and not told.context.aborted
    assert b"more" not in told.context.written[-1].SerializeToString()

    silent = Served(FakeDesk())
    silent.context.says(*REQUEST)
    await until(lambda: silent.stream.passage is not None)
    await silent.stream.stop(Reason.HALTED)
    assert await silent.over() == [How.CUT] and silent.context.aborted


@pytest.mark.parametrize("state", ["deaf", "gone"])
@in_loop
async def test_who_cannot_be_told_is_aborted(state: str) -> None:
    """A caller that does not read must not keep what was halted open."""
    served = Served(FakeDesk())
    served.context.says(*BEGUN)
    await until(lambda: len(served.context.written) == 3)
    setattr(served.context, state, True)

    await served.stream.stop(Reason.HALTED)

    assert await served.over() == [How.CUT] and served.context.aborted


@in_loop
async def test_where_what_was_decided_cannot_be_written_it_is_cut_and_settled() -> None:
    """It may have arrived, or not."""
    served = Served(FakeDesk(), FakeContext(gone=True))
    served.context.says(*REQUEST)
    assert await served.over() == [How.CUT]


PATIENT = asks(headers=(("authorization", f"Bearer {TOKEN}"), ("remit-wait", "20")))


async def waiting() -> Served:
    """A held call that is kept open."""
    served = Served(FakeDesk(holds=WAITS))
    served.context.says(PATIENT)
    await until(lambda: bool(served.desk.waiting))
    return served


@in_loop
async def test_envoy_is_asked_to_wait_longer_for_a_held_call_and_for_no_other() -> None:
    """Once, before the waiting begins; what is approved then goes out."""
    served = await waiting()
    (asked,) = served.context.written
    assert asked.WhichOneof("response") is None
    assert asked.override_message_timeout.ToMilliseconds() == 20_000 + MARGIN_MILLISECONDS

    served.desk.approved.set()
    await until(lambda: len(served.context.written) == 2)
    assert served.context.written[1].WhichOneof("response") == "request_headers"
    served.context.ends()
    assert await served.over() == [How.CUT]

    for desk, message in ((FakeDesk(), PATIENT), (FakeDesk(holds=WAITS), asks())):
        other = Served(desk)
        other.context.says(message)
        await until(lambda other=other: bool(other.context.written))  # type: ignore[misc]
        assert not other.context.written[0].HasField("override_message_timeout")
        other.context.ends()
        await other.over()


@in_loop
async def test_what_envoy_cannot_be_asked_for_is_not_waited_for() -> None:
    """Its stream is gone: the decision stands as it is, and nothing fails besides."""
    served = Served(FakeDesk(holds=WAITS), FakeContext(gone=True))
    served.context.says(PATIENT)
    assert await served.over() == [] and not served.desk.waiting


@in_loop
async def test_a_caller_that_leaves_ends_its_wait() -> None:
    """What was not approved until then is not used up by nobody."""
    served = await waiting()

    served.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await served.task

    await until(lambda: not served.desk.working)
    assert await served.over() == [] and len(served.context.written) == 1


@in_loop
async def test_a_sidecar_that_stops_answers_what_waits() -> None:
    """At once, and as it is; what comes after that does not wait."""
    desk = FakeDesk(holds=WAITS)
    processor: Any = Processor(desk, FakeEgress())  # type: ignore[arg-type]
    contexts = [FakeContext() for _ in range(2)]
    serving = [asyncio.create_task(processor._serve(None, each)) for each in contexts]
    contexts[0].says(PATIENT)
    await until(lambda: bool(desk.waiting))

    processor.release()
    late = FakeContext()
    serving.append(asyncio.create_task(processor._serve(None, late)))
    late.says(PATIENT)
    contexts[1].says(PATIENT)

    for context in (*contexts, late):
        await until(lambda context=context: context.refused)  # type: ignore[misc]
        context.ends()
    await asyncio.gather(*serving, return_exceptions=True)
    assert len(desk.waiting) == 1


class FakeEgress:
    """Judges no stream to be fit once `halted`; prolongs none until `writes`, and each the second time it is asked."""

    def __init__(self) -> None:
        self.halted, self.writes = False, asyncio.Event()
        self.asked: list[str] = []

    async def unfit(self, passages: Iterable[Passage]) -> Sequence[tuple[Passage, Reason]]:
        return [(each, Reason.HALTED) for each in passages if self.halted]

    async def prolong(self, passage: Passage) -> bool:
        self.asked.append(passage.answer.id)
        await self.writes.wait()
        if self.asked.count(passage.answer.id) == 1:
            raise StoreUnavailable("for a moment")
        return True


@in_loop
async def test_a_halt_waits_for_no_prolonging_and_one_that_failed_is_tried_again() -> None:
    """However long the disk takes for all the streams that go on."""
    desk, egress = FakeDesk(), FakeEgress()
    processor: Any = Processor(desk, egress)  # type: ignore[arg-type]
    contexts = [FakeContext() for _ in range(3)]
    serving = [asyncio.create_task(processor._serve(None, each)) for each in contexts]
    for context in contexts:
        context.says(*BEGUN)
    await until(lambda: all(len(each.written) == 3 for each in contexts))
    for stream in processor._open:
        stream.prolonged -= stream.passage.hold  # its reservation is half over
    watching = asyncio.create_task(processor.watch())
    await until(lambda: len(egress.asked) == 3)
    egress.writes.set()
    await until(lambda: len(egress.asked) == 6)
    egress.writes.clear()

    for stream in processor._open:
        stream.prolonged, stream.exchange.moved = stream.prolonged - stream.passage.hold, True
    await until(lambda: len(egress.asked) == 9)
    egress.halted = True
    await until(lambda: len(desk.settled) == 3)

    egress.writes.set()
    for task in (watching, *serving):
        task.cancel()
    await asyncio.gather(watching, *serving, *desk.working, return_exceptions=True)
