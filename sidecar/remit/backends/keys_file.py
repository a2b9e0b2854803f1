"""The keys of an installation and of one of its members, in files that their owner alone can read; or, where Kubernetes
has mounted them, this container alone.

What all members of an installation have, in the shared directory (`keys/` in the state directory, unless named):

context.key      Ed25519, signs workflow contexts and passports
hmac.key         32 bytes, seals what the journal must not hold in clear
views.key        64 bytes; the keys of tokens and keyed hashes in data views are derived of it

What is this member's own, always in `keys/` of its state directory:

journal.key      Ed25519, signs checkpoints; journal.pub is what an auditor pins
operator.token   the local operator's credential: who can read it owns the state anyway
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from remit.backends.mounted import alone_reads, in_kubernetes, widened


class KeysUnfit(Exception):
    """A key file is not as it must be: names the file and what was expected."""


@dataclass(frozen=True, slots=True)
class Keys:
    """`operator_hash` is "sha256:HEX" of the operator's token; the token itself stays in its file.

    `views` is the secret that a Tokenizer is made of. `fingerprints` are of the shared keys by name, each a hex digest
    that tells nothing of the key but whether another one is the same; they lie in `directory`.
    """

    context: Ed25519PrivateKey
    journal: Ed25519PrivateKey
    seal: Callable[[bytes], str]
    operator_hash: str
    views: bytes = field(repr=False)
    fingerprints: Mapping[str, str]
    directory: Path


def open_keys(state: Path, shared: Path | None = None) -> Keys:
    """The keys below `state` and in the `shared` directory, made where they are missing. Raises KeysUnfit, OSError."""
    own = state / "keys"
    directory = shared or own
    for folder in (own, directory):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    context = _ed25519(directory / "context.key")
    journal = _ed25519(own / "journal.key")
    _write_public(own / "journal.pub", journal)
    secret = _secret(directory / "hmac.key", 32)
    views = _secret(directory / "views.key", 64)
    token = _bytes(own / "operator.token", lambda: b"rmt_" + secrets.token_urlsafe(32).encode())
    return Keys(
        context,
        journal,
        _sealer(secret),
        "sha256:" + sha256(token.strip()).hexdigest(),
        views,
        fingerprints={
            "context.key": sha256(context.public_key().public_bytes_raw()).hexdigest(),
            "hmac.key": _fingerprint(secret),
            "views.key": _fingerprint(views),
        },
        directory=directory,
    )


def _fingerprint(secret: bytes) -> str:
    """Whoever has it learns nothing of a random secret of 32 bytes or more."""
    return hmac.digest(secret, b"remit key fingerprint 1", "sha256").hex()


def _secret(path: Path, size: int) -> bytes:
    secret = _bytes(path, lambda: secrets.token_bytes(size))
    if len(secret) != size:
        raise KeysUnfit(f"{path}: found {len(secret)} bytes, expected {size}")
    return secret


def _sealer(secret: bytes) -> Callable[[bytes], str]:
    def seal(text: bytes) -> str:
        return hmac.digest(secret, text, "sha256").hex()

    return seal


def _ed25519(path: Path) -> Ed25519PrivateKey:
    def make() -> bytes:
        return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    try:
        key = load_pem_private_key(_bytes(path, make), password=None)
    except ValueError as error:
        raise KeysUnfit(f"{path}: expected an Ed25519 private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysUnfit(f"{path}: found another kind of key, expected Ed25519")
    return key


def _write_public(path: Path, key: Ed25519PrivateKey) -> None:
    text = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not path.exists():
        _create(path, text)


def _bytes(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        _create(path, make())
    if path.suffix != ".pub":
        _check_mode(path)
    return path.read_bytes()


def _check_mode(path: Path) -> None:
    """Raises KeysUnfit where others can read the file."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not mode & 0o077 or alone_reads(path, mode):
        return
    if widened(found):
        path.chmod(mode & 0o700)
        return
    expected = "600" + (", or a volume that is mounted read-only" if in_kubernetes() else "")
    raise KeysUnfit(f"{path}: found mode {mode:o}, expected {expected}")


def _create(path: Path, content: bytes) -> None:
    """Whole or not at all, also across a crash; never over a file that is there, or that another member makes now."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeysUnfit(f"{path}: found none, and none can be made ({error.strerror}); expected it there") from error
    try:
        os.write(file, content)
        os.fsync(file)
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        os.close(file)
        draft.unlink()
