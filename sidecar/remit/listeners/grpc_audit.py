"""What people and agents call to see what was decided: remit.v1.Audit."""

from __future__ import annotations

from remit.core.model import Subject
from remit.listeners import grpc_read as read
from remit.listeners import grpc_write as write
from remit.listeners.grpc_call import Methods, Rpc
from remit.listeners.pipeline import Pipeline
from remit.v1 import audit_pb2 as pb


async def _decision(pipeline: Pipeline, subject: Subject, request: pb.GetDecisionRequest) -> pb.GetDecisionResponse:
    row, about = await pipeline.decision(subject, read.get_decision(request))
    return pb.GetDecisionResponse(
        record=write.journal_record(row), about=[write.journal_record(each) for each in about]
    )


async def _trace(pipeline: Pipeline, subject: Subject, request: pb.TraceRequest) -> pb.TraceResponse:
    named, limit = read.trace(request)
    # One more than is answered tells whether there are more.
    return write.traced(await pipeline.trace(subject, named, limit + 1), limit)


async def _who(pipeline: Pipeline, subject: Subject, request: pb.WhoRequest) -> pb.WhoResponse:
    dataset, table, key, limit = read.who(request)
    return write.sighted(await pipeline.who(subject, dataset, table, key, limit + 1), limit)


async def _verify(pipeline: Pipeline, subject: Subject, request: pb.VerifyRequest) -> pb.VerifyResponse:
    return write.verified(await pipeline.verify(subject))


AUDIT = Methods(
    "remit.v1.Audit",
    (
        Rpc("GetDecision", pb.GetDecisionRequest, _decision),
        Rpc("Trace", pb.TraceRequest, _trace),
        Rpc("Who", pb.WhoRequest, _who),
        Rpc("Verify", pb.VerifyRequest, _verify, slow=True),
    ),
)
