"""The agents' powers without Remit: everything is simply done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from remit.demo.effects import Effects
from remit.demo.seam import Envelope, Job, Learnt


class Straight:
    """Powers that nobody judges, meters or records."""

    def __init__(self, effects: Effects, received: Learnt) -> None:
        self._effects = effects
        self.received = received

    async def read(self, customer: str, columns: Sequence[str], *, why: str) -> Learnt:
        """Named columns of a customer."""
        return Learnt(self._effects.read(customer, columns))

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

    def __init__(self, effects: Effects) -> None:
        self._effects = effects

    @asynccontextmanager
    async def powers(self, job: Job) -> AsyncIterator[Straight]:
        """The powers for one job."""
        yield Straight(self._effects, Learnt({"text": job.envelope.text} if job.envelope else {}))
