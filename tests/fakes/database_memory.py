"""A database that answers what it is told to, remembers what it was asked, and performs a write once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from remit.core.view.model import Cell, Column, Columns, ColumnType, Dialect, Plan
from remit.ports import Database, DatabaseFailed, Limits, NotPerformed, ResultColumn, Write, Written

CUSTOMERS: Columns = {
    "customers": {
        "id": Column(ColumnType.INTEGER, "INTEGER"),
        "region": Column(ColumnType.TEXT, "TEXT"),
        "email": Column(ColumnType.TEXT, "TEXT"),
    },
    "orders": {
        "id": Column(ColumnType.INTEGER, "INTEGER"),
        "customer": Column(ColumnType.INTEGER, "INTEGER"),
        "total": Column(ColumnType.DECIMAL, "NUMERIC"),
    },
}


class FakeReading:
    """Gives its batches one by one; `before_batch` is called before each."""

    def __init__(self, database: FakeDatabase, plan: Plan) -> None:
        self._database = database
        self._plan = plan
        self.bytes = 0
        self.truncated = False

    @property
    def columns(self) -> Sequence[ResultColumn]:
        return [ResultColumn(name, "text") for name in self._database.names]

    @property
    def subjects(self) -> Mapping[str, Sequence[str]]:
        return {each.table: self._database.reached for each in self._plan.subjects}

    async def batches(self) -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
        for batch in self._database.batches:
            if isinstance(batch, DatabaseFailed):
                raise batch
            self.bytes += 10 * len(batch)
            self._database.before_batch()
            yield batch
        self.truncated = self._database.truncated


class FakeDatabase:
    """`batches` are what every reading gives; a DatabaseFailed among them is raised in its place."""

    dialect = Dialect.SQLITE

    def __init__(self, *batches: Sequence[Sequence[Cell]] | DatabaseFailed, names: Sequence[str] = ("id",)) -> None:
        self.batches = batches
        self.names = names
        self.reached: Sequence[str] = ()
        self.truncated = False
        self.unfit: DatabaseFailed | None = None
        self.refuses: DatabaseFailed | None = None
        self.plans: list[Plan] = []
        self.given: list[Mapping[str, Cell]] = []
        self.limits: list[Limits] = []
        self.reading = 0
        self.writes: list[Write] = []
        self.done: dict[str, Written] = {}
        self.returns = Written(1)

    def before_batch(self) -> None:
        """Nothing, unless a test has another idea."""

    async def columns(self) -> Columns:
        if self.unfit is not None:
            raise self.unfit
        return CUSTOMERS

    @asynccontextmanager
    async def read(self, plan: Plan, parameters: Mapping[str, Cell], limits: Limits) -> AsyncIterator[FakeReading]:
        self.plans.append(plan)
        self.given.append(parameters)
        self.limits.append(limits)
        if self.refuses is not None:
            raise self.refuses
        self.reading += 1
        try:
            yield FakeReading(self, plan)
        finally:
            self.reading -= 1

    async def write(self, write: Write) -> Written:
        self.writes.append(write)
        if write.execution in self.done:
            before = self.done[write.execution]
            return Written(before.affected, before.columns, before.rows, replayed=True)
        if not write.perform:
            raise NotPerformed
        if self.refuses is not None:
            raise self.refuses
        self.done[write.execution] = self.returns
        return self.returns


class FakeDatabases:
    """The databases by dataset."""

    def __init__(self, **databases: Database) -> None:
        self.databases = databases

    def of(self, dataset: str) -> Database | None:
        return self.databases.get(dataset)
