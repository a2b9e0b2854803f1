"""Where something listens, and with which certificate: what the settings of sidecar and desk say alike."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from remit.config.reading import Cursor, Reader, Section, text
from remit.config.tree import Leaf
from remit.config.values import path

MAX_SOCKET_BYTES = 107  # sun_path of a Unix socket address, without its NUL

T = TypeVar("T")

_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}", re.ASCII)
_LISTEN_EXPECTED = "HOST:PORT such as 127.0.0.1:7450"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine (or pod) can reach it."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM; with `client_ca`, clients may prove themselves by a certificate that it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address without brackets, is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def off(reader: Reader[T]) -> Reader[T | None]:
    """What the reader reads, or None where it says `off`."""

    def read(at: Cursor) -> T | None:
        return None if isinstance(at.node, Leaf) and at.node.text == "off" else reader(at)

    return read


def listener(*, secured: bool, needed: bool = False, near: bool = False) -> Reader[Address]:
    """`needed`: it cannot be off. `near`: no certificate lets it listen beyond loopback."""
    form = text(_LISTEN, _LISTEN_EXPECTED if needed else f"{_LISTEN_EXPECTED}, or off")

    def read(at: Cursor) -> Address:
        host, _, port = form(at).rpartition(":")
        found = Address(host.strip("[]"), int(port))
        if found.port > 65535:
            raise at.wrong("a port up to 65535")
        if not secured and not found.loopback:
            raise at.wrong(
                "a loopback address" + ("" if near else ", or a certificate (`tls`) to listen elsewhere with")
            )
        return found

    return read


def unix_socket(at: Cursor) -> Path:
    """A path that a Unix socket may have."""
    found = path(at)
    if len(os.fsencode(found)) > MAX_SOCKET_BYTES:
        raise at.wrong(f"a socket's path of at most {MAX_SOCKET_BYTES} bytes")
    return found


def tls(keys: Section) -> TlsSettings:
    """A certificate and its key, and who signs those of clients."""
    return TlsSettings(
        cert=keys.require("cert", path, Path()),
        key=keys.require("key", path, Path()),
        client_ca=keys.read("client_ca", path, None),
    )
