"""Connections: who does not keep going is cut, and nobody keeps others out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.loop import in_loop, until
from listeners.certificates import Authority
from listeners.console_security.stage import ANA, Answer, Browser, Desk, desk, parsed
from remit.listeners.console.security import Limits
from remit.listeners.console.server import ConsoleListener, Times

QUICK = Times(handshake=0.2, request=0.3, idle=1, write=0.3, age=60)
AGING = Times(request=5, idle=5, write=0.2, age=0.3)
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def connected(desk: Desk) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader, seconds: float = 3) -> bytes:
    """What came until the connection was ended."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: loc",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Origin: http://localhost\r\nContent-Length: 100\r\n\r\nab",
        b"POST /sign-in HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 100\r\n\r\nab",
    ],
)
def test_a_request_that_does_not_come_is_not_waited_for(begun: bytes) -> None:
    """Nothing, half a head, half a body, and the rest of a body that was refused, one byte at a time."""

    @in_loop
    async def run() -> None:
        async with desk(times=QUICK) as d, connected(d) as (reader, writer):
            writer.write(begun)

            async def trickle() -> None:
                while begun:
                    await asyncio.sleep(0.05)
                    writer.write(b"x")

            trickling = asyncio.create_task(trickle())
            try:
                found = await ended(reader)
            finally:
                trickling.cancel()
            assert b" 200 " not in found

    run()


@in_loop
async def test_a_slow_request_on_a_connection_that_was_used_is_not_waited_for_either() -> None:
    """The first one was quick."""
    async with desk(times=QUICK) as d, connected(d) as (reader, writer):
        writer.write(GET)
        assert b" 200 " in await reader.readuntil(b"\r\n")
        writer.write(b"GET /hea")
        await ended(reader)


@in_loop
async def test_a_connection_that_asks_nothing_more_is_closed() -> None:
    """After a while, and not at once: browsers use it again."""
    async with desk(times=QUICK) as d, connected(d) as (reader, writer):
        for _ in range(3):
            writer.write(GET)
            assert b" 200 " in await reader.readuntil(b"\r\n")
            await reader.readuntil(b"}\n")
        await ended(reader)


