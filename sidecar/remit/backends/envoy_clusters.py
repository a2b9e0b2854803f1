"""The upstreams, as Envoy is told of them: fixed addresses, and a TLS name that is verified.

Envoy resolves no name and follows nothing: addresses come from the sidecar, which has judged each of them, and the
server must prove to be the host of the endpoint's URL whatever address it was found at.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from remit.backends.envoy_places import (
    SIDECAR,
    SIGNING,
    TUNNELS,
    Addresses,
    Document,
    EgressPlaces,
    Target,
    cluster,
    endpoints_file,
    pipe,
    raw_cluster,
    signing_file,
    socket_address,
    typed,
)
from remit.core.catalogue import Catalogue, Endpoint, Service

_TLS = ("https", "grpcs")
PORTS = {"https": 443, "grpcs": 443, "http": 80, "grpc": 80}
_CONNECT_SECONDS = 5
_IDLE_SECONDS = 60
_MAX_HEADERS = 100
_MAX_HEADERS_KIB = 60
_MANY = 100_000
_BREAKER = {"max_connections": _MANY, "max_pending_requests": _MANY, "max_requests": _MANY, "max_retries": 0}
_SIGNING = "envoy.extensions.filters.http.aws_request_signing.v3"
_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def targets(catalogue: Catalogue) -> list[tuple[Target, Service, Endpoint]]:
    """Every endpoint of every service, in order."""
    return [
        ((name, place), service, service.endpoints[place])
        for name, service in sorted(catalogue.services.items())
        for place in sorted(service.endpoints)
    ]


def port(url: str) -> int:
    """The port that an endpoint's URL leads to; 0 where it names none and its scheme has none."""
    parts = urlsplit(url)
    return parts.port or PORTS.get(parts.scheme, 0)


def host(url: str) -> str:
    """The host of an endpoint's URL, in lower case, an IPv6 address without brackets."""
    return urlsplit(url).hostname or ""


def clusters(catalogue: Catalogue, places: EgressPlaces) -> list[Document]:
    """Each endpoint's cluster for HTTP, and one for its bytes where they may be passed on unread."""
    found: list[Document] = []
    for target, service, endpoint in targets(catalogue):
        if service.kind != "tcp":
            found.append(_http_cluster(target, service, endpoint, places))
        if service.kind == "tcp" or service.opaque:
            found.append(_base(raw_cluster(target, service), target, service, places))
    return found


def assignments(catalogue: Catalogue, addresses: Addresses) -> dict[str, Document]:
    """Each endpoint's addresses, by the file that they stand in."""
    return {
        endpoints_file(target, service): _assignment(target, service, addresses)
        for target, service, _ in targets(catalogue)
    }


def internal_clusters(places: EgressPlaces) -> list[Document]:
    """The sidecar itself, and Envoy's own listener for tunnels."""
    return [
        _internal(SIDECAR, pipe(places.sidecar_socket)),
        _internal(TUNNELS, pipe(places.tunnel_socket)),
    ]


def _assignment(target: Target, service: Service, addresses: Addresses) -> Document:
    found = [socket_address(each) for each in addresses.get(target, ())]
    # One host with more than one address: Envoy takes the first that connects (RFC 8305).
    endpoint = {"address": found[0], "additional_addresses": [{"address": each} for each in found[1:]]} if found else {}
    hosts = [{"lb_endpoints": [{"endpoint": endpoint}]}] if found else []
    return {"cluster_name": cluster(target, service), "endpoints": hosts}


def _base(name: str, target: Target, service: Service, places: EgressPlaces) -> Document:
    path = str(places.directory / endpoints_file(target, service))
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": cluster(target, service),
            "eds_config": {"path_config_source": {"path": path}, "initial_fetch_timeout": "2s"},
        },
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        # The sidecar bounds what each caller has under way: a bound here would be one for all of them together.
        "circuit_breakers": {"thresholds": [_BREAKER]},
    }


def _http_cluster(target: Target, service: Service, endpoint: Endpoint, places: EgressPlaces) -> Document:
    made = _base(cluster(target, service), target, service, places)
    tls = urlsplit(endpoint.url).scheme in _TLS
    made["typed_extension_protocol_options"] = {
        _PROTOCOLS: {**_protocols(service.kind, tls=tls), **_signed(target, service, places)}
    }
    if tls:
        # Envoy runs elsewhere: a path that is relative to where the sidecar runs would lead nowhere.
        authorities = str(Path(endpoint.ca).absolute()) if endpoint.ca else places.authorities
        made["transport_socket"] = {
            "name": "tls",
            "typed_config": _tls(host(endpoint.url), authorities, service.kind),
        }
    return made


def _protocols(kind: str, *, tls: bool) -> Document:
    http1: Document = {}
    http2 = {"max_concurrent_streams": 100}
    if kind == "grpc":
        spoken: Document = {"explicit_http_config": {"http2_protocol_options": http2}}
    elif tls:
        spoken = {"auto_config": {"http_protocol_options": http1, "http2_protocol_options": http2}}
    else:
        spoken = {"explicit_http_config": {"http_protocol_options": http1}}
    return typed(
        _PROTOCOLS,
        common_http_protocol_options={
            "idle_timeout": f"{_IDLE_SECONDS}s",
            "max_headers_count": _MAX_HEADERS,
            "max_response_headers_kb": _MAX_HEADERS_KIB,
        },
        **spoken,
    )


def _signed(target: Target, service: Service, places: EgressPlaces) -> Document:
    """Sign what goes to the endpoint, as it is once host and path are the endpoint's own.

    The key stands in a file that Envoy reads anew when another is moved into its place, and in no document.
    """
    signer = service.signer(target[1])
    if signer is None or signer.signing is None:
        return {}
    source = {
        "filename": str(places.directory / signing_file(target, service)),
        "watched_directory": {"path": str(places.directory / SIGNING)},
    }
    signing = typed(
        f"{_SIGNING}.AwsRequestSigning",
        service_name="bedrock",
        region=signer.signing.region,
        credential_provider={
            "custom_credential_provider_chain": True,
            "credentials_file_provider": {"credentials_data_source": source, "profile": "default"},
        },
    )
    codec = typed("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
    return {
        "http_filters": [
            {"name": "signing", "typed_config": signing},
            {"name": "codec", "typed_config": codec},
        ]
    }


def _tls(name: str, authorities: str, kind: str) -> Document:
    literal = _is_address(name)
    validation = {
        "trusted_ca": {"filename": authorities},
        "match_typed_subject_alt_names": [
            {"san_type": "IP_ADDRESS" if literal else "DNS", "matcher": {"exact": name}},
        ],
    }
    common: Document = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "validation_context": validation,
    }
    if kind == "grpc":
        common["alpn_protocols"] = ["h2"]
    made = typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=common)
    # RFC 6066 section 3: a literal address is no server name.
    return made if literal else {**made, "sni": name}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _internal(name: str, address: Document) -> Document:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [_BREAKER]},
        "typed_extension_protocol_options": {
            _PROTOCOLS: typed(_PROTOCOLS, explicit_http_config={"http2_protocol_options": {}}),
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
