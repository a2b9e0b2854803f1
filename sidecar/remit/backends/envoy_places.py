"""Where Envoy listens, what it keeps where, and what its documents are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit.core.catalogue import Service
from remit.core.egress.routing import terms_of

Document = dict[str, Any]
"""One JSON document in the form that Envoy's API gives it."""

Target = tuple[str, str]
"""A service and one of its endpoints."""

Addresses = Mapping[Target, tuple[tuple[str, int], ...]]
"""Where each endpoint may be dialled: (IP address, port), best first; none where it may not be."""

BOOTSTRAP = "bootstrap.json"
LISTENERS = "lds.json"
CLUSTERS = "cds.json"
SIDECAR = "remit"
TUNNELS = "tunnels"
SIGNING = "signing"
"""The directory of the keys that Envoy signs with."""

WHOLE = "whole"
"""The filter that waits for a request to be whole, and refuses one that is too large."""

JUDGED = "judged"
"""The filter that asks the sidecar."""


@dataclass(frozen=True, slots=True)
class EgressTls:
    """PEM files, by absolute path, that Envoy reads itself, now and whenever they change.

    With `client_ca`, every client must show a certificate that it signed. A connection takes no new request after
    `age` seconds: then who signs certificates is asked anew.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    age: int = 600


@dataclass(frozen=True, slots=True)
class EgressPlaces:
    """Where agents reach Envoy, and the directory that it shares with the sidecar and nobody else.

    `egress` and `proxy` are (IP address, port), None for no such listener. `authorities` is the PEM file with who signs
    certificates; `access_log` turns a log without paths and headers on. `connections` bounds what is open at once. With
    `tls`, agents speak TLS to both.
    """

    directory: Path
    egress: tuple[str, int] | None = ("127.0.0.1", 7452)
    proxy: tuple[str, int] | None = ("127.0.0.1", 7453)
    authorities: str = "/etc/ssl/certs/ca-certificates.crt"
    access_log: bool = False
    connections: int = 4000
    tls: EgressTls | None = None

    @property
    def sidecar_socket(self) -> Path:
        """Where the sidecar serves Envoy."""
        return self.directory / "remit.sock"

    @property
    def admin_socket(self) -> Path:
        """Where Envoy answers the sidecar about itself."""
        return self.directory / "admin.sock"

    @property
    def tunnel_socket(self) -> Path:
        """Where Envoy's TCP listeners hand their connections to its own HTTP listener, to have them decided."""
        return self.directory / "tcp.sock"

    @property
    def tls_watched(self) -> Path:
        """The directory that Envoy watches to read certificates anew: whatever is moved into it makes it do so."""
        return self.directory / "tls"

    @property
    def log(self) -> Path:
        """The access log."""
        return self.directory / "access.log"


def cluster(target: Target, service: Service) -> str:
    """The name of the cluster that speaks HTTP to an endpoint. One that leads elsewhere has another name."""
    return "/".join((*target, terms_of(service, target[1])))


def raw_cluster(target: Target, service: Service) -> str:
    """The name of the cluster that passes an endpoint's bytes on unread."""
    return "/".join(("raw", cluster(target, service)))


def endpoints_file(target: Target, service: Service) -> str:
    """What the file with an endpoint's addresses is called. No id has an @."""
    return f"eds-{cluster(target, service).replace('/', '@')}.json"


def signing_file(target: Target, service: Service) -> str:
    """What the file with the key that signs for an endpoint is called, below the directory."""
    return f"{SIGNING}/{cluster(target, service).replace('/', '@')}"


def routes_file(listener: str) -> str:
    """What the file with a listener's routes is called."""
    return f"rds-{listener}.json"


def typed(name: str, /, **fields: Any) -> Document:
    """A message of Envoy's API in an Any: `name` is its full name."""
    return {"@type": f"type.googleapis.com/{name}", **fields}


def socket_address(address: tuple[str, int]) -> Document:
    """A TCP address. Only literal ones: Envoy resolves no name."""
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def pipe(path: Path) -> Document:
    """A Unix socket's address."""
    return {"pipe": {"path": str(path), "mode": 0o600}}
