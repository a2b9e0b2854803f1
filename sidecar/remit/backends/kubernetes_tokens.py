"""A cluster's signing keys, and whether one of them has signed a token: RS256 and ES256, by the key that `kid` names.

Those are what kube-apiserver signs with (`--service-account-signing-key-file`). A token's header chooses among the
keys, and nothing else: the algorithm is the key's own, and a header with anything else in it is refused.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from remit.core.canonical import MalformedJson, parse
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause

MAX_JWKS_BYTES = 256 * 1024
MAX_KEYS = 64
LEAST_RSA_BITS = 2048
RS256, ES256 = "RS256", "ES256"

_TOKEN = re.compile(r"([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]{1,4096})\.([A-Za-z0-9_-]{1,1024})", re.ASCII)
_KID = re.compile(r"[!-~]{1,256}", re.ASCII)
_MAY = {"alg", "kid", "typ"}
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class KeysInvalid(Exception):
    """What should be a cluster's keys is none; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, and the one algorithm that it is for."""

    algorithm: str
    key: RSAKey | ECKey


def is_token(text: str) -> bool:
    """Whether it has the form of a signed token (RFC 7519)."""
    return _TOKEN.fullmatch(text) is not None


def key_id(token: str) -> str:
    """Which key is said to have signed it. Raises Unauthenticated."""
    return _header(token)[1]


def verified(token: str, key: SigningKey) -> Mapping[str, object]:
    """The claims that the key has signed. Raises Unauthenticated."""
    algorithm, _ = _header(token)
    if algorithm != key.algorithm:
        raise Unauthenticated(Cause.MALFORMED, f"the token's alg is not {key.algorithm}, which its key is for")
    try:
        return dict(jwt.decode(token, key.key, algorithms=[key.algorithm]).claims)
    except (JoseError, ValueError, TypeError, RecursionError):
        # What the library says may hold parts of it.
        raise Unauthenticated(Cause.UNKNOWN, "the token is not signed by this cluster") from None


def _header(token: str) -> tuple[str, str]:
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise Unauthenticated(Cause.MALFORMED, "the token has not the form of a signed one")
    try:
        header = parse(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), 1024)
    except (ValueError, MalformedJson):
        raise Unauthenticated(Cause.MALFORMED, "the token's header cannot be read") from None
    if not isinstance(header, dict) or not header.keys() <= _MAY:
        raise Unauthenticated(Cause.MALFORMED, "the token's header has other members than alg, kid and typ")
    kid = header.get("kid")
    if header.get("alg") not in (RS256, ES256) or not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise Unauthenticated(Cause.MALFORMED, f"the token's header does not say {RS256} or {ES256} and by which key")
    return header["alg"], kid


def read_keys(raw: bytes) -> Mapping[str, SigningKey]:
    """The keys of a JWK Set (RFC 7517) by their ids; those for other algorithms are passed over. Raises KeysInvalid."""
    try:
        found = parse(raw, MAX_JWKS_BYTES)
    except MalformedJson as error:
        raise KeysInvalid(f"no JSON that a JWK Set could be (at {error.where}: {error.expected})") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
        raise KeysInvalid(f"no JWK Set of 1 to {MAX_KEYS} keys")
    keys: dict[str, SigningKey] = {}
    for number, each in enumerate(listed):
        if not isinstance(each, dict):
            raise KeysInvalid(f"keys[{number}] is no key")
        if each.keys() & _PRIVATE:
            raise KeysInvalid(f"keys[{number}] is a secret, expected public keys alone")
        key = _key(number, each)
        if key is None:
            continue
        if each["kid"] in keys:
            raise KeysInvalid(f"keys[{number}] has the id of another")
        keys[each["kid"]] = key
    if not keys:
        raise KeysInvalid(f"no key for {RS256} or {ES256}")
    return keys


def _key(number: int, found: Mapping[str, object]) -> SigningKey | None:
    """None for one that is for something else."""
    kind, kid = found.get("kty"), found.get("kid")
    algorithm = {"RSA": RS256, "EC": ES256 if found.get("crv") == "P-256" else ""}.get(str(kind), "")
    if not algorithm or found.get("use", "sig") != "sig" or found.get("alg", algorithm) != algorithm:
        return None
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        return None
    public = {name: str(found[name]) for name in ("kty", "n", "e", "crv", "x", "y") if name in found}
    try:
        if kind == "RSA" and (bits := _bits(public["n"])) < LEAST_RSA_BITS:
            raise KeysInvalid(f"keys[{number}] has {bits} bits, expected at least {LEAST_RSA_BITS}")
        return SigningKey(algorithm, (RSAKey if kind == "RSA" else ECKey).import_key({**public}))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise KeysInvalid(f"keys[{number}] is no {kind} key ({type(error).__name__})") from None


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4)), "big").bit_length()
