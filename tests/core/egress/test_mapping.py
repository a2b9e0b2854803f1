"""What a request asks for, in the catalogue's words; whatever is not known maps to nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.core.catalogue import Override, Service, Terms, Variant
from remit.core.egress.exchange import HttpRequest, Mapped, Unmapped
from remit.core.egress.kinds.call import Call
from remit.core.egress.mapping import MAPPERS, map_request
from remit.core.selector import Selector
from ruamel.yaml import YAML

from tests.core.egress.requests import BODIES, KINDS, ONE, PATHS, changed, get, mapped, post, service
from tests.counts import COUNTS

CASES: dict[str, list[dict[str, Any]]] = YAML(typ="safe").load(
    (Path(__file__).parents[2] / "cases" / "egress_requests.yaml").read_text(encoding="utf-8")
)
OPERATIONS = sorted(BODIES)
# What models are priced by, apart from `call` and seconds of sound.
UNITS = {
    "input_token",
    "cache_read_token",
    "cache_write_token",
    "cache_write_1h_token",
    "input_audio_token",
    "cache_audio_read_token",
    "input_image_token",
    "cache_image_read_token",
    "input_video_token",
    "input_character",
    "output_token",
    "output_audio_token",
    "output_image_token",
    "output_video_token",
    "web_search",
    "file_search",
}
# Where each provider has its scalars: pointer and type.
SCALARS = {
    "chat": {
        "model": "/model",
        "text": "/service_tier",
        "whole": "/max_completion_tokens",
        "count": "/n",
        "flag": "/stream",
        "number": "/temperature",
    },
    "responses": {
        "model": "/model",
        "text": "/truncation",
        "whole": "/max_output_tokens",
        "flag": "/store",
        "number": "/temperature",
    },
    "messages": {
        "model": "/model",
        "text": "/speed",
        "whole": "/max_tokens",
        "flag": "/stream",
        "number": "/temperature",
    },
    "generate": {
        "text": "/serviceTier",
        "whole": "/generationConfig/maxOutputTokens",
        "count": "/generationConfig/candidateCount",
        "flag": "/store",
        "number": "/generationConfig/temperature",
    },
    "converse": {
        "text": "/serviceTier/type",
        "whole": "/inferenceConfig/maxTokens",
        "number": "/inferenceConfig/temperature",
    },
}
WRONG: dict[str, list[Any]] = {
    "model": [None, True, 1, 1.5, [], {}, "", " m", "m\n", "x" * 129, "é"],
    "text": [None, True, 1, 1.5, [], {}, "a\nb", "x" * 300],
    "whole": [None, True, False, 1.5, 1e3, "5", [], {}, 0, -1, 10**9 + 1, 10**18, 10**30],
    "count": [None, True, 1.5, "2", [], {}, 0, -1, 129],
    "flag": [None, 0, 1, "true", [], {}],
    "number": [None, True, "1", [], {}, 10**30],
}
SCALAR_CASES = [
    (operation, pointer, value)
    for operation, scalars in SCALARS.items()
    for kind, pointer in scalars.items()
    for value in WRONG[kind]
]


@pytest.mark.parametrize("case", CASES["mapped"], ids=lambda case: case["description"])
def test_a_known_request_is_what_it_says(case: dict[str, Any]) -> None:
    """Operation, variant, bounds and hosted tools as the table has them."""
    found = map_request(_listing(case), _request(case), attributes={})

    want = case["want"]
    assert found.operation == want["operation"]
    assert found.variant == want.get("variant", "m")
    assert found.properties == ({"hosted": want["hosted"]} if "hosted" in want else {})
    bounds = {unit: _bound(bound, len(found.body)) for unit, bound in want.get("usage", {}).items()}
    assert {unit: found.usage.get(unit) for unit in bounds} == bounds
    assert {name: found.arguments.get(name) for name in want.get("arguments", {})} == want.get("arguments", {})
    assert found.stream == want.get("stream", False)


@pytest.mark.parametrize("case", CASES["unmapped"], ids=lambda case: case["description"])
def test_what_is_not_known_is_unmapped(case: dict[str, Any]) -> None:
    """And people are told which part."""
    with pytest.raises(Unmapped) as told:
        map_request(_listing(case), _request(case), attributes={})

    assert case["want"] in told.value.detail


def _bound(bound: int | str | None, size: int) -> int | None:
    return size + int(bound.removeprefix("bytes+")) if isinstance(bound, str) else bound


def _listing(case: dict[str, Any]) -> Service:
    names = {name: Variant(**(terms or {})) for name, terms in case.get("variants", {"m": {}}).items()}
    return service(case["kind"], names)


def _request(case: dict[str, Any]) -> HttpRequest:
    if case.get("method", "POST") == "GET":
        return get(case["path"])
    return post(case["path"], case["body"], **case.get("headers", {}))


@pytest.mark.parametrize(("operation", "pointer", "value"), SCALAR_CASES)
def test_a_scalar_of_another_type_or_out_of_bounds_is_unmapped(operation: str, pointer: str, value: Any) -> None:
    """Null, truth values, fractions, negative and huge numbers: none is taken for another, and the field is named."""
    with pytest.raises(Unmapped) as told:
        mapped(operation, changed(operation, pointer, value))

    assert pointer in told.value.detail or "JSON in its strict form" in told.value.detail


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_request_that_needs_nothing_is_sent_as_it_came(operation: str) -> None:
    """Byte for byte, white space and all: what was judged is what is sent."""
    raw = json.dumps(BODIES[operation], indent=3).encode()

    found = mapped(operation, raw)

    assert found.body == raw
    assert found.usage["output_token"] == 5
    assert found.usage["input_token"] == found.arguments["bytes"] == len(raw)


@pytest.mark.parametrize(
    ("operation", "absent", "want"),
    [
        ("chat", "max_completion_tokens", {"max_completion_tokens": 7}),
        ("responses", "max_output_tokens", {"max_output_tokens": 7}),
        ("messages", "max_tokens", {"max_tokens": 7}),
        ("generate", "generationConfig", {"generationConfig": {"maxOutputTokens": 7}}),
        ("converse", "inferenceConfig", {"inferenceConfig": {"maxTokens": 7}}),
    ],
)
def test_a_cap_is_put_in_where_the_caller_gave_none(operation: str, absent: str, want: dict[str, Any]) -> None:
    """Into the provider's field; the rest, exact numbers included, stays as it was, and the bound is the cap."""
    body = {key: value for key, value in BODIES[operation].items() if key != absent}

    found = mapped(operation, body, variants={"m": Variant(inject={"output_token": 7})})

    assert json.loads(found.body) == body | want
    assert found.usage["output_token"] == found.arguments["max_tokens"] == 7


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_cap_of_the_callers_own_stays(operation: str) -> None:
    """Nothing is put in over it."""
    found = mapped(operation, variants={"m": Variant(inject={"output_token": 7})})

    assert json.loads(found.body) == BODIES[operation]
    assert found.usage["output_token"] == 5


