"""Connections to an SQLite file: how it is opened, and what is turned off on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from remit.backends.database_sqlite.wall import HASH, TOKEN
from remit.backends.database_sqlite.watch import Watch
from remit.ports import DatabaseFailed, Failure, Tokenizer

LEAST_LENGTH = 1 << 20
MOST_LENGTH = 16 << 20
"""Bytes of the longest value that a reader makes or reads: as `limits.bytes` says, between these. One call of a
function on a value is not interrupted."""

_INT8 = 1 << 63
_OFF = (
    apsw.SQLITE_DBCONFIG_DQS_DML,  # a name in quotes that is no column's is an error, and no text
    apsw.SQLITE_DBCONFIG_DQS_DDL,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION,
    apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER,
    apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE,
)
_LIMITS = {
    apsw.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    apsw.SQLITE_LIMIT_COLUMN: 2000,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 1000,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    apsw.SQLITE_LIMIT_VDBE_OP: 1_000_000,
    apsw.SQLITE_LIMIT_FUNCTION_ARG: 100,
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    apsw.SQLITE_LIMIT_VARIABLE_NUMBER: 32_766,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}


def open_reader(path: str, tokenizer: Tokenizer) -> apsw.Connection:
    """A connection that cannot write, whose values are of at most MOST_LENGTH. Raises DatabaseFailed."""
    connection = _opened(path, "ro")
    for limit, value in _LIMITS.items():
        connection.limit(limit, value)
    limit_length(connection, MOST_LENGTH)
    connection.pragma("query_only", True)
    connection.pragma("cell_size_check", True)
    connection.create_scalar_function(HASH, _hasher(tokenizer), 2, deterministic=True)
    connection.create_scalar_function(TOKEN, _token_maker(tokenizer), 3, deterministic=True)
    return connection


def limit_length(connection: apsw.Connection, length: int) -> None:
    """Let values be of at most `length` bytes, between LEAST_LENGTH and MOST_LENGTH."""
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, max(LEAST_LENGTH, min(length, MOST_LENGTH)))


def open_writer(path: str, watch: Watch) -> apsw.Connection:
    """A connection that writes, durably: what is committed is on the disk. Raises DatabaseFailed."""
    connection = _opened(path, "rw")
    watch.put_on(connection)  # what follows reads the file, which another connection may be writing just now
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", True)
    return connection


def bindable(value: Any) -> Any:
    """A value as SQLite keeps it: numbers that it has no type for as the nearest one, dates and times as ISO text,
    a list as a JSON array."""
    match value:
        case Decimal():
            whole = value == value.to_integral_value() if value.is_finite() else False
            return bindable(int(value)) if whole and abs(value) < _INT8 else float(value)
        case int() if not -_INT8 <= value < _INT8:
            return float(value)
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case tuple() | list():
            return json.dumps([bindable(each) for each in value], ensure_ascii=False)
    return value


def _opened(path: str, mode: str) -> apsw.Connection:
    if not Path(path).is_file():
        raise DatabaseFailed(Failure.NOT_FIT, f"there is no file {path}")
    flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READONLY if mode == "ro" else apsw.SQLITE_OPEN_READWRITE)
    connection = apsw.Connection(f"file:{quote(path)}?mode={mode}", flags=flags)
    for option in _OFF:
        connection.config(option, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    return connection


def _hasher(tokenizer: Tokenizer) -> Any:
    keys: dict[str, tuple[bytes, bytes]] = {}

    def remit_hash(value: Any, domain: str) -> str | None:
        if value is None:
            return None
        if domain not in keys:
            keys[domain] = (tokenizer.pad(domain, "inner"), tokenizer.pad(domain, "outer"))
        inner, outer = keys[domain]
        return _hmac(inner, outer, as_text(value).encode("utf-8", "surrogatepass"))

    return remit_hash


def _token_maker(tokenizer: Tokenizer) -> Any:
    labels_of: dict[str, Sequence[str]] = {}

    def remit_token(value: Any, domain: str, labels: str) -> str | None:
        if value is None:
            return None
        if labels not in labels_of:
            labels_of[labels] = json.loads(labels)
        return tokenizer.token(as_text(value), domain, labels_of[labels])

    return remit_token


def as_text(value: Any) -> str:
    """A value as text; masks never fail."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _hmac(inner: bytes, outer: bytes, text: bytes) -> str:
    """HMAC-SHA-256 by its two key blocks (RFC 2104), as PostgreSQL computes it too."""
    return sha256(outer + sha256(inner + text).digest()).hexdigest()
