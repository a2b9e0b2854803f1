"""One exchange through Envoy, message by message: nothing out before a decision, nothing in after an end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from counts import COUNTS, dice
from fakes.egress_desk import CATALOGUE, SECRET, TOKEN, WAITS, FakeDesk, answers, asks, header_map, says, tells, trails
from fakes.loop import in_loop, until
from remit._envoy.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from remit.core.egress.mcp_resume import RETRY_WAIT_SECONDS
from remit.core.egress.routing import route, terms_of
from remit.core.errors import BadRequest, StoreUnavailable, Violation
from remit.core.reason import Reason
from remit.listeners.egress_caller import Caller
from remit.listeners.envoy_exchange import (
    BODILESS_WAIT_SECONDS,
    DROPPED,
    MOST_WAIT_SECONDS,
    Broken,
    Exchange,
    State,
)
from remit.listeners.grpc_status import Overloaded
from remit.pep.meter import End, How

BEARER = ("authorization", f"Bearer {TOKEN}")
VERSION = ("mcp-protocol-version", "2025-06-18")
CHAT = b'{"model": "large", "messages": [{"role": "user", "content": "hi"}]}'
JSON, EVENTS = ("content-type", "application/json"), ("content-type", "text/event-stream")
USAGE = b'{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
CHUNK = b'data: {"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'


class Told:
    """What Envoy is told, as a test reads it."""

    def __init__(self, found: Sequence[pb.ProcessingResponse]) -> None:
        self.found = found

    @property
    def kinds(self) -> list[str | None]:
        return [each.WhichOneof("response") for each in self.found]

    @property
    def refusal(self) -> pb.ImmediateResponse:
        assert self.kinds == ["immediate_response"], self.kinds
        return self.found[0].immediate_response

    @property
    def common(self) -> pb.CommonResponse:
        (one,) = self.found
        kind = str(one.WhichOneof("response"))
        assert kind != "immediate_response", one
        common: pb.CommonResponse = getattr(one, kind).response
        return common

    @property
    def put(self) -> Mapping[str, str]:
        options = self.common.header_mutation.set_headers
        return {each.header.key: each.header.raw_value.decode("latin-1") for each in options}

    @property
    def dropped(self) -> set[str]:
        return set(self.common.header_mutation.remove_headers)

    @property
    def body(self) -> bytes:
        """The parts of a response's body that go on."""
        parts = (each.response_body.response.body_mutation.streamed_response for each in self.found)
        return b"".join(each.body for each in parts)

    @property
    def last(self) -> bool:
        return any(each.response_body.response.body_mutation.streamed_response.end_of_stream for each in self.found)


def exchange(desk: FakeDesk, listener: str = "egress") -> Exchange:
    return Exchange(desk, listener, "peer")


async def take(one: Exchange, *messages: pb.ProcessingRequest) -> Told:
    """The answers to the last of these messages."""
    found: Sequence[pb.ProcessingResponse] = ()
    for message in messages:
        found = await one.take(message)
    return Told(found)


def refusal_code(told: Told) -> tuple[int, str]:
    body = json.loads(told.refusal.body)
    return told.refusal.status.code, body["error"]["code"]


POST = "/llm/v1/chat/completions"
POSTS = asks(POST, "POST", (BEARER, JSON), over=False)


@in_loop
async def test_a_permitted_request_goes_out_by_its_route_with_the_service_s_credential() -> None:
    """In one answer where no body comes; the agent's own credential is overwritten."""
    desk = FakeDesk()
    one = exchange(desk)

    told = await take(one, asks())

    assert told.kinds == ["request_headers"] and told.common.clear_route_cache
    assert told.put["x-remit-route"] == way("crm")
    assert told.put["authorization"] == f"Bearer {SECRET.decode()}"
    assert told.put["accept-encoding"] == "identity"
    assert not told.common.HasField("body_mutation") and one.state is State.SENT


