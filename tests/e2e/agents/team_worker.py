"""A worker of the team: takes orders from its standard input, a line each, and says how far it is.

It keeps nothing: whoever gets its order after it begins anew, under the same keys.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import remit
from remit.v1 import audit_pb2, audit_pb2_grpc

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds after which it believes no more that the sidecar comes back, or the order is free."""

TTL = timedelta(seconds=2)
ENDED = "conflict_detected"
"""Why an order cannot be ended: somebody else has ended it."""

BEFORE = "idempotency_mismatch"
"""The same under another claim: this agent tried to end it before it crashed. Whether it did, the journal says."""


def say(at: str, **more: Any) -> None:
    """How far it is."""
    print(json.dumps({"at": at, **more}), flush=True)


async def through(call: Callable[[], Awaitable[T]]) -> T:
    """The same call, also where the sidecar is away for a while."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except remit.Unavailable:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


class Ended(Exception):
    """There is nothing more to be done for an order: how it ended, and why."""

    def __init__(self, end: str, why: str) -> None:
        super().__init__(end, why)
        self.end, self.why = end, why


class Order:
    """One of them, as it is told."""

    def __init__(self, agent: remit.Agent, told: Mapping[str, Any]) -> None:
        self._agent, self._id, self._kind, self._told = agent, told["order"], told["kind"], told
        self._until = time.monotonic() + PATIENCE
        self._times: dict[str, int] = {}

    async def work(self) -> None:
        """From the claim to its end."""
        with remit.workflow(context=self._told["workflow"], purpose="orders"):
            while True:
                try:
                    async with self._agent.claim("service:orders", object=self._id, ttl=TTL) as claim:
                        say("claimed")
                        await self._close(claim)
                        return
                except (remit.Denied, remit.ClaimLost, remit.Unavailable, grpc.RpcError) as error:
                    # Somebody else has it still, or the workflow stands still for a while.
                    if time.monotonic() > self._until:
                        say("stuck", why=str(error))
                        return
                    await asyncio.sleep(0.2)

    async def _close(self, claim: remit.Claim) -> None:
        try:
            await getattr(self, f"_{self._kind}")()
            end, why = "close_done", ""
        except Ended as ended:
            end, why = ended.end, ended.why
        say("closing")
        while not await self._closed(end, why, claim):
            self._turn("close")
        say("closed")

    async def _closed(self, end: str, why: str, claim: remit.Claim) -> bool:
        """Whether it has ended now, by whomever; False where it is to be tried under another key."""
        said = {"operation": end, "more": {"why": why}, "claim": claim}
        try:
            await self._report(await self._ask("close", "api.call", "service:orders", **said), "succeeded")
        except remit.Denied as denied:
            if BEFORE in denied.codes:
                return await self._has_ended()
            if ENDED not in denied.codes:
                raise
        return True

    async def _has_ended(self) -> bool:
        """Whether the workflow's journal has an end of it."""
        async with grpc.aio.insecure_channel(os.environ["REMIT_ADDRESS"]) as channel:
            trace = audit_pb2_grpc.AuditStub(channel).Trace  # type: ignore[no-untyped-call]
            asked = audit_pb2.TraceRequest(workflow=self._told["workflow"])
            answer = await trace(asked, metadata=[("authorization", f"Bearer {os.environ['REMIT_TOKEN']}")])
        bodies = [json.loads(each.body) for each in answer.records if each.kind == "decision"]
        return any(
            each["effect"] == "ALLOW"
            and each["resource"]["id"] == "orders"
            and each["action"] == "api.call"
            and each["context"]["arguments"]["order"] == self._id
            for each in bodies
        )

    async def _plain(self) -> None:
        await self._do("small", "api.call", "service:models", operation="chat", variant="small")

    async def _large(self) -> None:
        await self._do("large", "api.call", "service:models", operation="chat", variant="large")

    async def _pay(self) -> None:
        await self._do("pay", "tool.call", "tool:bank", operation="pay", more={"euros": 40})

    async def _wire(self) -> None:
        await self._do("wire", "api.call", "service:wires", operation="send")

    async def _refund(self) -> None:
        await self._judge("refunds")

    async def _credit(self) -> None:
        await self._judge("credits")

    async def _judge(self, service: str) -> None:
        said, ticket = self._told["says"], self._told["ticket"]
        await self._do("judge", "api.call", f"service:{service}", operation=said, more={"ticket": ticket})

    async def _ship(self) -> None:
        """The shop always fails."""
        for turn in range(4):
            decision = await self._permitted(f"ship{turn}", "api.call", "service:shop", operation="ship")
            reported = await self._report(decision, "failed")
            if reported is not None and reported.advice == "compensate":
                await self._do("unship", "api.call", "service:shop", operation="unship")
                raise Ended("close_compensated", "failed")
            if reported is not None and reported.advice == "escalate":
                raise Ended("close_given_up", "failure_escalated")
        raise Ended("close_given_up", "failed")

    async def _do(self, step: str, action: str, resource: str, **asked: Any) -> None:
        await self._report(await self._permitted(step, action, resource, **asked), "succeeded")

    async def _report(self, decision: remit.Decision, outcome: Any) -> remit.Reported | None:
        """None where its end was told before, by whom this worker was until it crashed."""
        try:
            return await through(lambda: self._agent.report(decision, outcome))
        except remit.IllegalState:
            return None

    async def _permitted(self, step: str, action: str, resource: str, **asked: Any) -> remit.Decision:
        say("asking")
        try:
            decision = await self._ask(step, action, resource, wait=self._told["waits"], **asked)
        except remit.Held as held:
            raise Ended("close_given_up", held.codes[0]) from held
        except remit.Denied as denied:
            offered = denied.alternative
            if offered is None:
                raise Ended(self._end_of(denied), denied.codes[0]) from denied
            other = dict(offered.ask)
            more = dict(other.pop("arguments", {}))
            decision = await self._ask(f"{step}-offered", action, offered.resource, more=more, **other)
        say("reserved")
        await asyncio.sleep(0.03)
        return decision

    def _end_of(self, denied: remit.Denied) -> str:
        return "close_given_up" if denied.codes[0] == "retries_exhausted" else "close_refused"

    async def _ask(
        self, step: str, action: str, resource: str, *, more: Mapping[str, Any] | None = None, **asked: Any
    ) -> remit.Decision:
        """The decision, once the workflow is not halted."""
        arguments = {"order": self._id, **(more or {})}
        usage = {"usage": {"call": 1}}
        while True:
            key = f"{self._id}:{step}:{self._times.get(step, 0)}"
            try:
                return await through(
                    lambda key=key: self._agent.authorize(
                        action, resource, arguments=arguments, key=key, **usage, **asked
                    )
                )
            except remit.Denied as denied:
                halted = "halted" in denied.codes
                if not (halted or denied.retryable) or time.monotonic() > self._until:
                    raise
                # The answer to a key is kept; what is asked later is another question.
                self._turn(step)
                await asyncio.sleep(0.2)

    def _turn(self, step: str) -> None:
        """Ask it anew from now on."""
        self._times[step] = self._times.get(step, 0) + 1


async def main() -> None:
    """Until there are no more orders."""
    async with remit.Agent.connect() as agent:
        say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            await Order(agent, json.loads(line)).work()
            say("next")


if __name__ == "__main__":
    asyncio.run(main())
