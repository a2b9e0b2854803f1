"""Events posted to a real HTTP server, well-behaved or not; and their signature, verified as docs/webhook.md says."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes.approvals import answer, asked, is_open
from fakes.commits import Desk
from fakes.loop import in_loop, until
from fakes.ports import free_port
from fakes.store_memory import MemoryStore
from fakes.world import world as make_world
from remit.backends.vault_file import FileVault
from remit.backends.webhook_http import MAX_BODY_BYTES, WebhookHttp, signature, webhook
from remit.core.approval import Verdict
from remit.core.canonical import canonical
from remit.pep.telling import Teller
from remit.ports import VaultFailed, WebhookFailed

DOC = Path(__file__).parents[2] / "docs" / "webhook.md"
SECRET = b"canary-secret-of-a-webhook-2f9c41"
EVENT = {
    "event": "approval.pending",
    "id": "apr_1:1",
    "text": "größer, as “said”",
    "uses": 1,
    "asked": {"roles": ["b"]},
}
PATH = "/hooks/c4n4ry-path?key=c4n4ry-query"

Verify = Callable[..., bool]


@dataclass
class Receiver:
    """What has come, and what is answered: a status, and headers."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.raw_path, request.headers.copy(), await request.read()))
        return web.Response(status=self.status, headers=self.headers, text="ok c4n4ry-answer")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"


@asynccontextmanager
async def receiving(status: int = 200, **headers: str) -> AsyncIterator[Receiver]:
    receiver = Receiver(free_port(), status, headers)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(answer: bytes, *, closes: bool) -> AsyncIterator[str]:
    """A server that reads a request's head, answers these bytes, and then closes or says nothing more."""

    ended: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.add(task)
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not closes:
                await reader.read()  # until the other side has gone
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*ended), 5)


@pytest.fixture(scope="module")
def verified() -> Verify:
    """The function that docs/webhook.md shows."""
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(DOC), "exec"), names)
    found: Verify = names["verified"]
    return found


def posted() -> tuple[Mapping[str, str], bytes]:
    """The headers and the body of one event."""

    async def post() -> Receiver:
        async with receiving() as receiver:
            await WebhookHttp(receiver.url, SECRET).post(EVENT)
        return receiver

    ((_, headers, body),) = asyncio.run(post()).got
    return headers, body


async def refusal(url: str, **settings: Any) -> str:
    with pytest.raises(WebhookFailed) as failed:
        await WebhookHttp(url, SECRET, **settings).post(EVENT)
    told = f"{failed.value!r} {failed.value.__cause__!r}"
    assert "c4n4ry" not in told and "canary" not in told
    return str(failed.value)


@in_loop
async def test_an_event_arrives_as_canonical_json_to_the_letter_of_the_address() -> None:
    """Path and query are as they are set, and no cookie or other word of ours goes along."""
    async with receiving(**{"Set-Cookie": "a=b"}) as receiver:
        hook = WebhookHttp(receiver.url, SECRET)
        await hook.post(EVENT)
        await hook.post(EVENT)
    for path, headers, body in receiver.got:
        assert (path, body, json.loads(body)) == (PATH, canonical(EVENT), EVENT)
        assert headers["content-type"] == "application/json"
        assert not {"cookie", "authorization"} & {name.lower() for name in headers}
    assert len(receiver.got) == 2


def test_what_the_documentation_shows_verifies_what_is_sent(verified: Verify) -> None:
    """The example of docs/webhook.md takes the event as it came, in whatever case the headers' names are."""
    headers, body = posted()
    sent = dict(headers)
    assert verified(SECRET, sent, body)
    assert verified(SECRET, {name.upper(): value for name, value in sent.items()}, body)


@pytest.mark.parametrize(
    "changed",
    [
        lambda headers, body: (headers, body + b" "),
        lambda headers, body: (headers, body.replace(b"pending", b"denied!")),
        lambda headers, body: (headers, b""),
        lambda headers, body: ({**headers, "Remit-Timestamp": str(int(headers["Remit-Timestamp"]) + 1)}, body),
        lambda headers, body: (
            {**headers, "Remit-Timestamp": headers["Remit-Timestamp"] + "." + body[:1].decode()},
            body[1:],
        ),
        lambda headers, body: ({**headers, "Remit-Timestamp": ""}, body),
        lambda headers, body: ({**headers, "Remit-Timestamp": "²"}, body),
        lambda headers, body: ({**headers, "Remit-Signature": headers["Remit-Signature"][3:]}, body),
        lambda headers, body: ({**headers, "Remit-Signature": headers["Remit-Signature"].upper()}, body),
        lambda headers, body: ({**headers, "Remit-Signature": "ü"}, body),
        lambda headers, body: ({}, body),
    ],
)
def test_anything_else_does_not_verify(changed: Callable[..., tuple[dict[str, str], bytes]], verified: Verify) -> None:
    """Another body, another time, parts of one in the other, no signature: none of them is Remit's."""
    body, stamp = canonical(EVENT), str(int(time.time()))
    headers = {"Remit-Timestamp": stamp, "Remit-Signature": signature(SECRET, stamp, body)}
    assert verified(SECRET, headers, body)
    assert not verified(SECRET, *changed(headers, body))
    assert not verified(SECRET + b"x", headers, body)


