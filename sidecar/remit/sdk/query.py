"""A query: awaited for all its rows, or iterated while they arrive; asked once, and no sooner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from remit.sdk.answers import Decision
from remit.sdk.errors import DataFailed, IllegalState, InvalidRequest, QueryFailed, Unavailable, Violation, refusal
from remit.sdk.portal import Portal
from remit.sdk.reading import read_decision
from remit.sdk.rows import Answer, Column, Executed, Masked, Row, Rows
from remit.sdk.values import Value, read_rows
from remit.v1 import sidecar_pb2 as pb

Parts = AsyncGenerator[pb.QueryResponse, None]
Batch = list[tuple[Value, ...]]

_PREFIX = "DATA_FAILURE_"


class Query:
    """`rows = await agent.query(…)`, or `async for row in agent.query(…)`; each once.

    Raises Denied before any row, and QueryFailed where the database fails before all of them. Leaving the loop early
    ends the reading; `async with agent.query(…) as query:` ends it for certain at the end of the block.
    """

    def __init__(self, ask: Callable[[], Parts]) -> None:
        self._ask = ask
        self._parts: Parts | None = None
        self._first = pb.QueryResponse()
        self._answer: Answer | None = None
        self._ended: pb.QueryEnd | None = None
        self._taken = False

    @property
    def answer(self) -> Answer:
        """Decision, columns, labels and masks; IllegalState before they are there."""
        if self._answer is None:
            raise IllegalState("nothing is known of the answer before the query was asked")
        return self._answer

    @property
    def decision(self) -> Decision:
        """The decision that permitted it."""
        return self.answer.decision

    @property
    def truncated(self) -> bool:
        """Whether a limit ended the answer before all rows were there; IllegalState before the end."""
        if self._ended is None:
            raise IllegalState("whether the answer is whole is known at its end")
        return self._ended.truncated

    async def begin(self) -> Answer:
        """Ask. Raises Denied and the other errors of a call."""
        if self._parts is not None:
            raise IllegalState("a query is asked once; make another one")
        self._parts = self._ask()
        try:
            part = await anext(self._parts, None)
            if part is None or not part.HasField("start"):
                raise Unavailable("the sidecar's answer does not begin with a decision")
            self._answer = _read_start(part.start)
            part.ClearField("start")
            self._first = part
        except BaseException:
            await self.close()
            raise
        return self._answer

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The rows as they arrive, some at a time, as tuples; asks where that was not done."""
        if self._taken:
            raise IllegalState("the rows of a query are taken once; make another one")
        self._taken = True
        width = len((self._answer or await self.begin()).columns)
        assert self._parts is not None
        sent = 0
        async with aclosing(self._parts) as parts:
            async for part in _after(self._first, parts):
                if self._ended is not None or part.HasField("start"):
                    raise Unavailable("the sidecar's answer is out of order")
                if part.HasField("rows"):
                    yield (batch := read_rows(part.rows.rows, width))
                    sent += len(batch)
                if part.HasField("end"):
                    self._ended = part.end
        if self._ended is None:
            raise Unavailable(f"the sidecar's answer broke off after {sent} rows (decision {self.decision.id})")
        if self._ended.failure:
            failure = pb.DataFailure.Name(self._ended.failure).removeprefix(_PREFIX).lower()
            raise QueryFailed(failure, self._ended.message, self.decision, sent)

    async def fetch(self) -> Rows:
        """All rows; `await query` does the same. QueryFailed has those that came before a failure."""
        values: list[tuple[Value, ...]] = []
        try:
            async for batch in self.batches():
                values += batch
        except QueryFailed as failed:
            failed.rows = Rows(self.answer, True, values)
            raise
        return Rows(self.answer, self.truncated, values)

    async def close(self) -> None:
        """End the reading, whether all was read or not."""
        if self._parts is not None:
            await self._parts.aclose()

    def __await__(self) -> Generator[Any, None, Rows]:
        return self.fetch().__await__()

    async def __aiter__(self) -> AsyncIterator[Row]:
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                names = self.answer.names
                for values in batch:
                    yield dict(zip(names, values, strict=True))

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _after(first: pb.QueryResponse, parts: Parts) -> Parts:
    """What came with the decision, and what comes after it."""
    yield first
    async for part in parts:
        yield part


class BlockingQuery:
    """The same from any thread: `for row in agent.query(…)`, or `agent.query(…).fetch()`; also as a `with` block."""

    def __init__(self, query: Query, portal: Callable[[], Portal]) -> None:
        self._query = query
        self._portal = portal

    @property
    def answer(self) -> Answer:
        """See Query.answer."""
        return self._query.answer

    @property
    def decision(self) -> Decision:
        """See Query.decision."""
        return self._query.decision

    @property
    def truncated(self) -> bool:
        """See Query.truncated."""
        return self._query.truncated

    def fetch(self) -> Rows:
        """All rows."""
        return self._portal().run(self._query.fetch())

    def close(self) -> None:
        """End the reading."""
        self._portal().run(self._query.close())

    def __iter__(self) -> Iterator[Row]:
        portal, batches = self._portal(), self._query.batches()
        try:
            while (batch := portal.run(_next(batches))) is not None:
                names = self.answer.names
                for values in batch:
                    yield dict(zip(names, values, strict=True))
        finally:
            portal.run(batches.aclose())

    def __enter__(self) -> Self:
        self._portal().run(self._query.begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(batches: AsyncGenerator[Batch, None]) -> Batch | None:
    return await anext(batches, None)


def read_executed(wire: pb.ExecuteResponse) -> Executed:
    """What a write did. Raises Denied, and DataFailed where the database did not do it."""
    decision = read_decision(wire.decision)
    if not decision.permitted:
        raise refusal(decision)
    if wire.failure:
        failure = pb.DataFailure.Name(wire.failure).removeprefix(_PREFIX).lower()
        raise DataFailed(failure, wire.message, decision)
    answer = Answer(decision, _columns(wire.columns), tuple(wire.labels), ())
    rows = Rows(answer, False, read_rows(wire.rows, len(answer.columns)))
    return Executed(wire.affected, rows, wire.replayed)


def _read_start(wire: pb.QueryStart) -> Answer:
    decision = read_decision(wire.decision)
    if not decision.permitted:
        raise refusal(decision)
    masked = tuple(Masked(each.table, each.column, each.mask) for each in wire.masked)
    return Answer(decision, _columns(wire.columns), tuple(wire.labels), masked)


def _columns(wire: Any) -> tuple[Column, ...]:
    columns = tuple(Column(each.name, each.type) for each in wire)
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        # In a dict the later would hide the earlier.
        expected = f"a name of its own for each column (AS …), but there is more than one {twice[0]!r}"
        raise InvalidRequest(Violation("statement", expected))
    return columns
