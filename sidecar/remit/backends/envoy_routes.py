"""Which requests go where: nothing goes anywhere without the sidecar's word.

A route to an upstream matches only a request that carries the header the sidecar sets with an ALLOW. What does not
carry it, or carries another one, meets a route that answers 403 here.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from remit.backends.envoy_clusters import targets
from remit.backends.envoy_places import JUDGED, WHOLE, Document, Target, cluster, raw_cluster, typed
from remit.core.catalogue import Catalogue, Endpoint, Service
from remit.core.egress.routing import EGRESS, PROXY, ROUTE_HEADER, TCP, prefix, route, terms_of

_CLOSED = {"status": 403, "body": {"inline_string": "Remit did not let this request through.\n"}}
_REMOVED_REQUEST = (ROUTE_HEADER, "x-forwarded-proto", "x-forwarded-for", "x-request-id", "forwarded", "via")
# Answers about decisions are the sidecar's alone; another way to the upstream is none of the agent's.
_REMOVED_RESPONSE = ("remit-decision", "remit-approval", "remit-workflow", "alt-svc")
_TUNNEL_IDLE_SECONDS = 3600
_JUDGED_PER_ROUTE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_BUFFER_PER_ROUTE = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"


def routes(catalogue: Catalogue, nonce: str) -> dict[str, Document]:
    """The route configuration of each listener."""
    return {
        EGRESS: _configuration(EGRESS, [*_grpc_hosts(catalogue, nonce), _everything(_egress(catalogue, nonce))]),
        PROXY: _configuration(PROXY, [_everything(_proxy(catalogue, nonce))]),
        TCP: _configuration(TCP, [_everything(_tunnels(catalogue, nonce, tcp=True))]),
    }


def _configuration(name: str, hosts: list[Document]) -> Document:
    return {"name": name, "virtual_hosts": hosts}


def _everything(found: Iterator[Document]) -> Document:
    return {"name": "all", "domains": ["*"], "routes": [_never(), *found, _tunnel_closed(), _closed({"prefix": "/"})]}


def _egress(catalogue: Catalogue, nonce: str) -> Iterator[Document]:
    """By path: /SERVICE/rest is the endpoint's own path and /rest; longer prefixes first."""
    spoken = [each for each in targets(catalogue) if each[1].kind != "tcp"]
    for target, service, endpoint in sorted(spoken, key=lambda each: (-len(prefix(each[0][0], each[1])), each[0])):
        way, base = prefix(target[0], service), urlsplit(endpoint.url).path.rstrip("/")
        if service.kind == "mcp":
            yield _open({"path": way}, target, service, endpoint, nonce=nonce, rewrite=base or "/")
        yield _open({"prefix": f"{way}/"}, target, service, endpoint, nonce=nonce, rewrite=f"{base}/")
    named = [(prefix(name, service), service) for name, service in catalogue.services.items() if service.kind != "tcp"]
    for way, service in sorted(named, key=lambda each: (-len(each[0]), each[0])):
        if service.kind == "mcp":
            yield _closed({"path": way}, service)
        yield _closed({"prefix": f"{way}/"}, service)


def _grpc_hosts(catalogue: Catalogue, nonce: str) -> Iterator[Document]:
    """By authority: a gRPC client has no path of its own, so it names the service as the host that it calls."""
    for name, service in sorted(catalogue.services.items()):
        if service.kind == "grpc":
            opened = [
                _open({"prefix": "/"}, (name, place), service, service.endpoints[place], nonce=nonce)
                for place in sorted(service.endpoints)
            ]
            closed = _closed({"prefix": "/"}, service)
            yield {"name": name, "domains": [name, f"{name}:*"], "routes": [*opened, closed]}


def _proxy(catalogue: Catalogue, nonce: str) -> Iterator[Document]:
    """By the sidecar's word alone: it has the host from the request, and knows whose it is."""
    yield from _tunnels(catalogue, nonce, tcp=False)
    for target, service, endpoint in targets(catalogue):
        if service.kind != "tcp":
            yield _open({"prefix": "/"}, target, service, endpoint, nonce=nonce)


def _tunnels(catalogue: Catalogue, nonce: str, *, tcp: bool) -> Iterator[Document]:
    for target, service, _ in targets(catalogue):
        if (service.kind == "tcp") if tcp else service.opaque and service.kind != "tcp":
            yield {
                "match": {"connect_matcher": {}, **_only(nonce, target, service)},
                "route": {
                    "cluster": raw_cluster(target, service),
                    "timeout": "0s",
                    "idle_timeout": f"{_TUNNEL_IDLE_SECONDS}s",
                    "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                },
                "request_headers_to_remove": list(_REMOVED_REQUEST),
                "typed_per_filter_config": _unread(),
            }


def _open(
    match: Document, target: Target, service: Service, endpoint: Endpoint, *, nonce: str, rewrite: str = ""
) -> Document:
    """A way out, for one who has the sidecar's word. No retry, no redirect followed, no second choice."""
    action: Document = {
        "cluster": cluster(target, service),
        "host_rewrite_literal": urlsplit(endpoint.url).netloc.rpartition("@")[2].lower(),
        "timeout": f"{service.timeout}s",
        "idle_timeout": f"{service.timeout}s",
    }
    if rewrite:
        action["prefix_rewrite"] = rewrite
    return {
        "match": {**match, **_only(nonce, target, service)},
        "route": action,
        "request_headers_to_remove": list(_REMOVED_REQUEST),
        "response_headers_to_remove": list(_REMOVED_RESPONSE),
        "typed_per_filter_config": _bounded(service),
    }


def _never() -> Document:
    """TRACE hands back what was sent, credential included."""
    method = {"name": ":method", "string_match": {"exact": "TRACE"}}
    return {"match": {"prefix": "/", "headers": [method]}, "direct_response": _CLOSED}


def _closed(match: Document, service: Service | None = None) -> Document:
    """What is met by one who has not (yet) the sidecar's word; it is also what bounds the body that is judged."""
    bound = {} if service is None else {"typed_per_filter_config": _bounded(service)}
    return {"match": match, "direct_response": _CLOSED, **bound}


def _tunnel_closed() -> Document:
    return {"match": {"connect_matcher": {}}, "direct_response": _CLOSED, "typed_per_filter_config": _unread()}


def _only(nonce: str, target: Target, service: Service) -> Document:
    word = route(nonce, *target, terms_of(service, target[1]))
    return {"headers": [{"name": ROUTE_HEADER, "string_match": {"exact": word}}]}


def _bounded(service: Service) -> Document:
    return {WHOLE: typed(_BUFFER_PER_ROUTE, buffer={"max_request_bytes": service.body_bytes})}


def _unread() -> Document:
    """Of a tunnel the sidecar sees its beginning and its end; waiting for trailers keeps the stream open between."""
    mode = {
        "request_header_mode": "SEND",
        "request_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_header_mode": "SEND",
        "response_body_mode": "NONE",
        "response_trailer_mode": "SEND",
    }
    return {
        WHOLE: typed(_BUFFER_PER_ROUTE, disabled=True),
        JUDGED: typed(_JUDGED_PER_ROUTE, overrides={"processing_mode": mode}),
    }
