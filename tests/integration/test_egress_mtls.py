"""Client certificates at the egress, over real TLS: who calls is the name that a trusted authority signed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from http.client import HTTPSConnection
from pathlib import Path
from threading import Event, Thread, get_ident
from time import monotonic
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.egress_book import Answer, Book, Got, Line, Wire, serving
from fakes.egress_up import EgressUp, until
from fakes.envoy_world import world
from fakes.loop import in_loop
from listeners.certificates import DAY, Authority, Pair
from remit.backends.envoy_places import EgressTls

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

AUTHORITY, STRANGERS = Authority(), Authority("strangers")
SUPPORT, WRITER = "rmt_of_support_over_tls", "rmt_of_writer_over_tls"
SUPPORTS, WRITERS = AUTHORITY.sign(uris=["spiffe://x/support"]), AUTHORITY.sign(dns=["WRITER.example"])
ANALYSTS, NOBODYS = AUTHORITY.sign(), AUTHORITY.sign(uris=["spiffe://x/nobody"])


def der(pair: Pair) -> bytes:
    return x509.load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)


def hashed(token: str) -> str:
    return f"sha256:{sha256(token.encode()).hexdigest()}"


CATALOGUE = f"""\
currency: EUR
teams: {{cx: {{contact: "#cx"}}}}
agents:
  support:
    team: cx
    purposes: [x]
    identity: {{token_hash: "{hashed(SUPPORT)}", mtls: {{uri: "spiffe://x/support"}}}}
  writer:
    team: cx
    purposes: [x]
    identity: {{token_hash: "{hashed(WRITER)}", mtls: {{dns: [writer.example]}}}}
  analyst:
    team: cx
    purposes: [x]
    identity: {{mtls: {{fingerprint: "sha256:{sha256(der(ANALYSTS)).hexdigest()}"}}}}
services:
  api:
    owner: cx
    endpoints: {{here: {{url: "http://localhost:API", region: eu, addresses: [127.0.0.0/8]}}}}
    routes: [{{path: "/{{what}}", operation: get, methods: [GET]}}]
  tunnel:
    owner: cx
    opaque: true
    clearance: []
    endpoints: {{here: {{url: "https://localhost:TUNNEL", region: eu, addresses: [127.0.0.0/8]}}}}
prices: [{{match: "*/*", unit: call, amount: 0, currency: EUR}}]
sidecar:
  tls: {{cert: tls/server.crt, key: tls/server.key, client_ca: tls/clients.crt}}
  egress: {{on: true, tls: true}}