@in_loop
async def test_a_body_is_awaited_and_what_was_judged_is_sent_in_its_place() -> None:
    """The canonical body with its own length; one that is canonical already stays as it is."""
    for path, body, changed in (
        ("/llm/v1/chat/completions", CHAT, True),
        ("/crm/v1/items", b'{"a": 1}', False),
    ):
        desk = FakeDesk()
        one = exchange(desk)
        waits = await take(one, asks(path, "POST", (BEARER, JSON), over=False))
        assert waits.kinds == ["request_headers"] and not waits.common.clear_route_cache and not waits.put
        assert not desk.attempts

        told = await take(one, says(body))

        assert told.kinds == ["request_body"] and told.put["x-remit-route"].startswith("n0nce/")
        sent = told.common.body_mutation.body
        assert told.common.HasField("body_mutation") is changed
        if changed:
            assert sent == desk.permitted[0].mapped.body and b"100" in sent
            assert told.put["content-length"] == str(len(sent))
        assert desk.attempts[0].request.body == body


@in_loop
async def test_what_was_sent_is_not_kept_until_the_answer_has_ended() -> None:
    """Hundreds of streams of hours must not hold hundreds of requests; what meters and ends them stays."""
    one = exchange(FakeDesk())
    body = b'{"a": "' + b"x" * 4096 + b'"}'
    await take(one, asks("/crm/v1/items", "POST", (BEARER, JSON), over=False))
    await take(one, says(body))

    assert one.passage is not None and one.passage.mapped.body == b""
    assert (one.passage.mapped.operation, one.passage.mapped.format) == ("items", "http")


@in_loop
async def test_nothing_of_remit_s_and_no_credential_of_the_agent_s_leaves() -> None:
    """Under whichever name it came: removed, or overwritten by the service's own."""
    carried = [
        ("remit-token", TOKEN),
        *((name, TOKEN) for name in ("x-api-key", "api-key", "x-goog-api-key", "proxy-authorization")),
        ("authorization", "Bearer something else"),
        ("remit-purpose", "onboarding"),
        ("remit-invented-later", "x"),
        ("baggage", "remit.workflow=a.b.c,kept=1"),
        ("x-real-ip", "10.0.0.1"),
    ]
    for path, overwritten in (("/crm/v1/items", "authorization"), ("/claude/v1/messages", "x-api-key")):
        desk = FakeDesk()
        kind = path.startswith("/claude")
        body = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
        first = asks(path, "POST" if kind else "GET", [*carried, JSON], over=not kind)
        told = await take(exchange(desk), first, *([says(body)] if kind else []))

        gone = told.dropped | set(told.put)
        assert {name for name, _ in carried} <= gone and set(DROPPED) <= gone
        assert told.put[overwritten].endswith(SECRET.decode()) and overwritten not in told.dropped
        assert told.put["baggage"] == "kept=1"
        assert TOKEN not in str(told.put)


@in_loop
async def test_where_a_service_has_no_credential_the_agent_s_is_removed() -> None:
    told = await take(
        exchange(FakeDesk(), "proxy"),
        asks("", "CONNECT", [("proxy-authorization", f"Bearer {TOKEN}")], over=False, authority="http.example:443"),
    )

    assert told.put == {"x-remit-route": way("pipe")}
    assert {"authorization", "proxy-authorization", "baggage"} <= told.dropped


