"""What agents call: remit.v1.Sidecar."""

from __future__ import annotations

from remit.core.model import Subject
from remit.listeners import grpc_read as read
from remit.listeners import grpc_write as write
from remit.listeners.grpc_call import Methods, Rpc, Streaming
from remit.listeners.grpc_peer import believed
from remit.listeners.grpc_query import execute, query
from remit.listeners.pipeline import Pipeline
from remit.v1 import sidecar_pb2 as pb


async def _authorize(pipeline: Pipeline, subject: Subject, request: pb.AuthorizeRequest) -> pb.AuthorizeResponse:
    call = read.authorize(request)
    believed(subject, request.agent)
    answer = await pipeline.authorize(subject, call, read.waits(request))
    return pb.AuthorizeResponse(decision=write.decision(answer, pipeline.currency))


async def _record(pipeline: Pipeline, subject: Subject, request: pb.RecordRequest) -> pb.RecordResponse:
    summary, call = read.record(request, subject)
    answer = await pipeline.record(subject, summary, call)
    return pb.RecordResponse(decision=write.decision(answer, pipeline.currency))


async def _report(pipeline: Pipeline, subject: Subject, request: pb.ReportRequest) -> pb.ReportResponse:
    return write.reported(await pipeline.report(subject, read.report(request)), pipeline.currency)


async def _open(pipeline: Pipeline, subject: Subject, request: pb.OpenWorkflowRequest) -> pb.OpenWorkflowResponse:
    return write.opened(await pipeline.open_workflow(subject, read.open_workflow(request)), pipeline.currency)


async def _close(pipeline: Pipeline, subject: Subject, request: pb.CloseWorkflowRequest) -> pb.CloseWorkflowResponse:
    return write.closed(await pipeline.close_workflow(subject, *read.close_workflow(request)))


async def _handoff(pipeline: Pipeline, subject: Subject, request: pb.HandoffRequest) -> pb.HandoffResponse:
    return write.handed_off(await pipeline.handoff(subject, read.handoff(request)), pipeline.currency)


async def _accept(pipeline: Pipeline, subject: Subject, request: pb.AcceptRequest) -> pb.AcceptResponse:
    return write.accepted(await pipeline.accept(subject, *read.accept(request)), pipeline.currency)


async def _claim(pipeline: Pipeline, subject: Subject, request: pb.ClaimRequest) -> pb.ClaimResponse:
    return write.taken(await pipeline.claim(subject, read.claim(request)), pipeline.currency)


async def _release(pipeline: Pipeline, subject: Subject, request: pb.ReleaseRequest) -> pb.ReleaseResponse:
    return pb.ReleaseResponse(record=await pipeline.release(subject, read.release(request)))


SIDECAR = Methods(
    "remit.v1.Sidecar",
    (
        Rpc("OpenWorkflow", pb.OpenWorkflowRequest, _open),
        Rpc("CloseWorkflow", pb.CloseWorkflowRequest, _close),
        Rpc("Authorize", pb.AuthorizeRequest, _authorize, waits=True),
        Rpc("Report", pb.ReportRequest, _report),
        Streaming("Query", pb.QueryRequest, query),
        Rpc("Execute", pb.ExecuteRequest, execute, slow=True),
        Rpc("Handoff", pb.HandoffRequest, _handoff),
        Rpc("Accept", pb.AcceptRequest, _accept),
        Rpc("Record", pb.RecordRequest, _record),
        Rpc("Claim", pb.ClaimRequest, _claim),
        Rpc("Release", pb.ReleaseRequest, _release),
    ),
)
