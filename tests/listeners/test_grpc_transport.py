"""Bytes that no honest client sends: each ends in a typed error or a closed connection; the next good call works."""

from __future__ import annotations

import asyncio
import gzip
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from fakes.loop import in_loop, until
from listeners.raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    Ended,
    Fields,
    block,
    connect,
    frame,
    message,
    request,
)
from listeners.serving import SUPPORT, Served, question, serving
from remit.listeners.grpc_limits import Limits
from remit.v1 import resources_pb2

TOKEN = f"Bearer {SUPPORT}".encode()
GOOD = question().SerializeToString()
IDENTITY = ("unix", "identity")
REQUEST = ("unix", "request")
FROM_AGENT = ("agent:support", "request")
OK, INVALID, DEADLINE, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAUTHENTICATED = 0, 3, 4, 8, 12, 13, 16


@dataclass(frozen=True, slots=True)
class Case:
    """A stream to open, and how it must end. `reaches` says whether the pipeline may see it."""

    fields: Fields
    body: Sequence[bytes] = (message(GOOD),)
    status: int | None = None
    how: str = "trailers"
    refused: tuple[str, str] | None = None
    reaches: bool = False
    half_close: bool = True


def good(**changed: bytes) -> list[tuple[bytes, bytes]]:
    return request(SUPPORT, **changed)


def path(text: bytes) -> Case:
    return Case(good(path=text), status=UNIMPLEMENTED)


def credential(value: bytes) -> Case:
    return Case(request(authorization=value), status=UNAUTHENTICATED, refused=IDENTITY)


def metadata(*entries: tuple[bytes, bytes], fits: bool = False) -> Case:
    if fits:
        return Case([*good(), *entries], status=OK, reaches=True)
    return Case([*good(), *entries], status=INVALID, refused=REQUEST)


CASES: Mapping[str, Case] = {
    "a good call": Case(good(), status=OK, reaches=True),
    "path without a slash": path(b"remit.v1.Sidecar/Authorize"),
    "path with two slashes": path(b"//remit.v1.Sidecar/Authorize"),
    "path with a slash at its end": path(b"/remit.v1.Sidecar/Authorize/"),
    "path with an escape": path(b"/remit.v1.Sidecar%2fAuthorize"),
    "path with a query": path(b"/remit.v1.Sidecar/Authorize?x=1"),
    "path with dots": path(b"/q/../remit.v1.Sidecar/Authorize"),
    "path in another case": path(b"/remit.v1.Sidecar/authorize"),
    "path with NUL": path(b"/remit.v1.Sidecar/Authorize\0"),
    "path that is not UTF-8": path(b"/remit.v1.Sidecar/\xff"),
    "an empty path": path(b""),
    "a method of a later version": path(b"/remit.v1.Sidecar/Lease"),
    "a service of nobody": path(b"/x.Y/Z"),
    "GET": Case(good(method=b"GET"), how="reset"),
    "host besides authority": Case([*good(), (b"host", b"evil")], status=OK, reaches=True),
    "another entry with CR and LF": Case([*good(), (b"x-note", b"a\r\nb: c")], status=OK, reaches=True),
    "a credential with CR and LF": credential(TOKEN + b"\r\nx: y"),
    "a credential with NUL": credential(TOKEN + b"\0b"),
    "a credential with an escape sequence": credential(TOKEN + b"\x1b[31m"),
    "a credential with a bidi override": credential(TOKEN + "\u202eabc".encode()),
    "a credential that is not UTF-8": credential(TOKEN + b"\xff"),
    "a credential of another scheme": credential(b"Basic dXNlcjpwYXNz"),
    "an empty credential": credential(b""),
    "two credentials": Case([*good(), (b"authorization", TOKEN)], status=UNAUTHENTICATED, refused=IDENTITY),
    "two credentials in two keys": Case(
        [*good(), (b"remit-token", SUPPORT.encode())], status=UNAUTHENTICATED, refused=IDENTITY
    ),
    "a binary entry that is not base64": Case([*good(), (b"x-bin", b"!!!")], status=INTERNAL, refused=FROM_AGENT),
    "300 keys": metadata(*((b"x-%d" % place, b"y") for place in range(300))),
    "metadata of 7 KiB": metadata((b"x", b"y" * 7000), fits=True),
    "metadata of 9 KiB": metadata((b"x", b"y" * 9000)),
    "metadata of 15 KiB": metadata((b"x", b"y" * 15000)),
    "a length of 4 GiB": Case(good(), (b"\0\xff\xff\xff\xffx",), EXHAUSTED, refused=FROM_AGENT),
    "a byte over the limit": Case(good(), (message(b"x" * 4097)[:100],), EXHAUSTED, refused=FROM_AGENT),
    "an unknown compression": Case(
        good(grpc_encoding=b"bogus"), (message(GOOD, compressed=True),), INTERNAL, refused=FROM_AGENT
    ),
    "compressed, by no method": Case(good(), (message(GOOD, compressed=True),), INTERNAL, refused=FROM_AGENT),
    "gzip": Case(good(grpc_encoding=b"gzip"), (message(gzip.compress(GOOD), compressed=True),), OK, reaches=True),
    "a gzip bomb": Case(
        good(grpc_encoding=b"gzip"),
        (message(gzip.compress(bytes(2 << 20)), compressed=True),),
        EXHAUSTED,
        refused=FROM_AGENT,
    ),
    "no message": Case(good(), (), INVALID, refused=FROM_AGENT),
    "a message that is cut off": Case(good(), (b"\0\0\0\0\xffx",), INVALID, refused=FROM_AGENT),
    "a message that never ends": Case(good(), (b"\0\0\0\0\xffx",), DEADLINE, refused=FROM_AGENT, half_close=False),
    "a message that never begins": Case(good(), (), DEADLINE, refused=FROM_AGENT, half_close=False),
    "bytes that are no message": Case(good(), (message(b"\xff\xff\xff"),), INVALID, refused=FROM_AGENT),
    "a string that is not UTF-8": Case(good(), (message(b"\x0a\x02\xff\xfe"),), INVALID, refused=FROM_AGENT),
    "a varint that is too long": Case(good(), (message(b"\x08" + b"\xff" * 11),), INVALID, refused=FROM_AGENT),
    "two messages": Case(good(), (message(GOOD) * 2,), OK, reaches=True),  # the second is never read
    "unknown fields": Case(good(), (message(GOOD + b"\xfa\x7f\x04none"),), OK, reaches=True),
    "a deadline that has passed": Case(good(grpc_timeout=b"0n"), status=DEADLINE, refused=FROM_AGENT),
    "a negative deadline": Case(good(grpc_timeout=b"-1S"), status=INTERNAL, refused=FROM_AGENT),
    "a deadline without a unit": Case(good(grpc_timeout=b"1"), status=INTERNAL, refused=FROM_AGENT),
    "a deadline of ages": Case(good(grpc_timeout=b"99999999H"), status=OK, reaches=True),
}
LIMITS = Limits(message_bytes=4096, receive_seconds=0.3)


