"""MCP servers over HTTP, and a stand-in for the egress made of its own pure parts: map, decide, send on, filter."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn
from remit.core.answer import Answer, GivenReason, Turning
from remit.core.catalogue import Service
from remit.core.decision import Effect
from remit.core.effect import Committed
from remit.core.egress.exchange import HttpRequest, Mapped, Unmapped
from remit.core.egress.kinds.mcp import is_plumbing, map_mcp
from remit.core.egress.mcp_listing import McpResponse, listed_for, lists_tools
from remit.core.egress.mcp_message import McpRefused
from remit.core.egress.mcp_refusal import mcp_refused
from remit.listeners.egress_refusal import of_answer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_OURS = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}


@dataclass
class McpGate:
    """Decides by the service's operations, and by `denied`: operation → message; and by `held`: operation → what it
    waits for, as the egress would treat it where nobody waits."""

    service: Service
    upstream: str
    denied: dict[str, str] = field(default_factory=dict)
    seen: list[Mapped] = field(default_factory=list)
    held: dict[str, Turning] = field(default_factory=dict)

    async def answer(self, request: Request) -> Response:
        """One request, as the egress would treat it."""
        headers = tuple((name.decode(), value.decode()) for name, value in request.headers.raw)
        asked = HttpRequest(request.method, "http", "remit", "/", headers, await request.body())
        try:
            mapped = map_mcp(self.service, asked, attributes={})
        except Unmapped as fault:
            status = fault.status if isinstance(fault, McpRefused) else 403
            return self._refuse(asked, status, "request_unmapped", fault.detail, fault)
        self.seen.append(mapped)
        if mapped.operation in self.held:
            given = GivenReason("access.test", "approval_required", "It needs approval.")
            on = (self.held[mapped.operation],)
            found = Answer("d1", Effect.HOLD, (given,), True, False, Committed("log", 1), approvals=on)
            refusal = of_answer("mcp", asked, found, resumes=True)
            return Response(refusal.body, refusal.status, dict(refusal.headers))
        known = is_plumbing(mapped) or not self.service.operations or mapped.operation in self.service.operations
        why = self.denied.get(mapped.operation, "" if known else f"there is no {mapped.operation}")
        return self._refuse(asked, 403, "default_deny", why) if why else await self._send(asked, mapped)

    def _refuse(
        self, asked: HttpRequest, status: int, code: str, message: str, fault: Unmapped | None = None
    ) -> Response:
        told = fault if isinstance(fault, McpRefused) else None
        refusal = mcp_refused(asked, status=status, code=code, message=message, decision="d1", fault=told)
        return Response(refusal.body, refusal.status, dict(refusal.headers))

    async def _send(self, asked: HttpRequest, mapped: Mapped) -> Response:
        client = httpx2.AsyncClient(timeout=30)
        headers = [(name, value) for name, value in asked.headers if name not in _OURS]
        headers.append(("accept-encoding", "identity"))
        request = client.build_request(asked.method, self.upstream, headers=headers, content=mapped.body)
        response = await client.send(request, stream=True)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                if not lists_tools(mapped):
                    async for chunk in response.aiter_raw():
                        yield chunk
                    return
                reader = McpResponse(
                    listed_for(self.service, roles=(), purposes=()),
                    content_type=response.headers.get("content-type", ""),
                    content_encoding=response.headers.get("content-encoding", ""),
                    request=mapped.body,
                )
                async for chunk in response.aiter_raw():
                    yield reader.feed(chunk)
                yield reader.end()
            finally:
                await response.aclose()
                await client.aclose()

        kept = {name: value for name, value in response.headers.items() if name not in _OURS}
        return StreamingResponse(chunks(), response.status_code, kept)


@contextmanager
def listening() -> Iterator[tuple[int, socket.socket]]:
    """A port of loopback, open."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened.getsockname()[1], opened


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """An ASGI application on a port of loopback; its address."""
    with listening() as (port, opened):
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve(sockets=[opened]))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def gate_before(app: Any, service: Service) -> AsyncIterator[tuple[str, McpGate]]:
    """A server behind the stand-in: the address for agents, and the stand-in."""
    async with serving(app) as upstream:
        gate = McpGate(service, f"{upstream}/mcp")
        methods = ["GET", "POST", "DELETE", "PUT"]
        async with serving(Starlette(routes=[Route("/mcp/clock", gate.answer, methods=methods)])) as address:
            yield f"{address}/mcp/clock", gate
