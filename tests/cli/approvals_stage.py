"""The real gRPC server in front of the pipeline in memory, in a thread of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from fakes.pep_fake import FakePipeline, request_for
from listeners.serving import CATALOGUE, OPERATOR, Seen, hashed
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.answer import Shown
from remit.core.approval import Approval, Item, State
from remit.core.call import Call, Claimed
from remit.core.model import Identity, Resource, Subject
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_server import GrpcListener, UnixSocket

T = TypeVar("T")

CALL = Call(
    rpc="Authorize",
    action="api.call",
    resource=Resource("service", "openai", "chat", "large"),
    claimed=Claimed(reason="an order \x1b[31m\u202e"),
)
SUPPORT = Subject("agent", "support", "cx", (), Identity("token", "support"))


class PagedPipeline(FakePipeline):
    """Lists the newest first, page by page."""

    async def approvals(
        self, subject: Subject, states: Sequence[State], id: str, before: str, limit: int
    ) -> Sequence[Shown]:
        found = await super().approvals(subject, states, id, "", 1_000_000)
        return [each for each in found if not before or each.approval.id < before][:limit]

    async def watch_approvals(self, subject: Subject) -> AsyncGenerator[Shown | None, None]:
        """As the real one: what had ended before the watch began is not told in it."""
        ended = {id: each.version for id, each in self.requests.items() if each.state is not State.PENDING}
        async with aclosing(super().watch_approvals(subject)) as told:
            async for shown in told:
                if shown is None or ended.get(shown.approval.id) != shown.approval.version:
                    yield shown


class Stage:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = directory / "remit.sock"
        self._loop = loop
        self._listener: GrpcListener | None = None
        self.address = f"unix:{self._socket}"
        self.pipeline = self.run(self._pipeline())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Something in the server's loop, and wait for it."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(10)

    def ask(self, id: str, *, shown: str = '{"arguments":{"to":"ana"}}', **changed: Any) -> Approval:
        """Somebody asks for an approval."""
        item = Item("ab" * 32, "d_1", 500_000_000, ("pii",), shown)
        approval = request_for(id, SUPPORT, CALL, **{"items": (item,), **changed})
        self.run(self.pipeline.move(approval))
        return approval

    def change(self, id: str, **changed: Any) -> None:
        """It is another version now."""
        now = self.pipeline.requests[id]
        self.run(self.pipeline.move(replace(now, **{"version": now.version + 1, **changed})))

    def start(self, limits: Limits | None = None) -> None:
        """Serve."""
        self.run(self._start(limits))

    def stop(self) -> None:
        """Serve no more; who is connected is cut off."""
        if self._listener is not None:
            self.run(self._listener.stop(0))
            self._listener = None

    async def _pipeline(self) -> PagedPipeline:
        return PagedPipeline()

    async def _start(self, limits: Limits | None) -> None:
        known = CatalogueIdentity(CATALOGUE, SystemClock(), hashed(OPERATOR))
        self._listener = GrpcListener(self.pipeline, known, Seen(), addresses=[UnixSocket(self._socket)], limits=limits)
        await self._listener.start()
        await self._listener.serving(True)


@contextmanager
def staged() -> Iterator[Stage]:
    """A server that runs."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), loop)
        stage.start()
        try:
            yield stage
        finally:
            stage.stop()
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()
