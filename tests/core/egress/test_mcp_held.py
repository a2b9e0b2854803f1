"""A held MCP request: what its client hears in each version of the protocol, and what it sends again."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import CallToolResult, InputRequiredResult
from remit.core.answer import Turning
from remit.core.approval import State
from remit.core.catalogue import Service
from remit.core.egress.exchange import HttpRequest
from remit.core.egress.kinds.mcp import map_mcp
from remit.core.egress.mcp_message import McpRefused, read_message
from remit.core.egress.mcp_refusal import Refusal, mcp_refused, rpc_refused
from remit.core.egress.mcp_resume import MOST_ROUNDS, PREFIX, QUESTION, is_retry, resumed, state_of
from remit.core.egress.turning import Turned

NEWEST = "2026-07-28"
VERSIONED = {"io.modelcontextprotocol/protocolVersion": NEWEST}
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
ON = Turned((Turning("a1", "access.test", "approval_required", State.PENDING, "lead", (), 1_800_000_000 * 10**9),))


def posted(version: str = NEWEST, method: str = "tools/call", capabilities: Any = None, **params: Any) -> HttpRequest:
    meta = {**VERSIONED, CAPABILITIES: capabilities or {}} if version == NEWEST else {}
    said = {"name": "t", **params, **({"_meta": meta} if meta else {})}
    if method == "resources/read":
        said["uri"] = said.pop("name")
    message = {"jsonrpc": "2.0", "id": 5, "method": method, "params": said}
    headers = (("content-type", "application/json"), ("mcp-protocol-version", version))
    more = (("mcp-method", method), ("mcp-name", "t")) if version == NEWEST else ()
    return HttpRequest("POST", "http", "remit", "/", (*headers, *more), json.dumps(message).encode())


def held(request: HttpRequest, on: Turned = ON, *, resumes: bool = True) -> Refusal:
    return mcp_refused(
        request, status=403, code="approval_required", message="It waits.", decision="d1", turned=on, resumes=resumes
    )


def result(refusal: Refusal) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(refusal.body)
    assert (refusal.status, told["id"]) == (200, 5) and "error" not in told
    assert dict(refusal.headers)["remit-approval"] == "a1"
    found: dict[str, Any] = told["result"]
    return found


def test_the_newest_version_hears_that_input_is_required() -> None:
    """In the protocol's own shape; nobody is asked at the client's side who cannot be."""
    told = result(held(posted()))
    assert told["resultType"] == "input_required" and "inputRequests" not in told
    assert told["_meta"]["remit"]["approvals"][0]["id"] == "a1"
    assert InputRequiredResult.model_validate(told).request_state == told["requestState"]
    assert told["requestState"].startswith(PREFIX)


@pytest.mark.parametrize(
    ("elicitation", "asked"), [(None, False), ({}, True), ({"form": {}}, True), ({"url": {}}, False), ("form", False)]
)
def test_people_at_the_client_are_told_where_it_can_show_them_a_form(elicitation: Any, asked: bool) -> None:
    capabilities = {} if elicitation is None else {"elicitation": elicitation}
    told = result(held(posted(capabilities=capabilities)))
    assert ("inputRequests" in told) is asked
    if asked:
        question = told["inputRequests"][QUESTION]
        assert (question["method"], question["params"]["mode"]) == ("elicitation/create", "form")
        assert question["params"]["message"].startswith("It waits.")
        assert InputRequiredResult.model_validate(told).input_requests


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_older_versions_hear_it_as_the_tool_s_failure(version: str) -> None:
    """The model reads it, and the session goes on."""
    told = result(held(posted(version)))
    assert told["isError"] is True and told["content"] == [{"type": "text", "text": "It waits."}]
    assert "resultType" not in told and told["_meta"]["remit"]["code"] == "approval_required"
    assert CallToolResult.model_validate(told).is_error


def test_what_is_not_to_be_tried_again_at_once_is_the_tool_s_failure_as_well() -> None:
    """No place to wait, declined, or tried often enough."""
    declined = {QUESTION: {"action": "decline"}}
    state = state_of(resumed(read_message(posted().body, 9999)), ["a1"])
    rounds = [posted()]
    for _ in range(MOST_ROUNDS):
        rounds.append(posted(requestState=result(held(rounds[-1]))["requestState"]))
    for request, resumes in (
        (posted(), False),
        (posted(requestState=state, inputResponses=declined), True),
        (rounds[-1], True),
    ):
        told = result(held(request, resumes=resumes))
        assert (told["resultType"], told["isError"]) == ("complete", True)
    assert not is_retry(posted(requestState=state, inputResponses=declined)) and not is_retry(posted())
    assert is_retry(posted(requestState=state, inputResponses={QUESTION: {"action": "accept"}}))


def test_other_requests_are_answered_as_far_as_the_protocol_has_an_answer() -> None:
    """A resource may need input in the newest version, and has but an error before; so has what was refused."""
    assert result(held(posted(method="resources/read")))["resultType"] == "input_required"
    for refusal in (
        held(posted("2025-11-25", "resources/read")),
        held(posted("2025-11-25"), Turned((Turning("a1", "p", "c", State.DENIED, "", (), 0),))),
        held(posted(method="completion/complete")),
    ):
        told = json.loads(refusal.body)
        assert told["error"]["code"] == 403 and told["error"]["data"]["remit"]["approvals"][0]["id"] == "a1"
        assert dict(refusal.headers)["remit-approval"] == "a1"


def test_a_try_again_is_the_same_call_and_brings_its_server_what_it_is_to_have() -> None:
    """The server's own state and answers travel in Remit's, and nothing of Remit's reaches the server."""
    answers = {"sure": {"action": "accept", "content": {"n": 1}}}
    first = posted(requestState="of-the-server", inputResponses=answers, arguments={"a": 1})
    state = result(held(first))["requestState"]
    again = posted(requestState=state, inputResponses={QUESTION: {"action": "accept"}}, arguments={"a": 1})
    third = posted(requestState=result(held(again))["requestState"], arguments={"a": 1})

    one, two, three = (map_mcp(Service(kind="mcp"), each, attributes={}) for each in (first, again, third))

    assert one.essence == two.essence == three.essence and one.properties == two.properties == three.properties
    assert json.loads(one.body) == json.loads(two.body) == json.loads(three.body)
    assert json.loads(two.body)["params"]["inputResponses"] == answers and b"remit." not in two.body
    bare = map_mcp(Service(kind="mcp"), posted(requestState=result(held(posted()))["requestState"]), attributes={})
    assert bare == map_mcp(Service(kind="mcp"), posted(), attributes={})


