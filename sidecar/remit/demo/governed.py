"""The agents' powers with Remit.

What an agent reads and writes it asks Remit for, in SQL; what it passes on and decides it asks about before. What it
calls leaves through Remit's egress: the same clients as without Remit, whose variables name the egress now, and an HTTP
client that carries the workflow along. The egress decides, holds the keys, and meters what the answers say.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
import openai

import remit
from remit.demo.effects import DECISION, Done, Effects
from remit.demo.seam import Envelope, Found, Job, Learnt, NoAnswer, Refused

Noted = Callable[[str, str, str], None]
"""Told of every decision that the agent was answered: its id, ALLOW or DENY, and of a call's refusal what was said."""

DATASET = "crm"
FORBIDDEN = 403
_CHEAPER = re.compile(r"\bCheaper: ([a-z0-9-]+)\.")


class Governed:
    """Powers that Remit judges, meters and records."""

    def __init__(self, agent: remit.Agent, effects: Effects, noted: Noted, received: Learnt) -> None:
        self._agent = agent
        self._effects = effects
        self._noted = noted
        self._last = received.ref
        self.received = received

    async def query(self, statement: str, parameters: Mapping[str, str], *, why: str) -> Found:
        """What the agent's view shows; its labels join the session before a row is there."""
        with answered(self._noted):
            rows = await self._agent.query(
                statement, dataset=DATASET, parameters=parameters, reason=why, parent=self._last
            )
        self._follow(rows.decision.id)
        return Found.of(rows, rows.decision.id)

    async def write(self, name: str, parameters: Mapping[str, str], *, key: str, why: str) -> None:
        """Written once for each key."""
        with answered(self._noted):
            done = await self._agent.execute(
                name, dataset=DATASET, parameters=parameters, key=key, reason=why, parent=self._last
            )
        # Not followed: the same write once more must have the same parent.
        self._noted(done.decision.id, "ALLOW", "")

    async def ask(self, variant: str, prompt: str, *, why: str) -> Learnt:
        """What the model says."""
        done = await self._called(self._effects.complete(variant, prompt, self._parent()), why)
        return Learnt({"text": done.text}, done.decision)

    async def send(self, to: str, subject: str, text: str, *, why: str) -> Learnt:
        """Send an e-mail."""
        done = await self._called(self._effects.mail(to, subject, text, self._parent()), why)
        return Learnt({}, done.decision)

    async def decide(self, summary: str, details: Mapping[str, Any], *, why: str, knowing: Sequence[str]) -> Learnt:
        """Have it recorded: what was decided, why, and what was known."""
        with answered(self._noted):
            decision = await self._agent.record(
                summary, reason=why, arguments=details, inputs=list(knowing), parent=self._last
            )
        self._follow(decision.id)
        return Learnt({}, decision.id)

    async def pass_on(self, to: str, text: str, *, why: str) -> Envelope:
        """A message with a passport: every label of this session travels with it."""
        with answered(self._noted):
            passport = await self._agent.handoff(to, message=text, reason=why, parent=self._last)
        return Envelope(to, text, passport)

    def _parent(self) -> dict[str, str]:
        return {"Remit-Parent": self._last} if self._last else {}

    async def _called(self, call: Awaitable[Done], why: str) -> Done:
        """A call that leaves through the egress; its workflow, purpose and reason go along."""
        with remit.workflow(reason=why), called(self._noted):
            done = await call
        self._follow(done.decision)
        return done

    def _follow(self, decision: str) -> None:
        """What comes next comes of this."""
        self._noted(decision, "ALLOW", "")
        self._last = decision


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
        self._noted(accepted.decision.id, accepted.decision.effect.value, "")
        with remit.workflow(context=accepted):
            received = Learnt({"text": job.envelope.text}, accepted.decision.id)
            yield Governed(self._agent, self._effects, self._noted, received)


@contextmanager
def answered(noted: Noted) -> Iterator[None]:
    """The SDK's errors as the seam's; a refusal is an answer, and noted as such."""
    try:
        yield
    except remit.Denied as denied:
        noted(denied.decision.id, denied.decision.effect.value, "")
        raise Refused(denied.codes, denied.cheaper, str(denied)) from denied
    except remit.Unavailable as nobody:
        raise NoAnswer(str(nobody)) from nobody


@contextmanager
def called(noted: Noted) -> Iterator[None]:
    """The clients' own errors as the seam's: 403 is an answer, no answer and 5xx are none."""
    try:
        yield
    except openai.PermissionDeniedError as denied:
        raise refused(denied, denied.response, noted) from denied
    except httpx2.HTTPStatusError as denied:
        if denied.response.status_code != FORBIDDEN:
            raise NoAnswer(str(denied)) from denied
        raise refused(denied, denied.response, noted) from denied
    except (openai.APIConnectionError, openai.InternalServerError, httpx2.TransportError) as nobody:
        raise NoAnswer(str(nobody)) from nobody


def refused(error: Exception, response: httpx2.Response, noted: Noted) -> Refused:
    """What the egress's refusal says: code and message stand where the API's own errors have them."""
    told = response.json()["error"]
    message = str(told["message"])
    noted(response.headers.get(DECISION, ""), "DENY", f"{type(error).__name__}: {message}")
    cheaper = _CHEAPER.search(message)
    return Refused([str(told["code"])], cheaper[1] if cheaper else "", message)
