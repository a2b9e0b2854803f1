"""What an agent of the demo can do, written down once, so that the same agents run without Remit and with it.

`straight.py` does these things; `governed.py` asks Remit first. The agents know nothing but this page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self


class Refused(Exception):
    """The answer is no. `codes` say why, `cheaper` names a variant that may be used instead ("" for none)."""

    def __init__(self, codes: Sequence[str], cheaper: str, message: str) -> None:
        super().__init__(message)
        self.codes = tuple(codes)
        self.cheaper = cheaper


class NoAnswer(Exception):
    """Nobody answered whether it may be done, so it is not done."""


class NoRow(Exception):
    """A question that must have an answer found no row."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What an action brought; `ref` is the decision that allowed it, "" where nobody decides."""

    values: Mapping[str, str]
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a database, their values as text ("" for NULL); `ref` as that of `Learnt`."""

    rows: Sequence[Mapping[str, str]]
    ref: str = ""

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], ref: str = "") -> Self:
        """Rows as a database gave them."""
        return cls([{name: "" if value is None else str(value) for name, value in row.items()} for row in rows], ref)

    @property
    def first(self) -> Mapping[str, str]:
        """The first row; NoRow where there is none."""
        if not self.rows:
            raise NoRow("no row where one was expected")
        return self.rows[0]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message from one agent to another, with the passport that it travels on ("" where there are none)."""

    to: str
    text: str
    passport: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What an agent is given to do. A first job names its `workflow`; one that came from an agent has an envelope."""

    kind: str
    customer: str = ""
    workflow: str = ""
    envelope: Envelope | None = None
    count: int = 0

    def document(self) -> dict[str, Any]:
        """The job as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`."""
        envelope = document.get("envelope")
        return cls(**{**document, "envelope": Envelope(**envelope) if envelope else None})


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job: a message for the next agent, or an end and its figures."""

    envelope: Envelope | None = None
    end: Mapping[str, Any] = field(default_factory=dict)


class Powers(Protocol):
    """What an agent can do within one job. All may raise Refused or NoAnswer."""

    received: Learnt
    """The message that brought the job (`text`), where one did."""

    async def query(self, statement: str, parameters: Mapping[str, str], *, why: str) -> Found:
        """What the customers' database answers to a SELECT with `:name` places."""
        ...

    async def write(self, name: str, parameters: Mapping[str, str], *, key: str, why: str) -> None:
        """Write by a statement that has a name. With the same key it is meant to be the same write."""
        ...

    async def ask(self, variant: str, prompt: str, *, why: str) -> Learnt:
        """What the model of that variant says (`text`)."""
        ...

    async def send(self, to: str, subject: str, text: str, *, why: str) -> Learnt:
        """Send an e-mail."""
        ...

    async def decide(self, summary: str, details: Mapping[str, Any], *, why: str, knowing: Sequence[str]) -> Learnt:
        """Say what was decided, why, and on which findings (their refs)."""
        ...

    async def pass_on(self, to: str, text: str, *, why: str) -> Envelope:
        """A message for another agent."""
        ...


class Seam(Protocol):
    """Where an agent's powers come from."""

    def powers(self, job: Job) -> AbstractAsyncContextManager[Powers]:
        """The powers for one job; its envelope is accepted on entering."""
        ...
