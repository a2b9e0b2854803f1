"""What a response used is read exactly, in whatever pieces it comes, and nothing that it holds can do harm."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from counts import COUNTS
from fakes.recorded import framed_for_aws as framed
from hypothesis import given, settings
from hypothesis import strategies as st
from remit.config.price_table import prices_of
from remit.core.catalogue import Catalogue, Service, Variant
from remit.core.egress.frames import MAX_EVENT, ServerSentEvents
from remit.core.egress.usage import FORMATS, MAX_DOCUMENT, Usage, UsageReader, make_reader
from remit.core.price import MAX_QUANTITY, cost
from ruamel.yaml import YAML

NOW = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()) * 10**9
SSE, AWS = "text/event-stream; charset=utf-8", "application/vnd.amazon.eventstream"
CASES = YAML(typ="safe").load((Path(__file__).parents[2] / "cases" / "usage" / "responses.yaml").read_text())


def body_of(case: Mapping[str, Any]) -> tuple[bytes, str]:
    if "sse" in case:
        return case["sse"].encode(), SSE
    if "messages" in case:
        return b"".join(framed(*each) for each in case["messages"]), AWS
    if "chunks" in case:
        packed = (json.dumps({"bytes": base64.b64encode(each.encode()).decode()}) for each in case["chunks"])
        return b"".join(framed("chunk", each) for each in packed), AWS
    return case["body"].encode(), "application/json"


def reader_of(case: Mapping[str, Any]) -> UsageReader:
    _, content_type = body_of(case)
    more = {key: case[key] for key in ("returns", "headers") if key in case}
    return make_reader(case["format"], content_type=content_type, **more)


def read(reader: UsageReader, *pieces: bytes) -> Usage:
    for piece in pieces:
        reader.feed(piece)
    return reader.end()


def cut(body: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return (body[start:end] for start, end in pairwise(edges))


by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


@by_name
def test_what_a_provider_documents_is_read_and_priced_to_the_nano(case: Mapping[str, Any]) -> None:
    """The units and the cost are those that were computed by hand."""
    usage = read(reader_of(case), body_of(case)[0])
    assert usage == Usage(case["usage"], complete=case.get("complete", True))
    if "cost" in case:
        kind, model = case["model"]
        table = prices_of(kind, model, match="s/v")
        listed = Catalogue("USD", services={"s": Service(kind=kind, variants={"v": Variant()})}, table=table)
        assert cost(listed, "s", "v", usage=usage.units, time_ns=NOW, maxima={}).amount == case["cost"]


@by_name
def test_a_body_may_be_split_anywhere(case: Mapping[str, Any]) -> None:
    """At each byte, and into single bytes."""
    body, _ = body_of(case)
    whole = read(reader_of(case), body)
    assert read(reader_of(case), *(body[at : at + 1] for at in range(len(body)))) == whole
    for at in range(0, len(body), max(1, len(body) // COUNTS.examples)):
        assert read(reader_of(case), body[:at], b"", body[at:]) == whole


def chunking_holds(
    make: Callable[[Mapping[str, Any]], UsageReader], cases: Sequence[Mapping[str, Any]] = CASES, least: int = 0
) -> Callable[[], None]:
    """Random cases cut at random places, `least` at the least."""
    ends = st.sampled_from(["\n", "\r\n", "\r"])

    @settings(max_examples=COUNTS.examples * 5, deadline=None)
    @given(st.sampled_from(cases), ends, st.lists(st.integers(0, 10**6), min_size=least, max_size=12), st.booleans())
    def holds(case: Mapping[str, Any], end: str, places: list[int], bom: bool) -> None:
        body, content_type = body_of(case)
        if content_type == SSE:
            body = b"\xef\xbb\xbf" * bom + body.replace(b"\n", end.encode())
        assert read(make(case), *cut(body, places)) == read(reader_of(case), body_of(case)[0])

    return holds


def test_any_pieces_and_any_line_ends_give_the_same_usage() -> None:
    """With a byte order mark or without."""
    chunking_holds(reader_of)()


class Forgetful:
    """A reader with a fault: what a piece leaves unfinished is forgotten with it."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        self._case, self._reader = case, reader_of(case)

    def feed(self, chunk: bytes) -> None:
        framing = getattr(self._reader, "_framing", None)
        if isinstance(framing, ServerSentEvents):
            framing._line.clear()
        self._reader.feed(chunk)

    def end(self) -> Usage:
        return self._reader.end()

    def seen(self) -> Usage:
        return self._reader.seen()


