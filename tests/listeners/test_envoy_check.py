"""Checks for other people's Envoys: an explicit no in every doubt, and credentials for nobody but Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from counts import COUNTS, dice
from fakes.egress_desk import WAITS, held
from fakes.leaving import CHAT, SECRET, Leaving, leaving
from fakes.loop import in_loop, until
from fakes.pep_fake import FakePipeline
from fakes.world import FakePdp
from google.protobuf.message import DecodeError
from listeners.serving import Seen, hashed, serving
from remit._envoy.envoy.service.auth.v3 import external_auth_pb2 as pb
from remit.backends.identity_catalogue import CatalogueIdentity
from remit.core.catalogue import Identity
from remit.core.egress.exchange import HttpRequest
from remit.core.errors import StoreUnavailable
from remit.core.model import Subject
from remit.listeners.egress_desk import EgressDesk
from remit.listeners.envoy_check import CHECK, Checker
from remit.listeners.envoy_gate import EnvoyGate
from remit.listeners.envoy_proc import PROCESS
from remit.listeners.grpc_status import Overloaded
from remit.pep.egress import Egress

TOKEN = "token-of-analysis"
BEARER = {"authorization": f"Bearer {TOKEN}", "remit-purpose": "onboarding"}


@dataclass(slots=True)
class Observer(Seen):
    """Remembers what was refused as well."""

    refused: list[str] = field(default_factory=list)

    def egress_refused(self, reason: str) -> None:
        self.refused.append(reason)

    def upstream(self, service: str, variant: str, code: int, seconds: float) -> None:
        raise AssertionError("a check sees no answer")


class Failing(Egress):
    """An egress that fails as it is told."""

    failure: Exception

    async def begin(self, subject: Any, attempt: Any, patience: Any = None) -> Any:
        raise self.failure


class Holding(Egress):
    """An egress that holds all calls, and keeps open what may be until `approved`."""

    approved: asyncio.Event
    waits: list[int]

    async def begin(self, subject: Any, attempt: Any, patience: Any = None) -> Any:
        if not attempt.wait or not await patience.stays(attempt.wait):
            return held("d", WAITS)
        self.waits.append(attempt.wait)
        approving, leaving = asyncio.ensure_future(self.approved.wait()), asyncio.ensure_future(patience.left())
        await asyncio.wait({approving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if approving.done():
            return await super().begin(subject, attempt)
        self.waits.append(-1)
        return held("d", WAITS)


@dataclass(frozen=True, slots=True)
class Asking:
    """The call of an Envoy, which has so many seconds left; None for any number."""

    left: float | None

    def time_remaining(self) -> float | None:
        return self.left


@dataclass(slots=True)
class Desk:
    """A desk over a world in memory, in which `analysis` has a token."""

    site: Leaving
    desk: EgressDesk
    egress: Egress
    observer: Observer

    async def check(self, raw: bytes) -> pb.CheckResponse:
        """As gRPC calls it."""
        answer = pb.CheckResponse.FromString(await Checker(self.desk).handler().unary_unary(raw, Asking(None)))
        if answer.status.code:
            assert answer.status.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
            assert answer.denied_response.status.code >= 400 and answer.denied_response.body
            assert SECRET not in answer.SerializeToString() and not answer.HasField("ok_response")
        return answer


def make(failure: Exception | None = None, *, holds: bool = False) -> Desk:
    site = leaving()
    catalogue = site.world.catalogue
    agents = {**catalogue.agents}
    agents["analysis"] = replace(agents["analysis"], identity=Identity((hashed(TOKEN),)))
    catalogue = replace(catalogue, agents=agents)
    site.world.installation = replace(site.world.installation, catalogue=catalogue)
    egress = site.egress
    if failure is not None:
        egress = Failing(site.world, site.vault, site.ways)
        egress.failure = failure
    if holds:
        egress = Holding(site.world, site.vault, site.ways)
        egress.approved, egress.waits = asyncio.Event(), []
    observer = Observer()
    desk = EgressDesk(
        egress,
        FakePipeline(),
        CatalogueIdentity(catalogue, site.world.clock),
        observer,
        catalogue=lambda: site.world.catalogue,
        nonce="n0nce",
    )
    return Desk(site, desk, egress, observer)


def request(
    path: str = "/v1/items/7", method: str = "GET", body: bytes = b"", *, service: str = "crm", **headers: str
) -> pb.CheckRequest:
    """A check of a request, as Envoy asks it."""
    found = pb.CheckRequest()
    http = found.attributes.request.http
    http.method, http.path, http.scheme, http.host, http.raw_body = method, path, "http", "x", body
    for name, value in {**BEARER, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
        http.headers[name] = value
    if service:
        found.attributes.context_extensions["remit-service"] = service
    return found


def code(answer: pb.CheckResponse) -> tuple[int, str]:
    return answer.denied_response.status.code, json.loads(answer.denied_response.body)["error"]["code"]


@in_loop
async def test_an_allowed_check_carries_the_credential_and_removes_the_agent_s() -> None:
    """The whole path is the service's where the Envoy names it, else below its first part."""
    for asked in (request(), request("/crm/v1/items/7", service="")):
        desk = make()
        asked.attributes.request.http.headers["baggage"] = "a=b,remit.purpose=onboarding"
        asked.attributes.request.http.headers["remit-later"] = "x"

        answer = await desk.check(asked.SerializeToString())

        assert answer.status.code == 0, answer
        put = {each.header.key: each.header.value for each in answer.ok_response.headers}
        assert put == {"authorization": f"Bearer {SECRET.decode()}", "baggage": "a=b"}
        assert {"remit-token", "x-api-key", "remit-purpose", "remit-later", "proxy-authorization"} <= set(
            answer.ok_response.headers_to_remove
        )
        assert "authorization" not in answer.ok_response.headers_to_remove
        (held,) = await desk.site.world.store.due(2**62, 9)
        assert held.service == "crm" and answer.dynamic_metadata["decision"] == held.decision


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(service="nowhere"), (403, "price_unknown")),
        (request("/nowhere/x", service=""), (403, "price_unknown")),
        (request(authorization=""), (401, "unauthenticated")),
        (request(authorization="Bearer nobody"), (401, "unauthenticated")),
        (request("/v1/../items"), (403, "request_malformed")),
        (request("/v1/unmapped"), (403, "request_unmapped")),
        (request(remit_purpose="NO"), (403, "context_invalid")),
        (request("/v1/items", "POST", b'{"na', content_length="20"), (403, "request_malformed")),
        (request("/v1/items", "POST", b"", content_length="20"), (403, "request_malformed")),
        (request("/v1/items", "POST", b""), (403, "request_malformed")),
        (request(transfer_encoding="chunked"), (403, "request_malformed")),
        (request("/v1/items", "POST", b'{"name":"x"}', x_envoy_auth_partial_body="true"), (403, "request_malformed")),
        (
            request(
                "/v1/chat/completions",
                "POST",
                CHAT,
                service="llm",
                content_type="application/json",
                x_envoy_auth_partial_body="false",
            ),
            (403, "obligation_unsupported"),
        ),
        (request("/db/x", service=""), (403, "price_unknown")),
        (pb.CheckRequest(), (401, "unauthenticated")),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
