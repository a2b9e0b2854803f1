"""MCP through the real egress: the official client, a published server (mcp-server-time), Envoy and OPA."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import httpx2
import pytest
import uvicorn
from fakes.loop import in_loop
from fakes.mcp_gate import listening
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from mcp.types import ElicitRequestParams, ElicitResult
from mcp_server_time.server import create_server
from pydantic import BaseModel
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row

pytestmark = pytest.mark.opa

MODES = ["auto", "legacy"]
ZONE = {"timezone": "Europe/Berlin"}
SECRET = "the-servers-own-key-0123456789"
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
AGENTS = ("reader", "tainted", "halted", "guest")
CATALOGUE = """\
currency: EUR
teams: {cx: {}}
agents:
AGENTS
services:
  clock:
    owner: cx
    kind: mcp
    roles: [staff]
    endpoints: {here: {url: "URL/clock/mcp"}}
    credentials: [{file: ./clock.key}]
    operations: [get_current_time]
    returns: [untrusted]
    clearance: [untrusted]
  desk:
    owner: cx
    kind: mcp
    endpoints: {here: {url: "URL/desk/mcp"}}
    operations: [book, client.response]
    clearance: [untrusted]
  closed:
    owner: cx
    kind: mcp
    endpoints: {here: {url: "URL/desk/mcp"}}
prices: [{match: "*/*", unit: call, amount: 0, currency: EUR}]
"""


class Who(BaseModel):
    """What the desk asks its client for."""

    name: str


async def ask_who() -> Elicit[Who]:
    """What has to be known before a table is booked."""
    return Elicit("for whom?", Who)


def desk() -> MCPServer:
    """A server that asks back."""
    server = MCPServer("desk")

    @server.tool()
    async def book(who: Annotated[Who, Resolve(ask_who)]) -> str:
        """Books a table."""
        return f"booked: {who.name}"

    return server


@dataclass
class Upstream:
    """Both servers below one address, and the requests that reached them."""

    url: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.seen.append((scope["method"], scope["path"], headers))
        await self.app(scope, receive, send)

    def __post_init__(self) -> None:
        clock = create_server("UTC").streamable_http_app(streamable_http_path="/clock/mcp")
        tables = desk().streamable_http_app(streamable_http_path="/desk/mcp")
        clock.router.routes.extend(tables.router.routes)
        inner = clock.router.lifespan_context

        @asynccontextmanager
        async def both(app: Any) -> AsyncIterator[Any]:
            async with inner(app), tables.router.lifespan_context(app):
                yield

        clock.router.lifespan_context = both
        self.app = clock


@contextmanager
def upstream_in_thread() -> Iterator[Upstream]:
    found = Upstream()
    with listening() as (port, socket):
        found.url = f"http://127.0.0.1:{port}"
        server = uvicorn.Server(uvicorn.Config(found, log_level="error", timeout_graceful_shutdown=1))
        thread = Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield found
        finally:
            server.should_exit = True
            thread.join(20)


@dataclass
class Egress:
    """A running sidecar with its egress."""

    place: Path
    url: str
    upstream: Upstream

    @asynccontextmanager
    async def client(self, agent: str, service: str = "clock", **options: Any) -> AsyncIterator[Client]:
        """The official client, as an agent."""
        async with (
            httpx2.AsyncClient(headers={"remit-token": f"token-{agent}"}, timeout=30) as http,
            Client(streamable_http_client(f"{self.url}/mcp/{service}", http_client=http), **options) as client,
        ):
            yield client

    def remit(self, *arguments: str) -> None:
        """A command as the operator."""
        subprocess.run([*REMIT, *arguments], cwd=self.place, check=True, capture_output=True)

    def decisions(self, operation: str) -> list[Entry]:
        """Recorded decisions on an operation."""
        with open_journal(self.place / ".remit" / "state.db") as journal:
            entries = [from_row(row) for row in journal.rows()]
        return [each for each in entries if each.kind == "decision" and operation in json.dumps(each.body["resource"])]


@pytest.fixture(scope="module")
def egress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Egress]:
    place = tmp_path_factory.mktemp("mcp")
    listed = "\n".join(
        f"  {name}: {{team: cx, roles: [{'guest' if name == 'guest' else 'staff'}], clearance: [untrusted], "
        f'identity: {{token_hash: "sha256:{sha256(f"token-{name}".encode()).hexdigest()}"}}}}'
        for name in AGENTS
    )
    (place / "clock.key").write_text(SECRET)
    (place / "clock.key").chmod(0o600)
    with upstream_in_thread() as upstream:
        (place / "remit.yaml").write_text(CATALOGUE.replace("AGENTS", listed).replace("URL", upstream.url))
        with (place / "up.log").open("w") as log, started(place, log) as line:
            assert line, (place / "up.log").read_text()
            named = next(each for each in json.loads(line)["addresses"] if each.startswith("egress "))
            yield Egress(place, named.removeprefix("egress "), upstream)


@contextmanager
def started(place: Path, log: Any) -> Iterator[str]:
    """`remit up` with its egress: what it says when it is ready. It must end well."""
    with listening() as (port, _):
        pass
    ports = ["--egress-http", f"127.0.0.1:{port}", "--egress-proxy", "off", "--grpc", "127.0.0.1:0"]
    command = [*REMIT, "up", "--json", "--egress", "--socket", "off", "--http", "off", *ports]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, (place / "up.log").read_text()


@pytest.mark.parametrize("mode", MODES)
@in_loop
async def test_an_agent_sees_and_calls_what_it_may(egress: Egress, mode: Any) -> None:
    """One of two tools is listed and can be called; the other is refused, and the session goes on."""
    async with egress.client("reader", mode=mode) as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["get_current_time"]
        with pytest.raises(MCPError, match=r"unknown_resource|no_owner") as caught:
            await client.call_tool(
                "convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "UTC"}
            )
        assert caught.value.error.code == 403 and caught.value.error.data["remit"]["decision"].startswith("d_")
        told = await client.call_tool("get_current_time", ZONE)
    assert told.structured_content is not None and told.structured_content["timezone"] == "Europe/Berlin"
    assert egress.decisions("get_current_time")[-1].body["action"] == "tool.call"


@in_loop
async def test_the_server_gets_its_credential_and_nothing_of_the_agents(egress: Egress) -> None:
    """The key is added after ALLOW; no token and no header of Remit's goes on."""
    start = len(egress.upstream.seen)
    async with egress.client("reader") as client:
        await client.call_tool("get_current_time", ZONE)
    reached = egress.upstream.seen[start:]
    assert {path for _, path, _ in reached} == {"/clock/mcp"}
    assert all(headers["authorization"] == f"Bearer {SECRET}" for _, _, headers in reached)
    assert not [name for _, _, headers in reached for name in headers if name.startswith(("remit-", "x-remit"))]
    assert "token-reader" not in json.dumps(reached)


