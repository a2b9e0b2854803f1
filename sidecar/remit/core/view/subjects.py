"""The keyed hash by which an answer's subjects are recorded: who saw them can be asked, who they are cannot be read.

The recorder and whoever asks compute it alike. The text that is hashed begins with a word of its own: the same key
seals values of requests (`core.redact`), and no sealed value may equal a subject's hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from remit.core.errors import BadRequest, Violation

HASH_BYTES = 16
"""128 bits of the HMAC: among 2^40 subjects two meet with a chance of 2^-49."""

_DOMAIN = b"remit subject 1\n"


def table_name(dataset: str, table: str) -> str:
    """A table as the store names it. A dataset's id may hold dots, a table's name none: the last one parts them."""
    return f"{dataset}.{table}"


def subject_text(dataset: str, table: str, key: str) -> bytes:
    """What is hashed for one subject, `key` as the database writes it as text. Different subjects differ.

    Each part stands behind its length (8 bytes), so that none can pass for another's end.
    """
    # A database may hold text that is no Unicode: it has a hash all the same.
    parts = (each.encode(errors="surrogatepass") for each in (dataset, table, key))
    return _DOMAIN + b"".join(len(each).to_bytes(8, "big") + each for each in parts)


def subject_hash(dataset: str, table: str, key: str, hmac: Callable[[bytes], str]) -> str:
    """A subject's keyed hash, as `SeeSubjects` and `Store.sightings` take it: 32 hex digits.

    `hmac` is `World.hmac`: hex of HMAC-SHA-256.
    """
    return hmac(subject_text(dataset, table, key))[: 2 * HASH_BYTES]


def hash_bytes(subject: str) -> bytes:
    """A subject's hash as it is stored. Raises BadRequest for what is none."""
    try:
        raw = bytes.fromhex(subject)
    except ValueError:
        raw = b""
    if len(raw) != HASH_BYTES:
        raise BadRequest(Violation("subject", f"{2 * HASH_BYTES} hex digits"))
    return raw


def in_storing_order(subjects: Iterable[str]) -> list[bytes]:
    """Each once, sorted: neighbours lie on one page of the store. Raises BadRequest."""
    return sorted({hash_bytes(each) for each in subjects})
