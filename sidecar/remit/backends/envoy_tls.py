"""TLS between agents and Envoy: the sidecar's certificate, and whose certificates an agent may show.

Envoy is given the files' names, never what is in them. They are read anew when something is moved into the watched
directory (`TlsFiles` does that), so that a certificate is rotated without a restart and without losing a connection.
"""

from __future__ import annotations

from collections.abc import Mapping

from remit.backends.envoy_places import Document, EgressPlaces, EgressTls, typed

SERVER = "server"
"""What Envoy's statistics call the sidecar's certificate."""
CLIENTS = "clients"
"""What they call whoever signs agents' certificates."""
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a message's name)
_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def secret_file(name: str) -> str:
    """What the file that names one secret's files is called."""
    return f"sds-{name}.json"


def secrets(places: EgressPlaces) -> dict[str, Document]:
    """What Envoy reads its certificates by, each by its file's name; none without TLS."""
    if places.tls is None:
        return {}
    tls, watched = places.tls, {"path": str(places.tls_watched)}
    certificate = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
        "watched_directory": watched,
    }
    found = {secret_file(SERVER): typed(_SECRET, name=SERVER, tls_certificate=certificate)}
    if tls.client_ca is not None:
        authorities = {"trusted_ca": {"filename": str(tls.client_ca)}, "watched_directory": watched}
        found[secret_file(CLIENTS)] = typed(_SECRET, name=CLIENTS, validation_context=authorities)
    return found


def transport_socket(places: EgressPlaces, tls: EgressTls) -> Document:
    """What a listener's connections begin with."""
    common: Document = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_named(SERVER, places)],
    }
    if tls.client_ca is not None:
        common["validation_context_sds_secret_config"] = _named(CLIENTS, places)
    context = typed(
        _CONTEXT,
        common_tls_context=common,
        require_client_certificate=tls.client_ca is not None,
        # Every connection proves its certificate: one that is resumed would bring it along unproved.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return {"name": "tls", "typed_config": context}


def inlined(socket: Document, named: Mapping[str, Document]) -> Document:
    """The same with the secrets in it, instead of what only names them. Their files stay files."""
    context = socket["typed_config"]
    common = {key: value for key, value in context["common_tls_context"].items() if "_sds_" not in key}
    common["tls_certificates"] = [_unwatched(named[SERVER]["tls_certificate"])]
    if CLIENTS in named:
        common["validation_context"] = _unwatched(named[CLIENTS]["validation_context"])
    return {**socket, "typed_config": {**context, "common_tls_context": common}}


def _unwatched(secret: Document) -> Document:
    return {key: value for key, value in secret.items() if key != "watched_directory"}


def _named(name: str, places: EgressPlaces) -> Document:
    path = str(places.directory / secret_file(name))
    return {"name": name, "sds_config": {"path_config_source": {"path": path}, "initial_fetch_timeout": "5s"}}
