"""Has Envoy read its certificates anew once their files have changed, however they are changed.

Envoy notices only what is moved into a directory. So the files themselves are looked at, through links; and only a
pair that fits together is told, because halfway through a rotation it does not.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from remit.backends.envoy_places import EgressPlaces
from remit.backends.pem_files import Pem, PemFiles


class TlsFiles:
    """The certificate files of one Envoy; none without TLS."""

    def __init__(self, places: EgressPlaces) -> None:
        tls = places.tls
        self._files = None if tls is None else PemFiles("TLS at the egress", tls.certificate, tls.key, tls.client_ca)
        self._watched = places.tls_watched
        self._untold: Pem | None = None
        self.expires: float | None = None
        """When the certificate that Envoy was told of last does, in seconds since 1970."""

    async def start(self) -> None:
        """Make the directory that Envoy watches. Raises TlsUnusable."""
        if self._files is not None:
            self._watched.mkdir(mode=0o700, exist_ok=True)
            self.expires = (await self._files.start()).expires

    async def refresh(self) -> bool:
        """Tell Envoy where the files have changed; whether they have. Raises TlsUnusable once for each wrong state."""
        if self._files is None:
            return False
        self._untold = await self._files.refresh() or self._untold
        if self._untold is None:
            return False
        await asyncio.to_thread(_move_into, self._watched)
        self.expires, self._untold = self._untold.expires, None
        return True


def _move_into(directory: Path) -> None:
    new = directory / "changed.new"
    new.touch(mode=0o600)
    new.replace(directory / "changed")