CHAT_TOLD = (
    b'data: {"object": "chat.completion.chunk", "choices": [{}], '
    b'"usage": {"prompt_tokens": 12, "completion_tokens": 7}}\n\n'
)
RESPONSE_DONE = b'data: {"type": "response.completed", "response": {"usage": {"input_tokens": 12, "output_tokens": 7}}}'
MESSAGE_TOLD = (
    b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 12, "output_tokens": 1}}}\n\n'
    b'data: {"type": "message_delta", "usage": {"output_tokens": 7}}\n\n'
)


def test_a_reader_that_forgets_a_split_is_found() -> None:
    """The property sees the fault that it is there for."""
    streams = [each for each in CASES if "sse" in each]
    with pytest.raises(AssertionError):
        chunking_holds(Forgetful, streams, least=6)()


@by_name
def test_a_body_that_is_cut_off_is_complete_only_after_its_last_word(case: Mapping[str, Any]) -> None:
    """Wherever it is cut, what was seen is not more than all; and it is said to be all only where it is."""
    body, _ = body_of(case)
    whole = read(reader_of(case), body)
    for at in range(0, len(body), max(1, len(body) // COUNTS.examples)):
        reader = reader_of(case)
        reader.feed(body[:at])
        seen = reader.seen()
        assert not seen.complete or (seen == whole and at > 0 and b"data:" in body)
        if case["format"] != "bedrock.invoke":
            assert all(count <= whole.units.get(unit, 0) for unit, count in seen.units.items() if whole.units)


@pytest.mark.parametrize(
    ("name", "said", "last"),
    [
        ("openai.chat", CHAT_TOLD, b"data: [DONE]"),
        ("openai.responses", b"", RESPONSE_DONE),
        ("anthropic.messages", MESSAGE_TOLD, b'data: {"type": "message_stop"}'),
    ],
)
def test_a_client_may_hang_up_on_the_last_word(name: str, said: bytes, last: bytes) -> None:
    """Clients do: the stream's end then never comes, and yet all is told. A moment earlier it was not."""
    reader = make_reader(name, content_type=SSE)
    reader.feed(said + last)
    assert not reader.seen().complete
    reader.feed(b"\n\n")
    seen = reader.seen()
    assert seen.complete
    assert (seen.units["input_token"], seen.units["output_token"]) == (12, 7)


def test_a_stream_that_ends_early_is_not_complete_although_it_ends_well() -> None:
    """The upstream closed it without a last word; what it had said so far is what was seen."""
    start = b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
    delta = b'data: {"type":"message_delta","usage":{"output_tokens":9}}\n\n'
    usage = read(make_reader("anthropic.messages", content_type=SSE), start, delta)
    assert usage == Usage({"input_token": 7, "output_token": 9, "web_search": 0}, complete=False)
    chunk = (
        b'data: {"object":"chat.completion.chunk","choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    )
    assert not read(make_reader("openai.chat", content_type=SSE), chunk).complete
    assert read(make_reader("openai.chat", content_type=SSE), chunk, b"data: [DONE]\n\n").complete


def test_a_count_that_goes_down_keeps_its_highest() -> None:
    """What a provider repeats includes what it said before: the lower word does not lower a charge."""
    events = (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":70,"output_tokens":1}}}\n\n',
        b'data: {"type":"message_delta","usage":{"output_tokens":90}}\n\n',
        b'data: {"type":"message_delta","usage":{"input_tokens":0,"output_tokens":2}}\n\n',
        b'data: {"type":"message_stop"}\n\n',
    )
    usage = read(make_reader("anthropic.messages", content_type=SSE), *events)
    assert usage == Usage({"input_token": 70, "output_token": 90, "web_search": 0}, complete=True)


def test_comments_other_fields_and_data_in_several_lines_are_read_as_the_standard_says() -> None:
    """An event's lines are joined; what is no data is passed over."""
    text = (
        b': ping\nid: 1\nretry: 5\nevent: x\ndata: {"usage":\ndata:{"prompt_tokens": 3,\n'
        b'data: "completion_tokens": 4},\ndata\ndata: "choices": []}\n\n'
    )
    usage = read(make_reader("openai.chat", content_type=SSE), text)
    assert usage == Usage({"input_token": 3, "output_token": 4}, complete=True)


CHAT = '{"object": "chat.completion", "usage": {"prompt_tokens": %s, "completion_tokens": 4}}'
WRONG = [
    "-1", "1.5", "1.0", "1e3", "true", '"3"', "NaN", "Infinity", "-Infinity", str(MAX_QUANTITY + 1), "9" * 5000, "[3]",
    '{"a": 3}', '3, "prompt_tokens": 0', "null",
]  # fmt: skip


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_count_is_not_stated(value: str) -> None:
    """Not lowered, not rounded and not taken for none: the usage is not complete, and so the estimate stands."""
    assert read(make_reader("openai.chat", content_type="application/json"), (CHAT % value).encode()) == Usage()
    stream = f"data: {CHAT % value}\n\ndata: [DONE]\n\n".encode()
    assert read(make_reader("openai.chat", content_type=SSE), stream) == Usage()


@pytest.mark.parametrize("value", [each for each in WRONG if each != "null"])
def test_a_later_event_that_cannot_be_read_leaves_the_usage_open(value: str) -> None:
    """What was said before it is kept, and not taken for all."""
    stream = f"data: {CHAT % 7}\n\ndata: {CHAT % value}\n\n".encode()
    found = read(make_reader("openai.chat", content_type=SSE), stream)
    assert found == Usage({"input_token": 7, "output_token": 4}, complete=False)


@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}',
        '{"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"audio_tokens": 5}}',
    ],
)
def test_parts_that_are_more_than_the_whole_are_not_stated(usage: str) -> None:
    """A count at odds with another is no count."""
    body = f'{{"object": "chat.completion", "usage": {usage}}}'.encode()
    assert read(make_reader("openai.chat", content_type="application/json"), body) == Usage()


