"""From the command line to a sidecar or a desk: address, whose credential, one call, every failure in a line."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf.message import Message
from grpc import StatusCode
from grpc.aio import AioRpcError

from remit.cli.addresses import read_addresses
from remit.cli.failure import Failure, Refused, Unreachable
from remit.cli.local import find_settings, operator_token
from remit.config.settings import Address, Settings
from remit.core.reason import Reason
from remit.sdk.address import Credential, Target, Tls, find_target
from remit.sdk.errors import InvalidRequest, RemitError, Unauthenticated, Unavailable
from remit.sdk.failures import failure
from remit.v1 import audit_pb2_grpc, oversight_pb2_grpc

R = TypeVar("R")

FILE = click.Path(dir_okay=False, path_type=Path)
HTTPS, HTTPS_PORT = "https://", 443
TLS_CA = "REMIT_TLS_CA"
ADDRESS_EXPECTED = "unix:PATH, HOST:PORT or https://HOST[:PORT]"

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?/?", re.ASCII)
_STUBS: Mapping[str, Callable[..., Any]] = {
    "Audit": audit_pb2_grpc.AuditStub,
    "Oversight": oversight_pb2_grpc.OversightStub,
}


@dataclass(frozen=True, slots=True)
class Connection:
    """What the options say of whom to ask; what they leave open is looked up when it is needed."""

    address: str | None
    token_file: Path | None
    state: Path | None
    timeout: float
    tls: Tls | None

    def target(self, *, person: bool, environment: Mapping[str, str] = os.environ) -> Target:
        """Where to, and as whom: a person without a credential of their own takes the operator's, if they can
        read it. Raises Failure."""
        surroundings = dict(environment)
        if self.token_file is not None:
            surroundings = {**environment, "REMIT_TOKEN": "", "REMIT_TOKEN_FILE": str(self.token_file)}
        named = self.address or environment.get("REMIT_ADDRESS")
        settings = find_settings(self.state, environment)
        address, tls = secured(named or known_address(settings), self.tls, environment)
        try:
            target = find_target(address, None, tls=tls, environment=surroundings)
        except InvalidRequest as error:
            raise Failure(str(error)) from error
        if person and not target.token and tls is None:
            target = replace(target, credential=Credential(operator_token(settings.state)))
        return target

    def call(self, service: str, rpc: str, request: Message) -> Any:
        """One call to Audit or Oversight, as a person. Raises Failure, Refused, Unreachable."""
        return asyncio.run(_call(self.target(person=True), service, rpc, request, self.timeout))


def secured(address: str, tls: Tls | None, environment: Mapping[str, str]) -> tuple[str, Tls | None]:
    """An address as gRPC dials it, and by which TLS: https:// asks for it. Raises Failure."""
    if "://" in address:
        found = _HOST.fullmatch(address.removeprefix(HTTPS)) if address.startswith(HTTPS) else None
        if found is None:
            raise Failure(f"address: found {address[:128]!r}; expected {ADDRESS_EXPECTED}")
        address, tls = f"{found['host']}:{found['port'] or HTTPS_PORT}", tls or Tls()
    authority = environment.get(TLS_CA)
    if tls is not None and tls.ca is None and authority:
        tls = replace(tls, ca=Path(authority))
    return address, tls


def known_address(settings: Settings, *, running: bool = True) -> str:
    """Where the sidecar of these settings listens: what it wrote down when it started, else what it would.

    A socket that is not there is passed over, unless the sidecar need not be `running` yet.
    """
    written = read_addresses(settings.state)
    if written:
        return written
    if settings.socket is not None and (settings.socket.exists() or not running):
        return f"unix:{settings.socket.absolute()}"
    return str(_reachable(settings.grpc)) if settings.grpc else "127.0.0.1:7450"


def _reachable(listening: Address) -> Address:
    """An address to dial for one to listen on: every interface is also loopback."""
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (read, not listened on)
    return Address(every.get(listening.host, listening.host), listening.port)


