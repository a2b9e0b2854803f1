"""Requests that two readers cut differently, and headers that a reader further on would believe.

The upstream must see exactly the requests that have an ALLOW, each as the journal says, however many were hidden in
how few; and of what an agent says about credentials, routes, hops and timeouts, nothing at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from fakes.egress_stage import KEY, PROXY_TOKEN, TOKEN, TOKENS, Heard, Stage, reason, request, stage, talk
from listeners.raw_http2 import DATA, END_HEADERS, END_STREAM, HEADERS, Ended, Fields, block, connect, frame

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

HIDDEN = "GET /api/v1/items/hidden HTTP/1.1\r\nhost: x\r\n\r\n"
JSON = "content-type: application/json\r\n"
CHAT = f"POST /api/v1/chat HTTP/1.1\r\nhost: x\r\n{TOKEN}{JSON}"
ITEM = f"GET /api/v1/items/3 HTTP/1.1\r\nhost: x\r\n{TOKEN}"
BODY = '{"a":"1"}'
CHUNKED = "transfer-encoding: chunked\r\n"

SMUGGLED = {
    "CL and TE": f"{CHAT}content-length: 4\r\n{CHUNKED}\r\n0\r\n\r\n{HIDDEN}",
    "TE and CL": f"{CHAT}{CHUNKED}content-length: 100\r\n\r\n0\r\n\r\n{HIDDEN}",
    "two CL": f"{CHAT}content-length: 9\r\ncontent-length: 70\r\n\r\n{BODY}{HIDDEN}",
    "two equal CL": f"{CHAT}content-length: 9\r\ncontent-length: 9\r\n\r\n{BODY}{HIDDEN}",
    "CL +9": f"{CHAT}content-length: +9\r\n\r\n{BODY}{HIDDEN}",
    "CL 0x9": f"{CHAT}content-length: 0x9\r\n\r\n{BODY}{HIDDEN}",
    "CL -1": f"{CHAT}content-length: -1\r\n\r\n{BODY}{HIDDEN}",
    "CL 9 behind spaces": f"{CHAT}content-length:   9  \r\n\r\n{BODY}{HIDDEN}",
    "CL 2^64+9": f"{CHAT}content-length: 18446744073709551625\r\n\r\n{BODY}{HIDDEN}",
    "CL empty": f"{CHAT}content-length:\r\n\r\n{BODY}{HIDDEN}",
    "CL with a space before the colon": f"{CHAT}content-length : 9\r\n\r\n{BODY}{HIDDEN}",
    "TE chunked, identity": f"{CHAT}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE identity": f"{CHAT}transfer-encoding: identity\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE gzip, chunked": f"{CHAT}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE xchunked": f"{CHAT}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE twice": f"{CHAT}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n{HIDDEN}",
    "TE and another TE": f"{CHAT}{CHUNKED}transfer-encoding: x\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE with a space before the colon": f"{CHAT}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE behind a vertical tab": f"{CHAT}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE folded": f"{CHAT}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    "TE with an underscore": f"{CHAT}transfer_encoding: chunked\r\ncontent-length: 9\r\n\r\n{BODY}{HIDDEN}",
    "chunk of 0x9": f"{CHAT}{CHUNKED}\r\n0x9\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk of +9": f"{CHAT}{CHUNKED}\r\n+9\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk of -9": f"{CHAT}{CHUNKED}\r\n-9\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk that overflows": f"{CHAT}{CHUNKED}\r\nFFFFFFFFFFFFFFFF9\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk lines that end in LF": f"{CHAT}{CHUNKED}\r\n9\n{BODY}\n0\n\n{HIDDEN}",
    "chunk with an extension": f"{CHAT}{CHUNKED}\r\n9;a=b\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk with a line end in its extension": f"{CHAT}{CHUNKED}\r\n9;a\nx\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunk without its line end": f"{CHAT}{CHUNKED}\r\n9\r\n{BODY}0\r\n\r\n{HIDDEN}",
    "chunk longer than it says": f"{CHAT}{CHUNKED}\r\n5\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "chunks, then trailers": f"{CHAT}{CHUNKED}\r\n9\r\n{BODY}\r\n0\r\nauthorization: t\r\nhost: t\r\n\r\n{HIDDEN}",
    "plain chunks": f"{CHAT}{CHUNKED}\r\n4\r\n{BODY[:4]}\r\n5\r\n{BODY[4:]}\r\n0\r\n\r\n{HIDDEN}",
    "a request as the body of a GET": f"{ITEM}content-length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    "a request behind a GET": f"{ITEM}\r\n{HIDDEN}",
    "a folded header": f"{ITEM}x-a: b\r\n GET /api/v1/items/hidden HTTP/1.1\r\n\r\n",
    "a header without a colon": f"{ITEM}GET /api/v1/items/hidden HTTP/1.1\r\n\r\n",
    "a header with a space in its name": f"{ITEM}x a: b\r\n\r\n",
    "a header with no name": f"{ITEM}: b\r\n\r\n",
    "NUL in a value": f"{ITEM}x-a: b\0c\r\n\r\n",
    "NUL in a name": f"{ITEM}x-\0a: b\r\n\r\n",
    "a bare CR in a value": f"{ITEM}x-a: b\rhost: y\r\n\r\n",
    "lines that end in LF": ITEM.replace("\r\n", "\n") + "\n",
    "a space before the method": f" {ITEM}\r\n",
    "CRLF in the path": ITEM.replace("items/3", "items/3 HTTP/1.1\r\nx: y") + "\r\n",
    "bare LF in the path": ITEM.replace("items/3", "items/3\nx:y") + "\r\n",
    "a tab for a space": ITEM.replace("GET ", "GET\t") + "\r\n",
    "two spaces": ITEM.replace("GET ", "GET  ") + "\r\n",
    "a method in two": ITEM.replace("GET", "GE T") + "\r\n",
    "a method in small letters": ITEM.replace("GET", "get") + "\r\n",
    "a method of its own": ITEM.replace("GET", "FETCH") + "\r\n",
    "TRACE": ITEM.replace("GET", "TRACE") + "\r\n",
    "OPTIONS": ITEM.replace("GET", "OPTIONS") + "\r\n",
    "OPTIONS *": ITEM.replace("GET /api/v1/items/3", "OPTIONS *") + "\r\n",
    "CONNECT": ITEM.replace("GET /api/v1/items/3", "CONNECT x:1") + "\r\n",
    "CONNECT with a path": ITEM.replace("GET", "CONNECT") + "\r\n",
    "HTTP/0.9": "GET /api/v1/items/3\r\n",
    "HTTP/1.0": ITEM.replace("1.1", "1.0", 1) + "\r\n",
    "HTTP/1.0 with chunks": CHAT.replace("1.1", "1.0", 1) + f"{CHUNKED}\r\n9\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}",
    "HTTP/1.2": ITEM.replace("1.1", "1.2", 1) + "\r\n",
    "HTTP/2.0 in words": ITEM.replace("1.1", "2.0", 1) + "\r\n",
    "an absolute target": ITEM.replace("/api", "http://127.0.0.1/api", 1) + "\r\n",
    "an absolute target elsewhere": ITEM.replace("/api", "http://evil.example/api", 1) + "\r\n",
    "two hosts": f"{ITEM}host: evil.example\r\n\r\n",
    "no host": ITEM.replace("host: x\r\n", "") + "\r\n",
    "a list of hosts": ITEM.replace("host: x", "host: x, y") + "\r\n",
    "an upgrade to h2c": f"{ITEM}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n\r\n",
    "an upgrade to a websocket": f"{ITEM}connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "half a request": ITEM,
    "half a body": f"{CHAT}content-length: 20\r\n\r\n{BODY}",
    "expects to go on": f"{CHAT}expect: 100-continue\r\ncontent-length: 9\r\n\r\n{BODY}{HIDDEN}",
}


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


def tidy(on: Stage) -> None:
    """Every request at the upstream has an ALLOW of its own, one length, and nothing of `host: evil`."""
    assert on.reckon() == []
    for got in on.api.got:
        assert len(got.all("content-length")) + len(got.all("transfer-encoding")) <= 1, got
        assert got.all("host") == [f"127.0.0.1:{on.api.port}"]
        assert got.all("authorization") == [f"Bearer {KEY}"]
        assert re.search(rb"\n(?<!\r\n)|\r(?!\n)", got.head) is None, got


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_two_readers_cut_differently_arrives_as_it_was_judged_or_not_at_all(on: Stage, name: str) -> None:
    """On one connection that stays open, a second request hidden behind or in the first: it shows who asks nowhere."""
    on.page()

    def owed(heard: Heard) -> bool:
        return len(on.api.got) > heard.statuses.count(200)

    heard = talk(on.egress, SMUGGLED[name].encode("latin-1"), whole=0.6, rest=0.15, owed=owed)
    tidy(on)
    targets = [got.target for got in on.api.got]
    assert "/base/v1/items/hidden" not in targets
    assert len(targets) <= 1
    assert len(targets) == heard.statuses.count(200)


def test_requests_of_one_connection_are_judged_each_for_itself(on: Stage) -> None:
    """Pipelined: allowed, refused, nobody's, allowed; answered in order, and two arrive."""
    on.page()
    parts = [f"{ITEM}\r\n", ITEM.replace("v1/items", "v1/secret") + "\r\n", HIDDEN, f"{ITEM}\r\n".replace("s/3", "s/4")]
    heard = talk(on.egress, "".join(parts).encode(), rest=0.5)
    assert heard.statuses == [200, 403, 401, 200]
    assert [got.target for got in on.api.got] == ["/base/v1/items/3", "/base/v1/items/4"]
    tidy(on)


