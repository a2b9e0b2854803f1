"""What is well-formed of services that are reached through the egress, and yet weaker than it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from remit.backends.vault_file import FileVault
from remit.core.catalogue import Catalogue, Credential, Service
from remit.core.egress.signing import FORM, read_key
from remit.ports import VaultFailed

_PLAIN = ("http", "grpc")


def advise_egress(catalogue: Catalogue) -> list[str]:
    """One line for each."""
    return [line for name, each in catalogue.services.items() for line in _service(f"services.{name}", each)]


def advise_files(catalogue: Catalogue, folder: Path) -> list[str]:
    """One line for each credential in a file that cannot be used, or that others can read, and each missing `ca`.

    `folder` is where relative paths are meant from. No line holds anything of a credential.
    """
    return asyncio.run(_files(catalogue, folder))


def _service(place: str, service: Service) -> Iterator[str]:
    if service.opaque:
        yield f"{place}: opaque, so what goes through its tunnels is not read, and unmetered"
    if service.credentials and service.metering == "agent":
        yield f"{place}: metering: agent, although its credential is added here, where its calls are metered"
    for name, endpoint in service.endpoints.items():
        parts = urlsplit(endpoint.url)
        if service.credentials and parts.scheme in _PLAIN and not _loopback(parts.hostname or ""):
            yield f"{place}.endpoints.{name}: its credential goes over {parts.scheme}://, where others can read it"


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _files(catalogue: Catalogue, folder: Path) -> list[str]:
    found: list[str] = []
    for name, service in catalogue.services.items():
        for number, credential in enumerate(service.credentials):
            if credential.file:
                place = f"services.{name}.credentials[{number}]"
                found += [f"{place}: {line}" for line in await _file(credential, folder)]
        for id, endpoint in service.endpoints.items():
            if endpoint.ca and not (folder / endpoint.ca).is_file():
                found.append(f"services.{name}.endpoints.{id}.ca: {endpoint.ca} is no file; with it no egress starts")
    for name, dataset in catalogue.datasets.items():
        for place, source in ((name, dataset.reader), (f"{name}.writer", dataset.writer)):
            if source.file:
                lines = await _file(Credential(file=source.file), folder)
                found += [f"datasets.{place}.credential: {line}" for line in lines]
    return found


async def _file(credential: Credential, folder: Path) -> list[str]:
    vault = FileVault({}, folder)
    try:
        secret = await vault.secret(credential)
    except VaultFailed as failed:
        return [f"{failed}: until then every call is denied"]
    if credential.signing is not None and read_key(secret.value) is None:
        return [f"{secret.origin}: found something else, expected {FORM}: until then every call is denied"]
    return list(vault.problems())