@in_loop
async def test_every_doubt_is_an_explicit_denial(asked: pb.CheckRequest, expected: tuple[int, str]) -> None:
    """A gRPC error would open an Envoy with `failure_mode_allow`."""
    desk = make()

    answer = await desk.check(asked.SerializeToString())

    assert answer.status.code and code(answer) == expected and desk.observer.refused == [expected[1]]
    assert not await desk.site.world.store.due(2**62, 9)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (StoreUnavailable("the disk"), (503, "store_unavailable")),
        (Overloaded("full"), (429, "overloaded")),
        (RuntimeError(f"with {SECRET.decode()}"), (403, "internal")),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), (403, "internal")),
        (DecodeError("odd"), (403, "request_malformed")),
    ],
    ids=lambda value: type(value).__name__,
)
@in_loop
async def test_a_pipeline_that_fails_is_a_denial(failure: Exception, expected: tuple[int, str]) -> None:
    assert code(await make(failure).check(request().SerializeToString())) == expected


@in_loop
async def test_a_policy_that_fails_is_a_denial() -> None:
    desk = make()
    pdp = desk.site.world.installation.pdp
    assert isinstance(pdp, FakePdp)

    def fails(document: Any) -> Any:
        raise RuntimeError("the policy fails")

    pdp.policy = fails
    assert code(await desk.check(request().SerializeToString())) == (403, "internal")


def mutated(rng: random.Random, raw: bytes) -> bytes:
    """A message with some bytes changed, cut or put in."""
    found = bytearray(raw)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(3):
            case 0:
                found[place : place + 1] = rng.randbytes(1)
            case 1:
                del found[place:]
            case _:
                found[place:place] = rng.randbytes(rng.randrange(4))
    return bytes(found)


async def search(desk: Desk, rng: random.Random, raws: Iterable[bytes]) -> None:
    """No message is answered by an error, and none is allowed without the agent's credential."""
    for raw in raws:
        changed = mutated(rng, raw)
        answer = await desk.check(changed)
        assert answer.status.code or TOKEN.encode() in changed, "allowed to nobody"


@in_loop
async def test_no_garbage_is_answered_by_an_error_or_allowed_to_nobody() -> None:
    rng = dice("check")
    whole = request("/v1/items", "POST", b'{"name":"x","rows":1}', content_length="21").SerializeToString()
    await search(make(), rng, [whole] * COUNTS.flips)
    await search(make(), rng, [rng.randbytes(rng.randrange(40)) for _ in range(COUNTS.examples)])


