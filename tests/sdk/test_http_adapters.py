"""`httpx` and `requests`, governed: nothing is sent that was denied, and what was sent is accounted."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import httpx
import pytest
import remit
import requests
from fakes.loop import in_loop
from fakes.sidecar_fake import SidecarFake, sidecar, sidecar_in_thread
from remit.sdk import httpx_adapter, requests_adapter
from remit.sdk.http import Service, Services, usage_of
from remit.v1 import resources_pb2 as r

ANSWER = {"text": "hi", "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}
ASKED = {"model": "small", "messages": [], "max_tokens": 50}


class Api(BaseHTTPRequestHandler):
    """A model API: JSON, gzip, errors, redirects, a stream of events, and an answer that breaks off."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        last = self.path.rpartition("/")[2]
        if last == "events":
            self._answer(200, b'data: {"delta": "h"}\n\ndata: [DONE]\n\n', "text/event-stream")
        elif last == "zipped":
            self._answer(200, gzip.compress(json.dumps(ANSWER).encode()), headers={"Content-Encoding": "gzip"})
        elif last == "broken":
            self._answer(200, b'{"usage": ', length=500)
            self.close_connection = True
        elif last == "stalled":
            self._answer(200, b"first", "text/plain", length=500)
            self.server.release.wait(20)  # type: ignore[attr-defined]
            self.close_connection = True
        elif last == "liar":
            self._answer(200, b"not json")
        elif last == "moved":
            self._answer(307, b"{}", headers={"Location": self.headers["X-Target"]})
        elif last == "down":
            self._answer(503, b'{"error": "down"}')
        else:
            self._answer(200, json.dumps(ANSWER).encode())

    do_GET = do_POST

    def _answer(
        self,
        code: int,
        body: bytes,
        kind: str = "application/json; charset=utf-8",
        *,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length or len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Upstream:
    """The running API and what it has seen."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.release = Event()
        server.seen, server.release = self.seen, self.release  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{server.server_port}"

    @property
    def service(self) -> Service:
        return Service(
            name="openai", base=f"{self.url}/v1", estimate=lambda body: {"output_token": body.get("max_tokens", 0)}
        )


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Upstream(server)
    server.shutdown()
    server.server_close()
    thread.join()


def connect(fake: SidecarFake) -> remit.Agent:
    return remit.Agent.connect(fake.address, "token-support")


def usage(fake: SidecarFake, number: int = -1) -> dict[str, int]:
    return {each.unit: each.quantity for each in fake.reports[number].usage}


@in_loop
async def test_httpx_asks_before_and_reports_after(upstream: Upstream) -> None:
    """Operation from the path, variant from the model, estimate and usage from the bodies."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service]) as client,
    ):
        for path in ("chat/completions", "zipped"):
            response = await client.post(f"{upstream.url}/v1/{path}", json=ASKED)
            assert response.json() == ANSWER
            assert response.elapsed.total_seconds() > 0

    assert fake.asked(0).action == "api.call"
    assert fake.asked(0).resource == r.Resource(
        type="service", id="openai", operation="chat/completions", variant="small"
    )
    assert fake.asked(0).usage[0] == r.Usage(unit="output_token", quantity=50)
    assert fake.outcomes == ["succeeded"] * 2
    assert [usage(fake, number) for number in range(2)] == [{"input_token": 7, "output_token": 5}] * 2
    assert not any(name.lower().startswith("remit") for _, headers in upstream.seen for name in headers)


@in_loop
async def test_httpx_sends_nothing_that_was_denied(upstream: Upstream) -> None:
    """Denied comes out of the call; the API sees no request."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service]) as client,
    ):
        fake.deny("service:openai")
        with pytest.raises(remit.Denied):
            await client.post(f"{upstream.url}/v1/chat", json=ASKED)
        with pytest.raises(remit.InvalidRequest, match="below a declared service's base"):
            await client.post(f"{upstream.url}/v2/chat", json=ASKED)
        await fake.kill()
        with pytest.raises(remit.Unavailable):
            await client.post(f"{upstream.url}/v1/chat", json=ASKED)

    assert upstream.seen == []


@in_loop
async def test_httpx_reports_what_went_wrong(upstream: Upstream) -> None:
    """An error answer, an answer that breaks off, nobody there, and one that is not the JSON that it says."""
    nobody = Service(name="nobody", base="http://127.0.0.1:9")
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service, nobody]) as client,
    ):
        assert (await client.get(f"{upstream.url}/v1/down")).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{upstream.url}/v1/broken")
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:9/x")
        assert (await client.get(f"{upstream.url}/v1/liar")).text == "not json"

    assert fake.outcomes == ["failed", "failed", "not_sent", "succeeded"]
    assert [each.error for each in fake.reports] == ["HTTP 503", "RemoteProtocolError", "ConnectError", ""]
    assert usage(fake) == {}


@in_loop
async def test_httpx_streams_are_reported_at_their_end(upstream: Upstream) -> None:
    """Not before they are read or closed; events count as estimated."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service]) as client,
    ):
        async with client.stream("POST", f"{upstream.url}/v1/events", json=ASKED) as response:
            assert fake.reports == []
            assert [line async for line in response.aiter_lines() if line][-1] == "data: [DONE]"
        async with client.stream("POST", f"{upstream.url}/v1/chat", json=ASKED):
            pass

    assert fake.outcomes == ["succeeded", "succeeded"]
    assert [usage(fake, 0), usage(fake, 1)] == [{}, {}]


