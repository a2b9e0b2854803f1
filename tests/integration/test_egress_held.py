"""Held calls through a real Envoy, OPA and store: refused with their approval, kept open, let go, and used once.

Official clients (OpenAI, Anthropic, MCP) in front, upstreams that keep what reached them behind.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from fakes.governed import REMIT, tool_server
from fakes.loop import in_loop, until
from fakes.official import anthropic, openai
from fakes.ports import free_port
from fakes.provider import KEYS, Provider, provider
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from remit.backends.store_sqlite import open_journal
from remit.cli.records import Entry, from_row
from remit.v1 import oversight_pb2, oversight_pb2_grpc, resources_pb2

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

TOKENS = {name: f"rmt_of_{name}_in_the_tests" for name in ("support", "ana")}
CATALOGUE = """\
currency: EUR
teams: {cx: {}}
people: {ana: {roles: [approver], identity: {token_hash: "sha256:HASH_ana"}}}
agents:
  support: {team: cx, purposes: [support], identity: {token_hash: "sha256:HASH_support"}}
services:
  openai:
    owner: cx
    kind: openai
    endpoints: {here: {url: "PROVIDER"}}
    credentials: [{file: openai.key}]
    variants: {small: {}, large: {cheaper: small, approval: {roles: [approver], bind: exact}}}
  anthropic:
    owner: cx
    kind: anthropic
    endpoints: {here: {url: "PROVIDER"}}
    credentials: [{file: anthropic.key}]
    variants: {large: {approval: {roles: [approver], bind: exact}}}
  tools:
    owner: cx
    kind: mcp
    endpoints: {here: {url: "TOOLS"}}
    variants: {add: {approval: {roles: [approver], bind: exact}}}
prices:
  - {match: "openai/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "openai/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
  - {match: "anthropic/*", unit: input_token, per: 1_000_000, amount: 2, currency: EUR}
  - {match: "anthropic/*", unit: output_token, per: 1_000_000, amount: 8, currency: EUR}
  - {match: "tools/*", unit: call, amount: 0, currency: EUR}
"""
APPROVE, DENY = resources_pb2.APPROVAL_VERDICT_APPROVE, resources_pb2.APPROVAL_VERDICT_DENY
PATIENCE = 20.0


@dataclass
class Held:
    """A sidecar whose dear variants wait for ana."""

    place: Path
    egress: int
    grpc: int
    upstream: Provider
    process: subprocess.Popen[str] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.egress}"

    def openai(self, **headers: str) -> openai.AsyncOpenAI:
        """The official client, with its usual retries."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return openai.AsyncOpenAI(
            base_url=f"{self.base}/openai/v1", api_key=TOKENS["support"], timeout=60, default_headers=named
        )

    def arrived(self, text: str) -> int:
        """How many requests with this text reached the upstream."""
        return sum(text in json.dumps(each.body) for each in self.upstream.requests)

    def decisions(self) -> list[Entry]:
        with open_journal(self.place / ".remit" / "state.db") as journal:
            entries = [from_row(row) for row in journal.rows()]
        return [each for each in entries if each.kind == "decision"]

    async def resolve(self, id: str, verdict: Any = APPROVE) -> None:
        """Ana says what she thinks of an approval."""
        async with self._oversight() as oversight:
            said = oversight_pb2.ResolveApprovalRequest(approval=id, verdict=verdict, reason="for a test")
            answer = await oversight.ResolveApproval(said)
        assert answer.decision.effect == resources_pb2.EFFECT_ALLOW, answer

    async def pending(self) -> str:
        """The id of what waits, once something does."""
        async with self._oversight() as oversight, asyncio.timeout(PATIENCE):
            while True:
                listed = await oversight.ListApprovals(oversight_pb2.ListApprovalsRequest())
                if listed.approvals:
                    return str(listed.approvals[0].id)
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _oversight(self) -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            yield _As(oversight_pb2_grpc.OversightStub(channel))