def test_without_a_cap_the_output_has_no_bound() -> None:
    """The variant's maximum then holds, or the price is unknown."""
    body = {key: value for key, value in BODIES["chat"].items() if key != "max_completion_tokens"}

    assert "output_token" not in mapped("chat", body).usage


def test_a_cap_that_is_put_in_is_not_above_the_callers_maximum() -> None:
    """Else an override would deny what the catalogue itself put in."""
    selected = Override(when=Selector((("agent", ("a",)),)), variants={"m": Terms(max={"output_token": 3})})
    listed = service("openai", {"m": Variant(inject={"output_token": 7})}, overrides=(selected,))
    request = post(PATHS["responses"], {"model": "m", "input": "hi"})

    assert map_request(listed, request, attributes={"agent": "a"}).usage["output_token"] == 3
    assert map_request(listed, request, attributes={"agent": "b"}).usage["output_token"] == 7


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_unit_of_the_price_table_is_stated(operation: str) -> None:
    """Else a model that has a price for sound or pictures could not be reserved for a call of mere text."""
    assert mapped(operation).usage.keys() >= UNITS


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_hosted_tools_read_is_not_bounded(operation: str) -> None:
    """Neither their input nor how often they search is stated."""
    stated = mapped(operation, RICH[operation]).usage.keys()

    assert not stated & {"input_token", "cache_read_token", "cache_write_token", "web_search", "file_search"}


