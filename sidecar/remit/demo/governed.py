"""The agents' powers with Remit: each is asked for before, done, and reported after.

The calls themselves are still the agent's own: it could leave Remit out, as long as nothing else brokers its way
to the APIs. That is why the catalogue says `metering: agent` of the services.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import remit
from remit.demo.effects import MAX_TOKENS, Effects
from remit.demo.seam import Envelope, Job, Learnt, NoAnswer, Refused

Noted = Callable[[remit.Decision], None]
"""Told of every decision that the agent was answered."""

PER_CALL = "screen"
"""The model API's variant that is priced by the call, not by tokens."""


class Governed:
    """Powers that Remit judges, meters and records."""

    def __init__(self, agent: remit.Agent, effects: Effects, noted: Noted, received: Learnt) -> None:
        self._agent = agent
        self._effects = effects
        self._noted = noted
        self._last = received.ref
        self.received = received

    async def read(self, customer: str, columns: Sequence[str], *, why: str) -> Learnt:
        """Named columns of a customer; their labels join the session before a byte is read."""
        fields = [f"customers.{column}" for column in columns]
        async with self._acting("data.read", "dataset:crm", fields=fields, reason=why) as act:
            return Learnt(self._effects.read(customer, columns), act.decision.id)

    async def ask(self, variant: str, prompt: str, *, why: str) -> Learnt:
        """What the model says; the most that it may cost is set aside first, what it cost is settled after."""
        most = {} if variant == PER_CALL else {"input_token": len(prompt.encode()), "output_token": MAX_TOKENS}
        call = self._acting("api.call", "service:models", operation="chat", variant=variant, usage=most, reason=why)
        async with call as act:
            said = await self._effects.complete(variant, prompt, act.decision.id)
            if most:
                act.used(input_token=said.read, output_token=said.written)
            return Learnt({"text": said.text}, act.decision.id)

    async def send(self, to: str, subject: str, text: str, *, why: str) -> Learnt:
        """Send an e-mail."""
        async with self._acting("message.send", "service:mail", operation="messages", reason=why) as act:
            await self._effects.mail(to, subject, text, act.decision.id)
            return Learnt({}, act.decision.id)

    async def decide(self, summary: str, details: Mapping[str, Any], *, why: str, knowing: Sequence[str]) -> Learnt:
        """Have it recorded: what was decided, why, and what was known."""
        with answered(self._noted):
            decision = await self._agent.record(
                summary, reason=why, arguments=details, inputs=list(knowing), parent=self._last
            )
        self._follow(decision)
        return Learnt({}, decision.id)

    async def pass_on(self, to: str, text: str, *, why: str) -> Envelope:
        """A message with a passport: every label of this session travels with it."""
        with answered(self._noted):
            passport = await self._agent.handoff(to, message=text, reason=why, parent=self._last)
        return Envelope(to, text, passport)

    @asynccontextmanager
    async def _acting(self, action: str, resource: str, **ask: Any) -> AsyncIterator[remit.Action]:
        with answered(self._noted):
            async with self._agent.action(action, resource, parent=self._last, **ask) as act:
                self._follow(act.decision)
                yield act

    def _follow(self, decision: remit.Decision) -> None:
        """What comes next comes of this."""
        self._noted(decision)
        self._last = decision.id


class GovernedSeam:
    """Powers for a job, within its workflow; accepting a message joins what its sender knew."""

    def __init__(self, agent: remit.Agent, effects: Effects, noted: Noted) -> None:
        self._agent = agent
        self._effects = effects
        self._noted = noted

    @asynccontextmanager
    async def powers(self, job: Job) -> AsyncIterator[Governed]:
        """The powers for one job."""
        if job.envelope is None:
            with remit.workflow(context=job.workflow):
                yield Governed(self._agent, self._effects, self._noted, Learnt({}))
            return
        with answered(self._noted):
            accepted = await self._agent.accept(job.envelope.passport, message=job.envelope.text)
        self._noted(accepted.decision)
        with remit.workflow(context=accepted):
            received = Learnt({"text": job.envelope.text}, accepted.decision.id)
            yield Governed(self._agent, self._effects, self._noted, received)


@contextmanager
def answered(noted: Noted) -> Iterator[None]:
    """The SDK's errors as the seam's; a refusal is an answer, and noted as such."""
    try:
        yield
    except remit.Denied as denied:
        noted(denied.decision)
        raise Refused(denied.codes, denied.cheaper, str(denied)) from denied
    except remit.Unavailable as nobody:
        raise NoAnswer(str(nobody)) from nobody
