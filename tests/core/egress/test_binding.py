"""What an exact approval of a call is bound to: all that goes out, and nothing that merely differs from try to try."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from remit.core.approval import Bind, binding
from remit.core.catalogue import Service
from remit.core.egress.binding import content_of, essence, shown
from remit.core.egress.exchange import HttpRequest, Mapped
from remit.core.egress.kinds.mcp import map_mcp
from remit.core.model import Context, Identity, Request, Resource, Subject

REQUEST = HttpRequest("POST", "http", "localhost", "/v1/items?dry=1", (("content-type", "application/json"),), b"{}")
MAPPED = Mapped("put", body=b"{}", arguments={"a": 1}, usage={"call": 1})
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "arguments": {"a": 1}}}


def content(mapped: Mapped = MAPPED, *headers: tuple[str, str], **changes: Any) -> str:
    request = replace(REQUEST, **changes)
    return content_of(replace(request, headers=(*request.headers, *headers)), mapped)


@pytest.mark.parametrize(
    "other",
    [
        content(method="PUT"),
        content(path="/v1/items?dry=0"),
        content(path="/v1/items"),
        content(replace(MAPPED, body=b'{"b":1}')),
        content(headers=(("content-type", "text/plain"),)),
        content(MAPPED, ("x-confirm", "delete-all")),
        content(MAPPED, ("cookie", "who=root")),
        content(MAPPED, ("if-match", "*")),
        content(MAPPED, ("anthropic-beta", "computer-use")),
        content(MAPPED, ("mcp-param-path", "/etc")),
        content(MAPPED, ("x-tracer", "1")),
        *(content(MAPPED, (f"x-forwarded-{name}", "1")) for name in ("user", "host", "prefix", "groups")),
        content_of(REQUEST, MAPPED, {"eu"}),
    ],
)
def test_whatever_may_change_what_is_done_is_another_thing(other: str) -> None:
    """Method, target, query, body, and every header that an agent may choose."""
    assert other != content()


@pytest.mark.parametrize(
    "header",
    [
        *(
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "proxy-authorization",
            "remit-token",
            "remit-wait",
        ),
        *("remit-workflow", "remit-key", "x-forwarded-for", "x-real-ip", "host", "content-length", "user-agent"),
        *("accept-encoding", "traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "sentry-trace", "date"),
        *("x-request-id", "x-client-request-id", "x-correlation-id", "x-amzn-trace-id", "x-cloud-trace-context"),
        *("x-datadog-trace-id", "uber-trace-id", "idempotency-key", "x-stainless-retry-count", "amz-sdk-request"),
        *("x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "mcp-session-id", "grpc-timeout"),
    ],
)
def test_what_differs_from_try_to_try_or_never_leaves_is_the_same_thing(header: str) -> None:
    """Else no approval would ever fit the next try."""
    assert content(MAPPED, (header, "1")) == content(MAPPED, (header, "2")) == content()


def test_the_order_of_headers_does_not_count_and_that_of_one_header_s_values_does() -> None:
    """As HTTP has it."""
    one, two = ("x-a", "1"), ("x-b", "2")
    assert content(MAPPED, one, two) == content(MAPPED, two, one)
    assert content(MAPPED, one, ("x-a", "2")) != content(MAPPED, ("x-a", "2"), one)


def mapped(message: dict[str, Any], version: str = "2025-11-25", **headers: str) -> Mapped:
    given = {"content-type": "application/json", "mcp-protocol-version": version, **headers}
    request = HttpRequest("POST", "http", "remit", "/", tuple(given.items()), json.dumps(message).encode())
    return map_mcp(Service(kind="mcp"), request, attributes={})


def with_params(**params: Any) -> dict[str, Any]:
    return {**CALL, "params": {**CALL["params"], **params}}  # type: ignore[dict-item]


def bound(found: Mapped) -> str:
    """The exact binding, as the pipeline makes it."""
    who = Subject("agent", "support", "cx", (), Identity("token", "support"))
    resource = Resource("service", "tools", found.operation, found.variant, properties=found.properties)
    content = content_of(HttpRequest("POST", "http", "remit", "/"), found)
    request = Request(who, "tool.call", resource, Context(arguments=found.arguments), content=content)
    return binding(Bind.EXACT, request)


@pytest.mark.parametrize(
    "again",
    [
        {**CALL, "id": "another"},
        {"params": CALL["params"], "method": "tools/call", "id": 7, "jsonrpc": "2.0"},
        with_params(_meta={"progressToken": 9}),
        with_params(_meta={"progressToken": "p", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}),
        with_params(_meta={"baggage": "tenant=x,remit.actor=y", "tracestate": "a=b"}),
        with_params(_meta={"io.modelcontextprotocol/clientInfo": {"name": "x", "version": "2"}}),
        with_params(_meta={}),
    ],
)
def test_two_calls_of_one_tool_with_the_same_arguments_bind_alike(again: dict[str, Any]) -> None:
    """Whatever their ids, progress tokens and traces."""
    assert bound(mapped(again)) == bound(mapped(CALL))


@pytest.mark.parametrize(
    "other",
    [
        with_params(arguments={"a": 2}),
        with_params(name="u"),
        with_params(task={"ttl": 1}),
        with_params(inputResponses={"sure": {"action": "accept"}}),
        with_params(requestState="of-the-server"),
        with_params(_meta={"vendor/dry-run": False}),
    ],
)
def test_another_call_binds_otherwise(other: dict[str, Any]) -> None:
    """Answers to the server's questions, its state, and what a vendor has its clients say beside the arguments too."""
    assert bound(mapped(other)) != bound(mapped(CALL))


def test_what_is_the_same_in_each_try_is_the_body_unless_its_kind_says_less() -> None:
    assert essence(MAPPED) == b"{}"
    assert essence(mapped(CALL)) == essence(mapped({**CALL, "id": 2})) != mapped(CALL).body


def test_an_approver_sees_the_request_without_its_body_and_query() -> None:
    """The body may say anything; a tool's arguments are shown already, and what a server had asked for beside them."""
    assert shown(REQUEST, MAPPED) == {"usage": {"call": 1}, "method": "POST", "path": "/v1/items", "bytes": 2}
    answers = {"sure": {"action": "accept"}}
    assert shown(REQUEST, mapped(with_params(inputResponses=answers))) == {
        "usage": {"call": 1},
        "inputResponses": answers,
    }
    hosted = replace(MAPPED, properties={"hosted": ["web_search"]})
    assert shown(REQUEST, hosted)["hosted"] == ["web_search"]