class _As:
    """A stub whose calls are ana's."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._stub, name)
        return lambda request: call(request, metadata=(("authorization", f"Bearer {TOKENS['ana']}"),))


@contextmanager
def sidecar(place: Path, upstream: Provider, tools: str) -> Iterator[Held]:
    text = CATALOGUE.replace("PROVIDER", upstream.url).replace("TOOLS", tools)
    for name, token in TOKENS.items():
        text = text.replace(f"HASH_{name}", sha256(token.encode()).hexdigest())
    (place / "remit.yaml").write_text(text)
    for name in ("openai", "anthropic"):
        (place / f"{name}.key").write_text(KEYS[name])
        (place / f"{name}.key").chmod(0o600)
    made = Held(place, free_port(), free_port(), upstream)
    listen = ["--grpc", f"127.0.0.1:{made.grpc}", "--http", "off", "--socket", "off"]
    listen += ["--egress-http", f"127.0.0.1:{made.egress}", "--egress-proxy", "off"]
    with (
        (place / "up.log").open("w") as log,
        subprocess.Popen(
            [*REMIT, "up", "--egress", "--json", *listen], cwd=place, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), (place / "up.log").read_text()
            made.process = process
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, (place / "up.log").read_text()


@pytest.fixture(name="held", scope="module")
def _held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with (
        provider() as upstream,
        tool_server(free_port()) as tools,
        sidecar(tmp_path_factory.mktemp("held"), upstream, tools) as made,
    ):
        yield made


async def chat(client: openai.AsyncOpenAI, text: str, model: str = "large") -> str:
    """What the model says to this."""
    said = await client.chat.completions.create(
        model=model, max_tokens=60, messages=[{"role": "user", "content": text}]
    )
    return said.choices[0].message.content or ""


@in_loop
async def test_refused_with_its_approval_then_approved_then_the_same_request_goes_out_once(held: Held) -> None:
    """Another request in between does not; after its one use it is held anew."""
    async with held.openai() as client:
        before = len(held.decisions())
        with pytest.raises(openai.PermissionDeniedError, match="waits for approval by people with the role appr") as no:
            await chat(client, "first")
        assert len(held.decisions()) == before + 1, "it was tried again by itself"
        error, headers = no.value, no.value.response.headers
        assert (error.status_code, error.code) == (403, "approval_required")
        assert headers["remit-decision"].startswith("d_") and headers["x-should-retry"] == "false"
        id = headers["remit-approval"]
        assert error.body["remit"]["approvals"][0]["id"] == id  # type: ignore[index]
        assert id in error.message and "Cheaper: small." in error.message and held.arrived("first") == 0

        await held.resolve(id)
        with pytest.raises(openai.PermissionDeniedError, match="approval_required"):
            await chat(client, "first, and all the money")
        assert await chat(client, "first") == "All is well."
        assert (held.arrived('"first"'), held.arrived("money")) == (1, 0)

        with pytest.raises(openai.PermissionDeniedError, match="approval_required") as again:
            await chat(client, "first")
        await held.resolve(again.value.response.headers["remit-approval"], DENY)


@in_loop
async def test_a_call_that_waits_is_kept_open_beyond_envoy_s_own_time_and_goes_out_when_approved(held: Held) -> None:
    """Somebody approves by gRPC after longer than any decision may take; others go on meanwhile."""
    async with held.openai(remit_wait="60") as client:
        asking = asyncio.ensure_future(chat(client, "patiently"))
        id = await held.pending()
        async with held.openai() as other:
            assert await chat(other, "meanwhile", "small") == "All is well."
        await asyncio.sleep(16)
        assert not asking.done() and held.arrived("patiently") == 0
        await held.resolve(id)
        async with asyncio.timeout(5):
            assert await asking == "All is well."
    assert held.arrived("patiently") == 1


@in_loop
async def test_a_no_ends_a_wait_and_stands_for_the_next_try(held: Held) -> None:
    """Both refusals say what they rest on."""
    async with held.openai(remit_wait="60") as client:
        asking = asyncio.ensure_future(chat(client, "denied"))
        id = await held.pending()
        await held.resolve(id, DENY)
        for attempt in (asking, chat(client, "denied")):
            with pytest.raises(openai.PermissionDeniedError, match=f"Approval {id} was denied") as no:
                await attempt
            assert (no.value.code, no.value.response.headers["remit-approval"]) == ("approval_denied", id)
    assert held.arrived("denied") == 0


@in_loop
async def test_a_wait_that_is_over_and_a_caller_that_leaves_use_nothing_up(held: Held) -> None:
    """The next one uses the approval that comes after."""
    async with held.openai(remit_wait="1") as client:
        with pytest.raises(openai.PermissionDeniedError, match="approval_required") as no:
            await chat(client, "too late")
    id = no.value.response.headers["remit-approval"]
    async with held.openai(remit_wait="60") as client:
        decided = len(held.decisions())
        asking = asyncio.ensure_future(chat(client, "too late"))
        await until(lambda: len(held.decisions()) > decided)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(0.5)
    await held.resolve(id)
    await asyncio.sleep(0.5)
    assert held.arrived("too late") == 0
    async with held.openai() as client:
        assert await chat(client, "too late") == "All is well."


@in_loop
async def test_the_other_official_client_hears_the_same(held: Held) -> None:
    """In Anthropic's own error; and then its answer."""
    options: dict[str, Any] = {"base_url": f"{held.base}/anthropic", "api_key": TOKENS["support"], "timeout": 60}
    question: dict[str, Any] = {"model": "large", "max_tokens": 60, "messages": [{"role": "user", "content": "claude"}]}
    async with anthropic.AsyncAnthropic(**options) as client:
        before = len(held.decisions())
        with pytest.raises(anthropic.PermissionDeniedError, match="approval_required") as no:
            await client.messages.create(**question)
        assert len(held.decisions()) == before + 1
        body: Any = no.value.body
        id = no.value.response.headers["remit-approval"]
        assert body["error"]["remit"]["approvals"][0]["id"] == id and body["error"]["type"] == "permission_error"
        await held.resolve(id)
        assert (await client.messages.create(**question)).content[0].text == "All is well."  # type: ignore[union-attr]
    assert held.arrived("claude") == 1


