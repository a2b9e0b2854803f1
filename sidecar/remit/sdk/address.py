"""Where the sidecar is and who calls it: address, credential, TLS. A credential never crosses a network in clear."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import grpc
from grpc import aio

from remit.sdk.errors import InvalidRequest, Violation

SOCKET = Path(".remit-run/remit.sock")
LOOPBACK = "127.0.0.1:7450"

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)
_OPTIONS: tuple[tuple[str, str | int], ...] = (
    # The sidecar is on this host; a proxy of the environment is not the way to it.
    ("grpc.enable_http_proxy", 0),
    # A restarted sidecar is found again at once; gRPC's own default waits up to two minutes. The minimum stays
    # gRPC's: it is also the time that a connection may take, and a busy host takes more than 50 ms.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the sidecar. `ca` verifies it (None: the system's); `certificate` and `key` prove the agent (mTLS).

    All three are PEM files. `server_name` replaces the address's host where the certificate names another.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


class Credential:
    """A token, or a file with one: that is read anew whenever it has changed (a cluster's tokens live for an hour).

    A file that is gone, or has no token in it, leaves the one before: it may be in the middle of a change.
    """

    def __init__(self, token: str, file: Path | None = None) -> None:
        self._token, self._file = token, file
        self._seen: tuple[int, ...] = ()
        if file is not None:
            self._seen = _state(file)
            self._token = _usable(_content(file, "REMIT_TOKEN_FILE").decode("ascii", "replace").strip(), str(file))

    def now(self) -> str:
        """The token, "" for none."""
        if self._file is not None:
            try:
                state = _state(self._file)
                if state != self._seen:
                    found = self._file.read_bytes().decode("ascii", "replace").strip()
                    # Seen before it was read: what changes meanwhile is read again.
                    self._token, self._seen = _usable(found, "") or self._token, state
            except (OSError, InvalidRequest):
                pass
        return self._token


@dataclass(frozen=True, slots=True)
class Target:
    """What to connect to, and as whom."""

    address: str
    credential: Credential = field(repr=False)
    tls: Tls | None = None

    @property
    def token(self) -> str:
        """The credential as it is now, "" for none."""
        return self.credential.now()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        token = self.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    def channel(self) -> aio.Channel:
        """A channel of the running event loop."""
        if self.tls is None:
            options = (*_OPTIONS, ("grpc.default_authority", "localhost"))
            return aio.insecure_channel(self.address, options=options)
        named = self.tls.server_name
        options = (*_OPTIONS, *((("grpc.ssl_target_name_override", named),) if named else ()))
        return aio.secure_channel(self.address, _credentials(self.tls), options=options)


def find_target(
    address: str | None,
    token: str | None,
    *,
    tls: Tls | None,
    environment: Mapping[str, str],
    exists: Callable[[Path], bool] = Path.exists,
) -> Target:
    """What is given, else what the environment names, else the defaults; InvalidRequest where it cannot be."""
    found = address or environment.get("REMIT_ADDRESS") or (f"unix:./{SOCKET}" if exists(SOCKET) else LOOPBACK)
    _check_address(found, tls)
    return Target(found, _credential(token, environment), tls)


def _check_address(address: str, tls: Tls | None) -> None:
    if address.startswith("unix:") and len(address) > len("unix:"):
        return
    tcp = _TCP.fullmatch(address)
    if tcp is None:
        raise InvalidRequest(Violation("address", f'"unix:PATH" or "HOST:PORT", not {address[:128]!r}'))
    if tls is None and not is_loopback(tcp["host"].strip("[]")):
        raise InvalidRequest(Violation("address", f"a loopback address or TLS, not plain TCP to {tcp['host']}"))


def is_loopback(host: str) -> bool:
    """Whether the host, an address or a name, is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _credential(token: str | None, environment: Mapping[str, str]) -> Credential:
    given = token or environment.get("REMIT_TOKEN", "")
    file = environment.get("REMIT_TOKEN_FILE")
    return Credential("", Path(file)) if file and not given else Credential(_usable(given, "token"))


def _usable(token: str, source: str) -> str:
    """The token, "" for none. Its text is in no message."""
    if token and not _TOKEN.fullmatch(token):
        raise InvalidRequest(Violation(source, "1 to 4096 printable ASCII characters without spaces"))
    return token


def _state(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_content(tls.ca, "tls.ca") if tls.ca else None,
        private_key=_content(tls.key, "tls.key") if tls.key else None,
        certificate_chain=_content(tls.certificate, "tls.certificate") if tls.certificate else None,
    )


def _content(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(Violation(field, f"a readable file, but {path}: {error.strerror}")) from error
