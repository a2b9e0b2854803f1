"""The real HTTP listener with AuthZEN beside health, in front of the pipeline in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from fakes.pep_fake import START, FakePipeline
from remit.backends.clock_system import SystemClock
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.answer import Answer, Change, GivenReason, Turning
from remit.core.approval import State
from remit.core.authzen import EVALUATION
from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause, Evidence, Proof
from remit.core.model import Identity, Subject
from remit.listeners.authzen import SECONDS, Authzen
from remit.listeners.ops import OpsListener
from remit.listeners.pipeline import Identities

from .serving import CATALOGUE, SUPPORT, Seen

SECOND = 1_000_000_000
HELD = Answer(
    id="d_1",
    effect=Effect.HOLD,
    reasons=(
        GivenReason("approval.variant", "approval_required", "ask", (Change("approval", "a_1", time=START + SECOND),)),
    ),
    enforced=True,
    retryable=False,
    committed=Committed("local", 7),
    revision="r1",
    cheaper="small",
    approvals=(
        Turning("a_1", "approval.variant", "approval_required", State.PENDING, "lead", ("finance",), START + SECOND),
    ),
)


def question(**parts: object) -> dict[str, Any]:
    """The usual question of the agent `support`, with other parts where they are given."""
    usual: dict[str, object] = {
        "subject": {"type": "agent", "id": "support"},
        "action": {"name": "api.call"},
        "resource": {"type": "service", "id": "openai", "properties": {"operation": "chat", "variant": "small"}},
    }
    return {name: value for name, value in {**usual, **parts}.items() if value is not None}


def boxcar(*evaluations: object, **parts: object) -> dict[str, Any]:
    """Several evaluations by the agent `support`."""
    return {"subject": {"type": "agent", "id": "support"}, "evaluations": list(evaluations), **parts}


def of(id: str, **parts: object) -> dict[str, Any]:
    """One of several: a call to a service."""
    return {"action": {"name": "api.call"}, "resource": {"type": "service", "id": id}, **parts}


@dataclass(frozen=True, slots=True)
class Users:
    """An identity provider that is no catalogue: whoever has the token `token-of-NAME` is the user of that name."""

    async def identify(self, evidence: Evidence) -> Subject:
        if not evidence.token.startswith("token-of-"):
            raise Unauthenticated(Cause.UNKNOWN, "nobody's")
        name = evidence.token.removeprefix("token-of-")
        return Subject("user", name, "", (), Identity("token", name))

    def person(self, proof: Proof) -> Subject:
        raise Unauthenticated(Cause.UNKNOWN, "no people")

    async def pod(self) -> Subject | None:
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """As JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.raw)


@dataclass(slots=True)
class Stage:
    """A listener that runs; `port` is where."""

    port: int
    pipeline: FakePipeline
    seen: Seen
    authzen: Authzen
    session: aiohttp.ClientSession = field(repr=False)
    connections: Callable[[], int]

    async def send(
        self,
        body: object,
        path: str = EVALUATION,
        *,
        token: str = SUPPORT,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; a body that is not bytes is sent as JSON."""
        usual = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, data=raw, headers={**usual, **(headers or {})}) as response:
            given = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, given, await response.read())


def _is_over(connection: web.RequestHandler) -> bool:
    return connection.transport is None or connection.transport.is_closing()


@asynccontextmanager
async def staged(
    pipeline: FakePipeline | None = None,
    identities: Identities | None = None,
    *,
    base: str = "",
    seconds: float = SECONDS,
) -> AsyncIterator[Stage]:
    """A listener on loopback, called `pdp.example.com` as well."""

    async def exposition(accept: str) -> tuple[bytes, str]:
        return b"remit_pdp_up 1.0\n", "text/plain"

    pipeline, seen = pipeline or FakePipeline(), Seen()
    known = identities or CatalogueIdentity(CATALOGUE, SystemClock())
    authzen = Authzen(pipeline, known, seen, base=base, seconds=seconds)
    listener = OpsListener(exposition, dict, hosts=["pdp.example.com"], besides=authzen)
    address = await listener.start("127.0.0.1", 0)
    timeout = aiohttp.ClientTimeout(total=20)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield Stage(
                int(address.rpartition(":")[2]),
                pipeline,
                seen,
                authzen,
                session,
                lambda: sum(not _is_over(each) for each in listener._server.connections) if listener._server else 0,
            )
    finally:
        pipeline.gate.set()
        await listener.stop()
        await authzen.finish(5)
