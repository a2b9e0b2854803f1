"""A real Envoy under supervision: reloaded without cutting a stream, back after it dies, closed where it must be."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import ssl
import stat
import time
from pathlib import Path

import aiohttp
import pytest
from fakes.envoy_world import World, world
from fakes.loop import in_loop, until
from listeners.certificates import Authority
from remit.backends import envoy_listeners
from remit.backends.envoy_process import EnvoyFailed
from remit.core.catalogue import Endpoint, Service

pytestmark = pytest.mark.envoy


async def ask(
    world: World, path: str, to: str = "", *, body: bytes = b"", method: str = "POST", proxy: str = "", **headers: str
) -> tuple[int, bytes]:
    """What an agent gets; `to` is where the judge lets it through."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if to:
        sent["x-to"] = to
    url = path if proxy else world.base + path
    async with world.session.request(
        method, url, data=io.BytesIO(body), headers=sent, proxy=proxy or None, allow_redirects=False
    ) as response:
        return response.status, await response.read()


async def dial(port: int, sent: bytes, seconds: float = 3) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await writer.drain()
    return reader, writer


@in_loop
async def test_a_request_goes_where_the_sidecar_says_and_as_the_endpoint_has_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        status, _ = await ask(here, "/api/items?q=1", "api/here", body=b"hello")
        assert status == 200
        method, path, headers, body = here.upstream.requests[-1]
        assert (method, path, body) == ("POST", "/v1/items?q=1", b"hello")
        assert headers["host"] == f"up.example:{here.upstream.port}"
        assert here.judge.seen[-1][":path"] == "/api/items?q=1"
        added = headers.keys() - {"host", "x-to", "content-length", "content-type", "accept", "accept-encoding"}
        assert added == {"user-agent"}


