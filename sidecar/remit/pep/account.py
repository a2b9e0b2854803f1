"""What an answer told, and of whom: recorded before the rows go out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from remit.core.answer import Answer
from remit.core.model import Subject
from remit.core.view.model import Cell
from remit.pep.seen import Seen
from remit.pep.world import SECOND, World
from remit.pep.write import Entry, must_write
from remit.ports import FactsQuery, Reading


class Account:
    """What an answer told, and its records: before each batch of whom it is, and with the last one, all of it."""

    def __init__(self, world: World, subject: Subject, dataset: str, *, answer: Answer, hidden: Sequence[str]) -> None:
        self._world = world
        self._subject = subject
        self._dataset = dataset
        self._answer = answer
        self._seen = Seen(answer.id, dataset, hidden, world.hmac)
        self._closed = False
        self._looked = world.clock.now()
        self.rows = 0
        self.bytes = 0
        self.truncated = False
        self.failure = "left"  # until it has ended otherwise

    async def told(self, reading: Reading) -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
        """The rows as the agent gets them. The last batch is known as such before it goes out."""
        self._seen.reached(reading.subjects)
        async with aclosing(reading.batches()) as batches:
            waiting = await anext(batches, None)
            while waiting is not None:
                following = await anext(batches, None)
                if await self._halted():
                    self.failure = "halted"
                    return
                rows = self._seen.strip(waiting)
                self.rows += len(rows)
                if following is None:
                    self._end(reading)
                    await self.close()
                else:
                    await self._record_subjects()
                yield rows
                waiting = following
        if not self._closed:
            self._end(reading)

    def _end(self, reading: Reading) -> None:
        self.truncated, self.bytes, self.failure = reading.truncated, reading.bytes, ""

    async def close(self) -> None:
        """The record of how it ended, once."""
        if self._closed:
            return
        self._closed = True
        body = {
            "dataset": self._dataset,
            "rows": self.rows,
            "bytes": self.bytes,
            "truncated": self.truncated,
            "failure": self.failure,
            "subjects": self._seen.counts,
        }
        await self._write("answer", body)
        self._world.observer.view_answered(self._subject.id, self._dataset, self.rows)

    async def _record_subjects(self) -> None:
        effects = self._seen.effects()
        if effects:
            await must_write(self._world, self._entry("subjects", {"dataset": self._dataset}), effects)

    async def _write(self, kind: str, body: Mapping[str, Any]) -> None:
        await must_write(self._world, self._entry(kind, body), self._seen.effects())

    def _entry(self, kind: str, body: Mapping[str, Any]) -> Entry:
        return Entry(kind, self._subject.id, body, ref=self._answer.id)

    async def _halted(self) -> bool:
        """Whether a halt covers the caller; looked at twice a second, so that a long answer ends soon."""
        now = self._world.clock.now()
        if now - self._looked < SECOND // 2:
            return False
        self._looked = now
        stored = await self._world.store.facts(FactsQuery(self._subject.id, self._subject.isolation, "", "", ()))
        return self._subject.type == "agent" and bool(stored.halts)
