"""What an agent sees of a server's tools, however the list comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.catalogue import Service, Variant
from remit.core.egress.mcp_listing import McpResponse, listed_for

ALLOWED = {"read", "search"}
REQUEST = b'{"jsonrpc":"2.0","id":7,"method":"tools/list"}'


def listing(*names: Any, **more: Any) -> dict[str, Any]:
    tools = [{"name": each, "inputSchema": {"type": "object", "maximum": 2**64 - 1, "step": 0.5}} for each in names]
    return {"jsonrpc": "2.0", "id": 7, "result": {"tools": tools, **more}}


def response(kind: str = "application/json", **options: Any) -> McpResponse:
    return McpResponse(ALLOWED.__contains__, content_type=kind, request=REQUEST, **options)


def through(reader: McpResponse, text: bytes, size: int = 10**9) -> bytes:
    parts = [reader.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return b"".join([*parts, reader.end()])


def shown(text: bytes) -> list[str]:
    return [each["name"] for each in json.loads(text)["result"]["tools"]]


def events(text: bytes) -> list[dict[str, Any]]:
    """What an event stream's reader sees: by the letter of the HTML standard, for lines that end in \\n."""
    found = [
        "\n".join(line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:"))
        for event in text.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n")
    ]
    return [json.loads(each) for each in found if each.strip()]


def test_only_allowed_tools_are_shown() -> None:
    """What else the result says stays; a list that depends on the agent is not for a shared cache."""
    given = listing("read", "delete", "search", nextCursor="c", ttlMs=5, cacheScope="public")
    found = json.loads(through(response("application/json; charset=utf-8"), json.dumps(given).encode()))
    assert [each["name"] for each in found["result"].pop("tools")] == ["read", "search"]
    assert found == {"jsonrpc": "2.0", "id": 7, "result": {"nextCursor": "c", "ttlMs": 5, "cacheScope": "private"}}


def test_a_list_without_others_is_passed_to_the_byte() -> None:
    """Nothing is rewritten that need not be."""
    text = json.dumps(listing("read", "search"), indent=3).encode()
    assert through(response(), text) == text


@pytest.mark.parametrize("given", ["x", None, 3, {"name": "delete"}])
def test_a_tool_without_an_allowed_name_is_not_shown(given: Any) -> None:
    """A name that is no text, a tool that is no object, a second name in other letters: all out."""
    tools = [given if isinstance(given, dict) else {"name": given}, {"name": "read", "Name": "delete"}, given]
    message = {"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}}
    assert shown(through(response(), json.dumps(message).encode())) == []


def test_keys_that_some_clients_match_without_case_are_filtered() -> None:
    """`Tools` is a list of tools to a client that does not look at case."""
    message = {"jsonrpc": "2.0", "id": 7, "result": {"Tools": [{"Name": "delete"}]}}
    assert json.loads(through(response(), json.dumps(message).encode()))["result"] == {"Tools": []}


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b'{"jsonrpc":"2.0","id":7,"result":{"tools":{"name":"delete"}}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"tools":[],"tools":[{"name":"delete"}]}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"delete","x":NaN}]}}',
        b"[" * 100_000,
        b"x" * 5_000_000,
    ],
    ids=["broken", "no list", "twice", "NaN", "deep", "too long"],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_list_that_cannot_be_read_is_an_error(kind: str, text: bytes) -> None:
    """It is answered in the protocol's shape, and nothing of it is passed."""
    sent = text if kind == "application/json" else b"event: message\ndata: " + text + b"\n\n"
    out = through(response(kind), sent, 65536)
    told = json.loads(out) if kind == "application/json" else events(out)[-1]
    assert (told["id"], told["error"]["code"]) == (7, -32603)
    assert b"delete" not in out


def test_an_encoded_list_is_an_error() -> None:
    """What cannot be looked into is not passed."""
    out = through(response(content_encoding="gzip"), b"\x1f\x8b")
    assert "encoded" in json.loads(out)["error"]["message"]


def test_other_content_passes() -> None:
    """A client takes tools from JSON and event streams alone."""
    assert through(response("text/html"), b"<html>") == b"<html>"


@given(
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    size=st.integers(1, 40),
    mark=st.booleans(),
    split=st.booleans(),
)
def test_an_event_stream_is_filtered_however_it_is_cut(ends: str, size: int, mark: bool, split: bool) -> None:
    """Any line end, any chunk size, a byte order mark, a message over several data lines."""
    told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "tools"}}
    text = json.dumps(listing("read", "delete"), indent=1 if split else None)
    lines = [": comment", "", "id: 1", "data:", "", "event: message", f"data: {json.dumps(told)}", "", "id: 2"]
    stream = ends.join([*lines, *(f"data: {each}" for each in text.split("\n")), "", ""])
    reader = response("text/event-stream")
    out = through(reader, (b"\xef\xbb\xbf" if mark else b"") + stream.encode(), size)
    assert b"delete" not in out
    assert [each.get("method", "list") for each in events(out)] == ["notifications/message", "list"]
    assert [each["name"] for each in events(out)[1]["result"]["tools"]] == ["read"]
    assert b"id: 2" in out and reader.hidden == 1


def test_events_pass_as_soon_as_they_are_complete() -> None:
    """A stream is not held until its end."""
    reader = response("text/event-stream")
    assert reader.feed(b"data: {}\n") == b""
    assert reader.feed(b"\ndata: ") == b"data: {}\n\n"
    assert reader.end() == b""


def test_who_sees_which_tools_is_the_catalogues_word() -> None:
    """Operations, variants, roles and purposes, as far as the service names any."""
    anybody: dict[str, Any] = {"roles": (), "purposes": ()}
    assert listed_for(Service(), **anybody)("x")
    assert not listed_for(Service(operations=("a",)), **anybody)("x")
    assert not listed_for(Service(operations=("a", "b"), variants={"a": Variant()}), **anybody)("b")
    assert not listed_for(Service(roles=("r",)), **anybody)("x")
    assert listed_for(Service(roles=("r",), purposes=("p",)), roles={"r"}, purposes=("p", "q"))("x")
    assert not listed_for(Service(roles=("r",), purposes=("p",)), roles={"r"}, purposes=("q",))("x")