def packed(value: Any) -> str:
    return PREFIX + base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "state",
    [
        PREFIX,
        PREFIX + "é",
        PREFIX + "*",
        PREFIX + "AAAA",
        packed([]),
        packed({}),
        packed({"round": 0}),
        packed({"round": True}),
        packed({"round": "1"}),
        packed({"round": 1, "more": 1}),
    ],
)
def test_a_state_that_remit_did_not_make_is_refused(state: str) -> None:
    with pytest.raises(McpRefused) as caught:
        map_mcp(Service(kind="mcp"), posted(requestState=state), attributes={})
    assert caught.value.rpc == -32602


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: PREFIX + base64.urlsafe_b64encode(raw).decode()))
def test_any_state_is_passed_on_or_refused(state: str) -> None:
    """Nothing that a client makes of it raises anything else; one of the server's stays as it is."""
    try:
        mapped = map_mcp(Service(kind="mcp"), posted(requestState=state), attributes={})
    except McpRefused:
        return
    assert state.startswith(PREFIX) or json.loads(mapped.body)["params"]["requestState"] == state


@pytest.mark.parametrize("version", ["", NEWEST])
def test_over_standard_streams_it_is_said_in_the_same_words(version: str) -> None:
    """There the message itself says its version."""
    message = read_message(posted(version or "2025-11-25").body, 9999)
    told = rpc_refused(message, 5, status=403, code="approval_required", text="It waits.", decision="d1", turned=ON)
    assert told["result"].get("resultType") == ("input_required" if version else None)
    assert told["result"].get("isError") is (None if version else True)
