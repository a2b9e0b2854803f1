"""All that Envoy is told, from the catalogue: documents for its directory, each a file of its own.

The bootstrap names the others; those are read again when a new file is moved into their place. Nothing in them is a
secret but the nonce, and the directory is the sidecar's alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import ssl
from collections.abc import Mapping
from pathlib import Path

from remit.backends.envoy_clusters import assignments, clusters, internal_clusters
from remit.backends.envoy_listeners import listeners
from remit.backends.envoy_places import (
    BOOTSTRAP,
    CLUSTERS,
    LISTENERS,
    Addresses,
    Document,
    EgressPlaces,
    pipe,
    routes_file,
    typed,
)
from remit.backends.envoy_routes import routes
from remit.backends.envoy_tls import inlined, secrets
from remit.core.catalogue import Catalogue

Documents = Mapping[str, Document]
"""By file name; in the order in which they are to be put in place."""

_API = "envoy.config"
_HEAP_BYTES = 768 << 20
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD, Alpine
)
_ADMIN_READS = ("/ready", "/stats", "/config_dump", "/server_info", "/listeners", "/clusters", "/memory")


def documents(catalogue: Catalogue, places: EgressPlaces, addresses: Addresses, nonce: str) -> Documents:
    """Everything Envoy is told, by file name; the same input gives the same text."""
    made = {
        name: _versioned([typed(f"{_API}.endpoint.v3.ClusterLoadAssignment", **each)])
        for name, each in sorted(assignments(catalogue, addresses).items())
    }
    made[CLUSTERS] = _versioned([typed(f"{_API}.cluster.v3.Cluster", **each) for each in clusters(catalogue, places)])
    for name, each in sorted(routes(catalogue, nonce).items()):
        made[routes_file(name)] = _versioned([typed(f"{_API}.route.v3.RouteConfiguration", **each)])
    for name, each in sorted(secrets(places).items()):
        made[name] = _versioned([each])
    made[LISTENERS] = _versioned(
        [typed(f"{_API}.listener.v3.Listener", **each) for each in listeners(catalogue, places)]
    )
    made[BOOTSTRAP] = _bootstrap(places)
    return made


def combined(found: Documents) -> Document:
    """The same as one document that needs no other file: to be validated as a whole, or read by people."""
    whole = copy.deepcopy(dict(found[BOOTSTRAP]))
    del whole["dynamic_resources"]
    assigned = {
        str(each["cluster_name"]): each
        for name, document in found.items()
        if name.startswith("eds-")
        for each in _resources(document)
    }
    routed = {
        str(each["name"]): each
        for name, document in found.items()
        if name.startswith("rds-")
        for each in _resources(document)
    }
    named = {
        str(each["name"]): each
        for name, document in found.items()
        if name.startswith("sds-")
        for each in _resources(document)
    }
    static = whole["static_resources"]
    static["clusters"] += [_fixed(each, assigned) for each in _resources(found[CLUSTERS])]
    static["listeners"] = [_inlined(each, routed, named) for each in _resources(found[LISTENERS])]
    return whole


def versions(found: Documents) -> dict[str, str]:
    """What Envoy's statistics say of each document once it has taken all of these: by the statistic's name."""
    told = {
        "cluster_manager.cds.version_text": version(found[CLUSTERS]),
        "listener_manager.lds.version_text": version(found[LISTENERS]),
    }
    for each in _resources(found[CLUSTERS]):
        assigned = f"eds-{str(each['eds_cluster_config']['service_name']).replace('/', '@')}.json"
        told[f"cluster.{each['name']}.version_text"] = version(found[assigned])
    for each in _resources(found[LISTENERS]):
        name = each["name"]
        if routes_file(name) in found:
            told[f"http.{name}.rds.{name}.version_text"] = version(found[routes_file(name)])
    return told


def version(document: Document) -> str:
    """What a state of a document is called; "" for the bootstrap, which has one state alone."""
    return str(document.get("version_info", ""))


def listening(found: Documents) -> dict[str, tuple[str, int]]:
    """Where Envoy listens for agents, (IP address, port), by the listener's name."""
    sockets = {str(each["name"]): each["address"].get("socket_address") for each in _resources(found[LISTENERS])}
    return {name: (str(at["address"]), int(at["port_value"])) for name, at in sockets.items() if at}


def system_authorities() -> str:
    """The PEM file with the certificate authorities that this system trusts; "" where none is found."""
    known = ssl.get_default_verify_paths()
    found = (known.cafile or "", known.openssl_cafile, *_BUNDLES)
    return next((each for each in found if each and Path(each).is_file()), "")


def _versioned(resources: list[Document]) -> Document:
    text = json.dumps(resources, sort_keys=True).encode()
    return {"version_info": hashlib.sha256(text).hexdigest()[:16], "resources": resources}


def _resources(document: Document) -> list[Document]:
    return [{key: value for key, value in each.items() if key != "@type"} for each in document["resources"]]


def _fixed(made: Document, assigned: Mapping[str, Document]) -> Document:
    named = made["eds_cluster_config"]["service_name"]
    rest = {key: value for key, value in made.items() if key not in ("type", "eds_cluster_config")}
    return {**rest, "type": "STATIC", "load_assignment": {**assigned[named], "cluster_name": made["name"]}}


def _inlined(made: Document, routed: Mapping[str, Document], named: Mapping[str, Document]) -> Document:
    whole: Document = copy.deepcopy(made)
    chain = whole["filter_chains"][0]
    config = chain["filters"][0]["typed_config"]
    if "rds" in config:
        config["route_config"] = routed[config.pop("rds")["route_config_name"]]
    if "transport_socket" in chain:
        chain["transport_socket"] = inlined(chain["transport_socket"], named)
    return whole


def _bootstrap(places: EgressPlaces) -> Document:
    return {
        "node": {"id": "remit", "cluster": "remit"},
        "admin": {
            "address": pipe(places.admin_socket),
            "ignore_global_conn_limit": True,
            "allow_paths": [{"prefix": each} for each in _ADMIN_READS],
        },
        # A static layer alone: what was started so stays so.
        "layered_runtime": {"layers": [{"name": "fixed", "static_layer": {}}]},
        "overload_manager": _overload(places),
        "static_resources": {"clusters": internal_clusters(places)},
        "dynamic_resources": {
            "lds_config": {"path_config_source": {"path": str(places.directory / LISTENERS)}},
            "cds_config": {"path_config_source": {"path": str(places.directory / CLUSTERS)}},
        },
    }


def _overload(places: EgressPlaces) -> Document:
    heap = "envoy.resource_monitors.fixed_heap"
    opened = "envoy.resource_monitors.global_downstream_max_connections"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": heap,
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    max_heap_size_bytes=_HEAP_BYTES,
                ),
            },
            {
                "name": opened,
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=places.connections,
                ),
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.shrink_heap",
                "triggers": [{"name": heap, "threshold": {"value": 0.8}}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": heap, "threshold": {"value": 0.95}}],
            },
        ],
    }
