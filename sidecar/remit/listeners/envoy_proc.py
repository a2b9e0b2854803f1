"""`envoy.service.ext_proc.v3.ExternalProcessor`: one stream an exchange, and the watch over those under way.

A stream is ended well only when its exchange is over; in every other case it is aborted, and Envoy closes both sides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit.core.egress.routing import CERTIFICATE, LISTENER
from remit.core.errors import StoreUnavailable
from remit.core.reason import Reason
from remit.listeners import egress_wire as wire
from remit.listeners.egress_caller import Caller
from remit.listeners.egress_desk import EgressDesk
from remit.listeners.envoy_exchange import Broken, Exchange, State
from remit.pep.egress import CONNECT, Egress, Passage

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LAST_WORDS_SECONDS = 0.3
MILLISECOND = 1_000_000
MARGIN_MILLISECONDS = 15_000
"""What Envoy waits beyond the time that a held call may wait: as long as for any other decision."""

WATCH_SECONDS = 0.4
"""How often calls under way are looked at: a halt ends them within twice that."""

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_log = logging.getLogger(__name__)


class Stream:
    """One ext_proc stream; a stop from within may come at any time."""

    def __init__(self, desk: EgressDesk, context: Context) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self._desk, self._context = desk, context
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._aborted = self._well = self._settled = False
        listener, certificate = (str(metadata.get(each, "")) for each in (LISTENER, CERTIFICATE))
        self.caller = Caller(self._hold_on)
        self.exchange = Exchange(desk, listener, "egress", certificate, caller=self.caller)
        self.prolonged = asyncio.get_running_loop().time()

    @property
    def passage(self) -> Passage | None:
        """What is under way, None before and after."""
        return self.exchange.passage if self.exchange.end is None else None

    async def run(self) -> None:
        """Serve until the exchange is over; aborts what is not."""
        self._task = asyncio.current_task()
        try:
            while await self._step():
                pass
        except Broken as broken:
            _log.warning("an exchange was cut: %s", broken)
        except asyncio.CancelledError:
            if not self._aborted or self._task is None:
                raise
            self._task.uncancel()
        finally:
            self._close()
        if not self._well:
            await self._context.abort(grpc.StatusCode.ABORTED, "not permitted to go on")

    async def _step(self) -> bool:
        raw: object = await self._context.read()
        if not isinstance(raw, bytes):
            self._well = self.exchange.state is State.OVER
            return False
        try:
            message = pb.ProcessingRequest.FromString(raw)
        except DecodeError as error:
            raise Broken("a message that is none") from error
        answers = await (self._decided(message) if _decides(message) else self.exchange.take(message))
        await self._write(answers)
        self._settle()
        return True

    async def _decided(self, message: pb.ProcessingRequest) -> Sequence[pb.ProcessingResponse]:
        """Decisions are recorded whoever still waits for them: the end of the stream does not cancel one."""
        taking = self._desk.work(self.exchange.take(message))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Its answer was not written, whether it is there already or comes later.
            self.caller.leave()
            if taking.done():
                self._withdraw()
            else:
                taking.add_done_callback(lambda _: self._withdraw())
            raise

    async def _hold_on(self, wait: int) -> None:
        try:
            await self._write([wire.hold_on(wait // MILLISECOND + MARGIN_MILLISECONDS)])
        except grpc.aio.BaseError as error:
            _log.info("a held call could not be kept open: %r", error)
            self.caller.leave()

    def _abort(self) -> None:
        self._aborted = True
        if self._task is not None:
            self._task.cancel()

    def moves(self, now: float) -> bool:
        """Whether it still moves, and half its reservation's time is over. What a tunnel does cannot be seen."""
        passage = self.passage
        if passage is None or now - self.prolonged <= passage.hold / 2e9:
            return False
        return self.exchange.moved or passage.mapped.operation == CONNECT

    async def stop(self, reason: Reason) -> None:
        """End it from within."""
        last = self.exchange.stop(reason)
        self._settle()
        if last is None:
            self._abort()
            return
        try:
            # A caller that does not read must not keep its stream open.
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._write([last])
        except (TimeoutError, grpc.aio.BaseError) as error:
            _log.info("a stopped stream could not be told why: %r", error)
            self._abort()

    async def _write(self, answers: Sequence[pb.ProcessingResponse]) -> None:
        async with self._writing:
            for answer in answers:
                await self._context.write(answer.SerializeToString())

    def _close(self) -> None:
        self.exchange.cut("the stream ended")
        self._settle()

    def _withdraw(self) -> None:
        self.exchange.withdraw()
        self._settle()

    def _settle(self) -> None:
        passage, end = self.exchange.passage, self.exchange.end
        if passage is not None and end is not None and not self._settled:
            self._settled = True
            self._desk.work(self._desk.settle(passage, end))


def _decides(message: pb.ProcessingRequest) -> bool:
    return message.HasField("request_body") or message.HasField("request_headers")


class Processor:
    """Serves streams, and ends those that must end."""

    def __init__(self, desk: EgressDesk, egress: Egress) -> None:
        self._desk, self._egress = desk, egress
        self._open: set[Stream] = set()
        self._released = False

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """What gRPC calls for `Process`."""
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def _serve(self, requests: object, context: Context) -> None:
        stream = Stream(self._desk, context)
        self._open.add(stream)
        if self._released:
            stream.caller.leave()
        try:
            await stream.run()
        finally:
            self._open.discard(stream)

    def release(self) -> None:
        """Have every held call answered as it is now, and none wait from now on."""
        self._released = True
        for stream in self._open:
            stream.caller.leave()

    async def watch(self) -> None:
        """Until cancelled: stop what is halted or may not go on, prolong what still moves."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._look()
            except StoreUnavailable as error:
                _log.error("calls under way could not be looked at: %s", error)
            except Exception:
                # Whatever is wrong with one call, the others must still be looked at.
                _log.exception("calls under way could not be looked at")

    async def _look(self) -> None:
        under_way = {each.passage.answer.id: each for each in self._open if each.passage is not None}
        passages = [each.passage for each in under_way.values() if each.passage is not None]
        for passage, reason in await self._egress.unfit(passages):
            _log.warning("decision %s is stopped: %s", passage.answer.id, reason)
            self._desk.work(under_way[passage.answer.id].stop(reason))
        now = asyncio.get_running_loop().time()
        for stream in under_way.values():
            held = stream.passage
            if held is not None and stream.moves(now):
                since, stream.exchange.moved, stream.prolonged = stream.prolonged, False, now
                self._desk.work(self._prolong(stream, held, since))

    async def _prolong(self, stream: Stream, passage: Passage, since: float) -> None:
        """Beside the watch: each is a write to the disk, and no halt may wait for as many as there are streams."""
        try:
            await self._egress.prolong(passage)
        except StoreUnavailable as error:
            _log.error("decision %s could not be prolonged, and is tried again: %s", passage.answer.id, error)
            stream.exchange.moved, stream.prolonged = True, since
