"""The one place where the pipeline writes: a record with its effects, in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.core.canonical import canonical
from remit.core.effect import Commit, Committed, Effect, JoinApproval, MoveApproval, OpenApproval, Record, Refused
from remit.core.errors import StoreUnavailable
from remit.core.model import Versions
from remit.pep.world import World

APPROVING = (OpenApproval, JoinApproval, MoveApproval)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded; `ref` names the record that it speaks of.

    `filed_in` is the workflow that it is found in, where it is not decided in it ("": in `workflow`)."""

    kind: str
    subject: str
    body: Mapping[str, Any]
    workflow: str = ""
    parent: str = ""
    ref: str = ""
    id: str = ""  # "" for a new one
    time: int = 0  # 0 for now
    action: str = ""  # what was decided on
    filed_in: str = ""


async def write(
    world: World, entry: Entry, effects: tuple[Effect, ...] = (), versions: Versions | None = None
) -> tuple[str, Committed | Refused]:
    """The record's id, and what the store says. Raises StoreUnavailable; IllegalTransition from effects."""
    record = Record(
        kind=entry.kind,
        id=entry.id or world.ids.new("r"),
        time=entry.time or world.clock.now(),
        subject=entry.subject,
        workflow=entry.filed_in or entry.workflow,
        parent=entry.parent,
        ref=entry.ref,
        body=canonical(entry.body),
        salt=world.ids.salt(),
    )
    commit = Commit(record, effects, versions, subject=entry.subject, workflow=entry.workflow, action=entry.action)
    outcome = await world.store.commit(commit)
    if isinstance(outcome, Committed) and any(isinstance(each, APPROVING) for each in effects):
        world.changes.tell()
    return record.id, outcome


async def must_write(world: World, entry: Entry, effects: tuple[Effect, ...] = ()) -> tuple[str, Committed]:
    """As `write`, where nothing can refuse."""
    id, outcome = await write(world, entry, effects)
    if isinstance(outcome, Refused):
        raise StoreUnavailable(f"a {entry.kind} was refused: {outcome.reason} {outcome.name}")
    return id, outcome
