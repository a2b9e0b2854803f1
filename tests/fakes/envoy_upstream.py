"""An upstream that tells what reached it, streams for as long as it is wanted, and echoes bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Upstream:
    """`port` speaks HTTP, `raw` echoes bytes. `/sse` streams an event each time `more` is called."""

    port: int = 0
    raw: int = 0
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    streams: int = 0
    tunnels: int = 0
    _events: list[asyncio.Queue[bytes]] = field(default_factory=list)

    def more(self, event: bytes) -> None:
        """Send an event on every open stream; b"" ends them."""
        for each in self._events:
            each.put_nowait(event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.raw_path, headers, body))
        if request.path.endswith("/sse"):
            return await self._stream(request)
        if request.path.endswith("/away"):
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/elsewhere")
        return web.json_response({"path": request.raw_path, "bytes": len(body)}, headers={"remit-decision": "forged"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events: asyncio.Queue[bytes] = asyncio.Queue()
        self._events.append(events)
        self.streams += 1
        try:
            await response.write(b"data: first\n\n")
            while event := await events.get():
                await response.write(event)
            await response.write_eof()
            return response
        finally:
            self.streams -= 1
            self._events.remove(events)

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnels += 1
        try:
            while read := await reader.read(4096):
                writer.write(read)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            self.tunnels -= 1
            writer.close()


@asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """Run one on free loopback ports."""
    told = Upstream()
    application = web.Application(client_max_size=80 << 20)
    application.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    told.port = runner.addresses[0][1]
    server = await asyncio.start_server(told.echo, "127.0.0.1", 0)
    told.raw = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        await runner.cleanup()
