"""Tokens on their way out: the cleared service gets the values, and neither the agent nor anybody else does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from fakes.canaries import leaks
from fakes.egress_up import TOKEN, EgressUp, egress_up
from remit.backends.tokens_aessiv import AesSivTokenizer

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

ADDRESS = "ada.lovelace.canary@example.com"
SERVICES = """\
mail: {owner: cx, kind: http, clearance: [pii], reveal: true, metering: agent, ROUTES, ENDPOINT}
chat: {owner: cx, kind: http, clearance: [pii], metering: agent, ROUTES, ENDPOINT}
finance: {owner: cx, kind: http, clearance: [finance], reveal: true, metering: agent, ROUTES, ENDPOINT}
""".replace("ROUTES", "routes: [{path: /send, operation: send}]")


@dataclass
class Upstream:
    """Keeps the bodies that it is sent, and says what it is told to: `echo` for the body itself."""

    bodies: list[bytes] = field(default_factory=list)
    says: bytes = b'{"ok": true}'
    port: int = 0


@pytest.fixture(name="upstream", scope="module")
def _upstream() -> Iterator[Upstream]:
    made = Upstream()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.bodies.append(body)
            said = body if made.says == b"echo" else made.says
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.port = server.server_port
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(name="up", scope="module")
def _up(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgressUp]:
    place = tmp_path_factory.mktemp("reveal")
    endpoint = f'endpoints: {{here: {{url: "http://127.0.0.1:{upstream.port}"}}}}'
    with egress_up(place, SERVICES.replace("ENDPOINT", endpoint)) as made:
        yield made


@pytest.fixture(name="token")
def _token(up: EgressUp) -> str:
    keys = up.place / ".remit" / "keys" / "views.key"
    return AesSivTokenizer(keys.read_bytes()).token(ADDRESS, "crm.customers.email", ["pii"])


def send(up: EgressUp, service: str, body: object) -> requests.Response:
    headers = {"Remit-Token": TOKEN, "Remit-Purpose": "support"}
    return requests.post(f"{up.base}/{service}/send", json=body, headers=headers, timeout=20)


def test_the_cleared_service_gets_the_value(up: EgressUp, upstream: Upstream, token: str) -> None:
    """The body arrives whole, with the value in the token's place; the journal says how many, and not which."""
    upstream.says = b'{"ok": true}'

    answered = send(up, "mail", {"to": token, "text": f"Dear {token}"})

    assert answered.status_code == 200
    assert json.loads(upstream.bodies[-1]) == {"to": ADDRESS, "text": f"Dear {ADDRESS}"}
    assert up.decisions()[-1].body["sent"]["revealed"] == 2


@pytest.mark.parametrize("service", ["chat", "finance"])
def test_another_service_gets_the_token(up: EgressUp, upstream: Upstream, token: str, service: str) -> None:
    """Where the catalogue does not say `reveal`, or the service is not cleared for the value's labels."""
    upstream.says = b"echo"

    answered = send(up, service, {"to": token})

    assert answered.json() == {"to": token}
    assert json.loads(upstream.bodies[-1]) == {"to": token}


def test_a_value_that_comes_back_is_cut(up: EgressUp, upstream: Upstream, token: str) -> None:
    """An upstream that repeats what it was sent tells the agent nothing."""
    upstream.says = b"echo"

    try:
        answered = send(up, "mail", {"to": token})
    except requests.RequestException as cut:  # where its head had gone out, it breaks off
        told = str(cut).encode()
    else:
        assert answered.status_code == 502
        told = answered.content

    assert ADDRESS.encode() in upstream.bodies[-1]
    assert leaks({"address": ADDRESS.encode()}, {"answer": told}) == []


def test_the_value_is_in_no_file_of_ours(up: EgressUp, upstream: Upstream, token: str) -> None:
    """Neither the store nor a log, nor what Envoy is told."""
    upstream.says = b'{"ok": true}'
    send(up, "mail", {"to": token})

    files = {str(each): each.read_bytes() for each in _files(up.place)}

    assert leaks({"address": ADDRESS.encode()}, files) == []


def _files(place: Path) -> Iterator[Path]:
    return (each for each in place.rglob("*") if each.is_file())
