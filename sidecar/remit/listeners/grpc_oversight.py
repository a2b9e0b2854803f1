"""What people call to stop, resume and adjust: remit.v1.Oversight."""

from __future__ import annotations

from remit.core.model import Subject
from remit.listeners import grpc_read as read
from remit.listeners import grpc_write as write
from remit.listeners.grpc_call import Methods, Rpc
from remit.listeners.pipeline import Pipeline
from remit.v1 import oversight_pb2 as pb


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
        Rpc("Halt", pb.HaltRequest, _halt),
        Rpc("Resume", pb.ResumeRequest, _resume),
        Rpc("ListBudgets", pb.ListBudgetsRequest, _budgets),
        Rpc("AdjustBudget", pb.AdjustBudgetRequest, _adjust),
    ),
)