@in_loop
async def test_an_answer_that_is_not_taken_is_not_kept() -> None:
    """Whoever asks much and reads nothing is cut."""
    async with desk(times=QUICK) as d, connected(d) as (_, writer):
        writer.transport.pause_reading()
        for _ in range(2000):
            writer.write(b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections = d.listener._server.server_state.connections
        await until(lambda: len(connections) == 1)
        await until(lambda: not connections)


@in_loop
async def test_a_connection_does_not_live_for_ever() -> None:
    """However diligently it is used."""
    async with desk(times=AGING) as d, connected(d) as (reader, writer):
        count = 0
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            async with asyncio.timeout(3):
                while True:
                    writer.write(GET)
                    await reader.readuntil(b"}\n")
                    count += 1
                    await asyncio.sleep(0.01)
        assert count > 3


@in_loop
async def test_idle_connections_keep_nobody_out() -> None:
    """The oldest that asks nothing makes room; the one that is being answered stays."""
    async with desk(connections=4) as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        d.overview.slow = True
        asking = asyncio.create_task(browser.get("/budgets"))
        await until(lambda: "ana" in d.overview.read)
        idle = [await asyncio.open_connection("127.0.0.1", d.port) for _ in range(20)]
        assert (await d.ask("GET", "/healthz")).status == 200
        assert not asking.done()
        assert len(d.listener._server.server_state.connections) <= 4
        for _, writer in idle:
            writer.transport.abort()
        asking.cancel()


@in_loop
async def test_no_more_connections_than_there_may_be() -> None:
    """Where all are at work, a new one is closed."""
    async with desk(connections=2) as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        d.overview.slow = True
        asking = [asyncio.create_task(browser.get("/budgets")) for _ in range(2)]
        await until(lambda: d.overview.read.count("ana") >= 2)
        async with connected(d) as (reader, writer):
            writer.write(GET)
            assert await ended(reader) == b""
        for each in asking:
            each.cancel()


@in_loop
async def test_it_ends_in_time() -> None:
    """What is being served gets its seconds, then it is cut; the port is free again."""
    async with desk(limits=Limits(request_seconds=20)) as d:
        browser = Browser(d)
        await browser.sign_in(ANA)
        d.overview.slow = True
        asking = asyncio.create_task(browser.get("/budgets"))
        await until(lambda: "ana" in d.overview.read)
        async with connected(d) as (reader, _), asyncio.timeout(3):
            await d.listener.stop(0.1)
            assert await ended(reader) == b""
        assert (await asking).status in (0, 500)
        again = ConsoleListener(d.console.app)
        await again.start("127.0.0.1", d.port)
        await again.stop(0)


@in_loop
async def test_where_it_cannot_listen_it_says_so() -> None:
    """A port that is taken, files that are none."""
    async with desk() as d:
        other = ConsoleListener(d.console.app)
        with pytest.raises(OSError):
            await other.start("127.0.0.1", d.port)
        with pytest.raises(FileNotFoundError):
            await other.start("127.0.0.1", 0, lambda context: context.load_cert_chain("/nowhere/crt", "/nowhere/key"))
        await other.stop(0)


@in_loop
async def test_what_is_no_http_is_refused_and_tells_nothing() -> None:
    """Two lengths, a length and chunks, a WebSocket, HTTP/2, noise."""
    async with desk() as d:
        own = f"Host: 127.0.0.1:{d.port}\r\n"
        two = f"POST /sign-in HTTP/1.1\r\n{own}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
        both = f"POST /sign-in HTTP/1.1\r\n{own}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        for raw in (
            two,
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\x16\x03\x01\x02",
            "GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n",
        ):
            answer = await d.send(raw.encode("latin-1") + b"\r\n" * 4)
            assert answer.status in (400, 421), raw
            assert "server" not in answer.headers and b"uvicorn" not in answer.body
        assert (await d.send(both.encode())).status in (400, 415)
        socket = (
            f"GET / HTTP/1.1\r\n{own}Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        )
        assert (await d.send(f"{socket}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())).status == 303


@in_loop
async def test_with_tls_cookies_and_headers_say_so(tmp_path: Path) -> None:
    """Cookies that no other host of the domain can set and that never go out in the clear; and nothing but TLS."""
    authority = Authority()
    pair = authority.sign(dns=["localhost"])
    files = (tmp_path / "crt", tmp_path / "key")
    files[0].write_bytes(pair.certificate)
    files[1].write_bytes(pair.key)
    trusting = ssl.create_default_context(cadata=authority.certificate.decode())
    async with desk(tls=files, times=QUICK) as d:

        async def ask(text: str) -> Answer:
            reader, writer = await asyncio.open_connection("localhost", d.port, ssl=trusting)
            writer.write(text.encode())
            answer = parsed(await reader.read())
            writer.transport.abort()
            return answer

        own = f"https://localhost:{d.port}"
        head = f"HTTP/1.1\r\nHost: localhost:{d.port}\r\nConnection: close\r\n"
        form = await ask(f"GET /sign-in {head}\r\n")
        assert form.header("strict-transport-security") == "max-age=31536000"
        (name,) = form.cookies
        assert name == "__Host-remit-sign-in"
        body = f"csrf={form.csrf}&token={ANA}"
        kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        cookie = f"Cookie: {name}={form.cookies[name]}\r\n"
        plain = await ask(f"POST /sign-in {head}{kind}{cookie}Origin: http://localhost:{d.port}\r\n\r\n{body}")
        assert plain.status == 403
        answer = await ask(f"POST /sign-in {head}{kind}{cookie}Origin: {own}\r\n\r\n{body}")
        (line,) = [each for each in answer.headers["set-cookie"] if each.startswith("__Host-remit-session=")]
        parts = {each.strip().lower() for each in line.split(";")[1:]}
        assert {"secure", "httponly", "path=/", "samesite=strict"} <= parts
        assert not [each for each in parts if each.startswith("domain")]
        session = answer.cookies["__Host-remit-session"]
        assert (await ask(f"GET /budgets {head}Cookie: __Host-remit-session={session}\r\n\r\n")).status == 200
        assert (await ask(f"GET /budgets {head}Cookie: remit-session={session}\r\n\r\n")).status == 303
        async with connected(d) as (reader, _):
            await ended(reader)  # a handshake that does not begin


@in_loop
async def test_behind_tls_that_ends_before_us_cookies_are_those_of_tls() -> None:
    """Where the public address says https, and only under that name."""
    async with desk(public_url="https://desk.example.com") as d:
        public = await d.ask("GET", "/sign-in", host="desk.example.com")
        assert set(public.cookies) == {"__Host-remit-sign-in"}
        assert public.header("strict-transport-security")
        assert set((await d.ask("GET", "/sign-in")).cookies) == {"remit-sign-in"}
        body, cookie = (
            f"csrf={public.csrf}&token={ANA}",
            f"__Host-remit-sign-in={public.cookies['__Host-remit-sign-in']}",
        )
        for origin, status in (("https://desk.example.com", 303), ("http://desk.example.com", 403), (d.own, 403)):
            headers = {"Origin": origin, "Cookie": cookie}
            answer = await d.ask("POST", "/sign-in", host="desk.example.com", body=body, headers=headers)
            assert answer.status == status, origin
