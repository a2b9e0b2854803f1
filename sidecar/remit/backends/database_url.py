"""Where a dataset's data lie, read from its URL.

sqlite:///absolute/path.db                                    a file that is there
postgresql://user@host:port/database?sslmode=verify-full      over TCP
postgresql://user@/database?host=/run/postgresql              over a Unix socket in that folder

A URL carries no password: that is read from the file or the variable which the dataset names beside it. Over TCP the
server's certificate is verified unless `sslmode` says otherwise; a mode that falls back to plain text is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

SETTINGS = ("sslmode", "sslrootcert", "host", "application_name", "connect_timeout")
MODES = ("disable", "require", "verify-ca", "verify-full")
MAX_TIMEOUT = 60

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)


class UrlRefused(ValueError):
    """Not an address that Remit reads data from: says what was found and what was expected, never a password."""


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file by its absolute path."""

    path: str


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A server and a database of it; `settings` are libpq's. A `host` that begins with / is a socket's folder."""

    host: str
    port: int
    user: str
    database: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_socket(self) -> bool:
        """Whether it is reached without a network."""
        return self.host.startswith("/")


def parse_url(url: str) -> SqlitePlace | PostgresPlace:
    """The place that a URL names. Raises UrlRefused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("found no URL, expected sqlite:///… or postgresql://…") from None
    if parts.fragment:
        raise UrlRefused("found a fragment (#…), expected none; write # in a name as %23")
    if parts.scheme == "sqlite":
        return _sqlite(parts)
    if parts.scheme in {"postgresql", "postgres"}:
        return _postgres(parts, port)
    raise UrlRefused(f"found {parts.scheme or 'no'} scheme, expected sqlite or postgresql")


def _sqlite(parts: SplitResult) -> SqlitePlace:
    path = unquote(parts.path)
    if parts.netloc or parts.query or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise UrlRefused("expected sqlite:///absolute/path.db and nothing more")
    if ".." in PurePosixPath(path).parts:
        raise UrlRefused("found .. in the path, expected none")
    return SqlitePlace(path)


def _postgres(parts: SplitResult, port: int | None) -> PostgresPlace:
    if parts.password is not None:
        raise UrlRefused("found a password in the URL, expected it in a file or a variable")
    settings = _settings(parts.query)
    host = settings.pop("host", "") or unquote(parts.hostname or "")
    user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    if parts.hostname and host != unquote(parts.hostname):
        raise UrlRefused("found a host twice, expected it once")
    if not user or not database or "/" in database:
        raise UrlRefused("expected postgresql://user@host/database")
    if host.startswith("/"):
        if settings.keys() & {"sslmode", "sslrootcert"}:
            raise UrlRefused("found TLS settings for a Unix socket, expected none")
    elif not _HOST.fullmatch(host):
        raise UrlRefused("expected a host, or ?host=/folder of a Unix socket")
    else:
        settings.setdefault("sslmode", "verify-full")
        if settings["sslmode"].startswith("verify") and "sslrootcert" not in settings:
            settings["sslrootcert"] = "system"
    return PostgresPlace(host, port or 5432, user, database, settings)


def _settings(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise UrlRefused("found a query that is not name=value, expected settings") from None
    settings = dict(pairs)
    unknown = sorted(settings.keys() - set(SETTINGS))
    if unknown or len(settings) != len(pairs):
        raise UrlRefused(f"found settings {unknown or 'twice'}, expected each of {', '.join(SETTINGS)} at most once")
    if settings.get("sslmode", "disable") not in MODES:
        raise UrlRefused(f"found sslmode {settings['sslmode'][:20]!r}, expected one of {', '.join(MODES)}")
    timeout = settings.get("connect_timeout", "5")
    if not timeout.isascii() or not timeout.isdigit() or not 1 <= int(timeout[:9]) <= MAX_TIMEOUT:
        raise UrlRefused(f"expected connect_timeout from 1 to {MAX_TIMEOUT} seconds")
    return settings
