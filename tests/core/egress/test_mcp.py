"""What a request to an MCP server is: the table of cases, and what holds for all of them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.catalogue import Service, Variant
from remit.core.egress.exchange import HttpRequest, Unmapped
from remit.core.egress.kinds.mcp import MAX_ARGUMENTS, action_of, is_plumbing, map_mcp, surroundings
from remit.core.egress.mcp_headers import decoded
from remit.core.egress.mcp_message import OPERATIONS, PLUMBING, McpRefused
from ruamel.yaml import YAML

CASES = YAML(typ="safe").load(Path(__file__).parents[2] / "cases" / "mcp_requests.yaml")
PLUMBING_RULE = Path(__file__).parents[3] / "rego" / "remit" / "lib" / "catalogue" / "catalogue.rego"
SERVICE = Service(owner="cx", kind="mcp", variants={"dear_search": Variant()})


def plain(value: Any) -> Any:
    """YAML's dates as the text that they are."""
    match value:
        case date():
            return value.isoformat()
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list():
            return [plain(each) for each in value]
    return value


def request_of(given: dict[str, Any]) -> HttpRequest:
    given = plain(given)
    headers = given.get("headers", {})
    pairs = [tuple(each) for each in (headers.items() if isinstance(headers, dict) else headers)]
    if not any(name == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "application/json; charset=utf-8"))
    body = given["text"].encode() if "text" in given else json.dumps(given["body"]).encode() if "body" in given else b""
    return HttpRequest(given.get("method", "POST"), "http", "remit", given.get("path", "/"), tuple(pairs), body)


def asked(message: dict[str, Any], version: str = "2025-11-25", **headers: str) -> HttpRequest:
    return request_of({"headers": {"mcp-protocol-version": version, **headers}, "body": message})


@pytest.mark.parametrize("case", CASES, ids=[each["description"] for each in CASES])
def test_a_request_is_what_the_table_says(case: dict[str, Any]) -> None:
    """Mapped to its operation, or refused with the protocol's own code."""
    want = plain(case["want"])
    if "refused" in want:
        with pytest.raises(McpRefused) as caught:
            map_mcp(SERVICE, request_of(case["given"]), attributes={})
        assert [caught.value.rpc, caught.value.status] == want["refused"]
        assert isinstance(caught.value, Unmapped) and caught.value.detail
        return
    mapped = map_mcp(SERVICE, request_of(case["given"]), attributes={})
    found = {"action": action_of(mapped), "plumbing": is_plumbing(mapped)}
    assert {key: found.get(key, getattr(mapped, key, None)) for key in want} == want
    if mapped.body:
        assert json.loads(mapped.body) == json.loads(request_of(case["given"]).body)


def test_arguments_beyond_256_kib_are_refused() -> None:
    """The bound holds for the arguments alone, to the byte."""

    def call(size: int) -> HttpRequest:
        arguments = {"text": "x" * (size - len('{"text":""}'))}
        return asked(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a", "arguments": arguments}}
        )

    assert map_mcp(SERVICE, call(MAX_ARGUMENTS), attributes={}).operation == "a"
    with pytest.raises(McpRefused) as caught:
        map_mcp(SERVICE, call(MAX_ARGUMENTS + 1), attributes={})
    assert caught.value.status == 413


def test_numbers_reach_the_server_as_they_were_judged() -> None:
    """The body that is sent is written from what was read, exactly."""
    text = '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"a","arguments":{"n":0.10}}}'
    mapped = map_mcp(
        SERVICE, request_of({"headers": {"mcp-protocol-version": "2025-11-25"}, "text": text}), attributes={}
    )
    assert mapped.body == text.encode()
    assert str(mapped.arguments["n"]) == "0.10"


def test_policy_names_the_same_plumbing() -> None:
    """The rule's list and the sidecar's are one."""
    text = PLUMBING_RULE.read_text(encoding="utf-8").partition("plumbing if {")[2].partition("operation in {")[2]
    listed = {each.strip().strip('"') for each in text.partition("}")[0].split(",") if each.strip()}
    assert listed == PLUMBING
    assert PLUMBING < OPERATIONS


@given(st.text(max_size=40))
def test_a_wrapped_header_is_the_text_or_nothing(text: str) -> None:
    """Whatever a header says, it is understood as one text, or not at all."""
    found = decoded(text)
    assert found is None or found == text or text.startswith("=?base64?")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["jsonrpc", "id", "method", "params", "name", "arguments", "_meta", "2.0", "tools/call"]
                )
                | st.text(max_size=5),
                each,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_mapped_or_refused(value: Any) -> None:
    """Nothing that a client can send raises anything but a refusal."""
    try:
        mapped = map_mcp(SERVICE, asked(value), attributes={})
    except Unmapped:
        return
    assert mapped.operation in OPERATIONS or mapped.properties["method"] == "tools/call"


META = {
    "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    "baggage": "remit.workflow=a.b.c, tenant=x,remit.actor=y",
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {}, "_meta": META}}


def test_the_body_s_baggage_says_what_a_header_would_and_does_not_leave() -> None:
    """Clients with OpenTelemetry put both into the message (SEP-414)."""
    request = asked(CALL)

    sent = json.loads(map_mcp(Service(kind="mcp"), request, attributes={}).body)

    assert dict(surroundings(request)) == META
    assert sent == {**CALL, "params": {**CALL["params"], "_meta": {**META, "baggage": " tenant=x"}}}


def test_a_header_wins_over_the_body_s_word() -> None:
    """It would have to be refused as twice the same otherwise."""
    request = asked(CALL, baggage="tenant=y")
    assert [name for name, _ in surroundings(request)] == ["traceparent"]


@pytest.mark.parametrize("meta", [{}, {"baggage": 1, "traceparent": None}, {"baggage": "remit.workflow=a"}])
def test_baggage_that_is_only_ours_or_none_leaves_no_trace(meta: dict[str, Any]) -> None:
    """Nothing of Remit's reaches the server."""
    request = asked({**CALL, "params": {**CALL["params"], "_meta": meta}})
    assert b"remit" not in map_mcp(Service(kind="mcp"), request, attributes={}).body
