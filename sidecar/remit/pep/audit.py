"""What was decided: an agent sees its own, people with the role auditor or operator see all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from remit.core.canonical import MAX_DEPTH, canonical, parse
from remit.core.catalogue import Catalogue
from remit.core.errors import Forbidden, NotFound
from remit.core.journal import Verification, together
from remit.core.model import Subject
from remit.core.view.subjects import subject_hash, table_name
from remit.pep.workflow import workflow_id
from remit.pep.world import World
from remit.ports import JournalRow, Sighting, WorkflowState

READERS = frozenset({"auditor", "operator"})
_OTHERS = frozenset({"budgets", "claims", "acts"})
"""Facts of a record that may be about others."""

_DEEPEST = 2 * MAX_DEPTH
"""A record's body is around arguments that may be as deep as any."""

SHOWN = 20
"""How many tables are named where another one was meant."""


async def decision(world: World, subject: Subject, id: str) -> tuple[JournalRow, Sequence[JournalRow]]:
    """A decision's record and those that speak of it. Raises NotFound, also for what is not the caller's."""
    row = await world.store.record(id)
    if row is None or not await _may_read(world, subject, row):
        raise NotFound(f"no decision {id[:64]!r} that {subject.id} may see")
    return _told(subject, row), [_told(subject, each) for each in await world.store.about(id)]


async def trace(world: World, subject: Subject, named: str, limit: int) -> Sequence[JournalRow]:
    """A workflow's records in order, named by its context or id."""
    id = workflow_id(world, named)
    state = await world.store.workflow(id)
    if state is None or not (_reads_all(subject) or subject.id in (state.opener, *state.agents)):
        raise NotFound(f"no workflow {id[:64]!r} that {subject.id} may see")
    return [_told(subject, each) for each in await world.store.trace(id, limit)]


async def who(world: World, subject: Subject, dataset: str, table: str, key: str, *, limit: int) -> Sequence[Sighting]:
    """Decisions whose answers told of whoever has this key in a table, the newest first. For readers alone.

    The key is hashed as it was when it was recorded. Without a dataset it is the only one that has such a table. What
    is no longer in the catalogue is still found under its full name. Raises Forbidden; NotFound where nothing was
    recorded, of a table whose subjects are not.
    """
    if not _reads_all(subject):
        wanted = " or ".join(sorted(READERS))
        raise Forbidden(f"only people with the role {wanted} see who saw whom; {subject.id} has neither")
    recorded = _recorded(world.catalogue)
    if not dataset:
        dataset = _only(recorded, table)
    name = table_name(dataset, table)
    found = await world.store.sightings(name, subject_hash(dataset, table, key, world.hmac), limit)
    if not found and (dataset, table) not in recorded:
        raise _unrecorded(name, [table_name(*each) for each in recorded])
    return found


def _recorded(catalogue: Catalogue) -> list[tuple[str, str]]:
    """The tables that name a subject's key: (dataset, table)."""
    return sorted(
        (name, table)
        for name, dataset in catalogue.datasets.items()
        for table, each in dataset.tables.items()
        if each.subject_key
    )


def _only(recorded: Sequence[tuple[str, str]], table: str) -> str:
    found = [dataset for dataset, each in recorded if each == table]
    if len(found) > 1:
        raise NotFound(f"{table[:128]} is a table of {', '.join(found[:SHOWN])}: name the dataset too")
    if not found:
        raise _unrecorded(table, [each for _, each in recorded])
    return found[0]


def _unrecorded(name: str, known: Sequence[str]) -> NotFound:
    """Silence would be taken for nobody."""
    near = get_close_matches(name, known, n=1, cutoff=0.8)
    meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known[:SHOWN]) or 'none'}"
    return NotFound(f"no table {name[:128]} whose subjects are recorded: {meant}")


async def verify(world: World, subject: Subject) -> Verification:
    """Check the whole journal, every log of it: it may take a while. For readers alone. Raises Forbidden."""
    _must_read_all(subject, "verify the journal")
    return together(await world.store.verify())


async def workflows(world: World, subject: Subject, before: str, limit: int) -> Sequence[WorkflowState]:
    """Workflows with a lower id than `before` ("" for none), the newest first. For readers alone. Raises Forbidden."""
    _must_read_all(subject, "see every workflow")
    return await world.store.workflows(before, limit)


async def latest(world: World, subject: Subject, before: int, limit: int) -> Sequence[JournalRow]:
    """Decisions before a time in ns (0 for now), the newest first. For readers alone. Raises Forbidden."""
    _must_read_all(subject, "see every decision")
    return await world.store.latest(before, limit)


def _must_read_all(subject: Subject, what: str) -> None:
    if not _reads_all(subject):
        raise Forbidden(f"only people with the role {' or '.join(sorted(READERS))} {what}")


async def _may_read(world: World, subject: Subject, row: JournalRow) -> bool:
    if _reads_all(subject) or row.record.subject == subject.id:
        return True
    state = await world.store.workflow(row.record.workflow) if row.record.workflow else None
    return state is not None and subject.id in (state.opener, *state.agents)


def _told(subject: Subject, row: JournalRow) -> JournalRow:
    """The record as the caller may see it: an agent without what is left of a budget that it shares, who holds a claim,
    and who did what before it. So readers alone can check it against its hash."""
    if _reads_all(subject) or row.erased or row.record.kind != "decision":
        return row
    body = parse(row.record.body, len(row.record.body), _DEEPEST)
    facts = body["facts"]
    if not _OTHERS & facts.keys():
        return row
    facts["budgets"] = [each for each in facts.get("budgets", ()) if each["scope"] == subject.id]
    body["facts"] = {name: value for name, value in facts.items() if name not in ("claims", "acts")}
    return replace(row, record=replace(row.record, body=canonical(body)))


def _reads_all(subject: Subject) -> bool:
    return subject.type == "person" and not READERS.isdisjoint(subject.roles)
