"""Approvals that an agent may resolve: watched one by one, each version once, and answered.

A watch ends often: the sidecar ends it after some minutes, restarts, or the connection is lost. It is begun again, with
growing pauses while nothing comes. What was handed out is not handed out again, and neither is what changed by this
agent's own word; whoever answers names the version that they saw, so an answer never meets something else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from remit.sdk.answers import Money, PolicyReason
from remit.sdk.arguments import arguments_text
from remit.sdk.errors import Unavailable, refusal
from remit.sdk.portal import Portal
from remit.sdk.question import build
from remit.sdk.reading import read_decision, read_money, read_object, read_reason, state_name
from remit.v1 import oversight_pb2 as pb
from remit.v1 import resources_pb2

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
_VERDICTS = resources_pb2.ApprovalVerdict
_LOG = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one of those who were asked said: approve, deny or hold (passed on). `kind` is agent or person."""

    kind: str
    by: str
    verdict: str
    reason: str
    time: int


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One thing that would be done. `shown` is what was asked for, None where this agent is not cleared for the labels
    that the session holds; `amount` the most that it may cost, `asked` how often it was asked for."""

    decision: str
    amount: Money
    labels: tuple[str, ...]
    shown: Mapping[str, Any] | None
    asked: int

    @property
    def arguments(self) -> Mapping[str, Any] | None:
        """Its arguments, as far as they are shown."""
        found = None if self.shown is None else self.shown.get("arguments", {})
        return found if isinstance(found, Mapping) else None


@dataclass(frozen=True)
class Asked:
    """A request for approval, in its version that was seen. `resource` is "type:id"; `reason` the requester's own word.

    `labels` are those that its session holds. With `cost`, all `uses` of all items may cost that much; `bind` is exact,
    variant or operation; a grant lasts `ttl` seconds. `quorum` must approve. `deadline` (ns) is until when to answer.
    """

    approval: str
    version: int
    state: str
    subject: str
    team: str
    workflow: str
    purpose: str
    why: PolicyReason
    action: str
    resource: str
    operation: str
    variant: str
    reason: str
    items: tuple[ReviewItem, ...]
    labels: tuple[str, ...]
    cost: Money | None
    bind: str
    uses: int
    ttl: int
    quorum: int
    roles: tuple[str, ...]
    supervisor: str
    votes: tuple[Vote, ...]
    deadline: int


class Resolve(Protocol):
    """Tells the sidecar what is said of an approval. Raises Denied."""

    def __call__(self, asked: Asked, verdict: str, reason: str, changes: bytes = b"") -> Awaitable[Asked]: ...


@dataclass(frozen=True)
class Review(Asked):
    """An approval that this agent may resolve. Each answer gives the request as it is afterwards, and raises Denied
    where policy refuses it, or where it is another one by now (`facts_changed`)."""

    resolve: Resolve = field(repr=False, compare=False)

    async def approve(self, reason: str) -> Asked:
        """It may be done."""
        return await self.resolve(self, "APPROVE", reason)

    async def deny(self, reason: str) -> Asked:
        """It must not be done."""
        return await self.resolve(self, "DENY", reason)

    async def pass_on(self, reason: str) -> Asked:
        """It is for somebody above to say."""
        return await self.resolve(self, "HOLD", reason)

    async def offer(self, changes: Mapping[str, Any], reason: str) -> Asked:
        """It must not be done as it is; changed so, it may. `changes` is a JSON merge patch over `resource` (operation,
        variant, fields) and `arguments`: `{"arguments": {"limit": 10, "columns": None}}`."""
        return await self.resolve(self, "DENY", reason, arguments_text(changes))


@dataclass(frozen=True)
class BlockingReview(Asked):
    """A Review for plain threads."""

    review: Review = field(repr=False, compare=False)
    portal: Portal = field(repr=False, compare=False)

    def approve(self, reason: str) -> Asked:
        """See Review.approve."""
        return self.portal.run(_awaited(self.review.approve(reason)))

    def deny(self, reason: str) -> Asked:
        """See Review.deny."""
        return self.portal.run(_awaited(self.review.deny(reason)))

    def pass_on(self, reason: str) -> Asked:
        """See Review.pass_on."""
        return self.portal.run(_awaited(self.review.pass_on(reason)))

    def offer(self, changes: Mapping[str, Any], reason: str) -> Asked:
        """See Review.offer."""
        return self.portal.run(_awaited(self.review.offer(changes, reason)))


async def _awaited(answer: Awaitable[Asked]) -> Asked:
    return await answer


class Reviews:
    """The watch of one loop over them: what was told of each approval, by its newest version."""

    def __init__(
        self,
        watch: Callable[[], AsyncGenerator[pb.WatchApprovalsResponse, None]],
        answer: Callable[[pb.ResolveApprovalRequest], Awaitable[pb.ResolveApprovalResponse]],
    ) -> None:
        self._watch = watch
        self._answer = answer
        self._told: dict[str, int] = {}

    async def each(self) -> AsyncGenerator[Review, None]:
        """Those that may be resolved now, each version once; without end. Raises what is no lost connection."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with aclosing(self._watch()) as parts:
                    async for review in self._new(parts):
                        pause = FIRST_PAUSE
                        if review is not None:
                            yield review
            except Unavailable as error:
                _LOG.debug("the watch of approvals ended; it is begun again: %s", error)
                if pause > FIRST_PAUSE:
                    _LOG.warning("approvals cannot be watched; trying again: %s", error)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (spreads callers in time)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _new(self, parts: AsyncGenerator[pb.WatchApprovalsResponse, None]) -> AsyncGenerator[Review | None, None]:
        """What has not been told; None where all that there was has been."""
        before = dict(self._told)
        async for part in parts:
            if not part.HasField("approval"):
                # What is not there any more will not come again.
                for id in before.keys() & self._told.keys():
                    del self._told[id]
                yield None
                continue
            found = part.approval
            known = max(before.pop(found.id, 0), self._told.get(found.id, 0))
            if found.state != resources_pb2.APPROVAL_STATE_PENDING:
                self._told.pop(found.id, None)
                continue
            self._told[found.id] = max(known, found.version) if found.resolvable else known
            if found.version > known and found.resolvable:
                yield Review(**_read(found), resolve=self._resolve)

    async def _resolve(self, asked: Asked, verdict: str, reason: str, changes: bytes = b"") -> Asked:
        request = build(
            pb.ResolveApprovalRequest,
            approval=asked.approval,
            verdict=_VERDICTS.Value(f"APPROVAL_VERDICT_{verdict}"),
            reason=reason,
            version=asked.version,
            alternative=changes,
        )
        response = await self._answer(request)
        decision = read_decision(response.decision)
        if not decision.permitted:
            raise refusal(decision)
        after = Asked(**_read(response.approval))
        if after.state == "pending" and after.approval in self._told:
            # Only this agent's own word is new in it.
            self._told[after.approval] = max(self._told[after.approval], after.version)
        return after


