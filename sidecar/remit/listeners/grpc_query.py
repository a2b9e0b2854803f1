"""Query and Execute: what a dataset is asked for, and what is sent of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing

from remit.core.model import Subject
from remit.core.query import FAILURE_TEXTS, Ended, Executed, MaskedColumn, QueryPart, Started
from remit.listeners import grpc_read as read
from remit.listeners import grpc_write as write
from remit.listeners.grpc_peer import believed
from remit.listeners.grpc_values import fill, query_rows
from remit.listeners.pipeline import Pipeline
from remit.v1 import sidecar_pb2 as pb

ONE_MESSAGE_BYTES = 64 * 1024
"""A short answer of no more than that is sent as one message."""

_FAILURES: Mapping[str, pb.DataFailure] = {
    "": pb.DATA_FAILURE_UNSPECIFIED,
    **{name: getattr(pb, f"DATA_FAILURE_{name.upper()}") for name in FAILURE_TEXTS},
}


async def query(
    pipeline: Pipeline, subject: Subject, request: pb.QueryRequest
) -> AsyncGenerator[pb.QueryResponse, None]:
    """The parts of an answer; closing them closes the pipeline's."""
    call = read.query(request)
    believed(subject, request.agent)
    async with aclosing(pipeline.query(subject, call)) as parts:
        async for part in parts:
            found = [part, *[each async for each in parts]] if isinstance(part, Started) and part.whole else [part]
            for message in together([each for one in found for each in messages(one, pipeline.currency)]):
                yield message


def together(found: Sequence[pb.QueryResponse]) -> Sequence[pb.QueryResponse]:
    """What makes one small message, as one; at most one of them has rows."""
    if not 1 < len(found) <= len(pb.QueryResponse.DESCRIPTOR.fields) or sum(map(_size, found)) > ONE_MESSAGE_BYTES:
        return found
    whole = pb.QueryResponse()
    for each in found:
        whole.MergeFrom(each)
    return [whole]


def _size(message: pb.QueryResponse) -> int:
    return message.ByteSize()


async def execute(pipeline: Pipeline, subject: Subject, request: pb.ExecuteRequest) -> pb.ExecuteResponse:
    """What a named write did."""
    call = read.execute(request)
    believed(subject, request.agent)
    return executed(await pipeline.execute(subject, call), pipeline.currency)


def messages(part: QueryPart, currency: str) -> Iterator[pb.QueryResponse]:
    """A part of an answer as messages: rows may need several."""
    if isinstance(part, Started):
        yield pb.QueryResponse(start=_started(part, currency))
    elif isinstance(part, Ended):
        yield pb.QueryResponse(end=_ended(part))
    else:
        for rows in query_rows(part.rows):
            yield pb.QueryResponse(rows=rows)


def executed(found: Executed, currency: str) -> pb.ExecuteResponse:
    """What a write did, or its refusal."""
    written = pb.ExecuteResponse(
        decision=write.decision(found.answer, currency),
        affected=found.affected,
        columns=_columns(found.columns),
        labels=found.labels,
        replayed=found.replayed,
        failure=_FAILURES[found.failure],
        message=FAILURE_TEXTS.get(found.failure, ""),
    )
    for cells in found.rows:
        fill(written.rows.add(), cells)
    return written


def _started(part: Started, currency: str) -> pb.QueryStart:
    return pb.QueryStart(
        decision=write.decision(part.answer, currency),
        columns=_columns(part.columns),
        labels=part.labels,
        masked=[_masked(each) for each in part.masked],
    )


def _ended(part: Ended) -> pb.QueryEnd:
    return pb.QueryEnd(
        rows=part.rows,
        bytes=part.bytes,
        truncated=part.truncated,
        failure=_FAILURES[part.failure],
        message=FAILURE_TEXTS.get(part.failure, ""),
    )


def _columns(columns: Sequence[tuple[str, str]]) -> list[pb.ResultColumn]:
    return [pb.ResultColumn(name=name, type=type) for name, type in columns]


def _masked(column: MaskedColumn) -> pb.MaskedColumn:
    return pb.MaskedColumn(table=column.table, column=column.column, mask=column.mask)
