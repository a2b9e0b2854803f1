"""The way of one call: who is it → is there room → receive → read → decide → answer.

Two things are done otherwise than gRPC's generated code does them.

Every method is served as one that takes a stream of requests (on the wire a unary call is such a stream of one).
So our code runs before the request has arrived: identity is proved before a byte of it is looked at, and a
request that never arrives whole is ended by our own deadline. gRPC itself would wait for it without end.

The work is done in a task of its own, which the end of the call does not cancel: a decision that was begun is
recorded, whoever still waits for it. It keeps its caller's place until it is done, so that a flood of calls that
are opened and reset at once stays within the limits. An answer in parts (grpc_stream) keeps it until gRPC is done with
the call as well: who reads nothing holds places of its own, never those of others.

A call that may wait for an approval has so much more time. Where its caller leaves, or the server stops, the pipeline
is told to wait no longer: what it is deciding then, it decides, so that no decision is cut off. Calls that wait, and
watches, get a part of the places each (grpc_limits); beyond that a call does not wait, and a watch is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from remit.core.errors import BadRequest, RemitError, ServiceError, Violation
from remit.core.model import Subject
from remit.listeners.grpc_fields import SECOND
from remit.listeners.grpc_limits import Limits, Places
from remit.listeners.grpc_peer import address, evidence
from remit.listeners.grpc_read import message, waits
from remit.listeners.grpc_status import Overloaded, Stopping, TooSlow, WatchAgain, status_of
from remit.listeners.grpc_stream import Flow, bounded
from remit.listeners.pipeline import Identities, Observer, Pipeline
from remit.listeners.refusal_counts import RefusalCounts
from remit.listeners.working import Working

# Generic in the type stubs alone.
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Answered = bytes | grpc.Status | None
T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method: its name, the message that it takes, and what answers it. `slow` ones may take longer.

    `waits` are those whose message says in `wait` how much longer they may take.
    """

    name: str
    takes: type[Message]
    answer: Callable[[Pipeline, Subject, Any], Awaitable[Message]]
    slow: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Streaming:
    """One method whose answer comes in parts: the first is what was decided, and is made whoever still waits for it.

    The parts are asked for one by one, each when the one before was taken; closing them ends the work. One that
    `watches` never ends by itself: it is ended after a while, with word to ask again.
    """

    name: str
    takes: type[Message]
    parts: Callable[[Pipeline, Subject, Any], AsyncGenerator[Message, None]]
    watches: bool = False


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods of one service."""

    service: str
    rpcs: Sequence[Rpc | Streaming]


class Calls:
    """Serves the calls of all methods, and knows those that are under way."""

    def __init__(
        self, pipeline: Pipeline, identities: Identities, observer: Observer, *, limits: Limits, certificates: bool
    ) -> None:
        self._pipeline = pipeline
        self._identities = identities
        self._observer = observer
        self._limits = limits
        self._certificates = certificates
        self._places = Places(limits.concurrency, limits.per_caller)
        self._waiting = Places(limits.waiting, limits.waiting_per_caller, "calls that wait")
        self._watching = Places(limits.watching, limits.watching_per_caller, "watches")
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._working = Working()
        self._counts = RefusalCounts(pipeline, observer)

    def served(self, rpc: Rpc | Streaming) -> grpc.RpcMethodHandler[Any, Any]:
        """What gRPC calls for a method."""

        async def serve(requests: object, context: Context) -> bytes | None:
            answered = await self._serve(rpc, context)
            if isinstance(answered, grpc.Status):
                return await context.abort_with_status(answered)
            return answered

        if isinstance(rpc, Streaming):
            return grpc.stream_stream_rpc_method_handler(serve)
        return grpc.stream_unary_rpc_method_handler(serve)

    def stop_waiting(self) -> None:
        """End what waits and watches: it would last longer than there is time for."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def finish(self, grace: float) -> None:
        """Wait until all work is done, at most `grace` seconds."""
        await self._working.finish(grace)

    async def _serve(self, rpc: Rpc | Streaming, context: Context) -> Answered:
        started = perf_counter()
        try:
            shown = evidence(context, certificates=self._certificates, limit=self._limits.metadata_bytes)
            subject = await self._identities.identify(shown)
        except RemitError as error:
            return await asyncio.shield(self._working.begin(self._refuse(address(context), error)))
        except Exception as error:
            return _unexpected(rpc, error)
        self._observer.stage("identify", perf_counter() - started)
        caller = _name(subject)
        try:
            if isinstance(rpc, Streaming):
                await self._streamed(rpc, context, subject, caller)
                return None
            return await self._admitted(rpc, context, subject, caller)
        except RemitError as error:
            return await asyncio.shield(self._working.begin(self._refuse(caller, error)))

    async def _admitted(self, rpc: Rpc, context: Context, subject: Subject, caller: str) -> Answered:
        request = await self._arrived(rpc, context, caller)
        wait = self._granted(rpc, request, caller)
        work = self._working.begin(self._answer(rpc, subject, request))
        self._give_back_after(work, self._places, caller)
        if wait:
            self._give_back_after(work, self._waiting, caller)
            return await self._waited(work, wait)
        seconds = self._limits.verify_seconds if rpc.slow else self._limits.call_seconds
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(work)
        except TimeoutError:
            raise TooSlow(f"no answer within {seconds:g} seconds; what was decided is recorded") from None

    def _granted(self, rpc: Rpc, request: Any, caller: str) -> int:
        """How long the call may wait, in ns. Where too many do already, it is answered without: HOLD is an answer."""
        wait = waits(request) if rpc.waits else 0
        if wait:
            try:
                self._waiting.take(caller)
            except Overloaded:
                request.ClearField("wait")
                return 0
        return wait

    async def _waited(self, work: asyncio.Task[Answered], wait: int) -> Answered:
        longest = wait / SECOND + self._limits.call_seconds
        ends: set[asyncio.Future[Any]] = {work, self._stopping}
        try:
            await asyncio.wait(ends, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if self._stopping.done():
                raise Stopping("the sidecar is stopping: ask again with the same key")
            raise TooSlow(f"no answer within {longest:g} seconds; what was decided is recorded")
        finally:
            work.cancel()

    async def _streamed(self, rpc: Streaming, context: Context, subject: Subject, caller: str) -> None:
        flow = Flow(context, self._limits)
        if rpc.watches:
            self._watching.take(caller)
        try:
            request = await self._arrived(rpc, context, caller)
        except BaseException:
            if rpc.watches:
                self._watching.give_back(caller)
            raise
        work = self._working.begin(self._parts(rpc, subject, request, flow))
        try:
            if status := await self._flowed(rpc, work, flow):
                await _end(context, status)
        finally:
            # Reached when the call is over: where its caller reads nothing, not even a status, that is not soon.
            flow.leave()
            self._give_back_after(work, self._places, caller)
            if rpc.watches:
                self._give_back_after(work, self._watching, caller)

    async def _flowed(self, rpc: Streaming, work: asyncio.Task[grpc.Status | None], flow: Flow) -> grpc.Status | None:
        seconds = self._limits.stream_seconds
        ends: set[asyncio.Future[Any]] = {work, self._stopping} if rpc.watches else {work}
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        flow.leave()
        if rpc.watches:
            return status_of(WatchAgain("that was all for now: watch again"))
        return status_of(TooSlow(f"the answer took longer than {seconds:g} seconds; what was decided is recorded"))

    async def _arrived(self, rpc: Rpc | Streaming, context: Context, caller: str) -> Any:
        """The request, once it is there, in a place of the caller's; whoever gets it gives the place back."""
        self._places.take(caller)
        try:
            return message(rpc.takes, await self._receive(context, caller))
        except BaseException:
            self._places.give_back(caller)
            raise

    def _give_back_after(self, work: asyncio.Task[Any], places: Places, caller: str) -> None:
        work.add_done_callback(lambda _: places.give_back(caller))

    async def _receive(self, context: Context, caller: str) -> bytes:
        """The request's bytes. Raises TooSlow, and BadRequest where gRPC has none to give.

        A message that is missing, cut off, too large or badly compressed shows here as the end of the stream or,
        as does a caller that leaves, as a cancellation: which of them is a race within gRPC. Both are counted.
        """
        seconds, most = self._limits.receive_seconds, self._limits.message_bytes
        try:
            async with asyncio.timeout(seconds):
                raw: object = await context.read()
        except TimeoutError:
            await asyncio.shield(self._working.begin(self._counts.malformed(caller, "message")))
            raise TooSlow(f"the request did not arrive within {seconds:g} seconds") from None
        except asyncio.CancelledError:
            self._working.begin(self._counts.malformed(caller, "message"))
            raise
        if not isinstance(raw, bytes):
            raise BadRequest(Violation("message", f"one whole message of at most {most} bytes"))
        return raw

    async def _answer(self, rpc: Rpc, subject: Subject, request: Message) -> Answered:
        try:
            answer = await rpc.answer(self._pipeline, subject, request)
            return bounded(answer, self._limits.answer_bytes)
        except RemitError as error:
            return await self._refuse(_name(subject), error)
        except Exception as error:
            return _unexpected(rpc, error)

    async def _parts(self, rpc: Streaming, subject: Subject, request: Message, flow: Flow) -> grpc.Status | None:
        try:
            await flow.send(rpc.parts(self._pipeline, subject, request))
        except RemitError as error:
            return await self._refuse(_name(subject), error)
        except Exception as error:
            return _unexpected(rpc, error)
        return None

    async def _refuse(self, peer: str, error: RemitError) -> grpc.Status:
        """The status of an error; refused identities and malformed requests are counted into the journal."""
        if isinstance(error, ServiceError):
            _log.error("a call ended without a decision: %s", error)
        await self._counts.count(peer, error)
        return status_of(error)


async def _end(context: Context, status: grpc.Status) -> NoReturn:
    try:
        await context.abort_with_status(status)
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        # Its caller left before it took the status: nobody is to be told, and gRPC would log it as an error of ours.
        raise asyncio.CancelledError from error


def _name(subject: Subject) -> str:
    return f"{subject.type}:{subject.id}"


def _unexpected(rpc: Rpc | Streaming, error: Exception) -> grpc.Status:
    _log.error("%s failed", rpc.name, exc_info=error)
    return status_of(error)