async def served_well(served: Served) -> None:
    """A good call works."""
    async with served.caller() as caller:
        assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_stream_ends_as_it_must(name: str) -> None:
    """Typed error, recorded where it is malformed, unseen by the pipeline; the next good call works."""
    case = CASES[name]

    @in_loop
    async def run() -> None:
        async with serving(limits=LIMITS) as served:
            async with connect(served.targets[0]) as connection:
                stream = await connection.ask(case.fields, case.body, half_close=case.half_close)
                ended = await connection.end(stream)

            assert (ended.how, ended.status) == (case.how, case.status)
            await served_well(served)
            assert [each[:2] for each in served.pipeline.refusals] == ([case.refused] if case.refused else [])
            assert len(served.pipeline.asked) == (2 if case.reaches else 1)
            assert not any("\n" in each[2] or "\0" in each[2] for each in served.pipeline.refusals)

    run()


@in_loop
async def test_of_two_paths_both_need_the_same_identity() -> None:
    """gRPC takes the last of two paths; nothing before it looked at the first, so nothing is got around."""
    async with serving() as served:
        fields = request("nobody's token")
        fields.insert(3, (b":path", b"/remit.v1.Audit/Verify"))
        async with connect(served.targets[0]) as connection:
            ended = await connection.end(await connection.ask(fields, [message(b"")]))
        assert ended.status == UNAUTHENTICATED
        await served_well(served)


@in_loop
async def test_a_request_that_never_ends_keeps_nobody_else_waiting() -> None:
    """Half-sent requests hold their caller's places alone, and give them back at the deadline."""
    async with serving(limits=Limits(per_caller=4, concurrency=8, receive_seconds=0.5)) as served:
        async with AsyncExitStack() as stack:
            # A connection each: the first answer on one has its status literally, whichever ends first.
            connections = [await stack.enter_async_context(connect(served.targets[0])) for _ in range(4)]
            streams = [await each.ask(good(), [b"\0\0\0\0\xffx"], half_close=False) for each in connections]
            async with served.caller("token-of-writer") as other:
                assert (await other.authorize()).effect == resources_pb2.EFFECT_ALLOW
            assert (await connections[0].end(streams[0])).status == DEADLINE
        await served_well(served)


