"""The credential never comes back: not from an upstream that echoes it, not from anything that Remit writes or says.

The oracle decodes whatever it finds (tests/fakes/canaries.py) and shares nothing with what the product looks with.
"""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import urllib.parse
import zlib
from collections.abc import Iterator

import pytest
from fakes.canaries import Sink, leaks
from fakes.egress_book import EVENTS, Got, Line, chunk
from fakes.egress_stage import KEY, TOKENS, Stage, reason, request, stage, talk, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

SECRETS = {"key": KEY.encode()}
RAW = KEY.encode()
JSON = b"content-type: application/json\r\n"

BODIES: dict[str, bytes] = {
    "as it is": b'{"key":"' + RAW + b'"}',
    "as a bearer": b"Bearer " + RAW,
    "percent-encoded": urllib.parse.quote(KEY, safe="").encode(),
    "percent-encoded twice": urllib.parse.quote(urllib.parse.quote(KEY, safe=""), safe="").encode(),
    "in base64": base64.b64encode(RAW),
    "in base64 behind a name": base64.b64encode(b"user:" + RAW),
    "in base64 behind Bearer": base64.b64encode(b"Bearer " + RAW),
    "in base64 for URLs": base64.urlsafe_b64encode(b"x" + RAW),
    "in hexadecimal": RAW.hex().encode(),
    "in hexadecimal with colons": RAW.hex(":").upper().encode(),
    "escaped as in JSON": "".join(f"\\u{each:04x}" for each in RAW).encode(),
    "with its slashes escaped": json.dumps(KEY).replace("/", "\\/").encode(),
    "in entities": "".join(f"&#x{each:x};" for each in RAW).encode(),
    "as numbers": json.dumps(list(RAW)).encode(),
}


def answer(body: bytes, *, status: str = "200 OK", headers: bytes = JSON) -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status.encode(), headers, len(body), body)


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("stage")) as made:
        yield made


def told(on: Stage, *parts: bytes, method: str = "GET", whole: float = 3) -> bytes:
    """What the agent hears where the upstream says these parts, one by one, and then hangs up."""

    async def script(got: Got, line: Line) -> None:
        await line.say(*parts)
        raise ConnectionResetError

    on.api.answers["script"] = script
    raw = talk(on.egress, request("/api/v1/do/script", method), whole=whole).raw
    assert leaks(SECRETS, {"the answer": raw}) == []
    return raw


def is_told_or_cut(heard: bytes) -> bool:
    """Whether it is a 502 with its reason, or cut where it had begun; never 503, which clients ask again after."""
    if b" 502 " in heard[:20]:
        return b"credential_echoed" in heard
    return b" 503 " not in heard[:20] and not heard.endswith((b"0\r\n\r\n", b" after"))


@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("where", ["a body", "an error's body", "a redirect's body"])
def test_an_echo_in_a_body_is_cut(on: Stage, how: str, where: str) -> None:
    """Whatever the status."""
    status = {"a body": "200 OK", "an error's body": "500 Oh", "a redirect's body": "302 Found"}[where]
    heard = told(on, answer(b"before " + BODIES[how] + b" after", status=status))
    assert RAW[:12] not in heard
    assert is_told_or_cut(heard)


@pytest.mark.parametrize("how", BODIES)
def test_an_echo_in_a_header_is_no_answer_at_all(on: Stage, how: str) -> None:
    """In a value, a Location, a cookie: the agent hears 502 and why."""
    for name in (b"x-echo", b"location", b"set-cookie", b"www-authenticate"):
        line = name + b": a=" + BODIES[how].replace(b"\r\n", b"") + b"\r\n"
        heard = told(on, answer(b"{}", status="401 No", headers=JSON + line))
        assert b" 502 " in heard[:20]
        assert b"credential_echoed" in heard


