"""One HTTP exchange through Envoy, from its headers to its end: the state of one ext_proc stream.

    NEW ─headers─▶ KNOWN ─body─▶ SENT ─response headers─▶ ANSWERING ─last part─▶ OVER
      └──────────────┴── refused ──▶ OVER                     └── cut ──▶ OVER

Whatever ends the stream ends the exchange: what was reserved and never sent is voided, what was sent is settled by
what had been seen. Envoy lets bytes pass unseen after a stream that ended well (measured), so a stream whose exchange
is not OVER is aborted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from time import perf_counter
from typing import Protocol

from google.protobuf.struct_pb2 import Struct

from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit.core.answer import Answer
from remit.core.call import Objection
from remit.core.egress.baggage import without_ours
from remit.core.egress.echo import Echoed, Echoes, EchoGuard
from remit.core.egress.exchange import Duplicate, Headers, HttpRequest
from remit.core.egress.kinds.mcp import surroundings as mcp_surroundings
from remit.core.egress.mcp_listing import Allowed, McpResponse, lists_tools
from remit.core.egress.mcp_message import McpRefused
from remit.core.egress.refusal import stream_error
from remit.core.egress.response import ResponseBody
from remit.core.egress.routing import PROXY, route
from remit.core.egress.signing import SIGNED_BESIDE
from remit.core.egress.usage import make_reader
from remit.core.errors import CallerError, ServiceError, Unauthenticated
from remit.core.evidence import Cause
from remit.core.model import Subject
from remit.core.reason import EXPLANATIONS, Reason
from remit.listeners import egress_wire as wire
from remit.listeners.egress_caller import Caller
from remit.listeners.egress_context import Surroundings, longer, read_surroundings
from remit.listeners.egress_peer import KEY_HEADERS, TOKEN
from remit.listeners.egress_peer import PROXY as PROXY_CREDENTIAL
from remit.listeners.egress_places import Place
from remit.listeners.egress_refusal import (
    BAD_UPSTREAM,
    FORBIDDEN,
    OVERLOADED,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    Refusal,
    of_answer,
    own,
    unproved,
)
from remit.listeners.grpc_status import Overloaded
from remit.pep.egress import Attempt, Passage
from remit.pep.meter import End, How
from remit.pep.world import SECOND

OURS = (
    TOKEN,
    "remit-workflow",
    "remit-purpose",
    "remit-reason",
    "remit-actor",
    "remit-parent",
    "remit-key",
    "remit-wait",
)
HOPS = ("x-real-ip", "proxy-connection")
DROPPED = (*OURS, *KEY_HEADERS, *SIGNED_BESIDE, PROXY_CREDENTIAL, *HOPS)
"""What never leaves: Remit's own headers, an agent's credential under whichever provider's name, and hops.

