"""Client certificates over real TLS: the name that a trusted authority signed is who calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.loop import in_loop
from grpc import StatusCode
from listeners.certificates import Authority, Pair
from listeners.serving import SUPPORT, WRITER, Caller, Served, question, serving
from remit.backends.clock_system import SystemClock
from remit.core.catalogue import Agent, Catalogue, Identity
from remit.listeners.grpc_server import Tcp, Tls
from remit.v1 import resources_pb2

AUTHORITY, STRANGERS = Authority(), Authority("strangers")
SERVER = AUTHORITY.sign(dns=["localhost"], addresses=["127.0.0.1"])
SUPPORTS = AUTHORITY.sign(uris=["spiffe://x/support"])
HOUR = 3600 * 10**9


class LaterClock(SystemClock):
    """The time, and some more."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@asynccontextmanager
async def tls(*, client_ca: bytes = AUTHORITY.certificate) -> AsyncIterator[tuple[Served, LaterClock]]:
    """A server on TCP with TLS."""
    clock = LaterClock()
    address = Tcp("127.0.0.1", 0, Tls(SERVER.certificate, SERVER.key, client_ca))
    async with serving(addresses=[address], clock=clock) as served:
        yield served, clock


@asynccontextmanager
async def calling(served: Served, pair: Pair | None = None, token: str = "") -> AsyncIterator[Caller]:
    """A caller that shows a certificate, a token, both, or neither."""
    credentials = grpc.ssl_channel_credentials(
        AUTHORITY.certificate, pair.key if pair else None, pair.certificate if pair else None
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(served.targets[0], credentials, options) as channel:
        yield Caller(channel, token)


async def refused(caller: Caller) -> StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await caller.authorize()
    return caught.value.code()


@in_loop
async def test_the_name_in_a_certificate_is_who_calls() -> None:
    """By URI, by DNS name in any case, by fingerprint."""
    by_fingerprint = AUTHORITY.sign()
    der = x509.load_pem_x509_certificate(by_fingerprint.certificate).public_bytes(Encoding.DER)
    fingerprint = f"sha256:{sha256(der).hexdigest()}"
    agents = {
        "support": Agent("cx", identity=Identity(uris=("spiffe://x/support",))),
        "writer": Agent("cx", identity=Identity(dns=("Writer.example",))),
        "analyst": Agent("cx", identity=Identity(fingerprints=(fingerprint,))),
    }
    async with tls() as (served, _):
        served.identities.use(Catalogue("EUR", agents=agents))
        for pair in (SUPPORTS, AUTHORITY.sign(dns=["WRITER.example"]), by_fingerprint):
            async with calling(served, pair) as caller:
                assert (await caller.authorize()).effect == resources_pb2.EFFECT_ALLOW

        assert [subject.id for subject, _ in served.pipeline.asked] == ["support", "writer", "analyst"]
        assert [subject.identity.method for subject, _ in served.pipeline.asked] == ["mtls"] * 3
        assert served.pipeline.asked[0][0].identity.subject == "spiffe://x/support"


NOBODY = {
    "another path": AUTHORITY.sign(uris=["spiffe://x/support/more"]),
    "another case": AUTHORITY.sign(uris=["spiffe://x/Support"]),
    "the URI as a common name": AUTHORITY.sign(name="spiffe://x/support"),
    "the URI as a DNS name": AUTHORITY.sign(dns=["spiffe://x/support"]),
    "a DNS name as a URI": AUTHORITY.sign(uris=["writer.example"]),
    "a wildcard": AUTHORITY.sign(dns=["*.example"]),
    "a subdomain": AUTHORITY.sign(dns=["a.writer.example"]),
    "a NUL in the middle": AUTHORITY.sign(uris=["spiffe://x/support\0.evil"]),
    "no names": AUTHORITY.sign(),
}


@pytest.mark.parametrize("name", NOBODY)
def test_a_name_that_is_nearly_somebodys_is_nobodys(name: str) -> None:
    """Names are compared whole, and each kind with its own; the refusal is recorded."""

    @in_loop
    async def run() -> None:
        async with tls() as (served, _), calling(served, NOBODY[name]) as caller:
            assert await refused(caller) is StatusCode.UNAUTHENTICATED
            assert served.seen.failures == ["unknown"]
            assert served.pipeline.refusals[0][:2] == ("ipv4:127.0.0.1", "identity")

    run()


@in_loop
async def test_a_certificate_of_another_authority_gets_no_connection() -> None:
    """TLS itself refuses; the same for an expired one, and for none."""
    pairs = (
        STRANGERS.sign(uris=["spiffe://x/support"]),
        AUTHORITY.sign(uris=["spiffe://x/support"], before=timedelta(days=2), after=timedelta(days=-1)),
        None,
    )
    async with tls() as (served, _):
        for pair in pairs:
            async with calling(served, pair, SUPPORT) as caller:
                assert await refused(caller) is StatusCode.UNAVAILABLE
        assert not served.pipeline.asked
        async with calling(served, SUPPORTS) as caller:
            await caller.authorize()


@in_loop
async def test_a_certificate_that_expires_on_an_open_connection_proves_nobody() -> None:
    """TLS looked at it once, we look at every call."""
    async with tls() as (served, clock), calling(served, SUPPORTS) as caller:
        await caller.authorize()
        clock.ahead = 25 * HOUR
        assert await refused(caller) is StatusCode.UNAUTHENTICATED
        assert served.seen.failures == ["expired"]


@in_loop
async def test_a_certificate_and_a_token_must_name_the_same() -> None:
    """Two names are none; a bad token is not saved by a good certificate."""
    async with tls() as (served, _):
        async with calling(served, SUPPORTS, SUPPORT) as caller:
            await caller.authorize()
        for token, cause in ((WRITER, "ambiguous"), ("guess", "unknown")):
            async with calling(served, SUPPORTS, token) as caller:
                assert await refused(caller) is StatusCode.UNAUTHENTICATED
            assert served.seen.failures[-1] == cause
        assert len(served.pipeline.asked) == 1


@in_loop
async def test_a_certificate_of_a_mesh_does_no_harm_beside_a_token() -> None:
    """It names nobody in the catalogue; the token does."""
    async with tls() as (served, _), calling(served, AUTHORITY.sign(), WRITER) as caller:
        await caller.authorize()
        assert served.pipeline.asked[0][0].id == "writer"


@in_loop
async def test_a_certificate_that_names_two_is_refused() -> None:
    """Which of them calls?"""
    both = AUTHORITY.sign(uris=["spiffe://x/support"], dns=["writer.example"])
    async with tls() as (served, _), calling(served, both) as caller:
        assert await refused(caller) is StatusCode.UNAUTHENTICATED
        assert served.seen.failures == ["ambiguous"]


@in_loop
async def test_a_certificate_does_not_let_an_agent_claim_to_be_another() -> None:
    """The field of the request counts for nothing."""
    async with tls() as (served, _), calling(served, SUPPORTS) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.authorize(question(agent="writer"))
        assert caught.value.code() is StatusCode.UNAUTHENTICATED
        assert served.pipeline.refusals[0][:2] == ("agent:support", "identity")


@in_loop
async def test_without_a_client_authority_tls_takes_tokens() -> None:
    """Encrypted, and who calls is proved by the token alone: a certificate is not even asked for."""
    async with tls(client_ca=b"") as (served, _):
        async with calling(served, SUPPORTS) as caller:
            assert await refused(caller) is StatusCode.UNAUTHENTICATED
        async with calling(served, None, SUPPORT) as caller:
            await caller.authorize()


@in_loop
async def test_plain_text_on_a_tls_port_gets_nothing() -> None:
    """And the next good call works."""
    async with tls() as (served, _):
        async with served.caller(SUPPORT) as caller:
            assert await refused(caller) is StatusCode.UNAVAILABLE
        async with calling(served, SUPPORTS) as caller:
            await caller.authorize()