@pytest.mark.parametrize("how", ["as it is", "in base64", "escaped as in JSON"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_an_echo_across_chunks_is_cut(on: Stage, how: str, size: int) -> None:
    """In a stream of events and in a plain body, however small the pieces."""
    text = BODIES[how]
    pieces = [chunk(text[place : place + size]) for place in range(0, len(text), size)]
    events = told(on, EVENTS, chunk(b"data: one\n\n"), chunk(b"data: "), *pieces, chunk(b"\n\n"), b"0\r\n\r\n")
    assert b"credential_echoed" in events
    plain = EVENTS.replace(b"text/event-stream", b"text/plain")
    cut = told(on, plain, chunk(b"one "), *pieces, b"0\r\n\r\n")
    assert is_told_or_cut(cut)


ODD: dict[str, tuple[bytes, ...]] = {
    "in the reason phrase": (answer(b"{}", status=f"200 {KEY}"),),
    "in a chunk's extension": (EVENTS, b"5;k=" + RAW + b"\r\nhello\r\n0\r\n\r\n"),
    "in a trailer": (EVENTS, chunk(b"data: x\n\n"), b"0\r\nx-echo: " + RAW + b"\r\n\r\n"),
    "in early hints": (b"HTTP/1.1 103 Early Hints\r\nlink: <" + RAW + b">\r\n\r\n", answer(b"{}")),
    "in a thousand early hints": (
        b"HTTP/1.1 103 Early Hints\r\nlink: <" + RAW + b">\r\n\r\n",
        *([b"HTTP/1.1 100 Continue\r\nx: " + RAW + b"\r\n\r\n"] * 1000),
        answer(b"{}"),
    ),
    "in a header's name": (answer(b"{}", headers=JSON + b"x-" + RAW[:9] + RAW[9:].replace(b"/", b"-") + b": 1\r\n"),),
    "in a folded header": (answer(b"{}", headers=JSON + b"x-echo: " + RAW[:9] + b"\r\n " + RAW[9:] + b"\r\n"),),
    "in a header with NUL": (answer(b"{}", headers=JSON + b"x-echo: \0" + RAW + b"\r\n"),),
    "in what comes behind the length": (answer(b"{}") + RAW,),
    "in a second answer": (answer(b"{}"), answer(RAW)),
    "behind no HTTP": (RAW + b"\r\n\r\n",),
    "in HTTP/0.9": (b"<p>" + RAW + b"</p>",),
    "in a switch of protocols": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + RAW,),
    "in a body without an end": (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + RAW,),
    "in a body shorter than its length": (b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + RAW,),
    "in a body of 204": (b"HTTP/1.1 204 No\r\ncontent-length: 40\r\n\r\n" + RAW,),
    "in gzip": (answer(gzip.compress(RAW), headers=JSON + b"content-encoding: gzip\r\n"),),
    "in deflate": (answer(zlib.compress(RAW), headers=JSON + b"content-encoding: deflate\r\n"),),
    "in brotli, it says": (answer(RAW, headers=JSON + b"content-encoding: br\r\n"),),
    "in identity, then gzip": (
        answer(gzip.compress(RAW), headers=JSON + b"content-encoding: identity\r\ncontent-encoding: gzip\r\n"),
    ),
    "in a gzipped transfer": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n" + chunk(gzip.compress(RAW)) + b"0\r\n\r\n",
    ),
    "with two lengths": (answer(RAW, headers=JSON + b"content-length: 2\r\n"),),
    "with a length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(RAW) + b"0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("how", ODD)
def test_an_upstream_that_breaks_the_rules_gets_no_credential_through(on: Stage, how: str) -> None:
    """In every corner of HTTP that somebody might pass on; and Remit goes on serving."""
    told(on, *ODD[how])
    assert talk(on.egress, request("/api/v1/items/3")).status == 200


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"b" * 1000 + b"\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nx-a: ", b"b" * 8000),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_upstream_without_an_end_is_ended(on: Stage, what: str) -> None:
    """Headers and interim answers have a limit; the agent hears a 5xx or is hung up on, and others are served."""
    first, more = ENDLESS[what]

    async def script(got: Got, line: Line) -> None:
        await line.say(first)
        while True:
            await line.say(more)

    on.api.answers["endless"] = script
    heard = talk(on.egress, request("/api/v1/do/endless"), whole=3)
    assert heard.status in (0, 502, 503, 504), heard.raw[:200]
    assert talk(on.egress, request("/api/v1/items/3")).status == 200
    assert until(lambda: on.api.answering == 0)


def test_a_body_without_an_end_passes_for_as_long_as_it_is_read(on: Stage) -> None:
    """Nothing is gathered: the agent leaves, and the upstream is let go."""

    async def script(got: Got, line: Line) -> None:
        await line.say(EVENTS)
        while True:
            await line.say(chunk(b"0" * 10_000))

    on.api.answers["endless"] = script
    heard = talk(on.egress, request("/api/v1/do/endless"), whole=1)
    assert heard.status == 200
    assert until(lambda: on.api.answering == 0)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_told_and_not_followed(on: Stage, status: str) -> None:
    """To a host within, with the credential still at hand: nobody is dialled but who was meant."""
    on.page()
    before = on.shut.connections, on.plain.connections
    for port in (on.plain.port, on.shut.port):
        location = f"location: http://127.0.0.1:{port}/base/v1/items/3\r\n".encode()
        heard = told(on, answer(b"", status=status, headers=location))
        assert f" {status[:3]} ".encode() in heard[:20]
        assert b"location" in heard
    assert (on.shut.connections, on.plain.connections) == before
    assert len(on.api.got) == 2


def test_no_sink_has_a_credential(on: Stage) -> None:
    """The journal, Envoy's files and memory, logs, metrics, error answers: neither the upstream's key nor a token."""
    told(on, answer(b"hm " + RAW))
    talk(on.egress, request("/api/v1/do/script", headers=f"authorization: Bearer {TOKENS['watched']}\r\n"))
    refusals = b"".join(
        talk(on.egress, request(f"/api/{path}", headers=f"x-api-key: {TOKENS['watched']}\r\n")).raw
        for path in ("nowhere", "..", "v1/chat", "%zz")
    )
    dump = subprocess.run(
        ["curl", "-s", "--unix-socket", str(on.state / "egress" / "admin.sock"), "http://x/config_dump?include_eds"],
        capture_output=True,
        check=True,
    )
    assert b"here" in dump.stdout
    assert (on.state / "egress" / "access.log").stat().st_size > 0
    secrets = {**SECRETS, **{name: token.encode() for name, token in TOKENS.items()}}
    egress = on.state / "egress"
    small: dict[str, Sink] = {
        "refusals": refusals,
        "metrics": on.metrics,
        "stderr": on.log,
        "access log": egress / "access.log",
    }
    large: dict[str, Sink] = {
        "config_dump": dump.stdout,
        **{path.name: path for path in (*egress.glob("*.json"), *on.state.glob("*.db*"))},
    }
    assert leaks(secrets, small, depth=1) == []
    assert leaks(secrets, large, depth=0) == []
    assert b"remit_" in on.metrics
    assert reason(talk(on.egress, request("/api/v1/nowhere"))) == "request_unmapped"


def test_the_oracle_notices_a_credential_that_comes_back(on: Stage) -> None:
    """The planted weakness: the upstream is asked directly, and echoes what it was given."""
    for body in BODIES.values():

        async def script(got: Got, line: Line, body: bytes = body) -> None:
            await line.say(answer(body))

        on.api.answers["script"] = script
        raw = talk(on.api.port, b"GET /base/v1/do/script HTTP/1.1\r\nhost: x\r\n\r\n").raw
        assert leaks(SECRETS, {"the answer": raw}) != []
