"""Certificates that rotate, by real handshakes: new connections are made by the new ones, and no call fails."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.loop import in_loop, until
from fakes.mounted_volume import MountedVolume
from listeners.certificates import Authority, Pair
from listeners.serving import Caller, Served, serving
from remit.app.certificates import Certificates
from remit.backends.pem_files import PemFiles, TlsUnusable
from remit.config.listening import TlsSettings
from remit.listeners.console.server import ConsoleListener
from remit.listeners.grpc_server import Tcp
from remit.metrics import Metrics

SERVERS, CLIENTS, OTHERS = Authority("servers"), Authority("clients"), Authority("other clients")
SUPPORT, LATER = CLIENTS.sign(uris=["spiffe://x/support"]), OTHERS.sign(uris=["spiffe://x/support"])
SOON = 2.0  # seconds within which a new certificate is shown


def server(after: timedelta = timedelta(days=1)) -> Pair:
    return SERVERS.sign(dns=["localhost"], addresses=["127.0.0.1"], after=after)


def serial(certificate: bytes) -> int:
    return x509.load_pem_x509_certificate(certificate).serial_number


def expiry(pair: Pair) -> float:
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc.timestamp()


def context(client: Pair | None, place: Path, protocol: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=SERVERS.certificate.decode())
    made.set_alpn_protocols([protocol])
    if client is not None:
        file = place / f"client-{serial(client.certificate)}.pem"
        file.write_bytes(client.certificate + client.key)
        made.load_cert_chain(file)
    return made


def shown(port: int, how: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection is shown."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        how.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"").serial_number


@dataclass
class Stage:
    """A gRPC server whose certificate lies in a volume."""

    served: Served
    volume: MountedVolume
    metrics: Metrics
    place: Path

    @property
    def port(self) -> int:
        return int(self.served.targets[0].rpartition(":")[2])

    def write(self, pair: Pair, clients: bytes = CLIENTS.certificate) -> None:
        self.volume.write({"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": clients})

    async def shows(self, pair: Pair, client: Pair = SUPPORT) -> None:
        """Wait until it does, and hold it to its time."""
        how, began = context(client, self.place, "h2"), time.monotonic()
        while await asyncio.to_thread(shown, self.port, how) != serial(pair.certificate):
            assert time.monotonic() - began < SOON
            await asyncio.sleep(0.02)

    async def told(self) -> float:
        text, _ = await self.metrics.exposition("text/plain")
        (line,) = [each for each in text.decode().splitlines() if each.startswith("remit_certificate_expiry_seconds{")]
        assert 'use="grpc"' in line
        return float(line.rpartition(" ")[2])

    @asynccontextmanager
    async def caller(self, pair: Pair = SUPPORT) -> AsyncIterator[Caller]:
        """A caller on a connection of its own."""
        credentials = grpc.ssl_channel_credentials(SERVERS.certificate, pair.key, pair.certificate)
        alone = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(self.served.targets[0], credentials, alone) as channel:
            yield Caller(channel)


@asynccontextmanager
async def stage(place: Path, first: Pair) -> AsyncIterator[Stage]:
    volume, metrics = MountedVolume(place / "tls"), Metrics("1")
    volume.write({"tls.crt": first.certificate, "tls.key": first.key, "ca.crt": CLIENTS.certificate})
    names = TlsSettings(volume.path / "tls.crt", volume.path / "tls.key", volume.path / "ca.crt")
    certificates = await Certificates.read("grpc", names, metrics)
    following = asyncio.create_task(certificates.follow())
    try:
        async with serving(addresses=[Tcp("127.0.0.1", 0, certificates.grpc())]) as served:
            yield Stage(served, volume, metrics, place)
    finally:
        following.cancel()


@asynccontextmanager
async def under_load(s: Stage) -> AsyncIterator[list[int]]:
    """Calls without a pause, on connections that last and on new ones; all must go well. Counts them, by kind."""
    ended, calls = asyncio.Event(), [0, 0]

    async def lasting() -> None:
        async with s.caller() as caller:
            while not ended.is_set():
                await caller.authorize()
                calls[0] += 1

    async def anew() -> None:
        while not ended.is_set():
            async with s.caller() as caller:
                await caller.authorize()
            calls[1] += 1

    running = [asyncio.create_task(each) for each in (lasting(), lasting(), anew(), anew())]
    try:
        yield calls
    finally:
        ended.set()
        for result in await asyncio.gather(*running, return_exceptions=True):
            assert result is None, f"a call failed: {result!r}"


@in_loop
async def test_a_rotated_certificate_is_shown_soon_and_no_call_fails(tmp_path: Path) -> None:
    """By a volume's link that is turned, five times, with both certificates and authorities that overlap."""
    async with stage(tmp_path, server()) as s, under_load(s) as calls:
        for turn in range(5):
            pair, before = server(after=timedelta(days=turn + 2)), list(calls)
            s.write(pair, CLIENTS.certificate + OTHERS.certificate)
            await s.shows(pair)
            assert await s.told() == expiry(pair)
            await until(lambda before=before: all(now > then for now, then in zip(calls, before, strict=True)))
        async with s.caller(LATER) as caller:
            await caller.authorize()


@in_loop
async def test_a_rotated_authority_refuses_its_clients_new_connections_and_ends_none(tmp_path: Path) -> None:
    """Who came by the old one goes on until its connection ends; who comes by it now is refused."""
    async with stage(tmp_path, server()) as s, s.caller() as old:
        await old.authorize()
        pair = server()
        s.write(pair, OTHERS.certificate)
        await s.shows(pair, LATER)
        async with s.caller(LATER) as caller:
            await caller.authorize()
        async with s.caller() as caller:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await caller.authorize()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await old.authorize()


