"""Tokens and keyed hashes of values in views, by keys that are derived of one.

A token is `tok_` and, in base64url, one byte for the form, one for the length of the domain, the domain, and what
AES-SIV (RFC 5297; deterministic, and authentic) makes of the labels and the value: it shows which domain it is of and
how long the value is, and nothing else. Each domain has keys of its own (HKDF, RFC 5869), so that tokens and hashes
of two domains cannot be compared.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PREFIX = "tok_"
KEY_BYTES = 64
MAX_DOMAIN = 255
MAX_TOKEN = 4 << 20  # characters; a longer text is no token

_FORM = 1
_KEPT_KEYS = 1024
_BLOCK = 64  # of SHA-256, in bytes
_PADS = {"inner": 0x36, "outer": 0x5C}


class AesSivTokenizer:
    """The Tokenizer port. `key` is KEY_BYTES of secret; whoever has it turns tokens back."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"found a key of {len(key)} bytes, expected {KEY_BYTES}")
        self._key = key
        self._siv = lru_cache(_KEPT_KEYS)(self._new_siv)
        self._hash_key = lru_cache(_KEPT_KEYS)(self._new_hash_key)

    def __repr__(self) -> str:
        return "AesSivTokenizer()"

    def token(self, value: str, domain: str, labels: Sequence[str]) -> str:
        """As the port says."""
        name = _domain(domain)
        head = bytes([_FORM, len(name)]) + name
        sealed = self._siv(name).encrypt(_inside(value, labels), [head])
        return PREFIX + base64.urlsafe_b64encode(head + sealed).rstrip(b"=").decode("ascii")

    def value(self, token: str) -> tuple[str, str, tuple[str, ...]] | None:
        """As the port says; a text that differs from the token in how it is written is none."""
        raw = _raw(token)
        if raw is None or len(raw) < 2 or raw[0] != _FORM:
            return None
        end = 2 + raw[1]
        try:
            domain = raw[2:end].decode("utf-8")
            opened = self._siv(raw[2:end]).decrypt(raw[end:], [raw[:end]])
        except (InvalidTag, ValueError):  # UnicodeDecodeError is one
            return None
        labels, value = json.loads(opened.decode("utf-8", "surrogatepass"))
        return value, domain, tuple(labels)

    def pad(self, domain: str, which: str) -> bytes:
        """As the port says."""
        mask = _PADS[which]
        return bytes(byte ^ mask for byte in self._hash_key(_domain(domain)).ljust(_BLOCK, b"\0"))

    def hash(self, value: str, domain: str) -> str:
        """HMAC-SHA-256 of a value in hex, the same as a database makes with the pads."""
        key = self._hash_key(_domain(domain))
        return hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()

    def _new_siv(self, domain: bytes) -> AESSIV:
        return AESSIV(self._derived(b"remit token 1\0" + domain, 64))

    def _new_hash_key(self, domain: bytes) -> bytes:
        return self._derived(b"remit hash 1\0" + domain, 32)

    def _derived(self, purpose: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(self._key)


def _domain(domain: str) -> bytes:
    name = domain.encode("utf-8")
    if not 1 <= len(name) <= MAX_DOMAIN:
        raise ValueError(f"found a domain of {len(name)} bytes, expected 1 to {MAX_DOMAIN}")
    return name


def _inside(value: str, labels: Sequence[str]) -> bytes:
    # Surrogates cannot be in UTF-8, yet a mask never fails: they are kept as what they are.
    text = json.dumps([sorted(set(labels)), value], ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _raw(token: str) -> bytes | None:
    """The bytes of a token that is written in the one way in which we write it."""
    if not token.startswith(PREFIX) or len(token) > MAX_TOKEN or not token.isascii():
        return None
    body = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == body else None
