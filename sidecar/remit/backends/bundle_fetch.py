"""A bundle from an HTTP server, which is believed nothing: no redirect, no encoding, no more than a bundle's size."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from remit.backends.bundle_archive import MAX_PACKED
from remit.core.errors import RemitError

SECONDS = 20.0
CONNECT_SECONDS = 5.0
MAX_TOKEN = 8 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_ETAG = re.compile(r'(W/)?"[!#-~]{0,256}"', re.ASCII)


class BundleAway(RemitError):
    """The server did not give a bundle; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where bundles come from. `token_file` has a bearer token, and is read each time; `ca` (PEM) signs the server's
    certificate where no authority of the system does."""

    url: str
    token_file: Path | None = None
    ca: Path | None = None

    @property
    def told(self) -> str:
        """The address for people; what follows a `?` may be a secret."""
        return self.url.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is None where nothing has changed since the `etag` that was asked with."""

    body: bytes | None
    etag: str


def fetch(origin: Origin, etag: str = "", seconds: float = SECONDS) -> Answer:
    """Ask once; blocks for at most so many seconds. Raises BundleAway."""
    try:
        return asyncio.run(_fetch(origin, etag, seconds))
    except TimeoutError as error:
        raise BundleAway(f"{origin.told}: no whole answer in {seconds:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise BundleAway(f"{origin.told}: could not be asked ({_words(error)})") from None


def _words(error: Exception) -> str:
    said = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


async def _fetch(origin: Origin, etag: str, seconds: float) -> Answer:
    headers = {"Accept-Encoding": "identity", "User-Agent": "remit", **_authorization(origin.token_file)}
    if etag:
        headers["If-None-Match"] = etag
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_context(origin)),
            timeout=aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session,
        session.get(origin.url, headers=headers, allow_redirects=False) as response,
    ):
        if response.status == 304 and etag:
            return Answer(None, etag)
        if response.status != 200:
            redirect = ", and redirects are not followed" if 300 <= response.status < 400 else ""
            raise BundleAway(f"{origin.told}: answered {response.status}{redirect}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise BundleAway(f"{origin.told}: found a content encoding, expected none")
        given = response.headers.get("ETag", "")
        return Answer(await _body(response, origin), given if _ETAG.fullmatch(given) else "")


async def _body(response: aiohttp.ClientResponse, origin: Origin) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_PACKED:
            raise BundleAway(f"{origin.told}: found more than {MAX_PACKED} bytes, expected at most as many")
    return bytes(body)


def _authorization(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        with file.open("rb") as opened:
            found = opened.read(MAX_TOKEN + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleAway(f"{file}: the token cannot be read ({type(error).__name__})") from error
    if len(found) > MAX_TOKEN or not _TOKEN.fullmatch(found):
        raise BundleAway(f"{file}: expected a bearer token")
    return {"Authorization": f"Bearer {found}"}


def _context(origin: Origin) -> ssl.SSLContext | bool:
    if urlsplit(origin.url).scheme != "https":
        return True
    try:
        context = ssl.create_default_context(cafile=None if origin.ca is None else str(origin.ca))
    except (OSError, ssl.SSLError) as error:
        raise BundleAway(f"{origin.ca}: expected certificates in PEM ({type(error).__name__})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
