"""Certificate, key and authorities in files that are rotated: read whole, and only where they fit together.

They are looked at through links, so it does not matter how they are changed: in place, by a rename, or by a link that
is turned (a mounted Kubernetes secret). What does not fit is told once, and whoever had taken what was there before
keeps it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from remit.core.errors import RemitError

_TRIES = 5
_MOST = 1 << 20  # bytes of one file
_State = tuple[tuple[int, ...], ...]


class TlsUnusable(RemitError):
    """Certificate, key and authorities that cannot be served with; the message says which files and why."""


@dataclass(frozen=True, slots=True)
class Pem:
    """PEM texts that fit together. `expires` is when the certificate does, in seconds since 1970."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes
    expires: float

    def load(self, context: ssl.SSLContext) -> None:
        """Have a context show this certificate. Raises OSError, ValueError."""
        with _file(self.certificate) as certificate, _file(self.key) as key:
            # A key with a passphrase cannot be used: nobody is there to type it.
            context.load_cert_chain(certificate, key, password=lambda: "")


class PemFiles:
    """The files of one listener; `what` is what messages call it."""

    def __init__(self, what: str, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._what = what
        self._paths = (certificate, key, *([client_ca] if client_ca is not None else []))
        self._seen: _State = ()

    async def start(self) -> Pem:
        """What is in them. Raises TlsUnusable."""
        return await asyncio.to_thread(self._take)

    async def refresh(self) -> Pem | None:
        """What is in them now, None where that was looked at already. Raises TlsUnusable once for each wrong state."""
        if await asyncio.to_thread(self._look) == self._seen:
            return None
        return await asyncio.to_thread(self._take)

    def _look(self) -> _State:
        return tuple(_state(path) for path in self._paths)

    def _take(self) -> Pem:
        """Of one moment: where something changes meanwhile, all is read again."""
        names = ", ".join(str(each) for each in self._paths)
        for _ in range(_TRIES):
            self._seen = self._look()
            try:
                found = _fitting(*[_read(path) for path in self._paths])
            except (OSError, ValueError) as error:  # an SSLError is an OSError
                if self._look() == self._seen:
                    raise TlsUnusable(f"{self._what}: {names}: {error}") from error
                continue
            if self._look() == self._seen:
                return found
        self._seen = ()
        raise TlsUnusable(f"{self._what}: {names}: they do not stop changing")


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        raise ValueError(f"{path.name} has more than {_MOST} bytes")
    if text.count(b"-----BEGIN ") != text.count(b"-----END "):
        raise ValueError(f"{path.name} ends in the middle")
    return text


def _fitting(certificate: bytes, key: bytes, client_ca: bytes | None = None) -> Pem:
    """Raises OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found = Pem(certificate, key, client_ca or b"", _expires(certificate))
    found.load(context)
    if client_ca is not None:
        with _file(client_ca) as path:
            context.load_verify_locations(path)
    return found


def _expires(certificate: bytes) -> float:
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


@contextmanager
def _file(text: bytes) -> Iterator[str]:
    """A file with a text, for those who take nothing else: in memory where the system can."""
    if hasattr(os, "memfd_create"):
        made = os.memfd_create("remit", os.MFD_CLOEXEC)
        with os.fdopen(made, "wb") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{made}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(text)
            file.flush()
            yield file.name