@in_loop
async def test_an_mcp_server_is_reached_at_its_own_path(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert (await ask(here, "/mcp/cal", "cal/here"))[0] == 200
        assert here.upstream.requests[-1][1] == "/base/mcp"
        assert (await ask(here, "/mcp/cal/x?y=1", "cal/here"))[0] == 200
        assert here.upstream.requests[-1][1] == "/base/mcp/x?y=1"
        assert (await ask(here, "/mcp/calx", "cal/here"))[0] == 403


@in_loop
async def test_without_the_sidecars_word_nothing_goes_anywhere(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        word = here.judge.ways["api/here"]
        for path, to in (("/api/x", ""), ("/small/x", "api/here"), ("/other/x", "api/here"), ("/", ""), ("/api", "")):
            status, _ = await ask(here, path, to, X_Remit_Route=word, x_envoy_retry_on="5xx", x_forwarded_for="9.9.9.9")
            assert status == 403, path
        assert not here.upstream.requests
        seen = here.judge.seen[0]
        assert not [name for name in seen if name.startswith(("x-remit-", "x-envoy-", "x-forwarded-for"))]


@in_loop
async def test_a_request_over_its_services_limit_is_refused_before_anybody_judges_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert (await ask(here, "/small/x", "small/here", body=b"x" * 2000))[0] == 200
        judged = len(here.judge.seen)
        assert (await ask(here, "/small/x", "small/here", body=b"x" * 2001))[0] == 413
        assert (await ask(here, "/api/x", "api/here", body=b"x" * (2 << 20)))[0] == 200
        assert (await ask(here, "/api/x", "api/here", body=b"x" * ((2 << 20) + 1)))[0] == 413
        assert len(here.judge.seen) == judged + 1


@in_loop
async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        status, _ = await ask(here, "/api/away", "api/here")
        assert status == 307


@in_loop
async def test_the_forward_proxy_takes_a_whole_url(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert here.places.proxy is not None
        proxy = f"http://127.0.0.1:{here.places.proxy[1]}"
        status, _ = await ask(here, "http://up.example/own/path?x=1", "api/here", proxy=proxy)
        assert status == 200
        assert here.upstream.requests[-1][1] == "/own/path?x=1"
        assert here.judge.seen[-1][":authority"] == "up.example"
        assert (await ask(here, "http://up.example/own", "", proxy=proxy))[0] == 403


@pytest.mark.parametrize("end", ["halt", "death"])
@in_loop
async def test_a_halt_or_the_sidecars_death_ends_streams_and_tunnels_within_a_second(tmp_path: Path, end: str) -> None:
    async with world(tmp_path) as here:
        assert here.places.proxy is not None
        tunnel = b"CONNECT any.example:443 HTTP/1.1\r\nhost: any.example:443\r\nx-to: tunnel/here\r\n\r\n"
        reader, writer = await dial(here.places.proxy[1], tunnel)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        raw, raw_writer = await dial(here.tcp, b"ping")
        assert await raw.readexactly(4) == b"ping"
        async with here.session.get(f"{here.base}/api/sse", headers={"x-to": "api/here"}) as stream:
            assert await stream.content.readline() == b"data: first\n"
            assert await stream.content.readline() == b"\n"
            await until(lambda: here.judge.open == 3)
            since = time.monotonic()
            if end == "halt":
                here.judge.cut()
            else:
                await here.judge_dies()
            with pytest.raises(aiohttp.ClientError):
                await stream.content.read()
        assert await reader.read() == b""
        with pytest.raises(ConnectionResetError):
            await raw.read()
        await until(lambda: here.upstream.streams == here.upstream.tunnels == 0)
        assert time.monotonic() - since < 1
        writer.close()
        raw_writer.close()


@in_loop
async def test_a_tunnel_is_opened_for_nobody_without_the_sidecars_word(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert here.places.proxy is not None
        here.judge.tcp = ""
        for to in ("", "api/here", "nothing/here"):
            sent = f"CONNECT any.example:443 HTTP/1.1\r\nhost: any.example:443\r\nx-to: {to}\r\n\r\n"
            reader, writer = await dial(here.places.proxy[1], sent.encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 403"), to
            writer.close()
        raw, raw_writer = await dial(here.tcp, b"ping")
        with pytest.raises(ConnectionResetError):
            await raw.read()
        raw_writer.close()
        assert here.upstream.tunnels == 0


@in_loop
async def test_a_reload_cuts_no_stream_not_even_of_a_service_that_it_changes(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        async with here.session.get(f"{here.base}/api/sse", headers={"x-to": "api/here"}) as stream:
            assert await stream.content.readline() == b"data: first\n"
            pid = here.envoy.pid
            more = {
                "api": Service(owner="x", endpoints={"here": here.endpoint("http", "/v2")}, timeout=90),
                "new": Service(owner="x", endpoints={"here": here.endpoint("http", "/new")}),
            }
            await here.reload(here.catalogue(more))
            assert (await ask(here, "/new/x", "new/here"))[0] == 200
            assert (await ask(here, "/api/x", "api/here"))[0] == 200
            assert [path for _, path, _, _ in here.upstream.requests[-2:]] == ["/new/x", "/v2/x"]
            here.upstream.more(b"data: second\n\n")
            here.upstream.more(b"")
            assert (await stream.content.read()).endswith(b"data: second\n\n")
        await here.reload(here.catalogue())
        assert (await ask(here, "/new/x", "new/here"))[0] == 403
        assert here.envoy.pid == pid


@in_loop
async def test_a_reload_that_envoy_refuses_leaves_what_was_in_service(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        missing = here.endpoint("https", ca=str(tmp_path / "missing.pem"))
        with pytest.raises(EnvoyFailed, match="missing"):
            await here.reload(here.catalogue({"bad": Service(owner="x", endpoints={"here": missing})}))
        with pytest.raises(EnvoyFailed, match="in use"):
            # The port is the upstream's: only the Envoy that runs can see that it is taken.
            taken = Service(owner="x", kind="tcp", listen=f"127.0.0.1:{here.upstream.port}")
            await here.reload(here.catalogue({"taken": taken}))
        assert (await ask(here, "/api/x", "api/here"))[0] == 200
        assert here.envoy.up
        await here.reload(here.catalogue({"new": Service(owner="x", endpoints={"here": here.endpoint("http")})}))
        assert (await ask(here, "/new/x", "new/here"))[0] == 200


@in_loop
async def test_an_envoy_that_is_killed_serves_again_within_five_seconds_and_one_that_hangs_within_ten(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here:
        for kill, seconds in ((signal.SIGKILL, 5), (signal.SIGSTOP, 10)):
            pid = here.envoy.pid
            since = time.monotonic()
            os.kill(pid, kill)
            await until(lambda: not here.envoy.up, seconds)
            await until(lambda: here.envoy.up)
            assert (await ask(here, "/api/x", "api/here"))[0] == 200
            assert here.envoy.pid != pid
            assert time.monotonic() - since < seconds
        assert [up for up, _ in here.told] == [True, False, True, False, True]


@in_loop
async def test_an_endpoint_with_no_address_that_may_be_dialled_leads_nowhere_and_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert (await ask(here, "/nowhere/x", "nowhere/here"))[0] == 503
        assert "inside.example: 10.0.0.1 is private" in here.endpoints.problem("nowhere", "here")
        assert here.endpoints.problem("api", "here") == ""
        assert not here.upstream.requests


@in_loop
async def test_a_name_that_turns_inward_is_followed_no_longer(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert (await ask(here, "/api/x", "api/here"))[0] == 200
        here.hosts.table["up.example"] = ["169.254.169.254", "10.0.0.7"]
        await here.resolve()
        assert (await ask(here, "/api/x", "api/here"))[0] == 503
        assert "10.0.0.7 is private" in here.endpoints.problem("api", "here")
        here.hosts.table["up.example"] = ["169.254.169.254", "127.0.0.1"]
        await here.resolve()
        assert (await ask(here, "/api/x", "api/here"))[0] == 200
        del here.hosts.table["up.example"]
        await here.resolve()
        assert (await ask(here, "/api/x", "api/here"))[0] == 200  # its server does not answer: what was judged holds


@in_loop
async def test_an_upstream_must_prove_the_endpoints_name(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    pair = authority.sign(dns=["up.example"])
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "pair.pem")
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    async with world(tmp_path, tls=tls) as here:
        ca, port = str(tmp_path / "ca.pem"), here.upstream.port
        here.hosts.table["other.example"] = ["127.0.0.1"]
        other = Endpoint(f"https://other.example:{port}", addresses=("127.0.0.1/32",), ca=ca)
        places = {
            "good": here.endpoint("https", ca=ca),
            "name": other,
            "authority": here.endpoint("https"),
            "address": Endpoint(f"https://127.0.0.1:{port}", ca=ca),
        }
        await here.reload(here.catalogue({"tls": Service(owner="x", endpoints=places)}))
        found = {each: (await ask(here, "/tls/x", f"tls/{each}"))[0] for each in places}
        assert found == {"good": 200, "name": 503, "authority": 503, "address": 503}
        assert names == ["up.example", "other.example", "up.example", None]


ODD = {
    "both lengths": "POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
    "two lengths": "POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "signed length": "POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc",
    "two encodings": "POST /api/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "old": "GET /api/x HTTP/1.0\r\nhost: a\r\nx-to: api/here\r\n\r\n",
    "underscore": "GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\nremit_workflow: a\r\n\r\n",
    "method with a space": "GE T /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n\r\n",
    "trace": "TRACE /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n\r\n",
    "tunnel": "CONNECT api:443 HTTP/1.1\r\nhost: api:443\r\nx-to: tunnel/here\r\n\r\n",
    "upgrade": "GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "fragment": "GET /api/x#y HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n\r\n",
    "whole url": "GET http://evil.example/api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n\r\n",
    "many headers": "GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n" + "a: b\r\n" * 120 + "\r\n",
    "large headers": f"GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\na: {'b' * 70000}\r\n\r\n",
    "nul": "GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\na: b\0c\r\n\r\n",
}


@in_loop
async def test_what_two_readers_might_read_differently_is_read_by_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert here.places.egress is not None
        for name, sent in ODD.items():
            smuggled = "GET /api/smuggled HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n\r\n"
            reader, writer = await dial(here.places.egress[1], (sent + smuggled).encode())
            answer = await reader.readline()
            assert not answer or int(answer.split()[1]) >= 400, name
            writer.close()
        assert not [path for _, path, _, _ in here.upstream.requests if "smuggled" not in path]
        assert (await ask(here, "/api/x", "api/here"))[0] == 200


@in_loop
async def test_everything_private_is_this_users_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert stat.S_IMODE(here.places.directory.stat().st_mode) == 0o700
        for path in here.places.directory.iterdir():
            if path != here.places.sidecar_socket:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(here.places.admin_socket))) as admin:
            for path in ("/quitquitquit", "/logging?level=trace", "/runtime_modify?a=b"):
                async with admin.post(f"http://envoy{path}") as response:
                    assert response.status == 403
        await ask(here, "/api/secret-path?key=secret", "api/here", authorization="secret")
        assert "secret" not in here.places.log.read_text()


@in_loop
async def test_a_header_that_can_be_read_in_two_ways_is_judged_as_it_is_sent(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert here.places.egress is not None
        for odd in ("x-a: b\rx-c: d", "x-a: b\r\n x-c: d", "x-a: b\nx-c: d", "x-a: b\r\nconnection: x-c\r\nx-c: d"):
            sent = f"GET /api/x HTTP/1.1\r\nhost: a\r\nx-to: api/here\r\n{odd}\r\n\r\n"
            reader, writer = await dial(here.places.egress[1], sent.encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 200"), odd
            writer.close()
            judged, (_, _, received, _) = here.judge.seen[-1], here.upstream.requests[-1]
            assert {name: judged.get(name) for name in ("x-a", "x-c")} == {
                name: received.get(name) for name in ("x-a", "x-c")
            }, odd


@in_loop
async def test_new_addresses_that_were_made_for_an_older_catalogue_do_not_bring_it_back(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        late = here.documents(here.catalogue())
        await here.reload(here.catalogue({"new": Service(owner="x", endpoints={"here": here.endpoint("http")})}))
        await here.envoy.update(late)
        assert (await ask(here, "/new/x", "new/here"))[0] == 200


@pytest.mark.parametrize(
    ("method", "hold", "longer", "status"),
    [
        ("POST", 1.5, 0.0, 504),  # any call has but its second
        ("POST", 1.5, 5.0, 200),
        ("GET", 1.5, 5.0, 200),
        ("POST", 1.5, 1.2, 504),  # and a held one what was asked for
        ("POST", 1.5, 4000.0, 504),  # more than an hour is not heard
        ("POST", 3.0, 5.0, 200),  # a body that is there ends the time for a whole request
        ("GET", 3.0, 5.0, 504),  # without one it goes on
    ],
)
@in_loop
async def test_envoy_waits_longer_where_it_is_asked_to_and_then_fails_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, hold: float, longer: float, status: int
) -> None:
    """One second a decision, two a request, instead of 15 and 60."""
    monkeypatch.setattr(envoy_listeners, "_JUDGE_SECONDS", 1)
    monkeypatch.setattr(envoy_listeners, "_REQUEST_SECONDS", 2)
    async with world(tmp_path) as here:
        sent = {"x-to": "api/here", "x-hold": str(hold), "x-longer": str(longer)}
        body = b"x" if method == "POST" else None
        async with here.session.request(method, f"{here.base}/api/x", data=body, headers=sent) as response:
            assert response.status == status
        assert len(here.upstream.requests) == (status == 200)
