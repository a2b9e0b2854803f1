"""The gRPC server: where it listens, what it serves, how it starts and ends."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from remit.core.errors import RemitError
from remit.listeners.grpc_audit import AUDIT
from remit.listeners.grpc_call import Calls, Methods
from remit.listeners.grpc_core import Server
from remit.listeners.grpc_limits import Limits
from remit.listeners.grpc_oversight import OVERSIGHT
from remit.listeners.grpc_sidecar import SIDECAR
from remit.listeners.grpc_standard import Handlers, Health, Reflection
from remit.listeners.pipeline import Identities, Observer, Pipeline
from remit.listeners.working import RECORD_SECONDS

SERVICES = (SIDECAR, OVERSIGHT, AUDIT)
FOR_PEOPLE = (OVERSIGHT, AUDIT)
MAX_SOCKET_BYTES = 107  # sun_path, without its NUL


class CannotListen(RemitError):
    """An address that cannot be listened on; the message says which and why."""


class Tls:
    """PEM texts. With `client_ca`, every client must show a certificate that it signed; without, tokens alone."""

    def __init__(self, certificate: bytes, key: bytes, client_ca: bytes = b"") -> None:
        self.asks = bool(client_ca)
        """Whether clients must show a certificate; for good."""
        self._now = _configuration(certificate, key, client_ca)

    def use(self, certificate: bytes, key: bytes, client_ca: bytes = b"") -> None:
        """From now on new connections are made by these, and those there are go on. They must fit together."""
        if bool(client_ca) is not self.asks:
            raise ValueError("whether clients show certificates does not change while they are served")
        self._now = _configuration(certificate, key, client_ca)

    def credentials(self) -> grpc.ServerCredentials:
        """As gRPC takes them."""
        told = [self._now]

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """Asked in gRPC's own threads, before each handshake."""
            if (now := self._now) is told[0]:
                return None
            told[0] = now
            return now

        return grpc.dynamic_ssl_server_credentials(
            told[0],
            changed,  # type: ignore[arg-type]  # None is "as before", which its types do not know
            require_client_authentication=self.asks,
        )


def _configuration(certificate: bytes, key: bytes, client_ca: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca or None)


@dataclass(frozen=True, slots=True)
class Tcp:
    """Port 0 lets the system choose. Beyond loopback, TLS is needed."""

    host: str
    port: int
    tls: Tls | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine, or pod, can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """`mode` says who may connect; its directory says who may come near."""

    path: Path
    mode: int = 0o660


Address = Tcp | UnixSocket


class GrpcListener:
    """Serves the pipeline. Made and used inside the event loop that it serves on.

    A call to another service than `services`, health and reflection is UNIMPLEMENTED.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        identities: Identities,
        observer: Observer,
        *,
        addresses: Sequence[Address],
        limits: Limits | None = None,
        services: Sequence[Methods] = SERVICES,
    ) -> None:
        self._limits = limits or Limits()
        self._addresses = addresses
        self._services = services
        certificates = any(isinstance(each, Tcp) and each.tls and each.tls.asks for each in addresses)
        names = tuple(each.service for each in services)
        self._health = Health(names, self._limits)
        self._calls = Calls(pipeline, identities, observer, limits=self._limits, certificates=certificates)
        handlers = self._handlers() | self._health.handlers() | Reflection(names, self._limits).handlers()
        self._server = Server(handlers, self._limits.options(), self._limits.backstop)

    async def start(self) -> tuple[str, ...]:
        """Listen on all addresses, or raise CannotListen. Returns them as clients dial them, ports filled in.

        Health says NOT_SERVING until `serving(True)`.
        """
        dialled = tuple(self._listen(each) for each in self._addresses)
        await self._health.serving(False)
        await self._server.start()
        for each in self._addresses:
            if isinstance(each, UnixSocket):
                each.path.chmod(each.mode)
        return dialled

    async def serving(self, well: bool) -> None:
        """What health tells; calls are served all the same, and fail closed where something is missing."""
        await self._health.serving(well)

    @property
    def calls(self) -> int:
        """How many calls are open, of any kind and in any state."""
        return self._server.calls

    async def ended(self) -> None:
        """Return once the server serves no more, whoever ended it; raise what it broke by."""
        await self._server.wait_for_termination()

    async def stop(self, grace: float) -> None:
        """Say NOT_SERVING, take no more calls, let those under way end within `grace` seconds, and record them."""
        end = asyncio.get_running_loop().time() + grace
        await self._health.drain()
        self._calls.stop_waiting()
        await self._server.stop(grace)
        await self._calls.finish(max(RECORD_SECONDS, end - asyncio.get_running_loop().time()))

    def _handlers(self) -> Handlers:
        return {f"/{each.service}/{rpc.name}": self._calls.served(rpc) for each in self._services for rpc in each.rpcs}

    def _listen(self, address: Address) -> str:
        target = _target(address)
        try:
            if isinstance(address, Tcp) and address.tls:
                port = self._server.add_secure_port(target, address.tls.credentials())
            else:
                port = self._server.add_insecure_port(target)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {target}: {error}") from error
        return target if isinstance(address, UnixSocket) else f"{_host(address)}:{port}"


def _target(address: Address) -> str:
    if isinstance(address, UnixSocket):
        return f"unix:{_free(address.path)}"
    if not address.tls and not address.loopback:
        raise CannotListen(f"cannot listen on {_host(address)}:{address.port} beyond loopback without TLS")
    return f"{_host(address)}:{address.port}"


def _host(address: Tcp) -> str:
    return f"[{address.host}]" if ":" in address.host else address.host


def _free(path: Path) -> Path:
    """The path, if nobody listens there: gRPC would take a live socket over without a word."""
    path = path.absolute()
    if len(bytes(path)) > MAX_SOCKET_BYTES:
        raise CannotListen(f"cannot listen on {path}: a socket's path has at most {MAX_SOCKET_BYTES} bytes")
    if path.exists() and not path.is_socket():
        raise CannotListen(f"cannot listen on {path}: there is a file")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise CannotListen(f"cannot listen on {path}: another process does")
    return path
