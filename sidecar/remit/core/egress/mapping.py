"""What a request asks for, in the catalogue's words: by the service's kind, then by its own routes.

Whatever maps to nothing is Unmapped, and so denied: a path, a field, a tool, a content type that is not known here.
`Mapped.body` is exactly what is to be sent: the bytes as they came, unless something had to be put in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from remit.core.catalogue import Service
from remit.core.egress.exchange import HttpRequest, Malformed, Mapped, Unmapped
from remit.core.egress.kinds.anthropic import map_anthropic
from remit.core.egress.kinds.azure import map_azure
from remit.core.egress.kinds.bedrock import map_bedrock
from remit.core.egress.kinds.call import Call
from remit.core.egress.kinds.gemini import map_gemini
from remit.core.egress.kinds.grpc import map_grpc
from remit.core.egress.kinds.http import map_http
from remit.core.egress.kinds.mcp import map_mcp
from remit.core.egress.kinds.openai import map_openai
from remit.core.egress.target import check_overrides, check_target

Mapper = Callable[[Call], Mapped | None]
"""Reads a request of one kind: None where its path is none of the kind's. Raises Unmapped."""


def _mcp(call: Call) -> Mapped:
    return map_mcp(call.service, call.request, attributes=call.attributes)


MAPPERS: Mapping[str, Mapper] = {
    "openai": map_openai,
    "anthropic": map_anthropic,
    "gemini": map_gemini,
    "azure": map_azure,
    "bedrock": map_bedrock,
    "http": map_http,
    "grpc": map_grpc,
    "mcp": _mcp,
}

# What every path of a kind begins with, and a base URL that was written by hand leaves out.
_BELOW = {"openai": "/v1/", "anthropic": "/v1/"}


def map_request(service: Service, request: HttpRequest, *, attributes: Mapping[str, str]) -> Mapped:
    """What the request is to this service. `attributes` are what overrides select by. Raises Unmapped, Malformed."""
    wrong = check_target(request.path) or check_overrides(request.headers)
    if wrong:
        raise Malformed(wrong)
    if len(request.body) > service.body_bytes:
        raise Unmapped(f"the body has {len(request.body)} bytes, more than {service.body_bytes}")
    mapper = MAPPERS.get(service.kind)
    if mapper is None:
        raise Unmapped(f"services of the kind {service.kind} take no requests over HTTP")
    call = Call.of(service, request, attributes)
    mapped = mapper(call)
    if mapped is None and mapper is not map_http:
        mapped = map_http(call)
    if mapped is None:
        below = _BELOW.get(service.kind, "")
        once = request.path.startswith(below) and not request.path.startswith(below + below[1:])
        told = f": {service.kind}'s begin with {below}, once" if below and not once else ""
        raise Unmapped(f"no operation of the service is a {request.method[:16]!r} of this path{told}")
    return mapped
