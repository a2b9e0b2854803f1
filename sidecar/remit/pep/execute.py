"""Writes: a statement that the catalogue names, judged as data.write, paid for, and performed once.

The decision comes first and is durable. The write's transaction holds the decision's id, so that whoever asks again
with the same key gets what was done. If it was not done, it is done now, where it would be permitted now: a permission
that nothing came of is no provision for times when policy says otherwise. An outcome that nobody saw is looked up in
the database, never assumed. What is known not to have happened costs nothing, and stays so: the same key gets the
same failure. What cannot be known stays held, and lapses as spent until it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

import orjson

from remit.core.answer import Answer
from remit.core.call import Call
from remit.core.catalogue import Catalogue
from remit.core.dataset import Dataset, NamedStatement
from remit.core.effect import EndReservation
from remit.core.errors import IllegalTransition
from remit.core.model import ActionName, Resource, Subject
from remit.core.query import ExecuteCall, Executed
from remit.core.reason import Reason
from remit.core.view.fits import TOKENISED, fits
from remit.core.view.model import Cell
from remit.pep.datasets import arguments_of, limits_of
from remit.pep.decide import Gate, Permitted, Point, Way, decide, no_way
from remit.pep.world import World
from remit.pep.write import Entry, must_write
from remit.ports import Database, DatabaseFailed, Failure, Limits, NotPerformed, Tokenizer, Write, Written

UNKNOWN = frozenset({Failure.UNAVAILABLE, Failure.INTERNAL})
"""After these nobody knows whether the write happened: its money stays held."""

BEFORE_LOOKING = frozenset({Failure.TIMED_OUT, Failure.NOT_FIT})
"""These may come before the database has looked whether an execution was done: they say nothing of an earlier try."""

_log = logging.getLogger("remit")


@dataclass(slots=True)
class _Chosen:
    """What the gate found of the last time that the decision was made."""

    database: Database | None = None
    statement: NamedStatement | None = None
    labels: tuple[str, ...] = ()
    limits: Limits | None = None
    parameters: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A write that may be done, and by which statement."""

    database: Database
    labels: tuple[str, ...]
    cost: int
    write: Write


