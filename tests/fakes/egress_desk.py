"""A desk in memory: it permits or refuses as it is told, understands requests as the egress does, and remembers.

And Envoy's messages, as its ext_proc filter sends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.struct_pb2 import Struct
from remit._envoy.envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit.core.answer import Answer, GivenReason, Turning
from remit.core.approval import State
from remit.core.call import Objection
from remit.core.catalogue import Catalogue, Credential, Endpoint, Route, Service, Variant
from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.egress.echo import Echoes
from remit.core.egress.exchange import HttpRequest, Mapped, Unmapped
from remit.core.egress.mapping import map_request
from remit.core.egress.mcp_message import McpRefused
from remit.core.egress.routing import terms_of
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.model import Identity, Subject
from remit.core.reason import EXPLANATIONS, Reason
from remit.listeners.egress_caller import Caller
from remit.listeners.egress_places import Place, place_of
from remit.pep.egress import Attempt, Passage
from remit.pep.meter import End, Held

TOKEN, SECRET = "token-of-the-agent", b"sk-of-the-service-itself"
AGENT = Subject("agent", "analysis", "cx", ("worker",), Identity("token", "analysis"))
KEY = (Credential(file="x"),)
WAITS = Turning("a1", "access.test", "approval_required", State.PENDING, "lead", ("finance",), 1_800_000_000 * 10**9)


def _service(kind: str = "http", **more: Any) -> Service:
    return Service(owner="cx", kind=kind, endpoints={"main": Endpoint(f"https://{kind}.example")}, **more)


CATALOGUE = Catalogue(
    currency="EUR",
    services={
        "crm": _service(credentials=KEY, routes=(Route("/v1/items", "items", ("GET", "POST")),)),
        "llm": _service(
            "openai", credentials=KEY, variants={"large": Variant(inject={"output_token": 100})}, operations=("chat",)
        ),
        "claude": _service("anthropic", credentials=KEY),
        "tools": _service("mcp", credentials=KEY),
        "calls": _service("grpc", credentials=KEY),
        "pipe": _service(opaque=True),
        "db": _service("tcp", listen="127.0.0.1:5432"),
    },
)


@dataclass
class FakeDesk:
    """Permits what maps, unless `denies`, `holds` or `failure` says otherwise; whoever shows TOKEN is the agent."""

    denies: Reason | None = None
    failure: Exception | None = None
    sees_all: Callable[[str], bool] = lambda tool: True
    nonce: str = "n0nce"
    refusals: list[str] = field(default_factory=list)
    nobody: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    permitted: list[Passage] = field(default_factory=list)
    settled: list[tuple[str, End]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None
    working: set[asyncio.Task[Any]] = field(default_factory=set)
    holds: Turning | None = None
    approved: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: list[int] = field(default_factory=list)

    def place(self, listener: str, pseudo: Mapping[str, str]) -> Place:
        return place_of(CATALOGUE, listener, pseudo)

    def kind(self, service: str) -> str:
        listed = CATALOGUE.services.get(service)
        return listed.kind if listed else "http"

    def fault(self, service: str, request: HttpRequest) -> McpRefused | None:
        return None

    async def identified(self, request: HttpRequest, peer: str, *, proxied: bool, certificate: str = "") -> Subject:
        name = "proxy-authorization" if proxied else "authorization"
        if request.header(name) == f"Bearer {TOKEN}" or request.header("remit-token") == TOKEN:
            return AGENT
        raise Unauthenticated(Cause.UNKNOWN, "nobody")

    async def unidentified(self, peer: str, error: Unauthenticated) -> None:
        self.nobody.append(error.cause)

    async def malformed(self, peer: str, details: str) -> None:
        self.nobody.append(details)

    async def begin(self, subject: Subject, attempt: Attempt, caller: Caller | None = None) -> Passage | Answer:
        assert subject is AGENT
        self.attempts.append(attempt)
        if self.holds is not None and not await self._outwaited(attempt, caller):
            return held(f"d{len(self.attempts)}", self.holds)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        id, service = f"d{len(self.attempts)}", CATALOGUE.services.get(attempt.service)
        if attempt.objection or self.denies or service is None:
            return denial(id, attempt.objection or Objection(self.denies or Reason.UNKNOWN_RESOURCE))
        try:
            mapped = Mapped("connect") if attempt.tunnel else self._mapped(service, attempt.request)
        except Unmapped as unmapped:
            return denial(id, Objection(Reason.REQUEST_UNMAPPED, unmapped.detail))
        passage = self._passage(id, attempt.service, service, mapped)
        self.permitted.append(passage)
        return passage

    async def _outwaited(self, attempt: Attempt, caller: Caller | None) -> bool:
        """Whether it was approved while the caller waited."""
        if not attempt.wait or caller is None or not await caller.stays(attempt.wait):
            return False
        self.waiting.append(attempt.wait)
        approving, leaving = (asyncio.ensure_future(each) for each in (self.approved.wait(), caller.left()))
        await asyncio.wait({approving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for each in (approving, leaving):
            each.cancel()
        return self.approved.is_set()

    async def shown(self, passage: Passage) -> Callable[[str], bool]:
        if self.gate is not None:
            await self.gate.wait()
        return self.sees_all

    def echoes(self, secrets: Sequence[bytes]) -> Echoes:
        return Echoes(secrets)

    def refused(self, code: str) -> None:
        self.refusals.append(code)

    def answered(self, passage: Passage, status: int, seconds: float) -> None:
        self.answers.append(status)

    def work(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.working.add(task)
        task.add_done_callback(self.working.discard)
        return task

    async def settle(self, passage: Passage, end: End) -> None:
        self.settled.append((passage.answer.id, end))

    def _mapped(self, service: Service, request: HttpRequest) -> Mapped:
        if service.kind == "grpc":
            return Mapped("Call", body=request.body)
        return map_request(service, request, attributes={})

    def _passage(self, id: str, name: str, service: Service, mapped: Mapped) -> Passage:
        header = {"anthropic": ("x-api-key", SECRET.decode())}.get(
            service.kind, ("authorization", f"Bearer {SECRET.decode()}")
        )
        given = GivenReason("access.test", "allowed", "allowed")
        return Passage(
            answer=Answer(id, Effect.ALLOW, (given,), enforced=True, retryable=False, committed=Committed("log", 1)),
            subject=AGENT,
            workflow="",
            purpose="",
            service=name,
            kind=service.kind,
            endpoint="main",
            terms=terms_of(service, "main"),
            mapped=mapped,
            held=Held(id, AGENT.id, "", name, mapped.variant, 0, 0, {}),
            hold=10**9,
            credential=header if service.credentials else None,
            secrets=(SECRET,) if service.credentials else (),
        )


def held(id: str, *approvals: Turning) -> Answer:
    """A decision that waits for approvals."""
    given = GivenReason("access.test", "approval_required", "It needs approval.")
    return Answer(
        id,
        Effect.HOLD,
        (given,),
        enforced=True,
        retryable=False,
        committed=Committed("log", 1),
        approvals=approvals,
    )


def denial(id: str, objection: Objection) -> Answer:
    """A decision that refuses."""
    reason = GivenReason("remit", objection.reason.value, objection.detail or EXPLANATIONS[objection.reason].raised)
    again = EXPLANATIONS[objection.reason].retryable
    return Answer(id, Effect.DENY, (reason,), enforced=True, retryable=again, committed=Committed("log", 1))


Pairs = Sequence[tuple[str, str]]


def header_map(pairs: Pairs) -> HeaderMap:
    """Headers as Envoy sends them."""
    return HeaderMap(headers=[HeaderValue(key=name, raw_value=value.encode("latin-1")) for name, value in pairs])


def attributes(**values: str) -> dict[str, Struct]:
    """Attributes as Envoy sends them; `_` stands for the dot."""
    found = Struct()
    found.update({name.replace("_", ".", 1): value for name, value in values.items()})
    return {"envoy.filters.http.ext_proc": found}


def asks(
    path: str = "/crm/v1/items",
    method: str = "GET",
    headers: Pairs = (("authorization", f"Bearer {TOKEN}"),),
    *,
    over: bool = True,
    authority: str = "localhost",
) -> pb.ProcessingRequest:
    """A request's headers; `over` says that no body comes."""
    pseudo = [(":method", method), (":path", path), (":authority", authority), (":scheme", "http")]
    pseudo = [each for each in pseudo if method != "CONNECT" or each[0] != ":path"]
    return pb.ProcessingRequest(
        request_headers=pb.HttpHeaders(headers=header_map([*pseudo, *headers]), end_of_stream=over),
        attributes=attributes(source_address="127.0.0.1:5000"),
    )


def says(body: bytes, *, over: bool = True) -> pb.ProcessingRequest:
    """A request's body."""
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=over))


def answers(
    status: str = "200", headers: Pairs = (), *, over: bool = False, details: str = "via_upstream"
) -> pb.ProcessingRequest:
    """A response's headers; `details` say whose it is."""
    return pb.ProcessingRequest(
        response_headers=pb.HttpHeaders(headers=header_map([(":status", status), *headers]), end_of_stream=over),
        attributes=attributes(response_code_details=details) if details else {},
    )


def tells(body: bytes, *, over: bool = False) -> pb.ProcessingRequest:
    """A part of a response's body."""
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=over))


def trails(headers: Pairs = ()) -> pb.ProcessingRequest:
    """A response's trailers."""
    return pb.ProcessingRequest(response_trailers=pb.HttpTrailers(trailers=header_map(headers)))