@in_loop
async def test_headers_that_disagree_reach_nobody(egress: Egress) -> None:
    """The protocol's own error, and nothing upstream."""
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    call = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "convert_time", "_meta": meta}}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "get_current_time"}
    start = len(egress.upstream.seen)
    async with httpx2.AsyncClient(headers={"remit-token": "token-reader"}) as http:
        told = await http.post(f"{egress.url}/mcp/clock", json=call, headers=headers)
        assert (told.status_code, told.json()["id"], told.json()["error"]["code"]) == (400, 3, -32020)
        batch = await http.post(f"{egress.url}/mcp/clock", json=[call], headers=headers)
        assert (batch.status_code, batch.json()["error"]["code"]) == (400, -32600)
        nobody = await http.post(f"{egress.url}/mcp/clock", json=call, headers={"remit-token": "wrong", **headers})
        assert nobody.status_code == 401
    assert egress.upstream.seen[start:] == []


@pytest.mark.parametrize("mode", MODES)
@in_loop
async def test_who_has_no_role_gets_no_connection(egress: Egress, mode: Any) -> None:
    """The official client reports the refusal itself."""
    with pytest.raises(BaseExceptionGroup) as caught:
        async with egress.client("guest", mode=mode):
            pass
    assert "role_not_granted" in repr(leaves(caught.value))


@in_loop
async def test_a_halt_stops_the_next_call(egress: Egress) -> None:
    """In the middle of a session; it goes on after the halt."""
    async with egress.client("halted") as client:
        assert not (await client.call_tool("get_current_time", ZONE)).is_error
        egress.remit("halt", "--agent", "halted", "--reason", "test")
        with pytest.raises(MCPError, match="halted"):
            await client.call_tool("get_current_time", ZONE)
        egress.remit("resume", "--agent", "halted", "--reason", "test")
        assert not (await client.call_tool("get_current_time", ZONE)).is_error


@in_loop
async def test_results_carry_the_servers_labels(egress: Egress) -> None:
    """Who has read what the clock says may not call a server that does not accept it."""
    async with egress.client("tainted", "closed") as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["book"]
    async with egress.client("tainted") as client:
        await client.call_tool("get_current_time", ZONE)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with egress.client("tainted", "closed"):
            pass
    assert "flow_label_exceeds_clearance" in repr(leaves(caught.value))


@pytest.mark.parametrize("mode", MODES)
@in_loop
async def test_a_server_that_asks_back_is_answered(egress: Egress, mode: Any) -> None:
    """In the newest version with the call that is sent again, before with a message of its own: both are decided."""

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ana"})

    async with egress.client("reader", "desk", mode=mode, elicitation_callback=answer) as client:
        told = await client.call_tool("book", {})
    assert [each.text for each in told.content if each.type == "text"] == ["booked: Ana"]
    if mode == "legacy":
        assert egress.decisions("client.response")


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group."""
    return (
        [leaf for each in error.exceptions for leaf in leaves(each)]
        if isinstance(error, BaseExceptionGroup)
        else [error]
    )
