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
from typing import ClassVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from remit.core.view.model import Dialect

URLS = "sqlite:///absolute/path or postgresql://user@host:port/database"
SETTINGS = ("sslmode", "sslrootcert", "host", "application_name", "connect_timeout")
MODES = ("disable", "require", "verify-ca", "verify-full")
MAX_TIMEOUT = 60

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECRET = re.compile(r"pass", re.IGNORECASE)  # libpq's password, passfile, sslpassword


class UrlRefused(ValueError):
    """Not an address that Remit reads data from: what was found, and what was expected.

    Whatever stands in the URL may be a password that somebody put there: nothing of it is repeated.
    """

    def __init__(self, found: str, expected: str, where: str = "") -> None:
        super().__init__(f"{where}: " * bool(where) + f"found {found}; expected {expected}")
        self.found = found
        self.expected = expected


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file by its absolute path."""

    dialect: ClassVar[Dialect] = Dialect.SQLITE

    path: str


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A server and a database of it; `settings` are libpq's. A `host` that begins with / is a socket's folder."""

    dialect: ClassVar[Dialect] = Dialect.POSTGRES

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
        port = 5432 if parts.port is None else parts.port
    except ValueError:
        raise UrlRefused("no URL", URLS) from None
    if _CONTROL.search(unquote(url)):
        raise UrlRefused("a control character", URLS)
    if parts.fragment:
        raise UrlRefused("a fragment (#…)", "none; # in a name is written %23")
    if parts.scheme == "sqlite":
        return _sqlite(parts)
    if parts.scheme in {"postgresql", "postgres"}:
        return _postgres(parts, port)
    raise UrlRefused("another scheme" if parts.scheme else "no scheme", URLS)


def _sqlite(parts: SplitResult) -> SqlitePlace:
    path = unquote(parts.path)
    if parts.netloc or parts.query:
        raise UrlRefused("more than a path", "sqlite:///absolute/path and nothing more")
    if not path.startswith("/") or path.endswith("/"):
        raise UrlRefused("no file's absolute path", "sqlite:///absolute/path")
    if ".." in PurePosixPath(path).parts:
        raise UrlRefused(".. in the path", "none")
    return SqlitePlace(path)


def _postgres(parts: SplitResult, port: int) -> PostgresPlace:
    if parts.password is not None:
        raise _password()
    settings = _settings(parts.query)
    host = settings.pop("host", "") or unquote(parts.hostname or "")
    user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    if parts.hostname and host != unquote(parts.hostname):
        raise UrlRefused("a host twice", "it once")
    if not user or not database or "/" in database:
        found = "no user" if not user else "a path within a database" if database else "no database"
        raise UrlRefused(found, "postgresql://user@host:port/database")
    if not port:
        raise UrlRefused("port 0", "a port from 1 to 65535")
    return PostgresPlace(host, port, user, database, _secured(host, settings))


def _secured(host: str, settings: dict[str, str]) -> dict[str, str]:
    """The settings with which the server is known to be the right one."""
    if host.startswith("/"):
        if settings.keys() & {"sslmode", "sslrootcert"}:
            raise UrlRefused("TLS settings for a Unix socket", "none")
        return settings
    if not _HOST.fullmatch(host):
        raise UrlRefused("another host" if host else "no host", "a host, or ?host=/folder of a Unix socket")
    secured = {"sslmode": "verify-full", **settings}
    if secured["sslmode"].startswith("verify"):
        secured.setdefault("sslrootcert", "system")
    return secured


def _settings(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise UrlRefused("a query that is not name=value", "settings") from None
    settings = dict(pairs)
    if any(_SECRET.search(name) for name in settings):
        raise _password()
    if not settings.keys() <= set(SETTINGS):
        raise UrlRefused("another setting", f"none but {', '.join(SETTINGS)}")
    if len(settings) != len(pairs):
        raise UrlRefused("a setting twice", "each once")
    if settings.get("sslmode", "disable") not in MODES:
        raise UrlRefused("another sslmode", f"one of {', '.join(MODES)}")
    timeout = settings.get("connect_timeout", "5")
    if not timeout.isascii() or not timeout.isdigit() or not 1 <= int(timeout[:9]) <= MAX_TIMEOUT:
        raise UrlRefused("another connect_timeout", f"1 to {MAX_TIMEOUT} seconds")
    return settings


def _password() -> UrlRefused:
    return UrlRefused("a password", "none in it: `credential: {file: …}` or `{environment: …}` says where it is")