def test_a_body_that_is_sent_byte_by_byte_is_judged_whole(on: Stage) -> None:
    """In chunks of one byte, each a segment of its own."""
    on.page()
    head = f"{CHAT}{CHUNKED}connection: close\r\n\r\n".encode()
    chunks = [b"1\r\n%c\r\n" % byte for byte in BODY.encode()]
    assert talk(on.egress, head, *chunks, b"0\r\n\r\n").status == 200
    assert [got.body for got in on.api.got] == [BODY.encode()]
    tidy(on)


def test_a_rewritten_body_has_one_length(on: Stage) -> None:
    """The sidecar puts a cap in: whatever length or chunks the agent sent, the upstream sees one right length."""
    on.page()
    body = b'{"model":"small","messages":[{"role":"user","content":"hi"}]}'
    path = "/model/v1/chat/completions"
    sized = f"POST {path} HTTP/1.1\r\nhost: x\r\n{TOKEN}{JSON}content-length: {len(body)}\r\n\r\n".encode() + body
    chunked = f"POST {path} HTTP/1.1\r\nhost: x\r\n{TOKEN}{JSON}{CHUNKED}\r\n{len(body):x}\r\n".encode() + body
    assert talk(on.egress, sized).status == 200
    assert talk(on.egress, chunked + b"\r\n0\r\n\r\n").status == 200
    assert [got.all("content-length") for got in on.api.got] == [[str(len(got.body))] for got in on.api.got]
    assert all(b"50" in got.body for got in on.api.got)
    tidy(on)


