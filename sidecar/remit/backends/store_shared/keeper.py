"""What goes on beside the decisions: pulses, shipments, slices and homes taken and given back, and terms that end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from remit.backends.store_shared.local import LocalStore
from remit.backends.store_shared.mirror import Mirror
from remit.backends.store_shared.shipping import FLUSH_SECONDS, Calls, Shipping
from remit.backends.store_shared.slices import Slices
from remit.backends.store_shared.term import PULSE_SECONDS, Pulses, Term
from remit.core.errors import StoreUnavailable
from remit.ports import Clock, Ids

GATHER_SECONDS = 0.02
"""How long records wait for others that are shipped with them."""

IDLE_SECONDS = 0.5
OFTEN = 3
OFTEN_SECONDS = 60.0
"""A session is taken home when its subject decides so often within so long."""

AWAY_SECONDS = 5.0
"""How long a session is left alone that others wanted back."""

MOST_KEPT = 500
AT_ONCE = 64
MOST_SUBJECTS = 20_000

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps terms going. `calls` holds the local log's lock in the shared store, `pulses` is a second connection."""

    def __init__(
        self,
        local: LocalStore,
        mirror: Mirror,
        calls: Calls,
        pulses: Pulses,
        *,
        clock: Clock,
        ids: Ids,
        monotonic: Callable[[], float],
    ) -> None:
        self._local, self._mirror, self._calls, self._pulses = local, mirror, calls, pulses
        self._clock, self._monotonic = clock, monotonic
        self.term = Term(local.log, mirror, monotonic)
        self.slices = Slices(local, mirror, self.term, calls, clock=clock, ids=ids, monotonic=monotonic)
        self._shipping = Shipping(local, calls)
        self._woken = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._renewing = asyncio.Lock()
        self._seen: dict[str, tuple[int, float]] = {}
        self._away: dict[str, float] = {}
        self._homes_wanted: set[str] = set()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._told = ""

    async def start(self) -> None:
        """Ship what an earlier run left, and begin a term. Raises StoreUnavailable."""
        await self._renew()
        self._tasks = (asyncio.create_task(self._pulse()), asyncio.create_task(self._work()))

    async def stop(self) -> None:
        """Ship the rest, and give back everything. Raises StoreUnavailable where that cannot be: it is kept."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.term.lose()
        self._open.clear()
        await self._local.settled()
        await self._local.sign()
        try:
            await self._give_everything()
        except StoreUnavailable:  # a connection that broke while it was idle is only noticed now
            await self._give_everything()

    async def _give_everything(self) -> None:
        await self._shipping.ship()
        await self._calls.call("close_books", {"log": self._local.log, "now": self._clock.now()})
        await self._local.begin_anew()

    @property
    def decides(self) -> bool:
        """Whether decisions may be made here now."""
        return self.term.live and self._open.is_set()

    def unshipped(self) -> int | None:
        """When the oldest record was made that is here alone; None where none is."""
        return self._shipping.since()

    async def opened(self) -> None:
        """Wait while one term is exchanged for another."""
        await self._open.wait()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def decided(self, subject: str) -> None:
        """A subject decides something in the shared store: if it often does, its session is taken home."""
        now = self._monotonic()
        if len(self._seen) >= MOST_SUBJECTS:
            self._seen.clear()
        count, since = self._seen.get(subject, (0, now))
        count, since = (1, now) if now - since > OFTEN_SECONDS else (count + 1, since)
        self._seen[subject] = (count, since)
        if count >= OFTEN and self._away.get(subject, 0.0) <= now and not self._mirror.at_home(subject):
            self._homes_wanted.add(subject)
            self.wake()

    async def flush(self, *, heads: bool = False) -> None:
        """Everything that is recorded by now is in the shared store; `heads`: and signed. Raises StoreUnavailable."""
        if heads:
            await self._local.sign()
        elif self._shipping.shipped >= self._local.last:
            return
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._shipping.ship()
        except TimeoutError as error:
            raise StoreUnavailable("what was decided here could not be shipped in time") from error

    async def give_up(self, budget: str) -> bool:
        """What slices of a budget had left is in the shared ledger again; whether it was anything."""
        if not self.term.live:
            await self._renew()  # which gives back all of them
            return True
        async with self._renewing:
            if not await self.slices.give_up(budget):
                return False
            await self._shipping.ship()
            return True

    async def _pulse(self) -> None:
        while True:
            try:
                if not self.term.begun:
                    await self._renew()
                elif await self._pulses_once():
                    self.wake()
                self._tell("")
            except StoreUnavailable as error:
                self._tell(f"the shared store cannot be reached, nothing is decided here: {error}")
            except Exception:
                _log.exception("a pulse failed")
            with contextlib.suppress(StoreUnavailable):
                await self._pulses.heard(PULSE_SECONDS)
                continue
            await asyncio.sleep(PULSE_SECONDS)

    async def _pulses_once(self) -> bool:
        """Prolong the lease; whether others want something back. A lost lease ends the term."""
        if not await self.term.pulse(self._pulses):
            await self._renew()
        return bool(self.term.rows or self.term.subjects)

    async def _renew(self) -> None:
        """End what is left of a term, and begin another: everything is shipped, and nothing is allotted."""
        async with self._renewing:
            self.term.lose()
            # What was lost may have been lost with records that had arrived, as by a database that was set back.
            await self._shipping.look()
            await self._shipping.ship()
            self._open.clear()
            try:
                await self._local.settled()
                await self._shipping.ship()
                await self.term.begin(self._calls.call, self._clock.now())
                self.slices.begin_anew()
                await self._local.begin_anew()
            except BaseException:
                self.term.lose()
                raise
            finally:
                self._open.set()

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._turn()
                await self._shipping.ship()
            except StoreUnavailable as error:
                self._tell(f"what was decided here waits to be shipped: {error}")
                await asyncio.sleep(PULSE_SECONDS)
            except Exception:
                _log.exception("what was decided here could not be shipped")
                await asyncio.sleep(PULSE_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    async def _turn(self) -> None:
        """What belongs to this term, and must not end up in the next."""
        async with self._renewing:
            if self.decides:
                await self._leave_recalled()
                await self.slices.turn()
                await self._settle_wanted()

    async def _leave_recalled(self) -> None:
        subjects, self.term.subjects = self.term.subjects, ()
        if not subjects:
            return
        for each in subjects:
            self._mirror.leave(each)
            self._away[each] = self._monotonic() + AWAY_SECONDS
        # What is being decided of them ends, and is shipped, before others may decide.
        await self._local.settled()
        await self._shipping.ship()
        await self._calls.call("leave_homes", {"log": self._local.log, "subjects": list(subjects)})
        if len(self._away) >= MOST_SUBJECTS:
            self._away.clear()

    async def _settle_wanted(self) -> None:
        while self._homes_wanted and self.decides:
            chosen = [self._homes_wanted.pop() for _ in range(min(AT_ONCE, len(self._homes_wanted)))]
            payload = {"log": self._local.log, "subjects": chosen, "most": MOST_KEPT}
            answer = await self._calls.call("settle_homes", payload)
            for subject, kept in answer.items():
                self._mirror.settle(subject, None if kept is None else (tuple(each) for each in kept))

    def _tell(self, problem: str) -> None:
        """Log a trouble once, and its end."""
        if problem != self._told:
            if problem:
                _log.error("%s", problem)
            else:
                _log.info("the shared store is reached again")
            self._told = problem