@pytest.mark.parametrize(
    ("setting", "status", "code"),
    [
        ({"denies": Reason.BUDGET_EXHAUSTED}, 403, "budget_exhausted"),
        ({"denies": Reason.ENDPOINT_UNAVAILABLE}, 503, "endpoint_unavailable"),
        ({"failure": StoreUnavailable("the disk")}, 503, "store_unavailable"),
        ({"failure": Overloaded("full")}, 429, "overloaded"),
        ({"failure": BadRequest(Violation("usage.x", "less"))}, 403, "request_malformed"),
    ],
    ids=lambda value: str(value),
)
@in_loop
async def test_a_refusal_answers_before_anything_is_sent(setting: dict[str, object], status: int, code: str) -> None:
    """At the headers or at the body; it is over then, there is nothing to settle, and nothing more is taken."""
    for messages in ([asks()], [POSTS, says(CHAT)]):
        desk = FakeDesk(**setting)  # type: ignore[arg-type]
        one = exchange(desk)

        told = await take(one, *messages)

        assert refusal_code(told) == (status, code) and SECRET not in told.found[0].SerializeToString()
        assert (one.state, one.passage, one.end, desk.refusals) == (State.OVER, None, None, [code])
        for more in (says(b"x"), asks(), answers()):
            with pytest.raises(Broken):
                await take(one, more)


@pytest.mark.parametrize(
    "headers", [(), (("authorization", "Bearer sk-nobody"),), (BEARER, BEARER)], ids=["none", "unknown", "twice"]
)
@in_loop
async def test_who_is_nobody_is_refused_before_its_body_is_looked_at(headers: tuple[tuple[str, str], ...]) -> None:
    for over in (True, False):
        desk = FakeDesk()
        told = await take(exchange(desk), asks(headers=headers, over=over))
        assert told.refusal.status.code == 401 and len(desk.nobody) == 1 and not desk.attempts
    told = await take(exchange(FakeDesk(), "proxy"), asks(headers=headers))
    names = [each.header.key for each in told.refusal.headers.set_headers]
    assert "proxy-authenticate" in names


@in_loop
async def test_a_malformed_context_is_judged_as_such_and_not_as_none() -> None:
    desk = FakeDesk()
    told = await take(exchange(desk), asks(headers=(BEARER, ("remit-purpose", "NO"))))
    assert refusal_code(told) == (403, "context_invalid")
    objection = desk.attempts[0].objection
    assert objection is not None and objection.binding


@in_loop
async def test_a_whole_answer_passes_and_its_usage_settles_the_call() -> None:
    """Byte by byte, except for what the guard holds back until it is sure."""
    for headers, text in (((JSON,), USAGE), ((EVENTS,), CHUNK + b"data: [DONE]\n\n")):
        desk = FakeDesk()
        one = exchange(desk)
        begins = await take(one, POSTS, says(CHAT), answers(headers=headers))
        assert begins.put == {"remit-decision": "d1"} and one.end is None

        out, last = b"", False
        for place in range(len(text)):
            told = await take(one, tells(text[place : place + 1], over=place == len(text) - 1))
            out, last = out + told.body, told.last

        assert (out, last, one.state) == (text, True, State.OVER)
        assert (
            one.end == End(How.SUCCEEDED, {"input_token": 5, "output_token": 2}, complete=True) or one.end is not None
        )
        assert one.end.how is How.SUCCEEDED and one.end.complete and one.end.usage["output_token"] == 2
        one.cut("the stream ended")
        assert one.end.how is How.SUCCEEDED


@in_loop
async def test_an_upstream_s_refusal_passes_and_is_a_failure() -> None:
    one = exchange(FakeDesk())
    told = await take(one, POSTS, says(CHAT), answers("429", (JSON,)), tells(b'{"error":{}}', over=True))
    assert told.body == b'{"error":{}}' and one.end is not None and one.end.how is How.FAILED
    bare = exchange(FakeDesk())
    await take(bare, asks(), answers("204", over=True))
    assert bare.end is not None and bare.end.how is How.SUCCEEDED and bare.state is State.OVER