class Executions:
    """Performs writes; of one decision, one at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def execute(self, subject: Subject, call: ExecuteCall) -> Executed:
        """Decide, perform, record. Raises StoreUnavailable."""
        chosen = _Chosen()
        answer = await self._decided(subject, call, chosen)
        if not answer.permits:
            return Executed(answer)
        running = self._running.setdefault(answer.id, asyncio.Lock())
        # A twin may have come from the same decision to this point first.
        tried = answer.replayed or running.locked()
        async with running:
            return await self._once(subject, call, chosen, answer, tried=tried)

    async def _decided(self, subject: Subject, call: ExecuteCall, chosen: _Chosen) -> Answer:
        resource = Resource("dataset", call.dataset, operation=call.statement)
        claimed = replace(call.claimed, arguments=arguments_of(call.parameters))
        asked = Call("Execute", ActionName.DATA_WRITE, resource, claimed, key=call.key, digest=call.digest)
        point = Point(gate=_gate(self._world, call, chosen))
        return (await decide(self._world, subject, asked, point=point)).answer

    async def _once(
        self, subject: Subject, call: ExecuteCall, chosen: _Chosen, answer: Answer, *, tried: bool
    ) -> Executed:
        if tried:
            failure = await _failed_before(self._world, answer)
            if failure:
                return Executed(answer, failure=failure, replayed=True)
        ready = _ready(self._world, call, chosen, answer)
        if ready is None:
            return Executed(answer, failure=Failure.UNAVAILABLE.value)
        if tried:
            looked_up = await self._looked_up(subject, ready, call, answer)
            if looked_up is not None:
                return looked_up
        return await _perform(self._world, subject, ready, call=call, answer=answer, tried=tried)

    async def _looked_up(self, subject: Subject, ready: _Ready, call: ExecuteCall, answer: Answer) -> Executed | None:
        """What was done before, or why it may not be done now; None where it is to be done."""
        only = replace(ready, write=replace(ready.write, perform=False))
        try:
            return await _told(self._world, subject, only, call=call, answer=answer)
        except NotPerformed:
            pass
        except DatabaseFailed:
            return None  # what is wrong shows when it is performed
        again = await self._decided(subject, replace(call, key=""), _Chosen())
        if not again.permits:
            return None if await _lacks_room_alone(self._world, again, answer) else Executed(again)
        # The permission to go by is the first one, and what is set aside for it is enough.
        body = {"dataset": call.dataset, "statement": call.statement, "performed_as": answer.id}
        await _end(self._world, subject, again, body, how="voided")
        return None


async def _lacks_room_alone(world: World, again: Answer, first: Answer) -> bool:
    """Whether only a second time's money is missing: the first one's is still set aside."""
    if any(each.code != Reason.BUDGET_EXHAUSTED for each in again.reasons):
        return False
    reservation = await world.store.reservation(first.id)
    return reservation is not None and reservation.state == "held"


async def _failed_before(world: World, answer: Answer) -> str:
    """How the write ended for good without being done, "" where it did not."""
    reservation = await world.store.reservation(answer.id)
    if reservation is None or reservation.state not in {"voided", "settled"}:
        return ""
    bodies = (orjson.loads(row.record.body) for row in await world.store.about(answer.id) if not row.erased)
    failures = (str(body.get("failure", "")) for body in bodies)
    # It may have been tried before without anybody knowing how that ended: what counts is what was known at last.
    known = next((failure for failure in failures if failure and failure not in UNKNOWN), "")
    return known or (Failure.INTERNAL.value if reservation.state == "voided" else "")


def _gate(world: World, call: ExecuteCall, chosen: _Chosen) -> Gate:
    async def gate(permitted: Permitted) -> Way:
        return _choose(world, permitted.installation.catalogue, call, chosen)

    return gate


def _choose(world: World, catalogue: Catalogue, call: ExecuteCall, chosen: _Chosen) -> Way:
    """Whether it can be performed as it was asked for."""
    dataset = catalogue.datasets.get(call.dataset)
    statement = dataset.statements.get(call.statement) if dataset else None
    database = world.databases.of(call.dataset)
    if dataset is None or statement is None or database is None:
        return no_way(Reason.VIEW_REFUSED, f"the catalogue names no write {call.statement!r} of {call.dataset}")
    problem = _parameters_problem(statement, call.parameters)
    if problem:
        return no_way(Reason.VIEW_REFUSED, problem)
    turned = _turned_back(world.tokenizer, dataset, statement, call.parameters)
    if isinstance(turned, str):
        return no_way(Reason.VIEW_REFUSED, turned)
    chosen.database, chosen.statement, chosen.parameters = database, statement, turned
    chosen.limits, chosen.labels = limits_of(dataset), dataset.returned(statement)
    return Way(sent={"write": {"statement": call.statement}})


def _ready(world: World, call: ExecuteCall, chosen: _Chosen, answer: Answer) -> _Ready | None:
    """What to do now. A replayed permission was not looked at again: it is, and where it is no longer possible nobody
    can say what became of it."""
    if chosen.statement is None and _choose(world, world.catalogue, call, chosen).objection is not None:
        return None
    if chosen.database is None or chosen.statement is None or chosen.limits is None:
        return None
    write = Write(answer.id, chosen.statement.sql, chosen.parameters, chosen.limits)
    return _Ready(chosen.database, chosen.labels, chosen.statement.cost, write)


async def _perform(
    world: World, subject: Subject, ready: _Ready, *, call: ExecuteCall, answer: Answer, tried: bool
) -> Executed:
    try:
        return await _told(world, subject, ready, call=call, answer=answer)
    except DatabaseFailed as failed:
        _log.warning("dataset %s: %s (%s)", call.dataset, failed.told, answer.id)
        if failed.failure is Failure.NOT_FIT:
            _log.error("dataset %s is not as the catalogue says: %s", call.dataset, failed.detail)
        failure = Failure.UNAVAILABLE if tried and failed.failure in BEFORE_LOOKING else failed.failure
        await _failed(world, subject, failure, call=call, answer=answer)
        return Executed(answer, failure=failure.value)


async def _told(world: World, subject: Subject, ready: _Ready, *, call: ExecuteCall, answer: Answer) -> Executed:
    """What it did, recorded. Raises DatabaseFailed."""
    written = await ready.database.write(ready.write)
    await _done(world, subject, written, call=call, answer=answer, cost=ready.cost)
    return Executed(
        answer,
        written.affected,
        tuple((each.name, each.type) for each in written.columns),
        written.rows,
        ready.labels,
        written.replayed,
    )


async def _failed(world: World, subject: Subject, failure: Failure, *, call: ExecuteCall, answer: Answer) -> None:
    """Nothing was changed, and so nothing is paid; where that is not known, the money stays held."""
    body = {"dataset": call.dataset, "statement": call.statement, "failure": failure.value}
    await _end(world, subject, answer, body, how="" if failure in UNKNOWN else "voided")


async def _done(
    world: World, subject: Subject, written: Written, *, call: ExecuteCall, answer: Answer, cost: int
) -> None:
    body = {
        "dataset": call.dataset,
        "statement": call.statement,
        "affected": written.affected,
        "rows": len(written.rows),
        "replayed": written.replayed,
        "failure": "",
    }
    # For an observed agent whose budget had no room nothing was set aside, and it is spent all the same.
    await _end(world, subject, answer, body, how="settled", cost=answer.reserved or cost)


async def _end(
    world: World, subject: Subject, answer: Answer, body: Mapping[str, Any], *, how: str, cost: int = 0
) -> None:
    """Record how it ended; `how` is what becomes of its money, "" where that is not known."""
    decided = await world.store.record(answer.id)
    entry = Entry("write", subject.id, body, workflow=decided.record.workflow if decided else "", ref=answer.id)
    try:
        await must_write(world, entry, await _ending(world, answer, how, cost))
    except IllegalTransition:  # it lapsed in between
        await must_write(world, entry, await _ending(world, answer, how, cost))


async def _ending(world: World, answer: Answer, how: str, cost: int) -> tuple[EndReservation, ...]:
    """The end of a reservation, at `cost` where it is settled; one that has ended before stays as it is."""
    reservation = await world.store.reservation(answer.id) if how else None
    if reservation is None or reservation.state not in {"held", "lapsed"}:
        return ()
    # What has lapsed as spent cannot be voided: it is settled, at nothing.
    end = how if reservation.state == "held" else "settled"
    return (EndReservation(answer.id, end, cost, {}, ""),)


def _parameters_problem(statement: NamedStatement, given: Mapping[str, Cell]) -> str:
    wanted, found = set(statement.parameters), set(given)
    missing = [f":{name} ({statement.parameters[name]}) has no value" for name in sorted(wanted - found)]
    beyond = [f'"{name}" is none of its parameters' for name in sorted(found - wanted)]
    types = {name: statement.parameters[name] for name in sorted(wanted & found)}
    unlike = [f":{name} is no {type}" for name, type in types.items() if not fits(given[name], type)]
    problems = missing + beyond + unlike
    return f"parameters: {', '.join(problems)}" if problems else ""


def _turned_back(
    tokenizer: Tokenizer | None, dataset: Dataset, statement: NamedStatement, given: Mapping[str, Cell]
) -> Mapping[str, Cell] | str:
    """The values with each token turned back, or why one may not be: the dataset must be cleared for its labels."""
    values = dict(given)
    for name, type in statement.parameters.items():
        value = values[name]
        if type != TOKENISED or value is None:
            continue
        found = tokenizer.value(value) if tokenizer and isinstance(value, str) else None
        if found is None:
            return f"parameter {name}: no token of this installation"
        plain, _, labels = found
        beyond = sorted(set(labels) - set(dataset.clearance))
        if beyond:
            return f"parameter {name}: a token for what is {', '.join(beyond)}, and the dataset is not cleared for that"
        values[name] = plain
    return values