def test_what_was_predicted_counts_as_output() -> None:
    """What of it is not used is charged all the same, for each of the answers."""
    found = mapped("chat", BODIES["chat"] | {"prediction": {"type": "content", "content": "x"}, "n": 2})

    assert found.usage["output_token"] == 2 * (5 + len(found.body))


def test_numbers_stay_exact_in_a_body_that_is_written_anew() -> None:
    """Not a digit is lost to a float."""
    raw = b'{"model":"m","input":"hi","temperature":0.1000000000000000000001,"metadata":{"a":12345678901234567}}'

    sent = mapped("responses", raw, variants={"m": Variant(inject={"output_token": 7})}).body

    assert b"0.1000000000000000000001" in sent
    assert b"12345678901234567" in sent


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
def test_a_stream_of_chat_is_asked_to_tell_its_usage(options: Any, want: dict[str, bool]) -> None:
    """Whatever the caller said about it."""
    body = BODIES["chat"] | {"stream": True} | ({} if options is None else {"stream_options": options})

    found = mapped("chat", body)

    assert json.loads(found.body)["stream_options"] == want
    assert found.stream


def test_a_stream_that_tells_its_usage_anyway_is_sent_as_it_came() -> None:
    """Nothing to put in, nothing changed."""
    raw = json.dumps(BODIES["chat"] | {"stream": True, "stream_options": {"include_usage": True}}, indent=1).encode()

    assert mapped("chat", raw).body == raw


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each not in ("generate", "converse")])
def test_a_model_that_no_variant_lists_is_a_variant_of_its_own(operation: str) -> None:
    """Policy then denies it as not listed."""
    assert mapped(operation, BODIES[operation] | {"model": "other"}).variant == "other"


def test_the_variant_with_most_terms_that_fit_is_taken() -> None:
    """And where none of a model's variants fits, its name does not stand in for them."""
    variants = {
        "plain": Variant(model="m"),
        "hd": Variant(model="m", select={"/quality": ("hd", "high")}),
        "hd-large": Variant(model="m", select={"/quality": ("hd",), "/size": ("2048x2048",)}),
        "strict": Variant(select={"/quality": ("hd",)}),
    }

    def variant(**body: Any) -> str:
        request = post("/v1/images/generations", {"model": "m", "prompt": "p"} | body)
        return map_request(service("openai", variants), request, attributes={}).variant

    assert variant() == variant(quality="low") == "plain"
    assert variant(quality="high") == variant(quality="high", size="2048x2048") == "hd"
    assert variant(quality="hd", size="2048x2048") == "hd-large"
    assert variant(model="strict", quality="hd") == "strict"
    for stolen in ("plain", "strict"):
        with pytest.raises(Unmapped, match="none of the service's variants"):
            variant(model=stolen)


@pytest.mark.parametrize(
    ("operation", "pointer", "value"),
    [
        ("chat", "/service_tier", "priority"),
        ("responses", "/service_tier", "flex"),
        ("messages", "/speed", "fast"),
        ("messages", "/inference_geo", "us"),
        ("generate", "/serviceTier", "priority"),
        ("converse", "/serviceTier/type", "priority"),
        ("converse", "/performanceConfig/latency", "optimized"),
    ],
)
def test_what_has_a_price_of_its_own_needs_a_variant_that_selects_it(operation: str, pointer: str, value: str) -> None:
    """Else it would be charged as the standard."""
    body = changed(operation, pointer, value)
    with pytest.raises(Unmapped, match="priced apart"):
        mapped(operation, body)

    selecting = {"m": Variant(), "quick": Variant(model="m", select={pointer: (value,)})}
    assert mapped(operation, body, variants=selecting).variant == "quick"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_field_that_is_not_known_is_not_let_through(operation: str) -> None:
    """What it does to cost and data cannot be judged."""
    with pytest.raises(Unmapped, match=r"/fallback(_m|M)odels is not known here"):
        mapped(operation, BODIES[operation] | {"fallback_models": ["x"]})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"model":"m","model":"n","input":"x"}',
        b'{"model":"m","input":"x","temperature":NaN}',
        b'{"model":"m","input":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'{"model":"m","input":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_a_body_that_two_readers_may_understand_differently_is_unmapped(raw: bytes) -> None:
    """Duplicate keys, lone surrogates, ten thousand levels, and what is no object."""
    with pytest.raises(Unmapped, match="JSON"):
        mapped("responses", raw)


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonl"],
)
def test_a_body_of_another_type_is_unmapped(kind: str) -> None:
    """JSON in UTF-8 alone; twice said is as bad."""
    request = post(PATHS["chat"], BODIES["chat"], content_type=kind)
    with pytest.raises(Unmapped, match="content type"):
        map_request(service("openai"), request, attributes={})

    twice = HttpRequest("POST", "http", "h", PATHS["chat"], (("content-type", "application/json"),) * 2, request.body)
    with pytest.raises(Unmapped, match="more than once"):
        map_request(service("openai"), twice, attributes={})