PSEUDO = {b":method": b"GET", b":scheme": b"http", b":authority": b"x", b":path": b"/api/v1/items/3"}
WHO = (b"remit-token", TOKENS["support"].encode())


def fields(*more: tuple[bytes, bytes], **changed: bytes | None) -> Fields:
    """A request's fields; `changed` names pseudo-headers without their colon, None leaves one out."""
    pseudo = {**PSEUDO, **{b":" + name.encode(): value for name, value in changed.items()}}
    return [*((name, value) for name, value in pseudo.items() if value is not None), WHO, *more]


STREAMS: dict[str, Fields] = {
    "no path": fields(path=None),
    "no method": fields(method=None),
    "no scheme": fields(scheme=None),
    "no authority": fields(authority=None),
    "an empty path": fields(path=b""),
    "a path without a slash": fields(path=b"api/v1/items/3"),
    "a path that is a URL": fields(path=b"http://evil.example/api/v1/items/3"),
    "a path with a space": fields(path=b"/api/v1/items/3 HTTP/1.1"),
    "a path with a request in it": fields(path=b"/api/v1/items/3 HTTP/1.1\r\nhost: x\r\n\r\nGET /api/v1/items/hidden"),
    "a path with NUL": fields(path=b"/api/v1/items/\0"),
    "a path of bytes": fields(path=b"/api/v1/items/\xff\xfe"),
    "two paths": fields((b":path", b"/api/v1/items/hidden")),
    "two methods": fields((b":method", b"POST")),
    "two authorities": fields((b":authority", b"y")),
    "a pseudo-header behind others": [*fields(path=None), (b":path", b"/api/v1/items/3")],
    "a pseudo-header of its own": [(b":route", b"x"), *fields()],
    "a status": [(b":status", b"200"), *fields()],
    "another host": fields((b"host", b"evil.example")),
    "two hosts": fields((b"host", b"x"), (b"host", b"y")),
    "a method with a request in it": fields(method=b"GET /api/v1/items/hidden HTTP/1.1\r\nx: y\r\n\r\nGET"),
    "a method with a space": fields(method=b"GE T"),
    "CONNECT": fields(method=b"CONNECT", scheme=None, path=None),
    "CONNECT to a path": fields(method=b"CONNECT"),
    "extended CONNECT": [(b":protocol", b"websocket"), *fields(method=b"CONNECT")],
    "TRACE": fields(method=b"TRACE"),
    "a scheme with a request in it": fields(scheme=b"http\r\nx: y"),
    "another scheme": fields(scheme=b"file"),
    "an authority with a line end": fields(authority=b"x\r\nx: y"),
    "an authority with a user": fields(authority=b"user@x"),
    "a name in capitals": fields((b"X-A", b"b")),
    "a name with a line end": fields((b"x-a: b\r\nx-remit-route", b"c")),
    "a name with a colon": fields((b"x-a:", b"b")),
    "no name": fields((b"", b"b")),
    "a value with a line end": fields((b"x-a", b"b\r\nauthorization: c")),
    "a value with a line feed": fields((b"x-a", b"b\nauthorization: c")),
    "a value with NUL": fields((b"x-a", b"b\0")),
    "a connection header": fields((b"connection", b"keep-alive")),
    "a transfer encoding": fields((b"transfer-encoding", b"chunked")),
    "an upgrade": fields((b"upgrade", b"h2c")),
    "a proxy connection": fields((b"proxy-connection", b"keep-alive")),
    "another TE": fields((b"te", b"chunked")),
    "a length without a body": fields((b"content-length", b"5")),
    "two lengths": fields((b"content-length", b"0"), (b"content-length", b"5")),
}