def test_what_is_old_does_not_verify(verified: Verify) -> None:
    """Nobody can play an event again ten minutes later, nor send one ahead."""
    body = canonical(EVENT)
    for offset in (-600, 600):
        stamp = str(int(time.time()) + offset)
        headers = {"Remit-Timestamp": stamp, "Remit-Signature": signature(SECRET, stamp, body)}
        assert not verified(SECRET, headers, body)
        assert verified(SECRET, headers, body, seconds=900)


MUTANTS: dict[str, Callable[[bytes, str, bytes], str]] = {
    "over the body alone": lambda secret, stamp, body: hmac.digest(secret, body, "sha256").hex(),
    "over the time alone": lambda secret, stamp, body: hmac.digest(secret, stamp.encode() + b".", "sha256").hex(),
    "over the body's value": lambda secret, stamp, body: hmac.digest(
        secret, stamp.encode() + b"." + json.dumps(json.loads(body)).encode(), "sha256"
    ).hex(),
    "without the dot": lambda secret, stamp, body: hmac.digest(secret, stamp.encode() + body, "sha256").hex(),
    "under no secret": lambda secret, stamp, body: hmac.digest(b"", stamp.encode() + b"." + body, "sha256").hex(),
    "by another hash": lambda secret, stamp, body: hmac.digest(secret, stamp.encode() + b"." + body, "sha1").hex(),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_signature_would_be_found(name: str, verified: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is planted in the place of the signature, the documented example refuses what is posted with it."""
    monkeypatch.setattr("remit.backends.webhook_http.signature", lambda *given: f"v1={MUTANTS[name](*given)}")
    headers, body = posted()
    assert not verified(SECRET, dict(headers), body)


@in_loop
async def test_each_attempt_has_its_own_time() -> None:
    """What is tried again later is as fresh as the first time."""
    times = iter([1_800_000_000.9, 1_800_000_060.0])
    async with receiving() as receiver:
        hook = WebhookHttp(receiver.url, SECRET, now=lambda: next(times))
        await hook.post(EVENT)
        await hook.post(EVENT)
    stamps = [headers["Remit-Timestamp"] for _, headers, _ in receiver.got]
    assert stamps == ["1800000000", "1800000060"]
    assert len({headers["Remit-Signature"] for _, headers, _ in receiver.got}) == 2


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@in_loop
async def test_any_2xx_means_taken(status: int) -> None:
    """Whatever else is in the answer."""
    async with receiving(status) as receiver:
        await WebhookHttp(receiver.url, SECRET).post(EVENT)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
@in_loop
async def test_a_refusal_is_told_by_its_status_alone(status: int) -> None:
    """The answer's text is anybody's, and the address is a secret."""
    async with receiving(status) as receiver:
        assert await refusal(receiver.url) == f"127.0.0.1 answered {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@in_loop
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Whoever answers cannot have the event, with its signature, posted to somebody else."""
    async with receiving() as elsewhere, receiving(status, Location=elsewhere.url) as receiver:
        assert await refusal(receiver.url) == f"127.0.0.1 answered {status}, and redirects are not followed"
    assert (len(receiver.got), elsewhere.got) == (1, [])


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nServer: a", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
@in_loop
async def test_who_does_not_answer_is_left_in_time(answer: bytes) -> None:
    """Not at all, or not to the end of the headers."""
    async with answering(answer, closes=False) as url, asyncio.timeout(5):
        assert await refusal(url, seconds=0.2) == "127.0.0.1 did not answer in 0.2 s"


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 2", b"\x00\xff\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc OK\r\n\r\n"]
)
@in_loop
async def test_who_answers_something_else_has_not_taken_it(answer: bytes) -> None:
    """Closed without a word, or with words that are not HTTP."""
    async with answering(answer, closes=True) as url:
        assert re.fullmatch(r"127\.0\.0\.1 could not be asked \([A-Za-z]+\)", await refusal(url))


@in_loop
async def test_an_answer_without_end_is_not_waited_for() -> None:
    """The status says that it was taken; a body of any length is nobody's business."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nthis and no more"
    async with answering(endless, closes=False) as url, asyncio.timeout(5):
        await WebhookHttp(url, SECRET, seconds=3).post(EVENT)


@in_loop
async def test_who_does_not_listen_is_told() -> None:
    """By the host alone, whatever the client's own words are."""
    url = f"http://127.0.0.1:{free_port()}{PATH}"
    assert await refusal(url) == "127.0.0.1 could not be asked (ClientConnectorError)"
    assert (await refusal(f"http://c.invalid{PATH}")).startswith("c.invalid could not be asked (ClientConnector")


@in_loop
async def test_a_certificate_is_verified() -> None:
    """A server that speaks no TLS, or with a certificate that nobody known has signed, is told nothing."""
    async with receiving() as receiver:
        told = await refusal(receiver.url.replace("http://", "https://"))
    assert (told.startswith("127.0.0.1 could not be asked (Client"), receiver.got) == (True, [])


@in_loop
async def test_a_proxy_of_the_environment_is_not_asked() -> None:
    """It would learn of every approval."""
    async with receiving() as proxy, receiving() as receiver:
        os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://127.0.0.1:{proxy.port}"
        try:
            await WebhookHttp(receiver.url, SECRET).post(EVENT)
        finally:
            del os.environ["HTTP_PROXY"], os.environ["http_proxy"]
    assert (len(receiver.got), proxy.got) == (1, [])


@in_loop
async def test_an_event_that_is_too_large_is_not_sent() -> None:
    """What takes events need not expect more than 64 KiB."""
    async with receiving() as receiver:
        hook = WebhookHttp(receiver.url, SECRET)
        frame = len(canonical({"text": ""}))
        await hook.post({"text": "a" * (MAX_BODY_BYTES - frame)})
        with pytest.raises(WebhookFailed, match="the event has 65537 bytes, expected at most 65536"):
            await hook.post({"text": "a" * (MAX_BODY_BYTES - frame + 1)})
    assert [len(body) for _, _, body in receiver.got] == [MAX_BODY_BYTES]


def test_a_short_secret_is_refused() -> None:
    """Whoever can guess it can speak for Remit."""
    with pytest.raises(ValueError, match="a secret of 31 bytes, expected at least 32"):
        WebhookHttp("http://127.0.0.1/", b"a" * 31)


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "webhook"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@in_loop
async def test_the_secret_is_read_from_its_file(tmp_path: Path) -> None:
    """As it stands there, without the newline at its end."""
    path = secret_file(tmp_path, SECRET + b"\n")
    async with receiving() as receiver:
        await (await webhook(receiver.url, path, FileVault({}, tmp_path))).post(EVENT)
    ((_, headers, body),) = receiver.got
    assert headers["Remit-Signature"] == signature(SECRET, headers["Remit-Timestamp"], body)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"a" * 31 + b"\n", 0o600, "found 31 bytes, expected at least 32 bytes, such as `openssl rand -hex 32` makes"),
        (SECRET, 0o620, "found mode 620, expected nobody but its owner to be able to write it"),
        (b"\xff" * 32, 0o600, "found something else at byte 1"),
    ],
)
@in_loop
async def test_a_secret_that_is_not_fit_is_told_without_it(
    content: bytes, mode: int, told: str, tmp_path: Path
) -> None:
    """Too short, writable by others, or no text."""
    path = secret_file(tmp_path, content, mode)
    with pytest.raises(VaultFailed) as failed:
        await webhook("http://127.0.0.1/", path, FileVault({}, tmp_path))
    assert str(failed.value).startswith(f"file {path}: {told}")


def test_an_approval_reaches_who_is_told_signed(verified: Verify) -> None:
    """From the store over the wire: opened, then denied; a server that fails at first is told all the same."""

    async def told() -> Receiver:
        store = MemoryStore()
        desk = Desk(store)
        async with receiving(500) as receiver:
            teller = Teller(make_world(store), WebhookHttp(receiver.url, SECRET), public_url="https://desk.example.com")
            running = asyncio.create_task(teller.run())
            await is_open(desk, asked())
            await until(lambda: len(receiver.got) == 1)
            receiver.status = 204
            await answer(desk, "denied", verdict=Verdict.DENY)
            await until(lambda: len(receiver.got) == 3)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        return receiver

    got = asyncio.run(told()).got
    assert [json.loads(body)["event"] for _, _, body in got] == [
        "approval.pending",
        "approval.pending",
        "approval.denied",
    ]
    assert all(verified(SECRET, dict(headers), body) for _, headers, body in got)