def connected(command: Callable[..., R], *, seconds: float = 10.0) -> Callable[..., R]:
    """The options that say which sidecar or desk to ask; the command gets them as its first argument, a Connection.

    `seconds` are what it may take where --timeout is left out.
    """

    @click.option("--address", metavar="ADDRESS", help=f"{ADDRESS_EXPECTED} [REMIT_ADDRESS].")
    @click.option("--token-file", type=FILE, help="A file with your credential [REMIT_TOKEN, REMIT_TOKEN_FILE].")
    @click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory [REMIT_STATE].")
    @click.option("--timeout", type=click.FloatRange(0.1, 600), default=seconds, show_default=True, help="Seconds.")
    @click.option("--tls-ca", type=FILE, help="Use TLS; who signed its certificate (PEM) [REMIT_TLS_CA].")
    @click.option("--tls-cert", type=FILE, help="Your client certificate (PEM).")
    @click.option("--tls-key", type=FILE, help="Its key (PEM).")
    @wraps(command)
    def collected(
        *args: Any,
        address: str | None,
        token_file: Path | None,
        state: Path | None,
        timeout: float,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        **options: Any,
    ) -> R:
        tls = Tls(tls_ca, tls_cert, tls_key) if tls_ca or tls_cert or tls_key else None
        return command(Connection(address, token_file, state, timeout, tls), *args, **options)

    return collected


async def _call(target: Target, service: str, rpc: str, request: Message, seconds: float) -> Any:
    async with target.channel() as channel:
        try:
            return await getattr(_STUBS[service](channel), rpc)(
                request, timeout=seconds, metadata=target.metadata, wait_for_ready=False
            )
        except AioRpcError as error:
            raise explained(error, rpc, target) from error


def explained(error: AioRpcError, rpc: str, target: Target) -> Failure:
    """The failure of a call, for people; its exit code says whose turn it is."""
    text = error.details() or error.code().name
    match error.code():
        case StatusCode.PERMISSION_DENIED:
            return Refused(text)
        case StatusCode.NOT_FOUND | StatusCode.FAILED_PRECONDITION:
            return Failure(text)
    return explained_error(failure(error, rpc), target)


def explained_error(error: RemitError, target: Target) -> Failure:
    """The same for what the SDK raises."""
    where, text = target.address, str(error)
    if isinstance(error, Unauthenticated):
        how = "it knows nobody with this credential" if target.token else "no credential was given"
        return Failure(f"{where} refuses: {how}; expected one in --token-file, REMIT_TOKEN or REMIT_TOKEN_FILE")
    if isinstance(error, Unavailable):
        if StatusCode.UNIMPLEMENTED.name in text:
            return Failure(f"{where} does not serve agents: it is a desk; ask a sidecar with --address")
        if StatusCode.DEADLINE_EXCEEDED.name in text:
            return Unreachable(f"{where} did not answer in time; give it longer with --timeout")
        if Reason.STORE_UNAVAILABLE.value in text:
            return Unreachable(
                f"{where} cannot reach its store, or cannot record in it, and answers nothing; ask again"
            )
        if StatusCode.INTERNAL.name in text:
            return Unreachable(f"{where} failed ({text})")
        return Unreachable(f"no answer from a sidecar at {where} ({_brief(text)}); {_advice(text, target)}")
    return Failure(text)


def _advice(text: str, target: Target) -> str:
    """What to do where there was no answer."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"name who signed its certificate with --tls-ca or {TLS_CA}"
    if target.tls is not None and "handshake" in text.lower():
        return "it speaks no TLS, or wants a certificate of yours: --tls-cert and --tls-key"
    if target.tls is None and "Connection refused" not in text and not target.address.startswith("unix:"):
        return f"if it speaks TLS, name it as {HTTPS}{target.address}"
    return "start one with `remit up`, or name another, or a desk, with --address"


def _brief(text: str) -> str:
    """What gRPC says at length, where it is one of the two things that it mostly is."""
    usual = ("Connection refused", "No such file or directory")
    return next((each.lower() for each in usual if each in text), text)
