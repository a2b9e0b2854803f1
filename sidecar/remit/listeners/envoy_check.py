"""`envoy.service.auth.v3.Authorization/Check`: for Envoys and meshes that are not Remit's own.

Every doubt is an explicit PERMISSION_DENIED with an answer, never a gRPC error: an Envoy with `failure_mode_allow`
would open on an error. A check cannot rewrite a body, so a call that needs a cap put in is refused; and it sees no
answer, so what it reserved lapses, charged as reserved. A held call waits no longer than the Envoy that asks does.

A service is named by `context_extensions: {remit-service: NAME}` (then the whole path is the service's), else by the
first part of the path as at Remit's own egress. A connection without HTTP is for the tcp service that listens there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from remit._envoy.envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from remit._envoy.envoy.service.auth.v3 import external_auth_pb2 as pb
from remit._envoy.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from remit._envoy.envoy.type.v3.http_status_pb2 import HttpStatus
from remit.core.answer import Answer
from remit.core.call import Objection
from remit.core.egress.exchange import Duplicate, HttpRequest
from remit.core.egress.routing import EGRESS, TCP
from remit.core.errors import ServiceError, Unauthenticated
from remit.core.evidence import Cause
from remit.core.reason import EXPLANATIONS, Reason
from remit.listeners.egress_caller import Caller
from remit.listeners.egress_context import read_surroundings
from remit.listeners.egress_desk import EgressDesk
from remit.listeners.egress_places import Place
from remit.listeners.egress_refusal import (
    OVERLOADED,
    UNAVAILABLE,
    Refusal,
    of_answer,
    own,
    unproved,
)
from remit.listeners.envoy_exchange import MOST_WAIT_SECONDS, leaving
from remit.listeners.grpc_status import Overloaded
from remit.pep.egress import Attempt, Passage
from remit.pep.world import SECOND

CHECK = "/envoy.service.auth.v3.Authorization/Check"
SERVICE = "remit-service"
PARTIAL = "x-envoy-auth-partial-body"
MARGIN_SECONDS = 1.0
"""Of an Envoy's own deadline, what is left for deciding after a held call has waited."""

BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods whose requests have no body where they state no length of one."""

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_DENIED: int = StatusCode.PERMISSION_DENIED.value[0]
_log = logging.getLogger(__name__)


class Checker:
    """Answers checks."""

    def __init__(self, desk: EgressDesk) -> None:
        self._desk = desk
        self._callers: set[Caller] = set()
        self._released = False

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """What gRPC calls for `Check`."""
        return grpc.unary_unary_rpc_method_handler(self._serve)

    async def _serve(self, raw: bytes, context: Context) -> bytes:
        caller, left = Caller(), context.time_remaining()
        most = MOST_WAIT_SECONDS if left is None else max(0.0, left - MARGIN_SECONDS)
        self._callers.add(caller)
        if self._released:
            caller.leave()
        try:
            answer = await asyncio.shield(self._desk.work(self._answer(raw, caller, int(most * SECOND))))
        finally:
            # Decisions are recorded whoever still waits for them; nothing waits for an approval any more.
            caller.leave()
            self._callers.discard(caller)
        return bytes(answer.SerializeToString())

    def release(self) -> None:
        """Have every held call answered as it is now, and none wait from now on."""
        self._released = True
        for each in self._callers:
            each.leave()

    async def _answer(self, raw: bytes, caller: Caller, most: int) -> pb.CheckResponse:
        request = HttpRequest("", "", "", "/")
        try:
            attributes = pb.CheckRequest.FromString(raw).attributes
            request, place = self._read(attributes)
            peer = attributes.source.address.socket_address.address or "egress"
            return await self._check(request, place, peer, caller=caller, most=most)
        except DecodeError:
            refusal = own("http", request, status=403, code="request_malformed", message="not a CheckRequest")
        except Overloaded as error:
            refusal = own("http", request, status=OVERLOADED, code="overloaded", message=str(error))
        except ServiceError as error:
            told = EXPLANATIONS[error.reason].raised
            refusal = own("http", request, status=UNAVAILABLE, code=error.reason.value, message=told)
        except Exception:
            # Whatever it was, it may have been brought about by what was sent: it must not open anything.
            _log.exception("a check failed")
            refusal = own("http", request, status=403, code="internal", message="the check failed")
        return self._denied(refusal)

    def _read(self, attributes: AttributeContext) -> tuple[HttpRequest, Place]:
        http = attributes.request.http
        if not attributes.request.HasField("http"):
            port = attributes.destination.address.socket_address.port_value
            return HttpRequest("CONNECT", "", "", "/"), self._desk.place(
                TCP, {":authority": self._desk.tcp_service(port)}
            )
        named = dict(attributes.context_extensions).get(SERVICE, "")
        pseudo = {":path": http.path, ":method": http.method}
        place = Place(named, http.path) if named else self._desk.place(EGRESS, pseudo)
        # An Envoy that encodes raw headers gives them as a list, and no map.
        raw = ((each.key, each.raw_value.decode("latin-1") or each.value) for each in http.header_map.headers)
        given = raw if http.HasField("header_map") else http.headers.items()
        headers = tuple((name.lower(), value) for name, value in given if not name.startswith(":"))
        body = http.raw_body or http.body.encode()
        return HttpRequest(http.method, http.scheme, http.host, place.path, headers, body), place

    async def _check(
        self, request: HttpRequest, place: Place, peer: str, *, caller: Caller, most: int
    ) -> pb.CheckResponse:
        kind = self._desk.kind(place.service)
        try:
            subject = await self._desk.identified(request, peer, proxied=False)
        except (Unauthenticated, Duplicate) as error:
            told = error if isinstance(error, Unauthenticated) else Unauthenticated(Cause.AMBIGUOUS, str(error))
            await self._desk.unidentified(peer, told)
            return self._denied(own(kind, request, status=unproved(told), code="unauthenticated", message=str(told)))
        surroundings = read_surroundings(request)
        attempt = Attempt(
            service=place.service,
            request=request,
            claimed=surroundings.claimed,
            key=surroundings.key,
            tunnel=place.tunnel,
            rewrites=False,
            objection=place.objection or surroundings.objection or _truncated(request),
            wait=min(surroundings.wait, most),
        )
        begun = await self._desk.begin(subject, attempt, caller)
        if isinstance(begun, Answer):
            return self._denied(of_answer(kind, request, begun))
        return _allowed(request, begun)

    def _denied(self, refusal: Refusal) -> pb.CheckResponse:
        self._desk.refused(refusal.code)
        return pb.CheckResponse(
            status=Status(code=_DENIED),
            denied_response=pb.DeniedHttpResponse(
                status=HttpStatus(code=refusal.status),  # type: ignore[arg-type]
                headers=_options(refusal.headers),
                body=refusal.body.decode("utf-8", "replace"),
            ),
        )


def _allowed(request: HttpRequest, passage: Passage) -> pb.CheckResponse:
    put, drop = leaving(request, passage)
    answer = pb.CheckResponse(
        status=Status(code=0),
        ok_response=pb.OkHttpResponse(headers=_options(put), headers_to_remove=drop),
    )
    answer.dynamic_metadata.update({"decision": passage.answer.id, "endpoint": passage.endpoint})
    return answer


def _truncated(request: HttpRequest) -> Objection | None:
    """A body that is not there whole must not be judged as if it were; nor one that may come and is not shown.

    PARTIAL only ever speaks against: where an Envoy shows no bodies, an agent may have said it."""
    named = dict(request.headers)
    length = named.get("content-length", "")
    partial = named.get(PARTIAL, "false") != "false"
    unseen = not request.body and not length
    unseen = unseen and (request.method not in BODILESS or "transfer-encoding" in named)
    if partial or unseen or (length and length != str(len(request.body))):
        return Objection(Reason.REQUEST_MALFORMED, "the body is not there whole", binding=True)
    return None


def _options(headers: Iterable[tuple[str, str]]) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(
            header=HeaderValue(key=name, value=value),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers
    ]
