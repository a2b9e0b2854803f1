"""Where the catalogue and the policies come from, where not from files: a signed bundle on a server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from remit.config.listening import is_loopback
from remit.config.reading import Cursor, Section, secret_text, whole
from remit.config.values import path

POLL_SECONDS = 30
_URL = re.compile(r"https?://[!-~]{1,2000}", re.ASCII)
_URL_EXPECTED = "https://HOST[:PORT]/PATH (http:// on loopback alone), without user or fragment"
_OTHER = "another URL (not shown)"


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """`key` are the public keys (PEM) of who signs bundles; `token_file` has a bearer token for the server, and `ca`
    (PEM) signs its certificate, where no authority of the system does. What follows a `?` in `url` may be a secret.
    """

    url: str = field(repr=False)
    key: Path
    token_file: Path | None = None
    ca: Path | None = None
    poll_seconds: int = POLL_SECONDS


def bundle(keys: Section) -> BundleSettings:
    """The section `bundle`."""
    return BundleSettings(
        url=keys.require("url", _url, ""),
        key=keys.require("key", path, Path()),
        token_file=keys.read("token_file", path, None),
        ca=keys.read("ca", path, None),
        poll_seconds=keys.read("poll_seconds", whole(5, 3600), POLL_SECONDS),
    )


def _url(at: Cursor) -> str:
    found = secret_text(_URL, _URL_EXPECTED)(at)
    try:
        parts = urlsplit(found)
        usable = parts.port != 0 and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        raise at.wrong(_URL_EXPECTED, _OTHER) from None
    if not usable or not (parts.scheme == "https" or is_loopback(parts.hostname or "")):
        raise at.wrong(_URL_EXPECTED, _OTHER)
    return found
