"""One of the two processes by which everything happens to approvals, told what to do line by line, as JSON.

It is a client of a sidecar (`target`), or a member of an installation on PostgreSQL, with a pipeline of its own; then
its clock is what each line says. It answers each line, in whatever order, by its `id`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import grpc
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.approval_orders import PEOPLE, orders_world, token_of
from fakes.world import FakeClock, subject
from race.reaching import server_of
from remit.backends.clock_system import SystemClock
from remit.backends.ids_random import RandomIds
from remit.backends.store_postgres.store import PostgresStore
from remit.core.answer import Answer
from remit.core.approval import Verdict
from remit.core.call import Call, Claimed, Resolution
from remit.core.errors import BadRequest, IllegalTransition, RemitError
from remit.core.model import Identity, Resource, Subject
from remit.pep.pipeline import Pipeline
from remit.v1 import oversight_pb2 as o
from remit.v1 import oversight_pb2_grpc, sidecar_pb2, sidecar_pb2_grpc
from remit.v1 import resources_pb2 as r

Told = Mapping[str, Any]
Said = dict[str, Any]
ILLEGAL: Said = {"effect": "", "codes": [], "approvals": []}
SECONDS = 120
EFFECTS = {r.EFFECT_ALLOW: "ALLOW", r.EFFECT_DENY: "DENY", r.EFFECT_HOLD: "HOLD"}
VERDICTS = {"approve": r.APPROVAL_VERDICT_APPROVE, "deny": r.APPROVAL_VERDICT_DENY}
LARGE = ("service", "model", "chat", "large")
CRM = ("dataset", "crm", "", "")


class Hand(Protocol):
    """What a process can do."""

    async def ask(self, told: Told) -> Said: ...
    async def read(self, told: Told) -> Said: ...
    async def say(self, told: Told) -> Said: ...
    async def sweep(self, told: Told) -> Said: ...
    async def close(self) -> None: ...


class Client:
    """Of a sidecar."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._sidecar = sidecar_pb2_grpc.SidecarStub(self._channel)
        self._oversight = oversight_pb2_grpc.OversightStub(self._channel)

    async def ask(self, told: Told) -> Said:
        return await self._authorize(told, "api.call", LARGE, json.dumps({"n": told["arguments"]}).encode())

    async def read(self, told: Told) -> Said:
        return await self._authorize(told, "data.read", CRM, b"")

    async def say(self, told: Told) -> Said:
        request = o.ResolveApprovalRequest(
            approval=told["approval"], verdict=VERDICTS[told["verdict"]], reason="because", version=told["version"]
        )
        try:
            answer = await self._oversight.ResolveApproval(request, metadata=_proof(told), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
                raise
            return ILLEGAL
        return _read(answer.decision)

    async def sweep(self, told: Told) -> Said:
        raise NotImplementedError("the sidecar sweeps")

    async def close(self) -> None:
        await self._channel.close()

    async def _authorize(self, told: Told, action: str, resource: tuple[str, ...], arguments: bytes) -> Said:
        type, id, operation, variant = resource
        request = sidecar_pb2.AuthorizeRequest(
            action=action,
            resource=r.Resource(type=type, id=id, operation=operation, variant=variant),
            context=r.Context(purpose="onboarding", arguments=arguments),
        )
        answer = await self._sidecar.Authorize(request, metadata=_proof(told), timeout=SECONDS)
        return _read(answer.decision)


def _proof(told: Told) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token_of(told['who'])}"),)


def _read(decision: r.Decision) -> Said:
    return {
        "effect": EFFECTS[decision.effect],
        "codes": [each.code for each in decision.reasons],
        "approvals": [each.id for each in decision.approvals],
    }


class Member:
    """Of an installation."""

    def __init__(self, store: PostgresStore, clock: FakeClock) -> None:
        self._store, self._clock = store, clock
        self._pipeline = Pipeline(orders_world(store, clock))

    async def ask(self, told: Told) -> Said:
        return await self._authorize(told, "api.call", LARGE, {"n": told["arguments"]})

    async def read(self, told: Told) -> Said:
        return await self._authorize(told, "data.read", CRM, {})

    async def say(self, told: Told) -> Said:
        self._clock.time = told["now"]
        resolution = Resolution(told["approval"], Verdict(told["verdict"]), "because", told["version"])
        try:
            return _answered((await self._pipeline.resolve(_subject(told), resolution)).answer)
        except (IllegalTransition, BadRequest):
            return ILLEGAL

    async def sweep(self, told: Told) -> Said:
        self._clock.time = told["now"]
        while await self._store.due_approvals(told["now"], 1):
            await self._pipeline.sweep()
        return {}

    async def close(self) -> None:
        await self._store.close()

    async def _authorize(
        self, told: Told, action: str, resource: tuple[str, ...], arguments: Mapping[str, Any]
    ) -> Said:
        self._clock.time = told["now"]
        claimed = Claimed(purpose="onboarding", arguments=arguments)
        return _answered(
            await self._pipeline.authorize(_subject(told), Call("Authorize", action, Resource(*resource), claimed))
        )


def _subject(told: Told) -> Subject:
    name = told["who"]
    if name in PEOPLE:
        return Subject("person", name, "", ("approver",), Identity("token", name))
    return subject(name)


def _answered(answer: Answer) -> Said:
    return {
        "effect": answer.effect.value,
        "codes": [each.code for each in answer.reasons],
        "approvals": [each.id for each in answer.approvals],
    }


async def _member(spec: Told) -> Member:
    clock = FakeClock()
    store = await PostgresStore.open(
        server_of(spec),
        log=spec["log"],
        kind="sidecar",
        key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(spec["key"])),
        clock=clock,
        ids=RandomIds(SystemClock()),
        careless=True,
    )
    store.activate("r1")
    return Member(store, clock)


async def main() -> None:
    lines = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    spec = json.loads(await lines.readline())
    hand: Hand = Client(spec["target"]) if "target" in spec else await _member(spec)
    print("ready", flush=True)
    async with asyncio.TaskGroup() as tasks:

        async def do(told: Told) -> None:
            try:
                said = await getattr(hand, told["do"])(told)
            except (grpc.aio.AioRpcError, RemitError) as error:  # nobody is to have one: it is found there
                said = {**ILLEGAL, "effect": "failed", "codes": [repr(error)]}
            print(json.dumps({"id": told["id"], **said}), flush=True)

        while line := await lines.readline():
            tasks.create_task(do(json.loads(line)))
    await hand.close()


if __name__ == "__main__":
    uvloop.run(main())
