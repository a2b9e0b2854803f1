"""Health and metrics over HTTP: for probes and scrapes, and for no web page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fakes.loop import in_loop
from remit.core.errors import StoreUnavailable
from remit.listeners.ops import MAX_CONNECTIONS, OpsListener


@dataclass(slots=True)
class Sidecar:
    """What the listener shows: metrics, and what is not well."""

    checks: dict[str, str] = field(default_factory=lambda: {"pdp": "", "store": ""})
    failure: Exception | None = None

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        if self.failure:
            raise self.failure
        return b"remit_pdp_up 1.0\n", f"text/plain; accepted={accept or 'anything'}"

    def ready(self) -> Mapping[str, str]:
        return self.checks


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def listening(seconds: float = 15.0) -> AsyncIterator[tuple[Sidecar, int]]:
    """A listener on loopback, called `remit.internal` as well."""
    sidecar = Sidecar()
    listener = OpsListener(sidecar.exposition, sidecar.ready, hosts=["Remit.internal"], connection_seconds=seconds)
    address = await listener.start("127.0.0.1", 0)
    try:
        yield sidecar, int(address.rpartition(":")[2])
    finally:
        await listener.stop()


async def send(port: int, raw: bytes) -> Answer:
    """Send bytes, and read the one response until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        async with asyncio.timeout(5):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.transport.abort()
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), headers, body)


async def get(port: int, path: str, host: str = "localhost", more: str = "") -> Answer:
    return await send(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())


@in_loop
async def test_metrics_are_shown_as_the_scraper_accepts_them() -> None:
    """Text and content type are the exposition's."""
    async with listening() as (_, port):
        answer = await get(port, "/metrics", more="Accept: text/x\r\n")

        assert (answer.status, answer.body) == (200, b"remit_pdp_up 1.0\n")
        assert answer.headers["content-type"] == "text/plain; accepted=text/x"


@in_loop
async def test_ready_names_what_is_not() -> None:
    """200 when all is well, else 503 and what is wrong; alive is alive."""
    async with listening() as (sidecar, port):
        assert json.loads((await get(port, "/readyz")).body) == {"ready": True, "checks": {"pdp": "", "store": ""}}
        sidecar.checks["pdp"] = "OPA does not answer"
        answer = await get(port, "/readyz")

        assert answer.status == 503
        assert json.loads(answer.body) == {"ready": False, "checks": {"pdp": "OPA does not answer", "store": ""}}
        assert (await get(port, "/healthz")).status == 200


FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "[::2]",
    "10.0.0.1",
    "",
    "localhost@evil",
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/x"])
def test_under_another_name_nothing_is_shown(host: str, path: str) -> None:
    """A page whose name was rebound to us reads nothing."""

    @in_loop
    async def run() -> None:
        async with listening() as (_, port):
            answer = await get(port, path, host)
            assert answer.status == 421
            assert b"remit_pdp_up" not in answer.body

    run()


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7451", "127.0.0.1", "127.0.0.1:1", "[::1]:7451", "remit.internal"]
)
def test_our_own_names_are_answered(host: str) -> None:
    """With any port, in any case."""

    @in_loop
    async def run() -> None:
        async with listening() as (_, port):
            assert (await get(port, "/healthz", host)).status == 200

    run()


@in_loop
async def test_the_address_that_was_dialled_is_a_name_of_ours() -> None:
    """A probe dials the pod's address, which nobody configured; another address is still foreign."""
    sidecar = Sidecar()
    listener = OpsListener(sidecar.exposition, sidecar.ready)
    port = int((await listener.start("127.0.0.2", 0)).rpartition(":")[2])
    try:
        for host, status in (("127.0.0.2", 200), ("127.0.0.3", 421)):
            reader, writer = await asyncio.open_connection("127.0.0.2", port)
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await reader.read()).startswith(f"HTTP/1.1 {status}".encode())
            writer.close()
            await writer.wait_closed()
    finally:
        await listener.stop()


@in_loop
async def test_what_may_be_read_under_any_name_is_told_where_there_is_such() -> None:
    """An API server's proxy asks under its own name; nothing else is opened by that."""
    sidecar = Sidecar()
    listener = OpsListener(sidecar.exposition, sidecar.ready, about=lambda: {"time": 1.5})
    port = int((await listener.start("127.0.0.1", 0)).rpartition(":")[2])
    try:
        for host in ("localhost", "10.0.0.1:6443", "api.example.com"):
            answer = await get(port, "/about", host)
            assert (answer.status, json.loads(answer.body)) == (200, {"time": 1.5})
        assert (await get(port, "/readyz", "api.example.com")).status == 421
        posted = await send(port, b"POST /about HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert posted.status == 404
    finally:
        await listener.stop()
    async with listening() as (_, without):
        assert (await get(without, "/about")).status == 404


BAD = {
    "two hosts": (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", (400, 421)),
    "no host": (b"GET /metrics HTTP/1.0\r\n\r\n", (421,)),
    "another path": (b"GET /secrets HTTP/1.1\r\nHost: localhost\r\n\r\n", (404,)),
    "a path upwards": (b"GET /metrics/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", (404,)),
    "an escaped path": (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", (404,)),
    "a path with another slash": (b"GET //metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", (404,)),
    "POST": (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", (405,)),
    "HEAD": (b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
    "TRACE": (b"TRACE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
    "a header of 1 MB": (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**20 + b"\r\n\r\n", (400, 431)),
    "two lengths": (
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (200, 400),
    ),
    "a line that is none": (b"\x16\x03\x01\x02\x00\r\n\r\n", (400,)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_and_the_next_good_one_works(name: str) -> None:
    """Typed refusals, and a server that goes on."""
    raw, allowed = BAD[name]

    @in_loop
    async def run() -> None:
        async with listening() as (_, port):
            try:
                assert (await send(port, raw)).status in allowed
            except ConnectionError:
                assert name == "a header of 1 MB", "hung up on while it was still sent"
            assert (await get(port, "/metrics")).status == 200

    run()


@in_loop
async def test_every_answer_tells_browsers_to_keep_out() -> None:
    """Refusals too."""
    async with listening() as (_, port):
        for answer in (await get(port, "/metrics"), await get(port, "/x"), await get(port, "/metrics", "evil")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("failure", [StoreUnavailable("secret-canary"), ValueError("secret-canary")])
def test_a_failure_tells_nothing_of_the_inside(failure: Exception) -> None:
    """500 with a fixed text; the next request is answered."""

    @in_loop
    async def run() -> None:
        async with listening() as (sidecar, port):
            sidecar.failure = failure
            answer = await get(port, "/metrics")
            assert answer.status == 500
            assert b"canary" not in answer.body
            assert (await get(port, "/healthz")).status == 200

    run()


@in_loop
async def test_connections_are_few_and_short() -> None:
    """One too many is hung up on; silent ones end by themselves, and then others are served."""
    async with listening(seconds=0.3) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        for _, writer in silent:
            writer.write(b"GET /metrics HT")
        with pytest.raises((IndexError, ConnectionError, ValueError)):
            await get(port, "/healthz")
        for reader, writer in silent:
            async with asyncio.timeout(5):
                await reader.read()
            writer.transport.abort()
        assert (await get(port, "/healthz")).status == 200