@in_loop
async def test_trailers_end_a_body_and_what_was_held_goes_before_them() -> None:
    """No part of such a body says that it is the last one; nothing of it is lost."""
    for path, over in (("/calls/pkg.S/M", False), ("/crm/v1/items", True)):
        one = exchange(FakeDesk())
        begun = [asks(path, "POST" if not over else "GET", (BEARER,), over=over), *([] if over else [says(b"\x00")])]
        first = await take(one, *begun, answers(), tells(b"ends like the secret: sk-of-the-ser"))

        told = await take(one, trails([("grpc-status", "0")]))

        assert first.body + told.body == b"ends like the secret: sk-of-the-ser" and not told.last
        assert told.kinds[-1] == "response_trailers" and first.body != b"ends like the secret: sk-of-the-ser"
        assert one.state is State.OVER and one.end is not None and one.end.how is How.SUCCEEDED


ECHO = b"before " + SECRET + b" after"


@pytest.mark.parametrize("cut", range(len(b"before ") - 1, len(ECHO)))
@in_loop
async def test_a_credential_that_comes_back_is_cut_wherever_the_chunks_are(cut: int) -> None:
    """JSON is refused, or cut where its headers are gone: a half is no answer. Of events, one says why, the last."""
    for headers in ((JSON,), (EVENTS,)):
        desk = FakeDesk()
        one = exchange(desk)
        await take(one, asks(), answers(headers=headers))
        first = await take(one, tells(ECHO[:cut]))
        told = first if one.end is not None else await take(one, tells(ECHO[cut:], over=True))
        out = first.body + told.body

        assert SECRET not in out and b"after" not in out
        if headers == (JSON,):
            assert refusal_code(told) == (502, "credential_echoed")
        else:
            assert b"credential_echoed" in out
        assert one.end is not None and one.end.how is How.CUT and desk.refusals == ["credential_echoed"]


@in_loop
async def test_a_credential_in_a_header_or_a_trailer_does_not_go_on() -> None:
    one = exchange(FakeDesk())
    told = await take(one, asks(), answers(headers=[("x-debug", f"key={SECRET.decode()}")]))
    assert refusal_code(told) == (502, "credential_echoed") and one.end is not None and one.end.how is How.CUT
    other = exchange(FakeDesk())
    await take(other, asks(), answers(), tells(b"x"))
    with pytest.raises(Broken):
        await take(other, trails([("x-debug", SECRET.decode())]))
    assert other.end is not None and other.end.how is How.CUT


@pytest.mark.parametrize(
    "headers",
    [
        [("content-encoding", "gzip")],
        [("content-encoding", "GZip")],
        [("content-encoding", "identity, br")],
        [("content-encoding", "gzip"), ("content-encoding", "identity")],
    ],
    ids=str,
)
@in_loop
async def test_an_encoded_answer_cannot_be_looked_at_and_does_not_go_on(headers: list[tuple[str, str]]) -> None:
    one = exchange(FakeDesk())
    told = await take(one, asks(), answers(headers=headers))
    assert refusal_code(told) == (502, "upstream_encoded") and one.end is not None and one.end.how is How.CUT
    with pytest.raises(Broken):
        await take(exchange(FakeDesk()), answers(headers=headers))
    plain = await take(exchange(FakeDesk()), asks(), answers(headers=[("content-encoding", "identity")]))
    assert plain.kinds == ["response_headers"]


@in_loop
async def test_a_compressed_grpc_answer_cannot_be_looked_at_either() -> None:
    asked = [asks("/calls/pkg.S/M", "POST", over=False), says(b"\x00")]
    sent = await take(exchange(FakeDesk()), *asked)
    assert sent.put["grpc-accept-encoding"] == "identity"
    told = await take(exchange(FakeDesk()), *asked, answers(headers=[("grpc-encoding", "gzip")]))
    assert told.kinds == ["immediate_response"]


