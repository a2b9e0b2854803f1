"""`httpx`, governed: authorise before, report after; denied means nothing was sent.

    client = httpx_adapter.async_client(agent, [Service(name="openai", base="https://api.openai.com/v1")])

The report follows when the response's body was read or closed, so that streams are accounted too. The usage of a JSON
body is read from it; any other body (server-sent events) counts as estimated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx

from remit.sdk import blocking
from remit.sdk.action import Action, BlockingAction
from remit.sdk.agent import Agent
from remit.sdk.ambient import egress_headers
from remit.sdk.http import EGRESS, Question, Service, Services, account, is_json

MAX_KEPT = 8 * 1024 * 1024
"""Bytes of a JSON response that are kept to read its usage; a longer one counts as estimated."""

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


_INNER = frozenset({"verify", "cert", "http1", "http2", "limits", "proxy", "trust_env"})


def async_client(
    agent: Agent, services: Sequence[Service], *, egress: str = EGRESS, **options: Any
) -> httpx.AsyncClient:
    """A client all of whose requests are governed; `options` are those of httpx.AsyncClient, without `mounts`."""
    inner = options.pop("transport", None) or httpx.AsyncHTTPTransport(**_inner(options))
    return httpx.AsyncClient(transport=GovernedTransport(inner, agent, services, egress=egress), **options)


def client(agent: blocking.Agent, services: Sequence[Service], *, egress: str = EGRESS, **options: Any) -> httpx.Client:
    """The same without `await`."""
    inner = options.pop("transport", None) or httpx.HTTPTransport(**_inner(options))
    return httpx.Client(transport=BlockingTransport(inner, agent, services, egress=egress), **options)


def _inner(options: dict[str, Any]) -> dict[str, Any]:
    """Take out the options that are the transport's. Mounts, and a client's own proxy, would go past Remit."""
    if "mounts" in options:
        raise TypeError("mounts would send requests past Remit")
    return {name: options.pop(name) for name in sorted(_INNER & options.keys())}


class GovernedTransport(httpx.AsyncBaseTransport):
    """Raises remit.Denied before anything is sent. Every redirect is a request of its own."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, agent: Agent, services: Sequence[Service], *, egress: str = EGRESS
    ) -> None:
        self._inner = inner
        self._agent = agent
        self._services = Services(services, egress=egress)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, if it may be sent."""
        if self._services.is_egress(str(request.url)):
            return await self._inner.handle_async_request(_to_egress(request))
        body = await request.aread() if is_json(request.headers.get("Content-Type")) else None
        question = self._services.question(request.method, str(request.url), body)
        act = self._agent.action("api.call", question.resource, **question.ask)
        await act.begin()
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            if isinstance(error, UNSENT):
                act.not_sent()
            await act.end(error)
            raise
        response.stream = _AsyncBody(response.stream, act, _Account(act, question, response))
        return response

    async def aclose(self) -> None:
        """Close what it wraps."""
        await self._inner.aclose()


class BlockingTransport(httpx.BaseTransport):
    """The same without `await`."""

    def __init__(
        self, inner: httpx.BaseTransport, agent: blocking.Agent, services: Sequence[Service], *, egress: str = EGRESS
    ) -> None:
        self._inner = inner
        self._agent = agent
        self._services = Services(services, egress=egress)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, if it may be sent."""
        if self._services.is_egress(str(request.url)):
            return self._inner.handle_request(_to_egress(request))
        body = request.read() if is_json(request.headers.get("Content-Type")) else None
        question = self._services.question(request.method, str(request.url), body)
        act = self._agent.action("api.call", question.resource, **question.ask)
        begun = act.begin()
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            if isinstance(error, UNSENT):
                begun.not_sent()
            act.end(error)
            raise
        response.stream = _Body(response.stream, act, _Account(begun, question, response))
        return response

    def close(self) -> None:
        """Close what it wraps."""
        self._inner.close()


def _to_egress(request: httpx.Request) -> httpx.Request:
    """A copy with the headers: what a redirect takes over must not have them."""
    headers = httpx.Headers(request.headers)
    headers.update(egress_headers())
    return httpx.Request(
        request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
    )


class _Account:
    """Keeps what is needed of a response to say what it used."""

    def __init__(self, act: Action, question: Question, response: httpx.Response) -> None:
        self._act = act
        self._service = question.service
        self._response = response
        self._chunks: list[bytes] = []
        self._room = MAX_KEPT if is_json(response.headers.get("Content-Type")) else -1
        self.error: BaseException | None = None

    def see(self, chunk: bytes) -> None:
        """Keep a piece of the body, as it came over the wire."""
        self._room -= len(chunk)
        if self._room >= 0:
            self._chunks.append(chunk)

    def settle(self) -> None:
        """Tell the action how it went."""
        content = self._content() if self._room >= 0 else None
        account(self._act, code=self._response.status_code, content=content, service=self._service)

    def _content(self) -> bytes | None:
        try:
            # A response of its own undoes the content encoding.
            return httpx.Response(200, headers=self._response.headers, content=b"".join(self._chunks)).content
        except httpx.DecodingError:
            return None


class _AsyncBody(httpx.AsyncByteStream):
    """A response's body; its end is the action's end."""

    def __init__(self, inner: Any, act: Action, account: _Account) -> None:
        self._inner = inner
        self._act = act
        self._account = account
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                self._account.see(chunk)
                yield chunk
        except GeneratorExit:
            raise  # the reader has had enough
        except BaseException as error:
            self._account.error = error
            raise

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._inner.aclose()
        finally:
            self._account.settle()
            await self._act.end(self._account.error)


class _Body(httpx.SyncByteStream):
    """The same without `await`."""

    def __init__(self, inner: Any, act: BlockingAction, account: _Account) -> None:
        self._inner = inner
        self._act = act
        self._account = account
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                self._account.see(chunk)
                yield chunk
        except GeneratorExit:
            raise  # the reader has had enough
        except BaseException as error:
            self._account.error = error
            raise

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._inner.close()
        finally:
            self._account.settle()
            self._act.end(self._account.error)
