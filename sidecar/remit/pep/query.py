"""Queries: an agent's SELECT is judged, becomes a plan over its views, and is answered row by row.

Once policy has permitted it the database is asked; nothing of the answer goes out before the decision is durable and
its labels have joined the session. Before rows go out, whom they are of is durable too, and of the last of them how
many there were: nothing that an agent was told is missing from the journal, however the sidecar ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from remit.core.call import Call, Objection
from remit.core.dataset import Dataset
from remit.core.model import ActionName, Facts, Request, Resource, Subject
from remit.core.query import Ended, MaskedColumn, QueryCall, QueryPart, Rows, Started
from remit.core.reason import Reason
from remit.core.ruling import Ruling
from remit.core.view.labels import labels_of, masked_columns
from remit.core.view.model import Columns, Plan, Statement, TableView, ViewInvalid, ViewRefused
from remit.core.view.rewrite import rewrite
from remit.core.view.statement import parse_statement
from remit.core.view.texts import UNIT
from remit.core.view.weight import check_weight
from remit.core.view.writing import written
from remit.pep.account import Account
from remit.pep.datasets import arguments_of, limits_of, most_rows
from remit.pep.decide import Objected, Permitted, Point, Way, decide, no_way
from remit.pep.kept import Kept
from remit.pep.reading import AT_ONCE, ReadAhead
from remit.pep.views import Views
from remit.pep.world import Installation, World
from remit.ports import Database, DatabaseFailed

MINIMUM_GROUP = "minimum_group"
FULFILS = frozenset({MINIMUM_GROUP})

KEPT_STATEMENTS = 512
KEPT_CHARACTERS = 256 * 1024
RECORDED_CHARACTERS = 16 * 1024  # of a statement, with `?` for its literals

_log = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class _Understood:
    """A statement that was resolved against a dataset, as one catalogue has it."""

    dataset: Dataset
    database: Database
    statement: Statement


@dataclass(slots=True)
class _Asked:
    """A query, and what its decision's own steps found of the last time that it was made. `views` is None until
    policy has said them."""

    call: QueryCall
    understood: _Understood
    views: Mapping[str, TableView] | None = None
    labels: tuple[str, ...] = ()
    reading: ReadAhead | None = None
    account: Account | None = None

    @property
    def masked(self) -> tuple[MaskedColumn, ...]:
        """What of it the agent does not see as it is."""
        return tuple(MaskedColumn(*each) for each in masked_columns(self.understood.statement, self.views or {}))

    async def forget(self) -> None:
        """What was found is of no use: it is asked again, or was not permitted."""
        if self.reading is not None:
            await self.reading.close()
        self.views, self.labels, self.reading, self.account = None, (), None, None


@dataclass(frozen=True, slots=True)
class _Made:
    """What a plan is made of. It is kept with the plan, so that no other object takes the identity of one of these."""

    statement: Statement
    views: Mapping[str, TableView]
    columns: Columns

    @property
    def key(self) -> tuple[int, ...]:
        """The identities of all of it."""
        return (id(self.statement), id(self.columns), *(id(view) for _, view in sorted(self.views.items())))


_PlanKey = tuple[tuple[int, ...], int, int]


class Queries:
    """Answers queries; keeps parsed statements, views and plans while they hold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._views = Views()
        self._statements: Kept[tuple[str, str, str], tuple[Dataset, Statement]] = Kept(KEPT_STATEMENTS, KEPT_CHARACTERS)
        self._turns: WeakValueDictionary[tuple[str, str, str], asyncio.Semaphore] = WeakValueDictionary()
        self._plans: Kept[_PlanKey, tuple[_Made, Plan]] = Kept(KEPT_STATEMENTS, KEPT_CHARACTERS)

    async def query(self, subject: Subject, call: QueryCall) -> AsyncGenerator[QueryPart, None]:
        """The answer, part by part; closing it ends the reading. Raises StoreUnavailable."""
        understood = self._understand(call)
        if isinstance(understood, str):
            yield Started((await decide(self._world, subject, _call(call, ()), point=_refusing(understood))).answer)
            return
        asked = _Asked(call, understood)
        try:
            question = _call(call, understood.statement.fields)
            answer = (await decide(self._world, subject, question, point=self._point(asked))).answer
        except BaseException:
            await asked.forget()
            raise
        if asked.reading is None or asked.account is None or not answer.permits:
            await asked.forget()
            yield Started(answer)
            return
        try:
            masked = asked.masked
            names = tuple(f"{each.table}.{each.column}" for each in masked)
            self._world.observer.view_masked(subject.id, call.dataset, names)
            await asked.reading.opened()
            columns = tuple((each.name, each.type) for each in asked.reading.columns)
            yield Started(answer, columns, asked.labels, masked, whole=asked.account.whole)
            async with aclosing(asked.account.told()) as batches:
                async for rows in batches:
                    yield Rows(rows)
        finally:
            await asked.account.close()
        yield Ended(asked.account.rows, asked.account.bytes, asked.account.truncated, asked.account.failure)

    # Before the decision.

    def _understand(self, call: QueryCall) -> _Understood | str:
        """Parsed by the catalogue in force, or why it cannot be."""
        dataset = self._world.catalogue.datasets.get(call.dataset)
        database = self._world.databases.of(call.dataset)
        if dataset is None or database is None:
            return f"the catalogue names no database of {call.dataset}"
        try:
            statement = self._statement(call, dataset, database)
        except ViewRefused as refused:
            return str(refused)
        return _parameters_problem(statement, call) or _Understood(dataset, database, statement)

    def _statement(self, call: QueryCall, dataset: Dataset, database: Database) -> Statement:
        key = (call.dataset, database.dialect.value, call.statement)
        kept = self._statements.get(key)
        if kept is not None and kept[0] == dataset:
            return kept[1]
        statement = parse_statement(
            call.statement, dataset=call.dataset, tables=dataset.tables, dialect=database.dialect
        )
        self._statements.put(key, (dataset, statement), len(call.statement))
        return statement

    # Within the decision.

    def _point(self, asked: _Asked) -> Point:
        dataset, statement = asked.understood.dataset, asked.understood.statement

        async def look(installation: Installation, request: Request, facts: Facts) -> Facts:
            await asked.forget()  # a decision is made anew where facts have changed
            if installation.catalogue.datasets.get(asked.call.dataset) != dataset:
                raise Objected(Objection(Reason.FACTS_CHANGED, "the catalogue", binding=True))
            asked.views = await self._view(installation, request, facts, statement)
            asked.labels = labels_of(statement, asked.views, dataset)
            return replace(facts, resource=replace(facts.resource, labels=asked.labels))

        async def gate(permitted: Permitted) -> Way:
            if asked.views is None:
                # An observed agent's query that could not be looked at: there is nothing that it may be shown.
                return no_way(Reason.VIEW_REFUSED, permitted.ruling.detail or "no view of it is known")
            return await self._read(permitted, asked, asked.views)

        return Point(look, gate)

    async def _view(
        self, installation: Installation, request: Request, facts: Facts, statement: Statement
    ) -> Mapping[str, TableView]:
        tables = sorted({use.table for use in statement.uses})
        try:
            return await self._views.of(installation, request, facts, tables)
        except ViewInvalid as invalid:
            raise Objected(Objection(Reason.POLICY_INVALID, str(invalid), binding=True)) from invalid
        except ViewRefused as refused:
            raise Objected(Objection(Reason.VIEW_REFUSED, str(refused), binding=True)) from refused

    async def _read(self, permitted: Permitted, asked: _Asked, views: Mapping[str, TableView]) -> Way:
        """Begin to read, and say what is recorded of it with the decision."""
        call, understood = asked.call, asked.understood
        try:
            group = _minimum_group(permitted.ruling)
            made = _Made(understood.statement, views, await understood.database.columns())
            plan = self._plan(made, understood.dataset, call, group)
        except ViewInvalid as invalid:
            return no_way(Reason.POLICY_INVALID, str(invalid))
        except ViewRefused as refused:
            return no_way(Reason.VIEW_REFUSED, str(refused))
        except DatabaseFailed as failed:
            # Asked of the columns' types alone: what the database says to that holds no data.
            _log.error("dataset %s: %s: %s", call.dataset, failed.failure.value, failed.detail)
            return no_way(Reason.DATABASE_UNAVAILABLE, call.dataset)
        turn, limits = self._turn(permitted.request.subject, call.dataset), limits_of(understood.dataset, call.rows)
        reading = ReadAhead(understood.database, plan, call.parameters, limits, turn=turn)
        account = Account(self._world, permitted.request, decision=permitted.id, hidden=plan.hidden, reading=reading)
        asked.reading, asked.account = reading, account
        whole, effects = await account.begin() or ({}, ())
        # The journal holds the statement without its literals, what was in force, and never a cell.
        recorded = {
            "statement": understood.statement.normal[:RECORDED_CHARACTERS],
            "digest": self._world.hmac(call.statement.encode()),
            "views": {table: written(view) for table, view in sorted(views.items())},
            "minimum_group": group,
        }
        return Way({"query": recorded, **({"answer": whole} if whole else {})}, effects)

    def _turn(self, who: Subject, dataset: str) -> asyncio.Semaphore:
        return self._turns.setdefault((who.type, who.id, dataset), asyncio.Semaphore(AT_ONCE))

    def _plan(self, made: _Made, dataset: Dataset, call: QueryCall, group: int) -> Plan:
        rows = most_rows(dataset, call.rows)
        key = (made.key, rows, group)
        kept = self._plans.get(key)
        if kept is not None:
            return kept[1]
        plan = rewrite(
            made.statement, made.views, tables=dataset.tables, columns=made.columns, rows=rows, minimum_group=group
        )
        self._plans.put(key, (made, plan), len(plan.text.sql))
        return plan