@pytest.mark.parametrize(
    ("details", "status", "how"),
    [
        ("no_healthy_upstream", 503, How.NOT_SENT),
        ("cluster_not_found", 503, How.NOT_SENT),
        ("direct_response", 503, How.NOT_SENT),
        ("upstream_reset_before_response_started{remote_connection_failure|refused}", 503, How.NOT_SENT),
        ("upstream_reset_before_response_started{connection_timeout}", 503, How.NOT_SENT),
        ("upstream_reset_before_response_started{connection_termination}", 502, How.CUT),
        ("upstream_response_timeout", 502, How.CUT),
        ("something_new", 502, How.CUT),
    ],
)
@in_loop
async def test_what_envoy_answers_in_the_upstream_s_place_is_not_the_upstream_s_word(
    details: str, status: int, how: How
) -> None:
    """Voided only where it is certain that nothing was sent."""
    one = exchange(FakeDesk())
    told = await take(one, asks(), answers("503", details=details))
    assert told.refusal.status.code == status and one.end is not None and one.end.how is how
    assert one.state is State.OVER and told.refusal.body


@in_loop
async def test_envoy_s_own_refusal_of_a_request_is_answered_and_on_record() -> None:
    """Too large, where the caller is known: a denial. Where nobody is known yet: counted."""
    desk = FakeDesk()
    one = exchange(desk)
    told = await take(one, POSTS, answers("413", details="request_payload_too_large"))
    assert refusal_code(told) == (413, "request_malformed") and one.state is State.OVER
    assert desk.attempts[0].objection is not None and desk.attempts[0].objection.binding and not desk.permitted
    for details, status in (("request_payload_too_large", "413"), ("path_normalization_failed", "400")):
        early = FakeDesk()
        told = await take(exchange(early), answers(status, details=details))
        assert refusal_code(told) == (int(status), "request_malformed") and early.nobody and not early.attempts
        assert (b"body_bytes" in told.refusal.body) is (status == "413")
    told = await take(exchange(FakeDesk()), answers("403", details="upgrade_failed"))
    assert b"WebSockets" in told.refusal.body
    one = exchange(FakeDesk())
    await take(one, answers("413", details="request_payload_too_large"))
    assert await one.take(tells(b"Payload Too Large", over=True)) == []
    down = FakeDesk(failure=StoreUnavailable("the disk"))
    assert refusal_code(await take(exchange(down), POSTS, answers("413", details="too_large")))[0] == 503


@in_loop
async def test_a_request_with_trailers_is_refused_and_says_so() -> None:
    """Nobody would look at them; Envoy says that they come by a body that is not the end."""
    one = exchange(FakeDesk())
    assert refusal_code(await take(one, POSTS, says(b"{}", over=False))) == (403, "request_malformed")
    assert one.state is State.OVER


@pytest.mark.parametrize(
    "messages",
    [
        [answers(details="")],
        [answers()],
        [tells(b"x")],
        [trails()],
        [says(b"x")],
        [POSTS, tells(b"x")],
        [POSTS, trails()],
        [POSTS, POSTS],
        [asks(), says(b"x")],
        [asks(), asks()],
        [asks(), tells(b"x")],
        [asks(), trails()],
        [asks(), answers("")],
        [asks(), answers("abc")],
        [asks(), answers("2\u00b2")],
        [asks(), answers(), answers()],
        [asks(), answers(), asks()],
        [asks(), answers(), says(b"x")],
        [pb.ProcessingRequest()],
        [pb.ProcessingRequest(request_trailers=pb.HttpTrailers(trailers=header_map([])))],
    ],
    ids=lambda value: "-".join(str(each.WhichOneof("request")) for each in value),
)
@in_loop
async def test_an_order_that_envoy_never_sends_breaks_the_stream(messages: list[pb.ProcessingRequest]) -> None:
    desk = FakeDesk()
    one = exchange(desk)
    await take(one, *messages[:-1])
    with pytest.raises(Broken):
        await take(one, messages[-1])
    one.cut("the stream ended")
    assert (one.end is None) is (not desk.permitted)


