"""Claims: an exclusive lease on a thing, by one agent in one workflow, with a fencing token.

A thing is anything that has a name: a resource of the catalogue, all of it or one object in it, or an object of the
agents' own (`object`). Each taking of a thing gets a higher token than the one before, so that whoever comes late with
an old one is told from whoever holds it now, also by systems that only compare numbers. Renewing keeps the token.
"""

from __future__ import annotations

from dataclasses import dataclass

from remit.core.canonical import canonical

MOST_CLAIMS = 100
"""Things that one agent may hold at a time."""

LONGEST_CLAIM_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease. `subject` "" means that nobody holds it now: `token` is the last one. `expires` in ns."""

    key: str
    subject: str
    workflow: str
    token: int
    expires: int
    time: int = 0

    def held(self, now: int) -> bool:
        """Whether somebody holds it."""
        return bool(self.subject) and self.expires > now

    def held_by_another(self, subject: str, workflow: str, now: int) -> bool:
        """Whether somebody else does: another agent, or the same in another run."""
        return self.held(now) and (self.subject, self.workflow) != (subject, workflow)


@dataclass(frozen=True, slots=True)
class Act:
    """What an agent did to an object in a workflow; `time` in ns."""

    subject: str
    operation: str
    decision: str
    time: int


def thing(type: str, id: str, within: str = "") -> str:
    """The key of a thing: a resource, or one object within it. A tool is listed among the services."""
    return canonical(["service" if type == "tool" else type, id, within]).decode()


def things(type: str, id: str, within: str = "") -> tuple[str, ...]:
    """What an action on a thing touches: all of the resource, and the object in it where one is named."""
    whole = thing(type, id)
    return (whole, thing(type, id, within)) if within else (whole,)
