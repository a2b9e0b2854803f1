"""A claim for the length of a block: taken, renewed while the block runs, let go of at its end.

The theory. A claim is a lease: it ends by itself when nobody renews it. It is renewed after a third of its time, so two
renewals may fail. It is lost where a renewal is refused, where none came through before its time was up by our own
clock, or where a renewal gave another token (then somebody else may have held it in between). Losing it interrupts the
block at its next `await`, as a timeout would, and raises ClaimLost; a thread cannot be interrupted, so a plain `with`
raises at its end, and `check` sooner. The sidecar refuses what is done under a lost claim's token in any case.

An agent that is only observed is let through where it would be refused: it then holds nothing, and its token is 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from remit.sdk.afterwards import Afterwards
from remit.sdk.ambient import current, scope
from remit.sdk.answers import Decision
from remit.sdk.errors import ClaimLost, Denied, IllegalState, RemitError, Unavailable
from remit.sdk.portal import Portal

_LOG = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim as the sidecar gave it; `expires` in ns since the epoch."""

    decision: Decision
    token: int
    expires: int


@dataclass(frozen=True, slots=True)
class Claimable:
    """What is claimed: "service:mail", one object in it ("" for all of it), in a workflow, for `ttl` seconds."""

    resource: str
    object: str
    workflow: str
    ttl: float

    def __str__(self) -> str:
        return f"{self.resource} {self.object}".strip()


class Take(Protocol):
    """Takes or renews, within so many seconds. Raises Denied."""

    def __call__(self, seconds: float, /) -> Coroutine[Any, Any, Lease]: ...


class Claim:
    """`async with agent.claim("service:mail", object="7") as claim:`; `claim.token` is its fencing token.

    Calls inside the block that act on the same resource name the token of a claim on all of it by themselves; for a
    claim on one object, give it to the call: `claim=claim`.
    """

    def __init__(
        self, what: Claimable, take: Take, release: Callable[[int], Awaitable[object]], *, after: Afterwards
    ) -> None:
        self._what = what
        self._take = take
        self._release = release
        self._after = after
        self._lease: Lease | None = None
        self._until = 0.0  # by this loop's clock
        self._renewing: asyncio.Task[None] | None = None
        self._scope: AbstractContextManager[None] = nullcontext()
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._interrupted = False
        self.lost: ClaimLost | None = None

    @property
    def lease(self) -> Lease:
        """The claim as it was given last; IllegalState before it was."""
        if self._lease is None:
            raise IllegalState("the claim is held only inside its `with` block")
        return self._lease

    @property
    def token(self) -> int:
        """Its fencing token: higher than any before for the same thing; 0 where an observed agent was let through."""
        return self.lease.token

    @property
    def decision(self) -> Decision:
        """The decision that permitted it."""
        return self.lease.decision

    @property
    def expires(self) -> int:
        """When it ends unless it is renewed, in ns since the epoch."""
        return self.lease.expires

    def __index__(self) -> int:
        return self.token

    def check(self) -> None:
        """Raise ClaimLost where it is not held any more."""
        if self.lost is not None:
            raise self.lost

    async def begin(self) -> Self:
        """Take it. Raises Denied."""
        if self._lease is not None:
            raise IllegalState("a claim is taken once; make another one")
        self._until = asyncio.get_running_loop().time() + self._what.ttl
        self._lease = await self._after.whole(self._take(self._what.ttl), self._give_back)
        self._renewing = asyncio.create_task(self._renew(self._lease.token))
        return self

    async def _give_back(self, lease: Lease) -> None:
        await self._let_go(lease.token)

    async def _renew(self, token: int) -> None:
        loop, pause = asyncio.get_running_loop(), self._what.ttl / 3
        while True:
            await asyncio.sleep(pause)
            asked = loop.time()
            try:
                lease = await self._take(max(self._until - asked, 0.001))
            except RemitError as error:
                final = isinstance(error, Denied) and not error.retryable
                if final or loop.time() >= self._until:
                    return self._lose(error)
                pause = min(self._what.ttl / 10, max(self._until - loop.time(), 0.001))
                continue
            if token and lease.token and lease.token != token:
                self._after.start(self._let_go(lease.token))
                return self._lose(Unavailable(f"it was renewed too late: its token is {lease.token} now"))
            self._lease, self._until, pause = lease, asked + self._what.ttl, self._what.ttl / 3
            token = lease.token

    def _lose(self, error: RemitError) -> None:
        self.lost = ClaimLost(f"the claim on {self._what} is not held any more: {error}")
        self.lost.__cause__ = error
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def end(self) -> None:
        """Let go of it. What cannot be released is logged, and expires."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        if self.lost is None:
            await asyncio.shield(self._after.start(self._let_go(self.token)))

    async def _let_go(self, token: int) -> None:
        if not token:
            return
        try:
            await self._release(token)
        except IllegalState as error:
            self.lost = self.lost or ClaimLost(f"the claim on {self._what} ended before it was let go of: {error}")
        except RemitError as error:
            _LOG.error("the claim on %s could not be released; it expires: %s", self._what, error)

    def enter(self) -> None:
        """Name its token from now on, where all of a resource is claimed."""
        if self.token and not self._what.object:
            held = (self._what.workflow, self._what.resource, self.token)
            self._scope = scope(claims=(*current().claims, held))
            self._scope.__enter__()

    def leave(self) -> None:
        """Name it no longer."""
        self._scope.__exit__(None, None, None)

    async def __aenter__(self) -> Self:
        await self.begin()
        self.enter()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        task, self._task = self._task, None
        ours = self._interrupted and task is not None and task.uncancel() <= self._cancelling
        await self.end()
        told_of(self, None if ours and isinstance(error, asyncio.CancelledError) else error)


def told_of(claim: Claim, error: BaseException | None) -> None:
    """Raise ClaimLost where the claim was lost, or note it on the block's own exception."""
    if error is None:
        claim.check()
    elif claim.lost is not None:
        error.add_note(f"remit: {claim.lost}")


class BlockingClaim:
    """The same with a plain `with`, from any thread; the block gets the Claim."""

    def __init__(self, claim: Claim, portal: Portal) -> None:
        self._claim = claim
        self._portal = portal

    def __enter__(self) -> Claim:
        self._portal.run(self._claim.begin())
        self._claim.enter()
        return self._claim

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claim.leave()
        self._portal.run(self._claim.end())
        told_of(self._claim, error)
