"""Where agents reach Envoy, and how every request is held until the sidecar has judged it.

The listeners do not depend on what the catalogue says of services (their routes do), so a reload leaves them, and the
streams on them, alone.
"""

from __future__ import annotations

from remit.backends.envoy_places import (
    JUDGED,
    SIDECAR,
    TUNNELS,
    WHOLE,
    Document,
    EgressPlaces,
    pipe,
    routes_file,
    socket_address,
    typed,
)
from remit.backends.envoy_tls import transport_socket
from remit.core.catalogue import Catalogue
from remit.core.egress.routing import CERTIFICATE, EGRESS, LISTENER, PROXY, TCP

_KIB = 1024
_HEADER_KIB = 60
_HEADERS = 100
_BUFFER_BYTES = 1024 * _KIB
_STREAMS = 256
_HEADERS_SECONDS = 10
_REQUEST_SECONDS = 60
# Longer than anybody may hold a call, or leave a stream idle.
_LONGEST_SECONDS = 86_400
_JUDGE_SECONDS = 15
# What the sidecar may ask for where a call is held, from then on and once; the most that Envoy allows. Any other call
# has _JUDGE_SECONDS. A request with a body may be held beyond _REQUEST_SECONDS, one without may not (measured, 1.40).
_HOLD_SECONDS = 3600
_STRIPPED = ("x-remit-", "x-forwarded-", "x-envoy-")
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def listeners(catalogue: Catalogue, places: EgressPlaces) -> list[Document]:
    """All listeners, by name: the agents' two, one for each TCP service, and the one that these hand over to."""
    tcp = {
        name: service.listen
        for name, service in sorted(catalogue.services.items())
        if service.kind == "tcp" and service.listen
    }
    found = [_tcp(name, listen) for name, listen in tcp.items()]
    if tcp:
        found.append(_listener(TCP, pipe(places.tunnel_socket), _http(TCP, places)))
    if places.egress is not None:
        found.append(_agents(EGRESS, places.egress, places))
    if places.proxy is not None:
        found.append(_agents(PROXY, places.proxy, places))
    return sorted(found, key=lambda each: str(each["name"]))


def address(listen: str) -> tuple[str, int]:
    """A catalogue's `listen` as (IP address, port): localhost is 127.0.0.1."""
    host, _, port = listen.rpartition(":")
    return "127.0.0.1" if host == "localhost" else host.strip("[]"), int(port)


def _listener(name: str, at: Document, network_filter: Document) -> Document:
    made = {
        "name": name,
        "address": at,
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "filter_chains": [{"filters": [network_filter]}],
    }
    # No second process shares the port, and so part of the connections.
    return made if "pipe" in at else {**made, "enable_reuse_port": False}


def _agents(name: str, at: tuple[str, int], places: EgressPlaces) -> Document:
    made = _listener(name, socket_address(at), _http(name, places))
    if places.tls is not None:
        chain = made["filter_chains"][0]
        chain["transport_socket"] = transport_socket(places, places.tls)
        chain["transport_socket_connect_timeout"] = f"{_HEADERS_SECONDS}s"
    return made


def _tcp(name: str, listen: str) -> Document:
    proxy = typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=f"tcp/{name}",
        cluster=TUNNELS,
        tunneling_config={"hostname": f"{name}:1"},
    )
    return _listener(f"tcp/{name}", socket_address(address(listen)), {"name": "tcp", "typed_config": proxy})


def _http(name: str, places: EgressPlaces) -> Document:
    tls = places.tls if name != TCP else None
    certificates = tls is not None and tls.client_ca is not None
    manager = typed(
        _HCM,
        stat_prefix=name,
        codec_type="HTTP2" if name == TCP else "AUTO",
        rds={
            "route_config_name": name,
            "config_source": {
                "path_config_source": {"path": str(places.directory / routes_file(name))},
                "initial_fetch_timeout": "2s",
            },
        },
        http_filters=[_whole(), _judged(name, certificates=certificates), _router()],
        # Whatever a request says of a certificate is not a certificate.
        forward_client_cert_details="SANITIZE",
        early_header_mutation_extensions=[_stripped()],
        **_limits(),
        **_faithful(),
        http_protocol_options={"allow_absolute_url": name == PROXY},
        http2_protocol_options={
            "max_concurrent_streams": _STREAMS,
            "allow_connect": name == TCP,
            "initial_stream_window_size": 256 * _KIB,
            "initial_connection_window_size": 1024 * _KIB,
        },
    )
    if tls is not None:
        manager["common_http_protocol_options"]["max_connection_duration"] = f"{tls.age}s"
    if name != EGRESS:
        manager["upgrade_configs"] = [{"upgrade_type": "CONNECT"}]
    if places.access_log:
        manager["access_log"] = [_access_log(name, places)]
    return {"name": "http", "typed_config": manager}


def _limits() -> Document:
    return {
        "max_request_headers_kb": _HEADER_KIB,
        "common_http_protocol_options": {
            "idle_timeout": "600s",
            "max_headers_count": _HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "request_headers_timeout": f"{_HEADERS_SECONDS}s",
        "request_timeout": f"{_REQUEST_SECONDS}s",
        "stream_idle_timeout": f"{_LONGEST_SECONDS}s",
        # A tunnel that is closed by a halt is closed for the agent too within a second.
        "delayed_close_timeout": "0.25s",
    }


def _faithful() -> Document:
    """The sidecar sees the request as it was sent, and Envoy adds nothing of its own to it or to the answer."""
    return {
        "generate_request_id": False,
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "server_header_transformation": "PASS_THROUGH",
    }


def _stripped() -> Document:
    """Before anything else looks: what only Envoy or the sidecar may say is taken from what an agent says."""
    return {
        "name": "strip",
        "typed_config": typed(
            "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[
                {"remove_on_match": {"key_matcher": {"prefix": each, "ignore_case": True}}} for each in _STRIPPED
            ],
        ),
    }


def _whole() -> Document:
    """Requests are judged whole or not at all; each service's routes say how large they may be."""
    return {
        "name": WHOLE,
        "typed_config": typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=_BUFFER_BYTES),
    }


def _judged(name: str, *, certificates: bool) -> Document:
    """The sidecar's stream for each request. Its failure fails the request."""
    told = [{"key": LISTENER, "value": name}]
    if certificates:
        told.append({"key": CERTIFICATE, "value": "%DOWNSTREAM_PEER_CERT%"})
    return {
        "name": JUDGED,
        "typed_config": typed(
            "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={
                "envoy_grpc": {"cluster_name": SIDECAR},
                "initial_metadata": told,
            },
            failure_mode_allow=False,
            status_on_error={"code": "ServiceUnavailable"},
            message_timeout=f"{_JUDGE_SECONDS}s",
            max_message_timeout=f"{_HOLD_SECONDS}s",
            request_attributes=["source.address"],
            response_attributes=["response.code_details"],
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "request_trailer_mode": "SKIP",
                "response_header_mode": "SEND",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "response_trailer_mode": "SEND",
            },
        ),
    }


def _router() -> Document:
    return {
        "name": "router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
    }


def _access_log(name: str, places: EgressPlaces) -> Document:
    fields = {
        "time": "%START_TIME%",
        "listener": name,
        "protocol": "%PROTOCOL%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "milliseconds": "%DURATION%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
    }
    return {
        "name": "file",
        "typed_config": typed(
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            path=str(places.log),
            log_format={"json_format": fields},
        ),
    }
