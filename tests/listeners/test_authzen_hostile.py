"""What is sent to AuthZEN's endpoints and is no question: refused with what was expected, counted, and harmless."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from fakes.loop import in_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.authzen import EVALUATION, EVALUATIONS, MAX_EVALUATIONS, read_evaluation
from remit.core.call import Call
from remit.core.errors import BadRequest
from remit.listeners import authzen_read
from remit.listeners.authzen import MAX_BODY_BYTES

from .authzen_stage import boxcar, of, question, staged
from .serving import SUPPORT

DEEP = 10_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"subject":',
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "not UTF-8": b'{"subject": "\xff"}',
    "a mark first": b"\xef\xbb\xbf" + json.dumps(question()).encode(),
    "a key twice": json.dumps(question()).encode()[:-1] + b',"subject":{"type":"agent","id":"support"}}',
    "an escaped key twice": json.dumps(question()).encode()[:-1] + b',"\\u0073ubject":{"type":"agent","id":"support"}}',
    "NaN": json.dumps(question(context={"arguments": {"n": 1}})).replace('"n": 1', '"n": NaN').encode(),
    "half a surrogate": json.dumps(question()).replace("support", "\\ud800").encode(),
    "an endless number": json.dumps(question(context={"attempt": 1})).replace("1}", "1" * 400 + "}").encode(),
    "deep lists": b'{"context":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep, and never closed": b"[" * DEEP,
    "another after it": json.dumps(question()).encode() * 2,
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_what_is_no_strict_json_is_a_bad_request(name: str, path: str) -> None:
    """400 with what was expected; nothing is decided, it is counted, and the next good one is answered."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            reply = await stage.send(BODIES[name], path)
            assert reply.status == 400
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert stage.pipeline.asked == []
            assert [each[:2] for each in stage.pipeline.refusals] == [("agent:support", "request")]
            assert (await stage.send(question(), path)).status == 200

    run()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no subject": (question(subject=None), "subject"),
    "no action": (question(action=None), "action"),
    "no resource": (question(resource=None), "resource"),
    "a context that is null": ({**question(), "context": None}, "context"),
    "properties that are a list": (question(action={"name": "x", "properties": []}), "action.properties"),
    "an action that is none": (question(action={"name": "API CALL"}), "action.name"),
    "an action too long": (question(action={"name": "a" * 65}), "action.name"),
    "a type that is none": (question(resource={"type": "a b", "id": "x"}), "resource.type"),
    "an id with a line": (question(resource={"type": "service", "id": "x\ny"}), "resource.id"),
    "an operation that is a number": (
        question(resource={"type": "service", "id": "x", "properties": {"operation": 1}}),
        "resource.properties.operation",
    ),
    "a field that is a number": (
        question(resource={"type": "dataset", "id": "x", "properties": {"fields": [1]}}),
        "resource.properties.fields",
    ),
    "65 fields": (
        question(resource={"type": "dataset", "id": "x", "properties": {"fields": ["a"] * 65}}),
        "resource.properties.fields",
    ),
    "a purpose that is none": (question(context={"purpose": "A B"}), "context.purpose"),
    "a reason too long": (question(context={"reason": "x" * 513}), "context.reason"),
    "a reason that is a number": (question(context={"reason": 1}), "context.reason"),
    "an attempt that is true": (question(context={"attempt": True}), "context.attempt"),
    "an attempt of 1.5": (question(context={"attempt": 1.5}), "context.attempt"),
    "no attempt": (question(context={"attempt": 0}), "context.attempt"),
    "a claim below 0": (question(context={"claim": -1}), "context.claim"),
    "arguments that are a list": (question(context={"arguments": []}), "context.arguments"),
    "an argument in two places": (
        question(action={"name": "api.call", "properties": {"to": 1}}, context={"arguments": {"to": 2}}),
        "context.arguments.to",
    ),
    "usage of a unit that is none": (question(context={"usage": {"A B": 1}}), "context.usage"),
    "usage below 0": (question(context={"usage": {"call": -1}}), "context.usage.call"),
    "usage of 17 units": (question(context={"usage": {f"u{n}": 1 for n in range(17)}}), "context.usage"),
    "fulfils as a text": (question(context={"fulfils": "log"}), "context.fulfils"),
    "a key with a line": (question(context={"key": "a\nb"}), "context.key"),
    "a key that is a number": (question(context={"key": 1}), "context.key"),
    "arguments too large": (question(context={"arguments": {"x": "y" * 256 * 1024}}), "context.arguments"),
}


