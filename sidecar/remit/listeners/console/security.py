"""What each request must be before anything looks at it, and what each answer carries.

A page of another site must neither read ours nor act through somebody's browser: a Host that we are not called by
(DNS rebinding) is refused, and so is a POST that did not come from a page of ours. A request is bounded in bytes and
time, and its body is there whole before the application sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remit.listeners.ops import ANOTHER_HOST, LOOPBACK, Told, told, without_port

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_TARGET_BYTES = 4 * 1024
MAX_AT_ONCE = 32
BODY_SECONDS = 10.0
REQUEST_SECONDS = 30.0

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer, in the place of whatever the application said."""
STRICT_TRANSPORT = "max-age=31536000"

METHODS = ("GET", "HEAD", "POST")
FORM = "application/x-www-form-urlencoded"

Origin = tuple[str, str, int]
"""Scheme, host and port, in lower case."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests at once, and seconds until a body is there and until an answer is whole."""

    at_once: int = MAX_AT_ONCE
    body_seconds: float = BODY_SECONDS
    request_seconds: float = REQUEST_SECONDS


class Names:
    """What we are called. `public_url` is what browsers have in their address line, where that is another."""

    def __init__(self, hosts: Iterable[str], public_url: str) -> None:
        public = urlsplit(public_url)
        self._public = (public.hostname or "").lower()
        self._scheme = public.scheme
        self._hosts = frozenset(
            (*LOOPBACK, *(each.lower().strip("[]") for each in hosts), *([self._public] if self._public else []))
        )

    def has(self, host: str) -> bool:
        """Whether a Host header names us."""
        return without_port(host) in self._hosts

    def origin(self, scope: Scope, host: str) -> Origin | None:
        """The origin that a browser has for this request; None where the header is no host."""
        behind = self._public and without_port(host) == self._public
        return parse_origin(f"{self._scheme if behind else scope['scheme']}://{host}")

    def is_secure(self, scope: Scope, host: str) -> bool:
        """Whether the browser came by TLS, here or at what stands before us."""
        origin = self.origin(scope, host)
        return origin is not None and origin[0] == "https"


