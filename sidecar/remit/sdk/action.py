"""One governed act: asked for before, reported after, whatever happens in between.

The theory. `authorize` reserves; exactly one report ends the reservation: succeeded, failed (an exception,
cancellation too; only its class name is told, because its text may hold secrets) or not_sent. The report is
shielded from cancellation, and bounded. Where it cannot be delivered, the reservation lapses at its deadline and is
charged as reserved, so the ledger stays on the safe side. Therefore a lost report neither replaces the body's
exception nor turns a body that ended well into a failure (who would then do its effect twice): it is logged on
the logger "remit", kept as `unreported`, and noted on the body's exception where there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from remit.sdk.afterwards import Afterwards
from remit.sdk.ambient import checked, scope
from remit.sdk.answers import Decision, Outcome, Reported
from remit.sdk.errors import IllegalState, RemitError
from remit.sdk.portal import Portal
from remit.sdk.question import usage_messages

LAST_WORDS = 2.0
"""Seconds that a cancelled caller waits for its report."""

_LOG = logging.getLogger("remit")


class Tell(Protocol):
    """Agent.report."""

    def __call__(
        self,
        decision: Decision,
        outcome: Outcome,
        *,
        usage: dict[str, int],
        error: str,
        timeout: float | None,
    ) -> Coroutine[Any, Any, Reported]:
        """Report an outcome."""
        ...


class Action:
    """`async with agent.action(...) as act:`; the decisions inside have this one as their parent."""

    def __init__(
        self, authorize: Callable[[], Coroutine[Any, Any, Decision]], tell: Tell, *, after: Afterwards
    ) -> None:
        self._authorize = authorize
        self._tell = tell
        self._after = after
        self._decision: Decision | None = None
        self._usage: dict[str, int] = {}
        self._failure = ""
        self._unsent = False
        self._ended = False
        self._scope: AbstractContextManager[None] | None = None
        self.reported: Reported | None = None
        self.unreported: RemitError | None = None

    @property
    def decision(self) -> Decision:
        """The decision that permits it; IllegalState before it was made."""
        if self._decision is None:
            raise IllegalState("the action has not begun: it is permitted only inside its `with` block")
        return self._decision

    def used(self, **usage: int) -> None:
        """What was really used, per unit: `act.used(input_token=812, output_token=95)`. Told in the report."""
        self._running()
        usage_messages(usage)
        self._usage.update(usage)

    def not_sent(self) -> None:
        """Nothing was done, so nothing was spent."""
        self._running()
        self._unsent = True

    def failed(self, why: str) -> None:
        """It was tried and failed, though no exception says so. `why` (e.g. "HTTP 503") is recorded in clear."""
        self._running()
        checked(reason=why)
        self._failure = why

    async def begin(self) -> None:
        """Ask. Raises Denied and the other errors of `authorize`."""
        if self._decision is not None or self._ended:
            raise IllegalState("an action is done once; make another one")
        self._decision = await self._authorize()

    async def end(self, error: BaseException | None = None) -> None:
        """Report, once."""
        self._running()
        self._ended = True
        limit = LAST_WORDS if isinstance(error, asyncio.CancelledError) else None
        await asyncio.shield(self._after.start(self._report(error, limit)))
        if error is not None and self.unreported is not None:
            error.add_note(f"remit: decision {self.decision.id} could not be reported: {self.unreported}")

    async def _report(self, error: BaseException | None, limit: float | None) -> None:
        failure = type(error).__name__ if error is not None else self._failure
        outcome: Outcome = "not_sent" if self._unsent else "failed" if failure else "succeeded"
        usage = {} if self._unsent else self._usage
        try:
            self.reported = await self._tell(self.decision, outcome, usage=usage, error=failure, timeout=limit)
        except RemitError as lost:
            self.unreported = lost
            _LOG.error("decision %s could not be reported; its reservation lapses: %s", self.decision.id, lost)

    def _running(self) -> None:
        if self._ended or self._decision is None:
            raise IllegalState("the action is not under way: it has not begun, or has ended")

    def enter(self) -> None:
        """Become the parent of what follows."""
        self._scope = scope(parent=self.decision.id)
        self._scope.__enter__()

    def leave(self) -> None:
        """Be the parent no longer."""
        if self._scope is not None:
            self._scope.__exit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self.begin()
        self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await self.end(error)


class BlockingAction:
    """The same with a plain `with`, from any thread; the block gets the Action."""

    def __init__(self, action: Action, portal: Portal) -> None:
        self._action = action
        self._portal = portal

    def begin(self) -> Action:
        """Ask."""
        self._portal.run(self._action.begin())
        return self._action

    def end(self, error: BaseException | None = None) -> None:
        """Report, once."""
        self._portal.run(self._action.end(error))

    def __enter__(self) -> Action:
        self.begin().enter()
        return self._action

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._action.leave()
        self.end(error)
