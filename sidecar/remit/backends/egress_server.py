"""The whole way out: Envoy, what it is told, and the addresses behind each endpoint's name, kept current."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path

from remit.backends.endpoint_addresses import EndpointAddresses
from remit.backends.envoy_config import Documents, documents
from remit.backends.envoy_places import EgressPlaces
from remit.backends.envoy_process import EnvoyFailed
from remit.backends.envoy_server import Changed, EnvoyServer, ServerSettings
from remit.core.catalogue import Catalogue
from remit.ports import Resolver

RESOLVE_SECONDS = 30.0
_SETTINGS = ServerSettings()

_log = logging.getLogger(__name__)


class EgressServer:
    """Serves one catalogue at a time. `nonce` is what routes begin with; it is new for each of these."""

    def __init__(
        self,
        binary: Path,
        places: EgressPlaces,
        resolver: Resolver,
        *,
        changed: Changed = lambda up, why: None,
        settings: ServerSettings = _SETTINGS,
        resolve: float = RESOLVE_SECONDS,
    ) -> None:
        self.nonce = secrets.token_hex(16)
        self._places = places
        self._endpoints = EndpointAddresses(resolver)
        self._envoy = EnvoyServer(binary, places.directory, changed=changed, settings=settings)
        self._catalogue: Catalogue | None = None
        self._resolve = resolve
        self._resolving: asyncio.Task[None] | None = None
        self._telling = asyncio.Lock()

    @property
    def up(self) -> bool:
        """Whether Envoy is running and answers."""
        return self._envoy.up

    @property
    def pid(self) -> int:
        """Envoy's process; 0 where none runs."""
        return self._envoy.pid

    def problem(self, service: str, endpoint: str) -> str:
        """Why an endpoint cannot be dialled, "" where it can."""
        return self._endpoints.problem(service, endpoint)

    async def start(self, catalogue: Catalogue) -> None:
        """Resolve the endpoints and serve, or raise EnvoyFailed. The sidecar must serve its socket already."""
        await self._endpoints.refresh(catalogue)
        await self._envoy.start(self._documents(catalogue))
        self._catalogue = catalogue
        self._resolving = asyncio.create_task(self._keep_current())

    async def reload(self, catalogue: Catalogue) -> None:
        """Serve another catalogue from now on; on EnvoyFailed the one before stays in service. No stream is cut."""
        async with self._telling:
            await self._endpoints.refresh(catalogue)
            try:
                await self._envoy.reload(self._documents(catalogue))
            except EnvoyFailed:
                if self._catalogue is not None:
                    await self._endpoints.refresh(self._catalogue)
                raise
            self._catalogue = catalogue

    async def stop(self) -> None:
        """Stop Envoy; what it carries ends."""
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
            self._resolving = None
        await self._envoy.stop()

    async def refresh(self) -> None:
        """Resolve all endpoints anew and tell Envoy where their addresses have changed. Raises EnvoyFailed."""
        async with self._telling:
            if self._catalogue is not None and await self._endpoints.refresh(self._catalogue):
                await self._envoy.update(self._documents(self._catalogue))

    async def _keep_current(self) -> None:
        while True:
            await asyncio.sleep(self._resolve)
            try:
                await self.refresh()
            except EnvoyFailed as error:
                # The documents are in place: Envoy takes them later, or when it is started anew.
                _log.warning("Envoy did not take new addresses: %s", error)

    def _documents(self, catalogue: Catalogue) -> Documents:
        return documents(catalogue, self._places, self._endpoints.addresses, self.nonce)
