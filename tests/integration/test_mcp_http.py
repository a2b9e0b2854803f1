"""The official SDK's client and a published server (mcp-server-time), with the egress's own parts between them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fakes.loop import in_loop, until
from fakes.mcp_gate import McpGate, gate_before
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult
from mcp_server_time.server import create_server
from remit.core.answer import Turning
from remit.core.approval import State
from remit.core.catalogue import Service

CLOCK = Service(owner="cx", kind="mcp", operations=("get_current_time",))
MODES = ["auto", "legacy"]
ZONE = {"timezone": "Europe/Berlin"}


def clock(**options: Any) -> Any:
    return create_server("UTC").streamable_http_app(**options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("plain", [False, True], ids=["stream", "json"])
@in_loop
async def test_the_official_client_sees_and_calls_what_it_may(mode: Any, plain: bool) -> None:
    """Of two tools one is listed, and can be called; its arguments are what was decided on."""
    async with gate_before(clock(json_response=plain), CLOCK) as (url, gate), Client(url, mode=mode) as client:
        assert [each.name for each in (await client.list_tools()).tools] == ["get_current_time"]
        told = await client.call_tool("get_current_time", ZONE)
        assert told.structured_content is not None and told.structured_content["timezone"] == "Europe/Berlin"
        assert not told.is_error
        call = calls(gate)[0]
    assert (call.operation, call.arguments, call.usage) == ("get_current_time", ZONE, {"call": 1})
    assert call.properties["protocol"] == ("2026-07-28" if mode == "auto" else "2025-11-25")


@pytest.mark.parametrize("mode", MODES)
@in_loop
async def test_a_refusal_reaches_the_agent_and_leaves_its_session(mode: Any) -> None:
    """The message, Remit's code and the decision arrive; the next call works; the hidden tool is refused as well."""
    async with gate_before(clock(), CLOCK) as (url, gate), Client(url, mode=mode) as client:
        gate.denied["get_current_time"] = "the budget cx-month is spent"
        with pytest.raises(MCPError, match="the budget cx-month is spent") as caught:
            await client.call_tool("get_current_time", ZONE)
        assert caught.value.error.code == 403
        assert caught.value.error.data == {"remit": {"code": "default_deny", "decision": "d1"}}
        with pytest.raises(MCPError, match="there is no convert_time"):
            await client.call_tool("convert_time", {})
        gate.denied.clear()
        assert not (await client.call_tool("get_current_time", ZONE)).is_error


@in_loop
async def test_http_status_says_it_where_clients_bear_it() -> None:
    """403 in the newest version; 200 before, because older clients end their session on any HTTP error."""
    newest = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "convert_time"}
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "convert_time", "_meta": meta}}
    async with gate_before(clock(), CLOCK) as (url, _), httpx2.AsyncClient() as client:
        told = await client.post(url, json=call, headers=newest)
        assert (told.status_code, told.json()["id"], told.json()["error"]["code"]) == (403, 5, 403)
        assert told.headers["remit-decision"] == "d1"
        assert told.headers["x-should-retry"] == "false"
        crossed = await client.post(url, json=call, headers={**newest, "mcp-name": "get_current_time"})
        assert (crossed.status_code, crossed.json()["error"]["code"]) == (400, -32020)
        unspoken = await client.post(url, json=call, headers={**newest, "mcp-protocol-version": "2024-11-05"})
        assert (unspoken.status_code, unspoken.json()["error"]["code"]) == (400, -32022)
        assert unspoken.json()["error"]["data"]["supported"] == ["2025-06-18", "2025-11-25", "2026-07-28"]
        del call["params"]["_meta"]  # type: ignore[attr-defined]
        earlier = await client.post(url, json=call, headers={"mcp-protocol-version": "2025-11-25"})
        assert (earlier.status_code, earlier.json()["id"], earlier.json()["error"]["code"]) == (200, 5, 403)
        batch = await client.post(url, json=[call], headers={"mcp-protocol-version": "2025-11-25"})
        assert batch.json()["error"]["code"] == -32600 and "batch" in batch.json()["error"]["message"]


WAITS = Turning("a1", "access.test", "approval_required", State.PENDING, "lead", (), 1_800_000_000 * 10**9)


@in_loop
async def test_the_official_client_tries_a_held_call_again_until_it_is_let_go() -> None:
    """By itself, as the newest version says: whoever called the tool sees its result alone."""
    async with gate_before(clock(), CLOCK) as (url, gate), Client(url) as client:
        gate.held["get_current_time"] = WAITS
        asking = asyncio.create_task(client.call_tool("get_current_time", ZONE))
        await until(lambda: len(calls(gate)) >= 3)
        gate.held.clear()
        told = await asking
        assert not told.is_error and told.structured_content is not None
    assert len({each.essence for each in calls(gate)}) == 1


@in_loop
async def test_the_official_client_asks_its_people_whether_to_go_on() -> None:
    """Where it can: what they read names the approval; a no ends it as the tool's failure."""
    asked: list[str] = []

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept" if len(asked) < 3 else "decline", content={})

    async with gate_before(clock(), CLOCK) as (url, gate), Client(url, elicitation_callback=answer) as client:
        gate.held["get_current_time"] = WAITS
        told = await client.call_tool("get_current_time", ZONE)
    assert told.is_error and "approval a1" in told.content[0].text  # type: ignore[union-attr]
    assert len(asked) == 3 and all("by lead until 2027-01-15" in each for each in asked)


@pytest.mark.parametrize("mode", MODES)
@in_loop
async def test_a_held_call_ends_as_the_tool_s_failure_and_leaves_the_session(mode: Any) -> None:
    """At once in the older versions, and before its client gives up by itself in the newest."""
    async with gate_before(clock(), CLOCK) as (url, gate), Client(url, mode=mode) as client:
        gate.held["get_current_time"] = WAITS
        told = await client.call_tool("get_current_time", ZONE)
        assert told.is_error and "approval a1" in told.content[0].text  # type: ignore[union-attr]
        gate.held.clear()
        assert not (await client.call_tool("get_current_time", ZONE)).is_error


def calls(gate: McpGate) -> list[Any]:
    return [each for each in gate.seen if each.properties["method"] == "tools/call"]
