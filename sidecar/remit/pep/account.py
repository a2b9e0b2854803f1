"""What an answer told, and of whom: recorded before the rows go out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from remit.core.effect import SeeSubjects
from remit.core.model import Request
from remit.pep.reading import Batch, ReadAhead
from remit.pep.seen import Seen
from remit.pep.world import SECOND, World
from remit.pep.write import Entry, must_write
from remit.ports import FactsQuery, Failure

LEFT, HALTED = "left", "halted"
LOOK_SECONDS = 0.5  # between looks at the halts
WRONG_FOR_ALL = frozenset({Failure.NOT_FIT, Failure.UNAVAILABLE})
"""What a database says to a reading that ends so is about itself, and holds no data: it may be logged."""

_log = logging.getLogger("remit")


class Account:
    """One answer and its records: with its decision where it is there by then; else before each batch of whom that
    is, and with the last one all of it."""

    def __init__(
        self, world: World, request: Request, *, decision: str, hidden: Sequence[str], reading: ReadAhead
    ) -> None:
        self._world = world
        self._subject, self._workflow = request.subject, request.context.workflow
        self._dataset = dataset = request.resource.id
        self._decision = decision
        self._reading = reading
        self._seen = Seen(decision, dataset, hidden, world.hmac)
        self._whole: Batch | None = None
        self._recorded = False
        self._looked = world.clock.now()
        self.rows = 0
        self.bytes = 0
        self.truncated = False
        self.failure = LEFT  # until it has ended otherwise

    async def begin(self) -> tuple[Mapping[str, Any], tuple[SeeSubjects, ...]] | None:
        """What is to be recorded with the decision, where the whole answer is there in time."""
        if not await self._reading.head_start():
            return None
        batch = await self._reading.next()
        if batch is not None:
            await self._reading.next()  # the end; raises where it is none
        self._reached()
        self._whole = self._told_of(batch) if batch is not None and self._reading.failure is None else ()
        self._end()
        self._recorded = True
        return self._body(), self._seen.effects()

    @property
    def whole(self) -> bool:
        """Whether the whole answer was there when its decision was recorded."""
        return self._whole is not None

    async def told(self) -> AsyncGenerator[Batch, None]:
        """The rows as the agent gets them. The last batch is known as such before it goes out."""
        if self._whole is not None:
            if self._whole:
                yield self._whole
            return
        self._reached()
        waiting = await self._next()
        while waiting is not None:
            following = await self._next()
            if self._reading.failure is not None or self.failure == HALTED:
                break
            rows = self._told_of(waiting)
            if following is None:
                self._end()
                await self._record()
            else:
                await self._record_subjects()
            yield rows
            waiting = following
        if self.failure != HALTED:
            self._end()

    async def close(self) -> None:
        """End the reading, and record how it ended if that is not recorded yet."""
        await self._reading.close()
        await self._record()
        self._world.observer.view_answered(self._subject.id, self._dataset, self.rows)
        if self._reading.failure is not None:
            # What the database says may hold data: the class and code alone are logged, but for what is wrong for all.
            said = f": {self._reading.detail}" if self._reading.failure in WRONG_FOR_ALL else ""
            _log.warning("dataset %s: %s (%s)%s", self._dataset, self._reading.told, self._decision, said)

    async def _next(self) -> Batch | None:
        """The next rows; None at the end, which a halt brings too, also while the database is still at work."""
        taken = asyncio.ensure_future(self._reading.next())
        try:
            while True:
                await asyncio.wait({taken}, timeout=LOOK_SECONDS)
                if await self._halted():
                    self.failure = HALTED
                    return None
                if taken.done():
                    return taken.result()
        finally:
            taken.cancel()

    def _reached(self) -> None:
        self._seen.reached(self._reading.subjects)

    def _told_of(self, batch: Batch) -> Batch:
        rows = self._seen.strip(batch)
        self.rows += len(rows)
        return rows

    def _end(self) -> None:
        self.truncated, self.bytes = self._reading.truncated, self._reading.bytes
        self.failure = self._reading.failure.value if self._reading.failure else ""

    def _body(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "truncated": self.truncated,
            "failure": self.failure,
            "subjects": self._seen.counts,
        }

    async def _record(self) -> None:
        if not self._recorded:
            self._recorded = True
            body = {"dataset": self._dataset, **self._body()}
            await must_write(self._world, self._entry("answer", body), self._seen.effects())

    async def _record_subjects(self) -> None:
        effects = self._seen.effects()
        if effects:
            await must_write(self._world, self._entry("subjects", {"dataset": self._dataset}), effects)

    def _entry(self, kind: str, body: Mapping[str, Any]) -> Entry:
        return Entry(kind, self._subject.id, body, workflow=self._workflow, ref=self._decision)

    async def _halted(self) -> bool:
        """Whether a halt covers the caller; not looked at more often than is needed to end a long answer soon."""
        now = self._world.clock.now()
        if now - self._looked < int(LOOK_SECONDS * SECOND):
            return False
        self._looked = now
        stored = await self._world.store.facts(FactsQuery(self._subject.id, self._subject.isolation, "", "", ()))
        return self._subject.type == "agent" and bool(stored.halts)
