"""Kubernetes' service accounts, and what a token must say to prove one.

Nothing here looks at signatures: `read_claims` is for what a cluster's key has signed
(`backends/kubernetes_tokens.py`). Claims are those of KEP-1205: `sub` and, below `kubernetes.io`, the namespace, the
service account and the pod that the token is bound to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause

SECOND = 1_000_000_000
EARLY_SECONDS = 60
"""How far the clock of who signed may be ahead of ours."""

_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9.-]{1,253}):([a-z0-9.-]{1,253})", re.ASCII)
_UID = re.compile(r"[!-~]{1,128}", re.ASCII)
_MAX_TIME = 1 << 33  # in seconds: the year 2242


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """One account. With `fresh` its tokens are good only while the cluster, when it is asked, vouches for them."""

    namespace: str
    service_account: str
    fresh: bool = False

    @property
    def subject(self) -> str:
        """As tokens name it."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token proves: `subject`, and the uid of the `pod` that it is bound to ("": none), until a time (ns)."""

    subject: str
    pod: str
    until: int


def read_claims(claims: Mapping[str, object], *, issuer: str, audience: str, now: int) -> Claims:
    """What the signed claims of a token prove at a time (ns). Raises Unauthenticated."""
    if claims.get("iss") != issuer:
        raise Unauthenticated(Cause.UNKNOWN, "the token is of another issuer than this cluster")
    if audience not in _audiences(claims.get("aud")):
        raise Unauthenticated(Cause.UNKNOWN, f"the token is not for the audience {audience}")
    since, until = _seconds(claims, "nbf") * SECOND, _seconds(claims, "exp") * SECOND
    if now < since - EARLY_SECONDS * SECOND:
        raise Unauthenticated(Cause.EXPIRED, "the token is not yet good")
    if now >= until:
        raise expired()
    subject = claims.get("sub")
    named = _SUBJECT.fullmatch(subject) if isinstance(subject, str) else None
    if named is None:
        raise Unauthenticated(Cause.UNKNOWN, "the token is no service account's")
    bound = _mapping(claims.get("kubernetes.io"))
    account = _mapping(bound.get("serviceaccount"))
    if (bound.get("namespace"), account.get("name")) != named.groups():
        raise Unauthenticated(Cause.MALFORMED, "the token contradicts itself on whose it is")
    return Claims(named[0], _pod(bound), until)


def expired() -> Unauthenticated:
    """A token whose time is over."""
    return Unauthenticated(Cause.EXPIRED, "the token has expired: read it anew from its file")


def _audiences(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _seconds(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_TIME:
        return value
    raise Unauthenticated(Cause.MALFORMED, f"the token has no {name}")


def _pod(bound: Mapping[str, object]) -> str:
    if "pod" not in bound:
        return ""
    uid = _mapping(bound["pod"]).get("uid")
    if isinstance(uid, str) and _UID.fullmatch(uid):
        return uid
    raise Unauthenticated(Cause.MALFORMED, "the token is bound to a pod without a uid")


def _mapping(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise Unauthenticated(Cause.MALFORMED, "the token does not say what it is bound to")
