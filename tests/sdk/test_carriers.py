"""The carriers: the surroundings go to the egress and to nobody else, whichever client sends."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import remit
import requests
from remit.sdk.carriers import Carrier

LIBRARIES = [name for name in ("httpx2", "httpx") if find_spec(name)]
CONTEXT = "eyJhbGciOiJFZERTQSJ9.e30.c2ln"


class Echo(BaseHTTPRequestHandler):
    """Keeps the `Remit-*` headers of each request; /away redirects to another origin, /stream sends two pieces."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ours = {name: value for name, value in self.headers.items() if name.lower().startswith("remit-")}
        self.server.seen.append((self.path, ours))  # type: ignore[attr-defined]
        if self.path.endswith("/away"):
            self.send_response(307)
            self.send_header("Location", self.server.away)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"o")
        self.wfile.write(b"k")

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Server:
    """One of them, on a port of its own."""

    def __init__(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        self.http.seen = []  # type: ignore[attr-defined]
        self.thread = Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def seen(self) -> list[tuple[str, dict[str, str]]]:
        return self.http.seen  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def egress(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("REMIT_EGRESS", server.url)
    monkeypatch.delenv("REMIT_TOKEN", raising=False)
    yield server
    server.close()


@pytest.fixture
def elsewhere(egress: Server) -> Iterator[Server]:
    server = Server()
    egress.http.away = f"{server.url}/taken"  # type: ignore[attr-defined]
    yield server
    server.close()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    return import_module(request.param)


def surroundings(purpose: str = "support") -> Any:
    return remit.workflow(context=CONTEXT, purpose=purpose, reason="ticket 7")


CARRIED = {"Remit-Workflow": CONTEXT, "Remit-Purpose": "support", "Remit-Reason": "ticket%207"}


def same(seen: dict[str, str], expected: dict[str, str]) -> bool:
    return {name.lower(): value for name, value in seen.items()} == {k.lower(): v for k, v in expected.items()}


def test_a_client_carries_the_surroundings_of_each_call(egress: Server, library: Any) -> None:
    """They are those of the call, not of the client's making; outside of any there are none."""
    with remit.httpx_client(library=library) as client:
        client.get(f"{egress.url}/a")
        with surroundings(), remit.actor("summarise"):
            client.get(f"{egress.url}/b")
            with client.stream("POST", f"{egress.url}/c", content=b"x") as response:
                assert b"".join(response.iter_bytes()) == b"ok"

    (_, none), (_, one), (_, streamed) = egress.seen
    assert none == {}
    assert same(one, {**CARRIED, "Remit-Actor": "summarise"})
    assert same(streamed, {**CARRIED, "Remit-Actor": "summarise"})


def test_fifty_tasks_keep_theirs_apart(egress: Server, library: Any) -> None:
    """One client, many workflows at once: headers follow `await`."""

    async def one(client: Any, number: int) -> None:
        with surroundings(f"p{number}"):
            await asyncio.sleep(0)
            await client.get(f"{egress.url}/{number}")

    async def run() -> None:
        async with remit.async_httpx_client(library=library, timeout=30) as client:
            await asyncio.gather(*(one(client, number) for number in range(50)))

    asyncio.run(run())

    assert len(egress.seen) == 50
    assert all(same(ours, {**CARRIED, "Remit-Purpose": f"p{path[1:]}"}) for path, ours in egress.seen)


def test_threads_go_on_in_their_starters_context(egress: Server, library: Any) -> None:
    """A copied context carries into a thread; a bare thread starts without surroundings."""
    with remit.httpx_client(library=library) as client, surroundings():
        threads = [
            Thread(target=contextvars.copy_context().run, args=(client.get, f"{egress.url}/copied")),
            Thread(target=client.get, args=(f"{egress.url}/bare",)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = dict(egress.seen)
    assert same(seen["/copied"], CARRIED)
    assert seen["/bare"] == {}


def test_nobody_else_gets_them(egress: Server, elsewhere: Server, library: Any) -> None:
    """Not another port of the same host, not by redirect, and not even if the caller put them there."""
    with remit.httpx_client(library=library, follow_redirects=True) as client, surroundings():
        client.get(elsewhere.url)
        client.get(elsewhere.url, headers=remit.egress_headers())
        client.get(f"{egress.url}/away")
    with (
        remit.instrument(),
        library.Client(follow_redirects=True) as plain,
        requests.Session() as session,
        surroundings(),
    ):
        for get in (plain.get, session.get):
            get(elsewhere.url)
            get(elsewhere.url, headers=remit.egress_headers())
            get(f"{egress.url}/away")

    assert [ours for _, ours in elsewhere.seen] == [{}] * 9
    assert all(same(ours, CARRIED) for _, ours in egress.seen)
    assert len(egress.seen) == 3


def test_what_the_caller_sets_stays(egress: Server, library: Any) -> None:
    """Once: twice would be refused there."""
    with remit.httpx_client(library=library) as client, surroundings():
        client.get(egress.url, headers={"remit-purpose": "billing"})

    assert same(egress.seen[0][1], {**CARRIED, "Remit-Purpose": "billing"})


def test_a_client_proves_the_agent(egress: Server, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential of the environment goes to the egress on this machine, and crosses no network in clear."""
    monkeypatch.setenv("REMIT_TOKEN", "rmt_mine")
    with remit.httpx_client(library=library) as client:
        client.get(egress.url)
    assert same(egress.seen[0][1], {"Remit-Token": "rmt_mine"})

    far = remit.httpx_client(library=library, egress="http://192.0.2.1:7452")
    request = far.build_request("GET", "http://192.0.2.1:7452/x")
    far.event_hooks["request"][-1](request)
    assert "remit-token" not in request.headers
    far.close()


def test_instrument_reaches_clients_of_others(egress: Server, library: Any) -> None:
    """Those that are there already too: sync, async, and requests. Undone, they send as before."""

    async def awaited() -> None:
        async with library.AsyncClient() as client:
            await client.get(f"{egress.url}/async")

    with library.Client() as client, requests.Session() as session:
        with remit.instrument() as carried, surroundings():
            assert {library.__name__, "requests"} <= set(carried.libraries)
            client.get(egress.url)
            asyncio.run(awaited())
            response = session.post(egress.url, data=b"x")
            assert "Remit-Workflow" not in response.request.headers
            assert len(egress.seen) == 3
            assert all(same(ours, CARRIED) for _, ours in egress.seen)
        with surroundings():
            client.get(egress.url)
            session.get(egress.url)

    assert [ours for _, ours in egress.seen[3:]] == [{}, {}]


def test_instrument_is_on_once() -> None:
    """Twice would hide who undoes it."""
    with remit.instrument() as first:
        with pytest.raises(remit.IllegalState):
            remit.instrument()
        first.undo()
        first.undo()
    remit.instrument().undo()


@pytest.mark.parametrize("egress", ["nowhere", "ftp://127.0.0.1/", ""])
def test_an_egress_is_a_url(egress: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be one is told before anything is sent; "" is none given."""
    monkeypatch.setenv("REMIT_EGRESS", egress)
    if egress:
        with pytest.raises(remit.InvalidRequest):
            remit.instrument()
    else:
        remit.instrument().undo()


def test_importing_remit_instruments_nothing() -> None:
    """Opt-in: the libraries are not even loaded."""
    program = "import remit, sys; print([m for m in ('httpx', 'httpx2', 'requests') if m in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.skipif(not find_spec("opentelemetry"), reason="opentelemetry-api is not installed")
def test_baggage_names_the_surroundings() -> None:
    """Where OpenTelemetry is in use; foreign members stay, and after the block ours are what they were."""
    baggage, context = import_module("opentelemetry.baggage"), import_module("opentelemetry.context")
    foreign = context.attach(baggage.set_baggage("team", "cx"))
    try:
        with surroundings():
            with remit.actor("summarise"):
                assert dict(baggage.get_all()) == {
                    "team": "cx",
                    "remit.workflow": CONTEXT,
                    "remit.purpose": "support",
                    "remit.actor": "summarise",
                }
            assert "remit.actor" not in baggage.get_all()
        assert dict(baggage.get_all()) == {"team": "cx"}
    finally:
        context.detach(foreign)


def test_a_client_to_the_egress_shows_the_token_of_now(tmp_path: Path) -> None:
    """It lives longer than a cluster's token."""
    file = tmp_path / "token"
    file.write_text("first")
    environment = {"REMIT_TOKEN_FILE": str(file), "REMIT_EGRESS": "http://127.0.0.1:7452"}
    carrier = Carrier(credential=True, environment=environment)
    for token in ("first", "second"):
        file.write_text(token)
        headers: dict[str, str] = {}
        carrier.apply("http://127.0.0.1:7452/api/x", headers)
        assert headers["Remit-Token"] == token
