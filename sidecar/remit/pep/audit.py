"""What was decided: an agent sees its own, people with the role auditor or operator see all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from remit.core.errors import Forbidden, NotFound
from remit.core.journal import Verification
from remit.core.model import Subject
from remit.pep.workflow import workflow_id
from remit.pep.world import World
from remit.ports import JournalRow

READERS = frozenset({"auditor", "operator"})


async def decision(world: World, subject: Subject, id: str) -> tuple[JournalRow, Sequence[JournalRow]]:
    """A decision's record and those that speak of it. Raises NotFound, also for what is not the caller's."""
    row = await world.store.record(id)
    if row is None or not await _may_read(world, subject, row):
        raise NotFound(f"no decision {id[:64]!r} that {subject.id} may see")
    return row, await world.store.about(id)


async def trace(world: World, subject: Subject, named: str, limit: int) -> Sequence[JournalRow]:
    """A workflow's records in order, named by its context or id."""
    id = workflow_id(world, named)
    state = await world.store.workflow(id)
    if state is None or not (_reads_all(subject) or subject.id in (state.opener, *state.agents)):
        raise NotFound(f"no workflow {id[:64]!r} that {subject.id} may see")
    return await world.store.trace(id, limit)


async def verify(subject: Subject, check: Callable[[], Awaitable[Verification]]) -> Verification:
    """Check the whole journal: it may take a while. For readers alone. Raises Forbidden."""
    if not _reads_all(subject):
        raise Forbidden(f"only people with the role {' or '.join(sorted(READERS))} verify the journal")
    return await check()


async def _may_read(world: World, subject: Subject, row: JournalRow) -> bool:
    if _reads_all(subject) or row.record.subject == subject.id:
        return True
    state = await world.store.workflow(row.record.workflow) if row.record.workflow else None
    return state is not None and subject.id in (state.opener, *state.agents)


def _reads_all(subject: Subject) -> bool:
    return subject.type == "person" and not READERS.isdisjoint(subject.roles)