HALF = server()
WRONG = {
    "a key of another certificate": {"tls.key": server().key},
    "half a certificate": {"tls.crt": HALF.certificate[:300], "tls.key": HALF.key},
    "half a key": {"tls.crt": HALF.certificate, "tls.key": HALF.key[:100]},
    "nothing": {"tls.crt": b"", "tls.key": b""},
    "half of the authorities": {"ca.crt": OTHERS.certificate + CLIENTS.certificate[:200]},
    "no authority": {"ca.crt": b""},
    "no key": {"tls.key": None},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_leaves_the_one_before_in_force(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once each time, with the files; what fits after it is taken."""

    @in_loop
    async def run() -> None:
        first, third = server(), server(after=timedelta(days=3))
        there: dict[str, bytes | None] = {
            "tls.crt": first.certificate, "tls.key": first.key, "ca.crt": CLIENTS.certificate
        }  # fmt: skip
        async with stage(tmp_path, first) as s:
            with caplog.at_level(logging.ERROR, "remit"):
                for times in (1, 2):
                    s.volume.write({name: text for name, text in (there | WRONG[what]).items() if text is not None})
                    await until(lambda times=times: len(caplog.records) >= times)
                    async with s.caller() as caller:
                        await caller.authorize()
                    await s.shows(first)
            said = caplog.records[0].getMessage()
            assert "the certificate in force stays" in said
            assert str(tmp_path / "tls" / "tls.key") in said
            assert await s.told() == expiry(first)
            s.write(third)
            await s.shows(third)
            assert await s.told() == expiry(third)
            assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 2

    run()


def rsa_pair() -> Pair:
    """A server's certificate with another kind of key."""
    key = rsa.generate_private_key(65537, 2048)
    like = x509.load_pem_x509_certificate(server().certificate)
    builder = x509.CertificateBuilder(like.issuer, like.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(like.not_valid_before_utc).not_valid_after(like.not_valid_after_utc)
    for each in like.extensions:
        builder = builder.add_extension(each.value, each.critical)
    text = builder.sign(SERVERS._key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return Pair(text, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize("kinds", [(server, server), (rsa_pair, server), (server, rsa_pair)])
def test_people_s_pages_show_it_too(kinds: tuple[Callable[[], Pair], Callable[[], Pair]], tmp_path: Path) -> None:
    """Whatever kind of key it has: it does not stand beside the one before. Who is connected stays so."""

    @in_loop
    async def run() -> None:
        first, second = (make() for make in kinds)
        volume = MountedVolume(tmp_path / "tls")
        volume.write({"tls.crt": first.certificate, "tls.key": first.key})
        certificates = await Certificates.read(
            "desk", TlsSettings(volume.path / "tls.crt", volume.path / "tls.key"), Metrics("1")
        )
        following = asyncio.create_task(certificates.follow())
        listener = ConsoleListener(_hello)
        bound = await listener.start("127.0.0.1", 0, certificates.now.load)
        certificates.then(lambda pem: listener.show(pem.load))
        port, how = int(bound.rpartition(":")[2]), context(None, tmp_path, "http/1.1")
        try:
            reader, writer = await asyncio.open_connection("localhost", port, ssl=how, server_hostname="localhost")
            assert await asyncio.to_thread(shown, port, how) == serial(first.certificate)
            volume.write({"tls.crt": second.certificate, "tls.key": second.key})
            began = time.monotonic()
            while await asyncio.to_thread(shown, port, how) != serial(second.certificate):
                assert time.monotonic() - began < SOON
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
        finally:
            following.cancel()
            await listener.stop(1)

    run()


async def _hello(scope: object, receive: object, send: Callable[..., object]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": b"hello"})  # type: ignore[misc]


def swapping(volume: MountedVolume, files: PemFiles, monkeypatch: pytest.MonkeyPatch, at: int) -> Pair:
    """Have the volume's link turned just before the file with number `at` is read. Returns what it turns to."""
    pair = server()
    opened = Path.open
    count = 0

    def counting(path: Path, *arguments: object, **more: object) -> object:
        nonlocal count
        if path.parent == volume.path:
            count += 1
            if count == at:
                volume.write({"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": OTHERS.certificate})
        return opened(path, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", counting)
    return pair


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("careless", [False, True])
def test_what_is_read_is_of_one_moment(
    at: int, careless: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is turned between two files, by which pair and authorities would not be of one rotation. A reader
    that does not look again, planted, is found."""

    @in_loop
    async def run() -> None:
        first, volume = server(), MountedVolume(tmp_path / "tls")
        volume.write({"tls.crt": first.certificate, "tls.key": first.key, "ca.crt": CLIENTS.certificate})
        files = PemFiles("TLS", *(volume.path / name for name in ("tls.crt", "tls.key", "ca.crt")))
        if careless:
            monkeypatch.setattr(files, "_look", lambda: ())
        second = swapping(volume, files, monkeypatch, at)
        try:
            found = await files.start()
        except TlsUnusable:
            assert careless
            assert at == 2, "certificate and key are of two pairs"
            return
        whole = (found.certificate, found.key, found.client_ca) in (
            (first.certificate, first.key, CLIENTS.certificate),
            (second.certificate, second.key, OTHERS.certificate),
        )
        assert whole is not (careless and at == 3)

    run()
