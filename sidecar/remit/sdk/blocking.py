"""The same agent for plain scripts and threads: `with remit.blocking.Agent.connect() as agent:`.

A thread of its own runs the event loop; every call waits for its answer there. Any number of threads may call.
Context variables (workflow, purpose, parent, …) are those of the calling thread; a new thread starts without any,
so run it in `contextvars.copy_context()` where it should go on with the starter's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Thread
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack
from uuid import UUID

from remit.sdk.action import BlockingAction
from remit.sdk.agent import MINUTE, Connecting, Opening
from remit.sdk.agent import Agent as AsyncAgent
from remit.sdk.ambient import scope
from remit.sdk.answers import Accepted, Decision, Outcome, Reported, Workflow
from remit.sdk.claim import BlockingClaim
from remit.sdk.errors import IllegalState
from remit.sdk.portal import Portal
from remit.sdk.query import BlockingQuery
from remit.sdk.question import Ask, Grounds, Standing, Why
from remit.sdk.review import BlockingReview, iterated
from remit.sdk.rows import Executed
from remit.sdk.values import Value
from remit.sdk.wrapping import Arguments, Used

P = ParamSpec("P")
R = TypeVar("R")


class Agent:
    """Every method of `remit.Agent`, waiting instead of awaited."""

    def __init__(self, inner: AsyncAgent) -> None:
        self._inner = inner
        self._thread: Thread | None = None
        self._stop: Callable[[], object] | None = None
        self._scope: AbstractContextManager[None] | None = None

    @classmethod
    def connect(cls, address: str | None = None, token: str | None = None, **options: Unpack[Connecting]) -> Self:
        """See remit.Agent.connect."""
        return cls(AsyncAgent.connect(address, token, **options))

    @property
    def awaited(self) -> AsyncAgent:
        """The agent inside, for its own event loop."""
        return self._inner

    @property
    def portal(self) -> Portal:
        """The way into the agent's event loop."""
        return self._inner.portal

    def open(self) -> Self:
        """Start the thread and make the connection; `with` does it."""
        if self._thread is not None:
            raise IllegalState("this agent was connected before: call connect() again")
        opened: Future[Callable[[], object]] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._live(opened)), name="remit", daemon=True)
        self._thread.start()
        self._stop = opened.result()
        return self

    async def _live(self, opened: Future[Callable[[], object]]) -> None:
        try:
            await self._inner.open()
        except BaseException as error:
            opened.set_exception(error)
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        opened.set_result(lambda: loop.call_soon_threadsafe(ended.set))
        await ended.wait()
        await self._inner.close()

    def close(self) -> None:
        """Let reports under way arrive (at most 2 s), then close the connection and end the thread."""
        if self._stop is None or self._thread is None:
            return
        self.portal.close()
        stop, self._stop = self._stop, None
        stop()
        self._thread.join()

    def __enter__(self) -> Self:
        self.open()
        self._scope = scope(agent=self._inner)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
        self.close()

    def authorize(self, action: str, resource: str, *, check: bool = True, **ask: Unpack[Ask]) -> Decision:
        """See remit.Agent.authorize."""
        return self.portal.run(self._inner.authorize(action, resource, check=check, **ask))

    def report(
        self,
        decision: str | Decision,
        outcome: Outcome,
        *,
        usage: Mapping[str, int] | None = None,
        error: str = "",
        timeout: float | None = None,
    ) -> Reported:
        """See remit.Agent.report."""
        return self.portal.run(self._inner.report(decision, outcome, usage=usage, error=error, timeout=timeout))

    def query(
        self,
        statement: str,
        *,
        dataset: str,
        parameters: Mapping[str, Value | UUID] | None = None,
        rows: int = 0,
        **grounds: Unpack[Grounds],
    ) -> BlockingQuery:
        """`for row in agent.query(…)`, or `agent.query(…).fetch()` for all rows; see remit.Agent.query."""
        query = self._inner.query(statement, dataset=dataset, parameters=parameters, rows=rows, **grounds)
        return BlockingQuery(query, lambda: self.portal)

    def execute(
        self,
        statement: str,
        *,
        dataset: str,
        parameters: Mapping[str, Value | UUID] | None = None,
        **why: Unpack[Why],
    ) -> Executed:
        """See remit.Agent.execute."""
        return self.portal.run(self._inner.execute(statement, dataset=dataset, parameters=parameters, **why))

    def action(self, action: str, resource: str, **ask: Unpack[Ask]) -> BlockingAction:
        """`with agent.action("api.call", "service:openai", …) as act:`; see remit.Agent.action."""
        return BlockingAction(self._inner.action(action, resource, **ask), self.portal)

    def governed(
        self,
        action: str,
        resource: str,
        *,
        arguments: Arguments | None = None,
        used: Used | None = None,
        **ask: Unpack[Standing],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """See remit.Agent.governed; for plain functions."""
        return self._inner.governed(action, resource, arguments=arguments, used=used, **ask)

    def open_workflow(self, purposes: Sequence[str], **options: Unpack[Opening]) -> Workflow:
        """See remit.Agent.open_workflow."""
        return self.portal.run(self._inner.open_workflow(purposes, **options))

    def close_workflow(self, workflow: str | Workflow, *, reason: str = "", timeout: float | None = None) -> str:
        """See remit.Agent.close_workflow."""
        return self.portal.run(self._inner.close_workflow(workflow, reason=reason, timeout=timeout))

    def handoff(self, agent: str, *, message: bytes | str | None = None, **why: Unpack[Why]) -> str:
        """See remit.Agent.handoff."""
        return self.portal.run(self._inner.handoff(agent, message=message, **why))

    def accept(self, passport: str, *, message: bytes | str | None = None, timeout: float | None = None) -> Accepted:
        """See remit.Agent.accept; act in the message's workflow with `remit.workflow(context=accepted)`."""

        async def accept() -> Accepted:
            return await self._inner.accept(passport, message=message, timeout=timeout)

        return self.portal.run(accept())

    def record(self, summary: str, **why: Unpack[Why]) -> Decision:
        """See remit.Agent.record."""
        return self.portal.run(self._inner.record(summary, **why))

    def claim(
        self,
        resource: str,
        *,
        object: str = "",  # noqa: A002 (the protocol's word)
        ttl: timedelta = MINUTE,
        **why: Unpack[Why],
    ) -> BlockingClaim:
        """`with agent.claim("service:mail", object="7") as claim:`; see remit.Agent.claim.

        A thread is not interrupted: `claim.check()` raises where it is lost, and so does the end of the block.
        """
        return BlockingClaim(self._inner.claim(resource, object=object, ttl=ttl, **why), self.portal)

    def reviews(self) -> Iterator[BlockingReview]:
        """`for request in agent.reviews():`, see remit.Agent.reviews."""
        return iterated(self._inner.reviews(), self.portal)