"""


class Up(EgressUp):
    """The sidecar, its upstreams and its certificates: `tls` is a link to the directory that has them."""

    def __init__(self, place: Path) -> None:
        self.api, self.wire = Book(), Wire()
        self._serving = serving(self.api, self.wire)
        self._serving.__enter__()
        self.write(place / "first", server())
        (place / "tls").symlink_to("first")
        super().__init__(place, "")

    def write(self, directory: Path, pair: Pair, clients: bytes = AUTHORITY.certificate) -> None:
        """A directory with the files that the catalogue names."""
        directory.mkdir()
        for name, text in (("server.crt", pair.certificate), ("server.key", pair.key), ("clients.crt", clients)):
            (directory / name).write_bytes(text)

    def turn(self, directory: str) -> None:
        """Have the link lead to another directory: as Kubernetes rotates a mounted secret."""
        new = self.place / "tls.new"
        new.symlink_to(directory)
        new.replace(self.place / "tls")

    def say(self, services: str) -> None:
        """Write the catalogue."""
        text = CATALOGUE.replace(":API", f":{self.api.port}").replace(":TUNNEL", f":{self.wire.port}")
        (self.place / "remit.yaml").write_text(text)

    def kill_envoy(self) -> None:
        """End its Envoy; the sidecar starts another."""
        found = subprocess.run(
            ["pgrep", "-P", str(self._process.pid), "-f", "/envoy"], capture_output=True, text=True, check=True
        )
        for each in found.stdout.split():
            os.kill(int(each), signal.SIGKILL)

    def close(self) -> None:
        """End it all."""
        try:
            self.stop()
        finally:
            self._serving.__exit__(None, None, None)


def server() -> Pair:
    return AUTHORITY.sign(dns=["localhost"], addresses=["127.0.0.1"])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    made = Up(tmp_path_factory.mktemp("mtls"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _new_page(up: Up) -> None:
    up.api.got.clear()


def context(place: Path, pair: Pair | None = None, *protocols: str) -> ssl.SSLContext:
    """How a client connects: it believes the authority alone, and shows this certificate."""
    made = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    if protocols:
        made.set_alpn_protocols(list(protocols))
    if pair is not None:
        path = place / f"{sha256(pair.key).hexdigest()[:16]}.pem"
        if not path.exists():
            new = path.with_suffix(f".{get_ident()}")
            new.write_bytes(pair.certificate + pair.key)
            new.replace(path)
        made.load_cert_chain(path)
    return made


@contextmanager
def tls(up: Up, port: int, how: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A connection for bytes."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        how.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        yield client


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    text: str


@contextmanager
def connected(up: Up, pair: Pair | None) -> Iterator[HTTPSConnection]:
    connection = HTTPSConnection("127.0.0.1", up.port, timeout=20, context=context(up.place, pair))
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: HTTPSConnection, path: str = "/api/thing", headers: Mapping[str, str] | None = None) -> Told:
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return Told(answer.status, answer.read().decode())


def get(up: Up, pair: Pair | None, headers: Mapping[str, str] | None = None) -> Told:
    with connected(up, pair) as connection:
        return ask(connection, headers=headers)


def shut(up: Up, pair: Pair | None) -> bool:
    """Whether no request can be made."""
    try:
        get(up, pair)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def caller(up: Up) -> tuple[str, str]:
    """Whose the last decision was, and how that was known."""
    subject = up.decisions()[-1].body["subject"]
    return subject["id"], subject["identity"]["method"]


@pytest.mark.parametrize(
    ("pair", "who"),
    [
        (SUPPORTS, "support"),
        (AUTHORITY.sign(uris=["spiffe://x/else", "spiffe://x/support"], dns=["a.example", "b.example"]), "support"),
        (WRITERS, "writer"),
        (AUTHORITY.sign(uris=["spiffe://x/else"], dns=["a.example", "writer.example"]), "writer"),
        (ANALYSTS, "analyst"),
    ],
    ids=["uri", "second uri", "dns", "second dns", "fingerprint"],
)
def test_the_name_in_a_certificate_is_who_calls(up: Up, pair: Pair, who: str) -> None:
    """Any of its names, in any place."""
    assert get(up, pair).status == 200
    assert caller(up) == (who, "mtls")
    assert len(up.api.got) == 1


@pytest.mark.parametrize(
    ("pair", "headers", "who"),
    [
        (NOBODYS, {"remit-token": SUPPORT}, ("support", "token")),
        (NOBODYS, {"authorization": f"Bearer {SUPPORT}"}, ("support", "token")),
        (SUPPORTS, {"remit-token": SUPPORT}, ("support", "token")),
        (SUPPORTS, {"x-api-key": SUPPORT}, ("support", "token")),
        (SUPPORTS, {"authorization": "Bearer remit"}, ("support", "mtls")),
    ],
    ids=["nobody's and a token", "nobody's and a key", "its token", "its key", "a key that is nobody's"],
)
def test_a_certificate_and_a_token_of_one_agent_are_that_agent(
    up: Up, pair: Pair, headers: dict[str, str], who: tuple[str, str]
) -> None:
    """A certificate that is nobody's does no harm beside a token, nor does the key that a client library insists on
    beside a certificate."""
    assert get(up, pair, headers).status == 200
    assert caller(up) == who


@pytest.mark.parametrize(
    ("pair", "headers", "why"),
    [
        (SUPPORTS, {"remit-token": WRITER}, "the token and the client certificate name different subjects"),
        (SUPPORTS, {"authorization": f"Bearer {WRITER}"}, "the credentials of several subjects"),
        (SUPPORTS, {"x-api-key": WRITER}, "the credentials of several subjects"),
        (SUPPORTS, {"remit-token": "rmt_nobody"}, "the token is nobody's"),
        (NOBODYS, {"remit-token": "rmt_nobody"}, "the token is nobody's"),
        (NOBODYS, {"x-api-key": "rmt_nobody"}, "the token is nobody's"),
        (NOBODYS, {}, "the client certificate is nobody's"),
        (AUTHORITY.sign(uris=["spiffe://x/support"], dns=["writer.example"]), {}, "names several subjects"),
        (
            AUTHORITY.sign(uris=["spiffe://x/support"], dns=["writer.example"]),
            {"remit-token": SUPPORT},
            "names several subjects",
        ),
    ],
)
def test_who_cannot_be_one_agent_is_nobody(up: Up, pair: Pair, headers: dict[str, str], why: str) -> None:
    """Refused by 401 with the reason, without a decision; nothing leaves."""
    before = len(up.decisions())
    told = get(up, pair, headers)
    assert told.status == 401
    assert why in told.text
    assert len(up.decisions()) == before
    assert not up.api.got


@pytest.mark.parametrize(
    "pair",
    [
        None,
        STRANGERS.sign(uris=["spiffe://x/support"]),
        AUTHORITY.sign(uris=["spiffe://x/support"], before=2 * DAY, after=-DAY),
        AUTHORITY.sign(uris=["spiffe://x/support"], before=-DAY, after=2 * DAY),
    ],
    ids=["none", "a stranger's", "expired", "not yet valid"],
)
def test_without_a_certificate_that_holds_no_request_can_be_made(up: Up, pair: Pair | None) -> None:
    """The handshake fails, whatever is said after it."""
    before = len(up.records())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(up, pair, {"remit-token": SUPPORT})
    assert len(up.records()) == before
    assert not up.api.got


def test_a_certificate_that_expires_is_refused_on_the_connection_that_it_opened(up: Up) -> None:
    """The handshake was in time; each request is judged by its own time."""
    pair = AUTHORITY.sign(uris=["spiffe://x/support"], after=timedelta(seconds=3))
    with connected(up, pair) as connection:
        assert ask(connection).status == 200
        opened = connection.sock
        until(lambda: (told := ask(connection)).status == 401 and "outside its time" in told.text)
        assert connection.sock is opened
        assert ask(connection, headers={"remit-token": SUPPORT}).status == 401


FORGED = {
    "X-Forwarded-Client-Cert": f"Hash={'0' * 64};URI=spiffe://x/writer;DNS=writer.example;"
    f'Cert="{quote(WRITERS.certificate.decode(), safe="")}"',
    "Remit-Peer-Certificate": quote(WRITERS.certificate.decode(), safe=""),
    "x-remit-peer-certificate": quote(WRITERS.certificate.decode(), safe=""),
}


def test_what_a_request_says_of_a_certificate_is_no_certificate(up: Up) -> None:
    """Under any name: it is not believed, it does not change who calls, and it does not leave."""
    assert get(up, NOBODYS, FORGED).status == 401
    assert not up.api.got
    assert get(up, SUPPORTS, FORGED).status == 200
    assert caller(up) == ("support", "mtls")
    left = b"".join(got.head for got in up.api.got)
    for name in ("client-cert", "peer-certificate", "BEGIN", "spiffe"):
        assert name.encode() not in left
    assert b"remit-" not in left.lower()


def test_the_forward_proxy_knows_callers_by_their_certificates_too(up: Up) -> None:
    """And refuses one whose password is another's."""
    call = f"CONNECT localhost:{up.wire.port} HTTP/1.1\r\nhost: localhost:{up.wire.port}\r\n"
    with through_proxy(up, SUPPORTS, call) as (first, proxy):
        assert first.startswith(b"HTTP/1.1 200 ")
        proxy.sendall(b"hello")
        assert proxy.recv(100) == b"hello"
        assert caller(up) == ("support", "mtls")
    with through_proxy(up, SUPPORTS, f"{call}proxy-authorization: Bearer {WRITER}\r\n") as (first, _):
        assert first.startswith(b"HTTP/1.1 401 ")
    with through_proxy(up, NOBODYS, f"{call}proxy-authorization: Bearer {WRITER}\r\n") as (first, _):
        assert first.startswith(b"HTTP/1.1 200 ")
        assert caller(up) == ("writer", "token")
    with pytest.raises((ssl.SSLError, ConnectionError)), through_proxy(up, None, call) as (first, _):
        assert not first, "a proxy without a certificate"


