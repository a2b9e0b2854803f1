"""A sidecar as people see it: halts, budgets and the journal in memory, behind a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import grpc
from fakes.sidecar_fake import socket_address
from grpc import aio
from remit.v1 import audit_pb2, audit_pb2_grpc, oversight_pb2, oversight_pb2_grpc
from remit.v1 import resources_pb2 as r

PAGE = 500
OPERATOR = "rmt_operator"
STRANGER = "rmt_stranger"
"""Known, and without the role that it takes."""


class PeopleFake(oversight_pb2_grpc.OversightServicer, audit_pb2_grpc.AuditServicer):
    """One operator and one stranger; the ledger is in EUR."""

    def __init__(self) -> None:
        self.address = ""
        self.limits: dict[tuple[str, str], int] = {("month", ""): 100 * 10**9}
        self.spent: dict[tuple[str, str], tuple[int, int]] = {}
        self.halts: dict[tuple[int, str], str] = {}
        self.records: dict[str, list[r.JournalRecord]] = {}
        self.verification = audit_pb2.VerifyResponse(ok=True, authentic=True, records=7, checkpoints=1)
        self.sightings: list[audit_pb2.Sighting] = []
        self.asked: list[Any] = []

    async def Halt(self, request: oversight_pb2.HaltRequest, context: Any) -> oversight_pb2.HaltResponse:
        decision = await self._decide(request, context)
        if decision.effect != r.EFFECT_ALLOW:
            return oversight_pb2.HaltResponse(decision=decision)
        self.halts[request.scope, request.value] = request.reason
        return oversight_pb2.HaltResponse(decision=decision, halt="h_1")

    async def Resume(self, request: oversight_pb2.ResumeRequest, context: Any) -> oversight_pb2.ResumeResponse:
        decision = await self._decide(request, context)
        if self.halts.pop((request.scope, request.value), None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing is halted there")
        return oversight_pb2.ResumeResponse(decision=decision, halts=["h_1"])

    async def ListBudgets(
        self, request: oversight_pb2.ListBudgetsRequest, context: Any
    ) -> oversight_pb2.ListBudgetsResponse:
        await self._known(context)
        names = [key for key in self.limits if request.budget in ("", key[0])]
        if request.budget and not names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no budget {request.budget!r} in the catalogue")
        later = [key for key in sorted(names) if key > (request.after.id, request.after.scope)]
        limit = min(request.limit or PAGE, PAGE)
        told = [self._budget(key) for key in later[:limit]]
        return oversight_pb2.ListBudgetsResponse(budgets=told, truncated=len(later) > limit)

    async def AdjustBudget(
        self, request: oversight_pb2.AdjustBudgetRequest, context: Any
    ) -> oversight_pb2.AdjustBudgetResponse:
        decision = await self._decide(request, context)
        if decision.effect != r.EFFECT_ALLOW:
            return oversight_pb2.AdjustBudgetResponse(decision=decision)
        key = (request.budget, request.scope)
        self.limits[key] += request.delta.units * 10**9 + request.delta.nanos
        return oversight_pb2.AdjustBudgetResponse(decision=decision, budget=self._budget(key))

    async def Trace(self, request: audit_pb2.TraceRequest, context: Any) -> audit_pb2.TraceResponse:
        await self._known(context)
        found = self.records.get(request.workflow)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no workflow {request.workflow!r} that you may see")
            raise AssertionError
        return audit_pb2.TraceResponse(records=found[: request.limit], truncated=len(found) > request.limit)

    async def Who(self, request: audit_pb2.WhoRequest, context: Any) -> audit_pb2.WhoResponse:
        if await self._known(context) == STRANGER:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only auditors see who saw whom")
        self.asked.append(request)
        if request.table != "customers":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such table: did you mean customers?")
        truncated = len(self.sightings) > request.limit
        return audit_pb2.WhoResponse(sightings=self.sightings[: request.limit], truncated=truncated)

    async def Verify(self, request: audit_pb2.VerifyRequest, context: Any) -> audit_pb2.VerifyResponse:
        if await self._known(context) == STRANGER:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only auditors verify the journal")
        return self.verification

    async def _known(self, context: Any) -> str:
        credential = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        if credential not in (OPERATOR, STRANGER):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "expected a token or a client certificate")
        return credential

    async def _decide(self, request: Any, context: Any) -> r.Decision:
        may = await self._known(context) == OPERATOR
        self.asked.append(request)
        code = "allowed" if may else "role_not_granted"
        return r.Decision(
            id=f"d{len(self.asked)}",
            effect=r.EFFECT_ALLOW if may else r.EFFECT_DENY,
            reasons=[r.PolicyReason(policy="access.oversight", code=code, message=f"said: {code}")],
            enforced=True,
            log="log_1",
            sequence=len(self.asked),
        )

    def _budget(self, key: tuple[str, str]) -> oversight_pb2.Budget:
        spent, held = self.spent.get(key, (0, 0))
        budget = oversight_pb2.Budget(id=key[0], scope=key[1])
        for field, nanos in (("limit", self.limits[key]), ("spent", spent), ("held", held)):
            units, rest = divmod(nanos, 10**9)
            getattr(budget, field).CopyFrom(r.Money(currency="EUR", units=units, nanos=rest))
        budget.window_end.FromSeconds(1_800_000_000)
        return budget


@contextmanager
def people_sidecar() -> Iterator[PeopleFake]:
    """A running fake, in an event loop and a thread of its own."""
    fake, ready = PeopleFake(), Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve(address: str) -> None:
        server = aio.server()
        oversight_pb2_grpc.add_OversightServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
        audit_pb2_grpc.add_AuditServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(address)
        await server.start()
        fake.address = address
        ends.append((asyncio.get_running_loop(), asyncio.Event()))
        ready.set()
        await ends[0][1].wait()
        await server.stop(None)

    with socket_address() as address:
        thread = Thread(target=lambda: asyncio.run(serve(address)), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield fake
        finally:
            loop, end = ends[0]
            loop.call_soon_threadsafe(end.set)
            thread.join(10)


def record(sequence: int, **parts: Any) -> r.JournalRecord:
    """A record of workflow w1, a decision unless told."""
    given: Mapping[str, Any] = {"log": "log_1", "kind": "decision", "id": f"d{sequence}", "workflow": "w1", **parts}
    return r.JournalRecord(sequence=sequence, **given)
