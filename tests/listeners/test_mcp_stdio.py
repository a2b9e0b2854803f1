"""The relay for MCP over standard streams: what goes on, in which order, and what is told afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes.loop import in_loop, until
from remit.core.answer import Turning
from remit.core.approval import State
from remit.core.egress.mcp_resume import RETRY_WAIT_SECONDS
from remit.core.egress.turning import Turned
from remit.listeners.mcp_stdio import MAX_ASKING, MAX_WAITING, Question, Refused, Relay, TooLong

READ = {"name": "read"}
ON = Turned((Turning("a1", "access.test", "approval_required", State.PENDING, "lead", (), 1_800_000_000 * 10**9),))
NEWEST = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


@dataclass
class Told:
    """A permission that keeps how it ended."""

    question: Question
    ended: list[str] = field(default_factory=list)

    async def succeeded(self) -> None:
        self.ended.append("succeeded")

    async def failed(self, why: str) -> None:
        self.ended.append(f"failed: {why}")


@dataclass
class GateFake:
    """Allows all but what is denied, as soon as it is open."""

    denied: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[Question] = field(default_factory=list)
    given: list[Told] = field(default_factory=list)
    cancelled: int = 0

    async def ask(self, question: Question) -> Told:
        self.asked.append(question)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if question.operation in self.held:
            raise Refused("remit: it waits", status=403, code="approval_required", decision="d1", turned=ON)
        if question.operation in self.denied:
            raise Refused("remit: no", status=403, code="default_deny", decision="d1")
        self.given.append(Told(question))
        return self.given[-1]


@dataclass
class Between:
    """A relay with a client and a server that a test plays."""

    relay: Relay
    gate: GateFake
    to_server: list[Any] = field(default_factory=list)
    to_client: list[Any] = field(default_factory=list)
    client: asyncio.StreamReader = field(default_factory=lambda: asyncio.StreamReader(limit=4 << 20))
    server: asyncio.StreamReader = field(default_factory=lambda: asyncio.StreamReader(limit=4 << 20))

    def say(self, method: str, params: Any = None, id: Any = None) -> None:
        """The client says something."""
        message = {"jsonrpc": "2.0", "method": method, **({"id": id} if id is not None else {})}
        self.client.feed_data(json.dumps(message | ({"params": params} if params else {})).encode() + b"\n")

    def answer(self, id: Any, **more: Any) -> None:
        """The server says something."""
        self.server.feed_data(json.dumps({"jsonrpc": "2.0", "id": id, **more}).encode() + b"\n")


@asynccontextmanager
async def between(
    *denied: str, opened: bool = True, variants: frozenset[str] = frozenset(), wait: int = 0
) -> AsyncIterator[Between]:
    gate = GateFake(set(denied))
    if opened:
        gate.open.set()
    to_server: list[Any] = []
    to_client: list[Any] = []

    async def server(line: bytes) -> None:
        to_server.append(json.loads(line))

    async def client(line: bytes) -> None:
        to_client.append(json.loads(line))

    relay = Relay(
        gate, lambda tool: tool not in denied, to_server=server, to_client=client, variants=variants, wait=wait
    )
    found = Between(relay, gate, to_server, to_client)
    pumps = [asyncio.create_task(relay.from_client(found.client)), asyncio.create_task(relay.from_server(found.server))]
    try:
        yield found
    finally:
        for each in (found.client, found.server):
            if each.exception() is None:
                each.feed_eof()
        await asyncio.gather(*pumps, return_exceptions=True)
        await relay.finish("over")


@in_loop
async def test_a_call_is_asked_for_before_it_goes_on_and_told_after() -> None:
    """The question has the tool, its arguments and its variant; the answer ends the permission."""
    async with between(opened=False, variants=frozenset({"read"})) as it:
        it.say("tools/call", {"name": "read", "arguments": {"n": 1}}, 1)
        await until(lambda: bool(it.gate.asked))
        assert it.gate.asked == [Question("tool.call", "read", {"n": 1}, "read")]
        assert it.to_server == []
        it.gate.open.set()
        await until(lambda: bool(it.to_server))
        assert it.gate.given[0].ended == []
        it.answer(1, result={"content": []})
        await until(lambda: bool(it.gate.given[0].ended))
        assert it.gate.given[0].ended == ["succeeded"]
        assert it.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}]


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        ({"error": {"code": 1, "message": "x"}}, "failed: an error of the server's"),
        ({"result": {"content": [], "isError": True}}, "failed: the tool failed"),
    ],
)
@in_loop
async def test_a_call_that_failed_is_told_so(answer: dict[str, Any], ended: str) -> None:
    """An error of the protocol's and one of the tool's."""
    async with between() as it:
        it.say("tools/call", READ, "a")
        await until(lambda: bool(it.to_server))
        it.answer("a", **answer)
        await until(lambda: bool(it.gate.given[0].ended))
        assert it.gate.given[0].ended == [ended]


@in_loop
async def test_what_is_denied_never_reaches_the_server() -> None:
    """A tool, a resource, and an answer to the server; the client hears why."""
    async with between("delete", "resources/read", "client.response") as it:
        it.say("tools/call", {"name": "delete"}, 1)
        it.say("resources/read", {"uri": "file:///x"}, 2)
        it.client.feed_data(b'{"jsonrpc":"2.0","id":9,"result":{}}\n')
        await until(lambda: len(it.gate.asked) == 3 and len(it.to_client) == 2)
        assert it.to_server == []
        error = {"code": 403, "message": "remit: no", "data": {"remit": {"code": "default_deny", "decision": "d1"}}}
        assert it.to_client == [{"jsonrpc": "2.0", "id": id, "error": error} for id in (1, 2)]


@in_loop
async def test_plumbing_and_lists_pass_while_a_decision_is_awaited() -> None:
    """One slow decision holds up nothing else, and the list is filtered."""
    async with between("delete", opened=False) as it:
        it.say("tools/call", READ, 1)
        it.say("tools/list", None, 2)
        await until(lambda: bool(it.to_server))
        assert [each["method"] for each in it.to_server] == ["tools/list"]
        it.answer(2, result={"tools": [{"name": "read"}, {"name": "delete"}]})
        await until(lambda: bool(it.to_client))
        assert it.to_client[0]["result"]["tools"] == [{"name": "read"}]


@in_loop
async def test_a_call_that_is_cancelled_while_it_waits_is_never_sent() -> None:
    """Nor is the server told to cancel what it does not know."""
    async with between(opened=False) as it:
        it.say("tools/call", READ, 1)
        await until(lambda: bool(it.gate.asked))
        it.say("notifications/cancelled", {"requestId": 1})
        await until(lambda: it.gate.cancelled == 1)
        it.gate.open.set()
        it.say("ping", None, 2)
        await until(lambda: bool(it.to_server))
        assert [each["method"] for each in it.to_server] == ["ping"]


@in_loop
async def test_a_call_that_is_cancelled_afterwards_has_failed() -> None:
    """The server hears of it, the permission ends at once."""
    async with between() as it:
        it.say("tools/call", READ, 1)
        await until(lambda: bool(it.to_server))
        it.say("notifications/cancelled", {"requestId": 1})
        await until(lambda: len(it.to_server) == 2)
        assert it.gate.given[0].ended == ["failed: cancelled"]


@in_loop
async def test_calls_that_are_under_way_at_the_end_have_failed() -> None:
    """No permission is left without an end."""
    async with between() as it:
        it.say("tools/call", READ, 1)
        await until(lambda: bool(it.to_server))
        told = it.gate.given[0]
    assert told.ended == ["failed: over"]


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}]', None),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', None),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/run"}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","Name":"delete"}}', 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"x","params":{"name":"read"}}', 1),
        (b"tools/call", None),
    ],
)
@in_loop
async def test_what_could_be_read_in_two_ways_is_refused(line: bytes, id: Any) -> None:
    """The client gets an error, the server nothing, and nobody is asked."""
    async with between() as it:
        it.client.feed_data(line + b"\n")
        await until(lambda: bool(it.to_client))
        assert (it.to_client[0]["id"], it.to_server, it.gate.asked) == (id, [], [])


@in_loop
async def test_an_id_that_is_under_way_is_not_taken_again() -> None:
    """An answer must end the permission that it belongs to."""
    async with between(opened=False) as it:
        it.say("tools/call", READ, 1)
        it.say("tools/call", {"name": "write"}, 1)
        await until(lambda: bool(it.to_client))
        assert "under way" in it.to_client[0]["error"]["message"]
        assert len(it.gate.asked) == 1


@in_loop
async def test_what_a_server_says_that_is_no_message_is_left_out() -> None:
    """A log line on standard output does not end the session."""
    async with between() as it:
        it.server.feed_data(b"Listening on stdio\n\n")
        it.answer(1, result={})
        await until(lambda: bool(it.to_client))
        assert it.to_client == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


@in_loop
async def test_questions_are_bounded() -> None:
    """A client that asks for more at once is not read until there is room."""
    async with between(opened=False) as it:
        for number in range(MAX_ASKING + 10):
            it.say("tools/call", READ, number)
        await until(lambda: len(it.gate.asked) == MAX_ASKING)
        it.gate.open.set()
        await until(lambda: len(it.to_server) == MAX_ASKING + 10)


@in_loop
async def test_a_line_without_an_end_is_refused() -> None:
    """Either side."""
    async with between() as it:
        reader = asyncio.StreamReader(limit=4 << 20)
        reader.feed_data(b"x" * (5 << 20))
        reader.feed_eof()
        with pytest.raises(TooLong, match="the client"):
            await it.relay.from_client(reader)


@in_loop
async def test_a_held_call_is_answered_in_the_words_of_its_client_s_version() -> None:
    """By a failure of the tool's before 2026-07-28; nothing reaches the server."""
    async with between() as it:
        it.gate.held = {"read", "resources/read"}
        it.say("tools/call", READ, 1)
        it.say("tools/call", {**READ, **NEWEST}, 2)
        it.say("resources/read", {"uri": "file:///x"}, 3)
        await until(lambda: len(it.to_client) == 3)
        told = {each["id"]: each for each in it.to_client}
        assert told[1]["result"]["isError"] is True and told[1]["result"]["content"][0]["text"] == "remit: it waits"
        assert told[2]["result"]["resultType"] == "input_required"
        assert told[3]["error"]["data"]["remit"]["approvals"][0]["id"] == "a1"
        assert it.to_server == []