HOSTILE = [
    b"", b"\x00", b"\xff\xfe", b"{", b"[" * 100_000, b'{"usage":' * 10_000, b"null", b"7", b'"usage"', b"[[[]]]",
    b'{"usage": []}', b'{"usage": {"prompt_tokens": {}}}', b'{"usage": 5}', b'{"type": [], "usage": {}}',
    b'{"type": {}, "response": 4, "usage": null}', b'{"candidates": {"a": 1}, "usageMetadata": 3}',
    b'{"candidates": [1, null, {"finishReason": {}}], "promptFeedback": []}',
    b'{"usageMetadata": {"promptTokenCount": 3, "promptTokensDetails": [null, {"modality": [], "tokenCount": 1}]}}',
    b'{"output": [null, 3, {"type": []}], "usage": {"input_tokens": 1}}', b'{"bytes": "%%%"}', b'{"bytes": "W1tb"}',
    b'{"bytes": {"a": 1}}', b'{"data": 5}', b'{"usage": {"iterations": [null]}}', b'{"usage": {"iterations": 5}}',
    b'{"usage": {"cacheDetails": [{"ttl": "1h"}]}}', b'{"usage": {"speed": [], "service_tier": {}}}',
    b'{"service_tier": [], "serviceTier": {"type": []}}', b'{"a": 1e999999, "usage": {"x": "\\ud800"}}',
    b"\r", b"\n\n\n\r\r", b"data", b"data:\n\n", b"data: usage\n\n", b"data: [DONE]\n\n", b":" * 3_000_000,
    (2**31).to_bytes(4) + (4).to_bytes(4) + zlib.crc32((2**31).to_bytes(4) + (4).to_bytes(4)).to_bytes(4) + b"x" * 99,
    framed("metadata", "[" * 50_000), framed("metadata", "{}")[:-1] + b"x", b"\x00" * 64,
]  # fmt: skip


@pytest.mark.parametrize("content_type", ["application/json", SSE, AWS, "", "text/html"])
@pytest.mark.parametrize("name", [*FORMATS, ""])
def test_a_hostile_body_fails_nothing(name: str, content_type: str) -> None:
    """It states nothing, and the reader goes on to say so."""
    for body in HOSTILE:
        for text in (body, b"data: " + body.replace(b"\n", b"") + b"\n\n", framed("chunk", "").replace(b"chunk", body)):
            returns = {"x": "/usage/prompt_tokens", "y": "/0/1/~0"}
            headers = {"x-amzn-bedrock-input-token-count": "\u0663", "x-amzn-bedrock-output-token-count": "-1"}
            reader = make_reader(name, content_type=content_type, returns=returns, headers=headers)
            assert not reader.seen().complete
            usage = read(reader, text)
            assert not usage.complete or name in ("mcp", "", "gemini.generate", "openai.images")
            assert all(type(each) is int and 0 <= each <= MAX_QUANTITY for each in usage.units.values())