def blocking(review: Review, portal: Portal) -> BlockingReview:
    """The same for plain threads."""
    shown = {each.name: getattr(review, each.name) for each in fields(Asked)}
    return BlockingReview(**shown, review=review, portal=portal)


def iterated(reviews: AsyncGenerator[Review, None], portal: Portal) -> Iterator[BlockingReview]:
    """The same for a plain `for`."""
    try:
        while True:
            yield blocking(portal.run(_next(reviews)), portal)
    finally:
        portal.run(reviews.aclose())


async def _next(reviews: AsyncGenerator[Review, None]) -> Review:
    return await anext(reviews)


def _read(wire: pb.Approval) -> dict[str, Any]:
    """The fields of Asked."""
    return {
        "approval": wire.id,
        "version": wire.version,
        "state": state_name(wire.state),
        "subject": wire.subject,
        "team": wire.team,
        "workflow": wire.workflow,
        "purpose": wire.purpose,
        "why": read_reason(wire.why),
        "action": wire.action,
        "resource": f"{wire.resource.type}:{wire.resource.id}",
        "operation": wire.resource.operation,
        "variant": wire.resource.variant,
        "reason": wire.reason,
        "items": tuple(_item(each) for each in wire.items),
        "labels": tuple(wire.labels),
        "cost": read_money(wire.cost) if wire.HasField("cost") else None,
        "bind": wire.bind,
        "uses": wire.uses,
        "ttl": wire.ttl,
        "quorum": wire.quorum,
        "roles": tuple(wire.roles),
        "supervisor": wire.supervisor,
        "votes": tuple(_vote(each) for each in wire.votes),
        "deadline": wire.expire_time.ToNanoseconds(),
    }


def _item(wire: pb.ApprovalItem) -> ReviewItem:
    shown = read_object(wire.shown, "request") if wire.shown else None
    return ReviewItem(wire.decision, read_money(wire.amount), tuple(wire.labels), shown, wire.asked)


def _vote(wire: pb.ApprovalVote) -> Vote:
    known = wire.verdict in _VERDICTS.values()
    verdict = _VERDICTS.Name(wire.verdict).removeprefix("APPROVAL_VERDICT_").lower() if known else "unspecified"
    return Vote(wire.kind, wire.by, verdict, wire.reason, wire.time.ToNanoseconds())