async def _streamed(on: Stage, sent: Fields, *frames: bytes, half_close: bool = True) -> Ended:
    async with connect(f"127.0.0.1:{on.egress}") as connection:
        stream = await connection.ask(sent, [], half_close=half_close)
        await connection.send(*frames)
        return await connection.end(stream, seconds=1)


@pytest.mark.parametrize("name", STREAMS)
def test_http2_becomes_no_other_request_on_its_way_to_an_upstream_that_speaks_http1(on: Stage, name: str) -> None:
    """h2c with prior knowledge, fields that HTTP/1 would cut elsewhere: one request at most, and the judged one."""
    on.page()
    asyncio.run(_streamed(on, STREAMS[name]))
    tidy(on)
    assert [got.target for got in on.api.got] in ([], ["/base/v1/items/3"])


def test_http2_bodies_and_trailers_say_nothing_beyond_what_was_judged(on: Stage) -> None:
    """More or less body than its length says, and trailers that would be headers."""
    post = fields((b"content-type", b"application/json"), method=b"POST", path=b"/api/v1/chat")
    trailers = [(b"authorization", b"Bearer t"), (b"x-remit-route", b"t"), (b":path", b"/t"), (b"host", b"t")]
    body = BODY.encode()
    for length, sent in ((b"5", body), (b"50", body), (b"9", body)):
        on.page()
        data = frame(DATA, END_STREAM, 1, sent)
        asyncio.run(_streamed(on, [*post, (b"content-length", length)], data, half_close=False))
        tidy(on)
        assert [got.body for got in on.api.got] == ([body] if length == b"9" else [])
    for ended in (trailers, trailers[:2], [trailers[0]]):
        on.page()
        data, last = frame(DATA, 0, 1, body), frame(HEADERS, END_STREAM | END_HEADERS, 1, block(ended))
        heard = asyncio.run(_streamed(on, post, data, last, half_close=False))
        tidy(on)
        assert (b"the request has trailers" in heard.seen, on.api.got) == (b":path" not in dict(ended), [])


