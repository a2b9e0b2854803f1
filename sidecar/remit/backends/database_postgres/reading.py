"""One plan run on one connection: a single statement where it can be, else in one snapshot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from remit.backends.bindings import bound
from remit.backends.database_postgres.chunks import CHUNK, FEW, Chunks, executed
from remit.backends.database_postgres.connection import Connection, drained
from remit.backends.database_postgres.failure import failed
from remit.backends.row_meter import RowMeter, row_size
from remit.core.view.model import MAX_SUBJECTS, MAX_TOKENS, Cell, Plan, Text, TokenQuery
from remit.ports import DatabaseFailed, Failure, Limits, ResultColumn, Tokenizer

_END_SECONDS = 2.0  # how long a reading that is left early may take to be ended; its connection is closed then
_IN_LOOP = 256  # tokens that are made without leaving the loop
_TEXT_BYTES = 16 << 20  # of all that one of the plan's own queries gives: it is held, and sent back with its tokens


class PostgresReading:
    """The Reading of a plan. `start` first, `end` whatever happened."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        parameters: Mapping[str, Cell],
        limits: Limits,
        *,
        tokenizer: Tokenizer,
        deadline: float,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._parameters = parameters
        self._limits = limits
        self._tokenizer = tokenizer
        self._deadline = deadline
        self._tokens: list[tuple[Sequence[str], Sequence[str]]] = []
        self._subjects: dict[str, Sequence[str]] = {}
        self._chunks: Chunks | None = None
        self._first: list[tuple[Cell, ...]] = []
        self._columns: Sequence[ResultColumn] = ()
        self._meter = RowMeter(limits, 0)

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """As the port says."""
        return self._columns

    @property
    def subjects(self) -> Mapping[str, Sequence[str]]:
        """As the port says."""
        return self._subjects

    @property
    def truncated(self) -> bool:
        """As the port says."""
        return self._meter.truncated

    @property
    def bytes(self) -> int:
        """As the port says."""
        return self._meter.counted

    async def start(self) -> None:
        """Run it up to its first rows. Raises DatabaseFailed."""
        await self._in_time(self._start())

    async def batches(self) -> AsyncGenerator[Sequence[Sequence[Cell]], None]:
        """As the port says."""
        chunks, rows = self._chunks, self._first
        self._first = []
        while chunks is not None:
            fitting = self._meter.fitting(rows)
            if fitting:
                yield fitting
            if chunks.ended or self._meter.truncated:
                return
            rows = await self._in_time(chunks.next())

    async def end(self) -> None:
        """Stop what still runs, and leave the snapshot. Never raises: a connection that is not idle is closed."""
        pgconn = self._connection.pgconn
        with suppress(psycopg.Error, TimeoutError, OSError):
            async with asyncio.timeout(_END_SECONDS):
                if pgconn.transaction_status == TransactionStatus.ACTIVE:
                    await self._connection.cancel_safe(timeout=_END_SECONDS)
                    await drained(self._connection)
                if pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                    await self._connection.execute("ROLLBACK")

    async def _start(self) -> None:
        plan = self._plan
        if plan.tokens or plan.subjects:
            await self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for query in plan.tokens:
            self._tokens.append(await self._tokenised(query))
        for subject in plan.subjects:
            self._subjects[subject.table] = await self._texts(subject.text, MAX_SUBJECTS + 1)
        values = self._bound(plan.text)
        if self._limits.cost:
            await self._estimate(plan.text.sql, values)
        self._chunks = Chunks(self._connection, plan.text.sql, values, FEW if plan.grows else CHUNK)
        self._first = await self._chunks.first()
        visible = len(self._chunks.columns) - len(plan.hidden)
        self._columns = self._chunks.columns[:visible]
        self._meter = RowMeter(self._limits, visible)

    def _bound(self, text: Text) -> list[Any]:
        return bound(text.bindings, self._parameters, self._tokenizer, self._tokens)

    async def _texts(self, text: Text, most: int) -> list[str]:
        """The first column of a query, at most so many."""
        chunks = Chunks(self._connection, text.sql, self._bound(text))
        rows = await chunks.first()
        found = [row[0] for row in rows]
        size = sum(map(row_size, rows))
        while not chunks.ended and len(found) <= most and size <= _TEXT_BYTES:
            rows = await chunks.next()
            found += [row[0] for row in rows]
            size += sum(map(row_size, rows))
        if not chunks.ended or size > _TEXT_BYTES:
            raise DatabaseFailed(Failure.INTERNAL, "a query of the plan's own gave more rows than it may")
        return [str(each) for each in found if each is not None]

    async def _tokenised(self, query: TokenQuery) -> tuple[Sequence[str], Sequence[str]]:
        try:
            raw = await self._texts(query.text, MAX_TOKENS)
        except DatabaseFailed as error:
            if error.failure is Failure.INTERNAL:
                raise DatabaseFailed(Failure.TOO_MANY_TOKENS, query.domain) from None
            raise
        if len(raw) > MAX_TOKENS:
            raise DatabaseFailed(Failure.TOO_MANY_TOKENS, query.domain)

        def tokens() -> list[str]:
            return [self._tokenizer.token(each, query.domain, query.labels) for each in raw]

        return raw, tokens() if len(raw) <= _IN_LOOP else await asyncio.to_thread(tokens)

    async def _estimate(self, sql: str, values: Sequence[Any]) -> None:
        result = await executed(self._connection, b"EXPLAIN (FORMAT JSON) " + sql.encode(), values)
        told = result.get_value(0, 0) or b"null"
        cost = float(json.loads(told)[0]["Plan"]["Total Cost"])
        if cost > self._limits.cost:
            raise DatabaseFailed(Failure.TOO_COSTLY, f"the plan's cost is {cost}, of at most {self._limits.cost}")

    async def _in_time(self, step: Any) -> Any:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await step
        except TimeoutError:
            raise DatabaseFailed(Failure.TIMED_OUT, "it took longer than it may") from None
        except psycopg.Error as error:
            raise failed(error) from None