STATES: Mapping[str, list[pb.ProcessingRequest]] = {
    "new": [],
    "known": [POSTS],
    "sent": [POSTS, says(CHAT)],
    "json": [POSTS, says(CHAT), answers(headers=(JSON,)), tells(b'{"usage"')],
    "events": [POSTS, says(CHAT), answers(headers=(EVENTS,)), tells(CHUNK)],
    "over": [POSTS, says(CHAT), answers(headers=(JSON,)), tells(USAGE, over=True)],
    "refused": [asks(headers=())],
}


@pytest.mark.parametrize("name", STATES)
@in_loop
async def test_a_stop_ends_it_in_every_state(name: str) -> None:
    """Events end with one that says why; all else is aborted. What was begun is cut, what was over stays."""
    desk = FakeDesk()
    one = exchange(desk)
    await take(one, *STATES[name])
    before = one.end

    last = one.stop(Reason.HALTED)

    assert one.state is State.OVER
    assert (last is not None) is (name == "events")
    if last is not None:
        assert b"halted" in Told([last]).body and Told([last]).last
        assert (await take(one, tells(SECRET, over=True))).body == b""
    if name in ("sent", "json", "events"):
        # A chunk with usage and no choices is a stream's last word: all is told, although nobody waited for the end.
        assert one.end is not None and one.end.how is How.CUT and one.end.complete is (name == "events")
    else:
        assert one.end is before
    if name == "events":
        assert one.end is not None and one.end.usage["output_token"] == 2
    after = one.end
    one.stop(Reason.HALTED)
    one.cut("again")
    one.withdraw()
    assert one.end is after


@pytest.mark.parametrize("name", STATES)
@in_loop
async def test_a_withdrawal_voids_what_was_decided_and_not_answered(name: str) -> None:
    one = exchange(FakeDesk())
    await take(one, *STATES[name])
    before = one.end

    one.withdraw()

    expected = How.NOT_SENT if name in ("sent", "json", "events") else before.how if before else None
    assert (one.end.how if one.end else None) == expected and one.state is State.OVER


@in_loop
async def test_a_stop_while_the_answer_is_prepared_lets_nothing_of_it_on() -> None:
    """An MCP server's list waits for policy; a halt meanwhile ends it."""
    desk = FakeDesk()
    one = exchange(desk)
    lists = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    sent = await take(
        one,
        asks(
            "/mcp/tools", "POST", (BEARER, JSON, ("accept", "application/json, text/event-stream"), VERSION), over=False
        ),
        says(lists),
    )
    assert sent.kinds == ["request_body"], sent.found
    desk.gate = asyncio.Event()
    taking = asyncio.ensure_future(one.take(answers(headers=(JSON,))))
    await asyncio.sleep(0)

    one.stop(Reason.HALTED)
    desk.gate.set()

    with pytest.raises(Broken):
        await taking
    assert one.state is State.OVER and one.end is not None and one.end.how is How.CUT


@in_loop
async def test_a_tunnel_opens_by_its_route_and_counts_as_done_once_it_was_open() -> None:
    """Nothing of it passes the sidecar; a service that is not opaque is refused by the decision."""
    connect = asks(
        "", "CONNECT", [("proxy-authorization", f"Bearer {TOKEN}")], over=False, authority="http.example:443"
    )
    for messages, how in (([connect], How.CUT), ([connect, answers()], How.SUCCEEDED)):
        desk = FakeDesk()
        one = exchange(desk, "proxy")
        await take(one, *messages)
        assert desk.attempts[0].tunnel and desk.attempts[0].endpoints == {"main"}
        one.cut("the client left")
        assert one.end is not None and one.end.how is how
    with pytest.raises(Broken):
        await take(exchange(FakeDesk(), "proxy"), connect, answers(), tells(b"x"))
    refused = exchange(FakeDesk(), "proxy")
    told = await take(refused, connect, answers("503", details="no_healthy_upstream"))
    assert told.refusal.status.code == 503 and refused.end is not None and refused.end.how is How.NOT_SENT


# --- any order at all


