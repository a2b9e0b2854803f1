"""Envoy's messages: what comes in of a request, and what is told to do with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.struct_pb2 import Struct

from remit._envoy.envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue, HeaderValueOption
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit._envoy.envoy.type.v3.http_status_pb2 import HttpStatus
from remit.core.egress.exchange import Headers
from remit.core.egress.routing import ROUTE_HEADER

ATTRIBUTES = "envoy.filters.http.ext_proc"

Pseudo = Mapping[str, str]


def read_headers(found: HeaderMap) -> tuple[Pseudo, Headers]:
    """Pseudo-headers by name, and all others in order. Bytes above 0x7f come as Latin-1: no byte is lost."""
    pseudo: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    for each in found.headers:
        value = each.raw_value.decode("latin-1") if each.raw_value else each.value
        if each.key.startswith(":"):
            pseudo[each.key] = value
        else:
            headers.append((each.key.lower(), value))
    return pseudo, tuple(headers)


def attribute(attributes: Mapping[str, Struct], name: str) -> str:
    """An attribute's text, "" where it was not sent."""
    found = attributes.get(ATTRIBUTES)
    if found is None or name not in found.fields:
        return ""
    value = found.fields[name]
    return value.string_value or (f"{value.number_value:g}" if value.number_value else "")


def go_on() -> pb.ProcessingResponse:
    """Headers as they are; the body is to come."""
    return pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=pb.CommonResponse()))


def hold_on(milliseconds: int) -> pb.ProcessingResponse:
    """Wait so much longer, from now, for the answer to what was last said; Envoy listens to the first one alone."""
    found = pb.ProcessingResponse()
    found.override_message_timeout.FromMilliseconds(milliseconds)
    return found


def send_on(
    route: str, *, put: Iterable[tuple[str, str]], drop: Iterable[str], body: bytes | None, at_headers: bool
) -> pb.ProcessingResponse:
    """Send the request on by a route, with these headers put and those dropped; `body` None leaves it as it is."""
    headers = [(ROUTE_HEADER, route), *put]
    if body is not None:
        headers.append(("content-length", str(len(body))))
    common = pb.CommonResponse(
        header_mutation=pb.HeaderMutation(set_headers=_options(headers), remove_headers=list(drop)),
        clear_route_cache=True,
    )
    if body is not None:
        common.body_mutation.body = body
    if at_headers:
        return pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common))
    return pb.ProcessingResponse(request_body=pb.BodyResponse(response=common))


def answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> pb.ProcessingResponse:
    """Answer instead of the upstream."""
    return pb.ProcessingResponse(
        immediate_response=pb.ImmediateResponse(
            status=HttpStatus(code=status),  # type: ignore[arg-type]
            headers=pb.HeaderMutation(set_headers=_options(headers)),
            body=body,
        )
    )


def begin_answer(put: Iterable[tuple[str, str]], drop: Iterable[str]) -> pb.ProcessingResponse:
    """Let the upstream's response begin."""
    mutation = pb.HeaderMutation(set_headers=_options(put), remove_headers=list(drop))
    return pb.ProcessingResponse(
        response_headers=pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))
    )


def part(body: bytes, *, last: bool) -> pb.ProcessingResponse:
    """A part of the response's body."""
    streamed = pb.StreamedBodyResponse(body=body, end_of_stream=last)
    mutation = pb.BodyMutation(streamed_response=streamed)
    return pb.ProcessingResponse(response_body=pb.BodyResponse(response=pb.CommonResponse(body_mutation=mutation)))


def trailers() -> pb.ProcessingResponse:
    """The response's trailers as they are."""
    return pb.ProcessingResponse(response_trailers=pb.TrailersResponse())


def _options(headers: Iterable[tuple[str, str]]) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(
            header=HeaderValue(key=name, raw_value=value.encode("latin-1")),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers
    ]
