"""An answer in parts: what was decided first, whoever waits for it; then the rest, no faster than it is read.

One task asks for the parts and sends them, so nothing is made ahead of what the caller takes: gRPC's flow control ends
`write` only when there is room for more. Until the first part is there the task is left alone. After it, a caller
that leaves has the task cancelled wherever it waits, for room or for the next part, and the parts are closed: what
reads the database for them ends at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from google.protobuf.message import Message

from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_status import AnswerTooLarge, TooSlow

_log = logging.getLogger(__name__)


class Outlet(Protocol):
    """The part of gRPC's context that sends."""

    async def send_initial_metadata(self, initial_metadata: tuple[()], /) -> None: ...
    async def write(self, message: bytes, /) -> None: ...


class Flow:
    """Sends the parts of one answer, until its caller has left."""

    def __init__(self, outlet: Outlet, limits: Limits) -> None:
        self._outlet = outlet
        self._limits = limits
        self._left = False
        self._sending: asyncio.Task[Any] | None = None

    def leave(self) -> None:
        """Nobody reads any more: what is still to be decided is decided, and nothing else is done."""
        self._left = True
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()

    async def send(self, parts: AsyncGenerator[Message, None]) -> None:
        """Send all parts, or those until the caller leaves. Raises TooSlow, AnswerTooLarge and what the parts raise."""
        async with aclosing(parts):
            part = await anext(parts, None)
            self._sending = task = asyncio.current_task()
            try:
                # By itself: together with a part that nobody takes it would stay unsent, and no status could follow.
                await self._sent(self._outlet.send_initial_metadata(()))
                while part is not None and not self._left:
                    await self._sent(self._outlet.write(bounded(part, self._limits.answer_bytes)))
                    part = await anext(parts, None)
            except asyncio.CancelledError:
                if task is None or not self._left:
                    raise
                task.uncancel()
            finally:
                self._sending = None  # the parts' closing is not cancelled

    async def _sent(self, sending: Coroutine[Any, Any, None]) -> None:
        seconds = self._limits.write_seconds
        try:
            async with asyncio.timeout(seconds):
                await sending
        except TimeoutError:
            raise TooSlow(f"nothing of the answer was taken for {seconds:g} seconds") from None
        except Exception as error:
            # gRPC's ways of saying that the call has ended are many, and not public; its cancellation follows.
            _log.debug("a part could not be sent: %s", error)
            self._left = True


def bounded(answer: Message, most: int) -> bytes:
    """An answer's bytes; AnswerTooLarge where there are more than a message may have."""
    raw = answer.SerializeToString()
    if len(raw) > most:
        raise AnswerTooLarge(f"the answer is larger than {most} bytes: ask for less")
    return raw