def test_a_body_with_a_coding_or_too_long_is_unmapped() -> None:
    """Nothing is unpacked, and the service's own limit holds."""
    with pytest.raises(Unmapped, match="content coding"):
        map_request(service("openai"), post(PATHS["chat"], BODIES["chat"], content_encoding="gzip"), attributes={})
    with pytest.raises(Unmapped, match="more than 10"):
        map_request(service("openai", body_bytes=10), post(PATHS["chat"], BODIES["chat"]), attributes={})


def test_a_target_that_is_not_canonical_is_unmapped() -> None:
    """Whoever calls, the check comes first."""
    with pytest.raises(Unmapped, match="dot segment"):
        map_request(service("openai"), post("/v1/x/../chat/completions", BODIES["chat"]), attributes={})


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_base_url_without_its_version_or_with_two_is_told_what_is_wrong(kind: str) -> None:
    for path in ("/chat/completions", "/v1/v1/messages"):
        with pytest.raises(Unmapped, match=f"{kind}'s begin with /v1/, once"):
            map_request(service(kind), post(path, BODIES["chat"]), attributes={})
    with pytest.raises(Unmapped, match=r"of this path$"):
        map_request(service(kind), post("/v1/nothing", BODIES["chat"]), attributes={})


def test_what_policy_would_see_is_bounded() -> None:
    """More than 64 KiB of tools' names is not let through."""
    tools = [{"type": "function", "function": {"name": f"{place:03}" + "x" * 250}} for place in range(256)]

    with pytest.raises(Unmapped, match="65536"):
        mapped("chat", BODIES["chat"] | {"tools": [*tools], "user": "x" * 256, "metadata": {}})
    with pytest.raises(Unmapped, match="more than 256"):
        mapped("chat", BODIES["chat"] | {"tools": [*tools, *tools]})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_policy_sees_no_contents(operation: str) -> None:
    """Neither what is said nor what is to be answered with."""
    text = json.dumps(
        dict(mapped(operation, json.loads(json.dumps(BODIES[operation]).replace("hi", "s3cret"))).arguments)
    )

    assert "s3cret" not in text


@pytest.mark.parametrize("kind", ["tcp", "nothing"])
def test_a_kind_without_a_mapper_takes_no_requests(kind: str) -> None:
    """It is not guessed at."""
    with pytest.raises(Unmapped, match="no requests over HTTP"):
        map_request(service(kind), get("/"), attributes={})


SOME_PATHS = [
    *PATHS.values(),
    "/v1/embeddings",
    "/v1/images/generations",
    "/model/m/invoke",
    "/v1/messages/count_tokens",
]


@given(st.sampled_from(sorted(MAPPERS)), st.sampled_from(SOME_PATHS) | st.text(), st.binary())
@settings(max_examples=COUNTS.examples * 5)
def test_no_bytes_break_the_mapping(kind: str, path: str, raw: bytes) -> None:
    """Whatever comes, it is mapped or Unmapped."""
    assert _maps_or_not(kind, path, raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(OPERATIONS), st.data())
