"""What a connection shows of who is calling, before anybody believes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why no identity was proved: a closed list, for metrics and the journal's counts."""

    MISSING = "missing"  # neither a token nor a certificate
    MALFORMED = "malformed"  # a credential that cannot be read
    UNKNOWN = "unknown"  # nobody in the catalogue has it
    AMBIGUOUS = "ambiguous"  # several credentials, or one of several subjects
    EXPIRED = "expired"  # a certificate or a cluster's token outside its time
    MISMATCH = "mismatch"  # another agent than the request claims to come from, or than the one of this sidecar's pod
    REVOKED = "revoked"  # a token that the cluster no longer vouches for
    UNAVAILABLE = (
        "unavailable"  # a token that cannot be looked at, because the cluster cannot be asked: our own failure
    )


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The client certificate of a connection whose chain TLS has verified.

    `fingerprint` is "sha256:HEX" over its DER form; it holds from `since` to `until`, ns since the epoch.
    """

    uris: tuple[str, ...]
    dns: tuple[str, ...]
    fingerprint: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """`token` is "" for none; `peer` tells where the call came from, for people.

    `near` says that it came from this machine (or pod) itself.
    """

    token: str
    certificate: PeerCertificate | None
    peer: str
    near: bool = False


class Proved(StrEnum):
    """What a person proved to be by, when they signed in."""

    TOKEN = "token"  # noqa: S105 (a word)
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class Proof:
    """What is kept of a sign-in, to ask again whose it is: "sha256:HEX" of the token, or the name at the provider."""

    by: Proved
    value: str
