"""What people, and supervisor agents, call to resolve, stop, resume and adjust: remit.v1.Oversight."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from remit.core.model import Subject
from remit.listeners import grpc_read as read
from remit.listeners import grpc_write as write
from remit.listeners.grpc_call import Methods, Rpc, Streaming
from remit.listeners.pipeline import Pipeline
from remit.v1 import oversight_pb2 as pb


async def _approvals(
    pipeline: Pipeline, subject: Subject, request: pb.ListApprovalsRequest
) -> pb.ListApprovalsResponse:
    states, id, before, limit = read.list_approvals(request)
    # One more than is answered tells whether there are more.
    found = await pipeline.approvals(subject, states, id, before, limit + 1)
    return write.approvals(found, limit, pipeline.currency)


async def _watch(
    pipeline: Pipeline, subject: Subject, request: pb.WatchApprovalsRequest
) -> AsyncGenerator[pb.WatchApprovalsResponse, None]:
    async with aclosing(pipeline.watch_approvals(subject)) as changes:
        async for shown in changes:
            told = None if shown is None else write.approval(shown, pipeline.currency)
            yield pb.WatchApprovalsResponse(approval=told)


async def _resolve(
    pipeline: Pipeline, subject: Subject, request: pb.ResolveApprovalRequest
) -> pb.ResolveApprovalResponse:
    return write.resolved(await pipeline.resolve(subject, read.resolve(request)), pipeline.currency)


async def _unresolved(
    pipeline: Pipeline, subject: Subject, request: pb.ListUnresolvedRequest
) -> pb.ListUnresolvedResponse:
    limit = read.list_unresolved(request)
    return write.unresolved(await pipeline.unresolved(subject, limit + 1), limit, pipeline.currency)


async def _halt(pipeline: Pipeline, subject: Subject, request: pb.HaltRequest) -> pb.HaltResponse:
    return write.halted(await pipeline.halt(subject, *read.control(request)), pipeline.currency)


async def _resume(pipeline: Pipeline, subject: Subject, request: pb.ResumeRequest) -> pb.ResumeResponse:
    return write.resumed(await pipeline.resume(subject, *read.control(request)), pipeline.currency)


async def _budgets(pipeline: Pipeline, subject: Subject, request: pb.ListBudgetsRequest) -> pb.ListBudgetsResponse:
    budget, limit, after = read.list_budgets(request)
    rooms = [room for room in await pipeline.budgets(subject, budget) if (room.row.budget, room.row.scope) > after]
    told = [write.budget(each, pipeline.currency) for each in rooms[:limit]]
    return pb.ListBudgetsResponse(budgets=told, truncated=len(rooms) > limit)


async def _adjust(pipeline: Pipeline, subject: Subject, request: pb.AdjustBudgetRequest) -> pb.AdjustBudgetResponse:
    adjusted = await pipeline.adjust(subject, *read.adjust(request, pipeline.currency))
    return write.adjusted(adjusted, pipeline.currency)


OVERSIGHT = Methods(
    "remit.v1.Oversight",
    (
        Rpc("ListApprovals", pb.ListApprovalsRequest, _approvals),
        Streaming("WatchApprovals", pb.WatchApprovalsRequest, _watch, watches=True),
        Rpc("ResolveApproval", pb.ResolveApprovalRequest, _resolve),
        Rpc("ListUnresolved", pb.ListUnresolvedRequest, _unresolved),
        Rpc("Halt", pb.HaltRequest, _halt),
        Rpc("Resume", pb.ResumeRequest, _resume),
        Rpc("ListBudgets", pb.ListBudgetsRequest, _budgets),
        Rpc("AdjustBudget", pb.AdjustBudgetRequest, _adjust),
    ),
)
