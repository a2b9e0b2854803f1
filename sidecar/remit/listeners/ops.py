"""Health and metrics over HTTP: `/metrics`, `/healthz`, `/readyz`; for probes and scrapes, GET alone.

A web page must not read them through somebody's browser: a request whose Host is a name that we are not called by
(DNS rebinding) is refused. Connections are few, short, and used once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from remit.core.errors import RemitError

MAX_CONNECTIONS = 64
CONNECTION_SECONDS = 15.0
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

_log = logging.getLogger(__name__)


class OpsListener:
    """Serves health and metrics. `hosts` are further names that it may be called by."""

    def __init__(
        self,
        exposition: Exposition,
        checks: Checks,
        *,
        hosts: Iterable[str] = (),
        connection_seconds: float = CONNECTION_SECONDS,
    ) -> None:
        self._exposition = exposition
        self._checks = checks
        self._hosts = frozenset((*LOOPBACK, *(each.lower() for each in hosts)))
        self._seconds = connection_seconds
        self._paths: Mapping[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            "/metrics": self._metrics,
            "/healthz": self._alive,
            "/readyz": self._ready,
        }
        self._server: web.Server | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the address with its port filled in. Raises OSError where it cannot."""
        loop = asyncio.get_running_loop()
        server = self._server = web.Server(self._serve, access_log=None, lingering_time=0)

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
        response = await self._answer(request)
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if not self._is_called_by(request):
            return _told(421, {"error": "this is not the host that was asked for"})
        serve = self._paths.get(request.path)
        if serve is None:
            return _told(404, {"error": f"there are {', '.join(self._paths)}"})
        if request.method != "GET":
            return _told(405, {"error": "GET alone"}, {"Allow": "GET"})
        try:
            return await serve(request)
        except RemitError as error:
            _log.error("%s failed: %s", request.path, error)
        except Exception:
            _log.exception("%s failed", request.path)
        return _told(500, {"error": "an error of the sidecar's own; its log tells more"})

    def _is_called_by(self, request: web.BaseRequest) -> bool:
        """Whether Host is a name of ours, or the very address that was dialled (a pod's, for a probe)."""
        named = request.headers.getall("Host", [])
        if len(named) != 1:
            return False
        host = _without_port(named[0])
        own = request.transport.get_extra_info("sockname") if request.transport else None
        return host in self._hosts or (own is not None and host == own[0])

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        text, content_type = await self._exposition(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _alive(self, request: web.BaseRequest) -> web.Response:
        return _told(200, {"alive": True})

    async def _ready(self, request: web.BaseRequest) -> web.Response:
        checks = self._checks()
        ready = not any(checks.values())
        return _told(200 if ready else 503, {"ready": ready, "checks": {**checks}})


class _Closed(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _told(status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(body).encode() + b"\n"
    return web.Response(status=status, body=text, headers=headers, content_type="application/json")
