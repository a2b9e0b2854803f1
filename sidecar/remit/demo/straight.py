"""The agents' powers without Remit: everything is simply done, the database opened with the path in `CRM_DATABASE`."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

from remit.demo.effects import Effects
from remit.demo.seam import Envelope, Found, Job, Learnt

WRITES = {"count_letter": "UPDATE customers SET letters = letters + 1 WHERE email = :email"}


class Straight:
    """Powers that nobody judges, meters or records."""

    def __init__(self, database: str, effects: Effects, received: Learnt) -> None:
        self._database = database
        self._effects = effects
        self.received = received

    async def query(self, statement: str, parameters: Mapping[str, str], *, why: str) -> Found:
        """Whatever the database holds."""
        with closing(sqlite3.connect(self._database)) as database:
            database.row_factory = sqlite3.Row
            return Found.of(dict(row) for row in database.execute(statement, parameters))

    async def write(self, name: str, parameters: Mapping[str, str], *, key: str, why: str) -> None:
        """Written each time; nobody knows the key."""
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute(WRITES[name], parameters)

    async def ask(self, variant: str, prompt: str, *, why: str) -> Learnt:
        """What the model says."""
        return Learnt({"text": (await self._effects.complete(variant, prompt, {})).text})

    async def send(self, to: str, subject: str, text: str, *, why: str) -> Learnt:
        """Send an e-mail."""
        await self._effects.mail(to, subject, text, {})
        return Learnt({})

    async def decide(self, summary: str, details: Mapping[str, Any], *, why: str, knowing: Sequence[str]) -> Learnt:
        """Nobody takes it down."""
        return Learnt({})

    async def pass_on(self, to: str, text: str, *, why: str) -> Envelope:
        """A message for another agent, with nothing on it."""
        return Envelope(to, text)


class StraightSeam:
    """Powers for a job, as they are where nothing stands between an agent and the world."""

    def __init__(self, database: str, effects: Effects) -> None:
        self._database = database
        self._effects = effects

    @asynccontextmanager
    async def powers(self, job: Job) -> AsyncIterator[Straight]:
        """The powers for one job."""
        received = Learnt({"text": job.envelope.text} if job.envelope else {})
        yield Straight(self._database, self._effects, received)