Not `x-forwarded-proto`, which Envoy finds its routes by: the route itself removes it, and the others like it."""

IDENTITY = "identity"
_PLAIN = {"grpc": ("grpc-accept-encoding", "grpc-encoding")}
"""How each kind of service says which encodings it takes, and which one it has used, besides what HTTP says."""

_UNSENT = ("no_healthy_upstream", "cluster_not_found", "route_not_found", "direct_response", "overflow")
_UNCONNECTED = ("connection_failure", "connection_timeout", "overflow")
_TOO_LARGE = "request_payload_too_large"
_IN_WORDS = (
    (_TOO_LARGE, "the request is larger than the service takes (its `body_bytes`, 1 MiB unless it says more)"),
    ("upgrade_failed", "WebSockets and other upgrades are not let through"),
)
_RESET = "upstream_reset_before_response_started"
_UPSTREAM = "via_upstream"
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)


MOST_WAIT_SECONDS = 3500
"""How long Envoy is asked to wait at the most: an hour is the most that it takes, what is decided after it included."""

BODILESS_WAIT_SECONDS = 30
"""The same for a request that has no body, and for a tunnel: for these Envoy's clock for the whole request, 60 s, goes
on until they are sent (measured, 1.40)."""


class State(Enum):
    """Where an exchange stands."""

    NEW = auto()
    KNOWN = auto()
    SENT = auto()
    ANSWERING = auto()
    OVER = auto()


class Broken(Exception):
    """What must not go on: the stream is aborted, and with it both connections."""


class Desk(Protocol):
    """What an exchange needs of the rest: who calls, what for, whether it may, and who counts."""

    @property
    def nonce(self) -> str: ...
    def place(self, listener: str, pseudo: Mapping[str, str]) -> Place: ...
    async def identified(self, request: HttpRequest, peer: str, *, proxied: bool, certificate: str = "") -> Subject: ...
    async def unidentified(self, peer: str, error: Unauthenticated) -> None: ...
    async def malformed(self, peer: str, details: str) -> None: ...
    async def begin(self, subject: Subject, attempt: Attempt, caller: Caller | None = None) -> Passage | Answer: ...
    async def shown(self, passage: Passage) -> Allowed: ...
    def kind(self, service: str) -> str: ...
    def fault(self, service: str, request: HttpRequest) -> McpRefused | None: ...
    def echoes(self, secrets: Sequence[bytes]) -> Echoes: ...
    def refused(self, code: str) -> None: ...
    def answered(self, passage: Passage, status: int, seconds: float) -> None: ...


class Exchange:
    """Takes Envoy's messages one by one, and says what is to be answered. `end` is how it ended, once it has.

    A held call waits for as long as its `caller` does; without one, not at all.
    """

    def __init__(
        self, desk: Desk, listener: str, peer: str, certificate: str = "", *, caller: Caller | None = None
    ) -> None:
        self._desk, self._listener, self._peer, self._certificate = desk, listener, peer, certificate
        self._caller = caller
        self._most_wait = MOST_WAIT_SECONDS * SECOND
        self.state = State.NEW
        self.passage: Passage | None = None
        self.end: End | None = None
        self.moved = False
        """Whether bytes have come since somebody last looked."""
        self._request = HttpRequest("", "", "", "/")
        self._place = Place("unlisted", "/")
        self._subject: Subject | None = None
        self._surroundings: Surroundings | None = None
        self._body: ResponseBody | None = None
        self._status = 0
        self._events = False
        self._started = perf_counter()

    async def take(self, message: pb.ProcessingRequest) -> Sequence[pb.ProcessingResponse]:
        """The answer to one message, in one part or more. Raises Broken."""
        self.moved = True
        match message.WhichOneof("request"):
            case "request_headers":
                self._peer = wire.attribute(message.attributes, "source.address").rpartition(":")[0] or self._peer
                return [await self._headers(message.request_headers)]
            case "request_body":
                return [await self._whole(message.request_body)]
            case "response_headers":
                return [await self._response(message.response_headers, message.attributes)]
            case "response_body":
                # Envoy tells of its own refusal's body before it has heard that another one goes in its place.
                refused = self.state is State.OVER and self.passage is None
                return [] if refused else [self._part(message.response_body)]
            case "response_trailers":
                return self._trailers(message.response_trailers)
        raise Broken("a message that was not asked for")

    def cut(self, error: str) -> None:
        """The stream has ended, by whomever: what was not over is cut."""
        if self.passage is not None and self.end is None:
            # Nobody reads what a tunnel carries: that it was opened is all that can be accounted.
            opened = self._place.tunnel and self.state is State.ANSWERING
            self._finish(How.SUCCEEDED if opened else How.CUT, error)
        self.state = State.OVER

    def withdraw(self) -> None:
        """What was decided is not sent after all."""
        if self.passage is not None and self.end is None:
            self._finish(How.NOT_SENT, "the caller left before anything was sent")
        self.state = State.OVER

    def stop(self, reason: Reason) -> pb.ProcessingResponse | None:
        """End it from within: an event that says why, where the response is a stream of them; else nothing."""
        told = self.state is State.ANSWERING and self._events
        self._desk.refused(reason.value)
        self.cut(f"stopped: {reason.value}")
        return wire.part(self._stopped(reason.value, EXPLANATIONS[reason].raised), last=True) if told else None

    async def _headers(self, message: pb.HttpHeaders) -> pb.ProcessingResponse:
        if self.state is not State.NEW:
            raise Broken("a second request in one stream")
        pseudo, headers = wire.read_headers(message.headers)
        self._place = self._desk.place(self._listener, pseudo)
        self._request = HttpRequest(
            pseudo.get(":method", ""),
            pseudo.get(":scheme", ""),
            pseudo.get(":authority", ""),
            self._place.path,
            headers,
        )
        try:
            self._subject = await self._desk.identified(
                self._request, self._peer, proxied=self._listener == PROXY, certificate=self._certificate
            )
        except Duplicate as twice:
            return await self._unidentified(Unauthenticated(Cause.AMBIGUOUS, str(twice)))
        except Unauthenticated as error:
            return await self._unidentified(error)
        self._surroundings = read_surroundings(self._request)
        self.state = State.KNOWN
        if message.end_of_stream or self._place.tunnel:
            self._most_wait = BODILESS_WAIT_SECONDS * SECOND
            return await self._decide(at_headers=True)
        return wire.go_on()

    async def _whole(self, message: pb.HttpBody) -> pb.ProcessingResponse:
        if self.state is not State.KNOWN:
            raise Broken("a body that was not waited for")
        if not message.end_of_stream:
            # Whole, but trailers follow, which nobody would have looked at.
            return await self._object("the request has trailers")
        self._request = replace(self._request, body=message.body)
        if self._kind == "mcp":
            told = replace(self._request, headers=(*self._request.headers, *mcp_surroundings(self._request)))
            self._surroundings = longer(read_surroundings(told), self._request)
        return await self._decide(at_headers=False)

    async def _decide(self, *, at_headers: bool) -> pb.ProcessingResponse:
        begun = await self._begin(None)
        if isinstance(begun, Refusal):
            return self._refuse(begun)
        if isinstance(begun, Answer):
            fault = self._desk.fault(self._place.service, self._request)
            resumes = self._caller is not None and not self._caller.refused
            return self._refuse(of_answer(self._kind, self._request, begun, fault, resumes=resumes))
        self.passage, self.state = begun, State.SENT
        self._started = perf_counter()
        sent = self._send(begun, at_headers=at_headers)
        if begun.kind != "mcp":  # whose answers are read beside what was asked
            self._forget(begun)
        return sent

    def _forget(self, passage: Passage) -> None:
        """A stream may last for hours, and there are many: what was sent is not kept until its end."""
        self._request = replace(self._request, body=b"")
        self.passage = replace(passage, mapped=replace(passage.mapped, body=b"", arguments={}))

    async def _begin(self, objection: Objection | None) -> Passage | Answer | Refusal:
        """What was decided; a refusal where nothing could be."""
        if self._subject is None or self._surroundings is None:
            raise Broken("nobody is known to have asked")
        place, told = self._place, self._surroundings
        attempt = Attempt(
            service=place.service,
            request=self._request,
            claimed=told.claimed,
            key=told.key,
            tunnel=place.tunnel,
            endpoints=place.endpoints,
            objection=objection or place.objection or told.objection,
            wait=min(told.wait, self._most_wait),
        )
        try:
            return await self._desk.begin(self._subject, attempt, self._caller)
        except Overloaded as error:
            return self._own(OVERLOADED, "overloaded", str(error))
        except ServiceError as error:
            return self._own(UNAVAILABLE, error.reason.value, EXPLANATIONS[error.reason].raised)
        except CallerError as error:
            return self._own(FORBIDDEN, Reason.REQUEST_MALFORMED.value, str(error))

    def _send(self, passage: Passage, *, at_headers: bool) -> pb.ProcessingResponse:
        put: list[tuple[str, str]] = [] if self._place.tunnel else [("accept-encoding", IDENTITY)]
        put += [(_PLAIN[passage.kind][0], IDENTITY)] if passage.kind in _PLAIN else []
        more, drop = leaving(self._request, passage)
        put += more
        body = None if at_headers or passage.mapped.body == self._request.body else passage.mapped.body
        way = route(self._desk.nonce, passage.service, passage.endpoint, passage.terms)
        return wire.send_on(way, put=put, drop=drop, body=body, at_headers=at_headers)

    async def _response(self, message: pb.HttpHeaders, attributes: Mapping[str, Struct]) -> pb.ProcessingResponse:
        pseudo, headers = wire.read_headers(message.headers)
        status = pseudo.get(":status", "")
        if not _STATUS.fullmatch(status):
            raise Broken("a response without a status")
        self._status = int(status)
        details = wire.attribute(attributes, "response.code_details")
        if self.state is State.NEW and details and not details.startswith(_UPSTREAM):
            return await self._malformed(details, headers)
        if self.state is State.KNOWN:
            return await self._local(details)
        if self.state is not State.SENT or self.passage is None:
            raise Broken("a response to what was never sent")
        if self._place.tunnel and self._status == 200:
            self.state = State.ANSWERING
            return wire.begin_answer((), ())
        if details and not details.startswith(_UPSTREAM):
            return self._unanswered(details)
        return await self._answer(self.passage, headers, over=message.end_of_stream)

    async def _malformed(self, details: str, headers: Headers) -> pb.ProcessingResponse:
        """Envoy itself refuses what never became a request: too large, cut off, or not HTTP as it should be."""
        await self._desk.malformed(self._peer, details[:200])
        status = self._status if self._status >= 400 else UNAVAILABLE
        kind = self._kind
        if dict(headers).get("content-type", "").startswith("application/grpc"):
            # All that is known of the request is how Envoy answers it: of gRPC's statuses, not of HTTP's.
            kind, status = "grpc", TOO_LARGE if details.startswith(_TOO_LARGE) else UNAVAILABLE
        code = Reason.REQUEST_MALFORMED.value
        text = next((words for cause, words in _IN_WORDS if details.startswith(cause)), details[:200])
        return self._refuse(own(kind, self._request, status=status, code=code, message=text))

    async def _local(self, details: str) -> pb.ProcessingResponse:
        """Envoy itself answers before anything was decided: the request was too large, or its body never came."""
        too_large = self._status == 413
        return await self._object("the request is larger than it takes" if too_large else details or str(self._status))

    async def _object(self, what: str) -> pb.ProcessingResponse:
        """Refuse, and record why."""
        wrong = f"{self._place.service}: {what}"
        begun = await self._begin(Objection(Reason.REQUEST_MALFORMED, wrong, binding=True))
        if isinstance(begun, Refusal):
            return self._refuse(begun)
        if isinstance(begun, Passage):
            self.passage = begun
            self.withdraw()
            raise Broken("an objection that did not hold")
        refusal = of_answer(self._kind, self._request, begun)
        # gRPC says it among its headers; its clients look at no other status.
        status = refusal.status if self._kind == "grpc" else self._status or refusal.status
        return self._refuse(Refusal(refusal.code, status, refusal.headers, refusal.body))

    def _unanswered(self, details: str) -> pb.ProcessingResponse:
        """Envoy answers in the upstream's place: nothing was sent, or no answer came."""
        unsent = details.startswith(_UNSENT) or (
            details.startswith(_RESET) and any(each in details for each in _UNCONNECTED)
        )
        self._finish(How.NOT_SENT if unsent else How.CUT, details[:200])
        code = Reason.ENDPOINT_UNAVAILABLE.value if unsent else "upstream_failed"
        status = UNAVAILABLE if unsent else BAD_UPSTREAM
        text = "nothing was sent" if unsent else "the upstream gave no answer; what it did is not known"
        return self._refuse(self._own(status, code, f"{text} ({details[:200]})"))

    async def _answer(self, passage: Passage, headers: Headers, *, over: bool) -> pb.ProcessingResponse:
        named = dict(headers)
        encoding = _encoding(passage.kind, headers)
        self._desk.answered(passage, self._status, perf_counter() - self._started)
        guard = EchoGuard(self._desk.echoes(passage.secrets)) if passage.secrets else None
        if (guard or passage.mapped.format) and encoding:
            self._finish(How.CUT, "encoded")
            text = f"the answer is encoded ({encoding[:32]}) although it must not be, and so cannot be looked at"
            return self._refuse(self._own(BAD_UPSTREAM, "upstream_encoded", text))
        if guard is not None:
            try:
                guard.scan_headers(headers)
            except Echoed as echoed:
                self._finish(How.CUT, str(echoed))
                return self._refuse(self._own(BAD_UPSTREAM, "credential_echoed", str(echoed)))
        drop = await self._read(passage, named, guard)
        if self.end is not None:
            raise Broken("it was stopped meanwhile")
        self.state = State.ANSWERING
        if over:
            self._whole_response()
        return wire.begin_answer([("remit-decision", passage.answer.id)], drop)

    async def _read(self, passage: Passage, headers: Mapping[str, str], guard: EchoGuard | None) -> Sequence[str]:
        """Set up what looks at the body; the response's headers that do not hold any more."""
        mapped, content_type = passage.mapped, headers.get("content-type", "")
        self._events = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        reader = None
        # What has no reader is priced by what is known of it before: a call is a call.
        if mapped.format and (mapped.returns or mapped.format != "http"):
            reader = make_reader(mapped.format, content_type=content_type, returns=mapped.returns, headers=headers)
        listing = None
        if passage.kind == "mcp" and lists_tools(mapped):
            listing = McpResponse(
                await self._desk.shown(passage),
                content_type=content_type,
                content_encoding=headers.get("content-encoding", ""),
                request=mapped.body,
            )
        self._body = ResponseBody(reader, listing, guard)
        return ["content-length"] if listing is not None else []

    def _part(self, message: pb.HttpBody) -> pb.ProcessingResponse:
        if self.state is State.OVER and self.passage is not None:
            return wire.part(b"", last=message.end_of_stream)
        if self.state is not State.ANSWERING or self._body is None:
            raise Broken("a response's body before its headers")
        try:
            out = self._body.feed(message.body)
            if message.end_of_stream:
                out += self._body.end()
        except Echoed as echoed:
            if not self._events:
                # Where the answer's headers have gone on already, Envoy cuts it; else the agent hears why.
                self._finish(How.CUT, str(echoed))
                return self._refuse(self._own(BAD_UPSTREAM, "credential_echoed", str(echoed)))
            self._echoed(echoed)
            return wire.part(self._stopped("credential_echoed", str(echoed)), last=True)
        if message.end_of_stream:
            self._whole_response()
        return wire.part(out, last=message.end_of_stream)

    def _trailers(self, message: pb.HttpTrailers) -> Sequence[pb.ProcessingResponse]:
        """What the body's guard still held goes first: where trailers follow, no part of the body is the last one."""
        if self.state not in (State.ANSWERING, State.OVER) or self.passage is None:
            raise Broken("trailers of what was never answered")
        try:
            if self.passage.secrets:
                self._desk.echoes(self.passage.secrets).scan_headers(wire.read_headers(message.trailers)[1])
            if self.state is State.OVER:
                return [wire.trailers()]
            rest = self._body.end() if self._body is not None else b""
        except Echoed as echoed:
            raise self._echoed(echoed) from None
        self._whole_response()
        return [*([wire.part(rest, last=False)] if rest else []), wire.trailers()]

    def _echoed(self, echoed: Echoed) -> Broken:
        self._desk.refused("credential_echoed")
        self._finish(How.CUT, str(echoed))
        return Broken(str(echoed))

    def _whole_response(self) -> None:
        failed = self._status >= 400
        self._finish(How.FAILED if failed else How.SUCCEEDED, f"HTTP {self._status}" if failed else "")

    def _finish(self, how: How, error: str) -> None:
        if self.passage is not None and self.end is None:
            whole = how in (How.SUCCEEDED, How.FAILED)
            seen = self._body.used(whole=whole) if self._body is not None else None
            unread = self._place.tunnel or (self._body is not None and not self._body.reads)
            complete = (whole and unread) or bool(seen and seen.complete)
            self.end = End(how, dict(seen.units) if seen else {}, complete=complete, error=error)
        self.state = State.OVER

    async def _unidentified(self, error: Unauthenticated) -> pb.ProcessingResponse:
        await self._desk.unidentified(self._peer, error)
        return self._refuse(self._own(unproved(error), Reason.UNAUTHENTICATED.value, str(error)))

    def _refuse(self, refusal: Refusal) -> pb.ProcessingResponse:
        self.state = State.OVER
        self._desk.refused(refusal.code)
        headers = list(refusal.headers)
        if refusal.status == UNAUTHENTICATED and self._listener == PROXY:
            headers.append(("proxy-authenticate", 'Basic realm="remit"'))
        return wire.answer(refusal.status, headers, refusal.body)

    def _own(self, status: int, code: str, message: str) -> Refusal:
        decision = self.passage.answer.id if self.passage is not None else ""
        return own(self._kind, self._request, status=status, code=code, message=message, decision=decision)

    def _stopped(self, code: str, message: str) -> bytes:
        return stream_error(self._kind, code, f"Remit: {message}")

    @property
    def _kind(self) -> str:
        return self._desk.kind(self._place.service)


def leaving(request: HttpRequest, passage: Passage) -> tuple[list[tuple[str, str]], list[str]]:
    """Which headers are put into a request that leaves, and which are taken from it."""
    baggage = (without_ours(value) for name, value in request.headers if name == "baggage")
    kept = ",".join(each for each in baggage if each)
    put = [*([passage.credential] if passage.credential else []), *([("baggage", kept)] if kept else [])]
    names = {name for name, _ in put}
    ours = {name for name, _ in request.headers if name.startswith("remit-")}
    return put, [name for name in (*DROPPED, *sorted(ours - {*DROPPED}), "baggage") if name not in names]


def _encoding(kind: str, headers: Headers) -> str:
    """How a response's body is encoded, "" where it is not; whichever of several headers says so."""
    names = ("content-encoding", *_PLAIN.get(kind, ())[1:])
    found = [value.strip().lower() for name, value in headers if name in names]
    return ", ".join(each for each in found if each not in ("", IDENTITY))