@in_loop
async def test_a_held_tool_is_called_when_it_is_approved_while_its_client_tries_again(held: Held) -> None:
    """By itself in the newest version; with the same call said again before."""
    for mode, numbers in (("auto", {"a": 1, "b": 2}), ("legacy", {"a": 3, "b": 4})):
        async with (
            httpx2.AsyncClient(headers={"remit-token": TOKENS["support"]}, timeout=60) as http,
            Client(streamable_http_client(f"{held.base}/mcp/tools", http_client=http), mode=mode) as client,  # type: ignore[arg-type]
        ):
            asking = asyncio.ensure_future(client.call_tool("add", numbers))
            id = await held.pending()
            if mode == "legacy":
                told = await asking
                assert told.is_error and id in told.content[0].text  # type: ignore[union-attr]
            else:
                await asyncio.sleep(1)
                assert not asking.done()
            await held.resolve(id)
            told = await (client.call_tool("add", numbers) if mode == "legacy" else asking)
            assert not told.is_error and told.content[0].text == str(sum(numbers.values()))  # type: ignore[union-attr]
    tries = [each for each in held.decisions() if each.body["resource"].get("operation") == "add"]
    assert len(tries) <= 6, "it was tried in a hurry"


@in_loop
async def test_whatever_waits_is_answered_when_the_sidecar_stops(tmp_path: Path) -> None:
    """With what it waits for, and at once."""
    with provider() as upstream, sidecar(tmp_path, upstream, "http://127.0.0.1:9/mcp") as made:
        async with made.openai(remit_wait="60") as client:
            asking = asyncio.ensure_future(chat(client.with_options(max_retries=0), "stopped"))
            id = await made.pending()
            assert made.process is not None
            made.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                with pytest.raises(openai.PermissionDeniedError, match=id):
                    await asking
