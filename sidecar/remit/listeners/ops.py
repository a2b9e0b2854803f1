"""Health and metrics over HTTP: `/metrics`, `/healthz`, `/readyz`, `/about`; for probes and scrapes, GET alone.

Beside them agents are answered where the listener is given what answers them (AuthZEN): at the sidecar's own port,
never at the one that is for probes alone.

A web page must not read them through somebody's browser: a request whose Host is a name that we are not called by
(DNS rebinding) is refused. `/about`, which an API server's proxy asks for under that server's own name, tells nothing
that would matter to one. Connections are few, short, and used once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from remit.core.errors import BadRequest, RemitError, Violation

MAX_CONNECTIONS = 64
CONNECTION_SECONDS = 15.0
BODY_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
"""The metrics as (text, content type), for an Accept header."""

Checks = Callable[[], Mapping[str, str]]
"""What must be well for the sidecar to be ready: name -> "" when it is, else what is wrong, for people."""

About = Callable[[], Mapping[str, object]]
"""What a member says of itself to whoever asks, by whatever name: nothing that a web page may not read."""

ABOUT = "/about"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, whatever serves it: `headers` beside those of every answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, whatever serves it: names of `headers` are in small letters, `origin` is where it was sent to by its
    own word, such as http://127.0.0.1:7451, `peer` who sent it, coarse enough to count by.

    `body` reads all of it, None where it has more bytes than were named. Raises BadRequest where it breaks off.
    `gone` is whether nobody waits for the answer any more.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    origin: str
    peer: str
    body: Callable[[int], Awaitable[bytes | None]]
    gone: Callable[[], Awaitable[bool]]

    def all(self, name: str) -> list[str]:
        """A header's values."""
        return [value for key, value in self.headers if key == name]


class Besides(Protocol):
    """What is answered beside health, at these paths; it fails by an answer alone."""

    @property
    def paths(self) -> Collection[str]: ...
    async def answer(self, asked: Asked, /) -> Told: ...


class Health:
    """What is told on each of the paths."""

    def __init__(self, exposition: Exposition, checks: Checks) -> None:
        self._exposition = exposition
        self._checks = checks
        self._paths: Mapping[str, Callable[[str], Awaitable[Told]]] = {
            "/metrics": self._metrics,
            "/healthz": self._alive,
            "/readyz": self._ready,
        }

    @property
    def paths(self) -> Collection[str]:
        """All there are."""
        return self._paths.keys()

    async def answer(self, method: str, path: str, accept: str) -> Told:
        """The answer to a request whose Accept header (or "") is given."""
        serve = self._paths.get(path)
        if serve is None:
            return told(404, {"error": f"there are {', '.join(self._paths)}"})
        if method != "GET":
            return told(405, {"error": "GET alone"}, {"Allow": "GET"})
        try:
            return await serve(accept)
        except RemitError as error:
            _log.error("%s failed: %s", path, error)
        except Exception:
            _log.exception("%s failed", path)
        return told(500, {"error": "an error of the sidecar's own; its log tells more"})

    async def _metrics(self, accept: str) -> Told:
        text, content_type = await self._exposition(accept)
        return Told(200, text, {"Content-Type": content_type})

    async def _alive(self, accept: str) -> Told:
        return told(200, {"alive": True})

    async def _ready(self, accept: str) -> Told:
        checks = self._checks()
        ready = not any(checks.values())
        return told(200 if ready else 503, {"ready": ready, "checks": {**checks}})


class OpsListener:
    """Serves health and metrics, and `besides`. `hosts` are further names that it may be called by.

    `about` is told at `/about`, always with 200 (`kubectl get --raw` shows nothing of another answer).
    """

    def __init__(
        self,
        exposition: Exposition,
        checks: Checks,
        *,
        hosts: Iterable[str] = (),
        connection_seconds: float = CONNECTION_SECONDS,
        besides: Besides | None = None,
        about: About | None = None,
    ) -> None:
        self._health = Health(exposition, checks)
        self._besides = besides
        self._about = about
        self._hosts = frozenset((*LOOPBACK, *(each.lower() for each in hosts)))
        self._seconds = connection_seconds
        self._server: web.Server | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the address with its port filled in. Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        server = self._server = web.Server(
            self._serve,
            access_log=None,
            lingering_time=0,
            auto_decompress=False,  # a body is read as it was sent: nothing small becomes large
        )

        def connected() -> asyncio.Protocol:
            if len(server.connections) >= MAX_CONNECTIONS:
                return _Closed()
            connection = server()
            loop.call_later(self._seconds, connection.force_close)
            return connection

        self._listening = await loop.create_server(connected, host, port)
        bound = self._listening.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Let go of the port, and end the connections."""
        if self._listening is not None:
            self._listening.close()
        if self._server is not None:
            await self._server.shutdown(1.0)

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        answer = await self._answer(request)
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> Told:
        if self._about is not None and request.path == ABOUT and request.method == "GET":
            return told(200, self._about())
        if not self._is_called_by(request):
            return ANOTHER_HOST
        if self._besides is not None and request.path in self._besides.paths:
            return await self._besides.answer(_asked(request))
        return await self._health.answer(request.method, request.path, request.headers.get("Accept", ""))

    def _is_called_by(self, request: web.BaseRequest) -> bool:
        """Whether Host is a name of ours, or the very address that was dialled (a pod's, for a probe)."""
        named = request.headers.getall("Host", [])
        if len(named) != 1:
            return False
        host = without_port(named[0])
        own = request.transport.get_extra_info("sockname") if request.transport else None
        return host in self._hosts or (own is not None and host == own[0])


def _asked(request: web.BaseRequest) -> Asked:
    async def body(most: int) -> bytes | None:
        if (request.content_length or 0) > most:
            return None
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # it was no part of the answer
        read = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.content.iter_any():
                    read += piece
                    if len(read) > most:
                        return None
        except (TimeoutError, ConnectionError, web.RequestPayloadError):
            raise BadRequest(Violation("message", "one that comes to its end")) from None
        return bytes(read)

    async def gone() -> bool:
        return request.transport is None or request.transport.is_closing()

    headers = [(name.lower(), value) for name, value in request.headers.items()]
    peer = request.remote or ""
    kind = "ipv6" if ":" in peer else "ipv4"
    return Asked(
        request.method, request.path, headers, f"{request.scheme}://{request.host}", f"{kind}:{peer}", body, gone
    )


class _Closed(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def without_port(host: str) -> str:
    """The name in a Host header."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def told(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Told:
    """An answer in JSON."""
    return Told(status, json.dumps(body).encode() + b"\n", {"Content-Type": "application/json", **(headers or {})})


ANOTHER_HOST = told(421, {"error": "this is not the host that was asked for"})