class Guard:
    """Lets through what is in order. `health` are paths that are also asked for by the very address that was dialled;
    `besides` are those of programs, which show a credential that no page has, and whose bodies are not read here.

    Everything else in the application may then rely on `state.host` (the one Host header), `state.secure` (TLS in
    the browser's eyes) and `state.body`.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Names,
        health: Collection[str],
        limits: Limits | None = None,
        *,
        besides: Collection[str] = (),
    ) -> None:
        self._app = app
        self._names = names
        self._health = health
        self._besides = besides
        self._limits = limits or Limits()
        # Health has places of its own, and waits for no body: strangers who are slow must not have us ended as dead.
        self._now_served = {"pages": 0, "health": 0, "besides": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request; there are no WebSockets, and nothing that lives as long as the server."""
        if scope["type"] != "http":
            raise RuntimeError(f"expected an HTTP request, found {scope['type']}")
        hosts = Headers(scope=scope).getlist("host")
        host = hosts[0].strip().lower() if len(hosts) == 1 else ""
        secure = self._names.is_secure(scope, host)
        secured = _secured(send, secure=secure)
        if (refused := self._refused(scope, host)) is not None:
            await _send(secured, refused)
            return
        kind = self._kind(scope)
        if self._now_served[kind] >= self._limits.at_once:
            await _send(secured, told(503, {"error": "too many requests at once"}, {"Retry-After": "1"}))
            return
        self._now_served[kind] += 1
        try:
            state = {**scope.get("state", {}), "host": host, "secure": secure}
            await self._serve({**scope, "state": state}, receive, secured)
        finally:
            self._now_served[kind] -= 1

    def _kind(self, scope: Scope) -> str:
        path = scope["path"]
        return "health" if path in self._health else "besides" if path in self._besides else "pages"

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.request_seconds):
                kind = self._kind(scope)
                if kind == "besides":
                    await self._app(scope, receive, watched)
                    return
                body = b"" if kind == "health" else await self._body(scope, receive)
                if isinstance(body, Told):
                    await _send(send, body)
                    return
                scope["state"]["body"] = body
                await self._app(scope, _replayed(body, receive), watched)
        except TimeoutError:
            if began:
                raise  # what serves us then cuts the connection: half an answer must not look whole
            await _send(send, told(503, {"error": "that took too long"}))

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Told:
        """The whole body; only a POST has one."""
        most = MAX_BODY_BYTES if scope["method"] == "POST" else 0
        too_large = told(413, {"error": f"expected a body of at most {most} bytes"})
        if int(Headers(scope=scope).get("content-length", "0")) > most:
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return told(400, {"error": "the request broke off"})
                    body += message.get("body", b"")
                    if len(body) > most:
                        return too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return told(408, {"error": "the request did not come to its end"})

    def _refused(self, scope: Scope, host: str) -> Told | None:
        """Why a request is not looked at, or None."""
        headers = Headers(scope=scope)
        method, target = scope["method"], len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if not host or not (self._names.has(host) or self._dialled(scope, host)):
            return ANOTHER_HOST
        pages = self._kind(scope) == "pages"
        if pages and method not in METHODS:
            return told(405, {"error": f"there are {', '.join(METHODS)}"}, {"Allow": ", ".join(METHODS)})
        if target > MAX_TARGET_BYTES:
            return told(414, {"error": f"expected a path and query of at most {MAX_TARGET_BYTES} bytes"})
        raw = scope["headers"]
        if len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEAD_BYTES:
            return told(431, {"error": f"expected at most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes"})
        if not pages or method != "POST":
            return None
        if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            return told(415, {"error": f"expected {FORM}"})
        if not is_own(headers, self._names.origin(scope, host)):
            return told(403, {"error": "expected a request that a page of this very site made"})
        return None

    def _dialled(self, scope: Scope, host: str) -> bool:
        """Whether a probe or a scrape names the very address that it dialled, a pod's."""
        server = scope.get("server")
        return scope["path"] in self._health and server is not None and without_port(host) == str(server[0]).lower()


def is_own(headers: Headers, own: Origin | None) -> bool:
    """Whether a request that changes something was made by a page of this origin.

    Browsers say so in up to three headers, which no page can set. Our own pages send no referrer, and so Origin may be
    `null`; then Sec-Fetch-Site, which every browser of today sends, must speak for them.
    """
    site, origin, referer = (headers.getlist(each) for each in ("sec-fetch-site", "origin", "referer"))
    if own is None or max(len(site), len(origin), len(referer)) > 1 or (site and site[0] != "same-origin"):
        return False
    if origin and origin[0] != "null":
        return parse_origin(origin[0], exact=True) == own
    if origin:
        return bool(site)
    return bool(referer) and parse_origin(referer[0]) == own


def parse_origin(url: str, *, exact: bool = False) -> Origin | None:
    """The origin of a URL; None where it has none. `exact`: it is an origin and nothing more."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _PORTS or not host or "@" in parts.netloc:
        return None
    if exact and (parts.path or parts.query or parts.fragment):
        return None
    return scheme, host, _PORTS[scheme] if port is None else port


def one_cookie(headers: Headers, name: str) -> str:
    """A cookie's value; "" where it is absent, or there are several of that name and nobody can tell whose."""
    pairs = (pair.partition("=") for line in headers.getlist("cookie") for pair in line.split(";"))
    found = [value.strip() for key, _, value in pairs if key.strip() == name]
    return found[0] if len(found) == 1 else ""


def _secured(send: Send, *, secure: bool) -> Send:
    names = {each.lower().encode() for each in HEADERS} | {b"server"}
    fixed: Sequence[tuple[bytes, bytes]] = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    if secure:
        fixed = [*fixed, (b"strict-transport-security", STRICT_TRANSPORT.encode())]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
            message = {**message, "headers": [*kept, *fixed]}
        await send(message)

    return sending


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


async def _send(send: Send, answer: Told) -> None:
    """A refusal: the connection goes with it, whatever of the request is still to come."""
    headers = {"Content-Length": str(len(answer.body)), "Connection": "close", **answer.headers}
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
