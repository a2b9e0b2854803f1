"""Has Envoy read its certificates anew once their files have changed, however they are changed.

Envoy notices only what is moved into a directory. So the files themselves are looked at, through links; and only a
pair that fits together is told, because halfway through a rotation it does not.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from remit.backends.envoy_places import EgressPlaces, EgressTls
from remit.core.errors import RemitError

_Seen = tuple[tuple[int, int, int], ...]


class TlsUnusable(RemitError):
    """Certificate, key and authorities that cannot be served with; the message says which files and why."""


class TlsFiles:
    """The certificate files of one Envoy; none without TLS."""

    def __init__(self, places: EgressPlaces) -> None:
        self._tls, self._watched = places.tls, places.tls_watched
        self._seen: _Seen = ()

    async def start(self) -> None:
        """Make the directory that Envoy watches. Raises TlsUnusable."""
        if self._tls is not None:
            self._watched.mkdir(mode=0o700, exist_ok=True)
            self._seen = await asyncio.to_thread(_fitting, self._tls)

    async def refresh(self) -> bool:
        """Tell Envoy where the files have changed; whether they have. Raises TlsUnusable once for each wrong state."""
        if self._tls is None or (found := await asyncio.to_thread(_look, self._tls)) == self._seen:
            return False
        self._seen = found
        self._seen = await asyncio.to_thread(_fitting, self._tls)
        await asyncio.to_thread(_move_into, self._watched)
        return True


def _paths(tls: EgressTls) -> tuple[Path, ...]:
    return (tls.certificate, tls.key, *([tls.client_ca] if tls.client_ca is not None else []))


def _look(tls: EgressTls) -> _Seen:
    return tuple(_state(path) for path in _paths(tls))


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _fitting(tls: EgressTls) -> _Seen:
    """The state of files that fit together, as it was before they were read."""
    seen = _look(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a passphrase cannot be used: nobody is there to type it.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        names = ", ".join(str(each) for each in _paths(tls))
        raise TlsUnusable(f"TLS at the egress: {names}: {error}") from error
    return seen


def _move_into(directory: Path) -> None:
    new = directory / "changed.new"
    new.touch(mode=0o600)
    new.replace(directory / "changed")