@pytest.mark.parametrize("name", WRONG)
def test_every_field_has_its_bounds(name: str) -> None:
    """400 names the field; nothing is decided."""
    body, field = WRONG[name]

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            reply = await stage.send(body)
            assert reply.status == 400
            assert f"{field}: expected" in reply.raw.decode()
            assert stage.pipeline.asked == []
            assert stage.pipeline.refusals == [("agent:support", "request", field)]

    run()


SEVERAL: dict[str, dict[str, Any]] = {
    "evaluations that are none": boxcar() | {"evaluations": {}},
    "too many": boxcar(*[of("openai")] * (MAX_EVALUATIONS + 1)),
    "a semantic that is none": boxcar(of("openai"), options={"evaluations_semantic": "all"}),
    "a semantic that is a list": boxcar(of("openai"), options={"evaluations_semantic": ["execute_all"]}),
    "options that are null": boxcar(of("openai"), options=None),
    "a default that is none": boxcar(of("openai"), resource="x"),
    "a key that all inherit": boxcar(of("openai"), of("crm"), context={"key": "k"}),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_what_is_wrong_with_the_whole_is_answered_as_a_whole(name: str) -> None:
    """400, and none of them is decided."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            assert (await stage.send(SEVERAL[name], EVALUATIONS)).status == 400
            assert stage.pipeline.asked == []

    run()


@in_loop
async def test_as_many_as_may_be_are_decided() -> None:
    """The bound itself is within."""
    async with staged() as stage:
        told = (await stage.send(boxcar(*[of("openai")] * MAX_EVALUATIONS), EVALUATIONS)).body
        assert len(told["evaluations"]) == len(stage.pipeline.asked) == MAX_EVALUATIONS


@in_loop
async def test_a_message_too_large_is_not_read() -> None:
    """413, whether it says so before or not."""

    async def pieces() -> Any:
        for _ in range(MAX_BODY_BYTES // 1024 + 2):
            yield b" " * 1024

    async with staged() as stage:
        usual = {"Authorization": f"Bearer {SUPPORT}", "Content-Type": "application/json"}
        assert (await stage.send(b" " * (MAX_BODY_BYTES + 1))).status == 413
        url = f"http://127.0.0.1:{stage.port}{EVALUATION}"
        async with stage.session.post(url, data=pieces(), headers=usual) as response:
            assert response.status == 413
        assert stage.pipeline.asked == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/jsonp", 400),
        ("application/json; charset=utf-16", 400),
        ("application/json, text/plain", 400),
    ],
)
def test_a_body_is_said_to_be_json(content_type: str, status: int) -> None:
    """What a web page could send without asking is refused."""

    @in_loop
    async def run() -> None:
        async with staged() as stage:
            assert (await stage.send(question(), headers={"Content-Type": content_type})).status == status

    run()


@in_loop
async def test_nothing_small_becomes_large() -> None:
    """A compressed body is refused unread."""
    async with staged() as stage:
        bomb = zlib.compress(b" " * 50_000_000)
        for encoding in ("deflate", "gzip", "br"):
            reply = await stage.send(bomb, headers={"Content-Encoding": encoding})
            assert reply.status == 415
        assert stage.pipeline.asked == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("workflow", "purpose", "arguments", "inputs", "attempt", "claim", "usage", "fulfils", "key"), JSON_VALUES
    ),
)


@settings(max_examples=300)
@given(JSON_VALUES, JSON_VALUES, PARTS)
def test_no_value_is_read_in_another_way_than_as_a_call_or_not_at_all(
    properties: object, resource: object, context: dict[str, Any]
) -> None:
    """Whatever JSON stands in a field, reading ends with a call of typed fields, or with the fields that are wrong."""
    body = question(action={"name": "api.call", "properties": properties}, context=context)
    if isinstance(resource, dict):
        body["resource"]["properties"] = resource
    try:
        call = authzen_read.call(read_evaluation(body))
    except BadRequest as wrong:
        assert wrong.violations
        return
    assert is_typed(call)


def is_typed(call: Call) -> bool:
    """Whether each field is of the type that whoever uses it relies on."""
    numbers = (call.claimed.attempt, call.claimed.claim, *call.usage.values())
    texts = (call.key, call.claimed.workflow, call.claimed.purpose, *call.claimed.inputs, *call.fulfils)
    return all(type(each) is int and each >= 0 for each in numbers) and all(type(each) is str for each in texts)


def test_a_reader_that_takes_true_for_a_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: with bounds alone, `true` is an attempt."""
    monkeypatch.setattr(
        authzen_read._Said, "number", lambda self, field, value, *, least, most: value if value >= least else least
    )

    assert is_typed(authzen_read.call(read_evaluation(question(context={"attempt": True})))) is False