def anything(rng: random.Random) -> pb.ProcessingRequest:
    """A message of any kind: most of them such as Envoy sends."""
    over = rng.random() < 0.4
    odd = rng.choice(["\xff", "", "a,b", "%", "x" * 3000])
    return rng.choice(
        [
            lambda: asks(over=over),
            lambda: POSTS,
            lambda: asks("/calls/pkg.S/M", "POST", over=False),
            lambda: asks(rng.choice(["", "/", "/db", "/tools/x", "/llm/\xff", "//"]), over=over),
            lambda: asks(headers=(BEARER, (rng.choice(["remit-key", "baggage", "traceparent", "x"]), odd)), over=over),
            lambda: asks("", "CONNECT", over=over, authority=rng.choice(["http.example:443", odd])),
            lambda: says(rng.choice([CHAT, b"", b"\xff\x00", b"[" * 500]), over=not over),
            lambda: answers(
                rng.choice(["200", "200", "503", odd]), rng.choice([(JSON,), (EVENTS,), ((odd or "x", odd),)])
            ),
            lambda: answers(over=over, details=rng.choice(["", "via_upstream", "no_healthy_upstream", "x"])),
            lambda: tells(rng.choice([USAGE, CHUNK, SECRET[:9], SECRET, b"", b"\xff"]), over=over),
            lambda: trails(((odd or "x", odd),)),
            lambda: pb.ProcessingRequest(),
        ]
    )()


def passed(told: Iterable[pb.ProcessingResponse]) -> bool:
    """Whether any of it lets something of a response, or of a request by its route, go on."""
    for each in told:
        kind = each.WhichOneof("response")
        if kind in ("response_headers", "response_body", "response_trailers"):
            return True
        if kind in ("request_headers", "request_body") and b"x-remit-route" in each.SerializeToString():
            return True
    return False


async def fuzz(rng: random.Random, make: Callable[[FakeDesk], Exchange], runs: int) -> None:
    """Any messages in any order: Broken or an answer, nothing on before a decision, one end at most."""
    for _ in range(runs):
        desk = FakeDesk(denies=rng.choice([None, None, None, Reason.HALTED]))
        one = make(desk)
        out, ends = b"", list[End]()
        try:
            begun = rng.choice(list(STATES.values()))
            for message in [*begun, *(anything(rng) for _ in range(rng.randrange(1, 6)))]:
                if rng.random() < 0.05:
                    one.stop(Reason.HALTED)
                told = await one.take(message)
                assert desk.permitted or not passed(told), "something went on that nobody had permitted"
                out += Told(told).body
                ends += [one.end] if one.end is not None and one.end not in ends else []
        except Broken:
            pass
        one.cut("the stream ended")
        assert SECRET not in out and len(ends) <= 1 and (not ends or one.end is ends[0])
        assert (one.end is not None) is bool(desk.permitted) and one.state is State.OVER


@in_loop
async def test_no_order_of_messages_lets_anything_on_that_was_not_permitted() -> None:
    await fuzz(dice("exchange"), lambda desk: exchange(desk), 25 * COUNTS.examples)


class Trusting(Exchange):
    """An exchange with a bug: trailers always pass."""

    def _trailers(self, message: pb.HttpTrailers) -> Sequence[pb.ProcessingResponse]:
        return [pb.ProcessingResponse(response_trailers=pb.TrailersResponse())]


class Hasty(Exchange):
    """An exchange with a bug: it answers for the upstream before anything was decided."""

    async def _local(self, details: str) -> pb.ProcessingResponse:
        return pb.ProcessingResponse(response_headers=pb.HeadersResponse())


@pytest.mark.parametrize("planted", [Trusting, Hasty])
@in_loop
async def test_the_search_finds_a_planted_bug(planted: type[Exchange]) -> None:
    with pytest.raises(AssertionError, match="nobody had permitted"):
        await fuzz(dice("planted"), lambda desk: planted(desk, "egress", "peer"), 25 * COUNTS.examples)


