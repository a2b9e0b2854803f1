"""Where people find the desk, and how they sign in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from remit.config.listening import Address, TlsSettings, is_loopback, listener, off, tls
from remit.config.reading import Cursor, Section, distinct, section, text
from remit.config.values import path

GRPC, HTTP = Address("127.0.0.1", 7460), Address("127.0.0.1", 7461)

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_CLIENT = re.compile(r"[!-~]{1,256}", re.ASCII)
_CLAIM = re.compile(r"[A-Za-z_][A-Za-z0-9_:/.-]{0,127}", re.ASCII)
_URL = re.compile(r"https?://[!-~]{1,500}", re.ASCII)
_URL_EXPECTED = "https://HOST[:PORT]{} (http:// on loopback alone)"


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """A provider by which people sign in to the console; `claim` is who they are in the catalogue.

    Without `client_secret_file` the desk is a public client there. `ca` (PEM) signs the provider's certificate, where
    none of the system's authorities does.
    """

    issuer: str
    client_id: str
    client_secret_file: Path | None = None
    claim: str = "email"
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """How a desk runs. A listener that is None is off; `hosts` are further names that it is called by.

    `public_url` is what people's browsers have in their address line, "" where nobody needs to know.
    """

    grpc: Address | None = GRPC
    http: Address | None = HTTP
    hosts: tuple[str, ...] = ()
    public_url: str = ""
    oidc: OidcSettings | None = None
    tls: TlsSettings | None = None


def desk(keys: Section) -> DeskSettings:
    """The section `desk`."""
    default = DeskSettings()
    listen = off(listener(secured=keys.has("tls")))
    found = DeskSettings(
        grpc=keys.read("grpc", listen, default.grpc),
        http=keys.read("http", listen, default.http),
        hosts=keys.read("hosts", distinct(text(_HOST, "a host's name, without a port")), default.hosts),
        public_url=keys.read("public_url", _origin, default.public_url),
        oidc=keys.read("oidc", section(_oidc), None),
        tls=keys.read("tls", section(tls), None),
    )
    if keys.has("oidc") and not keys.has("public_url"):
        keys.wrong("oidc", "`public_url` beside it: where the provider sends people back to", "nothing of that")
    if found.grpc is None and found.http is None:
        keys.wrong("http", "HOST:PORT here or in `grpc`: a desk listens somewhere")
    return found


def _oidc(keys: Section) -> OidcSettings:
    return OidcSettings(
        issuer=keys.require("issuer", _issuer, ""),
        client_id=keys.require("client_id", text(_CLIENT, "the id that the provider gave this desk"), ""),
        client_secret_file=keys.read("client_secret_file", path, None),
        claim=keys.read("claim", text(_CLAIM, "a claim's name, such as email"), "email"),
        ca=keys.read("ca", path, None),
    )


def _origin(at: Cursor) -> str:
    return _address(at, path_allowed=False)


def _issuer(at: Cursor) -> str:
    return _address(at, path_allowed=True)


def _address(at: Cursor, *, path_allowed: bool) -> str:
    """A URL over which secrets may go. It may hold a password: then it is not repeated.

    One with a path is kept to the letter: some issuers end in a slash, and name themselves so.
    """
    expected = _URL_EXPECTED.format("/PATH" if path_allowed else "")
    given = text(_URL, expected)(at)
    found = given if path_allowed else given.rstrip("/")
    try:
        parts = urlsplit(found)
        usable = parts.port != 0 and bool(parts.hostname) and not (parts.path and not path_allowed)
    except ValueError:
        raise at.wrong(expected, "another URL (not shown)") from None
    near = parts.scheme == "https" or is_loopback(parts.hostname or "")
    if not usable or not near or "@" in found or parts.query or parts.fragment:
        raise at.wrong(expected, "another URL (not shown)" if "@" in found else None)
    return found
