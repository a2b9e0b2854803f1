"""Checkpoints: the signed head of a log, as a note that a person can read and keep elsewhere.

The form is C2SP's signed note (https://c2sp.org/signed-note) with the body of a tlog-checkpoint
(https://c2sp.org/tlog-checkpoint), whose root hash is here the hash of the last record's header:

    remit/LOG                     origin: the log's random name, so that one log cannot pass for another
    1024                          how many records
    base64(hash of record 1024)
    time 1763875200000000000      extension line: nanoseconds since the epoch

    — remit/LOG base64(key id + Ed25519 signature)

A verifier pins one text, `remit/LOG+KEYID+base64(0x01 + public key)`: origin and key together, kept where the
log's writer cannot reach it. Taking either from the log itself would let another log take its place.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from remit.core.errors import BadRequest, Violation

MAX_NOTE = 2048
"""Characters of the longest note that is read."""

_ED25519 = b"\x01"
_ORIGIN = "remit/"
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_NOTE = re.compile(
    rf"(?P<text>remit/(?P<log>[A-Za-z0-9_-]{{1,64}})\n(?P<size>[1-9][0-9]{{0,18}})\n(?P<hash>{_BASE64})\n"
    rf"time (?P<time>0|[1-9][0-9]{{0,18}})\n)\n— (?P<name>[^ +\n]{{1,80}}) (?P<signature>{_BASE64})\n"
)
_VERIFIER = re.compile(rf"remit/(?P<log>[A-Za-z0-9_-]{{1,64}})\+(?P<id>[0-9a-f]{{8}})\+(?P<key>{_BASE64})")


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A signed head of a log: `hash` is record `size`'s; `note` is the signed text. Time in ns."""

    log: str
    size: int
    hash: bytes
    time: int
    note: str


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What a verifier pins: a log's name ("" for any log of this key), and the raw 32 bytes of its key."""

    log: str
    public: bytes

    def __str__(self) -> str:
        """The text that `read_verifier_key` reads."""
        name = _ORIGIN + self.log
        return f"{name}+{_key_id(name, self.public).hex()}+{_encode(_ED25519 + self.public)}"


def checkpoint(*, log: str, size: int, head: bytes, time: int, key: Ed25519PrivateKey) -> CheckpointRow:
    """Sign that record `size` has the hash `head`."""
    name = _ORIGIN + log
    text = f"{name}\n{size}\n{_encode(head)}\ntime {time}\n"
    signature = _key_id(name, key.public_key().public_bytes_raw()) + key.sign(text.encode())
    return CheckpointRow(log, size, head, time, f"{text}\n— {name} {_encode(signature)}\n")


def read_note(note: str) -> CheckpointRow:
    """What a note says; whether its signature holds is not checked. Raises BadRequest."""
    match = _match(note)
    _signature(match)
    return CheckpointRow(
        log=match["log"],
        size=int(match["size"]),
        hash=_decode(match["hash"], 32),
        time=int(match["time"]),
        note=note,
    )


def signed_by(note: str, key: VerifierKey) -> bool:
    """Whether the pinned key signed this note, and the note is of the pinned log. Raises BadRequest."""
    match = _match(note)
    name = _ORIGIN + match["log"]
    signature = _signature(match)
    if key.log not in ("", match["log"]) or match["name"] != name:
        return False
    if signature[:4] != _key_id(name, key.public):
        return False
    return _holds(key.public, signature[4:], match["text"].encode())


def read_verifier_key(text: str) -> VerifierKey:
    """The pinned key from its text. Raises BadRequest."""
    match = _VERIFIER.fullmatch(text.strip())
    if match is None:
        raise BadRequest(Violation("key", "remit/LOG+KEYID+KEY, as the sidecar tells on start"))
    public = _decode(match["key"], 33)
    key = VerifierKey(match["log"], public[1:])
    if str(key) != match[0]:
        raise BadRequest(Violation("key", "a key id that belongs to the log and the key"))
    return key


def _match(note: str) -> re.Match[str]:
    match = _NOTE.fullmatch(note) if len(note) <= MAX_NOTE else None
    if match is None:
        raise BadRequest(Violation("note", "a signed note of a Remit log"))
    return match


def _signature(match: re.Match[str]) -> bytes:
    """Key id and Ed25519 signature."""
    return _decode(match["signature"], 4 + 64)


def _holds(public: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _key_id(name: str, public: bytes) -> bytes:
    """First four bytes of SHA-256(name, newline, algorithm, key), as signed-note defines it."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str, length: int) -> bytes:
    """Strict: the one encoding of so many bytes, so that no two notes say the same."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != length or _encode(raw) != text:
        raise BadRequest(Violation("note", f"base64 of {length} bytes"))
    return raw