def way(service: str) -> str:
    """Where a call to a service goes."""
    return route("n0nce", service, "main", terms_of(CATALOGUE.services[service], "main"))


def headers_of(told: Told) -> dict[str, str]:
    return {each.header.key: each.header.raw_value.decode() for each in told.refusal.headers.set_headers}


@in_loop
async def test_a_held_call_is_refused_and_names_what_it_waits_for() -> None:
    """Not to be tried again by the client itself; nothing is settled."""
    desk = FakeDesk(holds=WAITS)
    one = exchange(desk)

    told = await take(one, POSTS, says(CHAT))

    assert refusal_code(told) == (403, "approval_required") and one.end is None
    headers, error = headers_of(told), json.loads(told.refusal.body)["error"]
    assert (headers["remit-approval"], headers["remit-decision"], headers["x-should-retry"]) == ("a1", "d1", "false")
    assert "lead or people with the role finance" in error["message"] and "2027-01-15T08:00:00Z" in error["message"]
    assert error["remit"]["approvals"][0]["id"] == "a1"


@pytest.mark.parametrize(
    ("asked", "over", "waits"),
    [("", False, 0), ("90", False, 90), ("3600", False, MOST_WAIT_SECONDS), ("90", True, BODILESS_WAIT_SECONDS)],
)
@in_loop
async def test_a_call_waits_as_long_as_it_says_and_envoy_bears(asked: str, over: bool, waits: int) -> None:
    """Envoy's clock for a whole request does not stop for one that has no body."""
    desk = FakeDesk(holds=WAITS)
    wait = [("remit-wait", asked)] if asked else []
    messages = [asks(headers=[BEARER, *wait])] if over else [asks(POST, "POST", [BEARER, JSON, *wait], over=False)]

    await take(exchange(desk), *messages, *([] if over else [says(CHAT)]))

    assert desk.attempts[0].wait == waits * 10**9


@in_loop
async def test_what_is_approved_while_it_waits_goes_out_as_any_other() -> None:
    desk, asked = FakeDesk(holds=WAITS), []

    async def hold_on(wait: int) -> None:
        asked.append(wait)

    one = Exchange(desk, "egress", "peer", caller=Caller(hold_on))
    taking = asyncio.ensure_future(
        take(one, asks(POST, "POST", [BEARER, JSON, ("remit-wait", "9")], over=False), says(CHAT))
    )
    await until(lambda: bool(desk.waiting))
    assert asked == [9 * 10**9]
    desk.approved.set()

    assert (await taking).put["x-remit-route"] == way("llm") and one.state is State.SENT


def tool(**params: object) -> bytes:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    said = {"name": "t", "arguments": {}, "_meta": meta, **params}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": said}).encode()


@in_loop
async def test_a_held_tool_is_tried_again_by_its_client_and_each_try_is_kept_open_for_a_while() -> None:
    """The first is answered at once; where there is no place to wait in, the client is not to try again at once."""
    newest = [
        BEARER,
        JSON,
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t"),
    ]
    asked = asks("/mcp/tools", "POST", newest, over=False)
    desk = FakeDesk(holds=WAITS)
    first = await take(Exchange(desk, "egress", "peer", caller=Caller()), asked, says(tool()))
    assert first.refusal.status.code == 200 and desk.attempts[0].wait == 0
    state = json.loads(first.refusal.body)["result"]["requestState"]

    again = [asked, says(tool(requestState=state))]
    gone = Caller()
    gone.leave()
    told = await take(Exchange(desk, "egress", "peer", caller=gone), *again)
    assert desk.attempts[1].wait == RETRY_WAIT_SECONDS * 10**9
    assert json.loads(told.refusal.body)["result"]["resultType"] == "input_required"

    crowded = Caller()
    crowded.turn_away()
    crowded.leave()
    told = await take(Exchange(desk, "egress", "peer", caller=crowded), *again)
    assert json.loads(told.refusal.body)["result"]["isError"] is True