@contextmanager
def through_proxy(up: Up, pair: Pair | None, head: str) -> Iterator[tuple[bytes, ssl.SSLSocket]]:
    with tls(up, up.proxy, context(up.place, pair)) as proxy:
        proxy.sendall(f"{head}\r\n".encode())
        yield proxy.recv(4096), proxy


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_the_client_chooses_the_protocol(up: Up, protocol: str) -> None:
    with tls(up, up.port, context(up.place, SUPPORTS, protocol)) as client:
        assert client.selected_alpn_protocol() == protocol
        assert client.version() == "TLSv1.3"


def test_without_tls_there_is_no_answer(up: Up) -> None:
    """Neither to HTTP, nor to TLS of an age that nobody should speak."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=20) as plain:
        plain.sendall(f"GET /api/x HTTP/1.1\r\nhost: x\r\nremit-token: {SUPPORT}\r\n\r\n".encode())
        assert not plain.recv(100)
    old = context(up.place, SUPPORTS)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)version"), tls(up, up.port, old) as client:
        assert client.version() is None, "an old version was spoken"


def served(up: Up) -> bytes:
    """The certificate that a new connection is shown, DER."""
    with tls(up, up.port, context(up.place, SUPPORTS)) as client:
        return client.getpeercert(binary_form=True) or b""


def slowly(release: Event) -> Answer:
    """An answer that is not over until it is released."""

    async def answer(got: Got, line: Line) -> None:
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nfirst")
        await asyncio.to_thread(release.wait)
        await line.say(b"last")

    return answer


def test_the_server_s_certificate_is_rotated_without_a_restart_or_a_lost_connection(up: Up) -> None:
    """Written over in place, one file after the other; or by another link. Between the two the old one is served."""
    release = Event()
    up.api.answers["slow"] = slowly(release)
    second, third = server(), server()
    with connected(up, SUPPORTS) as stream:
        stream.request("GET", "/api/slow")
        answer = stream.getresponse()
        assert answer.read(5) == b"first"

        first, files = served(up), up.place / "tls"
        (files / "server.crt").write_bytes(second.certificate)
        until(lambda: "Envoy keeps the certificates that it has" in up.log)
        assert served(up) == first
        (files / "server.key").write_bytes(second.key)
        until(lambda: served(up) == der(second))

        up.write(up.place / "third", third)
        up.turn("third")
        until(lambda: served(up) == der(third))

        release.set()
        assert answer.read() == b"last"
        assert ask(stream).status == 200, "on a connection that began two certificates ago"
    assert up.log.count("Envoy: serving") == 1


def test_who_signs_agents_certificates_is_changed_without_a_restart(up: Up) -> None:
    """From then on those of the one before open no connection."""
    strangers = STRANGERS.sign(uris=["spiffe://x/support"])
    assert shut(up, strangers)
    up.write(up.place / "others", server(), STRANGERS.certificate)
    up.turn("others")
    until(lambda: not shut(up, strangers))
    assert caller(up) == ("support", "mtls")
    assert shut(up, SUPPORTS)
    up.write(up.place / "again", server())
    up.turn("again")
    until(lambda: not shut(up, SUPPORTS))
    assert shut(up, strangers)


def test_certificates_and_authorities_rotate_under_load_and_no_call_fails(up: Up) -> None:
    """Connections that last and new ones, while each turn of the link brings another certificate, and a second
    authority beside the first. Each is shown within two seconds."""
    ended, failed, calls = Event(), list[BaseException](), [0, 0]

    def lasting() -> None:
        with connected(up, SUPPORTS) as connection:
            while not ended.is_set():
                assert ask(connection).status == 200
                calls[0] += 1

    def anew() -> None:
        while not ended.is_set():
            assert get(up, SUPPORTS).status == 200
            calls[1] += 1

    def kept(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    running = [Thread(target=kept, args=(work,)) for work in (lasting, anew)]
    for each in running:
        each.start()
    try:
        for turn in range(4):
            pair, before = server(), list(calls)
            up.write(up.place / f"turn{turn}", pair, AUTHORITY.certificate + STRANGERS.certificate)
            up.turn(f"turn{turn}")
            began = monotonic()
            while served(up) != der(pair):
                assert monotonic() - began < 2
            until(lambda before=before: failed or all(now > then for now, then in zip(calls, before, strict=True)))  # type: ignore[misc]
    finally:
        ended.set()
        for each in running:
            each.join()
    assert not failed
    assert get(up, STRANGERS.sign(uris=["spiffe://x/support"])).status == 200
    up.write(up.place / "alone", server())
    up.turn("alone")
    until(lambda: shut(up, STRANGERS.sign(uris=["spiffe://x/support"])))


def test_an_envoy_that_is_started_anew_halfway_through_a_rotation_serves_once_it_is_over(up: Up) -> None:
    """With a key that is not the certificate's it has nothing to serve with, and nothing is served without."""
    second, files = server(), (up.place / "tls").resolve()
    (files / "server.crt").write_bytes(second.certificate)
    until(lambda: up.log.count("Envoy keeps the certificates that it has") > 0)
    before = up.log.count("Envoy: serving")
    up.kill_envoy()
    until(lambda: not reaches(up))
    (files / "server.key").write_bytes(second.key)
    until(lambda: reaches(up) and served(up) == der(second))
    until(lambda: up.log.count("Envoy: serving") > before)  # it is told by whoever asks Envoy itself, a moment later


