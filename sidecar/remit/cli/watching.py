"""Watches approvals for as long as somebody looks: over the ends of streams, and over a sidecar that was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from grpc import StatusCode, aio

from remit.cli.approval_text import STATES
from remit.cli.connection import explained
from remit.cli.failure import Unreachable
from remit.cli.screen import note
from remit.sdk.address import Target
from remit.v1 import oversight_pb2 as pb
from remit.v1 import oversight_pb2_grpc, resources_pb2

PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds before it is tried again: what opens meanwhile must still be shown soon."""

LONGEST_STREAM = 900.0
"""Seconds after which a stream is begun anew: one whose other end is gone may never say so."""

MOST_REMEMBERED = 10_000

_STUB: Callable[[aio.Channel], Any] = oversight_pb2_grpc.OversightStub
_AWAY = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED, StatusCode.UNKNOWN)


class Watch:
    """Tells every version of an approval once, whatever streams it comes by."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._versions: dict[str, int] = {}
        self._pending: set[str] = set()
        self._heard = False

    async def approvals(self) -> AsyncGenerator[pb.Approval, None]:
        """Pending ones, then each as it changes; of what ended while nobody was there to tell, its end.

        The first word must come in time. Raises Failure where it does not, or where nothing may be seen.
        """
        ever, alone, pause = False, False, PAUSE
        while True:
            self._heard = False
            try:
                async with self._target.channel() as channel, aclosing(self._stream(channel)) as told:
                    async for approval in told:
                        yield approval
            except aio.AioRpcError as error:
                if error.code() not in _AWAY or not (ever or self._heard):
                    raise explained(error, "WatchApprovals", self._target) from error
            except TimeoutError:
                if not (ever or self._heard):
                    where = self._target.address
                    raise Unreachable(f"{where} did not answer in time; give it longer with --timeout") from None
            ever = ever or self._heard
            if not (self._heard or alone):
                note("remit: nobody answers; watching goes on once somebody does")
            alone = not self._heard
            pause = min(2 * pause, LONGEST_PAUSE) if alone else PAUSE
            await asyncio.sleep(pause)

    async def _stream(self, channel: aio.Channel) -> AsyncGenerator[pb.Approval, None]:
        stub: Any = _STUB(channel)
        call = stub.WatchApprovals(
            pb.WatchApprovalsRequest(), metadata=self._target.metadata, timeout=LONGEST_STREAM, wait_for_ready=False
        )
        async with asyncio.timeout(self._seconds):
            message = await call.read()
        retold: set[str] | None = set()
        while message is not aio.EOF:
            self._heard = True
            if message.HasField("approval"):
                if retold is not None:
                    retold.add(message.approval.id)
                if self._is_news(message.approval):
                    yield message.approval
            elif retold is not None:
                for missed in sorted(self._pending - retold):
                    for approval in await self._asked(stub, missed):
                        if self._is_news(approval):
                            yield approval
                retold = None
            message = await call.read()

    async def _asked(self, stub: Any, id: str) -> list[pb.Approval]:
        request = pb.ListApprovalsRequest(id=id, states=list(STATES))
        found = await stub.ListApprovals(request, metadata=self._target.metadata, timeout=self._seconds)
        if not found.approvals:
            self._pending.discard(id)  # it is not ours to see any more
        return list(found.approvals)

    def _is_news(self, approval: pb.Approval) -> bool:
        if approval.state == resources_pb2.APPROVAL_STATE_PENDING:
            self._pending.add(approval.id)
        else:
            self._pending.discard(approval.id)
        news = self._versions.pop(approval.id, 0) != approval.version
        self._versions[approval.id] = approval.version
        if len(self._versions) > MOST_REMEMBERED:
            del self._versions[next(iter(self._versions))]
        return news
