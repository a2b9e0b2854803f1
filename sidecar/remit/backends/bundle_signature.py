"""Who vouches for a bundle: `.signatures.json` as `opa sign` writes it, one JWT that lists each file with its hash.

https://www.openpolicyagent.org/docs/management-bundles#signature-format. The algorithm is the key's own, never what the
signature says; `kid` means nothing, for the keys are the ones that the settings name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256, sha384, sha512
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from remit.backends.bundle_archive import BundleRefused, shown
from remit.core.canonical import MalformedJson, canonical, parse
from remit.core.errors import RemitError

SIGNATURES = ".signatures.json"
MANIFEST = ".manifest"
LEAST_RSA_BITS = 2048
MAX_KEYS = 4
"""In one file: while one key follows another, bundles of both are taken."""

MAX_SIGNATURES = 1 << 20
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_EXPECTED = f"an Ed25519, ECDSA P-256 or RSA ({LEAST_RSA_BITS} bits or more)"
_HASHES: Mapping[str, Callable[[bytes], Any]] = {"SHA-256": sha256, "SHA-384": sha384, "SHA-512": sha512}
_HEADERS = {"alg", "typ", "kid"}
_CLAIMS = {"files", "keyid", "iss", "iat", "scope"}

Jwk = OKPKey | ECKey | RSAKey


class _Jws(jws.JWSRegistry):
    """Of one algorithm alone. What OPA calls EdDSA is Ed25519 here, for the key is: nothing to warn of."""

    max_payload_length = MAX_SIGNATURES

    def get_alg(self, name: str) -> Any:
        """The algorithm, where it is the one."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"the algorithm is {shown(name)}")
        return self.algorithms[name]


class KeyUnusable(RemitError):
    """A key that bundles cannot be signed or verified with; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and the one algorithm that it is used with."""

    algorithm: str
    jwk: Jwk


def public_keys(pem: bytes) -> tuple[Key, ...]:
    """The keys of a PEM text. Raises KeyUnusable."""
    if b"PRIVATE KEY" in pem:
        raise KeyUnusable(
            "found a private key, expected the public one: what signs bundles stays where they are signed"
        )
    blocks = _PEM.findall(pem)
    if not 1 <= len(blocks) <= MAX_KEYS:
        raise KeyUnusable(f"found {len(blocks)} public keys, expected 1 to {MAX_KEYS} (-----BEGIN PUBLIC KEY-----)")
    return tuple(_public(block) for block in blocks)


def private_key(pem: bytes) -> Key:
    """The key that signs. Raises KeyUnusable."""
    try:
        found = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"expected {_EXPECTED} private key in PEM, without a passphrase") from error
    match found:
        case Ed25519PrivateKey():
            return Key("EdDSA", OKPKey.import_key(found))
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return Key("ES256", ECKey.import_key(found))
        case RSAPrivateKey(key_size=bits) if bits >= LEAST_RSA_BITS:
            return Key("RS256", RSAKey.import_key(found))
    raise KeyUnusable(f"found another kind of key, expected {_EXPECTED} key")


def _public(pem: bytes) -> Key:
    try:
        found = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"expected {_EXPECTED} public key in PEM") from error
    match found:
        case Ed25519PublicKey():
            return Key("EdDSA", OKPKey.import_key(found))
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return Key("ES256", ECKey.import_key(found))
        case RSAPublicKey(key_size=bits) if bits >= LEAST_RSA_BITS:
            return Key("RS256", RSAKey.import_key(found))
    raise KeyUnusable(f"found another kind of key, expected {_EXPECTED} key")


def sign(files: Mapping[str, bytes], key: Key) -> bytes:
    """The content of `.signatures.json` for these files."""
    listed = [
        {"name": name, "hash": _digest("SHA-256", name, files[name]), "algorithm": "SHA-256"} for name in sorted(files)
    ]
    header = {"alg": key.algorithm, "typ": "JWT"}
    token = jws.serialize_compact(
        header, canonical({"files": listed}), key.jwk, registry=_Jws(algorithms=[key.algorithm])
    )
    return canonical({"signatures": [token]})


def check(files: Mapping[str, bytes], signatures: bytes, keys: Sequence[Key]) -> None:
    """Every file is listed once, and is what was signed; nothing is listed that is not there. Raises BundleRefused."""
    listed = _listed(_claims(_token(signatures), keys))
    check_listed(files, listed)
    for name, (algorithm, digest) in listed.items():
        if name not in files:
            raise BundleRefused(f"{shown(name)}: signed, but not in the bundle")
        if _digest(algorithm, name, files[name]) != digest:
            raise BundleRefused(f"{name}: not what was signed")


def check_listed(files: Mapping[str, bytes], listed: Mapping[str, object]) -> None:
    """Nothing is there that was not signed. Raises BundleRefused."""
    for name in sorted(files.keys() - listed.keys()):
        raise BundleRefused(f"{name}: not signed, expected each file in {SIGNATURES}")


def _token(signatures: bytes) -> str:
    found = _json(signatures, SIGNATURES)
    tokens = found.get("signatures") if isinstance(found, dict) and found.keys() == {"signatures"} else None
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise BundleRefused(f'{SIGNATURES}: expected {{"signatures": [JWT]}} with one signature')
    return tokens[0]


def _claims(token: str, keys: Sequence[Key]) -> Mapping[str, Any]:
    """What one of the keys signed."""
    for key in keys:
        try:
            found = jws.deserialize_compact(token, key.jwk, registry=_Jws(algorithms=[key.algorithm]))
        except (JoseError, ValueError, TypeError):
            continue
        strange = found.headers().keys() - _HEADERS
        if strange:
            raise BundleRefused(f"{SIGNATURES}: found the header {shown(min(strange))}, which is not known")
        claims = _json(found.payload or b"", SIGNATURES)
        if not isinstance(claims, dict) or not claims.keys() <= _CLAIMS or claims.get("scope"):
            raise BundleRefused(f"{SIGNATURES}: expected the claim `files`, and beside it at most keyid, iss and iat")
        return claims
    kinds = ", ".join(key.algorithm for key in keys)
    raise BundleRefused(f"{SIGNATURES}: not signed by the key that is expected ({kinds})")


def _listed(claims: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    listed: dict[str, tuple[str, str]] = {}
    for each in claims.get("files") or ():
        match each:
            case {"name": str(name), "hash": str(digest), "algorithm": str(algorithm)} if algorithm in _HASHES:
                if name in listed:
                    raise BundleRefused(f"{shown(name)}: signed twice, expected once")
                listed[name] = (algorithm, digest)
            case _:
                raise BundleRefused(f"{SIGNATURES}: expected name, hash and algorithm ({', '.join(_HASHES)}) of a file")
    return listed


def _digest(algorithm: str, name: str, content: bytes) -> str:
    """OPA hashes a manifest by what it says, and every other file that may be here by its bytes."""
    hashed = canonical(_json(content, name)) if name == MANIFEST else content
    return str(_HASHES[algorithm](hashed).hexdigest())


def _json(raw: bytes, name: str) -> Any:
    try:
        return parse(raw, MAX_SIGNATURES)
    except MalformedJson as error:
        raise BundleRefused(f"{name}: {error}") from error