def reaches(up: Up) -> bool:
    """Whether a connection can be made."""
    try:
        return bool(served(up))
    except OSError:
        return False


def test_no_key_is_in_what_envoy_is_told(up: Up) -> None:
    """Its documents name files; nothing of what is in them is copied."""
    body = (up.place / "tls" / "server.key").read_text().splitlines()[1]
    found = [path for path in up.directory.rglob("*") if path.is_file() and path.name != "access.log"]
    assert any("server.key" in path.read_text() for path in found)
    assert not [path for path in found if body in path.read_text()]


@in_loop
async def test_a_connection_has_an_age_and_what_is_under_way_on_it_ends_by_itself(tmp_path: Path) -> None:
    """A new connection proves the certificate anew; a long answer is not cut for that."""
    pair = server()
    for name, text in (("crt", pair.certificate), ("key", pair.key), ("ca", AUTHORITY.certificate)):
        (tmp_path / name).write_bytes(text)
    agents = EgressTls(tmp_path / "crt", tmp_path / "key", tmp_path / "ca", age=1)
    async with world(tmp_path, agents=agents) as here, asyncio.timeout(20):
        assert here.places.egress is not None
        how = context(tmp_path, SUPPORTS, "http/1.1")
        reading, writing = await asyncio.open_connection(*here.places.egress, ssl=how)
        writing.write(b"GET /api/sse HTTP/1.1\r\nhost: x\r\nx-to: api/here\r\n\r\n")
        await reading.readuntil(b"data: first\n\n")
        idle, other = await asyncio.open_connection(*here.places.egress, ssl=how)
        other.write(b"GET /api/x HTTP/1.1\r\nhost: x\r\nx-to: api/here\r\n\r\n")
        assert (await idle.read()).startswith(b"HTTP/1.1 200 OK\r\n"), "read to its end: it was closed"
        here.upstream.more(b"data: late\n\n")
        await reading.readuntil(b"data: late\n\n")
        here.upstream.more(b"")
        assert (await reading.read()).endswith(b"0\r\n\r\n"), "whole, and then closed"
        other.close()
        writing.close()
