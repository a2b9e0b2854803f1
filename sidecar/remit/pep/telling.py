"""Telling somebody outside of approvals: each that opens, is passed on, or ends, at least once.

The store is asked twice a second whether any has moved, and what has is compared with what was told. Nothing of that is
kept: after a start all that wait are told again, and what ended in the five minutes before; an event of the same
approval and version has the same id then, by which whoever is told may know it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from remit.core.approval import SECOND, Approval, State
from remit.core.approval_event import event
from remit.core.errors import StoreUnavailable
from remit.pep.outbox import Outbox
from remit.pep.world import World
from remit.ports import ApprovalsQuery, Webhook, WebhookFailed

LOOK_SECONDS = 0.5
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Between two attempts, in seconds; each that fails doubles it."""

PAGE = 100
MOST_GRANTS = 1000
"""The latest grants that are in force, whose being taken back is told."""

AGAIN = 300 * SECOND
BEFORE = 7200 * SECOND
"""How long ago an approval may have been opened that ended in AGAIN before the start."""

SKEW = 60 * SECOND
"""How far the clocks of those who open approvals may be apart: one that is opened later may say so much earlier."""

Pause = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass."""

_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class _Known:
    """An approval as it was seen last."""

    state: State
    level: int
    time: int
    expires: int

    @classmethod
    def of(cls, approval: Approval) -> _Known:
        return cls(approval.state, approval.level, approval.time, approval.expires)

    def moves(self, now: int) -> bool:
        """Whether something may become of it yet."""
        return self.state is State.PENDING or (self.state is State.APPROVED and self.expires > now)


class Teller:
    """Tells one webhook. `public_url` is where people find the desk, "" where events are to have no link."""

    def __init__(self, world: World, webhook: Webhook, *, public_url: str = "", pause: Pause = asyncio.sleep) -> None:
        self._world = world
        self._pause = pause
        self._webhook = webhook
        self._pages = f"{public_url.rstrip('/')}/approvals/" if public_url else ""
        self._outbox = Outbox()
        self._known: dict[str, _Known] = {}
        self._version: int | None = None
        self._started = self._looked = 0

    @property
    def waiting(self) -> int:
        """How many events are still to be told."""
        return len(self._outbox)

    async def run(self) -> None:
        """Look and tell until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._look())
            loops.create_task(self._tell())

    async def look(self) -> None:
        """Note what has happened since the last look, to be told. Raises StoreUnavailable: then nothing is noted."""
        now = self._world.clock.now()
        version = await self._world.store.approvals_version()
        if version != self._version:
            self._started = self._started or now
            found = await self._found(now)
            for each in sorted(found.values(), key=lambda each: (each.time, each.id)):
                self._note(each, now)
            self._forget(found, now)
        self._version, self._looked = version, now

    async def tell(self) -> bool:
        """Post the next event, waiting for one; whether it was taken."""
        waiting = await self._outbox.first()
        try:
            await self._webhook.post(waiting.event)
        except Exception as error:
            self._outbox.failed(waiting, self._world.clock.now())
            # Whatever is wrong with one event, the others must still be told.
            unforeseen = None if isinstance(error, WebhookFailed) else error
            told = waiting.event["id"], len(self._outbox), error
            _log.warning("event %s was not told (%d wait): %s", *told, exc_info=unforeseen)
            return False
        self._outbox.done(waiting)
        return True

    async def _look(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.error("approvals could not be looked for, to tell of them: %s", error)
            except Exception:
                _log.exception("approvals could not be looked for, to tell of them")
            await self._pause(LOOK_SECONDS)

    async def _tell(self) -> None:
        seconds = SHORTEST_PAUSE
        while True:
            if await self.tell():
                seconds = SHORTEST_PAUSE
            else:
                await self._pause(seconds)
                seconds = min(2 * seconds, LONGEST_PAUSE)

    def _note(self, approval: Approval, now: int) -> None:
        before = self._known.get(approval.id)
        after = self._known[approval.id] = _Known.of(approval)
        if self._is_news(approval, before, after):
            page = f"{self._pages}{approval.id}" if self._pages else ""
            told = event(approval, currency=self._world.catalogue.currency, page=page)
            self._outbox.put(approval.id, told, over=approval.state is not State.PENDING, time=now)

    def _is_news(self, approval: Approval, before: _Known | None, after: _Known) -> bool:
        if before is not None:
            return (before.state, before.level) != (after.state, after.level)
        if after.state is State.PENDING:
            return True
        # What was never asked for (an alternative that a rule offers) is nobody's news.
        asked = after.state is not State.APPROVED or bool(approval.votes)
        return asked and _ended(approval) >= self._started - AGAIN

    async def _found(self, now: int) -> dict[str, Approval]:
        """All that wait, all that are new, and what those have become whose end has not been seen."""
        found: dict[str, Approval] = {}
        await self._add(found, State.PENDING)
        if self._version is None:
            await self._add(found, State.APPROVED, most=MOST_GRANTS)
        await self._add(found, since=now - BEFORE if self._version is None else self._looked - SKEW)
        ids = self._followed(found, now)
        for start in range(0, len(ids), PAGE):
            some = tuple(ids[start : start + PAGE])
            page = await self._world.store.approvals(ApprovalsQuery(ids=some, limit=PAGE))
            found.update((each.id, _lean(each)) for each in page)
        return found

    async def _add(self, found: dict[str, Approval], *states: State, since: int = 0, most: int = 0) -> None:
        """Those in these states, the newest first, back to a time or so many (0: all)."""
        before, count = "", 0
        while page := await self._world.store.approvals(ApprovalsQuery(states=states, before=before, limit=PAGE)):
            for each in page:
                if each.time < since or (most and count == most):
                    return
                found.setdefault(each.id, _lean(each))
                count += 1
            before = page[-1].id

    def _followed(self, found: Mapping[str, Approval], now: int) -> list[str]:
        """What is to be asked for by its id: all that waited, and the latest grants."""
        moving = [id for id, each in self._known.items() if each.moves(now) and id not in found]
        granted = sorted((id for id in moving if self._known[id].state is State.APPROVED), reverse=True)
        return [id for id in moving if self._known[id].state is State.PENDING] + granted[:MOST_GRANTS]

    def _forget(self, found: Mapping[str, Approval], now: int) -> None:
        """What is over and too old to be found again, and what the store has forgotten."""
        for id, each in list(self._known.items()):
            gone = each.state is State.PENDING and id not in found
            if gone or (not each.moves(now) and each.time < now - BEFORE - SKEW):
                del self._known[id]


def _ended(approval: Approval) -> int:
    return max(approval.ended, approval.time, *(each.time for each in approval.votes))


def _lean(approval: Approval) -> Approval:
    """Without what was asked for: many may be looked through at once."""
    return replace(approval, items=tuple(replace(each, shown="") for each in approval.items))