def test_the_harness_notices_a_smuggled_request(on: Stage) -> None:
    """The planted weakness: the hidden request is sent past Envoy, on a connection of its own."""
    on.page()
    talk(on.api.port, f"{ITEM}\r\n".replace("/api", "/base").encode(), HIDDEN.replace("/api", "/base").encode())
    assert len(on.reckon()) == 2
    with pytest.raises(AssertionError):
        talk(on.api.port, b"GET /base/v1/items/3 HTTP/1.1\r\nhost: evil\r\n\r\n")
        tidy(on)


def said(on: Stage, headers: str, *, port: int = 0, target: str = "/api/v1/items/3") -> Heard:
    """A request with these headers, and no credential but theirs and the token."""
    return talk(port or on.egress, f"GET {target} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n".encode())


MARK = "agent-said-this"
UNTOLD = [
    "Authorization: Bearer {0}",
    "AUTHORIZATION: {0}",
    "authorization: Basic {0}\r\nAuthorization: Bearer {0}",
    "X-Api-Key: {0}",
    "x-api-key: {0}\r\nX-API-KEY: {0}",
    "api-key: {0}",
    "X-Goog-Api-Key: {0}",
    "Proxy-Authorization: Bearer {0}",
    "Remit-Workflow: {0}",
    "Remit-Purpose: support\r\nRemit-Unknown: {0}",
    "Remit-Reason: {0}",
    "baggage: remit.workflow={0}",
    "baggage: remit.purpose=support;{0}",
    "X-Remit-Route: {0}",
    "x-remit-route: {0}/api/here\r\nX-REMIT-ROUTE: {0}/events/here",
    "x-remit-other: {0}",
    "X-Forwarded-For: {0}",
    "X-Forwarded-Host: {0}",
    "X-Forwarded-Proto: {0}",
    "x-forwarded-prefix: {0}",
    "Forwarded: for={0}",
    "Via: 1.1 {0}",
    "X-Real-IP: {0}",
    "X-Request-Id: {0}",
    "X-Envoy-Original-Path: /{0}",
    "x-envoy-original-host: {0}",
    "x-envoy-decorator-operation: {0}",
    "x-envoy-internal: {0}",
    "x-envoy-upstream-alt-stat-name: {0}",
    "Proxy-Connection: {0}",
    "Keep-Alive: {0}",
    "Upgrade-Insecure: {0}\r\nConnection: upgrade-insecure, close",
]


@pytest.mark.parametrize("line", UNTOLD)
def test_what_an_agent_says_of_credentials_routes_and_hops_reaches_nobody(on: Stage, line: str) -> None:
    """Whether the request passes or not, the upstream hears none of it, and still gets Remit's credential once."""
    on.page()
    said(on, f"{TOKEN}{line.format(MARK)}\r\n")
    assert on.reckon() == []
    for got in on.api.got:
        assert MARK.encode() not in got.head, got
        assert got.all("authorization") == [f"Bearer {KEY}"]
        assert got.target == "/base/v1/items/3"


