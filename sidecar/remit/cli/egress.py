"""`remit egress`: what Envoy, which carries the agents' calls, would be told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import click

from remit.backends.endpoint_addresses import EndpointAddresses
from remit.backends.envoy_config import combined, documents, system_authorities
from remit.backends.envoy_places import Addresses, Document, EgressPlaces, EgressTls
from remit.backends.resolver_system import SystemResolver
from remit.cli.failure import Failure
from remit.cli.local import catalogue_paths
from remit.cli.screen import emit, note
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.settings import Address, Settings
from remit.core.catalogue import Catalogue

NONCE = "NONCE"
_PATHS = click.Path(path_type=Path)


@click.group("egress")
def command() -> None:
    """See how agents' calls leave."""


@command.command("config")
@click.option("--catalogue", multiple=True, type=_PATHS, help="File or directory [REMIT_CATALOGUE, remit.yaml].")
@click.option("--resolve", is_flag=True, help="Look up the endpoints' hosts and show what may be dialled.")
def config(catalogue: tuple[Path, ...], resolve: bool) -> None:
    """Print what Envoy would be told, as one JSON document that Envoy itself can validate.

    No credential is in it; NONCE stands for the word that only the sidecar and Envoy know.

    Example: remit egress config --catalogue remit.yaml
    """
    emit(_told(catalogue, resolve=resolve))


def _told(paths: Sequence[Path], *, resolve: bool) -> Document:
    try:
        settings, read = load(catalogue_paths(tuple(paths)), os.environ, {})
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error
    addresses = asyncio.run(_resolved(read)) if resolve else {}
    return combined(documents(read, _places(settings), addresses, NONCE))


async def _resolved(catalogue: Catalogue) -> Addresses:
    """Where each endpoint may be dialled; why another may not goes to stderr."""
    table = EndpointAddresses(SystemResolver())
    await table.refresh(catalogue)
    for (service, endpoint), found in table.addresses.items():
        if not found:
            note(f"remit: {service}/{endpoint} cannot be reached: {table.problem(service, endpoint)}")
    return table.addresses


def _places(settings: Settings) -> EgressPlaces:
    egress, tls = settings.egress, settings.tls
    client_ca = tls.client_ca.absolute() if tls and tls.client_ca else None
    return EgressPlaces(
        (settings.state / "egress").absolute(),
        _pair(egress.http),
        _pair(egress.proxy) if egress.proxy else None,
        authorities=system_authorities(),
        access_log=egress.access_log,
        tls=EgressTls(tls.cert.absolute(), tls.key.absolute(), client_ca) if tls and egress.tls else None,
    )


def _pair(address: Address) -> tuple[str, int]:
    return ("127.0.0.1" if address.host == "localhost" else address.host, address.port)