@in_loop
async def test_a_held_call_that_is_tried_again_is_the_same_and_may_wait() -> None:
    """Nothing of Remit's reaches the server; an own state of the server's comes back to it."""
    async with between() as it:
        it.gate.held = {"read"}
        said = {**READ, **NEWEST, "arguments": {"n": 1}, "requestState": "of-the-server"}
        it.say("tools/call", said, 1)
        await until(lambda: bool(it.to_client))
        it.gate.held.clear()
        it.say("tools/call", {**said, "requestState": it.to_client[0]["result"]["requestState"]}, 2)
        await until(lambda: bool(it.to_server))
        first, second = it.gate.asked
        assert (first.arguments, first.wait, second.wait) == (second.arguments, 0, RETRY_WAIT_SECONDS)
        assert it.to_server[0]["params"] == said


@in_loop
async def test_so_many_calls_wait_and_all_are_asked_for() -> None:
    """Those beyond do not wait, so that the client is read on."""
    async with between(opened=False, wait=60) as it:
        for number in range(MAX_WAITING + 3):
            it.say("tools/call", READ, number)
        await until(lambda: len(it.gate.asked) == MAX_WAITING + 3)
        assert [each.wait for each in it.gate.asked] == [60] * MAX_WAITING + [0] * 3
        it.say("notifications/cancelled", {"requestId": 0})
        await until(lambda: it.gate.cancelled == 1)
        it.say("tools/call", READ, "next")
        await until(lambda: len(it.gate.asked) == MAX_WAITING + 4)
        assert it.gate.asked[-1].wait == 60


@in_loop
async def test_an_id_beyond_every_reader_is_refused_without_it() -> None:
    async with between() as it:
        it.client.feed_data(b'{"jsonrpc":"2.0","id":' + b"9" * 40 + b',"method":"tools/call","params":{}}\n')
        await until(lambda: bool(it.to_client))
        assert it.to_client[0]["id"] is None and it.to_server == []