@in_loop
async def test_the_search_finds_a_desk_that_knows_everybody() -> None:
    """A planted bug: whoever shows nothing is taken for the agent."""
    desk = make()
    proof = HttpRequest("GET", "http", "x", "/", tuple(BEARER.items()))
    known = await desk.desk.identified(proof, "peer", proxied=False)

    async def everybody(request: HttpRequest, peer: str, *, proxied: bool, certificate: str = "") -> Subject:
        return known

    desk.desk.identified = everybody  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="allowed to nobody"):
        await search(desk, dice("planted"), [request().SerializeToString()] * 2000)


# --- who may call these


@asynccontextmanager
async def gated(directory: Path) -> AsyncIterator[tuple[EnvoyGate, Path]]:
    """The private socket, served."""
    desk = make()
    gate = EnvoyGate(desk.desk, desk.egress, directory / "remit.sock", body_bytes=1 << 20)
    await gate.start()
    try:
        yield gate, directory / "remit.sock"
    finally:
        await gate.stop(1)


@pytest.mark.parametrize("method", [CHECK, PROCESS])
@in_loop
async def test_an_agent_s_own_connection_cannot_call_them(method: str) -> None:
    """Whoever could would be handed credentials."""
    async with serving() as served, served.caller() as caller:
        call = caller.channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request().SerializeToString(), metadata=caller.metadata, timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert SECRET.decode() not in str(refused.value)


@in_loop
async def test_the_private_socket_answers_envoy_and_is_its_user_s_alone(tmp_path: Path) -> None:
    async with gated(tmp_path) as (_, socket):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600 and stat.S_ISSOCK(socket.stat().st_mode)
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            raw = await channel.unary_unary(CHECK)(request().SerializeToString(), timeout=5)
            assert pb.CheckResponse.FromString(raw).status.code == 0
    assert not socket.exists()


CONNECTS = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
PYTHON = Path("/usr/bin/python3")
"""The tests' own may lie where another user cannot run it."""


def connects(socket: Path, user: int) -> bool:
    """Whether a user may connect; any failure but that of permission is none of the test's."""
    command = [str(PYTHON), "-c", CONNECTS, str(socket)]
    found = subprocess.run(
        command, user=user, group=user, extra_groups=[], check=False, timeout=20, capture_output=True, text=True
    )
    assert found.returncode == 0 or "PermissionError" in found.stderr, found.stderr
    return found.returncode == 0


@pytest.fixture(name="common")
def _common() -> Iterator[Path]:
    """A directory that everybody may pass."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0 or not PYTHON.exists(), reason="only root can be somebody else")
@in_loop
async def test_another_user_cannot_connect(common: Path) -> None:
    """Also where the directory would let it; with another mode the test would tell."""
    async with gated(common) as (_, socket):
        assert await asyncio.to_thread(connects, socket, 0)
        assert not await asyncio.to_thread(connects, socket, 65534)
        socket.chmod(0o777)
        assert await asyncio.to_thread(connects, socket, 65534)


@pytest.mark.parametrize(
    ("left", "asked", "waits"),
    [(None, "30", 30.0), (0.2, "30", 0.0), (6.0, "30", 5.0), (60.0, "30", 30.0), (60.0, "", 0.0)],
)
@in_loop
async def test_a_held_check_waits_no_longer_than_the_envoy_that_asks(
    left: float | None, asked: str, waits: float
) -> None:
    """Its own deadline would end it without an answer, and one that may fail open would let it pass."""
    desk = make(holds=True)
    egress: Any = desk.egress
    message = request(**({"remit_wait": asked} if asked else {})).SerializeToString()
    serving_ = asyncio.ensure_future(Checker(desk.desk).handler().unary_unary(message, Asking(left)))
    if waits:
        await until(lambda: bool(egress.waits))
        assert not serving_.done()
        egress.approved.set()

    async with asyncio.timeout(10):
        answer = pb.CheckResponse.FromString(await serving_)

    assert egress.waits == ([waits * 1e9] if waits else [])
    assert answer.HasField("ok_response") is bool(waits)
    if not waits:
        headers = {each.header.key: each.header.value for each in answer.denied_response.headers}
        assert (answer.denied_response.status.code, headers["remit-approval"]) == (403, "a1")


@pytest.mark.parametrize("how", ["leaves", "released"])
@in_loop
async def test_a_held_check_ends_with_its_caller_or_the_sidecar(how: str) -> None:
    desk = make(holds=True)
    egress: Any = desk.egress
    checker = Checker(desk.desk)
    message = request(remit_wait="30").SerializeToString()
    serving_ = asyncio.ensure_future(checker.handler().unary_unary(message, Asking(None)))
    await until(lambda: bool(egress.waits))

    if how == "leaves":
        serving_.cancel()
    else:
        checker.release()
        answer = pb.CheckResponse.FromString(await serving_)
        assert answer.denied_response.status.code == 403
        late = pb.CheckResponse.FromString(await checker.handler().unary_unary(message, Asking(None)))
        assert late.denied_response.status.code == 403

    await until(lambda: egress.waits[-1] == -1)
