"""What the sidecar and its Envoy have agreed on: how a request is sent to one endpoint of one service.

A request reaches an upstream only where it carries the one header that names an endpoint after a nonce that nobody but
the sidecar knows. Envoy takes that header from whatever an agent sends, and again before the request leaves.
"""

from __future__ import annotations

from remit.core.canonical import digest
from remit.core.catalogue import Service

ROUTE_HEADER = "x-remit-route"
"""Set by the sidecar with its decision, never by anybody else."""

LISTENER = "remit-listener"
"""The key of a stream's initial metadata that says where its request came in: EGRESS, PROXY or TCP."""

CERTIFICATE = "remit-peer-certificate"
"""The key of a stream's initial metadata that has the client certificate of its connection: PEM, percent-encoded.
Only Envoy can say it: it is no header, and an agent's request has no part in it."""

EGRESS = "egress"
PROXY = "proxy"
TCP = "tcp"

MCP_PREFIX = "/mcp/"


_DIGITS = 12


def route(nonce: str, service: str, endpoint: str, terms: str) -> str:
    """What ROUTE_HEADER must say for a request to go there. No id has a slash, so no two endpoints share one."""
    return f"{nonce}/{service}/{endpoint}/{terms}"


def terms_of(service: Service, endpoint: str) -> str:
    """What a way to an endpoint rests on: its URL, who vouches for it, and what signs.

    A part of its name, so that a call which was decided by one catalogue finds no way in another one that leads
    elsewhere: Envoy and the sidecar do not take a new catalogue in the same moment.
    """
    there, signer = service.endpoints[endpoint], service.signer(endpoint)
    signing = [signer.file, signer.environment, signer.signing.region] if signer and signer.signing else []
    return digest([there.url, there.ca, *signing])[:_DIGITS]


def prefix(name: str, service: Service) -> str:
    """Where agents reach a service on the egress listener, without a slash at the end: /mcp/NAME or /SERVICE."""
    return f"{MCP_PREFIX}{name}" if service.kind == "mcp" else f"/{name}"