def _call(call: QueryCall, fields: tuple[str, ...]) -> Call:
    claimed = replace(call.claimed, arguments=arguments_of(call.parameters))
    return Call(
        "Query",
        ActionName.DATA_READ,
        Resource("dataset", call.dataset, fields=fields),
        claimed,
        fulfils=FULFILS,
        content=f"{call.rows} {call.statement}",
        shown={"statement": call.statement},
    )


def _refusing(why: str) -> Point:
    """What becomes of a statement that is not understood: policy says only whether the agent may know why."""

    async def look(installation: Installation, request: Request, facts: Facts) -> Facts:
        return replace(facts, resource=replace(facts.resource, labels=()))  # nothing will be read

    async def gate(permitted: Permitted) -> Way:
        return no_way(Reason.VIEW_REFUSED, why)

    return Point(look, gate)


def _parameters_problem(statement: Statement, call: QueryCall) -> str:
    wanted, given = set(statement.parameters), set(call.parameters)
    if wanted == given:
        return _length_problem(statement, call)
    missing = [f":{name} has no value" for name in sorted(wanted - given)]
    beyond = [f'"{name}" has no place in the statement' for name in sorted(given - wanted)]
    return f"parameters: {', '.join(missing + beyond)}"


def _length_problem(statement: Statement, call: QueryCall) -> str:
    """A statement was weighed with short texts for its parameters: with long ones it is weighed again."""
    if not any(isinstance(each, str | bytes) and len(each) > UNIT for each in call.parameters.values()):
        return ""
    try:
        check_weight(statement.tree, parameters=call.parameters)
    except ViewRefused as refused:
        return f"parameters: {refused}"
    return ""


def _minimum_group(ruling: Ruling) -> int:
    """The largest group that any obligation asks for. Raises ViewInvalid."""
    sizes = [0]
    for each in ruling.obligations:
        if each.id != MINIMUM_GROUP:
            continue
        size = each.properties.get("size")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ViewInvalid("no whole number above 0", where=f"obligation {MINIMUM_GROUP}.size", expected="one")
        sizes.append(size)
    return max(sizes)
