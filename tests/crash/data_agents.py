"""Agents that write and read through a sidecar which is killed under them, and all that they were told.

Whoever writes asks again, with the same key, until it is told what happened; some give up when the sidecar dies.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import grpc
from data_place import COLUMNS, PEOPLE, REGIONS, token
from remit.v1 import resources_pb2 as r
from remit.v1 import sidecar_pb2 as s
from remit.v1 import sidecar_pb2_grpc as g
from running import GONE

UNKNOWN = (s.DATA_FAILURE_UNAVAILABLE, s.DATA_FAILURE_INTERNAL)
PATIENCE = 40
"""How often one write is asked for in one life of the sidecar before its agent says that it never ends."""

SLOTS = 60
_SECONDS = 20
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What an agent was told of a write."""

    decision: str
    affected: int
    rows: tuple[int, ...]
    failure: int


@dataclass
class Asked:
    """One write and what was told of it; without an answer it was given up."""

    agent: str
    number: int
    slot: int
    answers: list[Answer] = field(default_factory=list)

    @property
    def request(self) -> s.ExecuteRequest:
        """It, the same each time."""
        parameters = {"number": s.Value(integer=self.number)}
        if self.slot:
            parameters["slot"] = s.Value(integer=self.slot)
        return s.ExecuteRequest(
            dataset="crm",
            statement="take" if self.slot else "add",
            parameters=parameters,
            context=r.Context(purpose="work"),
            key=f"key-{self.number}",
        )


@dataclass
class Shown:
    """What an agent saw of one answer: the people that its rows were of, or that they were counted from."""

    agent: str
    decision: str
    labels: tuple[str, ...]
    people: set[int] = field(default_factory=set)
    counted: set[int] = field(default_factory=set)


@dataclass
class Told:
    """Everything that all agents were told."""

    writes: list[Asked] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Writer:
    """Writes one thing after the other, some of them over two connections at once."""

    def __init__(self, name: str, told: Told, chance: Random) -> None:
        self.name = name
        self._told = told
        self._chance = chance
        self._pending: Asked | None = None

    async def work(self, clients: tuple[g.SidecarStub, ...]) -> None:
        """Until the sidecar is gone."""
        while await self.answered(clients, self._pending or self._fresh()):
            pass
        if self._pending and self._chance.random() < 0.2:
            self._pending = None

    async def finish(self, clients: tuple[g.SidecarStub, ...]) -> None:
        """Ask for what is unanswered."""
        if self._pending:
            await self.answered(clients, self._pending)

    async def answered(self, clients: tuple[g.SidecarStub, ...], asked: Asked) -> bool:
        """Ask until something is told; whether it was, and not because the sidecar has gone."""
        for _ in range(PATIENCE):
            twice = clients if self._chance.random() < 0.3 else clients[:1]
            found = await asyncio.gather(*(self._ask(client, asked) for client in twice))
            if any(each is True for each in found):
                self._pending = None
                return True
            if None in found:
                return False
        self._told.wrong.append(f"write {asked.number}: nothing is told of it, however often it is asked for")
        self._pending = None
        return True

    async def _ask(self, client: g.SidecarStub, asked: Asked) -> bool | None:
        """Whether it was told what happened; None where nothing answers."""
        try:
            found = await client.Execute(asked.request, metadata=_metadata(self.name), timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in GONE:
                self._told.wrong.append(f"write {asked.number}: {error.code()}")
            return None
        if found.decision.effect != r.EFFECT_ALLOW:
            if not found.decision.retryable:
                self._told.wrong.append(f"write {asked.number} was refused: {found.decision.message}")
            return found.decision.retryable is False
        if found.failure in UNKNOWN:
            return False
        rows = tuple(value.integer for row in found.rows for value in row.values)
        asked.answers.append(Answer(found.decision.id, found.affected, rows, found.failure))
        return True

    def _fresh(self) -> Asked:
        slot = self._chance.randrange(1, SLOTS) if self._chance.random() < 0.4 else 0
        self._pending = Asked(self.name, next(_NUMBERS), slot)
        self._told.writes.append(self._pending)
        return self._pending


class Reader:
    """Reads people: one, some, all of them, and how many there are."""

    def __init__(self, name: str, told: Told, chance: Random) -> None:
        self.name = name
        self._told = told
        self._chance = chance

    async def work(self, clients: tuple[g.SidecarStub, ...]) -> None:
        """Until the sidecar is gone."""
        while await self.read(clients[0]):
            pass

    async def read(self, client: g.SidecarStub) -> bool:
        """One query; whether it was answered to its end."""
        column = self._chance.randrange(COLUMNS)
        return await self._chance.choice([self._one, self._some, self._all, self._number])(client, f"c{column}")

    async def _one(self, client: g.SidecarStub, column: str) -> bool:
        sql = f"SELECT id, {column} FROM people WHERE id = :id"
        return await self._query(client, sql, {"id": self._chance.randrange(1, PEOPLE + 1)}, _people)

    async def _some(self, client: g.SidecarStub, column: str) -> bool:
        sql = f"SELECT id, {column} FROM people WHERE id >= :id LIMIT 4000"
        return await self._query(client, sql, {"id": self._chance.randrange(1, PEOPLE + 1)}, _people)

    async def _all(self, client: g.SidecarStub, column: str) -> bool:
        return await self._query(client, f"SELECT id, {column} FROM people", {}, _people)

    async def _number(self, client: g.SidecarStub, column: str) -> bool:
        region = self._chance.randrange(REGIONS)

        def count(shown: Shown, _row: s.Row) -> None:
            shown.counted.update(range(region or REGIONS, PEOPLE + 1, REGIONS))

        sql = f"SELECT count({column}) AS n FROM people WHERE region = :region"
        return await self._query(client, sql, {"region": region}, count)

    async def _query(
        self, client: g.SidecarStub, sql: str, parameters: dict[str, int], note: Callable[[Shown, s.Row], None]
    ) -> bool:
        request = s.QueryRequest(
            dataset="crm",
            statement=sql,
            parameters={name: s.Value(integer=value) for name, value in parameters.items()},
            context=r.Context(purpose="work"),
        )
        shown = Shown(self.name, "", ())
        try:
            async for part in client.Query(request, metadata=_metadata(self.name), timeout=_SECONDS):
                if part.HasField("start"):
                    shown = Shown(self.name, part.start.decision.id, tuple(part.start.labels))
                    self._told.shown.append(shown)
                for row in part.rows.rows:
                    note(shown, row)
                if part.end.failure not in (s.DATA_FAILURE_UNSPECIFIED, s.DATA_FAILURE_UNAVAILABLE):
                    self._told.wrong.append(f"query {shown.decision} failed: {part.end.message}")
        except grpc.aio.AioRpcError as error:
            if error.code() not in GONE:
                self._told.wrong.append(f"a query ended with {error.code()}")
            return False
        return True


def _people(shown: Shown, row: s.Row) -> None:
    shown.people.add(row.values[0].integer)


def _metadata(agent: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token(agent)}"),)