@in_loop
async def test_checks_that_are_never_sent_keep_nobody_waiting() -> None:
    """Health is open to all, so what it holds is bounded and short."""
    async with serving(limits=Limits(check_seconds=0.3, watchers=4)) as served:
        fields = request(path=b"/grpc.health.v1.Health/Check")
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connect(served.targets[0])) for _ in range(4)]
            streams = [await each.ask(fields, (), half_close=False) for each in connections]
            await served_well(served)
            assert (await connections[0].end(streams[0])).status == DEADLINE


@in_loop
async def test_calls_of_any_kind_have_a_limit_in_all() -> None:
    """Twice what is served at once may be open, half-sent and watching included; then callers are turned away."""
    async with serving(limits=Limits(concurrency=2, check_seconds=0.5)) as served:
        fields = request(path=b"/grpc.health.v1.Health/Check")
        async with connect(served.targets[0]) as connection:
            streams = [await connection.ask(fields, (), half_close=False) for _ in range(8)]
            refused = await connection.end(streams[-1])
            assert b"Concurrent RPC limit exceeded" in refused.seen
            assert (await connection.end(streams[0])).how == "trailers", "they end by their deadline"
        await until(lambda: served.listener.calls == 0)
        await served_well(served)


@in_loop
async def test_the_end_of_the_server_can_be_waited_for() -> None:
    """So that whoever runs it notices when it breaks."""
    async with serving() as served:
        ended = asyncio.ensure_future(served.listener.ended())
        await served_well(served)
        assert not ended.done()
        await served.listener.stop(grace=1)
        await asyncio.wait_for(ended, 5)


ODD_PREFACES = {
    "HTTP/1.1": b"GET /remit.v1.Sidecar/Authorize HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "noise": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("name", ODD_PREFACES)
def test_another_protocol_is_hung_up_on(name: str) -> None:
    """The connection is closed; the next good call works."""

    @in_loop
    async def run() -> None:
        async with serving() as served:
            async with connect(served.targets[0], preface=ODD_PREFACES[name]) as connection:
                assert (await connection.end(1)).how in ("closed", "goaway")
            await served_well(served)

    run()


FLOODS: Mapping[str, bytes] = {
    "PING": frame(PING, 0, 0, b"12345678") * 10_000,
    "SETTINGS": frame(SETTINGS, 0, 0, b"") * 10_000,
    "empty DATA": frame(HEADERS, END_HEADERS, 1, block(good())) + frame(DATA, 0, 1, b"") * 10_000,
    "CONTINUATION": frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, block([(b"a", b"b" * 90)]) * 10) * 2_000,
    "rapid reset": b"".join(
        frame(HEADERS, END_HEADERS, stream, block(good())) + frame(RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
        for stream in range(1, 10_000, 2)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_leaves_the_server_well(name: str) -> None:
    """Thousands of frames: nothing reaches the pipeline, memory stays, and the next good call works."""

    @in_loop
    async def run() -> None:
        async with serving(limits=LIMITS) as served:
            await served_well(served)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            async with connect(served.targets[0]) as connection:
                await connection.send(FLOODS[name])
                ended: Ended = await connection.end(1, seconds=0.5)
            assert ended.status != OK
            await served_well(served)
            assert len(served.pipeline.asked) == 2
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"

    run()


@in_loop
async def test_a_thousand_streams_of_nobody_are_each_refused() -> None:
    """Refusals are counted, none is lost, and their peers are told apart no finer than the socket."""
    async with serving() as served:
        async with connect(served.targets[0]) as connection:
            for _ in range(1000):
                ended = await connection.end(await connection.ask(request("guess"), [message(GOOD)]))
                assert ended.how == "trailers"
        await until(lambda: len(served.pipeline.refusals) == 1000)
        assert {each[0] for each in served.pipeline.refusals} == {"unix"}
        assert served.seen.failures == ["unknown"] * 1000
        await served_well(served)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave to open more files than a user mostly has: both ends of each connection are in this process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(limits[1], 4096)), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_files")
@in_loop
async def test_many_idle_connections_do_not_end_the_server() -> None:
    """A caller that is connected is served, whatever else is connected and silent."""
    async with serving() as served, served.caller() as caller:
        await caller.authorize()
        async with AsyncExitStack() as idle:
            for _ in range(600):
                await idle.enter_async_context(connect(served.targets[0]))
            assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW


@in_loop
async def test_a_silent_connection_is_closed() -> None:
    """Idle time is bounded."""
    async with serving(limits=Limits(idle_seconds=0.2)) as served, connect(served.targets[0]) as connection:
        assert (await connection.end(1)).how in ("closed", "goaway")