KEYS = re.findall(
    r"\w+",
    """usage type message response output choices data candidates usageMetadata promptTokensDetails modality
tokenCount input_tokens output_tokens prompt_tokens completion_tokens inputTokens outputTokens bytes promptTokenCount
iterations cacheDetails ttl service_tier server_tool_use web_search_requests""",
)
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=30,
)


@settings(max_examples=COUNTS.examples * 10, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(["application/json", SSE]),
    st.lists(junk, max_size=4),
    st.binary(max_size=9),
)
def test_no_document_makes_a_reader_fail(name: str, content_type: str, documents: list[Any], tail: bytes) -> None:
    """Whatever values stand where counts should."""
    texts = [json.dumps(each).encode() for each in documents]
    body = b"".join(b"data: " + each + b"\n\n" for each in texts) if content_type == SSE else b"".join(texts[:1])
    usage = read(make_reader(name, content_type=content_type, returns={"x": "/usage"}), body, tail)
    assert all(type(each) is int and each >= 0 for each in usage.units.values())


@pytest.mark.parametrize("content_type", [SSE, AWS, "application/json"])
def test_what_is_kept_of_a_body_is_bounded(content_type: str) -> None:
    """A body without an end, in one line or one message, is not kept."""
    reader = make_reader("openai.chat", content_type=content_type)
    prelude = (2**30).to_bytes(4) + (0).to_bytes(4)
    reader.feed(prelude + zlib.crc32(prelude).to_bytes(4) if content_type == AWS else b"data: ")
    for _ in range(3 * MAX_DOCUMENT // MAX_EVENT):
        reader.feed(b"x" * MAX_EVENT)
        assert held(reader) <= MAX_DOCUMENT + MAX_EVENT
    assert held(reader) <= MAX_EVENT
    assert reader.end() == Usage()


def held(value: object) -> int:
    """The bytes that an object keeps, in whatever of its attributes."""
    if isinstance(value, bytes | bytearray):
        return len(value)
    if isinstance(value, list):
        return sum(held(each) for each in value)
    return sum(held(each) for each in vars(value).values()) if hasattr(value, "__dict__") else 0


def test_an_event_that_is_too_long_leaves_the_usage_open_until_it_is_stated_again() -> None:
    """What was lost may have been the usage; a later word on it is enough."""
    long = b'data: {"usage": "' + b"x" * MAX_EVENT + b'"}\n\n'
    last = f"data: {CHAT % 7}\n\n".encode()
    expected = {"input_token": 7, "output_token": 4}
    assert read(make_reader("openai.chat", content_type=SSE), long, last) == Usage(expected, complete=True)
    assert read(make_reader("openai.chat", content_type=SSE), last, long) == Usage(expected, complete=False)
    many = b"data: x\n" * MAX_EVENT
    assert read(make_reader("openai.chat", content_type=SSE), last, many) == Usage(expected, complete=False)


def test_a_message_with_a_wrong_sum_is_not_believed() -> None:
    """A bit that fell over in the metadata costs the usage, not the truth."""
    message = bytearray(framed("metadata", '{"usage": {"inputTokens": 47, "outputTokens": 20}}'))
    assert read(make_reader("bedrock.converse", content_type=AWS), bytes(message)).complete
    message[-20] ^= 1
    assert read(make_reader("bedrock.converse", content_type=AWS), bytes(message)) == Usage()


def test_a_format_that_nobody_reads_is_a_mistake() -> None:
    """It is told at once, and not by bills that are never settled."""
    with pytest.raises(ValueError, match="no such format"):
        make_reader("openai.telepathy", content_type="application/json")


@pytest.mark.parametrize(
    ("name", "usage", "output"),
    [
        ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 95}, 85),
        ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, 5),
        ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5}, 5),
        ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1}, 5),
        ("openai.responses", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 95}, 85),
        ("gemini.generate", {"promptTokenCount": 10, "toolUsePromptTokenCount": 3, "totalTokenCount": 98}, 85),
    ],
)
def test_what_a_total_has_beyond_its_parts_is_charged_as_output(name: str, usage: dict[str, int], output: int) -> None:
    """Some count reasoning in the total alone; and nobody pays less for an answer that lacks one of its counts."""
    keys = ("usageMetadata", {"candidates": [{"finishReason": "STOP"}]}) if name[0] == "g" else ("usage", {})
    reader = make_reader(name, content_type="application/json")
    reader.feed(json.dumps({keys[0]: usage, **keys[1]}).encode())
    found = reader.end()
    assert (found.complete, found.units["output_token"]) == (True, output)