@in_loop
async def test_httpx_reports_cancellation(upstream: Upstream) -> None:
    """A task cancelled while it waits for more of the answer has failed."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service]) as client,
    ):
        begun = asyncio.Event()

        async def read() -> None:
            async with client.stream("POST", f"{upstream.url}/v1/stalled", json=ASKED) as response:
                async for _ in response.aiter_raw():
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        upstream.release.set()

    assert [each.error for each in fake.reports] == ["CancelledError"]
    assert fake.held == []


@in_loop
async def test_httpx_asks_for_every_redirect(upstream: Upstream) -> None:
    """Each hop is a request; one to an undeclared service is not followed."""
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [upstream.service], follow_redirects=True) as client,
    ):
        await client.post(f"{upstream.url}/v1/moved", headers={"X-Target": "/v1/chat"}, json=ASKED)
        with pytest.raises(remit.InvalidRequest):
            await client.post(f"{upstream.url}/v1/moved", headers={"X-Target": "http://127.0.0.1:9/v1"}, json=ASKED)

    assert [fake.asked(number).resource.operation for number in range(3)] == ["moved", "chat", "moved"]
    assert fake.outcomes == ["succeeded"] * 3


@in_loop
async def test_towards_egress_only_the_surroundings_are_added(upstream: Upstream) -> None:
    """One effect has one decision, and there it is made; hostile text cannot add headers."""
    async with sidecar() as fake, connect(fake) as agent:
        client = httpx_adapter.async_client(agent, [], egress=upstream.url)
        reason = 'für "Ana"\r\nRemit-Actor: x'
        async with client, remit.workflow(agent, purposes=["support"], purpose="support", reason=reason) as run:
            with remit.actor("summarise"):
                async with agent.action("tool.call", "tool:search") as act:
                    await client.post(f"{upstream.url}/openai/v1/chat", json=ASKED, headers={"Remit-Actor": "boss"})
        await_free = remit.egress_headers()

    headers = upstream.seen[0][1]
    assert {name: value for name, value in headers.items() if name.lower().startswith("remit")} == {
        "Remit-Workflow": run.context,
        "Remit-Purpose": "support",
        "Remit-Reason": "f%C3%BCr%20%22Ana%22%0D%0ARemit-Actor:%20x",
        "Remit-Parent": act.decision.id,
        "Remit-Actor": "summarise",
    }
    assert await_free == {}
    assert fake.calls == ["OpenWorkflow", "Authorize", "Report", "CloseWorkflow"]


def test_blocking_httpx(upstream: Upstream) -> None:
    """The same without `await`."""
    with sidecar_in_thread() as fake, remit.blocking.Agent.connect(fake.address, "token-support") as agent:
        nobody = Service(name="nobody", base="http://127.0.0.1:9")
        with httpx_adapter.client(agent, [upstream.service, nobody]) as client:
            assert client.post(f"{upstream.url}/v1/zipped", json=ASKED).json() == ANSWER
            with client.stream("POST", f"{upstream.url}/v1/events", json=ASKED) as response:
                response.read()
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{upstream.url}/v1/broken")
            with pytest.raises(httpx.ConnectError):
                client.get("http://127.0.0.1:9/x")
            fake.deny("service:openai")
            with pytest.raises(remit.Denied):
                client.post(f"{upstream.url}/v1/chat", json=ASKED)
        with httpx_adapter.client(agent, [], egress=upstream.url) as client, remit.actor("summarise"):
            client.post(f"{upstream.url}/openai", json=ASKED)

    assert fake.outcomes == ["succeeded", "succeeded", "failed", "not_sent"]
    assert usage(fake, 0) == {"input_token": 7, "output_token": 5}
    assert upstream.seen[-1][1]["Remit-Actor"] == "summarise"


def test_requests(upstream: Upstream) -> None:
    """Asks before, reports after; denied, undeclared and unreachable as with httpx."""
    with sidecar_in_thread() as fake, remit.blocking.Agent.connect(fake.address, "token-support") as agent:
        nobody = Service(name="nobody", base="http://127.0.0.1:9")
        with requests_adapter.session(agent, [upstream.service, nobody]) as session:
            assert session.post(f"{upstream.url}/v1/zipped", json=ASKED, timeout=9).json() == ANSWER
            assert session.get(f"{upstream.url}/v1/down", timeout=9).status_code == 503
            session.post(f"{upstream.url}/v1/events", json=ASKED, stream=True, timeout=9).close()
            with pytest.raises(requests.ConnectionError):
                session.get("http://127.0.0.1:9/x", timeout=9)
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                session.get(f"{upstream.url}/v1/broken", timeout=9)
            sent = len(upstream.seen)
            fake.deny("service:openai")
            with pytest.raises(remit.Denied):
                session.post(f"{upstream.url}/v1/chat", json=ASKED, timeout=9)
            with pytest.raises(remit.InvalidRequest):
                session.post(f"{upstream.url}/v2/chat", json=ASKED, timeout=9)
            assert len(upstream.seen) == sent
        with requests_adapter.session(agent, [], egress=upstream.url) as session, remit.actor("summarise"):
            session.post(f"{upstream.url}/openai", json=ASKED, timeout=9)

    assert fake.asked(0).resource == r.Resource(type="service", id="openai", operation="zipped", variant="small")
    assert fake.outcomes == ["succeeded", "failed", "succeeded", "not_sent", "failed"]
    assert usage(fake, 0) == {"input_token": 7, "output_token": 5}
    assert upstream.seen[-1][1]["Remit-Actor"] == "summarise"


@in_loop
async def test_a_reader_that_fails_loses_no_response(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    """What was paid for arrives; the mistake is logged, and the usage counts as estimated."""
    service = Service(name="openai", base=f"{upstream.url}/v1", used=lambda body: {"call": body["nothing"]})
    async with (
        sidecar() as fake,
        connect(fake) as agent,
        httpx_adapter.async_client(agent, [service]) as client,
    ):
        assert (await client.post(f"{upstream.url}/v1/chat", json=ASKED)).json() == ANSWER

    assert (fake.outcomes, usage(fake)) == (["succeeded"], {})
    assert "the usage of decision d1 cannot be read" in caplog.text


@in_loop
async def test_mounts_cannot_go_past_remit() -> None:
    """httpx would send mounted hosts through another transport."""
    async with sidecar() as fake, connect(fake) as agent:
        with pytest.raises(TypeError, match="past Remit"):
            httpx_adapter.async_client(agent, [], mounts={})


SERVICES = Services(
    [
        Service(name="short", base="https://api.example"),
        Service(name="long", base="https://api.example/v1/", operation=lambda method, path: f"{method} {path}"),
        Service(name="port", base="http://api.example:8080/x"),
    ]
)


@pytest.mark.parametrize(
    ("url", "resource", "operation"),
    [
        ("https://api.example/v1/chat", "service:long", "GET /chat"),
        ("https://API.example:443/v1", "service:long", "GET "),
        ("https://api.example/v1x/chat", "service:short", "v1x/chat"),
        ("https://api.example/?q=/v1/", "service:short", ""),
        ("http://api.example:8080/x/y", "service:port", "y"),
    ],
)
def test_the_longest_base_names_the_service(url: str, resource: str, operation: str) -> None:
    """Scheme, host, port and whole path segments count."""
    question = SERVICES.question("GET", url, None)

    assert (question.resource, question.ask["operation"]) == (resource, operation)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/v1/chat",
        "https://api.example.evil/v1",
        "https://api.example@evil/v1",
        "https://api.example:444/v1",
        "https://api.example:x/v1",
        "https://api.example/v1/../admin",
        "https://api.example/v1/%2e%2E/admin",
        "ftp://api.example/",
        "",
    ],
)
def test_what_is_below_no_base_is_refused(url: str) -> None:
    """Look-alikes and climbing paths are no declared service."""
    with pytest.raises(remit.InvalidRequest):
        SERVICES.question("GET", url, None)


def test_credentials_in_urls_are_not_repeated() -> None:
    """Neither userinfo nor query reaches the error's text."""
    with pytest.raises(remit.InvalidRequest) as refused:
        SERVICES.question("GET", "https://user:secret@other.example/p?key=secret", None)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_not_its_type_is_refused(body: bytes) -> None:
    """It cannot be said what it asks for."""
    with pytest.raises(remit.InvalidRequest, match="body: expected JSON"):
        SERVICES.question("POST", "https://api.example/v1/chat", body)


@pytest.mark.parametrize(
    ("body", "units"),
    [
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}, {"input_token": 1, "output_token": 2}),
        ({"usage": {"input_tokens": 1, "output_tokens": 2}}, {"input_token": 1, "output_token": 2}),
        ({"usage": {"input_tokens": -1, "output_tokens": "2"}}, {}),
        ({"usage": None}, {}),
        ({}, {}),
    ],
)
def test_providers_usage_becomes_units(body: dict[str, Any], units: dict[str, int]) -> None:
    """Both great dialects; nonsense counts as estimated."""
    assert usage_of(body) == units