@pytest.mark.parametrize(
    "name", ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Host"]
)
def test_a_header_that_frameworks_take_another_request_from_is_refused(on: Stage, name: str) -> None:
    """What is judged is what is done: a GET that an upstream would take for a DELETE is not let through."""
    on.page()
    heard = said(on, f"{TOKEN}{name}: DELETE\r\n")
    assert (heard.status, reason(heard)) == (403, "request_malformed")
    assert name.lower().encode() in heard.raw
    assert on.api.got == []


def test_a_credential_told_twice_proves_nobody(on: Stage) -> None:
    """Two tokens, two keys, two surroundings: refused, whichever of them would do."""
    on.page()
    other = f"remit-token: {TOKENS['watched']}\r\n"
    for headers, code in (
        (TOKEN + TOKEN, "unauthenticated"),
        (TOKEN + other, "unauthenticated"),
        (f"authorization: Bearer {TOKENS['support']}\r\nx-api-key: {TOKENS['watched']}\r\n", "unauthenticated"),
        (f"authorization: Bearer {TOKENS['support']}\r\n" * 2, "unauthenticated"),
        (f"{TOKEN}remit-workflow: a\r\nRemit-Workflow: b\r\n", "context_invalid"),
        (f"{TOKEN}remit-purpose: support\r\nremit-purpose: support\r\n", "context_invalid"),
        (f"{TOKEN}baggage: remit.actor=a,remit.actor=b\r\n", "context_invalid"),
    ):
        heard = said(on, headers)
        assert (heard.status in (401, 403), reason(heard)) == (True, code), headers
    assert on.api.got == []


@pytest.mark.parametrize(
    "headers",
    [
        "x-remit-route: {api}\r\n",
        "X-Remit-Route: {api}\r\n",
        "x-remit-route: {plain}\r\n",
        "x-remit-route:{api}\r\nx-remit-route: {api}\r\n",
    ],
)
@pytest.mark.parametrize("target", ["/api/v1/items/3", "/api/v1/secret", "/plain/v1/items/3", "/nowhere/x"])
def test_even_the_right_word_opens_nothing_in_an_agents_mouth(on: Stage, headers: str, target: str) -> None:
    """The words themselves, stolen from Envoy's files: without a token nothing is sent, with one what was decided."""
    routes = (on.state / "egress" / "rds-egress.json").read_text()
    words = {name: word for word, name in re.findall(r'"([A-Za-z0-9_-]{20,}/(\w+)/here/[^"]+)"', routes)}
    assert words.keys() >= {"api", "plain"}
    on.page()
    for port in (on.egress, on.proxy):
        heard = said(on, headers.format(**words), port=port, target=target)
        assert reason(heard) == "unauthenticated"
    assert (on.api.got, on.plain.got) == ([], [])
    said(on, TOKEN + headers.format(**words), target=target)
    assert on.reckon() == []
    assert len(on.api.got) == (target == "/api/v1/items/3")


def test_no_header_of_envoys_own_shortens_or_repeats_a_call(on: Stage) -> None:
    """Timeouts, retries and hedges as an agent would order them of a bare Envoy."""
    on.page()
    ordered = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-expected-rq-timeout-ms": "1",
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "5xx,reset,connect-failure,retriable-status-codes",
        "x-envoy-retriable-status-codes": "200",
        "x-envoy-hedge-on-per-try-timeout": "true",
        "grpc-timeout": "1m",
    }
    headers = "".join(f"{name}: {value}\r\n" for name, value in ordered.items())
    assert said(on, TOKEN + headers).status == 200
    assert len(on.api.got) == 1
    assert b"x-envoy" not in on.api.got[0].head
    tidy(on)


def test_proxy_credentials_stay_at_the_proxy(on: Stage) -> None:
    """What tells the sidecar who calls is nothing that a third party may learn."""
    on.page()
    url = f"http://localhost:{on.plain.port}/base/v1/items/3"
    assert talk(on.proxy, request(url, host="x", headers=PROXY_TOKEN)).status == 200
    assert len(on.plain.got) == 1
    assert all(token.encode() not in on.plain.got[0].head for token in TOKENS.values())
