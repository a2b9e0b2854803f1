"""The certificates that listeners show, for as long as files say which."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from remit.backends.pem_files import Pem, PemFiles, TlsUnusable
from remit.config.listening import TlsSettings
from remit.listeners.grpc_server import Tls
from remit.metrics import Metrics

ROTATE_SECONDS = 0.25

_log = logging.getLogger("remit")


class Certificates:
    """One certificate and who signs those of clients, as the files last had them whole; made by `read`."""

    def __init__(self, use: str, files: PemFiles, first: Pem, metrics: Metrics) -> None:
        self._use, self._files, self._metrics = use, files, metrics
        self._taking: list[Callable[[Pem], None]] = []
        self.now = first
        """What is in force."""
        metrics.certificate(use, first.expires)

    @classmethod
    async def read(cls, use: str, settings: TlsSettings, metrics: Metrics) -> Certificates:
        """`use` is what metrics call it: grpc (a sidecar's), desk. Raises TlsUnusable."""
        files = PemFiles("TLS", settings.cert, settings.key, settings.client_ca)
        return cls(use, files, await files.start(), metrics)

    def then(self, take: Callable[[Pem], None]) -> None:
        """Have each that takes the place of the one in force taken by a listener too."""
        self._taking.append(take)

    def grpc(self) -> Tls:
        """For a gRPC listener, which follows it."""
        tls = Tls(self.now.certificate, self.now.key, self.now.client_ca)
        self.then(lambda pem: tls.use(pem.certificate, pem.key, pem.client_ca))
        return tls

    async def follow(self) -> None:
        """Take what the files have, whenever they have changed and fit together."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            try:
                found = await self._files.refresh()
                if found is not None:
                    self._take(found)
            except (TlsUnusable, OSError, ValueError) as error:
                _log.error("the certificate in force stays: %s", error)

    def _take(self, pem: Pem) -> None:
        for take in self._taking:
            take(pem)
        self.now = pem
        self._metrics.certificate(self._use, pem.expires)
        _log.info("new connections are made by the certificate that is there now")
