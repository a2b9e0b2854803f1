"""How long approving takes: a call that waits, somebody who approves it, and the answer to the call.

The caller's `Authorize` has a wait of a minute. Each round trip ends when its answer is there: an ALLOW by the grant
that was given meanwhile. What the approver does is one `ResolveApproval`; the time that people take is none of it.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import grpc
import uvloop
from google.protobuf.duration_pb2 import Duration
from remit.v1 import oversight_pb2, oversight_pb2_grpc, resources_pb2, sidecar_pb2, sidecar_pb2_grpc

from bench.load import figures
from bench.places import TOKEN, sidecar
from bench.rows import Row

TEMPLATE = Path(__file__).parent / "remit.yaml"
CALLER = (("authorization", f"Bearer {TOKEN}"),)
HELD = sidecar_pb2.AuthorizeRequest(
    action="api.call",
    resource=resources_pb2.Resource(type="service", id="model", operation="chat", variant="large"),
    context=resources_pb2.Context(purpose="measure", reason="bench", arguments=b"{}"),
    usage=[
        resources_pb2.Usage(unit="input_token", quantity=900),
        resources_pb2.Usage(unit="output_token", quantity=300),
    ],
    wait=Duration(seconds=60),
)


def measure(stack: ExitStack, directory: Path, *, rounds: int, calls: int) -> list[Row]:
    """Round trips one after the other, with somebody who watches and approves at once."""
    remit = stack.enter_context(sidecar(directory / "remit", template=TEMPLATE))
    operator = (remit.state / "keys" / "operator.token").read_text(encoding="utf-8").strip()
    taken = uvloop.run(_round_trips(remit.address, operator, rounds * calls))
    found = figures(taken, sum(taken))
    note = f"from approving to the answer of the call that waits; p99 {found.p99:.1f} ms, {len(taken)} of them"
    return [Row("approval_roundtrip_p50", found.p50, "ms", note=note)]


async def _round_trips(address: str, operator: str, number: int) -> list[float]:
    approver = (("authorization", f"Bearer {operator}"),)
    taken: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        caller, oversight = sidecar_pb2_grpc.SidecarStub(channel), oversight_pb2_grpc.OversightStub(channel)
        watch = oversight.WatchApprovals(oversight_pb2.WatchApprovalsRequest(), metadata=approver)
        await watch.read()  # all that waits by now: nothing
        for _ in range(number):
            waiting = caller.Authorize(HELD, metadata=CALLER)
            seen = await _pending(watch)
            started = time.perf_counter()
            resolution = oversight_pb2.ResolveApprovalRequest(
                approval=seen.id,
                verdict=resources_pb2.APPROVAL_VERDICT_APPROVE,
                reason="bench",
                version=seen.version,
            )
            await oversight.ResolveApproval(resolution, metadata=approver)
            answer = await waiting
            taken.append(time.perf_counter() - started)
            assert answer.decision.effect == resources_pb2.EFFECT_ALLOW, answer
        watch.cancel()
    return taken


async def _pending(watch: grpc.aio.UnaryStreamCall[object, object]) -> oversight_pb2.Approval:
    while True:
        told = await watch.read()
        if told.approval.state == resources_pb2.APPROVAL_STATE_PENDING:  # type: ignore[attr-defined]
            return told.approval  # type: ignore[attr-defined,no-any-return]
