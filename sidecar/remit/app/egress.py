"""The egress: Envoy, what it is told, the door by which it asks, and the addresses that it may dial."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from remit.backends.endpoint_addresses import EndpointAddresses
from remit.backends.envoy_config import Documents, documents, system_authorities
from remit.backends.envoy_install import obtain
from remit.backends.envoy_places import EgressPlaces, EgressTls
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.envoy_server import EnvoyServer
from remit.backends.pem_files import TlsUnusable
from remit.backends.resolver_system import SystemResolver
from remit.backends.signing_files import SigningFiles
from remit.backends.tls_files import TlsFiles
from remit.backends.vault_file import FileVault
from remit.config.settings import Address, EgressSettings, TlsSettings
from remit.core.catalogue import Catalogue
from remit.listeners.egress_desk import EgressDesk
from remit.listeners.envoy_gate import EnvoyGate
from remit.listeners.grpc_server import CannotListen
from remit.listeners.pipeline import Identities, Pipeline
from remit.metrics import Metrics
from remit.pep.egress import LONGEST_WAIT_SECONDS, Egress
from remit.pep.world import SECOND, World
from remit.ports import Resolver

RESOLVE_SECONDS = 30.0
ROTATE_SECONDS = 0.25
LOCALHOST = "127.0.0.1"
LARGEST_BODY = 64 << 20

Progress = Callable[[str, float], None]
_log = logging.getLogger("remit")


class EgressParts:
    """Everything by which agents' calls leave; started after the pipeline, stopped before it."""

    def __init__(
        self,
        settings: EgressSettings,
        directory: Path,
        *,
        world: World,
        pipeline: Pipeline,
        identities: Identities,
        metrics: Metrics,
        vault: FileVault,
        tls: TlsSettings | None = None,
        resolver: Resolver | None = None,
        longest: int = LONGEST_WAIT_SECONDS,
    ) -> None:
        settings = _chosen(settings)
        self._settings, self._directory, self._world, self._metrics = settings, directory, world, metrics
        self._addresses = EndpointAddresses(resolver or SystemResolver())
        self._vault = vault
        self._signing = SigningFiles(self._vault, directory)
        self._nonce = secrets.token_urlsafe(24)
        self._egress = Egress(world, self._vault, self._addresses, longest=longest * SECOND)
        desk = EgressDesk(
            self._egress, pipeline, identities, metrics, catalogue=lambda: world.catalogue, nonce=self._nonce
        )
        self._places = EgressPlaces(
            directory,
            egress=_pair(settings.http),
            proxy=_pair(settings.proxy) if settings.proxy else None,
            authorities=system_authorities(),
            access_log=settings.access_log,
            tls=_tls(tls) if tls is not None and settings.tls else None,
        )
        self._tls = TlsFiles(self._places)
        self._gate = EnvoyGate(desk, self._egress, self._places.sidecar_socket, body_bytes=LARGEST_BODY)
        self._envoy: EnvoyServer | None = None
        self._telling = asyncio.Lock()
        self._known = world.catalogue
        """The catalogue that Envoy works by: a new one before decisions are made by it."""
        self._following: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where agents reach it."""
        scheme = "https" if self._places.tls else "http"
        proxy = (f"proxy {scheme}://{self._settings.proxy}",) if self._settings.proxy else ()
        return (f"egress {scheme}://{self._settings.http}", *proxy)

    @property
    def problem(self) -> str:
        """Why calls cannot leave now, "" where they can."""
        return "" if self._envoy is not None and self._envoy.up else "Envoy does not answer"

    async def start(self, catalogue: Catalogue, progress: Progress) -> None:
        """Raises EnvoyFailed, EnvoyUnusable, InstallFailed, CannotListen, TlsUnusable."""
        # Credentials pass through this process and the Envoy that it starts: a crash must not write them to a file.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory.chmod(0o700)
        binary = await asyncio.to_thread(obtain, os.environ, self._settings.binary, progress)
        self._known = catalogue
        await self._tls.start()
        self._tell_expiry()
        await self._signing.start()
        await self._signing.refresh(catalogue)
        await self._addresses.refresh(catalogue)
        await self._gate.start()
        for address in filter(None, (self._settings.http, self._settings.proxy)):
            _try(address)
        self._envoy = EnvoyServer(binary.path, self._directory, changed=self._changed)
        await self._envoy.start(self._documents(catalogue))
        self._following = [asyncio.create_task(each) for each in (self._resolve(), self._rotate())]

    async def reload(self, catalogue: Catalogue) -> None:
        """Have Envoy know a catalogue, before decisions are made by it. Raises EnvoyFailed; then the old one holds."""
        async with self._telling:
            await self._signing.refresh(catalogue)
            await self._addresses.refresh(catalogue)
            try:
                if self._envoy is not None:
                    await self._envoy.reload(self._documents(catalogue))
            except EnvoyFailed:
                # An endpoint that leads elsewhere in the one that is refused is where it was.
                await self._addresses.refresh(self._known)
                raise
            self._known = catalogue

    async def stop(self, grace: float) -> None:
        """Let calls under way end within `grace` seconds, and settle all."""
        self._stopping = True
        for each in self._following:
            each.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._gate.stop(grace)
        if self._envoy is not None:
            await self._envoy.stop()

    async def ended(self) -> None:
        """Return once Envoy's door is shut, whoever shut it."""
        await self._gate.ended()

    def _documents(self, catalogue: Catalogue) -> Documents:
        return documents(catalogue, self._places, self._addresses.addresses, self._nonce)

    def _changed(self, up: bool, why: str) -> None:
        self._metrics.envoy(up=up)
        _log.log(logging.INFO if up or self._stopping else logging.ERROR, "Envoy: %s", why)

    def _tell_expiry(self) -> None:
        if self._tls.expires is not None:
            self._metrics.certificate("egress", self._tls.expires)

    async def _resolve(self) -> None:
        """Follow names to where they lead, judged anew each time."""
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            try:
                async with self._telling:
                    if await self._addresses.refresh(self._known) and self._envoy is not None:
                        await self._envoy.update(self._documents(self._known))
            except EnvoyFailed as error:
                _log.error("Envoy did not take new addresses: %s", error)

    async def _rotate(self) -> None:
        """Have Envoy sign with keys, and show certificates, as they are now."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            try:
                await self._signing.refresh(self._known)
            except OSError as error:
                _log.error("a key to sign with could not be written: %s", error)
            try:
                if await self._tls.refresh():
                    self._tell_expiry()
                    _log.info("Envoy reads its certificates anew")
            except (TlsUnusable, OSError) as error:
                _log.error("Envoy keeps the certificates that it has: %s", error)


def _chosen(settings: EgressSettings) -> EgressSettings:
    """Free ports in the place of port 0: Envoy is told where to listen, and does not tell."""
    proxy = settings.proxy and _free(settings.proxy)
    return replace(settings, http=_free(settings.http), proxy=proxy)


def _try(address: Address) -> None:
    """Raise CannotListen where another process listens: Envoy would say so in many more words."""
    with _socket(address) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(_pair(address))
        except OSError as error:
            raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from error


def _free(address: Address) -> Address:
    if address.port:
        return address
    with _socket(address) as found:
        found.bind(_pair(address))
        return replace(address, port=found.getsockname()[1])


def _socket(address: Address) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)


def _tls(tls: TlsSettings) -> EgressTls:
    client_ca = tls.client_ca.absolute() if tls.client_ca is not None else None
    return EgressTls(tls.cert.absolute(), tls.key.absolute(), client_ca)


def _pair(address: Address) -> tuple[str, int]:
    return (LOCALHOST if address.host == "localhost" else address.host, address.port)
