"""What a call shows of its caller: one credential in its metadata, the client certificate of its connection.

gRPC hands on whatever metadata a client sent: values with CR, LF or NUL, keys that come twice. So nothing of it is
used but the credential, which must be there once and be printable; and nothing of it is ever copied anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from remit.core.errors import BadRequest, Unauthenticated, Violation
from remit.core.evidence import Cause, Evidence, PeerCertificate
from remit.core.model import Subject

MAX_METADATA_BYTES = 8 * 1024
MAX_TOKEN = 4096
AUTHORIZATION = "authorization"
TOKEN = "remit-token"  # noqa: S105 (a metadata key)

_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN}}}", re.ASCII)
_BEARER = re.compile(rf"[Bb]earer ([!-~]{{1,{MAX_TOKEN}}})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_ENTRY_BYTES = 32  # what HTTP/2 counts for an entry besides its texts (RFC 9113, 6.5.2)

Metadata = Iterable[tuple[str, str | bytes]]


class CallContext(Protocol):
    """The part of gRPC's context that tells about the caller."""

    def invocation_metadata(self) -> Metadata | None: ...
    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...
    def peer(self) -> str: ...


def evidence(context: CallContext, *, certificates: bool, limit: int = MAX_METADATA_BYTES) -> Evidence:
    """All that a call shows; `certificates` where the server has a port on which clients may have one.

    Raises Unauthenticated for a credential that cannot be read, BadRequest for too much metadata.
    """
    token = credential(context.invocation_metadata() or (), limit)
    peer = address(context)
    return Evidence(token, _certificate(context) if certificates else None, peer, is_near(peer))


def credential(metadata: Metadata, limit: int = MAX_METADATA_BYTES) -> str:
    """The one token in the metadata, "" for none."""
    found: list[tuple[str, str | bytes]] = []
    size = 0
    for key, value in metadata:
        size += len(key) + len(value) + _ENTRY_BYTES
        if key in (AUTHORIZATION, TOKEN):
            found.append((key, value))
    if size > limit:
        raise BadRequest(Violation("metadata", f"at most {limit} bytes"))
    if len(found) > 1:
        raise Unauthenticated(Cause.AMBIGUOUS, f"expected one credential, in {AUTHORIZATION} or {TOKEN}")
    return _token(*found[0]) if found else ""


def _token(key: str, value: str | bytes) -> str:
    if isinstance(value, str):
        if key == TOKEN and _TOKEN.fullmatch(value):
            return value
        if key == AUTHORIZATION and (bearer := _BEARER.fullmatch(value)):
            return bearer[1]
    expected = "a token" if key == TOKEN else "Bearer TOKEN"
    raise Unauthenticated(Cause.MALFORMED, f"expected {expected} of printable characters in {key}")


def believed(subject: Subject, agent: str) -> None:
    """Refuse a caller that believes to be another agent than was proved; "" is no belief."""
    if agent and agent != subject.id:
        raise Unauthenticated(Cause.MISMATCH, f"{subject.id} was proved, and {agent} is claimed")


def address(context: CallContext) -> str:
    """Where a call came from, coarse enough to count by: `unix`, or the address without its port.

    A client chooses the name of its own end of a Unix socket, so that name is left out.
    """
    try:
        peer = context.peer()
    except UnicodeDecodeError:
        return "unknown"
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind if kind == "unix" else "unknown"
    return f"{kind}:{rest.rpartition(':')[0][:64]}"


def is_near(peer: str) -> bool:
    """Whether a call, by its coarse address, came from this machine (or pod) itself."""
    kind, _, host = peer.partition(":")
    if kind == "unix":
        return True
    try:
        # gRPC encodes the brackets of an IPv6 address.
        return ip_address(unquote(host).strip("[]")).is_loopback
    except ValueError:
        return False


def _certificate(context: CallContext) -> PeerCertificate | None:
    found = tuple(context.auth_context().get("x509_pem_cert", ()))
    return read_certificate(found[0]) if found else None


@lru_cache(maxsize=256)
def read_certificate(pem: bytes) -> PeerCertificate:
    """The names and times in a certificate that TLS has verified; Unauthenticated where it cannot be read.

    Parsed here because gRPC lists alternative names without their kinds.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = _names(certificate)
        return PeerCertificate(
            uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
            dns=tuple(each.lower() for each in names.get_values_for_type(x509.DNSName)) if names else (),
            fingerprint=f"sha256:{sha256(certificate.public_bytes(Encoding.DER)).hexdigest()}",
            since=_nanos(certificate.not_valid_before_utc),
            until=_nanos(certificate.not_valid_after_utc),
        )
    except (ValueError, x509.DuplicateExtension) as error:
        raise Unauthenticated(Cause.MALFORMED, "the client certificate cannot be read") from error


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _nanos(time: datetime) -> int:
    return int((time - _EPOCH).total_seconds()) * _SECOND