@settings(max_examples=COUNTS.examples * 10)
def test_no_value_anywhere_in_a_body_breaks_the_mapping(operation: str, data: st.DataObject) -> None:
    """Any JSON in the place of any value of a rich body is mapped or Unmapped, and what is sent is what was judged."""
    body = json.loads(json.dumps(RICH[operation]))
    ways = list(_ways(body))
    way = data.draw(st.sampled_from(ways))
    inner = body
    for part in way[:-1]:
        inner = inner[part]
    inner[way[-1]] = data.draw(_JSON)

    assert _maps_or_not(KINDS[operation], PATHS[operation], json.dumps(body).encode())


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Any:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, each in inner:
        yield (*way, part)
        yield from _ways(each, (*way, part))


def _maps_or_not(kind: str, path: str, raw: bytes) -> bool:
    try:
        found = map_request(service(kind, ONE), post(path, raw), attributes={})
    except Unmapped as e:
        return bool(e.detail) and len(e.detail) < 1000
    return isinstance(found, Mapped) and found.body == raw


RICH: dict[str, Any] = {
    "chat": BODIES["chat"]
    | {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                    {"type": "file", "file": {"file_id": "f"}},
                ],
            }
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "functions": [{"name": "g"}],
        "response_format": {"type": "json_object"},
        "web_search_options": {},
        "modalities": ["text"],
        "n": 2,
        "service_tier": "auto",
    },
    "responses": BODIES["responses"]
    | {
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://a/b"}, {"type": "input_text"}]},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "reasoning", "encrypted_content": "x"},
        ],
        "tools": [
            {"type": "mcp", "server_url": "https://a.b/c", "server_label": "l"},
            {"type": "namespace", "tools": [{"type": "function", "name": "f"}]},
            {"type": "shell", "environment": {"type": "local"}},
            {"type": "web_search"},
        ],
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}},
    },
    "messages": BODIES["messages"]
    | {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "data": "AA=="}},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text"}]}},
                    {"type": "tool_result", "content": [{"type": "text", "cache_control": {"type": "ephemeral"}}]},
                ],
            }
        ],
        "system": [{"type": "text", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "t"}, {"type": "web_search_20250305", "name": "web_search"}],
        "mcp_servers": [{"type": "url", "url": "https://a.b/c", "name": "n"}],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "thinking": {"type": "enabled", "budget_tokens": 5},
        "output_config": {"effort": "low"},
    },
    "generate": BODIES["generate"]
    | {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                    {"fileData": {"fileUri": "https://a/b"}},
                    {"functionResponse": {"name": "f", "parts": [{"inline_data": {"mime_type": "image/png"}}]}},
                ],
            }
        ],
        "system_instruction": {"parts": [{"text": "x"}]},
        "tools": [
            {"functionDeclarations": [{"name": "f"}]},
            {"googleSearch": {}},
            {"mcpServers": [{"name": "n", "streamableHttpTransport": {"url": "https://a.b/c"}}]},
        ],
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 1}},
    },
    "converse": BODIES["converse"]
    | {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"image": {"format": "png", "source": {"bytes": "AA=="}}},
                    {"document": {"source": {"text": "x"}}},
                    {"toolResult": {"content": [{"json": {}}]}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
            }
        ],
        "system": [{"text": "x"}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "t"}}, {"systemTool": {"name": "nova_grounding"}}]},
        "additionalModelRequestFields": {"top_k": 5},
        "serviceTier": {"type": "default"},
    },
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_rich_bodies_are_known(operation: str) -> None:
    """Else the property above would test nothing but refusals."""
    assert mapped(operation, RICH[operation]).variant == "m"


def test_the_property_finds_a_mapper_that_believes_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: a mapper that takes the first message's role without looking."""

    def believing(call: Call) -> Mapped:
        role = call.body().raw("messages")[0]["role"]
        return Mapped(operation=role, body=call.request.body)

    monkeypatch.setitem(dict_of(MAPPERS), "openai", believing)

    with pytest.raises((LookupError, TypeError, BaseExceptionGroup)):
        test_no_value_anywhere_in_a_body_breaks_the_mapping()


def dict_of(mappers: Mapping[str, Any]) -> dict[str, Any]:
    """The table, to be changed for one test."""
    assert isinstance(mappers, dict)
    return mappers
